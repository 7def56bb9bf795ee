//! Which bytes of files and buffers the operators read, how often, and when last. Bytes are what the operators' shapes
//! say: all of a source, the rows that GET_ROWS picks, the experts that were chosen.

use super::dump::{Memory, chosen_experts, expert_dim};
use super::range::Numbers;
use super::view::{GraphView, GraphViews, Place};
use crate::analysis::timing::{Plan, Plans};
use crate::trace::{Select, Trace};
use ggscope_format::TensorId;
use ggscope_format::columns::Row;
use ggscope_format::record::{Graph, Tensor};
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use utoipa::ToSchema;

/// Which reads are wanted; `None` lets all through.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Numbers of tokens within the session, of which an evaluation has one at least.
    pub tokens: Option<Numbers>,
    /// Numbers of evaluations.
    pub evals: Option<Numbers>,
    /// Files or buffers.
    pub memory: Option<Memory>,
    /// Name of the file or the buffer.
    pub place: Option<String>,
    /// Bytes: offsets in the file, or addresses. A region is wanted if it has one of them.
    pub bytes: Option<Numbers>,
}

/// A part of a file or of a buffer that operators read: a tensor, or one expert of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Region {
    /// `DISK` or `BUFFER`.
    pub memory: &'static str,
    /// The file or the buffer.
    pub place: String,
    /// First byte: offset in the file, or address in the traced process.
    pub start: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Name of the tensor.
    pub name: String,
    /// Its layer.
    pub layer: Option<u32>,
    /// The expert, of a tensor that holds several.
    pub expert: Option<i32>,
    /// How often an executed operator read it.
    pub accesses: u64,
    /// Bytes that were read in all.
    pub read_bytes: u64,
    /// The last evaluation that read it.
    pub last_eval: u64,
    /// That evaluation's last token; null if it had none.
    pub last_token: Option<u64>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    memory: &'static str,
    place: String,
    start: u64,
    bytes: u64,
    name: String,
    expert: Option<i32>,
}

/// What every evaluation with the same plan reads.
struct Reads {
    /// Kept, so that its address stays its own.
    _plan: Arc<Plan>,
    /// Region, accesses, bytes.
    regions: Vec<(usize, u64, u64)>,
    /// Sources of which only chosen experts are read: node, number of the source, dimension of the experts.
    routed: Vec<(TensorId, usize, usize)>,
}

/// Plans that are kept.
const KEPT: usize = 256;

#[derive(Default)]
struct Collected {
    regions: Vec<Region>,
    known: HashMap<Key, usize>,
    reads: HashMap<*const Plan, Reads>,
}

/// The regions that were read, files before buffers, by place and first byte.
pub fn memory(trace: &Trace, wanted: &Wanted) -> Vec<Region> {
    let select = Select { evals: wanted.evals.map(|n| n.range()), tokens: wanted.tokens.map(|n| n.range()) };
    let (mut views, mut plans) = (GraphViews::default(), Plans::default());
    let mut collected = Collected::default();
    trace.for_each_evaluation(&select, false, |row| {
        match views.of(trace, row.evaluation.graph) {
            Ok(view) => collected.add(&view, &plans.of(&view.stored.graph, &row.evaluation), &row),
            Err(error) => trace.warn(format!("evaluations are not counted: {error}")),
        }
        ControlFlow::Continue(())
    });
    let mut regions: Vec<Region> = collected.regions.into_iter().filter(|r| is_wanted(wanted, r)).collect();
    let is_buffer = |r: &Region| r.memory == "BUFFER";
    regions.sort_by(|a, b| {
        let key = |r: &Region| (is_buffer(r), r.start, r.bytes, r.expert);
        (is_buffer(a), &a.place).cmp(&(is_buffer(b), &b.place)).then(key(a).cmp(&key(b))).then(a.name.cmp(&b.name))
    });
    regions
}

fn is_wanted(wanted: &Wanted, region: &Region) -> bool {
    let memory = if region.memory == "DISK" { Memory::Disk } else { Memory::Buffer };
    let end = region.start.saturating_add(region.bytes);
    wanted.memory.is_none_or(|m| m == memory)
        && wanted.place.as_ref().is_none_or(|place| *place == region.place)
        && wanted.bytes.is_none_or(|n| region.start <= n.last && n.first < end)
}

/// Whether a node only writes to one of its sources: the memory that it is a view of, given after what is written.
pub(super) fn is_written(graph: &Graph, node: &Tensor, i: usize, source: TensorId) -> bool {
    let root = |id: TensorId| graph.tensor(id).and_then(|t| t.view).map_or(id, |(root, _)| root);
    i > 0 && matches!(graph.op(node), "SET_ROWS" | "CPY") && node.view.is_some_and(|(of, _)| of == root(source))
}

