//! How one evaluation went through a file: its reads in the order of execution, and how many of the bytes continue
//! where the read before ended.

use super::dump::{chosen_experts, expert_dim};
use super::memory::reads;
use super::table::{self, Table};
use ggscope_format::TensorId;
use ggscope_format::columns::Row;
use ggscope_trace::Trace;
use ggscope_trace::view::GraphView;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The reads of one evaluation from one file.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Access {
    /// Number of the evaluation.
    pub eval: u64,
    /// The context that computed it.
    pub context: u32,
    /// The file: of several the one that most bytes were read from; null if none was read.
    pub place: Option<String>,
    /// The reads, in the order of execution.
    pub reads: Vec<FileRead>,
    /// Share of the bytes, 0 to 1, of reads that begin where the one before ended.
    pub sequential: f64,
    /// Bytes from the first to the last that was read.
    pub span_bytes: u64,
}

/// A piece of a file that an operator read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileRead {
    /// When the operator began, nanoseconds of `CLOCK_MONOTONIC`.
    pub t_ns: u64,
    /// Where in the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
    /// Name of the tensor.
    pub name: String,
    /// Number of the node.
    pub node: u32,
}

/// How the evaluation with the number `eval` read files. `None` if there is no such evaluation.
pub fn access(trace: &Trace, table: &Table, eval: u64) -> Option<Access> {
    let seq = table.find(eval)?;
    let header = table.header(seq)?;
    let mut of_file: BTreeMap<String, Vec<FileRead>> = BTreeMap::new();
    if let (Some(plan), Ok(view)) = (table.plan(header), table.view(trace, header.graph)) {
        let layout = table.layout(plan.layout);
        table.for_each_row(trace, [seq].into_iter(), |_, row| {
            let spans = table.spans(trace, seq, &row.evaluation);
            for (place, span) in (0..).zip(&spans) {
                let node = table::node(layout, place);
                let t_ns = header.start.saturating_add(span.start);
                for_each_piece(&view, row, node, |file, offset, bytes, name| {
                    let read = FileRead { t_ns, offset, bytes, name: name.to_owned(), node: node.0 };
                    match of_file.get_mut(file) {
                        Some(reads) => reads.push(read),
                        None => drop(of_file.insert(file.to_owned(), vec![read])),
                    }
                });
            }
        });
    }
    let bytes_of = |reads: &[FileRead]| reads.iter().fold(0_u64, |sum, r| sum.saturating_add(r.bytes));
    let most = of_file.into_iter().max_by_key(|(_, reads)| bytes_of(reads));
    let (place, reads) = most.map_or((None, vec![]), |(file, reads)| (Some(file), reads));
    let end = |read: &FileRead| read.offset.saturating_add(read.bytes);
    let continued: u64 = reads.windows(2).filter(|w| end(&w[0]) == w[1].offset).map(|w| w[1].bytes).sum();
    let (first, last) = (reads.iter().map(|r| r.offset).min(), reads.iter().map(end).max());
    let all = bytes_of(&reads);
    Some(Access {
        eval,
        context: header.context,
        place,
        sequential: if all == 0 { 0.0 } else { continued as f64 / all as f64 },
        span_bytes: first.zip(last).map_or(0, |(first, last)| last - first),
        reads,
    })
}

/// Calls `f` with file, offset, bytes and name of what a node reads from files: of a table of embeddings the tokens'
/// rows, of experts the chosen ones.
fn for_each_piece(view: &GraphView, row: &Row, node: TensorId, mut f: impl FnMut(&str, u64, u64, &str)) {
    let graph = &view.stored.graph;
    let tensor = &graph.tensors[node.index()];
    for read in reads(graph, node) {
        let place = view.place(read.from);
        let (Some(file), Some(offset)) = (place.file, place.offset) else { continue };
        let source = &graph.tensors[read.from.index()];
        let second = tensor.src.get(1).copied().flatten().and_then(|id| graph.tensor(id));
        let ids = second.filter(|ids| ids.name == "inp_tokens" && graph.op(tensor) == "GET_ROWS" && read.source == 0);
        let tokens = &row.evaluation.tokens;
        if let Some(dim) = expert_dim(graph.op(tensor), read.source) {
            let all: Vec<usize> = (0..row.phases.len()).collect();
            let router = view.router(tensor, &row.evaluation.experts);
            let chosen = router.map_or(vec![], |router| chosen_experts(router, &all, &row.evaluation));
            for slice in view.expert_slices(read.from, dim, &chosen) {
                f(file, slice.offset.unwrap_or(offset), slice.bytes, &source.name);
            }
        } else if ids.is_some_and(|ids| usize::try_from(ids.ne[0]).is_ok_and(|n| n == tokens.len())) {
            let of_file = |id: &i32| u64::try_from(*id).ok().filter(|&id| id < source.ne[1] as u64);
            for id in tokens.iter().filter_map(of_file) {
                f(file, offset.saturating_add(id.saturating_mul(source.nb[1])), source.nb[1], &source.name);
            }
        } else {
            f(file, offset, read.bytes, &source.name);
        }
    }
}
