//! PageRank by power iteration: the stationary distribution of somebody who follows edges and now and then jumps.
//!
//! Page, Brin, Motwani and Winograd, "The PageRank Citation Ranking", 1999; with the conventions of networkx's
//! `pagerank`, so that the numbers can be compared digit by digit.

use crate::csr::Csr;
use crate::error::{Error, check_weights, option};
use crate::graph::{Graph, Weights};
use rayon::prelude::*;

/// Nodes whose sums are formed by one thread, in order: what makes the result the same for every number of threads.
const CHUNK: usize = 2048;
/// Below this many nodes and edges, starting threads costs more than it brings.
const SMALL: usize = 1 << 17;

/// How to compute PageRank. The defaults are networkx's.
#[derive(Clone, Copy, Debug)]
pub struct PageRank<'a> {
    /// Probability of following an edge, 0 to 1.
    pub damping: f64,
    /// Converged when the ranks change by less than this times the number of nodes, in sum.
    pub tolerance: f64,
    /// Iterations after which it is an error not to have converged.
    pub max_iterations: u32,
    /// Whether heavy edges are followed more often.
    pub weights: Weights,
    /// Where jumps lead: a weight for each node; everywhere alike if `None`.
    pub personalization: Option<&'a [f64]>,
    /// Where nodes without edges lead: a weight for each node; as `personalization` if `None`.
    pub dangling: Option<&'a [f64]>,
}

impl Default for PageRank<'_> {
    fn default() -> Self {
        PageRank {
            damping: 0.85,
            tolerance: 1e-6,
            max_iterations: 100,
            weights: Weights::Use,
            personalization: None,
            dangling: None,
        }
    }
}

/// The ranks.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    /// One a node; they sum to 1.
    pub scores: Vec<f64>,
    /// Iterations that were made.
    pub iterations: u32,
    /// Sum over all nodes of the last change.
    pub change: f64,
}

/// What both the CPU and CUDA iterate on: checked and normalised.
pub(crate) struct Prepared {
    pub damping: f64,
    /// Converged below this change.
    pub wanted: f64,
    pub max_iterations: u32,
    pub weights: bool,
    /// 1 / sum of the weights of a node's edges; 0 where that sum is 0, which is what makes a node dangling.
    pub inverse: Vec<f64>,
    /// Sums to 1. `None`: 1 / nodes everywhere.
    pub jump: Option<Vec<f64>>,
    pub dangling: Option<Vec<f64>>,
}

impl Prepared {
    pub fn new(graph: &Graph, options: &PageRank) -> Result<Prepared, Error> {
        let PageRank { damping, tolerance, max_iterations, .. } = *options;
        if !(0.0..=1.0).contains(&damping) {
            return Err(option("damping", damping, "it must be from 0 to 1"));
        }
        if !(tolerance > 0.0 && tolerance.is_finite()) {
            return Err(option("tolerance", tolerance, "it must be a positive number"));
        }
        if max_iterations == 0 {
            return Err(option("max_iterations", 0, "at least one iteration is needed"));
        }
        let weights = options.weights == Weights::Use;
        let mut inverse = graph.outgoing().strengths(weights);
        for s in &mut inverse {
            *s = if *s == 0.0 { 0.0 } else { 1.0 / *s };
        }
        let distribution = |what, list: &'static str, values: Option<&[f64]>| {
            let Some(values) = values else { return Ok(None) };
            graph.check_length(list, values)?;
            let sum = check_weights(what, list, values)?;
            if sum == 0.0 && !values.is_empty() {
                return Err(Error::NothingPositive(list));
            }
            Ok(Some(values.iter().map(|v| v / sum).collect::<Vec<f64>>()))
        };
        let jump = distribution("the personalization of node", "personalization", options.personalization)?;
        let dangling =
            distribution("the dangling weight of node", "dangling", options.dangling)?.or_else(|| jump.clone());
        let wanted = tolerance * graph.nodes() as f64;
        Ok(Prepared { damping, wanted, max_iterations, weights, inverse, jump, dangling })
    }
}

