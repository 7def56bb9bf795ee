//! The trace table at ten million executions: how long a trace takes to open, and a page to be found, by filter and
//! order. `cargo bench -p ggscope-collector --bench pages`
//!
//! The trace is built once and kept in cargo's target folder; `GGSCOPE_BENCH_TRACE` names another one.

use ggscope_collector::trace::testing::{Random, Shape, evaluation, llama, model, recording};
use ggscope_collector::trace::{StoredGraph, TraceWriter};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Evaluations of 576 operators each: ten million executions.
const EVALUATIONS: u64 = 17_400;
/// Tokens of an answer, which is an evaluation each; every answer follows a prompt.
const ANSWER: u64 = 400;

fn main() {
    let path = trace_path();
    println!("trace: {}", path.display());
}

/// The trace to measure, built if it is not there yet.
fn trace_path() -> PathBuf {
    if let Some(path) = std::env::var_os("GGSCOPE_BENCH_TRACE") {
        return path.into();
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{EVALUATIONS}.ggtrace"));
    if !path.exists() {
        let begin = Instant::now();
        let unfinished = path.with_extension("part");
        build(&unfinished);
        std::fs::rename(&unfinished, &path).expect("the trace in its place");
        println!("built in {:.1} s", begin.elapsed().as_secs_f64());
    }
    path
}

/// Writes prompts and answers as llama.cpp computes them: a graph for each length of a prompt, and one for each 256
/// rows that the cache grows by.
fn build(path: &Path) {
    let mut writer = TraceWriter::create(path, true, &recording()).expect("a new file");
    writer.model(model()).expect("a model");
    let mut random = Random(88_172_645_463_325_252);
    let mut graphs: Vec<((i64, i64), StoredGraph)> = vec![];
    let mut position = 0;
    for eval in 0..EVALUATIONS {
        if eval % (ANSWER + 1) == 0 {
            position = 0;
        }
        let n_tokens = if position == 0 { 8 + 16 * random.below(8) as i64 } else { 1 };
        let n_kv = (i64::from(position) + n_tokens + 255) / 256 * 256;
        let at = graphs.iter().position(|g| g.0 == (n_tokens, n_kv)).unwrap_or_else(|| {
            let stored = llama(graphs.len() as u32, Shape { n_tokens, n_kv, ..Shape::default() });
            writer.graph(stored.clone()).expect("a valid graph");
            graphs.push(((n_tokens, n_kv), stored));
            graphs.len() - 1
        });
        let e = evaluation(&graphs[at].1, eval, position, &mut random);
        writer.texts(e.tokens.iter().map(|&id| (id, format!(" t{id}").into_bytes())).collect()).expect("texts");
        writer.evaluation(e).expect("a valid evaluation");
        position += n_tokens as i32;
    }
    writer.finish().expect("a finished trace");
}
