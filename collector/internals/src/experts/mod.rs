//! The experts of a mixture-of-experts model in a run: which of them each token was sent to in each layer, how evenly,
//! which go together, how much of the file they are, and what a cache of them would have hit.

mod cache;
mod choices;
mod load;
mod pairs;
mod sums;

pub use load::Load;
pub use pairs::Pair;

use choices::{Choice, Routed, for_each, routers_of};
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::{Filter, Phase, text};
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
use ggscope_trace::view::GraphView;
use serde::Serialize;
use std::ops::ControlFlow;
use sums::Sums;
use utoipa::ToSchema;

/// What the routers of a run chose.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ExpertReport {
    /// The context whose tokens were counted: `/sessions/{id}` says which model that is.
    pub context: u32,
    /// The other contexts of the recording.
    pub other_contexts: Vec<u32>,
    /// Evaluations that were counted.
    pub evaluations: u64,
    /// Evaluations that used every expert, as llama.cpp does to warm up: nothing was chosen there, and they are not
    /// counted.
    pub without_choice: u64,
    /// Tokens of prompts that were routed in some layer.
    pub prompt_tokens: u64,
    /// Tokens of answers that were routed in some layer.
    pub generated_tokens: u64,
    /// The newest of all these tokens; null if there is none.
    pub last_token: Option<u64>,
    /// Where weights come from; null if none were captured.
    pub weights: Option<WeightSource>,
    /// Whether only statistics of what routers found were captured, which tell no weight.
    pub only_statistics: bool,
    /// How much of the experts was read.
    pub bytes: ExpertBytes,
    /// The layers that have experts, ascending.
    pub layers: Vec<LayerExperts>,
    /// What caches of experts would have hit; null if that was not asked for.
    pub caches: Option<CacheStudy>,
}

/// Where the weights of choices come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct WeightSource {
    /// Name of the captured tensors, without the layer.
    pub tensor: String,
    /// Whether experts' outputs were multiplied with just these; else the graph changes them further.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// How much of the experts was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExpertBytes {
    /// Size of all experts of the layers that were counted.
    pub all: u64,
    /// Size of those that were ever read.
    pub used: u64,
    /// Size of those that tokens of prompts read.
    pub prompt: u64,
    /// Size of those that tokens of answers read.
    pub generate: u64,
    /// Bytes of experts that were read in all: each expert once an evaluation.
    pub read: u64,
    /// Size of the model's file, if it is known.
    pub file: Option<u64>,
    /// Size of the file without the experts that were not read: the run needed no more of it.
    pub needed: Option<u64>,
}

/// A layer's experts.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerExperts {
    /// Number of the layer.
    pub layer: u32,
    /// Experts that it has.
    pub experts: u32,
    /// Experts that a token goes to.
    pub per_token: u32,
    /// Size of one expert.
    pub expert_bytes: u64,
    /// Load by all tokens.
    pub all: Load,
    /// Load by tokens of prompts.
    pub prompt: Load,
    /// Load by tokens of answers.
    pub generate: Load,
    /// Jensen-Shannon divergence between the loads of prompts and answers in bits, 0 (the same) to 1; null without both.
    pub divergence: Option<f64>,
    /// Mean share of a token's heaviest expert in the sum of its weights; null without weights.
    pub heaviest: Option<f64>,
    /// Pairs that were chosen for one token most often.
    pub together: Vec<Pair>,
    /// From the layer with experts before it, for one token; null in the first.
    pub from_layer: Option<FromLayer>,
    /// From one token to the next of its sequence.
    pub from_token: FromToken,
}

/// Experts of one layer and of the next.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FromLayer {
    /// The earlier layer.
    pub layer: u32,
    /// The most frequent pairs.
    pub top: Vec<Pair>,
}

/// Experts of one token and of the next.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FromToken {
    /// Tokens whose predecessor is known: at the position before, in the same or the last evaluation of the context.
    pub tokens: u64,
    /// Share of their experts that were their predecessors' too; null without such tokens.
    pub kept: Option<f64>,
    /// What that share would be if the predecessor did not matter, of the same loads.
    pub by_chance: Option<f64>,
    /// The most frequent pairs.
    pub top: Vec<Pair>,
}