/// Bytes that a node reads of a source: the rows that GET_ROWS picks, else all of it.
pub(super) fn read_bytes(graph: &Graph, node: &Tensor, i: usize, source: &Tensor) -> u64 {
    let rows = || {
        let ids = graph.tensor(node.src.get(1).copied().flatten()?)?;
        ids.ne.iter().try_fold(source.nb[1], |bytes, &n| bytes.checked_mul(u64::try_from(n).ok()?))
    };
    let picked = if graph.op(node) == "GET_ROWS" && i == 0 { rows() } else { None };
    picked.map_or(source.bytes.0, |bytes| bytes.min(source.bytes.0))
}

impl Collected {
    fn add(&mut self, view: &GraphView, plan: &Arc<Plan>, row: &Row) {
        if self.reads.len() >= KEPT && !self.reads.contains_key(&Arc::as_ptr(plan)) {
            self.reads.clear();
        }
        if !self.reads.contains_key(&Arc::as_ptr(plan)) {
            let reads = self.prepare(view, plan);
            self.reads.insert(Arc::as_ptr(plan), reads);
        }
        let Reads { regions, routed, .. } = &self.reads[&Arc::as_ptr(plan)];
        let last_token = row.generated.len().checked_sub(1).map(|last| row.first_token.saturating_add(last as u64));
        let eval = row.evaluation.eval.0;
        for &(i, accesses, bytes) in regions {
            self.regions[i].read(accesses, bytes, eval, last_token);
        }
        let all: Vec<usize> = if routed.is_empty() { vec![] } else { (0..row.generated.len()).collect() };
        for (node, i, dim) in routed.clone() {
            let tensor = &view.stored.graph.tensors[node.index()];
            let Some(from) = tensor.src.get(i).copied().flatten() else { continue };
            let Some(router) = view.router(tensor, &row.evaluation.experts) else { continue };
            let ids = chosen_experts(router, &all, &row.evaluation);
            for slice in view.expert_slices(from, dim, &ids) {
                let before = slice.bytes.saturating_mul(u64::try_from(slice.id).unwrap_or(0));
                let region = self.region(view, from, Some((slice.id, before, slice.bytes)));
                self.regions[region].read(1, slice.bytes, eval, last_token);
            }
        }
    }

    fn prepare(&mut self, view: &GraphView, plan: &Arc<Plan>) -> Reads {
        let graph = &view.stored.graph;
        let mut reads = Reads { _plan: Arc::clone(plan), regions: vec![], routed: vec![] };
        let mut at: HashMap<usize, usize> = HashMap::new();
        for id in plan.executed_nodes() {
            let node = &graph.tensors[id.index()];
            for (i, from) in node.src.iter().enumerate().filter_map(|(i, from)| Some((i, (*from)?))) {
                let Some(source) = graph.tensor(from).filter(|_| !is_written(graph, node, i, from)) else { continue };
                if let Some(dim) = expert_dim(graph.op(node), i) {
                    reads.routed.push((id, i, dim));
                    continue;
                }
                let region = self.region(view, from, None);
                let bytes = read_bytes(graph, node, i, source);
                let entry = *at.entry(region).or_insert_with(|| {
                    reads.regions.push((region, 0, 0));
                    reads.regions.len() - 1
                });
                let (_, accesses, sum) = &mut reads.regions[entry];
                (*accesses, *sum) = (*accesses + 1, sum.saturating_add(bytes));
            }
        }
        reads
    }

    /// The region of a tensor, or of one of its experts: id, bytes before it in the tensor, its bytes.
    fn region(&mut self, view: &GraphView, id: TensorId, expert: Option<(i32, u64, u64)>) -> usize {
        let graph = &view.stored.graph;
        // A look at a leaf reads that leaf.
        let viewed = graph.tensors[id.index()].view.map(|v| v.0);
        let id = viewed.filter(|root| root.0 >= graph.n_nodes).unwrap_or(id);
        let tensor = &graph.tensors[id.index()];
        let Place { memory, file, offset, buffer, addr, .. } = view.place(id);
        let (before, bytes) = expert.map_or((0, tensor.bytes.0), |(_, before, bytes)| (before, bytes));
        let key = Key {
            memory,
            place: file.or(buffer).unwrap_or("none").to_owned(),
            start: offset.or(addr).unwrap_or(0).saturating_add(before),
            bytes,
            name: tensor.name.clone(),
            expert: expert.map(|e| e.0),
        };
        let regions = &mut self.regions;
        *self.known.entry(key).or_insert_with_key(|key| {
            regions.push(Region {
                memory,
                place: key.place.clone(),
                start: key.start,
                bytes,
                name: key.name.clone(),
                layer: view.layers.layer(id),
                expert: key.expert,
                accesses: 0,
                read_bytes: 0,
                last_eval: 0,
                last_token: None,
            });
            regions.len() - 1
        })
    }
}

