//! The attention of one token in one layer: found in the graph, computed from its queries, the K cache and the mask.

use super::keys::{Rows, row_bytes};
use super::softmax::{Stages, Step, rounded, row, slope};
use crate::query::GraphView;
use crate::query::values::joined;
use crate::trace::{Select, Trace, TraceError};
use ggscope_format::attention::{Attention as Found, FLASH_ATTN_EXT, root};
use ggscope_format::columns::Row;
use ggscope_format::record::{Graph, Tensor, Value};
use ggscope_format::{EvalId, TensorId};
use ggscope_model::ggml::GgmlType;
use half::f16;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

/// Why there is no attention to show.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// The trace has none.
    #[error("{0} has no attention: record with `ggscope record --capture attention -- PROGRAM`")]
    NotCaptured(String),
    /// No such token, layer or head. The first part is `token`, `layer` or `head`.
    #[error("{1}")]
    Missing(&'static str, String),
    /// Something that it is computed from was lost, or is not known.
    #[error("the attention of evaluation {0} in layer {1} cannot be computed: {2}")]
    Unknown(u64, u32, String),
    /// The trace is damaged.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

/// A key that the token could see.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Key {
    /// Row of the K cache; without a cache, the number of the token in the evaluation.
    pub cell: u64,
    /// Number of its token within the session, if it is known.
    pub token: Option<u64>,
    /// Position that the token had when it came.
    pub pos: Option<i32>,
    /// Text of the token, if it is known.
    pub text: Option<String>,
}

/// One head's row: a number for each of [`Attention::keys`] in each stage. NaN and infinities are null in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadRow {
    /// The head.
    pub head: usize,
    /// The head of the keys that it shares with its group.
    pub kv_head: usize,
    /// q · k.
    pub products: Vec<f32>,
    /// Scaled, and capped where the model caps.
    pub scaled: Vec<f32>,
    /// With the mask and the ALiBi bias.
    pub masked: Vec<f32>,
    /// The softmax.
    pub weights: Vec<f32>,
    /// Share of the head's sink, where the model has sinks.
    pub sink: Option<f32>,
}

/// The attention of one token in one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attention {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Its evaluation.
    pub eval: u64,
    /// The layer.
    pub layer: u32,
    /// `FLASH_ATTN_EXT`, or `SOFT_MAX` where flash attention was off.
    pub op: String,
    /// Heads of the layer.
    pub n_head: usize,
    /// Heads of the keys.
    pub n_head_kv: usize,
    /// Length of a query and of a key.
    pub n_embd_head: usize,
    /// Type of the keys.
    pub k_type: String,
    /// The keys that the mask lets the token see, in the order of the cache.
    pub keys: Vec<Key>,
    /// The heads that were asked for.
    pub heads: Vec<HeadRow>,
}

/// Computes the attention of a token (the last, if none is said) in a layer, of one head or of all.
///
/// # Errors
/// When the trace has no such captures, no such token, layer or head, or something was lost.
pub fn attention(trace: &Trace, token: Option<u64>, layer: u32, head: Option<usize>) -> Result<Attention, InsideError> {
    if !trace.recording().capture.iter().any(|c| c == ggscope_format::session::ATTENTION) {
        return Err(InsideError::NotCaptured(trace.path().display().to_string()));
    }
    let last = (trace.totals().prompt_tokens + trace.totals().generated_tokens).saturating_sub(1);
    let token = token.unwrap_or(last);
    let select = Select { tokens: Some(token..token.saturating_add(1)), ..Select::default() };
    let mut evaluation = None;
    trace.for_each_evaluation(&select, false, |row| {
        evaluation = Some(row);
        ControlFlow::Break(())
    });
    let evaluation = evaluation
        .ok_or_else(|| InsideError::Missing("token", format!("there is no token {token}: the last one is {last}")))?;
    let view = GraphView::new(trace.graph(evaluation.evaluation.graph)?);
    let found = ending_in(&view, layer)?;
    Layer { trace, view: &view, row: &evaluation, found, layer }.of((token - evaluation.first_token) as usize, head)
}