/// How often experts of a layer went together: counts as matrices, a row an expert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExpertPairs {
    /// The context whose tokens were counted.
    pub context: u32,
    /// The layer.
    pub layer: u32,
    /// Chosen for one token: symmetric, and on the diagonal how often each was chosen.
    pub together: Vec<Vec<u32>>,
    /// The layer with experts before it; null in the first.
    pub before: Option<u32>,
    /// From an expert of the layer before (row) to one of this (column), for one token; empty in the first layer.
    pub from_layer: Vec<Vec<u32>>,
    /// From an expert of one token (row) to one of the next of its sequence (column); empty if no token has a known
    /// predecessor.
    pub from_token: Vec<Vec<u32>>,
}

/// What caches of several sizes would have hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheStudy {
    /// Reads: each expert of each layer once an evaluation, in the order of layers, in a layer in the order of experts.
    pub accesses: u64,
    /// Reads at the end of the run that were too many to be looked at.
    pub left_out: u64,
    /// Different experts among them: so many reads are first ones, which no cache hits.
    pub distinct: u64,
    /// By size, ascending.
    pub sizes: Vec<CacheSize>,
}

/// Hits of caches of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheSize {
    /// Experts a layer.
    pub per_layer: u32,
    /// Experts in all.
    pub experts: u64,
    /// Their size in bytes, with the mean size of an expert.
    pub bytes: u64,
    /// Hits of one LRU cache for the whole model.
    pub lru: u64,
    /// Hits of the best possible cache of that size.
    pub best: u64,
    /// Hits of an LRU cache in each layer.
    pub layer_lru: u64,
    /// Hits of the best possible cache in each layer.
    pub layer_best: u64,
}

/// What single tokens chose.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ExpertChoices {
    /// By token, and of a token by layer.
    pub choices: Vec<TokenChoice>,
    /// How many more there are.
    pub left_out: u64,
}

/// A token in a layer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenChoice {
    /// The context that computed the token.
    pub context: u32,
    /// Number of the evaluation.
    pub eval: u64,
    /// Number of the token within the session.
    pub token: u64,
    /// Its id, if ids were recorded.
    pub token_id: Option<i32>,
    /// Its text, if it is known.
    pub token_text: Option<String>,
    /// Its position in its sequence, if it is known.
    pub pos: Option<i32>,
    /// Phase.
    pub phase: Phase,
    /// The layer.
    pub layer: u32,
    /// Its experts, in the router's order: the best first.
    pub experts: Vec<i32>,
    /// Their weights, if they were captured.
    pub weights: Option<Vec<f32>>,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoExperts {
    /// The graphs have no operator that picks experts.
    #[error("the model has no experts: no graph of the trace has a MUL_MAT_ID")]
    Dense,
    /// They have, but the ids are not in the trace.
    #[error(
        "the trace has no expert ids, although the model has experts: where routers compute on a device, ids are read \
             only with --level tensors; record it again with `ggscope record --level tensors -- …`"
    )]
    NotRecorded,
    /// Nothing was evaluated.
    #[error("the trace has no evaluations")]
    Nothing,
    /// There is no such context.
    #[error("{0}")]
    NoContext(String),
}

/// Single choices that are told at most.
pub const MAX_CHOICES: usize = 20_000;

/// The report on what the filter lets through: its tokens, evaluations, layers and phase. Caches are tried with so many
/// experts a layer as `sizes` say, with some usual sizes if it is empty, and not at all (they take most of the time) if it
/// is `None`.
///
/// # Errors
/// When no part of the trace has expert ids.
pub fn experts(trace: &Trace, filter: &Filter, sizes: Option<&[u32]>) -> Result<ExpertReport, NoExperts> {
    let (filter, all) = in_one_context(trace, filter)?;
    let report = sums(trace, &filter)?.report(trace, sizes);
    let context = filter.context.unwrap_or(0);
    Ok(ExpertReport { context, other_contexts: all.others(context), ..report })
}

/// Which experts of a layer went together, of what the filter lets through; `None` if it lets through nothing of the layer.
///
/// # Errors
/// When no part of the trace has expert ids.
pub fn pairs(trace: &Trace, filter: &Filter, layer: u32) -> Result<Option<ExpertPairs>, NoExperts> {
    // The layer before may be any that is below.
    let upto = Numbers { first: 0, last: layer.into() };
    let (filter, _) = in_one_context(trace, &Filter { layers: Some(upto), ..filter.clone() })?;
    let found = sums(trace, &filter)?.pairs(layer);
    Ok(found.map(|pairs| ExpertPairs { context: filter.context.unwrap_or(0), ..pairs }))
}

