//! The construction of a well-known tutorial, reproduced so that its numbers can be compared: 929 nodes and 981 edges for a
//! Llama of 28 layers with 32 heads each. One norm and one feed-forward stand for those of all layers; nothing leads from
//! the embedding to the first layer; key and value heads are not shown.

use super::shares::Weight;
use super::standard::{counts, sorted};
use super::{ArchError, ArchGraph, ArchNode, EdgeKind, NodeKind, Schema, TensorShare, layer_id};
use crate::gguf::Gguf;
use crate::inspect::{Architecture, Component, Role, Stack};
use petgraph::graph::NodeIndex;
use std::collections::BTreeMap;

/// The graph of a model's language layers.
pub(super) fn graph(gguf: &Gguf, architecture: &Architecture) -> Result<ArchGraph, ArchError> {
    let sorted = sorted(gguf)?;
    let mut graph = ArchGraph::new(Schema::Tutorial);
    let new = |kind: NodeKind, id: &str, label: &str| ArchNode::new(id.into(), kind, label.into());
    let mut embedding = new(NodeKind::Embedding, "embedding", "embedding");
    let mut norm = new(NodeKind::Norm, "norm", "norm");
    let mut feed_forward = new(NodeKind::FeedForward, "feed_forward", "feed-forward");
    let mut output = new(NodeKind::Output, "output", "output");
    for (role, weight) in &sorted.global {
        match role.component {
            Component::Norm => norm.take(weight.whole()),
            Component::Embedding | Component::Rope => embedding.take(weight.whole()),
            _ => output.take(weight.whole()),
        }
    }
    let mut layers: BTreeMap<(Stack, u32), (ArchNode, Vec<ArchNode>)> = BTreeMap::new();
    let mut nodes = 5_u64;
    for (&(stack, number), tensors) in &sorted.layers {
        let counts = counts(architecture, stack, number);
        nodes = nodes.saturating_add(1 + counts.heads);
        if nodes > ArchGraph::MAX_NODES {
            let (path, what) = (gguf.first().path().display().to_string(), format!("{} heads a layer", counts.heads));
            return Err(ArchError::TooLarge { path, what, most: ArchGraph::MAX_NODES });
        }
        let id = layer_id(stack, number);
        let mut layer = new(NodeKind::Layer, &id, &format!("layer {number}")).in_layer(stack, number);
        let head = |i: u64| {
            let node = new(NodeKind::Head, &format!("{id}_head_{i}"), &format!("head {i}")).in_layer(stack, number);
            ArchNode { index: u32::try_from(i).ok(), ..node }
        };
        let is_attention = |role: &Role| role.component == Component::Attention;
        let has_heads = tensors.iter().any(|(role, _)| is_attention(role));
        let mut heads: Vec<ArchNode> = (0..if has_heads { counts.heads } else { 0 }).map(head).collect();
        for (role, weight) in tensors {
            match role.component {
                Component::Norm => norm.take(weight.whole()),
                Component::FeedForward | Component::Experts | Component::SharedExperts | Component::Router => {
                    feed_forward.take(weight.whole());
                }
                Component::Attention if !heads.is_empty() => give_evenly(&mut heads, weight),
                _ => layer.take(weight.whole()),
            }
        }
        layers.insert((stack, number), (layer, heads));
    }
    let input = graph.push(new(NodeKind::Input, "input", "input"));
    let embedding = graph.push(embedding);
    let (norm, feed_forward) = (graph.push(norm), graph.push(feed_forward));
    graph.link(input, embedding, EdgeKind::FeedsInto);
    let mut before: Option<NodeIndex> = None;
    for (layer, heads) in layers.into_values() {
        let layer = graph.push(layer);
        for head in heads {
            let head = graph.push(head);
            graph.link(layer, head, EdgeKind::Contains);
        }
        graph.link(layer, norm, EdgeKind::Uses);
        graph.link(layer, feed_forward, EdgeKind::Uses);
        if let Some(before) = before {
            graph.link(before, layer, EdgeKind::FeedsInto);
        }
        before = Some(layer);
    }
    let output = graph.push(output);
    if let Some(last) = before {
        graph.link(last, output, EdgeKind::FeedsInto);
    }
    graph.sum_up();
    Ok(graph)
}

/// Divides a tensor among all heads, key and value heads too: with grouped queries a query head has a part of one.
fn give_evenly(heads: &mut [ArchNode], weight: &Weight<'_>) {
    let of = heads.len() as u64;
    let shares: Vec<TensorShare> = (0..of).map(|i| weight.part(i, i + 1, of)).collect();
    heads.iter_mut().zip(shares).for_each(|(head, share)| head.take(share));
}
