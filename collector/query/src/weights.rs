//! What a run did with each weight of the model: how often operators read it, how many bytes, and how long they took.

use super::contexts::{Context, Contexts};
use super::cost::node_costs;
use super::dump::Filter;
use super::graph::evaluated;
use super::memory::{ReadFilter, Region, memory, reads};
use super::table::Table;
use ggscope_format::TensorId;
use ggscope_format::record::Graph;
use ggscope_model::gguf::Gguf;
use ggscope_trace::{ModelId, Trace, TraceError};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use utoipa::ToSchema;

/// Whose weights, or operators, are wanted; `None` lets all through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whose {
    /// Those of this context.
    pub context: Option<u32>,
    /// Those of the contexts that compute this model, and of contexts whose model is not known.
    pub model: Option<ModelId>,
}

impl Whose {
    /// Those of the contexts that may have computed the model in this file: all of `context`, if it is given. A context whose
    /// weights have other shapes than the file's of the same names computed another model.
    ///
    /// # Errors
    /// When there is no such context, or it computed another model, or all of them did.
    pub fn of_file(trace: &Trace, gguf: &Gguf, context: Option<u32>) -> Result<Whose, String> {
        let contexts = Contexts::of(trace);
        if let Some(context) = context {
            contexts.check(context)?;
        }
        let path = gguf.first().path();
        let own = model_at(trace, path);
        let shapes: HashMap<&str, [i64; 4]> = gguf.tensors().map(|(_, t)| (t.name.as_str(), t.ne)).collect();
        let is_other = |c: &Context| {
            let of_another = own.zip(c.model).is_some_and(|(own, model)| own.0 != model);
            of_another || !agrees(trace, c.context, &shapes)
        };
        let may_have = contexts.iter().filter(|c| context.is_none_or(|n| n == c.context) && !is_other(c));
        let Some(last) = may_have.max_by_key(|c| c.last_token) else {
            let whose = context.map_or(String::new(), |context| format!("context {context} of "));
            return Err(format!("{whose}{} is no run of {}", trace.path().display(), path.display()));
        };
        Ok(Whose { context, model: own.or(last.model.map(ModelId)) })
    }

    /// The contexts, ascending, each with its model.
    pub(super) fn contexts(self, trace: &Trace) -> Vec<(u32, Option<u32>)> {
        let is_of = |c: &&Context| {
            self.context.is_none_or(|context| context == c.context)
                && self.model.is_none_or(|model| c.model.is_none_or(|own| own == model.0))
        };
        Contexts::of(trace).iter().filter(is_of).map(|c| (c.context, c.model)).collect()
    }
}

/// Whether each weight that a context read has the shape of the file's tensor of the same name, if the file has one.
fn agrees(trace: &Trace, context: u32, shapes: &HashMap<&str, [i64; 4]>) -> bool {
    trace.graphs().filter_map(|id| trace.graph(id).ok()).filter(|stored| stored.graph.context == context).all(
        |stored| {
            let leaves = stored.graph.tensors.iter().enumerate().skip(stored.graph.n_nodes as usize);
            let weights = leaves.filter(|(i, _)| stored.origin(TensorId(*i as u32)).is_some());
            weights.into_iter().all(|(_, t)| shapes.get(t.name.as_str()).is_none_or(|ne| *ne == t.ne))
        },
    )
}

/// The trace's model that lies in this file: the one of its path, else of its name, wherever the trace was made.
pub fn model_at(trace: &Trace, path: &Path) -> Option<ModelId> {
    let models = trace.models();
    let own = models.iter().find(|model| Path::new(&model.path) == path);
    own.or_else(|| models.iter().find(|model| is_same(&model.path, path))).map(|model| model.id)
}

/// Whether a path in a trace is that of a model's file, or of one of its name.
pub fn is_same(of_trace: &str, model: &Path) -> bool {
    let of_trace = Path::new(of_trace);
    of_trace == model
        || of_trace.file_name() == model.file_name()
        || model.canonicalize().is_ok_and(|model| model == of_trace)
}

/// A weight in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct WeightCost {
    /// Name of the tensor.
    pub name: String,
    /// Number of its model within the session; null if it is not known.
    pub model: Option<u32>,
    /// The contexts that read it.
    pub contexts: Vec<u32>,
    /// How often an executed operator read it, or one of its experts.
    pub accesses: u64,
    /// Bytes that were read in all.
    pub read_bytes: u64,
    /// Time of the operators that read it, nanoseconds; null if none of them has a time of its own. An operator that reads
    /// two weights counts for both.
    pub ns: Option<u64>,
    /// The last token whose evaluation read it.
    pub last_token: Option<u64>,
    /// Each expert that was read, of a tensor that holds several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertCost>,
}

/// An expert's part of a tensor in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExpertCost {
    /// Number of the expert.
    pub id: i32,
    /// How often it was read.
    pub accesses: u64,
    /// Bytes that were read in all.
    pub read_bytes: u64,
}

