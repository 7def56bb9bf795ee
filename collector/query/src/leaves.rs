//! The leaves of a trace's graphs: what each is, what it is for, which operators of which layers use it, and how often
//! it was read. Leaves of the same name, type and shape in several graphs of one context are one, and so are the weights that
//! several contexts of one model share. Those of two models, or of two contexts, are never one.

use super::table::{Layout, Table};
use ggscope_format::TensorId;
use ggscope_format::record::{Graph, MAX_DIMS};
use ggscope_trace::analysis::leaves::{Use, is_weight, meaning, uses};
use ggscope_trace::view::{GraphView, Place};
use ggscope_trace::{ModelId, Trace};
use serde::Serialize;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use utoipa::ToSchema;

/// A leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Leaf {
    /// Its name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub dtype: String,
    /// The context whose graphs have it, if only one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// The contexts that share it, if several do: weights of their model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<u32>,
    /// Elements in each dimension.
    pub ne: [i64; MAX_DIMS],
    /// Size in bytes.
    pub bytes: u64,
    /// What it is for, told from its use.
    pub meaning: String,
    /// `DISK` or `BUFFER`.
    pub memory: &'static str,
    /// The file that its bytes came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The buffer that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<String>,
    /// Operators that use it, looking through views and copies.
    pub used_by: Vec<UsedBy>,
    /// How often an executed operator read or wrote it, looking through views.
    pub accesses: u64,
}

/// The operators of one kind that use a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsedBy {
    /// The kind.
    pub op: String,
    /// Layers of the operators that have one, ascending.
    pub layers: Vec<u32>,
    /// How many operators, in the graph that has the most of them.
    pub operators: u64,
}

/// Context, model as the graph has it, name, type, shape.
type Key = (u32, Option<ModelId>, String, String, [i64; MAX_DIMS]);

/// A leaf of one context, or of all that share it.
#[derive(Clone)]
struct Found {
    leaf: Leaf,
    contexts: BTreeSet<u32>,
    model: Option<ModelId>,
    is_weight: bool,
    used_by: BTreeMap<String, (BTreeSet<u32>, u64)>,
    meanings: BTreeSet<String>,
}

/// The leaf that each tensor is, or is a look at.
fn leaf_of(graph: &Graph) -> Vec<Option<TensorId>> {
    let is_leaf = |id: TensorId| id.0 >= graph.n_nodes;
    let root = |(i, view): (usize, Option<TensorId>)| view.or(Some(TensorId(i as u32))).filter(|&id| is_leaf(id));
    graph.tensors.iter().map(|t| t.view.map(|v| v.0)).enumerate().map(root).collect()
}

/// How often the executed nodes of one evaluation take each leaf.
fn accesses(graph: &Graph, layout: &Layout) -> HashMap<TensorId, u64> {
    let leaf_of = leaf_of(graph);
    let mut count: HashMap<TensorId, u64> = HashMap::new();
    for &node in &layout.nodes {
        for source in graph.tensors[node as usize].src.iter().flatten() {
            if let Some(leaf) = leaf_of[source.index()] {
                *count.entry(leaf).or_default() += 1;
            }
        }
    }
    count
}

/// The leaves of the plans of a table that were looked at so far.
#[derive(Default)]
pub(super) struct KnownLeaves {
    found: Vec<Found>,
    known: HashMap<Key, usize>,
    /// The first model of each context: also that of its graphs without weights.
    models: HashMap<u32, ModelId>,
    /// By number of the plan: which leaves one evaluation takes how often.
    of_plan: Vec<Vec<(usize, u64)>>,
}

/// Memory, file, offset in it, buffer.
type Where<'a> = (&'a str, Option<&'a str>, Option<u64>, Option<&'a str>);

/// What tells one leaf from another: model; the context, but of weights, which all contexts of a model share if they lie in one
/// place; name, type, shape; and of weights the place.
#[derive(PartialEq, Eq, Hash)]
struct Owned<'a> {
    model: Option<ModelId>,
    context: Option<u32>,
    tensor: (&'a str, &'a str, [i64; MAX_DIMS]),
    place: Option<Where<'a>>,
}

