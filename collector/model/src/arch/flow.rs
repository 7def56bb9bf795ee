//! Where data goes in a layer. The residual stream is a sum: what was there before, and what each block adds. The newest
//! summand feeds what comes next, the others reach it past a block: those edges are residual connections.

use super::layer::LayerNodes;
use super::place::Place;
use super::{ArchGraph, EdgeKind};
use petgraph::graph::NodeIndex;

/// What is added up to the residual stream, the newest last: summands that came together are one entry.
#[derive(Clone, Debug)]
pub(super) struct Stream(Vec<Vec<NodeIndex>>);

impl Stream {
    /// A stream that begins with the output of a node.
    pub fn from(node: NodeIndex) -> Stream {
        Stream(vec![vec![node]])
    }

    /// The stream is the input of `to`.
    pub fn feed(&self, graph: &mut ArchGraph, to: &[NodeIndex]) {
        let Some((newest, others)) = self.0.split_last() else { return };
        for &to in to {
            newest.iter().for_each(|&from| graph.link(from, to, EdgeKind::FeedsInto));
            others.iter().flatten().for_each(|&from| graph.link_residual(from, to));
        }
    }

    /// What `outputs` compute is added.
    fn add(&mut self, outputs: &[NodeIndex]) {
        self.0.push(outputs.to_vec());
    }
}

fn feed_all(graph: &mut ArchGraph, from: &[NodeIndex], to: &[NodeIndex]) {
    for &from in from {
        to.iter().for_each(|&to| graph.link(from, to, EdgeKind::FeedsInto));
    }
}

/// Query heads share key and value heads in groups of neighbours.
pub(super) fn link_keys(graph: &mut ArchGraph, heads: &[NodeIndex], kv_heads: &[NodeIndex]) {
    for (i, &head) in heads.iter().enumerate() {
        if let Some(&kv) = kv_heads.get(i * kv_heads.len() / heads.len()) {
            graph.link(kv, head, EdgeKind::FeedsInto);
            graph.link(head, kv, EdgeKind::Uses);
        }
    }
}

/// Where an encoder's output goes into a decoder's layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Around {
    /// The output of the encoder.
    pub encoder: Option<NodeIndex>,
}

/// Links the parts of a layer whose input is `stream`; the layer's node is then the stream behind it.
pub(super) fn link_layer(graph: &mut ArchGraph, nodes: &LayerNodes, mut stream: Stream, around: Around) {
    let norm_before_feed_forward = norm_is_before_feed_forward(nodes);
    if let Some(convolution) = nodes.at(Place::Convolution) {
        stream.feed(graph, &[convolution]);
        stream.add(&[convolution]);
    }
    // Some models run the feed-forward beside the attention, on the same normalised input.
    let attention_norm = nodes.at(Place::AttentionNorm);
    let has_mixer = nodes.at(Place::Attention).or(nodes.at(Place::StateSpace)).is_some();
    let input = stream.clone();
    if has_mixer {
        let mixed = link_mixer(graph, nodes, &stream, attention_norm);
        let mixed = match nodes.at(Place::PostAttentionNorm).filter(|_| !norm_before_feed_forward) {
            Some(norm) => {
                feed_all(graph, &mixed, &[norm]);
                vec![norm]
            }
            None => mixed,
        };
        stream.add(&mixed);
        if let Some(norm) = nodes.at(Place::AttentionOutputNorm) {
            stream.feed(graph, &[norm]);
            stream = Stream::from(norm);
        }
    }
    if let Some(cross) = nodes.at(Place::CrossAttention) {
        let entry = nodes.at(Place::CrossAttentionNorm).unwrap_or(cross);
        stream.feed(graph, &[entry]);
        if entry != cross {
            graph.link(entry, cross, EdgeKind::FeedsInto);
        }
        if let Some(encoder) = around.encoder {
            graph.link(encoder, cross, EdgeKind::FeedsInto);
        }
        stream.add(&[cross]);
    }
    link_feed_forward(graph, nodes, &mut stream, &input, norm_before_feed_forward);
    if let Some(norm) = nodes.at(Place::LayerOutputNorm) {
        stream.feed(graph, &[norm]);
        stream = Stream::from(norm);
    }
    stream.feed(graph, &[nodes.node]);
}

/// A norm named "behind the attention" stands before the feed-forward in models that have no other norm there.
fn norm_is_before_feed_forward(nodes: &LayerNodes) -> bool {
    nodes.at(Place::FeedForwardNorm).is_none()
        && nodes.at(Place::PostFeedForwardNorm).is_none()
        && nodes.at(Place::PostAttentionNorm).is_some()
}

/// Attention, state space, or both side by side; returns what they add to the stream.
fn link_mixer(graph: &mut ArchGraph, nodes: &LayerNodes, stream: &Stream, norm: Option<NodeIndex>) -> Vec<NodeIndex> {
    let mut outputs = vec![];
    let mut entries = vec![];
    if let Some(attention) = nodes.at(Place::Attention) {
        let (heads, kv_heads) = (&nodes.heads, &nodes.kv_heads);
        feed_all(graph, if heads.is_empty() { kv_heads } else { heads }, &[attention]);
        if heads.is_empty() && kv_heads.is_empty() {
            entries.push(attention);
        }
        entries.extend(kv_heads.iter().chain(heads));
        outputs.push(attention);
    }
    if let Some(mixer) = nodes.at(Place::StateSpace) {
        entries.push(mixer);
        outputs.push(mixer);
    }
    match norm {
        Some(norm) => {
            stream.feed(graph, &[norm]);
            feed_all(graph, &[norm], &entries);
        }
        None => stream.feed(graph, &entries),
    }
    outputs
}

fn link_feed_forward(
    graph: &mut ArchGraph,
    nodes: &LayerNodes,
    stream: &mut Stream,
    input: &Stream,
    norm_before: bool,
) {
    let (dense, router, shared) =
        (nodes.at(Place::FeedForward), nodes.at(Place::Router), nodes.at(Place::SharedExpert));
    let computing: Vec<NodeIndex> = dense.into_iter().chain(nodes.experts.iter().copied()).chain(shared).collect();
    let entries: Vec<NodeIndex> = computing.iter().copied().chain(router).collect();
    if entries.is_empty() {
        return;
    }
    let own = if norm_before { nodes.at(Place::PostAttentionNorm) } else { nodes.at(Place::FeedForwardNorm) };
    let is_beside_attention = own.is_none()
        && nodes.at(Place::PostFeedForwardNorm).is_none()
        && nodes.at(Place::AttentionOutputNorm).is_none();
    match (own, nodes.at(Place::AttentionNorm)) {
        (Some(norm), _) => {
            stream.feed(graph, &[norm]);
            feed_all(graph, &[norm], &entries);
        }
        (None, Some(norm)) if is_beside_attention => feed_all(graph, &[norm], &entries),
        (None, None) if is_beside_attention => input.feed(graph, &entries),
        (None, _) => stream.feed(graph, &entries),
    }
    if let Some(router) = router {
        feed_all(graph, &[router], &nodes.experts);
    }
    let outputs = if computing.is_empty() { entries } else { computing };
    match nodes.at(Place::PostFeedForwardNorm) {
        Some(norm) => {
            feed_all(graph, &outputs, &[norm]);
            stream.add(&[norm]);
        }
        None => stream.add(&outputs),
    }
}
