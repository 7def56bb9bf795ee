//! The rows of a captured tensor, by token: a row for each token of the evaluation, or, behind the choice of output rows in
//! the last layer, for each token that has one. Which it is follows from the graph, and the number of rows must agree.

use super::measure::{Hidden, Size, hidden, of_statistics, size};
use ggscope_format::TensorId;
use ggscope_format::record::{Evaluation, Tensor};
use ggscope_format::value::{RowStatistics, Statistics, Value};
use ggscope_model::ggml::GgmlType;
use ggscope_query::GraphView;
use ggscope_query::values::joined;

/// Rows of one tensor in one evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    /// Elements of a row.
    pub n: usize,
    /// All rows, one after the other; empty if only statistics were recorded.
    pub data: Vec<f32>,
    /// Statistics of each row, in place of values.
    pub statistics: Vec<RowStatistics>,
    /// The row of each token of the evaluation, if it has one.
    pub of_token: Vec<Option<usize>>,
}

impl Rows {
    /// The row of a token, by its place in the evaluation.
    pub fn token(&self, i: usize) -> Option<&[f32]> {
        let row = (*self.of_token.get(i)?)?;
        self.data.get(row * self.n..(row + 1) * self.n)
    }

    /// The statistics of a token's row.
    pub fn statistics(&self, i: usize) -> Option<&RowStatistics> {
        self.statistics.get((*self.of_token.get(i)?)?)
    }

    /// A token's row in numbers, of its values or of its statistics.
    pub fn hidden(&self, i: usize) -> Option<Hidden> {
        let of_statistics = || Some(of_statistics(self.statistics(i)?, self.n));
        self.token(i).map(hidden).or_else(of_statistics)
    }

    /// How large a token's row is.
    pub fn size(&self, i: usize) -> Option<Size> {
        let of_statistics =
            || Some(of_statistics(self.statistics(i)?, self.n)).map(|h| Size { norm: h.norm, rms: h.rms });
        self.token(i).map(size).or_else(of_statistics)
    }
}

/// What there is of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Captured {
    /// Its rows.
    Rows(Rows),
    /// Nothing: it was not asked for.
    Nothing,
    /// It was asked for, and parts of it are missing, or its shape fits no rows.
    Lost(String),
}

impl Captured {
    pub fn rows(&self) -> Option<&Rows> {
        if let Captured::Rows(rows) = self { Some(rows) } else { None }
    }
}

/// Which row each of the evaluation's tokens has; `None` if that many rows are neither all tokens nor those with output.
pub(super) fn rows_of_tokens(evaluation: &Evaluation, selected: bool, n_rows: usize) -> Option<Vec<Option<usize>>> {
    let n_tokens = evaluation.n_tokens as usize;
    let Some(outputs) = evaluation.outputs.as_ref().filter(|_| selected) else {
        return (n_rows == n_tokens).then(|| (0..n_tokens).map(Some).collect());
    };
    if outputs.len() != n_rows {
        return None;
    }
    let mut of_token = vec![None; n_tokens];
    for (row, &token) in outputs.iter().enumerate() {
        *of_token.get_mut(usize::try_from(token).ok()?)? = Some(row);
    }
    Some(of_token)
}

/// The statistics of the rows of `id`.
pub(super) fn statistics(
    view: &GraphView,
    evaluation: &Evaluation,
    all: &[Statistics],
    id: TensorId,
    selected: bool,
) -> Option<Rows> {
    let n = usize::try_from(view.stored.graph.tensor(id)?.ne[0]).ok()?;
    let found = all.iter().find(|s| s.tensor == id)?;
    let of_token = rows_of_tokens(evaluation, selected, found.rows.len())?;
    Some(Rows { n, data: vec![], statistics: found.rows.clone(), of_token })
}