/// The leaves of all graphs that were evaluated, or of those of one context: inputs, then caches, then weights, each in the order
/// of first use.
pub fn leaves(trace: &Trace, table: &Table, context: Option<u32>) -> Vec<Leaf> {
    let plans = table.plans().all();
    let mut times = vec![0_u64; plans.len()];
    table.headers(0).for_each(|(_, h)| times.get_mut(h.plan as usize).into_iter().for_each(|n| *n += 1));
    let mut known = table.leaves();
    for plan in plans.iter().skip(known.of_plan.len()) {
        let of_plan = match table.view(trace, plan.graph) {
            Ok(view) => known.add(&view, table.layout(plan.layout)),
            Err(error) => {
                trace.warn(format!("evaluations are not counted: {error}"));
                vec![]
            }
        };
        known.of_plan.push(of_plan);
    }
    let mut accesses = vec![0_u64; known.found.len()];
    for (times, of_plan) in times.iter().zip(&known.of_plan) {
        of_plan.iter().for_each(|&(leaf, n)| accesses[leaf] = accesses[leaf].saturating_add(n.saturating_mul(*times)));
    }
    let mut all: Vec<Found> = vec![];
    let mut places: HashMap<Owned<'_>, usize> = HashMap::new();
    for (found, accesses) in known.found.iter().zip(accesses) {
        if context.is_some_and(|context| !found.contexts.contains(&context)) {
            continue;
        }
        match places.entry(known.owned(found)) {
            Entry::Occupied(place) => all[*place.get()].merge(found, accesses),
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(Found { leaf: Leaf { accesses, ..found.leaf.clone() }, ..found.clone() });
            }
        }
    }
    let mut leaves: Vec<Leaf> = all.iter().map(Found::leaf).collect();
    drop(places);
    drop(known);
    leaves.sort_by_key(|leaf| match leaf.meaning.as_str() {
        meaning if meaning.starts_with("weight") => 2,
        "K cache" | "V cache" | "recurrent state" => 1,
        _ => 0,
    });
    leaves
}

impl KnownLeaves {
    fn add(&mut self, view: &GraphView, layout: &Layout) -> Vec<(usize, u64)> {
        let graph = &view.stored.graph;
        let accesses = accesses(graph, layout);
        let uses = uses(graph);
        let model = view.stored.model;
        if let Some(model) = model {
            self.models.entry(graph.context).or_insert(model);
        }
        let mut of_plan = vec![];
        for (id, tensor) in graph.leaves() {
            let uses = uses.get(&id).map_or(&[][..], Vec::as_slice);
            let key = (graph.context, model, tensor.name.clone(), view.dtype(tensor).to_owned(), tensor.ne);
            let i = *self.known.entry(key).or_insert_with(|| {
                self.found.push(Found::new(view, id));
                self.found.len() - 1
            });
            of_plan.extend(accesses.get(&id).map(|&n| (i, n)));
            self.found[i].meanings.insert(meaning(&view.stored, id, uses));
            self.found[i].add_uses(view, layout, uses);
        }
        of_plan
    }

    /// Whose a leaf is.
    fn owned<'a>(&self, found: &'a Found) -> Owned<'a> {
        let leaf = &found.leaf;
        let context = found.contexts.first().copied();
        let model = found.model.or_else(|| self.models.get(&context?).copied());
        let is_shared = found.is_weight && model.is_some();
        let place = (leaf.memory, leaf.file.as_deref(), leaf.offset, leaf.buffer.as_deref());
        Owned {
            model,
            context: context.filter(|_| !is_shared),
            tensor: (&leaf.name, &leaf.dtype, leaf.ne),
            place: is_shared.then_some(place),
        }
    }
}

impl Found {
    fn new(view: &GraphView, id: TensorId) -> Found {
        let tensor = &view.stored.graph.tensors[id.index()];
        let Place { memory, file, offset, buffer, origin, .. } = view.place(id);
        let from = origin.as_ref();
        let leaf = Leaf {
            name: tensor.name.clone(),
            dtype: view.dtype(tensor).to_owned(),
            context: None,
            contexts: vec![],
            ne: tensor.ne,
            bytes: tensor.bytes.0,
            meaning: String::new(),
            memory,
            file: file.or(from.map(|o| o.file)).map(str::to_owned),
            offset: offset.or(from.map(|o| o.offset)),
            buffer: buffer.map(str::to_owned),
            used_by: vec![],
            accesses: 0,
        };
        Found {
            leaf,
            contexts: [view.stored.graph.context].into(),
            model: view.stored.model,
            is_weight: is_weight(&view.stored, id),
            used_by: BTreeMap::new(),
            meanings: BTreeSet::new(),
        }
    }

    /// Takes in the same leaf of other graphs, which was taken so often.
    fn merge(&mut self, other: &Found, accesses: u64) {
        self.leaf.accesses = self.leaf.accesses.saturating_add(accesses);
        self.contexts.extend(&other.contexts);
        self.meanings.extend(other.meanings.iter().cloned());
        for (op, (layers, operators)) in &other.used_by {
            let (own, most) = self.used_by.entry(op.clone()).or_default();
            own.extend(layers);
            *most = (*most).max(*operators);
        }
    }