impl Region {
    fn read(&mut self, accesses: u64, bytes: u64, eval: u64, token: Option<u64>) {
        self.accesses = self.accesses.saturating_add(accesses);
        self.read_bytes = self.read_bytes.saturating_add(bytes);
        if self.last_eval <= eval {
            (self.last_eval, self.last_token) = (eval, token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceWriter;
    use crate::trace::testing::{Builder, Random, Shape, evaluation, recording, write};
    use ggscope_format::record::{Evaluation, Experts};

    fn regions(wanted: &Wanted) -> Vec<Region> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        memory(&Trace::open(&path).unwrap(), wanted)
    }

    fn one<'r>(regions: &'r [Region], name: &str) -> &'r Region {
        let mut found = regions.iter().filter(|r| r.name == name);
        let first = found.next().unwrap_or_else(|| panic!("{name} is missing"));
        assert!(found.next().is_none(), "{name} is there twice");
        first
    }

    #[test]
    fn every_read_is_counted_where_it_lies() {
        let all = regions(&Wanted::default());
        let q = one(&all, "blk.1.attn_q.weight");
        assert_eq!((q.memory, q.accesses, q.read_bytes), ("DISK", 10, 10 * q.bytes));
        assert_eq!((q.last_eval, q.last_token, q.layer), (9, Some(13), Some(1)));
        // Rows for the tokens, and all of it for the logits.
        let embd = one(&all, "token_embd.weight");
        assert_eq!((embd.accesses, embd.read_bytes), (20, 10 * embd.bytes + 14 * 576 / 32 * 20));
        // Written and read once an evaluation.
        assert_eq!(one(&all, "cache_k_l0").accesses, 10);
        assert!(all.iter().all(|r| r.accesses > 0 && r.name != "inp_mixed_tokens"));
        let disk = all.iter().take_while(|r| r.memory == "DISK").count();
        assert!(all[..disk].is_sorted_by_key(|r| r.start) && all[disk..].iter().all(|r| r.memory == "BUFFER"));
    }

    #[test]
    fn reads_are_chosen_by_place_bytes_and_token() {
        let embd_end = 1_753_088 + 49152 * 576 / 32 * 20;
        let bytes = |first, last| Some(Numbers { first, last });
        let at = |n| regions(&Wanted { memory: Some(Memory::Disk), bytes: n, ..Wanted::default() });
        let names = |regions: Vec<Region>| regions.into_iter().map(|r| r.name).collect::<Vec<_>>();
        assert_eq!(names(at(bytes(0, embd_end - 1))), ["token_embd.weight"]);
        assert_eq!(names(at(bytes(embd_end - 1, embd_end))), ["token_embd.weight", "blk.0.attn_norm.weight"]);
        let cache = regions(&Wanted { place: Some("KV cache (CPU)".into()), tokens: bytes(7, 7), ..Wanted::default() });
        assert_eq!(cache.iter().map(|r| (r.accesses, r.last_token)).collect::<Vec<_>>(), [(1, Some(7)); 4]);
    }

    #[test]
    fn experts_are_regions_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut b = Builder::default();
        let weight = b.weight("blk.0.ffn_up_exps.weight", true, &[64, 32, 4]);
        let tokens = b.input("inp_tokens", None, &[2]);
        let logits = b.node("ffn_moe_logits-0", "SQR", &[4, 2], &[tokens]);
        let topk = b.node("ffn_moe_topk-0", "TOP_K", &[2, 2], &[logits]);
        b.node("ffn_moe_up-0", "MUL_MAT_ID", &[32, 2, 2], &[weight, logits, topk]);
        let stored = b.finish(0, "/models/moe.gguf");
        let topk = stored.graph.tensors.iter().position(|t| t.name == "ffn_moe_topk-0").unwrap();
        let experts = vec![Experts { tensor: TensorId(topk as u32), n_used: 2, ids: vec![3, 1, 1, 0] }];
        let e = Evaluation { experts, ..evaluation(&stored, 0, 0, &mut Random(1)) };
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored).unwrap();
        writer.evaluation(e).unwrap();
        writer.finish().unwrap();
        let wanted = Wanted { memory: Some(Memory::Disk), ..Wanted::default() };
        let found: Vec<_> = memory(&Trace::open(&path).unwrap(), &wanted)
            .into_iter()
            .map(|r| (r.expert, r.start, r.bytes, r.read_bytes))
            .collect();
        let slice = |id: i32| (Some(id), 1_753_088 + id as u64 * 32 * 40, 32 * 40, 32 * 40);
        assert_eq!(found, [slice(0), slice(1), slice(3)]);
    }
}
