//! The nodes of one layer: its tensors given to the parts that they belong to, heads and experts each by itself.

use super::place::Place;
use super::shares::Weight;
use super::{ArchGraph, ArchNode, EdgeKind, NodeKind, layer_id, stack_words};
use crate::inspect::{Kind, Role, Stack};
use petgraph::graph::NodeIndex;
use std::collections::BTreeMap;

/// How many heads and experts a layer has, as the metadata says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub heads: u64,
    pub kv_heads: u64,
    /// Values of a key head and of a value head.
    pub head_k: u64,
    pub head_v: u64,
    pub experts: u64,
    /// Whether keys and values come out of one compressed vector (MLA).
    pub latent: bool,
}

/// Tensors of a layer, by their place.
pub(super) type Parts<'a> = BTreeMap<Place, Vec<Weight<'a>>>;

/// The nodes of a layer.
#[derive(Debug)]
pub(super) struct LayerNodes {
    pub stack: Stack,
    pub layer: u32,
    pub node: NodeIndex,
    pub heads: Vec<NodeIndex>,
    pub kv_heads: Vec<NodeIndex>,
    pub experts: Vec<NodeIndex>,
    /// What there is one of at most.
    single: BTreeMap<Place, NodeIndex>,
}

impl LayerNodes {
    /// The node of a place that has one at most.
    pub fn at(&self, place: Place) -> Option<NodeIndex> {
        self.single.get(&place).copied()
    }
}

/// Gives a tensor of a layer its place: what cannot be divided as its name says belongs to all heads or experts.
pub(super) fn place(role: &Role, weight: &Weight<'_>, counts: &Counts) -> Place {
    let divides = |n: u64, of: u64| n > 0 && of.is_multiple_of(n);
    match Place::of(role) {
        Place::QueryRows if divides(counts.heads, weight.rows()) => Place::QueryRows,
        Place::QueryColumns if role.kind == Kind::Weight && divides(counts.heads, weight.ne[0]) => Place::QueryColumns,
        Place::KeyValueRows if divides(counts.kv_heads, weight.rows()) => Place::KeyValueRows,
        Place::QueryKeyValueRows if query_key_value(counts) == Some(weight.rows()) => Place::QueryKeyValueRows,
        Place::QueryRows | Place::QueryColumns | Place::KeyValueRows | Place::QueryKeyValueRows => Place::Attention,
        Place::Experts if counts.experts == 0 || weight.rows() != counts.experts => Place::Router,
        place => place,
    }
}

/// Rows of a matrix that makes queries, keys and values in one.
fn query_key_value(counts: &Counts) -> Option<u64> {
    if counts.heads == 0 || counts.kv_heads == 0 {
        return None;
    }
    let keys_values = counts.kv_heads.checked_mul(counts.head_k.checked_add(counts.head_v)?)?;
    counts.heads.checked_mul(counts.head_k)?.checked_add(keys_values)
}

/// Adds the nodes of a layer, and that the layer contains them.
pub(super) fn add(graph: &mut ArchGraph, stack: Stack, layer: u32, counts: &Counts, parts: &Parts<'_>) -> LayerNodes {
    let id = layer_id(stack, layer);
    let new = |kind: NodeKind, name: &str, label: String| {
        ArchNode::new(format!("{id}_{name}"), kind, label).in_layer(stack, layer)
    };
    let label = format!("{}layer {layer}", stack_words(stack));
    let mut own = ArchNode::new(id.clone(), NodeKind::Layer, label).in_layer(stack, layer);
    take_whole(&mut own, parts.get(&Place::Layer));
    let node = graph.push(own);
    let mut nodes =
        LayerNodes { stack, layer, node, heads: vec![], kv_heads: vec![], experts: vec![], single: BTreeMap::new() };

    let has_attention = parts.keys().any(|place| {
        use Place::*;
        matches!(place, QueryRows | QueryColumns | KeyValueRows | QueryKeyValueRows | Attention)
    });
    let mut add = |graph: &mut ArchGraph, place: Place, kind: NodeKind, name: &str, label: &str| {
        let forced = place == Place::Attention && has_attention;
        if forced || parts.contains_key(&place) {
            let mut part = new(kind, name, label.to_owned());
            take_whole(&mut part, parts.get(&place));
            let at = graph.push(part);
            nodes.single.insert(place, at);
        }
    };
    use NodeKind as K;
    add(graph, Place::Convolution, K::Convolution, "convolution", "convolution");
    add(graph, Place::AttentionNorm, K::Norm, "attn_norm", "attention norm");
    if has_attention {
        (nodes.kv_heads, nodes.heads) = add_heads(graph, &new, counts, parts);
    }
    add(graph, Place::Attention, K::Attention, "attention", "attention");
    add(graph, Place::StateSpace, K::StateSpace, "state_space", "state space");
    add(graph, Place::PostAttentionNorm, K::Norm, "post_attention_norm", "norm behind the attention");
    add(graph, Place::AttentionOutputNorm, K::Norm, "attn_output_norm", "norm behind the attention");
    add(graph, Place::CrossAttentionNorm, K::Norm, "cross_attn_norm", "cross-attention norm");
    add(graph, Place::CrossAttention, K::CrossAttention, "cross_attention", "cross-attention");
    add(graph, Place::FeedForwardNorm, K::Norm, "ffn_norm", "feed-forward norm");
    add(graph, Place::FeedForward, K::FeedForward, "feed_forward", "feed-forward");
    add(graph, Place::Router, K::Router, "router", "router");
    nodes.experts = add_experts(graph, &new, counts, parts);
    add(graph, Place::SharedExpert, K::SharedExpert, "shared_expert", "shared expert");
    add(graph, Place::PostFeedForwardNorm, K::Norm, "post_ffw_norm", "norm behind the feed-forward");
    add(graph, Place::LayerOutputNorm, K::Norm, "layer_output_norm", "norm of the layer's output");

    let all = nodes.single.values().chain(&nodes.heads).chain(&nodes.kv_heads).chain(&nodes.experts);
    let mut contained: Vec<NodeIndex> = all.copied().collect();
    contained.sort_unstable();
    for inner in contained {
        graph.link(node, inner, EdgeKind::Contains);
    }
    nodes
}

