//! What graph analytics say of a graph whose nodes have names: ranks, centrality, communities, cores, components, degrees,
//! and the way from one node to another. The measures themselves are `ggscope-compute`'; what they mean for a model is
//! in docs/arch.md.

use ggscope_compute::{
    Betweenness, Compute, Direction, Error, Graph, Leiden, NodeId, PageRank, Parallel, Ran, Sources, Weights,
    core_numbers, degrees, distribution, shortest_path, strong_components, top, weak_components,
};
use serde::Serialize;
use std::time::Instant;
use utoipa::ToSchema;

/// Betweenness visits every edge once for every source: of larger graphs a sample of the sources is taken.
const EXACT_VISITS: u64 = 400_000_000;
/// Sources of such a sample.
const SAMPLED: usize = 512;
/// So close to its limit is PageRank computed; the sum of all ranks is 1.
const TOLERANCE: f64 = 1e-12;
const MAX_ITERATIONS: u32 = 1000;

/// A node of a graph that is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReportNode {
    /// Its id in the graph.
    pub id: String,
    /// Its name for people.
    pub label: String,
    /// What it is.
    pub kind: String,
    /// Its layer.
    pub layer: Option<u32>,
}

/// A graph that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// The nodes.
    pub nodes: Vec<ReportNode>,
    /// Edges: places of both nodes, and what the edge weighs.
    pub edges: Vec<(u32, u32, f64)>,
    /// What weights are, if edges have any.
    pub weight: Option<&'static str>,
    /// Whether weights are lengths too, as times are: shortest paths and betweenness go by them.
    pub lengths: bool,
    /// Where the way through the graph begins and ends.
    pub ends: Option<(u32, u32)>,
}

/// A node in a list of those with the largest values.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TopNode {
    /// Its place among the nodes.
    pub node: u32,
    /// Its value.
    pub score: f64,
}

/// A way through the graph.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Way {
    /// Places of its nodes among the nodes, both ends included.
    pub nodes: Vec<u32>,
    /// Sum of the lengths of its edges: their number if they have none.
    pub length: f64,
}

/// What was found. Lists with a value for each node are in the order of `nodes`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GraphReport {
    /// The nodes.
    pub nodes: Vec<ReportNode>,
    /// Edges, of which several between the same two nodes in the same direction are one.
    pub edges: usize,
    /// What edges were weighed by.
    pub weight: Option<&'static str>,
    /// Ranks; they sum to 1.
    pub pagerank: Vec<f64>,
    /// Iterations that they took.
    pub pagerank_iterations: u32,
    /// Share of the shortest paths between other nodes that go through a node.
    pub betweenness: Vec<f64>,
    /// Nodes whose shortest paths were counted; an estimate if less than all.
    pub betweenness_sources: usize,
    /// Edges that end at each node.
    pub in_degree: Vec<u32>,
    /// Edges that begin at each node.
    pub out_degree: Vec<u32>,
    /// How many nodes have which degree, both directions together.
    pub degrees: Vec<(u32, usize)>,
    /// The largest k of a part of the graph, directions ignored, in which every node has k neighbours or more.
    pub core: Vec<u32>,
    /// Community of each node, the largest is 0.
    pub community: Vec<u32>,
    /// Nodes of each community.
    pub communities: Vec<usize>,
    /// Share of edges inside communities, less what chance would put there.
    pub modularity: f64,
    /// Nodes of each weakly connected component.
    pub weak_components: Vec<usize>,
    /// Strongly connected components: as many as nodes where nothing goes round in circles.
    pub strong_components: usize,
    /// The shortest way from the begin to the end of the flow.
    pub way: Option<Way>,
    /// Nodes with the highest ranks.
    pub top_pagerank: Vec<TopNode>,
    /// Nodes that most shortest paths go through.
    pub top_betweenness: Vec<TopNode>,
    /// Nodes with most edges.
    pub top_degree: Vec<TopNode>,
    /// How long computing took, by measure.
    pub took: Vec<Took>,
}

