//! The attention of one token in one layer: found in the graph, computed from its queries, the K cache and the mask.

use crate::adapters::Adapter;
use crate::attention::cache_rows::Rows;
use crate::attention::error::{AttentionError, captured};
use crate::attention::layer::{Lacks, LayerState};
use crate::attention::limits::{capture_of, left_out};
use crate::attention::plan::Plan;
use crate::attention::row::KeyRef;
use crate::attention::tile::products_of;
use crate::attention::walk::Walker;
use crate::model_tensor::Used;
use ggscope_compute::attention::softmax::Stages;
use ggscope_format::GraphId;
use ggscope_format::columns::Row;
use ggscope_query::causes::Causes;
use ggscope_query::contexts::Contexts;
use ggscope_trace::{Select, Trace};
use rayon::prelude::*;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use utoipa::ToSchema;

/// A key that the token could see.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
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
    /// Σ weights · V, where the values were captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted: Option<Vec<f32>>,
    /// Norm of what the head adds to the residual stream: see [`super::add_contributions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contribution: Option<f32>,
    /// Its query, after RoPE, as it was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Vec<f32>>,
}

/// What the heads of the keys hold of each key, `[length, keys, heads of the keys]`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Vectors {
    /// Keys, after RoPE, as the cache has them.
    pub keys: Vec<Vec<Vec<f32>>>,
    /// Values, where they were captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<Vec<Vec<f32>>>>,
}

/// The attention of one token in one layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Attention {
    /// The context that computed it.
    pub context: u32,
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Its evaluation.
    pub eval: u64,
    /// The layer.
    pub layer: u32,
    /// The node of the graph that ends it.
    pub node: u32,
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
    /// Why there are no weighted values, if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_values: Option<String>,
    /// Why it is not said how much heads add, if somebody who asked for vectors is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_contribution: Option<String>,
    /// Name of the matrix that takes the heads' results, if nothing is done to them before but to turn them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// That matrix, as the graph used it.
    #[serde(skip)]
    pub(crate) matrix: Option<Used>,
    /// Adapters on that matrix.
    #[serde(skip)]
    pub(crate) adapters: Vec<Adapter>,
    /// Where a Walsh-Hadamard matrix turns the heads' results before that one: so many elements together. Values and what is
    /// weighed of them are as the cache has them, turned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turned: Option<usize>,
    /// The vectors, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vectors: Option<Vectors>,
}

impl Attention {
    /// Keeps of the vectors of keys and values only those of a token, if it is among the keys. `false` if it is not.
    pub fn keep_vectors_of(&mut self, token: u64) -> bool {
        let Some(at) = self.keys.iter().position(|key| key.token == Some(token)) else { return false };
        let Some(vectors) = &mut self.vectors else { return true };
        for of_head in vectors.keys.iter_mut().chain(vectors.values.iter_mut().flatten()) {
            *of_head = of_head.drain(at..=at).collect();
        }
        true
    }

    /// Numbers in the vectors of keys and values.
    pub fn n_in_vectors(&self) -> usize {
        let of = |heads: &[Vec<Vec<f32>>]| heads.iter().flatten().map(Vec::len).sum::<usize>();
        self.vectors.as_ref().map_or(0, |v| of(&v.keys) + v.values.as_deref().map_or(0, of))
    }
}

/// The token that a question is about, and its context: the token that is named, else the last one of the context that is
/// named, else that of the usual one.
///
/// # Errors
/// When there is no such context or token, or the token is another context's.
pub(crate) fn which_token(
    trace: &Trace,
    context: Option<u32>,
    token: Option<u64>,
) -> Result<(u64, u32), AttentionError> {
    let all = Contexts::of(trace);
    let range = token.map(|token| token..token.saturating_add(1));
    let missing = |why| AttentionError::Missing("context", why);
    let chosen = all.choose(trace, context, range.as_ref()).map_err(missing)?;
    let last = chosen.and_then(|chosen| all.get(chosen)?.last_token);
    let n_tokens = trace.totals().tokens();
    let none = || AttentionError::Missing("token", crate::no_token(token.unwrap_or(0), n_tokens));
    token.or(last).filter(|&token| token < n_tokens).zip(chosen).ok_or_else(none)
}