/// The weights that were read, by model and name: those of contexts that share a model are one.
///
/// # Errors
/// When a graph of the trace is damaged.
pub fn weights(trace: &Trace, table: &Table, whose: Whose) -> Result<Vec<WeightCost>, TraceError> {
    let mut of: BTreeMap<(Option<u32>, String), WeightCost> = BTreeMap::new();
    let contexts: BTreeMap<u32, Option<u32>> = whose.contexts(trace).into_iter().collect();
    for &id in evaluated(table).keys() {
        let view = table.view(trace, id)?;
        let graph = &view.stored.graph;
        let Some(&model) = contexts.get(&graph.context) else { continue };
        let costs = node_costs(trace, table, id, &Filter::default());
        for (&node, &ns) in costs.node.iter().zip(&costs.ns) {
            let mut roots: Vec<TensorId> = reads(graph, TensorId(node)).map(|read| root(graph, read.from)).collect();
            roots.dedup();
            for weight in roots.into_iter().filter(|&id| id.0 >= graph.n_nodes && view.stored.origin(id).is_some()) {
                let cost = of.entry((model, graph.tensors[weight.index()].name.clone())).or_default();
                if ns > 0 {
                    cost.ns = Some(cost.ns.unwrap_or(0).saturating_add(ns));
                }
            }
        }
    }
    let regions = |context: u32| memory(trace, table, &ReadFilter { context: Some(context), ..ReadFilter::default() });
    for (&context, &model) in &contexts {
        for region in regions(context) {
            if let Some(cost) = of.get_mut(&(model, region.name.clone())) {
                cost.add(context, &region);
            }
        }
    }
    Ok(of.into_iter().map(|((model, name), cost)| WeightCost { name, model, ..cost }).collect())
}

impl WeightCost {
    /// Counts in what a context read of it.
    fn add(&mut self, context: u32, region: &Region) {
        let cost = self;
        if cost.contexts.last() != Some(&context) {
            cost.contexts.push(context);
        }
        cost.accesses = cost.accesses.saturating_add(region.accesses);
        cost.read_bytes = cost.read_bytes.saturating_add(region.read_bytes);
        cost.last_token = cost.last_token.max(region.last_token);
        let Some(id) = region.expert else { return };
        match cost.experts.iter_mut().find(|expert| expert.id == id) {
            Some(expert) => {
                expert.accesses = expert.accesses.saturating_add(region.accesses);
                expert.read_bytes = expert.read_bytes.saturating_add(region.read_bytes);
            }
            None => {
                cost.experts.push(ExpertCost { id, accesses: region.accesses, read_bytes: region.read_bytes });
            }
        }
    }
}

fn root(graph: &Graph, id: TensorId) -> TensorId {
    graph.tensor(id).and_then(|t| t.view).map_or(id, |(root, _)| root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::dump;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_model::testing::{Dtype, Fixture};
    use ggscope_trace::testing::{Shape, write};
    use ggscope_trace::testing_contexts::contexts;
    use std::ops::ControlFlow;

    #[test]
    fn a_file_whose_weights_have_other_shapes_did_not_run() {
        let recorded = contexts(&[(0, 0, 3), (1, 0, 2)]);
        let trace = &recorded.trace;
        let file = |factor: u64| {
            let mut fixture = Fixture::new("llama");
            let stored = trace.graph(trace.graphs().next().unwrap()).unwrap();
            for (i, t) in stored.graph.tensors.iter().enumerate().filter(|(_, t)| t.name == "blk.0.attn_q.weight") {
                assert!(stored.origin(TensorId(i as u32)).is_some());
                fixture.tensor(&t.name, Dtype::F32, &[t.ne[0] as u64 * factor, t.ne[1] as u64]);
            }
            fixture.model()
        };
        for context in [None, Some(0), Some(1)] {
            assert_eq!(Whose::of_file(trace, &file(1), context).unwrap().context, context);
            let error = Whose::of_file(trace, &file(2), context).unwrap_err();
            assert!(error.contains("is no run of"), "{error}");
        }
        let error = Whose::of_file(trace, &file(1), Some(7)).unwrap_err();
        assert!(error.contains("context 7"), "{error}");
    }

    #[test]
    fn every_weight_has_the_time_of_the_operators_that_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let found = weights(&trace, &Table::new(&trace, DEFAULT_MEMORY), Whose::default()).unwrap();
        let q = found.iter().find(|w| w.name == "blk.1.attn_q.weight").unwrap();
        // One prompt and nine tokens.
        assert_eq!(q.accesses, 10);
        let mut ns = 0;
        dump(&trace, &Filter::default(), |operator| {
            if operator.src.iter().any(|source| source.name == "blk.1.attn_q.weight") {
                ns += operator.dur_ns.unwrap_or(0);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(q.ns, Some(ns));
        assert!(found.iter().all(|w| w.name.ends_with(".weight")), "{found:?}");
    }

    #[test]
    fn weights_of_one_name_in_two_models_are_two_and_those_that_contexts_share_are_one() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (2, 0, 2)]);
        let trace = &recorded.trace;
        let table = Table::new(trace, DEFAULT_MEMORY);
        let of = |whose: Whose| -> Vec<(Option<u32>, Vec<u32>, u64)> {
            let found = weights(trace, &table, whose).unwrap();
            let q = found.into_iter().filter(|w| w.name == "blk.0.attn_q.weight");
            q.map(|w| (w.model, w.contexts, w.accesses)).collect()
        };
        assert_eq!(of(Whose::default()), [(Some(0), vec![0, 2], 3), (Some(1), vec![1], 1)]);
        assert_eq!(of(Whose { context: Some(2), ..Whose::default() }), [(Some(0), vec![2], 1)]);
        assert_eq!(of(Whose { model: Some(ModelId(1)), ..Whose::default() }), [(Some(1), vec![1], 1)]);
    }
}
