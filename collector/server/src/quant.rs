//! What quantisation did to a model: the mix of types, distributions of a tensor, its blocks one by one.

use super::app::{App, Page, answer};
use super::limits::MAX_BLOCKS;
use super::models::get;
use super::params::{PageParams, Params, Path as At};
use super::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ggscope_model::quant::{Block, Mix, QuantError, Tensor, TensorReport, block, mix, report};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// Which tensor.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TensorParams {
    /// Name of the tensor
    #[param(required = true)]
    tensor: Option<String>,
}

impl TensorParams {
    fn name(self) -> Result<String, Problem> {
        let missing =
            || Problem::bad("tensor", "tensor is missing", "give the name of one: tensor=blk.0.attn_q.weight");
        self.tensor.ok_or_else(missing)
    }
}

impl From<QuantError> for Problem {
    fn from(error: QuantError) -> Problem {
        let status = match error {
            QuantError::NoSuchTensor { .. } | QuantError::NoSuchBlock { .. } => StatusCode::NOT_FOUND,
            QuantError::NoBlocks { .. } => StatusCode::BAD_REQUEST,
            QuantError::Weights(_) | QuantError::Convert { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Problem::new(status, error.to_string(), "/models/ID/quant lists the tensors with their types");
        Problem { field: Some("tensor".into()), ..problem }
    }
}

/// The mix of types of a model, by part, layer and tensor: the same as `ggscope quant --json`
#[utoipa::path(get, path = "/models/{id}/quant",
    params(("id" = String, Path, description = "The model")),
    responses((status = 200, body = Mix), (status = 404, body = Problem)))]
pub(super) async fn of_model(State(app): State<Arc<App>>, At(id): At<String>) -> Result<Response, Problem> {
    answer(app, move |sessions| Ok(mix(&get(sessions, &id)?.gguf))).await
}

/// Distributions of what a tensor's blocks store, and of its values: the same as `ggscope quant MODEL TENSOR --json`
#[utoipa::path(get, path = "/models/{id}/tensor",
    params(("id" = String, Path, description = "The model"), TensorParams),
    responses(
        (status = 200, body = TensorReport), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn of_tensor(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, ..): Params<TensorParams>,
) -> Result<Response, Problem> {
    let name = p.name()?;
    answer(app, move |sessions| {
        let model = get(sessions, &id)?;
        Ok(report(&Tensor::find(&model.gguf, &name)?)?)
    })
    .await
}

/// The blocks of a tensor as they are in the file
#[utoipa::path(get, path = "/models/{id}/blocks",
    params(("id" = String, Path, description = "The model"), TensorParams, PageParams),
    responses(
        (status = 200, body = Page<Block>), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn blocks(
    State(app): State<Arc<App>>,
    At(id): At<String>,
    Params(p, page, ..): Params<TensorParams, PageParams>,
) -> Result<Response, Problem> {
    let name = p.name()?;
    let (offset, limit) = page.page(MAX_BLOCKS)?;
    answer(app, move |sessions| {
        let model = get(sessions, &id)?;
        let tensor = Tensor::find(&model.gguf, &name)?;
        let all = tensor.blocks();
        let wanted = (offset as u64)..all.min(offset.saturating_add(limit) as u64);
        // One past the end tells what is wrong with a type that has no blocks, too.
        let items = match wanted.is_empty() {
            true => vec![block(&tensor, offset as u64)?],
            false => wanted.map(|index| block(&tensor, index)).collect::<Result<Vec<Block>, QuantError>>()?,
        };
        Ok(Page::new(all, offset, items))
    })
    .await
}
