//! The standard construction: every layer with its own norms and feed-forward, heads and experts one by one.

use super::flow::{Around, Stream, link_keys, link_layer};
use super::layer::{self, Counts, LayerNodes, Parts};
use super::place::Place;
use super::shares::Weight;
use super::{ArchError, ArchGraph, ArchNode, EdgeKind, NodeKind, Schema};
use crate::gguf::Gguf;
use crate::inspect::{Architecture, AttentionKind, Cache, Component, Layer, Role, Stack};
use petgraph::graph::NodeIndex;
use std::collections::BTreeMap;

/// Tensors of a model, sorted: those of no layer, and those of each layer of each stack.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    pub global: Vec<(Role, Weight<'a>)>,
    pub layers: BTreeMap<(Stack, u32), Vec<(Role, Weight<'a>)>>,
}

/// Reads the tensor table.
pub(super) fn sorted(gguf: &Gguf) -> Result<Sorted<'_>, ArchError> {
    let mut sorted = Sorted::default();
    for (_, info) in gguf.tensors() {
        let ne = info.ne.map(|n| u64::try_from(n).unwrap_or(0));
        let weight = Weight { name: &info.name, ne, bytes: info.nbytes().unwrap_or(0) };
        let role = Role::of(&info.name);
        match role.layer {
            Some(layer) => sorted.layers.entry((role.stack, layer)).or_default().push((role, weight)),
            None => sorted.global.push((role, weight)),
        }
    }
    if sorted.global.is_empty() && sorted.layers.is_empty() {
        return Err(ArchError::Empty { path: path(gguf) });
    }
    Ok(sorted)
}

fn path(gguf: &Gguf) -> String {
    gguf.first().path().display().to_string()
}

fn layer_of(architecture: &Architecture, stack: Stack, layer: u32) -> Option<&Layer> {
    architecture.layers.iter().find(|l| l.stack == stack && l.index == layer)
}

/// How many heads and experts a layer has, as far as the metadata says.
pub(super) fn counts(architecture: &Architecture, stack: Stack, layer: u32) -> Counts {
    let Some(layer) = layer_of(architecture, stack, layer) else { return Counts::default() };
    let experts = layer.feed_forward.as_ref().and_then(|f| f.experts.as_ref()).map_or(0, |e| u64::from(e.count));
    let Some(attention) = &layer.attention else { return Counts { experts, ..Counts::default() } };
    let latent = attention.kind == AttentionKind::Mla;
    Counts {
        heads: u64::from(attention.heads),
        kv_heads: if latent { 1 } else { u64::from(attention.kv_heads) },
        head_k: u64::from(attention.head_k),
        head_v: u64::from(attention.head_v),
        experts,
        latent,
    }
}

/// The graph of a model.
pub(super) fn graph(gguf: &Gguf, architecture: &Architecture) -> Result<ArchGraph, ArchError> {
    let sorted = sorted(gguf)?;
    check_size(gguf, architecture, &sorted)?;
    let mut graph = ArchGraph::new(Schema::Standard);
    let ends = Ends::add(&mut graph, &sorted);
    let layers: Vec<LayerNodes> = sorted
        .layers
        .iter()
        .map(|(&(stack, number), tensors)| {
            let counts = counts(architecture, stack, number);
            let mut parts = Parts::new();
            for (role, weight) in tensors {
                parts.entry(layer::place(role, weight, &counts)).or_default().push(*weight);
            }
            layer::add(&mut graph, stack, number, &counts, &parts)
        })
        .collect();
    let behind = Behind::add(&mut graph, &sorted);
    link(&mut graph, &layers, architecture, &ends, &behind);
    graph.sum_up();
    Ok(graph)
}

fn check_size(gguf: &Gguf, architecture: &Architecture, sorted: &Sorted<'_>) -> Result<(), ArchError> {
    let mut nodes = 100_u64;
    for &(stack, layer) in sorted.layers.keys() {
        let Counts { heads, kv_heads, experts, .. } = counts(architecture, stack, layer);
        nodes = nodes.saturating_add(20 + heads + kv_heads + experts);
        if nodes > ArchGraph::MAX_NODES {
            let what = format!("{heads} heads, {kv_heads} KV heads and {experts} experts in layer {layer}");
            return Err(ArchError::TooLarge { path: path(gguf), what, most: ArchGraph::MAX_NODES });
        }
    }
    Ok(())
}

