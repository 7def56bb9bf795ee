//! Which bytes of files and buffers the operators read, how often, and when last. Bytes are what the operators' shapes
//! say: all of a source, the rows that GET_ROWS picks, the experts that were chosen.

use super::dump::{Filter, Memory, chosen_experts, expert_dim};
use super::range::Numbers;
use super::table::{self, PlanInfo, Routed, Table};
use ggscope_format::TensorId;
use ggscope_format::columns::Row;
use ggscope_format::record::{Graph, Tensor};
use ggscope_trace::view::{ExpertSlice, GraphView, Place};
use ggscope_trace::{Trace, TraceError};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// Which reads are wanted; `None` lets all through.
#[derive(Clone, Debug, Default)]
pub struct ReadFilter {
    /// The context that read them.
    pub context: Option<u32>,
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
    /// Name of the tensor.
    pub tensor: Option<String>,
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
    /// The contexts that read it.
    pub contexts: Vec<u32>,
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
    layer: Option<u32>,
    expert: Option<i32>,
}

/// One source of an operator that it reads.
pub(super) struct Read {
    /// Which of its sources.
    pub source: usize,
    /// The tensor.
    pub from: TensorId,
    /// Bytes, as the shapes say.
    pub bytes: u64,
    /// Dimension of the experts, of which only those that were chosen are read.
    pub experts: Option<usize>,
}

