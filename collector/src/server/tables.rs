//! The lists of a session: evaluations, operators, leaves, regions of memory. All come in pages.

use super::api::{App, Page, answer};
use super::params::{Params, glob, numbers, page, parse, word};
use super::problem::Problem;
use crate::query::dump::{Filter, Memory, Operator, Phase};
use crate::query::evaluations::{self, EvaluationSummary};
use crate::query::leaves::Leaf;
use crate::query::memory::{self, Region};
use crate::query::operators::{self, Column, Sort};
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use utoipa::IntoParams;

/// Executions that a sorted page may have before it; more have to be filtered away.
const MAX_SORTED_OFFSET: usize = 100_000;

/// Phases by the names of the parameter `phase`.
pub(super) const PHASES: [(&str, Phase); 2] = [("prompt", Phase::Prompt), ("generate", Phase::Generate)];
const MEMORIES: [(&str, Memory); 2] = [("disk", Memory::Disk), ("buffer", Memory::Buffer)];

/// Which evaluations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EvaluationParams {
    /// Evaluations with one of these tokens, counted from 0 through the session: `7`, `7..9`, `7..`
    tokens: Option<String>,
    /// These evaluations: `7`, `7..9`, `7..`
    evals: Option<String>,
    /// Evaluations that ran at one of these nanoseconds of `CLOCK_MONOTONIC`: `A..B`
    time: Option<String>,
    /// Evaluations before the page, 0 if not given
    offset: Option<String>,
    /// Evaluations in the page at most: 1 to 1000, 100 if not given
    limit: Option<String>,
}

/// Evaluations in summary; a page of long prompts may end before its limit
#[utoipa::path(get, path = "/sessions/{id}/evaluations",
    params(("id" = String, Path, description = "The session"), EvaluationParams),
    responses(
        (status = 200, body = Page<EvaluationSummary>),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn evaluations(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p): Params<EvaluationParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page(p.offset.as_deref(), p.limit.as_deref())?;
    let wanted = evaluations::Wanted {
        tokens: numbers("tokens", p.tokens.as_deref())?,
        evals: numbers("evals", p.evals.as_deref())?,
        time: numbers("time", p.time.as_deref())?,
        offset,
        limit,
    };
    answer(app, move |sessions| {
        let (items, total) = evaluations::evaluations(&sessions.get(&id)?.trace, &wanted);
        Ok(Page::new(total, offset, items))
    })
    .await
}

/// Which executions of operators, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OperatorParams {
    /// Executions for these tokens, counted from 0 through the session: `7`, `7..9`, `7..`
    tokens: Option<String>,
    /// Executions in these evaluations
    evals: Option<String>,
    /// Nodes of these layers
    layer: Option<String>,
    /// Operators of this kind: a glob, upper and lower case are the same
    op: Option<String>,
    /// Nodes of this name: a glob
    name: Option<String>,
    /// `prompt` or `generate`
    phase: Option<String>,
    /// Operators that read something from a file (`disk`) or from memory (`buffer`)
    source: Option<String>,
    /// Nanoseconds that the operator took: `1000..`
    duration: Option<String>,
    /// `file` (if not given), `duration`, `op`, `name`, `layer`, `token` or `phase`; with `-` in front the greatest first
    sort: Option<String>,
    /// Executions before the page, 0 if not given
    offset: Option<String>,
    /// Executions in the page at most: 1 to 1000, 100 if not given
    limit: Option<String>,
}

impl OperatorParams {
    fn filter(&self) -> Result<Filter, Problem> {
        Ok(Filter {
            tokens: numbers("tokens", self.tokens.as_deref())?,
            evals: numbers("evals", self.evals.as_deref())?,
            layers: numbers("layer", self.layer.as_deref())?,
            op: glob("op", self.op.as_deref(), true)?,
            name: glob("name", self.name.as_deref(), false)?,
            phase: word("phase", self.phase.as_deref(), &PHASES)?,
            source: word("source", self.source.as_deref(), &MEMORIES)?,
            durations: numbers("duration", self.duration.as_deref())?,
            values: false,
        })
    }
}

