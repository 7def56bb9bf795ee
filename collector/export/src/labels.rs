//! What timelines write on their slices, the same in all formats.

use ggscope_format::TensorId;
use ggscope_format::record::Tensor;
use ggscope_query::dump::Phase;
use ggscope_query::{FilteredEvaluation, GraphView};
use std::fmt::Write;

/// An evaluation: `prompt: 23 tokens`, `token 12: " the"`; `3 tokens` where their phases are not known.
pub fn evaluation(evaluated: &FilteredEvaluation<'_>) -> String {
    let n = evaluated.evaluation().n_tokens;
    match (n, evaluated.phase, &evaluated.text) {
        (0, _, _) => "no tokens".into(),
        (1, Some(Phase::Generate), Some(text)) => format!("token {}: {text:?}", evaluated.row.first_token),
        (1, Some(Phase::Generate), None) => format!("token {}", evaluated.row.first_token),
        (_, Some(Phase::Generate), _) => format!("answers: {n} tokens"),
        (1, Some(Phase::Unknown), _) => "1 token".into(),
        (_, Some(Phase::Unknown), _) => format!("{n} tokens"),
        (1, _, _) => "prompt: 1 token".into(),
        _ => format!("prompt: {n} tokens"),
    }
}

/// The requests that its tokens belong to, in the order of their tokens, with commas: `3, 5`. Empty if they are unknown.
pub fn requests(evaluated: &FilteredEvaluation<'_>) -> String {
    let mut ids: Vec<u32> = vec![];
    for id in evaluated.row.requests.iter().flatten().map(|id| id.0) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// A layer, or that there is none.
pub fn layer(layer: Option<u32>) -> String {
    layer.map_or("no layer".into(), |layer| format!("layer {layer}"))
}

/// Type and elements: `q4_1[576×192]`.
pub fn shape(view: &GraphView, tensor: &Tensor) -> String {
    let n = tensor.ne.iter().rposition(|&e| e != 1).map_or(1, |last| last + 1);
    let dims: Vec<String> = tensor.ne[..n].iter().map(i64::to_string).collect();
    format!("{}[{}]", view.dtype(tensor), dims.join("×"))
}

/// What a node reads: `blk.0.attn_q.weight q4_1[576×576] DISK /models/a.gguf@4096; attn_norm-0 f32[576] BUFFER CPU`.
pub fn sources(view: &GraphView, node: &Tensor) -> String {
    let mut text = String::new();
    for (id, source) in node.src.iter().flatten().filter_map(|&id| Some((id, view.stored.graph.tensor(id)?))) {
        let place = view.place(id);
        let between = if text.is_empty() { "" } else { "; " };
        let at = match (place.file, place.offset) {
            (Some(file), Some(offset)) => format!("{file}@{offset}"),
            _ => place.buffer.unwrap_or("none").to_owned(),
        };
        let _ = write!(text, "{between}{} {} {} {at}", source.name, shape(view, source), place.memory);
    }
    text
}

/// Nodes that were computed in one go with another: `RMS_NORM norm-0`.
pub fn fused(view: &GraphView, ids: &[TensorId]) -> String {
    let graph = &view.stored.graph;
    let named = |&id: &TensorId| graph.tensor(id).map(|t| format!("{} {}", graph.op(t), t.name));
    ids.iter().filter_map(named).collect::<Vec<_>>().join(", ")
}

/// Tokens a second of an evaluation.
pub fn tokens_per_second(evaluated: &FilteredEvaluation<'_>) -> f64 {
    let e = evaluated.evaluation();
    let ns = e.end.0.saturating_sub(e.start.0);
    if ns == 0 { 0.0 } else { f64::from(e.n_tokens) * 1e9 / ns as f64 }
}