/// Computes the attention of a token in a layer, of one head or of all, with queries, keys and values if `vectors` are wanted.
/// If no token is named it is the last one of the context that is named, or of the usual one.
///
/// # Errors
/// When the trace has no such captures, no such context, token, layer or head, or something was lost.
pub fn attention(
    trace: &Trace,
    context: Option<u32>,
    token: Option<u64>,
    layer: u32,
    head: Option<usize>,
    vectors: bool,
) -> Result<Attention, AttentionError> {
    captured(trace)?;
    let (token, _) = which_token(trace, context, token)?;
    let mut walker = Walker::with_values(Some(layer..=layer));
    let mut found = None;
    trace.for_each_evaluation(&Select::default(), false, |row| {
        let plan = walker.move_on(trace, &row);
        if row.first_token.saturating_add(row.phases.len() as u64) <= token {
            return ControlFlow::Continue(());
        }
        found = plan.filter(|_| row.first_token <= token).map(|plan| (row, plan));
        ControlFlow::Break(())
    });
    let unread = || format!("the graph of token {token} cannot be read: {}", trace.warnings().join("; "));
    let (row, plan) = found.ok_or_else(|| AttentionError::Missing("token", unread()))?;
    stages(trace, &walker, (&row, &plan), (token, layer, head, vectors))
}

/// The attention of a token of the evaluation that a walker has moved on to, which has this plan.
pub(crate) fn stages(
    trace: &Trace,
    walker: &Walker,
    (row, plan): (&Row, &Plan),
    (token, layer, head, vectors): (u64, u32, Option<usize>, bool),
) -> Result<Attention, AttentionError> {
    let n_tokens = row.evaluation.n_tokens as usize;
    let unknown = |why| AttentionError::Unknown(row.evaluation.eval.0, layer, why);
    let of_layer = walker.layer(plan, layer, n_tokens).ok_or_else(|| {
        let there = match (plan.all.first(), plan.all.last()) {
            (Some(first), Some(last)) => format!("it has some in {} layers, {first} to {last}", plan.all.len()),
            _ => "it has none at all".to_owned(),
        };
        AttentionError::Missing("layer", format!("the graph has no attention in layer {layer}: {there}"))
    })?;
    let limit = || left_out(&capture_of(trace, row.evaluation.eval)?, row, layer, plan.n_head(layer));
    let causes = || Causes::of(trace);
    let of_layer = of_layer.map_err(|why| unknown(limit().unwrap_or_else(|| why.said(&causes(), row))))?;
    let n_head = of_layer.plan.n_head();
    if let Some(head) = head.filter(|&head| head >= n_head) {
        return Err(AttentionError::Missing("head", format!("there is no head {head}: the layer has {n_head}")));
    }
    let n_per_stream = of_layer.plan.per_stream();
    let token_in_row = (token - row.first_token) as usize;
    let heads: Vec<usize> = head.map_or((0..n_head).collect(), |head| vec![head]);
    let is_there =
        |&head: &usize| of_layer.query(token_in_row % n_per_stream, token_in_row / n_per_stream, head).is_some();
    let heads: Vec<usize> = heads.into_iter().filter(is_there).collect();
    if heads.is_empty() {
        return Err(unknown("its queries: of these heads they were not captured (--capture-heads)".into()));
    }
    let values = walker.values_of(&of_layer);
    of_token(trace, row, &of_layer, values, (token_in_row, &heads, vectors))
        .map_err(|why| unknown(why.said(&causes(), row)))
}

