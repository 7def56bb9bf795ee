//! What graph measures cost: PageRank and betweenness on a graph of the size of a model's, and PageRank on a million nodes
//! beside networkx (its scipy implementation, in vendor/python), same graph, damping and tolerance.
//! `cargo bench -p ggscope-compute --bench graphs`

#[path = "../tests/support/mod.rs"]
#[allow(dead_code)]
mod support;

use ggscope_compute::{
    Betweenness, Compute, Device, Direction, Graph, Leiden, NodeId, PageRank, Sources, betweenness, leiden, pagerank,
};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const NODES: usize = 1_000_000;
const EDGES: usize = 10_000_000;
/// networkx ends when the ranks change by less than this times the number of nodes: with its default, 1e-6, that is at once.
const TOLERANCE: f64 = 1e-12;

fn main() {
    small();
    large();
}

/// Median of `rounds`.
fn median<T>(rounds: usize, mut work: impl FnMut() -> T) -> (Duration, T) {
    let mut last = work();
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            last = work();
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[rounds / 2], last)
}

fn small() {
    for (name, nodes, edges) in [
        ("layers and heads", support::ARCHITECTURE, support::architecture()),
        ("operators", support::OPERATORS, support::operators()),
    ] {
        let edges: Vec<_> = edges.into_iter().map(|(a, b)| (NodeId(a), NodeId(b))).collect();
        let graph = Graph::unweighted(nodes, Direction::Directed, &edges).expect("a graph");
        let (rank, ranks) = median(200, || pagerank(&graph, &PageRank::default()).expect("ranks"));
        let (between, _) = median(50, || betweenness(&graph, &Betweenness::default()).expect("betweenness"));
        let (parts, found) = median(20, || leiden(&graph, &Leiden::default()).expect("communities"));
        println!(
            "{name}, {nodes} nodes, {} edges: PageRank {:.3} ms ({} iterations), betweenness {:.2} ms, {} communities {:.2} ms (modularity {:.4})",
            graph.edges(),
            millis(rank),
            ranks.iterations,
            millis(between),
            found.sizes.len(),
            millis(parts),
            found.modularity,
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn large() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut node = || NodeId(random.u32(0..NODES as u32));
    let edges: Vec<(NodeId, NodeId)> = (0..EDGES).map(|_| (node(), node())).collect();

    let start = Instant::now();
    let graph = Graph::unweighted(NODES, Direction::Directed, &edges).expect("a graph");
    let built = start.elapsed();
    let options = PageRank { tolerance: TOLERANCE, ..PageRank::default() };
    // The first call also sorts the edges by where they end.
    let start = Instant::now();
    let ranks = pagerank(&graph, &options).expect("ranks");
    let first = start.elapsed();
    let (again, _) = median(5, || pagerank(&graph, &options).expect("ranks"));
    println!(
        "{NODES} nodes, {} edges: built in {:.2} s; PageRank {:.3} s on first call, {:.3} s after that ({} iterations, change {:.1e}, {} threads)",
        graph.edges(),
        built.as_secs_f64(),
        first.as_secs_f64(),
        again.as_secs_f64(),
        ranks.iterations,
        ranks.change,
        rayon::current_num_threads(),
    );
    let (sampled, _) = median(1, || {
        let sources = Sources::Sample { count: 16, seed: 1 };
        betweenness(&graph, &Betweenness { sources, ..Betweenness::default() }).expect("betweenness")
    });
    println!("  betweenness from 16 of them: {:.2} s", sampled.as_secs_f64());

    let start = Instant::now();
    let opened = Compute::open(Device::Cuda(0), &[], None);
    let open = start.elapsed().as_secs_f64();
    match opened {
        Err(error) => println!("  CUDA: not measured, {error}"),
        Ok(compute) => {
            let start = Instant::now();
            let (_, ran) = compute.pagerank(&graph, &options).expect("ranks");
            let first = start.elapsed();
            let (again, (on_gpu, _)) = median(5, || compute.pagerank(&graph, &options).expect("ranks"));
            println!(
                "  {ran}: PageRank {:.3} s with the trip there and back ({:.3} s on first call); no rank differs by more than {:.1e}",
                again.as_secs_f64(),
                first.as_secs_f64(),
                largest_difference(&ranks.scores, &on_gpu.scores),
            );
            let sources = Sources::Sample { count: 16, seed: 1 };
            let options = Betweenness { sources, ..Betweenness::default() };
            let (took, _) = median(1, || compute.betweenness(&graph, &options).expect("betweenness"));
            println!("  {ran}: opened in {open:.2} s; betweenness from 16 nodes {:.3} s", took.as_secs_f64());
        }
    }

    let Some(theirs) = networkx(&edges) else {
        println!("  networkx: not compared, vendor/python is missing (vendor/setup --tests)");
        return;
    };
    let (call, differ) = (theirs.call, largest_difference(&ranks.scores, &theirs.scores));
    println!(
        "  networkx: built in {:.1} s; pagerank {call:.2} s: ours is {:.0} times faster on first call, {:.0} times after that; no rank differs by more than {differ:.1e}",
        theirs.built,
        call / first.as_secs_f64(),
        call / again.as_secs_f64(),
    );
}

struct Theirs {
    built: f64,
    call: f64,
    scores: Vec<f64>,
}

fn networkx(edges: &[(NodeId, NodeId)]) -> Option<Theirs> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../../vendor/python/bin/python");
    if !python.exists() {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("edges"), folder.path().join("ranks"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(&input).expect("a file"));
    for (a, b) in edges {
        file.write_all(&a.0.to_le_bytes()).and_then(|()| file.write_all(&b.0.to_le_bytes())).expect("edges written");
    }
    file.flush().expect("edges written");
    let done = Command::new(python)
        .arg(root.join("benches/pagerank.py"))
        .args([&input, &output])
        .args([NODES.to_string(), TOLERANCE.to_string()])
        .output()
        .expect("Python starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).expect("text");
    let mut times = text.split_whitespace().map(|time| time.parse().expect("seconds"));
    let scores = std::fs::read(output).expect("ranks");
    let scores = scores.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    Some(Theirs { built: times.next()?, call: times.next()?, scores })
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    assert!((theirs.iter().sum::<f64>() - 1.0).abs() < 1e-9, "they are ranks");
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