/// The trace table: executions of operators, each as `ggscope dump --jsonl` prints it
#[utoipa::path(get, path = "/sessions/{id}/operators",
    params(("id" = String, Path, description = "The session"), OperatorParams),
    responses(
        (status = 200, body = Page<Operator<'static>>),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn operators(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p): Params<OperatorParams>,
) -> Result<Response, Problem> {
    let filter = p.filter()?;
    let (offset, limit) = page(p.offset.as_deref(), p.limit.as_deref())?;
    let in_order = Sort { by: Column::File, descending: false };
    let sort = parse("sort", p.sort.as_deref(), "give one column, such as sort=-duration")?.unwrap_or(in_order);
    if sort != in_order && offset > MAX_SORTED_OFFSET {
        let error = format!("offset={offset} is more than the {MAX_SORTED_OFFSET} that a sorted table goes to");
        return Err(Problem::bad("offset", error, "reverse the order, filter, or leave out sort"));
    }
    answer(app, move |sessions| {
        let page = operators::Page { offset, limit, sort };
        let mut items: Vec<(usize, Box<RawValue>)> = vec![];
        let total = operators::operators(&sessions.get(&id)?.trace, &filter, &page, |place, operator| {
            items.extend(to_raw_value(&operator).ok().map(|json| (place, json)));
        });
        items.sort_by_key(|item| item.0);
        Ok(Page::new(total, offset, items.into_iter().map(|item| item.1).collect()))
    })
    .await
}

/// Which leaves.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LeafParams {
    /// Leaves before the page, 0 if not given
    offset: Option<String>,
    /// Leaves in the page at most: 1 to 1000, 100 if not given
    limit: Option<String>,
}

/// Inputs, caches and weights, and who uses them: the same as `ggscope leaves --json`
#[utoipa::path(get, path = "/sessions/{id}/leaves",
    params(("id" = String, Path, description = "The session"), LeafParams),
    responses(
        (status = 200, body = Page<Leaf>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn leaves(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p): Params<LeafParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page(p.offset.as_deref(), p.limit.as_deref())?;
    answer(app, move |sessions| {
        let leaves = sessions.get(&id)?.leaves();
        let items = leaves.iter().skip(offset).take(limit).cloned().collect();
        Ok(Page::new(leaves.len() as u64, offset, items))
    })
    .await
}

/// Which reads.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MemoryParams {
    /// Reads in evaluations with one of these tokens
    tokens: Option<String>,
    /// Reads in these evaluations
    evals: Option<String>,
    /// `disk` for files, `buffer` for buffers
    memory: Option<String>,
    /// The file or the buffer, by the name that a region has as `place`
    place: Option<String>,
    /// Regions with one of these bytes: offsets in the file or addresses, `A..B`
    bytes: Option<String>,
    /// Regions before the page, 0 if not given
    offset: Option<String>,
    /// Regions in the page at most: 1 to 1000, 100 if not given
    limit: Option<String>,
}

/// What was read of files and buffers: regions by place and first byte
#[utoipa::path(get, path = "/sessions/{id}/memory",
    params(("id" = String, Path, description = "The session"), MemoryParams),
    responses(
        (status = 200, body = Page<Region>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn memory(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p): Params<MemoryParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page(p.offset.as_deref(), p.limit.as_deref())?;
    let wanted = memory::Wanted {
        tokens: numbers("tokens", p.tokens.as_deref())?,
        evals: numbers("evals", p.evals.as_deref())?,
        memory: word("memory", p.memory.as_deref(), &MEMORIES)?,
        bytes: numbers("bytes", p.bytes.as_deref())?,
        place: p.place,
    };
    answer(app, move |sessions| {
        let regions = memory::memory(&sessions.get(&id)?.trace, &wanted);
        let total = regions.len() as u64;
        Ok(Page::new(total, offset, regions.into_iter().skip(offset).take(limit).collect()))
    })
    .await
}