/// The rows of `id`, decoded.
pub(super) fn captured(
    view: &GraphView,
    evaluation: &Evaluation,
    values: &[Value],
    id: TensorId,
    selected: bool,
) -> Captured {
    let Some(tensor) = view.stored.graph.tensor(id) else { return Captured::Nothing };
    let Some((bytes, total)) = joined(id, values) else { return Captured::Nothing };
    if (bytes.len() as u64) < total {
        return Captured::Lost(format!("{} of {total} bytes of {} were lost", total - bytes.len() as u64, tensor.name));
    }
    let Some((n, data)) = decoded(view, tensor, &bytes) else {
        return Captured::Lost(format!(
            "{} has the type {} or a shape that has no rows",
            tensor.name,
            view.dtype(tensor)
        ));
    };
    let (n, data) = side_by_side(view, evaluation, selected, tensor, (n, data));
    match rows_of_tokens(evaluation, selected, data.len() / n) {
        Some(of_token) => Captured::Rows(Rows { n, data, statistics: vec![], of_token }),
        None => Captured::Lost(format!(
            "{} has {} rows for {} tokens, and which is whose is not known",
            tensor.name,
            data.len() / n,
            evaluation.n_tokens
        )),
    }
}

/// Of a model that keeps several streams, the rows of one token one after the other as one row: `[n, streams, tokens]`, or
/// `[n, tokens, streams]` where streams were stacked behind each other.
fn side_by_side(
    view: &GraphView,
    evaluation: &Evaluation,
    selected: bool,
    tensor: &Tensor,
    (n, data): (usize, Vec<f32>),
) -> (usize, Vec<f32>) {
    let outputs = evaluation.outputs.as_ref().filter(|_| selected).map(Vec::len);
    let tokens = outputs.unwrap_or(evaluation.n_tokens as usize);
    let [_, n1, n2, n3] = tensor.ne.map(|ne| usize::try_from(ne).unwrap_or(0));
    let last = n2 * n3;
    if n1 * last == tokens || (n1 != tokens && last != tokens) {
        return (n, data);
    }
    let graph = &view.stored.graph;
    let stacks = |t: &Tensor| graph.op(t) == "CONCAT" && t.op_params.first() == Some(&2) && t.ne == tensor.ne;
    if last == tokens && (n1 != tokens || !graph.nodes().any(|(_, t)| stacks(t))) {
        return (n * n1, data);
    }
    let rows = (0..n1).flat_map(|token| (0..last).map(move |stream| stream * n1 + token));
    (n * last, rows.flat_map(|row| &data[row * n..(row + 1) * n]).copied().collect())
}

/// Elements of a row, and all rows as they lie by the tensor's strides.
fn decoded(view: &GraphView, tensor: &Tensor, bytes: &[u8]) -> Option<(usize, Vec<f32>)> {
    let ty = GgmlType::from_name(view.dtype(tensor))?;
    let [n, n1, n2, n3] = tensor.ne.map(|ne| usize::try_from(ne).unwrap_or(0));
    let row_bytes = usize::try_from(ty.row_size(n as u64)?).ok()?;
    let n_rows = n1.checked_mul(n2)?.checked_mul(n3)?;
    // Bounds the memory by what is there.
    if n == 0 || n_rows == 0 || n_rows.checked_mul(row_bytes)? > bytes.len() {
        return None;
    }
    let mut data = vec![0.0; n_rows * n];
    for (row, out) in data.chunks_exact_mut(n).enumerate() {
        let places = [row % n1, row / n1 % n2, row / n1 / n2];
        let at = places
            .iter()
            .zip(&tensor.nb[1..])
            .try_fold(0_u64, |at, (&i, &nb)| at.checked_add(nb.checked_mul(i as u64)?))?;
        let at = usize::try_from(at).ok()?;
        ty.dequantize(bytes.get(at..at.checked_add(row_bytes)?)?, out).ok()?;
    }
    Some((n, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(n_tokens: u32, outputs: Option<Vec<i32>>) -> Evaluation {
        Evaluation { n_tokens, outputs, ..Evaluation::default() }
    }

    #[test]
    fn a_row_behind_the_choice_of_output_rows_belongs_to_the_token_that_was_chosen() {
        let of = |outputs, selected, rows| rows_of_tokens(&evaluation(4, outputs), selected, rows);
        assert_eq!(of(Some(vec![1, 3]), true, 2), Some(vec![None, Some(0), None, Some(1)]));
        assert_eq!(of(Some(vec![1, 3]), false, 4), Some((0..4).map(Some).collect()));
        assert_eq!(of(None, true, 4), Some((0..4).map(Some).collect()), "all have an output row");
        assert_eq!(of(Some(vec![1, 3]), true, 4), None, "neither");
        assert_eq!(of(Some(vec![1, 9]), true, 2), None, "no such token");
        assert_eq!(of(Some(vec![-1]), true, 1), None, "no such token");
        assert_eq!(of(None, false, 3), None);
    }
}