/// How long a measure took to compute.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Took {
    /// The measure.
    pub measure: &'static str,
    /// Milliseconds.
    pub ms: f64,
    /// The device, and why not a GPU.
    pub on: String,
}

/// Looks at a graph. `k` is the length of lists of the largest.
///
/// # Errors
/// When edges weigh what nothing can weigh, there are more nodes than numbers for them, or a GPU that was asked for fails.
pub fn report(named: Named, k: usize, compute: &Compute) -> Result<GraphReport, Error> {
    let n = named.nodes.len();
    let edges: Vec<(NodeId, NodeId)> = named.edges.iter().map(|&(from, to, _)| (NodeId(from), NodeId(to))).collect();
    let weights: Vec<f64> = named.edges.iter().map(|edge| edge.2).collect();
    let make = |direction, parallel| match named.weight {
        Some(_) => Graph::weighted(n, direction, &edges, &weights, parallel),
        None => Graph::unweighted(n, direction, &edges),
    };
    let directed = make(Direction::Directed, Parallel::Sum)?;
    let undirected = make(Direction::Undirected, Parallel::Sum)?;
    let lengths = if named.lengths { Weights::Use } else { Weights::Ignore };
    let mut took = vec![];

    let options =
        PageRank { tolerance: TOLERANCE / n.max(1) as f64, max_iterations: MAX_ITERATIONS, ..PageRank::default() };
    let ranks = timed(&mut took, "pagerank", || compute.pagerank(&directed, &options))?;
    let is_large = (n as u64).saturating_mul(directed.edges() as u64) > EXACT_VISITS;
    let sources = if is_large { Sources::Sample { count: SAMPLED, seed: 0 } } else { Sources::All };
    let options = Betweenness { lengths, sources, ..Betweenness::default() };
    let centrality = timed(&mut took, "betweenness", || compute.betweenness(&directed, &options))?;
    let communities = timed(&mut took, "communities", || compute.communities(&undirected, &Leiden::default()))?;
    let core = core_numbers(&undirected);
    let (weak, strong) = (weak_components(&directed), strong_components(&directed));
    let way = named.ends.map(|(from, to)| shortest_path(&directed, NodeId(from), NodeId(to), lengths));
    let way = way.transpose()?.flatten();
    let degrees = degrees(&directed, Weights::Ignore);
    let whole = |values: &[f64]| values.iter().map(|&d| d as u32).collect();
    let largest = |values: &[f64]| {
        top(values, k).into_iter().map(|(node, score)| TopNode { node: node.0, score }).collect::<Vec<_>>()
    };
    Ok(GraphReport {
        edges: directed.edges(),
        weight: named.weight,
        top_pagerank: largest(&ranks.scores),
        top_betweenness: largest(&centrality.scores),
        top_degree: largest(&degrees.all),
        pagerank: ranks.scores,
        pagerank_iterations: ranks.iterations,
        betweenness: centrality.scores,
        betweenness_sources: centrality.sources,
        in_degree: whole(&degrees.into),
        out_degree: whole(&degrees.out),
        degrees: distribution(&degrees.all).into_iter().map(|(degree, count)| (degree as u32, count)).collect(),
        core,
        community: communities.of.iter().map(|c| c.0).collect(),
        communities: communities.sizes,
        modularity: communities.modularity,
        weak_components: weak.sizes,
        strong_components: strong.sizes.len(),
        way: way.map(|way| Way { nodes: way.nodes.iter().map(|n| n.0).collect(), length: way.length }),
        nodes: named.nodes,
        took,
    })
}

/// Runs what says itself where it ran.
fn timed<T>(
    took: &mut Vec<Took>,
    measure: &'static str,
    f: impl FnOnce() -> Result<(T, Ran), Error>,
) -> Result<T, Error> {
    let begin = Instant::now();
    let (result, ran) = f()?;
    took.push(Took { measure, ms: begin.elapsed().as_secs_f64() * 1e3, on: ran.to_string() });
    Ok(result)
}
