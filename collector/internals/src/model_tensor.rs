//! A tensor of the model's file as a graph used it: it tells whether a file that is given later is of the model that ran.

use ggscope_format::TensorId;
use ggscope_model::quant::Tensor;
use ggscope_query::GraphView;

/// A tensor that a graph used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its name.
    pub name: String,
    dtype: String,
    ne: [i64; 4],
    /// Where in its file it lies in bytes, as far as the graph knows.
    offset: Option<u64>,
}

impl Used {
    /// A tensor of a graph; `None` if it is not there.
    pub fn of(view: &GraphView, id: TensorId) -> Option<Used> {
        let tensor = view.stored.graph.tensor(id)?;
        let (name, dtype) = (tensor.name.clone(), view.dtype(tensor).to_owned());
        Some(Used { name, dtype, ne: tensor.ne, offset: view.stored.origin(id).map(|origin| origin.1) })
    }

    /// Checks that the tensor of this name in a file is the one that was used: by its shape, its type, and its place.
    ///
    /// # Errors
    /// Says how they differ.
    pub fn check(&self, found: &Tensor<'_>) -> Result<(), String> {
        let Used { name, dtype, ne, offset } = self;
        let info = found.info;
        if info.ne == *ne && found.ty.name() == dtype && offset.is_none_or(|offset| offset == info.offset) {
            return Ok(());
        }
        let place = |offset: Option<u64>| offset.map_or(String::new(), |o| format!(" at byte {o}"));
        Err(format!(
            "{} is not the model that ran: its {name} is {} {:?}{}, and the run used {dtype} {ne:?}{}",
            found.path().display(),
            found.ty,
            info.ne,
            place(Some(info.offset)),
            place(*offset)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_model::testing::{Dtype, Fixture};

    #[test]
    fn a_tensor_is_the_one_that_was_used_if_type_shape_and_place_are_the_same() {
        let model = Fixture::new("llama").tensor("a", Dtype::F32, &[8]).tensor("o", Dtype::F16, &[64, 2]).model();
        let found = Tensor::find(&model, "o").unwrap();
        let used = Used { name: "o".into(), dtype: "f16".into(), ne: [64, 2, 1, 1], offset: Some(found.info.offset) };
        assert_eq!(used.check(&found), Ok(()));
        assert_eq!(Used { offset: None, ..used.clone() }.check(&found), Ok(()), "of a model that was not mapped");
        let others = [
            Used { dtype: "q4_1".into(), ..used.clone() },
            Used { ne: [64, 3, 1, 1], ..used.clone() },
            Used { offset: Some(0), ..used },
        ];
        for other in others {
            let why = other.check(&found).unwrap_err();
            assert!(why.contains("is not the model that ran: its o is f16 [64, 2, 1, 1] at byte"), "{why}");
        }
    }
}