    fn add_uses(&mut self, view: &GraphView, layout: &Layout, uses: &[Use]) {
        let graph = &view.stored.graph;
        let mut in_this: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for u in uses.iter().filter(|u| layout.nodes.binary_search(&u.node.0).is_ok()) {
            in_this.entry(graph.op(&graph.tensors[u.node.index()])).or_default().insert(u.node.0);
        }
        for (op, nodes) in in_this {
            let (layers, most) = self.used_by.entry(op.to_owned()).or_default();
            layers.extend(nodes.iter().filter_map(|&n| view.layers.layer(TensorId(n))));
            *most = (*most).max(nodes.len() as u64);
        }
    }

    fn leaf(&self) -> Leaf {
        let used_by = (self.used_by.iter())
            .map(|(op, (layers, operators))| UsedBy {
                op: op.clone(),
                layers: layers.iter().copied().collect(),
                operators: *operators,
            })
            .collect();
        // What one graph does not explain, another may.
        let explained: Vec<_> = self.meanings.iter().filter(|m| *m != "unknown").cloned().collect();
        let meaning = if explained.is_empty() { "unknown".into() } else { explained.join(", ") };
        let mut contexts: Vec<u32> = self.contexts.iter().copied().collect();
        let context = if contexts.len() == 1 { contexts.pop() } else { None };
        Leaf { context, contexts, meaning, used_by, ..self.leaf.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_trace::testing::{Shape, write};
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn every_leaf_says_what_it_is_for_who_uses_it_and_how_often() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 3, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let leaves = leaves(&trace, &Table::new(&trace, DEFAULT_MEMORY), None);
        let all = |name: &str| leaves.iter().filter(|l| l.name == name).collect::<Vec<_>>();

        let embd = all("token_embd.weight")[0];
        assert_eq!((embd.memory, embd.offset, embd.accesses), ("DISK", Some(1_753_088), 20));
        assert_eq!(embd.file.as_deref(), Some("/models/Smol LM2 ü.gguf"));
        let ops: Vec<_> = embd.used_by.iter().map(|u| (u.op.as_str(), u.operators)).collect();
        assert_eq!(ops, [("GET_ROWS", 1), ("MUL_MAT", 1)]);

        let positions = all("inp_pos");
        assert_eq!(positions.len(), 2, "one of the prompt's shape, one of the answer's");
        assert_eq!((positions[0].ne[0], positions[0].accesses), (5, 6));
        assert_eq!((positions[1].ne[0], positions[1].accesses), (1, 54));
        assert_eq!(positions[1].meaning, "positions for RoPE");
        assert_eq!(positions[1].used_by[0].layers, [0, 1, 2]);

        let cache = all("cache_k_l1")[0];
        assert_eq!((cache.meaning.as_str(), cache.buffer.as_deref()), ("K cache", Some("KV cache (CPU)")));
        assert_eq!(cache.accesses, 20, "written and read once an evaluation");
        assert_eq!(cache.used_by.iter().map(|u| u.op.as_str()).collect::<Vec<_>>(), ["FLASH_ATTN_EXT", "SET_ROWS"]);

        let skipped = all("inp_mixed_tokens")[0];
        assert_eq!((skipped.accesses, &skipped.used_by[..]), (0, &[][..]), "its node was not computed");
    }

    #[test]
    fn caches_are_of_their_context_and_weights_of_their_model() {
        // Two contexts of model 0, one of model 1.
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (2, 0, 3), (0, 0, 3)]);
        let trace = &recorded.trace;
        let table = Table::new(trace, DEFAULT_MEMORY);
        let all = leaves(trace, &table, None);
        let of = |leaves: &[Leaf], name: &str| -> Vec<(Option<u32>, Vec<u32>, u64)> {
            let named = leaves.iter().filter(|leaf| leaf.name == name);
            named.map(|leaf| (leaf.context, leaf.contexts.clone(), leaf.accesses)).collect()
        };
        assert_eq!(of(&all, "cache_k_l0"), [(Some(0), vec![], 4), (Some(1), vec![], 2), (Some(2), vec![], 2)]);
        assert_eq!(of(&all, "blk.0.attn_q.weight"), [(None, vec![0, 2], 3), (Some(1), vec![], 1)]);
        for (context, cache, weight) in [(0, 4, 2), (1, 2, 1), (2, 2, 1)] {
            let own = leaves(trace, &table, Some(context));
            assert_eq!(of(&own, "cache_k_l0"), [(Some(context), vec![], cache)]);
            assert_eq!(of(&own, "blk.0.attn_q.weight"), [(Some(context), vec![], weight)]);
        }
        assert_eq!(leaves(trace, &table, Some(9)), []);
    }
}