/// Adds a node for the tensors that `takes` takes, if there are any, or if it has to be there.
fn add_node(
    graph: &mut ArchGraph,
    sorted: &Sorted<'_>,
    (kind, id, label): (NodeKind, &str, &str),
    always: bool,
    takes: impl Fn(&Role) -> bool,
) -> Option<NodeIndex> {
    let mut node = ArchNode::new(id.into(), kind, label.into());
    let of = sorted.global.iter().filter(|(role, _)| takes(role));
    of.for_each(|(_, weight)| node.take(weight.whole()));
    (always || !node.tensors.is_empty()).then(|| graph.push(node))
}

/// What stands before the layers.
struct Ends {
    input: NodeIndex,
    embedding: Option<NodeIndex>,
    embedding_norm: Option<NodeIndex>,
    rope: Option<NodeIndex>,
    towers: Vec<(Stack, NodeIndex)>,
}

fn is_text(role: &Role) -> bool {
    matches!(role.stack, Stack::Model | Stack::Encoder | Stack::Decoder)
}

fn is_embedding_norm(role: &Role) -> bool {
    is_text(role) && role.component == Component::Norm && role.part.starts_with("token_embd")
}

fn is_output_norm(role: &Role) -> bool {
    is_text(role) && role.component == Component::Norm && !is_embedding_norm(role) && role.stack != Stack::Encoder
}

impl Ends {
    fn add(graph: &mut ArchGraph, sorted: &Sorted<'_>) -> Ends {
        let input = graph.push(ArchNode::new("input".into(), NodeKind::Input, "input".into()));
        let of = |component: Component| move |role: &Role| is_text(role) && role.component == component;
        let embedding = (NodeKind::Embedding, "embedding", "embedding");
        let embedding = add_node(graph, sorted, embedding, false, of(Component::Embedding));
        let norm = (NodeKind::Norm, "embedding_norm", "norm of the embedding");
        let embedding_norm = add_node(graph, sorted, norm, false, is_embedding_norm);
        let rope = (NodeKind::Rope, "rope", "rotary position factors");
        let rope = add_node(graph, sorted, rope, false, of(Component::Rope));
        let mut towers = vec![];
        for (stack, id, label) in [(Stack::Vision, "vision_input", "picture"), (Stack::Audio, "audio_input", "sound")] {
            let node = add_node(graph, sorted, (NodeKind::Embedding, id, label), false, |role| role.stack == stack);
            towers.extend(node.map(|node| (stack, node)));
        }
        Ends { input, embedding, embedding_norm, rope, towers }
    }
}

/// What stands behind the layers.
struct Behind {
    encoder_norm: Option<NodeIndex>,
    output_norm: Option<NodeIndex>,
    output: NodeIndex,
    projector: Option<NodeIndex>,
    others: Vec<NodeIndex>,
}

impl Behind {
    fn add(graph: &mut ArchGraph, sorted: &Sorted<'_>) -> Behind {
        let is_encoder_norm = |role: &Role| role.stack == Stack::Encoder && role.component == Component::Norm;
        let norm = (NodeKind::Norm, "encoder_output_norm", "norm of the encoder's output");
        let encoder_norm = add_node(graph, sorted, norm, false, is_encoder_norm);
        let norm = (NodeKind::Norm, "output_norm", "norm of the output");
        let output_norm = add_node(graph, sorted, norm, false, is_output_norm);
        let projector = (NodeKind::Projector, "projector", "projector");
        let projector = add_node(graph, sorted, projector, false, |role| role.stack == Stack::Projector);
        let is_output = |role: &Role| is_text(role) && role.component == Component::Output;
        let output = add_node(graph, sorted, (NodeKind::Output, "output", "output"), true, is_output);
        let known = [Component::Embedding, Component::Norm, Component::Rope, Component::Output];
        let rest = |role: &Role| is_text(role) && !known.contains(&role.component);
        let others = add_node(graph, sorted, (NodeKind::Other, "other", "other tensors"), false, rest);
        // `always` has made it.
        let output = output.unwrap_or_default();
        Behind { encoder_norm, output_norm, output, projector, others: others.into_iter().collect() }
    }
}

