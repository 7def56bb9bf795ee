//! The lists of a session: evaluations, operators, leaves, regions of memory. All come in pages.

use super::app::{App, Page, answer};
use super::document;
use super::limits::MAX_REGIONS;
use super::limits::{MAX_LIMIT, MEMORIES, PHASES};
use super::params::{PageParams, Params, Path, Which, context, glob, numbers, parse, word};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use ggscope_query::dump::{Filter, Operator};
use ggscope_query::evaluations::{self, EvaluationSummary};
use ggscope_query::leaves::{Leaf, leaves as leaves_of};
use ggscope_query::memory::{self, Region};
use ggscope_query::operators::{self, Column, Sort};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;
use utoipa::IntoParams;

/// When.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TimeParams {
    /// Evaluations that ran at one of these nanoseconds of `CLOCK_MONOTONIC`: `A..B`
    #[param(schema_with = document::numbers)]
    time: Option<String>,
}

/// Evaluations in summary; a page of long prompts may end before its limit
#[utoipa::path(get, path = "/sessions/{id}/evaluations",
    params(("id" = String, Path, description = "The session"), Which, TimeParams, PageParams),
    responses(
        (status = 200, body = Page<EvaluationSummary>),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn evaluations(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, page): Params<Which, TimeParams, PageParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page.page(MAX_LIMIT)?;
    let wanted = evaluations::EvaluationFilter {
        tokens: which.tokens()?,
        evals: which.evals()?,
        context: which.context()?,
        time: numbers("time", p.time.as_deref())?,
        offset,
        limit,
    };
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(wanted.context)?;
        let (items, total) = evaluations::evaluations(&trace, &table, &wanted);
        Ok(Page::new(total, offset, items))
    })
    .await
}

/// Which executions of operators, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OperatorParams {
    /// Nodes of these layers
    #[param(schema_with = document::numbers)]
    layer: Option<String>,
    /// Operators of this kind: a glob, upper and lower case are the same
    op: Option<String>,
    /// Nodes of this name: a glob
    name: Option<String>,
    /// `prompt`, `generate` or `unknown`
    #[param(schema_with = document::phase)]
    phase: Option<String>,
    /// Operators that read something from a file (`disk`) or from memory (`buffer`)
    #[param(schema_with = document::memory)]
    source: Option<String>,
    /// Nanoseconds that the operator took: `1000..`
    #[param(schema_with = document::numbers)]
    duration: Option<String>,
    /// Number of the node within its graph
    #[param(schema_with = document::number)]
    node: Option<String>,
    /// Name of the node or of a tensor that it reads, exactly
    tensor: Option<String>,
    /// `file` (if not given), `duration`, `op`, `name`, `layer`, `token` or `phase`; with `-` in front the greatest first
    #[param(schema_with = document::order)]
    sort: Option<String>,
    /// `true` for the captured values, too
    #[param(schema_with = document::flag)]
    values: Option<String>,
}

impl OperatorParams {
    fn filter(self, which: &Which) -> Result<Filter, Problem> {
        Ok(Filter {
            layers: numbers("layer", self.layer.as_deref())?,
            op: glob("op", self.op.as_deref(), true)?,
            name: glob("name", self.name.as_deref(), false)?,
            phase: word("phase", self.phase.as_deref(), &PHASES)?,
            source: word("source", self.source.as_deref(), &MEMORIES)?,
            durations: numbers("duration", self.duration.as_deref())?,
            node: parse("node", self.node.as_deref(), "give the number of a node")?,
            tensor: self.tensor,
            values: word("values", self.values.as_deref(), &[("true", true), ("false", false)])?.unwrap_or(false),
            ..which.filter()?
        })
    }
}

/// The trace table: executions of operators, each as `ggscope dump --jsonl` prints it
#[utoipa::path(get, path = "/sessions/{id}/operators",
    params(("id" = String, Path, description = "The session"), Which, OperatorParams, PageParams),
    responses(
        (status = 200, body = Page<Operator<'static>>),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn operators(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, page): Params<Which, OperatorParams, PageParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page.page(MAX_LIMIT)?;
    let sort = parse("sort", p.sort.as_deref(), "give one column, such as sort=-duration")?;
    let sort = sort.unwrap_or(Sort { by: Column::File, descending: false });
    let filter = p.filter(&which)?;
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(filter.context)?;
        let page = operators::Page { offset, limit, sort };
        let mut items: Vec<(usize, Box<RawValue>)> = vec![];
        let total = operators::operators(&trace, &table, &filter, &page, |place, operator| {
            items.extend(to_raw_value(&operator).ok().map(|json| (place, json)));
        });
        items.sort_by_key(|item| item.0);
        Ok(Page::new(total, offset, items.into_iter().map(|item| item.1).collect()))
    })
    .await
}

/// Whose leaves.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LeafParams {
    /// Leaves of this context's graphs
    #[param(schema_with = document::number)]
    context: Option<String>,
}

/// Inputs, caches and weights, and who uses them: the same as `ggscope leaves --json`
#[utoipa::path(get, path = "/sessions/{id}/leaves",
    params(("id" = String, Path, description = "The session"), LeafParams, PageParams),
    responses(
        (status = 200, body = Page<Leaf>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn leaves(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(p, page, ..): Params<LeafParams, PageParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page.page(MAX_LIMIT)?;
    let context = context(p.context.as_deref())?;
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(context)?;
        let leaves = leaves_of(&trace, &table, context);
        let total = leaves.len() as u64;
        Ok(Page::new(total, offset, leaves.into_iter().skip(offset).take(limit).collect()))
    })
    .await
}

/// Which reads.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MemoryParams {
    /// `disk` for files, `buffer` for buffers
    #[param(schema_with = document::memory)]
    memory: Option<String>,
    /// The file or the buffer, by the name that a region has as `place`
    place: Option<String>,
    /// Regions with one of these bytes: offsets in the file or addresses, `A..B`
    #[param(schema_with = document::numbers)]
    bytes: Option<String>,
    /// Regions of the tensor with exactly this name
    tensor: Option<String>,
}

/// What was read of files and buffers: regions by place and first byte
#[utoipa::path(get, path = "/sessions/{id}/memory",
    params(("id" = String, Path, description = "The session"), Which, MemoryParams, PageParams),
    responses(
        (status = 200, body = Page<Region>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn memory(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Params(which, p, page): Params<Which, MemoryParams, PageParams>,
) -> Result<Response, Problem> {
    let (offset, limit) = page.page(MAX_REGIONS)?;
    let wanted = memory::ReadFilter {
        tokens: which.tokens()?,
        evals: which.evals()?,
        context: which.context()?,
        memory: word("memory", p.memory.as_deref(), &MEMORIES)?,
        bytes: numbers("bytes", p.bytes.as_deref())?,
        place: p.place,
        tensor: p.tensor,
    };
    answer(app, move |sessions| {
        let (trace, table) = sessions.get(&id)?.now_of(wanted.context)?;
        let regions = memory::memory(&trace, &table, &wanted);
        let total = regions.len() as u64;
        Ok(Page::new(total, offset, regions.into_iter().skip(offset).take(limit).collect()))
    })
    .await
}
