//! The architecture of a model as files: the graph for other programs, and tables of nodes and layers.

use super::graph_file::{Attribute, FileEdge, FileNode, GraphFile, Kind};
use ggscope_model::arch::{EdgeKind, NodeKind};
use ggscope_model::inspect::{Architecture, Component, Role, Stack};
use ggscope_query::architecture::{ArchitectureGraph, MeasuredNode, NumberedEdge};
use ggscope_query::graph_report::GraphReport;
use ggscope_query::weights::WeightCost;
use std::collections::BTreeMap;
use std::io::Write;

const OF_NODES: [Attribute; 14] = [
    Attribute::new("kind", Kind::Text),
    Attribute::new("layer", Kind::Int),
    Attribute::new("index", Kind::Int),
    Attribute::new("parameters", Kind::Long),
    Attribute::new("bytes", Kind::Long),
    Attribute::new("pagerank", Kind::Double),
    Attribute::new("betweenness", Kind::Double),
    Attribute::new("in_degree", Kind::Int),
    Attribute::new("out_degree", Kind::Int),
    Attribute::new("core", Kind::Int),
    Attribute::new("community", Kind::Int),
    Attribute::new("accesses", Kind::Long),
    Attribute::new("read_bytes", Kind::Long),
    Attribute::new("ns", Kind::Long),
];

const OF_EDGES: [Attribute; 2] = [Attribute::new("kind", Kind::Text), Attribute::new("residual", Kind::Boolean)];

/// The graph with what analytics found, for GraphML, GEXF and DOT.
pub fn graph_file(name: &str, graph: &ArchitectureGraph<'_>, report: &GraphReport) -> GraphFile {
    GraphFile {
        name: name.to_owned(),
        of_nodes: OF_NODES.to_vec(),
        of_edges: OF_EDGES.to_vec(),
        nodes: graph.nodes.iter().enumerate().map(|(i, node)| file_node(node, i, report)).collect(),
        edges: graph.edges.iter().map(|edge| file_edge(graph, edge)).collect(),
    }
}

fn file_node(MeasuredNode { node, measured }: &MeasuredNode<'_>, i: usize, report: &GraphReport) -> FileNode {
    let text = |value: Option<u32>| value.map(|v| v.to_string());
    FileNode {
        id: node.id.clone(),
        label: vec![node.full_label()],
        class: node.kind.name().to_owned(),
        boxed: node.kind == NodeKind::Layer,
        values: vec![
            Some(node.kind.name().to_owned()),
            text(node.layer),
            text(node.index),
            Some(node.parameters.to_string()),
            Some(node.bytes.to_string()),
            Some(report.pagerank[i].to_string()),
            Some(report.betweenness[i].to_string()),
            Some(report.in_degree[i].to_string()),
            Some(report.out_degree[i].to_string()),
            Some(report.core[i].to_string()),
            Some(report.community[i].to_string()),
            measured.map(|m| m.accesses.to_string()),
            measured.map(|m| m.read_bytes.to_string()),
            measured.and_then(|m| m.ns).map(|ns| ns.to_string()),
        ],
    }
}

fn file_edge(graph: &ArchitectureGraph<'_>, edge: &NumberedEdge) -> FileEdge {
    FileEdge {
        from: graph.nodes[edge.from].node.id.clone(),
        to: graph.nodes[edge.to].node.id.clone(),
        dashed: edge.kind == EdgeKind::Uses || edge.residual,
        values: vec![Some(edge.kind.name().to_owned()), Some(edge.residual.to_string())],
    }
}

/// One line a node, highest rank first.
///
/// # Errors
/// When `out` does not take it.
pub fn ranks_csv(graph: &ArchitectureGraph<'_>, report: &GraphReport, out: &mut impl Write) -> csv::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "rank",
        "id",
        "label",
        "kind",
        "layer",
        "pagerank",
        "betweenness",
        "in_degree",
        "out_degree",
        "core",
        "community",
        "parameters",
        "bytes",
    ])?;
    let mut order: Vec<usize> = (0..graph.nodes.len()).collect();
    order.sort_by(|&a, &b| report.pagerank[b].total_cmp(&report.pagerank[a]).then(a.cmp(&b)));
    for (rank, i) in order.into_iter().enumerate() {
        let node = graph.nodes[i].node;
        csv.write_record([
            (rank + 1).to_string(),
            node.id.clone(),
            node.full_label(),
            node.kind.name().to_owned(),
            node.layer.map(|l| l.to_string()).unwrap_or_default(),
            report.pagerank[i].to_string(),
            report.betweenness[i].to_string(),
            report.in_degree[i].to_string(),
            report.out_degree[i].to_string(),
            report.core[i].to_string(),
            report.community[i].to_string(),
            node.parameters.to_string(),
            node.bytes.to_string(),
        ])?;
    }
    csv.flush()?;
    Ok(())
}