/// The attention of a layer.
fn ending_in(view: &GraphView, layer: u32) -> Result<Found<TensorId>, InsideError> {
    let graph = &view.stored.graph;
    let all: Vec<_> = graph.nodes().filter_map(|(id, _)| Found::ending(graph, id)).collect();
    let of = |found: &Found<TensorId>| view.layers.layer(found.node);
    let layers: Vec<u32> = all.iter().filter_map(of).collect();
    all.into_iter().find(|found| of(found) == Some(layer)).ok_or_else(|| {
        let there = match (layers.first(), layers.last()) {
            (Some(first), Some(last)) => format!("it has some in {} layers, {first} to {last}", layers.len()),
            _ => "it has none at all".to_owned(),
        };
        InsideError::Missing("layer", format!("the graph has no attention in layer {layer}: {there}"))
    })
}

struct Layer<'a> {
    trace: &'a Trace,
    view: &'a GraphView,
    row: &'a Row,
    found: Found<TensorId>,
    layer: u32,
}

/// A tensor with the bytes of what it is a view of.
struct Bytes<'a> {
    tensor: &'a Tensor,
    bytes: Vec<u8>,
}

impl Bytes<'_> {
    /// `n` bytes of the element at these places in the last three dimensions.
    fn at(&self, places: [usize; 3], n: usize) -> Option<&[u8]> {
        let offset = self.tensor.view.map_or(0, |view| view.1);
        let at = places
            .iter()
            .zip(&self.tensor.nb[1..])
            .try_fold(offset, |at, (&i, &nb)| at.checked_add(nb.checked_mul(i as u64)?))?;
        let at = usize::try_from(at).ok()?;
        self.bytes.get(at..at.checked_add(n)?)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

impl Layer<'_> {
    fn graph(&self) -> &Graph {
        &self.view.stored.graph
    }

    fn unknown(&self, why: impl Into<String>) -> InsideError {
        InsideError::Unknown(self.row.evaluation.eval.0, self.layer, why.into())
    }

    fn captured<'t>(&'t self, values: &[Value], id: TensorId, what: &str) -> Result<Bytes<'t>, InsideError> {
        let tensor = self.graph().tensor(id).ok_or_else(|| self.unknown("a tensor is not in its graph"))?;
        let whole = joined(root(self.graph(), id), values).filter(|(bytes, total)| bytes.len() as u64 == *total);
        let lost = || {
            self.unknown(format!(
                "its {what}: not captured, or lost because the ring was full; give it more room with --ring-size"
            ))
        };
        Ok(Bytes { tensor, bytes: whole.ok_or_else(lost)?.0 })
    }

    /// What is done to a product, and the largest ALiBi bias.
    fn rule(&self) -> Result<(Vec<Step>, f32), InsideError> {
        let graph = self.graph();
        let param = |id: TensorId, i: usize| {
            graph.tensor(id).and_then(|t| t.op_params.get(i)).map_or(0.0, |&bits| f32::from_bits(bits as u32))
        };
        let by = |by| Step::Scale { by, add: 0.0 };
        let node = self.found.node;
        let (scale, max_bias) = (param(node, 0), param(node, 1));
        if graph.tensor(node).map(|t| graph.op(t)) == Some(FLASH_ATTN_EXT) {
            let cap = param(node, 2);
            let steps = if cap == 0.0 { vec![by(scale)] } else { vec![by(scale / cap), Step::Tanh, by(cap)] };
            return Ok((steps, max_bias));
        }
        let mut steps = vec![];
        for &id in &self.found.between {
            steps.push(match graph.tensor(id).map(|t| graph.op(t)) {
                Some("SCALE") => Step::Scale { by: param(id, 0), add: param(id, 1) },
                Some("TANH") => Step::Tanh,
                _ => {
                    return Err(self.unknown("the model adds a bias of its own to its products, which is not captured"));
                }
            });
        }
        steps.push(by(scale));
        Ok((steps, max_bias))
    }

    fn of(&self, token: usize, head: Option<usize>) -> Result<Attention, InsideError> {
        let graph = self.graph();
        let (Some(q_tensor), Some(k_tensor)) = (graph.tensor(self.found.q), graph.tensor(self.found.k)) else {
            return Err(self.unknown("a tensor is not in its graph"));
        };
        let size = |n: i64| usize::try_from(n).unwrap_or(0);
        let [n_embd, per_stream, n_head, streams] = q_tensor.ne.map(size);
        let [k_embd, n_kv, n_head_kv, k_streams] = k_tensor.ne.map(size);
        let n_tokens = self.row.evaluation.n_tokens as usize;
        let fits = n_embd > 0
            && n_embd == k_embd
            && per_stream.checked_mul(streams) == Some(n_tokens)
            && n_head_kv > 0
            && n_head.is_multiple_of(n_head_kv)
            && k_streams > 0
            && streams.is_multiple_of(k_streams);
        if !fits || self.view.dtype(q_tensor) != "f32" {
            return Err(self.unknown("its queries and keys have shapes that do not fit each other"));
        }
        if let Some(head) = head.filter(|&head| head >= n_head) {
            return Err(InsideError::Missing("head", format!("there is no head {head}: the layer has {n_head}")));
        }
        let k_type = self.view.dtype(k_tensor);
        let keys_type = GgmlType::from_name(k_type).ok_or_else(|| self.unknown(format!("keys have type {k_type}")))?;
        let (steps, max_bias) = self.rule()?;
        let values = self.trace.values(self.row.evaluation.eval);
        let q = self.captured(&values, self.found.q, "queries")?;
        let mask = self.found.mask.map(|mask| self.captured(&values, mask, "mask")).transpose()?;
        let sinks = self.found.sinks.map(|sinks| self.captured(&values, sinks, "sinks")).transpose()?;
        let (stream, i) = (token / per_stream, token % per_stream);
        let k_stream = stream * k_streams / streams;
        let mask_of = |head: usize| -> Option<Vec<f32>> {
            let mask = mask.as_ref()?;
            let [.., heads, streams] = mask.tensor.ne.map(size);
            let at = [i, head % heads.max(1), stream % streams.max(1)];
            if self.view.dtype(mask.tensor) == "f16" {
                let bytes = mask.at(at, n_kv * 2)?;
                return Some(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect());
            }
            mask.at(at, n_kv.checked_mul(4)?).map(floats)
        };
        let masks: Vec<Option<Vec<f32>>> = (0..n_head).map(mask_of).collect();
        if mask.is_some() && masks.iter().any(Option::is_none) {
            return Err(self.unknown("its mask is smaller than its shape says"));
        }
        let is_seen = |j: &usize| masks.iter().any(|m| m.as_ref().is_none_or(|m| m[*j] != f32::NEG_INFINITY));
        let seen: Vec<usize> = (0..n_kv).filter(is_seen).collect();
        let (cells, rows) = self.keys(&values, &seen, k_stream)?;
        let n_bytes = keys_type.row_size(n_embd as u64).unwrap_or(0) as usize;
        let heads: Vec<usize> = head.map_or((0..n_head).collect(), |head| vec![head]);
        let of_head = |&head: &usize| -> Result<HeadRow, InsideError> {
            let kv_head = head / (n_head / n_head_kv);
            let damaged = || self.unknown("its tensors are smaller than their shapes say");
            let mut query = q.at([i, head, stream], n_embd * 4).map(floats).ok_or_else(damaged)?;
            rounded(&mut query, keys_type);
            let mut keys = vec![0.0; seen.len() * n_embd];
            for (out, row) in keys.chunks_exact_mut(n_embd).zip(&rows) {
                let bytes = row.get(kv_head * n_bytes..(kv_head + 1) * n_bytes).ok_or_else(damaged)?;
                keys_type.dequantize(bytes, out).map_err(|e| self.unknown(e.to_string()))?;
            }
            let visible = masks[head].as_ref().map(|m| seen.iter().map(|&j| m[j]).collect::<Vec<f32>>());
            let sink = sinks.as_ref().and_then(|s| floats(&s.bytes).get(head).copied());
            let slope = slope(max_bias, head, n_head);
            let Stages { products, scaled, masked, weights, sink } =
                row(&query, &keys, &steps, visible.as_deref(), slope, sink);
            Ok(HeadRow { head, kv_head, products, scaled, masked, weights, sink })
        };
        let heads = heads.par_iter().map(of_head).collect::<Result<Vec<_>, _>>()?;
        let keys = self.named(cells);
        let texts = self.trace.texts_of(&self.row.evaluation.tokens);
        let id = self.row.evaluation.tokens.get(token);
        Ok(Attention {
            token: self.row.first_token + token as u64,
            text: id.and_then(|id| texts.get(id)).map(|t| String::from_utf8_lossy(t).into_owned()),
            eval: self.row.evaluation.eval.0,
            layer: self.layer,
            op: graph.tensor(self.found.node).map_or("?", |t| graph.op(t)).to_owned(),
            n_head,
            n_head_kv,
            n_embd_head: n_embd,
            k_type: k_type.to_owned(),
            keys,
            heads,
        })
    }

    /// The rows of keys that are seen, all heads side by side, and what is known of their tokens.
    #[allow(clippy::type_complexity, reason = "two lists of the same length")]
    fn keys(
        &self,
        values: &[Value],
        seen: &[usize],
        stream: usize,
    ) -> Result<(Vec<(u64, Option<(EvalId, usize)>)>, Vec<Vec<u8>>), InsideError> {
        let (graph, look) = (self.graph(), self.found.k);
        let tensor = graph.tensor(look).ok_or_else(|| self.unknown("a tensor is not in its graph"))?;
        let cache = root(graph, look);
        if graph.tensor(cache).is_some_and(|t| graph.op(t) != "NONE") {
            let keys = self.captured(values, look, "keys")?;
            let n_bytes = tensor.nb[0].saturating_mul(tensor.ne[0].unsigned_abs()) as usize;
            let heads = 0..usize::try_from(tensor.ne[2]).unwrap_or(0);
            let row = |&j: &usize| -> Option<Vec<u8>> {
                let parts: Option<Vec<&[u8]>> = heads.clone().map(|h| keys.at([j, h, stream], n_bytes)).collect();
                Some(parts?.concat())
            };
            let rows: Option<Vec<Vec<u8>>> = seen.iter().map(row).collect();
            let cell = |&j: &usize| (j as u64, Some((self.row.evaluation.eval, j)));
            return Ok((seen.iter().map(cell).collect(), rows.ok_or_else(|| self.unknown("keys are missing"))?));
        }
        let Some(bytes) = row_bytes(graph, cache) else {
            return Err(self.unknown("how the graph writes its K cache is not known: only SET_ROWS is"));
        };
        let offset = tensor.view.map_or(0, |view| view.1).saturating_add(tensor.nb[3].saturating_mul(stream as u64));
        let first = offset / bytes;
        let wanted: Range<u64> = first..first.saturating_add(tensor.ne[1].unsigned_abs());
        let rows = Rows::at(self.trace, &self.view.stored, cache, self.row.evaluation.eval, &wanted);
        if !rows.is_current {
            return Err(self.unknown(
                "the keys that it wrote were lost because the ring was full; give it more room with --ring-size",
            ));
        }
        let cells: Vec<u64> = seen.iter().map(|&j| first + j as u64).collect();
        // All heads of a key lie side by side in its row.
        let row = |cell: &u64| rows.row(*cell).map(<[u8]>::to_vec).ok_or(*cell);
        let found: Result<Vec<_>, u64> = cells.iter().map(row).collect();
        let found = found.map_err(|cell| {
            self.unknown(format!("row {cell} of the K cache was written before recording began, or was lost"))
        })?;
        Ok((cells.iter().map(|&cell| (cell, rows.tokens.get(&cell).copied())).collect(), found))
    }

    /// Keys with their tokens.
    fn named(&self, cells: Vec<(u64, Option<(EvalId, usize)>)>) -> Vec<Key> {
        let evals = || cells.iter().filter_map(|cell| cell.1).map(|(eval, _)| eval.0);
        let range = evals().min().unwrap_or(0)..evals().max().map_or(0, |last| last + 1);
        let mut rows: HashMap<u64, Row> = HashMap::new();
        self.trace.for_each_evaluation(&Select { evals: Some(range), ..Select::default() }, false, |row| {
            rows.insert(row.evaluation.eval.0, row);
            ControlFlow::Continue(())
        });
        let ids: Vec<i32> = rows.values().flat_map(|row| row.evaluation.tokens.iter().copied()).collect();
        let texts = self.trace.texts_of(&ids);
        let name = |(cell, token): (u64, Option<(EvalId, usize)>)| {
            let row = token.and_then(|(eval, i)| Some((rows.get(&eval.0)?, i)));
            let text = row.and_then(|(row, i)| texts.get(row.evaluation.tokens.get(i)?));
            Key {
                cell,
                token: row.map(|(row, i)| row.first_token + i as u64),
                pos: row.and_then(|(row, i)| row.evaluation.positions.get(i).copied()),
                text: text.map(|t| String::from_utf8_lossy(t).into_owned()),
            }
        };
        cells.into_iter().map(name).collect()
    }
}
