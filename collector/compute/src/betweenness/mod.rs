//! Betweenness centrality: how much of the traffic between all pairs of nodes, along shortest paths, goes through a node.
//!
//! Brandes, "A Faster Algorithm for Betweenness Centrality", 2001: one search a source, then dependencies summed up
//! backwards. Sources are searched in parallel, in groups that do not depend on the number of threads; sampled sources
//! (Brandes and Pich, 2007) give an estimate for graphs where all of them would take too long.

mod count;
mod search;

use crate::error::{Error, option};
use crate::graph::{Graph, NodeId, Weights};
use rayon::prelude::*;
use search::Search;

/// Which nodes' shortest paths are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources<'a> {
    /// Those from every node: exact.
    All,
    /// Those from so many nodes, drawn with a seed: an estimate.
    Sample {
        /// How many, at least 2; all if there are not so many.
        count: usize,
        /// Of the draw.
        seed: u64,
    },
    /// Those from these nodes, each once, at least 2: an estimate.
    These(&'a [NodeId]),
}

/// How to compute betweenness. The defaults are networkx's.
#[derive(Clone, Copy, Debug)]
pub struct Betweenness<'a> {
    /// Divide by the number of pairs: values from 0 to 1.
    pub normalized: bool,
    /// Count paths also for the nodes where they begin and end.
    pub endpoints: bool,
    /// Whether the weights are the lengths of edges; else each has length 1.
    pub lengths: Weights,
    /// Which nodes' shortest paths are counted.
    pub sources: Sources<'a>,
}

impl Default for Betweenness<'_> {
    fn default() -> Self {
        Betweenness { normalized: true, endpoints: false, lengths: Weights::Ignore, sources: Sources::All }
    }
}

/// Betweenness of every node.
#[derive(Clone, Debug, PartialEq)]
pub struct Centrality {
    /// One a node.
    pub scores: Vec<f64>,
    /// How many nodes' shortest paths were counted: an estimate if less than the number of nodes.
    pub sources: usize,
}

/// Betweenness of every node. Self loops are on no shortest path.
///
/// # Errors
/// [`Error::ZeroLength`] if lengths are used and one is 0 (the number of shortest paths is not defined then);
/// [`Error::Option`] and [`Error::NoNode`] for bad sources.
pub fn betweenness(graph: &Graph, options: &Betweenness) -> Result<Centrality, Error> {
    let sources = choose(graph, options.sources)?;
    let lengths = graph.outgoing().weights_if(options.lengths == Weights::Use);
    if let Some(edge) = lengths.and_then(|all| all.iter().position(|&l| l == 0.0)) {
        let from = graph.outgoing().offsets.partition_point(|&first| first <= edge) - 1;
        return Err(Error::ZeroLength { from: from as u32, to: graph.outgoing().targets[edge] });
    }
    let list = sources.as_deref();
    let count = list.map_or(graph.nodes(), <[_]>::len);
    let source = |i: usize| list.map_or(i as u32, |list| list[i].0);

    let group = count.div_ceil(groups(graph.nodes())).max(1);
    let parts: Vec<Vec<f64>> = (0..count.div_ceil(group))
        .into_par_iter()
        .map(|at| {
            let mut sums = vec![0.0; graph.nodes()];
            let mut search = Search::new(graph, lengths, options.endpoints);
            for i in at * group..count.min((at + 1) * group) {
                search.from(source(i), &mut sums);
            }
            sums
        })
        .collect();
    let mut scores = vec![0.0; graph.nodes()];
    scores.par_iter_mut().enumerate().with_min_len(4096).for_each(|(node, score)| {
        *score = parts.iter().map(|part| part[node]).sum();
    });
    rescale(&mut scores, graph, options, list);
    Ok(Centrality { scores, sources: count })
}

/// How many groups the sources are divided into, each with sums of its own: enough to keep 64 cores busy, but not more
/// than 1 GiB of sums. Depends on the graph alone, and with it the order of all additions.
fn groups(nodes: usize) -> usize {
    ((1 << 27) / nodes.max(1)).clamp(1, 64)
}

/// The sources; `None` if all nodes are.
pub(crate) fn choose(graph: &Graph, sources: Sources) -> Result<Option<Vec<NodeId>>, Error> {
    let few = |count: usize| option("sources", count, "an estimate takes at least 2");
    match sources {
        Sources::All => Ok(None),
        Sources::Sample { count, .. } if count < 2 => Err(few(count)),
        Sources::Sample { count, .. } if count >= graph.nodes() => Ok(None),
        Sources::Sample { count, seed } => {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut drawn = random.choose_multiple(0..graph.nodes() as u32, count);
            drawn.sort_unstable();
            Ok(Some(drawn.into_iter().map(NodeId).collect()))
        }
        Sources::These(list) => {
            if list.len() < 2 {
                return Err(few(list.len()));
            }
            for &node in list {
                graph.check_node("a source", node)?;
            }
            let mut sorted = list.to_vec();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
                return Err(option("sources", format!("a list with node {} twice", twice[0].0), "name each node once"));
            }
            Ok(Some(sorted))
        }
    }
}

/// From sums over ordered pairs to what was asked for, as networkx's `_rescale` does (3.6): an undirected pair counts once;
/// a sample stands for all sources, where a source itself was in one sample less, as no path counts for its ends.
pub(crate) fn rescale(scores: &mut [f64], graph: &Graph, options: &Betweenness, sources: Option<&[NodeId]>) {
    let nodes = graph.nodes() as f64;
    let ends = if options.endpoints { nodes } else { nodes - 1.0 };
    if ends < 2.0 {
        return;
    }
    let scale = |sources: f64| match (options.normalized, graph.is_directed()) {
        (true, _) => 1.0 / (sources * (ends - 1.0)),
        (false, true) => ends / sources,
        (false, false) => ends / (sources * 2.0),
    };
    let list = sources.unwrap_or_default();
    let drawn = sources.map_or(ends, |list| list.len() as f64);
    scores.iter_mut().for_each(|score| *score *= scale(drawn));
    if !options.endpoints {
        for node in list {
            scores[node.index()] *= drawn / (drawn - 1.0);
        }
    }
}