/// What a layer's tensors hold, of one component.
#[derive(Clone, Copy, Default)]
struct Held {
    parameters: u64,
    bytes: u64,
}

/// One line a layer: heads, sizes, parameters and bytes by component, and what a run did with it if there was one.
///
/// # Errors
/// When `out` does not take it.
pub fn layers_csv(
    architecture: &Architecture,
    graph: &ArchitectureGraph<'_>,
    run: Option<&[WeightCost]>,
    out: &mut impl Write,
) -> csv::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let columns = [
        "stack",
        "layer",
        "attention",
        "heads",
        "kv_heads",
        "head_k",
        "head_v",
        "window",
        "state",
        "feed_forward",
        "experts",
        "experts_used",
        "parameters",
        "bytes",
        "bits_per_weight",
    ];
    let of_component =
        Component::ALL.map(|component| format!("{}_parameters", component.name().replace([' ', '-'], "_")));
    let measured = ["accesses", "read_bytes", "ns"].map(str::to_owned);
    csv.write_record(columns.map(str::to_owned).iter().chain(&of_component).chain(&measured))?;
    for (stack, number) in layers(graph) {
        let layer = architecture.layers.iter().find(|l| l.stack == stack && l.index == number);
        let attention = layer.and_then(|l| l.attention.as_ref());
        let feed_forward = layer.and_then(|l| l.feed_forward.as_ref());
        let experts = feed_forward.and_then(|f| f.experts.as_ref());
        let held = held(graph, stack, number);
        let all = held.values().fold(Held::default(), |sum, h| Held {
            parameters: sum.parameters.saturating_add(h.parameters),
            bytes: sum.bytes.saturating_add(h.bytes),
        });
        let number_of = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
        let of_attention =
            |f: fn(&ggscope_model::inspect::Attention) -> u32| number_of(attention.map(|a| u64::from(f(a))));
        let mut record = vec![
            stack.name().to_owned(),
            number.to_string(),
            attention.map(|a| a.kind.name().to_owned()).unwrap_or_default(),
            of_attention(|a| a.heads),
            of_attention(|a| a.kv_heads),
            of_attention(|a| a.head_k),
            of_attention(|a| a.head_v),
            number_of(attention.and_then(|a| a.window).map(u64::from)),
            layer.and_then(|l| l.state).map(|s| format!("{s:?}").to_lowercase()).unwrap_or_default(),
            number_of(feed_forward.map(|f| f.size)),
            number_of(experts.map(|e| u64::from(e.count))),
            number_of(experts.map(|e| u64::from(e.used))),
            all.parameters.to_string(),
            all.bytes.to_string(),
            if all.parameters == 0 {
                String::new()
            } else {
                format!("{:.4}", 8.0 * all.bytes as f64 / all.parameters as f64)
            },
        ];
        record.extend(Component::ALL.map(|c| held.get(&c).map_or(0, |h| h.parameters).to_string()));
        record.extend(run_of_layer(run, stack, number));
        csv.write_record(record)?;
    }
    csv.flush()?;
    Ok(())
}

fn layers(graph: &ArchitectureGraph<'_>) -> Vec<(Stack, u32)> {
    let of = |m: &&MeasuredNode<'_>| m.node.kind == NodeKind::Layer;
    graph.nodes.iter().filter(of).filter_map(|m| Some((m.node.stack, m.node.layer?))).collect()
}

fn held(graph: &ArchitectureGraph<'_>, stack: Stack, layer: u32) -> BTreeMap<Component, Held> {
    let mut held: BTreeMap<Component, Held> = BTreeMap::new();
    let of_layer = graph.nodes.iter().filter(|m| m.node.stack == stack && m.node.layer == Some(layer));
    for share in of_layer.flat_map(|m| &m.node.tensors) {
        let of = held.entry(Role::of(&share.tensor).component).or_default();
        of.parameters = of.parameters.saturating_add(share.parameters);
        of.bytes = of.bytes.saturating_add(share.bytes);
    }
    held
}

/// Accesses, bytes and time of the layer's weights together.
fn run_of_layer(run: Option<&[WeightCost]>, stack: Stack, layer: u32) -> [String; 3] {
    let is_of_layer = |w: &&WeightCost| {
        let role = Role::of(&w.name);
        role.stack == stack && role.layer == Some(layer)
    };
    let Some(weights) = run.map(|run| run.iter().filter(is_of_layer).collect::<Vec<_>>()) else {
        return Default::default();
    };
    let sum = |f: fn(&WeightCost) -> u64| weights.iter().fold(0_u64, |sum, w| sum.saturating_add(f(w)));
    let ns = weights.iter().any(|w| w.ns.is_some()).then(|| sum(|w| w.ns.unwrap_or(0)).to_string());
    [sum(|w| w.accesses).to_string(), sum(|w| w.read_bytes).to_string(), ns.unwrap_or_default()]
}
