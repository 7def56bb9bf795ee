//! An executed operator as a row of flat columns: what the tables CSV, JSON and Parquet have in common.

use ggscope_query::dump::{Filter, Operator, Phase, Source, dump};
use ggscope_trace::Trace;
use serde::Serialize;
use std::io;
use std::ops::ControlFlow;

/// A row. The fields are the columns, in their order; `docs/export.md` describes them.
#[derive(Clone, Debug, Serialize)]
pub struct Row<'a> {
    pub eval: u64,
    pub seq: u64,
    pub graph: u32,
    pub context: u32,
    pub thread: u32,
    pub token: Option<u64>,
    pub token_id: Option<i32>,
    pub token_text: Option<&'a str>,
    pub pos: Option<i32>,
    pub n_tokens: u32,
    pub phase: Option<&'static str>,
    pub request: Option<u32>,
    pub node: u32,
    pub op: &'a str,
    pub name: &'a str,
    pub layer: Option<u32>,
    pub node_type: &'static str,
    pub device: Option<&'a str>,
    pub t_ns: u64,
    pub dur_ns: Option<u64>,
    pub fused_into: Option<u32>,
    pub run: Option<u64>,
    pub run_dur_ns: Option<u64>,
    pub dst_type: &'a str,
    pub dst_shape: [i64; 4],
    pub dst_bytes: u64,
    pub dst_buffer: Option<&'a str>,
    pub dst_addr: u64,
    pub experts: Option<&'a [i32]>,
    pub src: Vec<Src<'a>>,
}

/// What a row's operator read.
#[derive(Clone, Debug, Serialize)]
pub struct Src<'a> {
    pub name: &'a str,
    #[serde(rename = "type")]
    pub dtype: &'a str,
    pub shape: [i64; 4],
    pub bytes: u64,
    pub layer: Option<u32>,
    pub memory: &'static str,
    /// The file or the buffer.
    pub place: &'a str,
    /// Of the first byte: offset in the file, or address.
    pub start: u64,
}

impl<'a> Row<'a> {
    fn of(o: &'a Operator<'a>) -> Row<'a> {
        Row {
            eval: o.eval,
            seq: o.seq,
            graph: o.graph,
            context: o.context,
            thread: o.thread,
            token: o.token,
            token_id: o.token_id,
            token_text: o.token_text.as_deref(),
            pos: o.pos,
            n_tokens: o.n_tokens,
            phase: o.phase.filter(|&phase| phase != Phase::Unknown).map(Phase::name),
            request: o.request,
            node: o.node,
            op: o.op,
            name: o.name,
            layer: o.layer,
            node_type: o.node_type,
            device: o.device,
            t_ns: o.t_ns,
            dur_ns: o.dur_ns,
            fused_into: o.fused_into,
            run: o.run.map(|run| run.number as u64),
            run_dur_ns: o.run.map(|run| run.dur_ns),
            dst_type: o.dst.dtype,
            dst_shape: o.dst.ne,
            dst_bytes: o.dst.bytes,
            dst_buffer: o.dst.buffer,
            dst_addr: o.dst.addr,
            experts: o.experts.as_deref(),
            src: o.src.iter().map(Src::of).collect(),
        }
    }
}

impl<'a> Src<'a> {
    fn of(source: &'a Source<'a>) -> Src<'a> {
        let place = &source.place;
        Src {
            name: source.name,
            dtype: source.dtype,
            shape: source.ne,
            bytes: source.bytes,
            layer: source.layer,
            memory: place.memory,
            place: place.file.or(place.buffer).unwrap_or_default(),
            start: place.offset.or(place.addr).unwrap_or_default(),
        }
    }
}

/// Calls `f` with every row that the filter lets through, until it fails. Returns how many there were.
pub fn for_each(trace: &Trace, filter: &Filter, mut f: impl FnMut(&Row<'_>) -> io::Result<()>) -> io::Result<u64> {
    let (mut rows, mut done) = (0, Ok(()));
    dump(trace, filter, |operator| {
        rows += 1;
        done = f(&Row::of(&operator));
        if done.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    done.map(|()| rows)
}
