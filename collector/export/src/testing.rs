//! Traces that the tests of all formats share.

use super::{Export, ExportOptions};
use ggscope_query::dump::{Filter, dump};
use ggscope_trace::testing::{Builder, Random, Shape, evaluation, recording, write};
use ggscope_trace::{ModelId, Trace, TraceWriter};
use serde_json::Value as Json;
use std::ops::ControlFlow;
use tempfile::TempDir;

/// Names that mean something to the languages they end up in.
pub const HOSTILE: [&str; 6] =
    ["<img src=x onerror=alert(1)>-0", "a \"quoted\", 'name'", "two\r\nlines", "nul\0inside", "=1+1", "\\u0041 ü 🦙"];

/// A prompt of 5 and an answer of 9 tokens, in two layers.
pub fn answer() -> (TempDir, Trace) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    write(&path, Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 }, 5, 9).finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    (dir, trace)
}

/// Tensors, a file and a token's text with [`HOSTILE`] names.
pub fn hostile() -> (TempDir, Trace) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.ggtrace");
    let mut b = Builder::default();
    let weight = b.weight(HOSTILE[0], false, &[8]);
    let mut last = b.input("inp_tokens", None, &[1]);
    for name in HOSTILE {
        last = b.node(name, "MUL", &[8], &[last, weight]);
    }
    let stored = b.finish(0, HOSTILE[2]);
    let e = evaluation(&stored, 0, 0, &mut Random(1));
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.texts(vec![(ModelId(0), e.tokens[0], HOSTILE[3].as_bytes().to_vec())]).unwrap();
    writer.graph(stored).unwrap();
    writer.evaluation(e).unwrap();
    writer.finish().unwrap();
    let trace = Trace::open(&path).unwrap();
    (dir, trace)
}

/// An export in memory.
pub fn exported(trace: &Trace, wanted: ExportOptions) -> Vec<u8> {
    let mut out = vec![];
    Export::new(trace, wanted).unwrap().write(&mut out).unwrap();
    out
}

/// The lines of `dump --jsonl`.
pub fn dumped(trace: &Trace, filter: &Filter) -> Vec<Json> {
    let mut lines = vec![];
    dump(trace, filter, |operator| {
        lines.push(serde_json::to_value(operator).unwrap());
        ControlFlow::Continue(())
    });
    lines
}
