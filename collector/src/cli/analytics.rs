//! How `arch` and `graph` print what graph analytics found.

use super::say;
use super::text::{duration, printable};
use ggscope_query::graph_report::{GraphReport, Took, TopNode};
use std::fmt::Write as _;

/// Communities whose sizes are printed.
const SIZES: usize = 6;

/// The lines about the graph as a whole: what, and the text.
pub(super) fn facts(found: &GraphReport) -> Vec<(&'static str, String)> {
    let sizes: Vec<String> = found.communities.iter().take(SIZES).map(|&s| say::thousands(s as u64)).collect();
    let more = if found.communities.len() > SIZES { ", …" } else { "" };
    let mut lines = vec![
        (
            "communities",
            format!(
                "{} of {}{more} nodes, modularity {:.4}",
                say::thousands(found.communities.len() as u64),
                sizes.join(", "),
                found.modularity
            ),
        ),
        (
            "components",
            format!(
                "{} weak, {} strong; the densest core is {}",
                say::thousands(found.weak_components.len() as u64),
                say::thousands(found.strong_components as u64),
                found.core.iter().max().unwrap_or(&0)
            ),
        ),
    ];
    if let Some(way) = &found.way {
        let label = |node: Option<&u32>| node.map_or("", |&node| &found.nodes[node as usize].label);
        let length = if found.weight == Some("time") { duration(way.length as u64) } else { way.length.to_string() };
        let ends = (label(way.nodes.first()), label(way.nodes.last()));
        lines.push((
            "shortest way",
            format!("{} nodes from {} to {}, length {length}", way.nodes.len(), ends.0, ends.1),
        ));
    }
    if found.betweenness_sources < found.nodes.len() {
        let (counted, all) = (found.betweenness_sources as u64, found.nodes.len() as u64);
        let text = format!("estimated from the paths of {} of {} nodes", say::thousands(counted), say::thousands(all));
        lines.push(("betweenness", text));
    }
    lines.push(("computed", computed(&found.took)));
    lines
}

/// What took how long, and where.
pub(super) fn computed(took: &[Took]) -> String {
    let device = |on: &str| if on.starts_with("cpu") { "CPU".to_owned() } else { on.to_owned() };
    let took = took.iter().map(|t| format!("{} in {:.1} ms on {}", t.measure, t.ms, device(&t.on)));
    took.collect::<Vec<_>>().join(", ")
}

/// The nodes with the largest values of each measure.
pub(super) fn top_tables(found: &GraphReport) -> String {
    let lists =
        [("PageRank", &found.top_pagerank), ("betweenness", &found.top_betweenness), ("degree", &found.top_degree)];
    let mut out = String::new();
    for (title, list) in lists {
        let _ = writeln!(out, "\n    {title}");
        for TopNode { node, score } in list {
            let node = &found.nodes[*node as usize];
            let score = if title == "degree" { format!("{score:>10}") } else { format!("{score:>10.6}") };
            let _ = writeln!(out, "    {score}  {:<14} {}", printable(&node.kind), printable(&node.label));
        }
    }
    out
}
