//! Writes synthetic traces for browser tests and benches, which need what no real model has: ten million operators, a
//! graph of ten thousand nodes, names that are meant to do harm.
//!
//! `cargo run --release --example synthetic -- OUT KIND [LAYERS [TOKENS]]`, KIND one of `llama`, `hostile`, `experts`.

use ggscope_collector::trace::testing::{Builder, Random, Shape, evaluation, llama, recording, write};
use ggscope_collector::trace::{Model, StoredGraph, TraceWriter};
use ggscope_format::TensorId;
use ggscope_format::record::{Evaluation, Experts};
use std::path::Path;

/// What a page that takes names for markup would run.
const MARKUP: &str = "<img src=x onerror=\"document.title='harmed'\"><script>document.title='harmed'</script>";
const N_EXPERTS: i64 = 8;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u64| args.get(i).map_or(default, |text| text.parse().expect("a number"));
    let (Some(out), Some(kind)) = (args.first(), args.get(1)) else {
        panic!("usage: synthetic OUT KIND [LAYERS [TOKENS]]");
    };
    let (layers, tokens) = (number(2, 30), number(3, 100));
    let out = Path::new(out);
    match kind.as_str() {
        "llama" => {
            let shape = Shape { n_layer: u32::try_from(layers).expect("fewer layers"), ..Shape::default() };
            write(out, shape, 5, tokens).finish().map(drop)
        }
        "hostile" => hostile(out, tokens).finish().map(drop),
        "experts" => experts(out, tokens).finish().map(drop),
        kind => panic!("{kind} is not one of llama, hostile, experts"),
    }
    .expect("the trace is written");
}

/// A Llama model whose every name, text and path is markup.
fn hostile(out: &Path, tokens: u64) -> TraceWriter {
    let mut stored = llama(0, Shape { n_layer: 2, ..Shape::default() });
    for tensor in &mut stored.graph.tensors {
        tensor.name = format!("{MARKUP}{}", tensor.name);
    }
    for buffer in &mut stored.graph.buffers {
        buffer.name = format!("{MARKUP}{}", buffer.name);
    }
    stored.graph.files[0].path = format!("/models/{MARKUP}.gguf");
    let mut recording = recording();
    recording.hello.argv.push(MARKUP.into());
    recording.hello.exe = format!("/usr/bin/{MARKUP}");
    let model = Model { path: stored.graph.files[0].path.clone(), name: MARKUP.into(), ..Model::default() };
    let mut writer = TraceWriter::create(out, false, &recording).expect("a new file");
    writer.model(model).expect("a model");
    writer.note(MARKUP.into()).expect("a note");
    writer.graph(stored.clone()).expect("a valid graph");
    let mut random = Random(7);
    for i in 0..tokens {
        let e = evaluation(&stored, i, i as i32, &mut random);
        writer.texts(e.tokens.iter().map(|&id| (id, MARKUP.into())).collect()).expect("texts");
        writer.evaluation(e).expect("a valid evaluation");
    }
    writer
}

/// One layer with a mixture of experts, of which each token takes two.
fn experts(out: &Path, tokens: u64) -> TraceWriter {
    let mut b = Builder::default();
    let embd = b.weight("token_embd.weight", true, &[64, 1000]);
    let gate = b.weight("blk.0.ffn_gate_inp.weight", false, &[64, N_EXPERTS]);
    let up = b.weight("blk.0.ffn_up_exps.weight", true, &[64, 32, N_EXPERTS]);
    let ids = b.input("inp_tokens", None, &[1]);
    let input = b.node("embd", "GET_ROWS", &[64, 1], &[embd, ids]);
    let logits = b.node("ffn_moe_logits-0", "MUL_MAT", &[N_EXPERTS, 1], &[gate, input]);
    let topk = b.node("ffn_moe_topk-0", "TOP_K", &[2, 1], &[logits]);
    b.node("ffn_moe_up-0", "MUL_MAT_ID", &[32, 2, 1], &[up, input, topk]);
    let stored: StoredGraph = b.finish(0, "/models/moe.gguf");
    let topk = stored.graph.tensors.iter().position(|t| t.name == "ffn_moe_topk-0").expect("it was built");
    let mut writer = TraceWriter::create(out, false, &recording()).expect("a new file");
    writer.graph(stored.clone()).expect("a valid graph");
    let mut random = Random(7);
    for i in 0..tokens {
        // Experts 6 and 7 are never chosen.
        let first = random.below(3) as i32;
        let chosen = Experts { tensor: TensorId(topk as u32), n_used: 2, ids: vec![first, first + 3] };
        let e = Evaluation { experts: vec![chosen], ..evaluation(&stored, i, i as i32, &mut random) };
        writer.evaluation(e).expect("a valid evaluation");
    }
    writer
}