/// The filter for one context alone: the one that it names, else the usual one of those of which it lets choices through, else
/// the one that chose last. Tokens of two models are never counted together.
fn in_one_context(trace: &Trace, filter: &Filter) -> Result<(Filter, Contexts), NoExperts> {
    let all = Contexts::of(trace);
    if let Some(named) = filter.context {
        all.check(named).map_err(NoExperts::NoContext)?;
        return Ok((filter.clone(), all));
    }
    let mut choosing: Vec<u32> = vec![];
    trace.for_each_evaluation(&filter.select(), false, |row| {
        if !row.evaluation.experts.is_empty() && filter.choose(&row).is_some() {
            choosing.retain(|&context| context != row.evaluation.context);
            choosing.push(row.evaluation.context);
        }
        ControlFlow::Continue(())
    });
    let usual = all.usual().map(|context| context.context);
    let context = usual.filter(|usual| choosing.contains(usual)).or(choosing.last().copied()).or(usual);
    Ok((Filter { context, ..filter.clone() }, all))
}

fn sums(trace: &Trace, filter: &Filter) -> Result<Sums, NoExperts> {
    let mut sums = Sums::default();
    let has_ids = for_each(trace, filter, |routed| {
        sums.add(trace, routed);
        ControlFlow::Continue(())
    });
    if !has_ids {
        why_none(trace)?;
    }
    Ok(sums)
}

/// What single tokens chose, of what the filter lets through: the first [`MAX_CHOICES`] choices in the order of execution.
///
/// # Errors
/// When no part of the trace has expert ids.
pub fn choices(trace: &Trace, filter: &Filter) -> Result<ExpertChoices, NoExperts> {
    let mut found = ExpertChoices { choices: vec![], left_out: 0 };
    for_each_choice(trace, filter, |choice| {
        if found.choices.len() < MAX_CHOICES {
            found.choices.push(choice);
        } else {
            found.left_out += 1;
        }
        ControlFlow::Continue(())
    })?;
    found.choices.sort_by_key(|c| (c.token, c.eval, c.layer));
    Ok(found)
}

/// Calls `f` for each token in each layer that the filter lets through, in the order of execution, until it breaks.
///
/// # Errors
/// When no part of the trace has expert ids.
pub fn for_each_choice(
    trace: &Trace,
    filter: &Filter,
    mut f: impl FnMut(TokenChoice) -> ControlFlow<()>,
) -> Result<(), NoExperts> {
    if let Some(named) = filter.context {
        Contexts::of(trace).check(named).map_err(NoExperts::NoContext)?;
    }
    let texts = trace.texts();
    let has_ids = for_each(trace, filter, |routed| {
        if routed.uses_all() {
            return ControlFlow::Continue(());
        }
        let of_model = texts.of(trace.vocabulary_of(routed.row.evaluation.graph));
        routed.choices().try_for_each(|choice| f(TokenChoice::of(routed, &choice, of_model)))
    });
    if has_ids { Ok(()) } else { why_none(trace) }
}

impl TokenChoice {
    fn of(routed: &Routed<'_>, choice: &Choice<'_>, texts: &std::collections::HashMap<i32, Vec<u8>>) -> TokenChoice {
        let e = &routed.row.evaluation;
        TokenChoice {
            context: e.context,
            eval: e.eval.0,
            token: choice.token,
            token_id: e.tokens.get(choice.index).copied(),
            token_text: text(routed.row, choice.index, texts),
            pos: e.positions.get(choice.index).copied(),
            phase: choice.phase,
            layer: routed.router.layer,
            experts: choice.experts.to_vec(),
            weights: choice.weights.map(<[f32]>::to_vec),
        }
    }
}

/// Why a trace has no ids; nothing is wrong if only the filter let none through.
fn why_none(trace: &Trace) -> Result<(), NoExperts> {
    if trace.totals().evaluations == 0 {
        return Err(NoExperts::Nothing);
    }
    let mut has_ids = false;
    trace.for_each_evaluation(&ggscope_trace::Select::default(), false, |row| {
        has_ids = !row.evaluation.experts.is_empty();
        if has_ids { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if has_ids {
        return Ok(());
    }
    let has_router = |id| trace.graph(id).is_ok_and(|stored| !routers_of(trace, &GraphView::new(stored)).is_empty());
    Err(if trace.graphs().any(has_router) { NoExperts::NotRecorded } else { NoExperts::Dense })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
