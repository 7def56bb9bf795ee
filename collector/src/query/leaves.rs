//! The leaves of a trace's graphs: what each is, what it is for, which operators of which layers use it, and how often
//! it was read. Leaves of the same name, type and shape in several graphs are one.

use super::view::{GraphView, GraphViews, Place};
use crate::analysis::leaves::{Use, meaning, uses};
use crate::analysis::timing::{Execution, Plan, Plans};
use crate::trace::{Select, Trace};
use ggscope_format::TensorId;
use ggscope_format::record::{Graph, MAX_DIMS};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use utoipa::ToSchema;

/// A leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Leaf {
    /// Its name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub dtype: String,
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

type Key = (String, String, [i64; MAX_DIMS]);

struct Found {
    leaf: Leaf,
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
fn accesses(graph: &Graph, plan: &Plan) -> HashMap<TensorId, u64> {
    let leaf_of = leaf_of(graph);
    let mut count: HashMap<TensorId, u64> = HashMap::new();
    for id in plan.executed_nodes() {
        for source in graph.tensors[id.index()].src.iter().flatten() {
            if let Some(leaf) = leaf_of[source.index()] {
                *count.entry(leaf).or_default() += 1;
            }
        }
    }
    count
}

/// Plans that are counted before they are worked into the result.
const COUNTED: usize = 256;

/// How often each plan was carried out.
#[derive(Default)]
struct Counts {
    of: Vec<(Arc<GraphView>, Arc<Plan>, u64)>,
    at: HashMap<*const Plan, usize>,
}

#[derive(Default)]
struct Collected {
    found: Vec<Found>,
    known: HashMap<Key, usize>,
}

/// The leaves of all graphs that were evaluated: inputs, then caches, then weights, each in the order of first use.
pub fn leaves(trace: &Trace) -> Vec<Leaf> {
    let (mut views, mut plans) = (GraphViews::default(), Plans::default());
    let (mut counts, mut collected) = (Counts::default(), Collected::default());
    trace.for_each_evaluation(&Select::default(), false, |row| {
        match views.of(trace, row.evaluation.graph) {
            Ok(view) => {
                let plan = plans.of(&view.stored.graph, &row.evaluation);
                if counts.of.len() >= COUNTED {
                    collected.take(std::mem::take(&mut counts));
                }
                let Counts { of, at } = &mut counts;
                let i = *at.entry(Arc::as_ptr(&plan)).or_insert_with(|| {
                    of.push((view, plan, 0));
                    of.len() - 1
                });
                of[i].2 += 1;
            }
            Err(error) => trace.warn(format!("evaluations are not counted: {error}")),
        }
        ControlFlow::Continue(())
    });
    collected.take(counts);
    let found = collected.found;
    let mut leaves: Vec<Leaf> = found.into_iter().map(Found::leaf).collect();
    leaves.sort_by_key(|leaf| match leaf.meaning.as_str() {
        meaning if meaning.starts_with("weight") => 2,
        "K cache" | "V cache" | "recurrent state" => 1,
        _ => 0,
    });
    leaves
}

impl Collected {
    fn take(&mut self, counts: Counts) {
        for (view, plan, times) in &counts.of {
            self.add(view, plan, *times);
        }
    }

    fn add(&mut self, view: &GraphView, plan: &Plan, times: u64) {
        let graph = &view.stored.graph;
        let accesses = accesses(graph, plan);
        let uses = uses(graph);
        for (id, tensor) in graph.leaves() {
            let uses = uses.get(&id).map_or(&[][..], Vec::as_slice);
            let key = (tensor.name.clone(), view.dtype(tensor).to_owned(), tensor.ne);
            let i = *self.known.entry(key).or_insert_with(|| {
                self.found.push(Found::new(view, id));
                self.found.len() - 1
            });
            let found = &mut self.found[i];
            found.leaf.accesses += times * accesses.get(&id).copied().unwrap_or(0);
            found.meanings.insert(meaning(&view.stored, id, uses));
            found.add_uses(view, plan, uses);
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
        Found { leaf, used_by: BTreeMap::new(), meanings: BTreeSet::new() }
    }

    fn add_uses(&mut self, view: &GraphView, plan: &Plan, uses: &[Use]) {
        let graph = &view.stored.graph;
        let mut in_this: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for u in uses.iter().filter(|u| plan.node(u.node) != Execution::No) {
            in_this.entry(graph.op(&graph.tensors[u.node.index()])).or_default().insert(u.node.0);
        }
        for (op, nodes) in in_this {
            let (layers, most) = self.used_by.entry(op.to_owned()).or_default();
            layers.extend(nodes.iter().filter_map(|&n| view.layers.layer(TensorId(n))));
            *most = (*most).max(nodes.len() as u64);
        }
    }

    fn leaf(self) -> Leaf {
        let used_by = (self.used_by.into_iter())
            .map(|(op, (layers, operators))| UsedBy { op, layers: layers.into_iter().collect(), operators })
            .collect();
        // What one graph does not explain, another may.
        let explained: Vec<_> = self.meanings.iter().filter(|m| *m != "unknown").cloned().collect();
        let meaning = if explained.is_empty() { "unknown".into() } else { explained.join(", ") };
        Leaf { meaning, used_by, ..self.leaf }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::{Shape, write};

    #[test]
    fn every_leaf_says_what_it_is_for_who_uses_it_and_how_often() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 3, ..Shape::default() }, 5, 9).finish().unwrap();
        let leaves = leaves(&Trace::open(&path).unwrap());
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
}