fn take_whole(node: &mut ArchNode, weights: Option<&Vec<Weight<'_>>>) {
    weights.into_iter().flatten().for_each(|weight| node.take(weight.whole()));
}

type New<'a> = dyn Fn(NodeKind, &str, String) -> ArchNode + 'a;

/// Key and value heads, and query heads.
fn add_heads(
    graph: &mut ArchGraph,
    new: &New<'_>,
    counts: &Counts,
    parts: &Parts<'_>,
) -> (Vec<NodeIndex>, Vec<NodeIndex>) {
    let of = |place: Place| parts.get(&place).into_iter().flatten();
    let Counts { heads, kv_heads, head_k, head_v, latent, .. } = *counts;
    let rows = heads.saturating_mul(head_k).saturating_add(kv_heads.saturating_mul(head_k.saturating_add(head_v)));
    let keys_from = heads.saturating_mul(head_k);
    let values_from = keys_from.saturating_add(kv_heads.saturating_mul(head_k));

    let has_own_keys = of(Place::KeyValueRows).chain(of(Place::QueryKeyValueRows)).next().is_some();
    let kv = if has_own_keys { kv_heads } else { 0 };
    let kv_nodes = (0..kv).map(|i| {
        let label = if latent { "compressed keys and values".into() } else { format!("KV head {i}") };
        let mut node = new(NodeKind::KvHead, &format!("kv_head_{i}"), label);
        node.index = u32::try_from(i).ok();
        of(Place::KeyValueRows).for_each(|weight| node.take(weight.part(i, i + 1, kv_heads)));
        for weight in of(Place::QueryKeyValueRows) {
            let (key, value) = (keys_from + i * head_k, values_from + i * head_v);
            node.take(weight.part(key, key + head_k, rows));
            node.take(weight.part(value, value + head_v, rows));
        }
        graph.push(node)
    });
    let kv_nodes = kv_nodes.collect();
    let has_heads = of(Place::QueryRows).chain(of(Place::QueryColumns)).chain(of(Place::QueryKeyValueRows)).next();
    let heads_of = if has_heads.is_some() { heads } else { 0 };
    let head_nodes = (0..heads_of).map(|i| {
        let mut node = new(NodeKind::Head, &format!("head_{i}"), format!("head {i}"));
        node.index = u32::try_from(i).ok();
        of(Place::QueryRows).for_each(|weight| node.take(weight.part(i, i + 1, heads)));
        of(Place::QueryKeyValueRows).for_each(|weight| node.take(weight.part(i * head_k, (i + 1) * head_k, rows)));
        of(Place::QueryColumns).for_each(|weight| node.take(weight.part(i, i + 1, heads)));
        graph.push(node)
    });
    let head_nodes = head_nodes.collect();
    (kv_nodes, head_nodes)
}

fn add_experts(graph: &mut ArchGraph, new: &New<'_>, counts: &Counts, parts: &Parts<'_>) -> Vec<NodeIndex> {
    let stacked: Vec<&Weight<'_>> = parts.get(&Place::Experts).into_iter().flatten().collect();
    let mut nodes: BTreeMap<u32, ArchNode> = BTreeMap::new();
    let expert = |i: u32| {
        let mut node = new(NodeKind::Expert, &format!("expert_{i}"), format!("expert {i}"));
        node.index = Some(i);
        node
    };
    if !stacked.is_empty() {
        for i in 0..counts.experts {
            let node = nodes.entry(i as u32).or_insert_with(|| expert(i as u32));
            stacked.iter().for_each(|weight| node.take(weight.part(i, i + 1, counts.experts)));
        }
    }
    for (place, weights) in parts {
        if let Place::Expert(i) = *place {
            take_whole(nodes.entry(i).or_insert_with(|| expert(i)), Some(weights));
        }
    }
    nodes.into_values().map(|node| graph.push(node)).collect()
}