/// PageRank of every node.
///
/// x ← d·(A'x + mass of dangling nodes · dangling) + (1 − d)·personalization, from x = 1 / nodes, where A' is the
/// transposed adjacency matrix with each node's weights divided by their sum. Negative weights do not get into a [`Graph`].
///
/// # Errors
/// [`Error::Option`], [`Error::Length`], [`Error::Weight`], [`Error::Sum`], [`Error::NothingPositive`] for bad options;
/// [`Error::NotConverged`].
pub fn pagerank(graph: &Graph, options: &PageRank) -> Result<Ranks, Error> {
    let how = Prepared::new(graph, options)?;
    let nodes = graph.nodes();
    if nodes == 0 {
        return Ok(Ranks { scores: Vec::new(), iterations: 0, change: 0.0 });
    }
    let edges = graph.incoming();
    let mut scores = vec![1.0 / nodes as f64; nodes];
    // What each node gives to each of its successors, per weight.
    let mut gives: Vec<f64> = scores.iter().zip(&how.inverse).map(|(x, inverse)| x * inverse).collect();
    let mut next = vec![0.0; nodes];
    let dangling = |scores: &[f64], inverse: &[f64]| -> f64 {
        scores.iter().zip(inverse).map(|(x, i)| if *i == 0.0 { *x } else { 0.0 }).sum()
    };
    let mut mass: f64 = scores.chunks(CHUNK).zip(how.inverse.chunks(CHUNK)).map(|(s, i)| dangling(s, i)).sum();
    let mut change = 0.0;
    for iteration in 1..=how.max_iterations {
        let chunk = |(at, (scores, next)): (usize, (&mut [f64], &mut [f64]))| {
            let first = at * CHUNK;
            let change = step(edges, &how, first, mass, &gives, scores, next);
            (change, dangling(scores, &how.inverse[first..first + scores.len()]))
        };
        // In the order of the nodes, whoever computed them.
        let sums: Vec<(f64, f64)> = if nodes + edges.targets.len() < SMALL {
            scores.chunks_mut(CHUNK).zip(next.chunks_mut(CHUNK)).enumerate().map(chunk).collect()
        } else {
            scores.par_chunks_mut(CHUNK).zip(next.par_chunks_mut(CHUNK)).enumerate().map(chunk).collect()
        };
        (change, mass) = sums.iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        std::mem::swap(&mut gives, &mut next);
        if change < how.wanted {
            return Ok(Ranks { scores, iterations: iteration, change });
        }
    }
    Err(Error::NotConverged { iterations: how.max_iterations, change, wanted: how.wanted })
}

/// One iteration for the nodes from `first` on: their new scores, what they give next, and by how much they changed.
fn step(
    edges: &Csr,
    how: &Prepared,
    first: usize,
    mass: f64,
    gives: &[f64],
    scores: &mut [f64],
    next: &mut [f64],
) -> f64 {
    let even = 1.0 / how.inverse.len() as f64;
    let weights = edges.weights_if(how.weights);
    let mut change = 0.0;
    for (i, (score, next)) in scores.iter_mut().zip(next).enumerate() {
        let node = first + i;
        let range = edges.range(node);
        let sources = &edges.targets[range.clone()];
        let got: f64 = match weights {
            None => sources.iter().map(|&from| gives[from as usize]).sum(),
            Some(weights) => sources.iter().zip(&weights[range]).map(|(&from, w)| w * gives[from as usize]).sum(),
        };
        let jump = how.jump.as_ref().map_or(even, |p| p[node]);
        let dangling = how.dangling.as_ref().map_or(even, |p| p[node]);
        let new = how.damping * (got + mass * dangling) + (1.0 - how.damping) * jump;
        change += (new - *score).abs();
        *score = new;
        *next = new * how.inverse[node];
    }
    change
}