/// All stages of some heads for one token of an evaluation, with the vectors if they are wanted.
fn of_token(
    trace: &Trace,
    row: &Row,
    layer: &LayerState<'_>,
    values: Result<Cow<'_, Rows>, Lacks>,
    (token, heads, vectors): (usize, &[usize], bool),
) -> Result<Attention, Lacks> {
    let plan = layer.plan;
    let (stream, i) = (token / plan.per_stream(), token % plan.per_stream());
    let seen = layer.seen(i, stream)?;
    let all = layer.keys(stream, row.first_token);
    let keys: Vec<KeyRef> = seen.each().map(|j| all[j]).collect();
    let is_there = |rows: &Rows| keys.iter().all(|key| rows.has(key.cell));
    let values = values.and_then(|rows| if is_there(&rows) { Ok(rows) } else { Err(Lacks::Row("V")) });
    let group = plan.n_head() / plan.n_head_kv();
    let of_head = |&head: &usize| {
        let (products, bias) = (products_of(layer, i, stream, head, &seen), seen.bias_of(head));
        let Stages { products, scaled, masked, weights, sink } =
            ggscope_compute::attention::softmax::row(products, &plan.steps, bias, layer.slope(head), layer.sink(head));
        let kv_head = head / group;
        let weighted = values.as_ref().ok().map(|rows| weighted(rows, &keys, kv_head, &weights));
        let query = if vectors { layer.query(i, stream, head) } else { None };
        HeadRow { head, kv_head, products, scaled, masked, weights, sink, weighted, contribution: None, query }
    };
    let of_rows = |rows: &Rows| -> Vec<Vec<Vec<f32>>> {
        let kv_heads: BTreeSet<usize> = heads.iter().map(|head| head / group).collect();
        let of_head = |head| keys.iter().map(|key| rows.row(key.cell, head).unwrap_or_default()).collect();
        kv_heads.into_iter().map(of_head).collect()
    };
    let vectors =
        vectors.then(|| Vectors { keys: of_rows(&layer.rows), values: values.as_ref().ok().map(|rows| of_rows(rows)) });
    let texts = trace.texts_of(row.evaluation.graph, &row.evaluation.tokens);
    let id = row.evaluation.tokens.get(token);
    Ok(Attention {
        context: row.evaluation.context,
        token: row.first_token + token as u64,
        text: id.and_then(|id| texts.get(id)).map(|t| String::from_utf8_lossy(t).into_owned()),
        eval: row.evaluation.eval.0,
        layer: plan.layer,
        node: plan.node.0,
        op: plan.op.clone(),
        n_head: plan.n_head(),
        n_head_kv: plan.n_head_kv(),
        n_embd_head: plan.q.ne[0],
        k_type: plan.k_shape.ty.name().to_owned(),
        keys: named(trace, &keys),
        heads: heads.par_iter().map(of_head).collect(),
        no_values: values.as_ref().err().map(|why| why.said(&Causes::of(trace), row)),
        no_contribution: None,
        output: plan.output.as_ref().map(|output| output.matrix.name.clone()),
        matrix: plan.output.as_ref().map(|output| output.matrix.clone()),
        adapters: plan.output.as_ref().map_or(vec![], |output| output.adapters.clone()),
        turned: plan.output.as_ref().and_then(|output| output.turned),
        vectors,
    })
}

/// Σ weights · V.
fn weighted(rows: &Rows, keys: &[KeyRef], head: usize, weights: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0_f64; rows.shape.n_embd];
    // What has no weight is not multiplied: masked rows may hold anything.
    for (key, &weight) in keys.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
        let row = rows.row(key.cell, head).unwrap_or_default();
        sum.iter_mut().zip(&row).for_each(|(sum, &x)| *sum += f64::from(weight) * f64::from(x));
    }
    sum.into_iter().map(|x| x as f32).collect()
}

/// Keys with what is known of their tokens.
fn named(trace: &Trace, keys: &[KeyRef]) -> Vec<Key> {
    let tokens = || keys.iter().filter_map(|key| key.token);
    let range = tokens().min().unwrap_or(0)..tokens().max().map_or(0, |last| last + 1);
    /// The graph that a token was computed by, with its id, and its position.
    type Known = (Option<(GraphId, i32)>, Option<i32>);
    let mut known: HashMap<u64, Known> = HashMap::new();
    trace.for_each_evaluation(&Select { tokens: Some(range), ..Select::default() }, false, |row| {
        let e = &row.evaluation;
        let of = |i: usize| (e.tokens.get(i).map(|&id| (e.graph, id)), e.positions.get(i).copied());
        known.extend((0..row.phases.len()).map(|i| (row.first_token + i as u64, of(i))));
        ControlFlow::Continue(())
    });
    let name = |key: &KeyRef| {
        let (id, pos) = key.token.and_then(|token| known.get(&token)).copied().unwrap_or_default();
        let text = id.and_then(|(graph, id)| trace.text_of(graph, id));
        Key { cell: key.cell, token: key.token, pos, text }
    };
    keys.iter().map(name).collect()
}
