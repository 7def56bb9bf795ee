//! Writes synthetic traces for browser tests and benches, which need what no real model has: ten million operators, a
//! graph of ten thousand nodes, names that are meant to do harm.
//!
//! `cargo run --release --example synthetic -- OUT KIND [LAYERS [TOKENS [EXPERTS USED]]]`, KIND one of `llama`, `hostile`,
//! `experts`.

use ggscope_format::record::{self, Value};
use ggscope_format::{Bytes, TensorId};
use ggscope_trace::testing::{Builder, Random, Shape, evaluation, llama, recording, texts, write};
use ggscope_trace::{Model, ModelId, StoredGraph, TraceWriter};
use std::path::Path;

/// What a page that takes names for markup would run.
const MARKUP: &str = "<img src=x onerror=\"document.title='harmed'\"><script>document.title='harmed'</script>";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u64| args.get(i).map_or(default, |text| text.parse().expect("a number"));
    let (Some(out), Some(kind)) = (args.first(), args.get(1)) else {
        panic!("usage: synthetic OUT KIND [LAYERS [TOKENS [EXPERTS USED]]]");
    };
    let (layers, tokens) = (number(2, 30), number(3, 100));
    let out = Path::new(out);
    match kind.as_str() {
        "llama" => {
            let shape = Shape { n_layer: u32::try_from(layers).expect("fewer layers"), ..Shape::default() };
            write(out, shape, 5, tokens).finish().map(drop)
        }
        "hostile" => hostile(out, tokens).finish().map(drop),
        "experts" => {
            let shape = Experts { count: number(4, 8), used: number(5, 2) };
            experts(out, layers, tokens, &shape).finish().map(drop)
        }
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
        writer.texts(e.tokens.iter().map(|&id| (ModelId(0), id, MARKUP.into())).collect()).expect("texts");
        writer.evaluation(e).expect("a valid evaluation");
    }
    writer
}

/// A graph of so many layers with a mixture of experts, and of each layer the ids and the weights of the choice.
fn routed(number: u32, n_tokens: i64, layers: u64, shape: &Experts) -> (StoredGraph, Vec<[TensorId; 2]>) {
    let (n, used) = (shape.count as i64, shape.used as i64);
    let mut b = Builder::default();
    let embd = b.weight("token_embd.weight", true, &[64, 1000]);
    let ids = b.input("inp_tokens", None, &[n_tokens]);
    let mut input = b.node("embd", "GET_ROWS", &[64, n_tokens], &[embd, ids]);
    for layer in 0..layers {
        let gate = b.weight(&format!("blk.{layer}.ffn_gate_inp.weight"), false, &[64, n]);
        let up = b.weight(&format!("blk.{layer}.ffn_up_exps.weight"), true, &[64, 32, n]);
        let logits = b.node(&format!("ffn_moe_logits-{layer}"), "MUL_MAT", &[n, n_tokens], &[gate, input]);
        let topk = b.node(&format!("ffn_moe_topk-{layer}"), "TOP_K", &[used, n_tokens], &[logits]);
        b.node(&format!("ffn_moe_weights-{layer}"), "GET_ROWS", &[1, used, n_tokens], &[logits, topk]);
        input = b.node(&format!("ffn_moe_up-{layer}"), "MUL_MAT_ID", &[32, used, n_tokens], &[up, input, topk]);
    }
    let stored = b.finish(number, "/models/moe.gguf");
    let at = |name: String| stored.graph.tensors.iter().position(|t| t.name == name).expect("it was built");
    let id = |name: String| TensorId(at(name) as u32);
    let of = |layer| [id(format!("ffn_moe_topk-{layer}")), id(format!("ffn_moe_weights-{layer}"))];
    let of = (0..layers).map(of).collect();
    (stored, of)
}

/// Experts of a layer, and how many of them a token goes to.
struct Experts {
    count: u64,
    used: u64,
}

/// A mixture-of-experts model: a prompt of five tokens, then an answer. The last quarter of the experts is never chosen.
fn experts(out: &Path, layers: u64, tokens: u64, shape: &Experts) -> TraceWriter {
    let spread = (shape.count - shape.count / 4) / shape.used;
    let (prompt, token) = (routed(0, 5, layers, shape), routed(1, 1, layers, shape));
    let mut writer = TraceWriter::create(out, false, &recording()).expect("a new file");
    writer.graph(prompt.0.clone()).expect("a valid graph");
    writer.graph(token.0.clone()).expect("a valid graph");
    let mut random = Random(7);
    let mut chosen = vec![0; layers as usize];
    for eval in 0..tokens {
        let ((stored, routers), position) = if eval == 0 { (&prompt, 0) } else { (&token, eval as i32 + 4) };
        let mut e = evaluation(stored, eval, position, &mut random);
        for (layer, &[topk, weights]) in routers.iter().enumerate() {
            let mut ids = vec![];
            for _ in 0..e.n_tokens {
                // What a token chose is often what the next one chooses.
                if random.below(2) == 0 {
                    chosen[layer] = random.below(spread);
                }
                ids.extend((0..shape.used).map(|i| (chosen[layer] + i * spread) as i32));
            }
            e.experts.push(record::Experts { tensor: topk, n_used: shape.used as u32, ids });
            let halves = (0..shape.used as i32).map(|i| 0.5_f32.powi((i + 1).min(shape.used as i32 - 1)));
            let of_token: Vec<u8> = halves.flat_map(|w| w.to_le_bytes()).collect();
            let bytes = of_token.repeat(e.n_tokens as usize);
            let total = Bytes(bytes.len() as u64);
            let value = Value { eval: e.eval, graph: e.graph, tensor: weights, total, bytes, ..Value::default() };
            writer.value(value).expect("a valid value");
        }
        writer.texts(texts(&e)).expect("texts");
        writer.evaluation(e).expect("a valid evaluation");
    }
    writer
}