fn link(graph: &mut ArchGraph, layers: &[LayerNodes], architecture: &Architecture, ends: &Ends, behind: &Behind) {
    use EdgeKind::{FeedsInto, Uses};
    let mut embedded = ends.input;
    for next in [ends.embedding, ends.embedding_norm].into_iter().flatten() {
        graph.link(embedded, next, FeedsInto);
        embedded = next;
    }
    let of = |stack: Stack| layers.iter().filter(move |l| l.stack == stack);
    let chain = |graph: &mut ArchGraph, stack: Stack, first: NodeIndex, around: Around| {
        let mut stream = first;
        for nodes in of(stack).filter(|nodes| !predicts_further(architecture, nodes)) {
            link_layer(graph, nodes, Stream::from(stream), around);
            stream = nodes.node;
        }
        stream
    };
    let mut encoder = None;
    if of(Stack::Encoder).next().is_some() {
        let mut last = chain(graph, Stack::Encoder, embedded, Around::default());
        if let Some(norm) = behind.encoder_norm {
            graph.link(last, norm, FeedsInto);
            last = norm;
        }
        encoder = Some(last);
    }
    for &(stack, tower) in &ends.towers {
        graph.link(ends.input, tower, FeedsInto);
        let last = chain(graph, stack, tower, Around::default());
        graph.link(last, behind.projector.unwrap_or(behind.output), FeedsInto);
    }
    if let Some(projector) = behind.projector {
        graph.link(projector, behind.output, FeedsInto);
    }
    let mut last = chain(graph, Stack::Model, embedded, Around::default());
    last = if of(Stack::Decoder).next().is_some() {
        chain(graph, Stack::Decoder, last, Around { encoder })
    } else if last == embedded {
        encoder.unwrap_or(last)
    } else {
        last
    };
    // Layers that predict further tokens take the hidden state and the next token's embedding.
    for nodes in of(Stack::Model).filter(|nodes| predicts_further(architecture, nodes)) {
        link_layer(graph, nodes, Stream::from(last), Around::default());
        if embedded != last {
            graph.link(embedded, nodes.node, FeedsInto);
        }
        graph.link(nodes.node, behind.output, FeedsInto);
    }
    if let Some(norm) = behind.output_norm {
        graph.link(last, norm, FeedsInto);
        last = norm;
    }
    let has_text = ends.embedding.is_some() || of(Stack::Model).next().is_some() || encoder.is_some();
    if has_text || (ends.towers.is_empty() && behind.projector.is_none()) {
        graph.link(last, behind.output, FeedsInto);
    }
    behind.others.iter().for_each(|&other| graph.link(behind.output, other, Uses));
    share(graph, layers, architecture, ends, behind);
}

fn predicts_further(architecture: &Architecture, nodes: &LayerNodes) -> bool {
    layer_of(architecture, nodes.stack, nodes.layer).is_some_and(|layer| layer.next_token)
}

/// What several parts use: a tied embedding, rotary factors, keys and values of another layer.
fn share(graph: &mut ArchGraph, layers: &[LayerNodes], architecture: &Architecture, ends: &Ends, behind: &Behind) {
    if let Some(embedding) = ends.embedding.filter(|_| architecture.tied_embeddings) {
        graph.link(behind.output, embedding, EdgeKind::Uses);
    }
    for nodes in layers {
        if let (Some(rope), Some(attention)) = (ends.rope, nodes.at(Place::Attention)) {
            graph.link(attention, rope, EdgeKind::Uses);
        }
        let kept_by = layer_of(architecture, nodes.stack, nodes.layer).and_then(|layer| match &layer.attention {
            Some(attention) => match attention.cache {
                Cache::Layer(other) => layers.iter().find(|l| l.stack == nodes.stack && l.layer == other),
                Cache::Own | Cache::None => Some(nodes),
            },
            None => Some(nodes),
        });
        link_keys(graph, &nodes.heads, kept_by.map_or(&[], |kept_by| &kept_by.kv_heads));
    }
}