/// What an operator reads.
pub(super) fn reads(graph: &Graph, id: TensorId) -> impl Iterator<Item = Read> {
    let node = &graph.tensors[id.index()];
    node.src.iter().enumerate().filter_map(move |(i, from)| {
        let from = (*from)?;
        let source = graph.tensor(from).filter(|_| !is_written(graph, node, i, from))?;
        Some(Read {
            source: i,
            from,
            bytes: read_bytes(graph, node, i, source),
            experts: expert_dim(graph.op(node), i),
        })
    })
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

/// Experts of one source of an operator that an evaluation read.
pub(super) struct ExpertRead {
    /// The operator's place in its layout.
    pub place: u32,
    /// The tensor that holds the experts.
    pub from: TensorId,
    /// The part of one expert.
    pub slice: ExpertSlice,
}

impl Table {
    /// Calls `f` for each expert of each source that an evaluation of `plan` read.
    pub(super) fn for_each_expert_read(
        &self,
        view: &GraphView,
        plan: &PlanInfo,
        row: &Row,
        mut f: impl FnMut(ExpertRead),
    ) {
        let graph = &view.stored.graph;
        let all: Vec<usize> = (0..row.phases.len()).collect();
        for &Routed { place, source, dim } in &plan.routed {
            let node = &graph.tensors[table::node(self.layout(plan.layout), place).index()];
            let Some(from) = node.src.get(source).copied().flatten() else { continue };
            let Some(router) = view.router(node, &row.evaluation.experts) else { continue };
            for slice in view.expert_slices(from, dim, &chosen_experts(router, &all, &row.evaluation)) {
                f(ExpertRead { place, from, slice });
            }
        }
    }
}

/// The regions of a session that are known, and which of them evaluations of a plan read.
#[derive(Default)]
pub(super) struct ReadRegions {
    /// Without their accesses.
    regions: Vec<Region>,
    known: HashMap<Key, usize>,
    /// Region, accesses and bytes of one evaluation, by number of the plan.
    of_plan: HashMap<u32, Vec<(usize, u64, u64)>>,
    kept: usize,
}

/// Regions, and entries of plans, that are kept from one question to the next.
const KEPT: usize = 1 << 20;

/// What some evaluations read of a region.
#[derive(Clone, Default)]
struct Accesses {
    accesses: u64,
    contexts: Vec<u32>,
    bytes: u64,
    last_eval: u64,
    last_token: Option<u64>,
}

/// How often evaluations of a plan were wanted, and the last of them.
#[derive(Clone, Default)]
struct Times {
    count: u64,
    contexts: Vec<u32>,
    last_eval: u64,
    last_token: Option<u64>,
}

/// The regions that were read, files before buffers, by place and first byte.
pub fn memory(trace: &Trace, table: &Table, wanted: &ReadFilter) -> Vec<Region> {
    let (evals, tokens, context) = (wanted.evals, wanted.tokens, wanted.context);
    let filter = Filter { evals, tokens, context, ..Filter::default() };
    let plans = table.plans().all();
    let mut times = vec![Times::default(); plans.len()];
    let mut routed: Vec<usize> = vec![];
    for (seq, header) in table.headers(0).filter(|(_, h)| h.choose(&filter).is_some()) {
        let Some(times) = times.get_mut(header.plan as usize) else { continue };
        times.count += 1;
        insert(&mut times.contexts, header.context);
        if times.last_eval <= header.eval {
            (times.last_eval, times.last_token) = (header.eval, header.last_token());
        }
        routed.extend((!plans[header.plan as usize].routed.is_empty()).then_some(seq));
    }
    let mut known = table.regions();
    if known.regions.len() > KEPT || known.kept > KEPT {
        *known = ReadRegions::default();
    }
    let mut read: Vec<Accesses> = vec![];
    for (number, (plan, times)) in plans.iter().zip(&times).enumerate().filter(|(_, (_, t))| t.count > 0) {
        if let Err(error) = known.prepare(trace, table, number as u32, plan) {
            trace.warn(format!("evaluations are not counted: {error}"));
            continue;
        }
        for &(region, accesses, bytes) in &known.of_plan[&(number as u32)] {
            let (accesses, bytes) = (accesses.saturating_mul(times.count), bytes.saturating_mul(times.count));
            let of_region = count(&mut read, region, (accesses, bytes), times.last_eval, times.last_token);
            times.contexts.iter().for_each(|&context| insert(&mut of_region.contexts, context));
        }
    }
    table.for_each_row(trace, routed.into_iter(), |seq, row| {
        let Some(header) = table.header(seq) else { return };
        let (Some(plan), Ok(view)) = (table.plan(header), table.view(trace, header.graph)) else { return };
        table.for_each_expert_read(&view, plan, row, |ExpertRead { from, slice, .. }| {
            let region = known.region(&view, from, Some(&slice));
            let of_region = count(&mut read, region, (1, slice.bytes), header.eval, header.last_token());
            insert(&mut of_region.contexts, header.context);
        });
    });
    let of_region = |(region, read): (&Region, &Accesses)| Region {
        accesses: read.accesses,
        contexts: read.contexts.clone(),
        read_bytes: read.bytes,
        last_eval: read.last_eval,
        last_token: read.last_token,
        ..region.clone()
    };
    let is_read = |(region, read): &(&Region, &Accesses)| read.accesses > 0 && is_wanted(wanted, region);
    let mut regions: Vec<Region> = known.regions.iter().zip(&read).filter(is_read).map(of_region).collect();
    drop(known);
    let is_buffer = |r: &Region| r.memory == "BUFFER";
    regions.sort_by(|a, b| {
        let key = |r: &Region| (is_buffer(r), r.start, r.bytes, r.expert);
        (is_buffer(a), &a.place).cmp(&(is_buffer(b), &b.place)).then(key(a).cmp(&key(b))).then(a.name.cmp(&b.name))
    });
    regions
}

/// Adds a number to ascending ones.
fn insert(numbers: &mut Vec<u32>, number: u32) {
    if let Err(at) = numbers.binary_search(&number) {
        numbers.insert(at, number);
    }
}

fn count(
    read: &mut Vec<Accesses>,
    region: usize,
    (accesses, bytes): (u64, u64),
    eval: u64,
    token: Option<u64>,
) -> &mut Accesses {
    if read.len() <= region {
        read.resize(region + 1, Accesses::default());
    }
    let of_region = &mut read[region];
    of_region.accesses = of_region.accesses.saturating_add(accesses);
    of_region.bytes = of_region.bytes.saturating_add(bytes);
    if of_region.last_eval <= eval {
        (of_region.last_eval, of_region.last_token) = (eval, token);
    }
    of_region
}

fn is_wanted(wanted: &ReadFilter, region: &Region) -> bool {
    let memory = if region.memory == "DISK" { Memory::Disk } else { Memory::Buffer };
    let end = region.start.saturating_add(region.bytes);
    wanted.memory.is_none_or(|m| m == memory)
        && wanted.place.as_ref().is_none_or(|place| *place == region.place)
        && wanted.tensor.as_ref().is_none_or(|name| *name == region.name)
        && wanted.bytes.is_none_or(|n| region.start <= n.last && n.first < end)
}

impl ReadRegions {
    fn prepare(&mut self, trace: &Trace, table: &Table, number: u32, plan: &PlanInfo) -> Result<(), TraceError> {
        if self.of_plan.contains_key(&number) {
            return Ok(());
        }
        let view = table.view(trace, plan.graph)?;
        let mut of_plan: Vec<(usize, u64, u64)> = vec![];
        let mut at: HashMap<usize, usize> = HashMap::new();
        for &node in &table.layout(plan.layout).nodes {
            for read in reads(&view.stored.graph, TensorId(node)).filter(|read| read.experts.is_none()) {
                let region = self.region(&view, read.from, None);
                let entry = *at.entry(region).or_insert_with(|| {
                    of_plan.push((region, 0, 0));
                    of_plan.len() - 1
                });
                let (_, accesses, sum) = &mut of_plan[entry];
                (*accesses, *sum) = (*accesses + 1, sum.saturating_add(read.bytes));
            }
        }
        self.kept += of_plan.len();
        self.of_plan.insert(number, of_plan);
        Ok(())
    }

    /// The region of a tensor, or of one of its experts.
    fn region(&mut self, view: &GraphView, id: TensorId, expert: Option<&ExpertSlice>) -> usize {
        let graph = &view.stored.graph;
        let id = looked_at(graph, id);
        let tensor = &graph.tensors[id.index()];
        let Place { memory, file, offset, buffer, addr, .. } = view.place(id);
        let before = expert.map_or(0, |e| e.bytes.saturating_mul(u64::try_from(e.id).unwrap_or(0)));
        let key = Key {
            memory,
            place: file.or(buffer).unwrap_or("none").to_owned(),
            start: offset.or(addr).unwrap_or(0).saturating_add(before),
            bytes: expert.map_or(tensor.bytes.0, |e| e.bytes),
            name: tensor.name.clone(),
            layer: view.layers.layer(id),
            expert: expert.map(|e| e.id),
        };
        let regions = &mut self.regions;
        *self.known.entry(key).or_insert_with_key(|key| {
            regions.push(Region {
                memory,
                place: key.place.clone(),
                start: key.start,
                bytes: key.bytes,
                name: key.name.clone(),
                layer: key.layer,
                expert: key.expert,
                accesses: 0,
                contexts: vec![],
                read_bytes: 0,
                last_eval: 0,
                last_token: None,
            });
            regions.len() - 1
        })
    }
}

/// The tensor that is read: a look at a leaf reads that leaf.
pub fn looked_at(graph: &Graph, id: TensorId) -> TensorId {
    let viewed = graph.tensors[id.index()].view.map(|v| v.0);
    viewed.filter(|root| root.0 >= graph.n_nodes).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::record::{Evaluation, Experts};
    use ggscope_trace::TraceWriter;
    use ggscope_trace::testing::{Builder, Random, Shape, evaluation, recording, write};

    fn of(path: &std::path::Path, wanted: &ReadFilter) -> Vec<Region> {
        let trace = Trace::open(path).unwrap();
        memory(&trace, &Table::new(&trace, table::DEFAULT_MEMORY), wanted)
    }

    fn regions(wanted: &ReadFilter) -> Vec<Region> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        of(&path, wanted)
    }

    fn one<'r>(regions: &'r [Region], name: &str) -> &'r Region {
        let mut found = regions.iter().filter(|r| r.name == name);
        let first = found.next().unwrap_or_else(|| panic!("{name} is missing"));
        assert!(found.next().is_none(), "{name} is there twice");
        first
    }

    #[test]
    fn every_read_is_counted_where_it_lies() {
        let all = regions(&ReadFilter::default());
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
        let at = |n| regions(&ReadFilter { memory: Some(Memory::Disk), bytes: n, ..ReadFilter::default() });
        let names = |regions: Vec<Region>| regions.into_iter().map(|r| r.name).collect::<Vec<_>>();
        assert_eq!(names(at(bytes(0, embd_end - 1))), ["token_embd.weight"]);
        assert_eq!(names(at(bytes(embd_end - 1, embd_end))), ["token_embd.weight", "blk.0.attn_norm.weight"]);
        let cache =
            regions(&ReadFilter { place: Some("KV cache (CPU)".into()), tokens: bytes(7, 7), ..ReadFilter::default() });
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
        let wanted = ReadFilter { memory: Some(Memory::Disk), ..ReadFilter::default() };
        let found: Vec<_> =
            of(&path, &wanted).into_iter().map(|r| (r.expert, r.start, r.bytes, r.read_bytes)).collect();
        let slice = |id: i32| (Some(id), 1_753_088 + id as u64 * 32 * 40, 32 * 40, 32 * 40);
        assert_eq!(found, [slice(0), slice(1), slice(3)]);
    }
}
