//! The promises of `dump`: every executed operator once, and what it read from where.

use super::*;
use crate::range::Numbers;
use ggscope_format::record::{BufferUsage, Evaluation};
use ggscope_format::value::{Encoding, Value};
use ggscope_format::{Bytes, EvalId, GraphId, Nanos};
use ggscope_trace::testing::{Builder, Random, Shape, evaluation, recording, write};
use ggscope_trace::{Select, StoredGraph, TraceWriter};
use serde_json::{Value as Json, json};
use std::path::Path;

const SMALL: Shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };

/// The lines that `dump --jsonl` prints.
fn lines(path: &Path, filter: &Filter) -> Vec<Json> {
    let mut lines = vec![];
    dump(&Trace::open(path).unwrap(), filter, |operator| {
        lines.push(serde_json::to_value(operator).unwrap());
        ControlFlow::Continue(())
    });
    lines
}

fn numbers(text: &str) -> Option<Numbers> {
    Some(text.parse().unwrap())
}

fn glob(text: &str) -> Option<globset::GlobMatcher> {
    Some(globset::Glob::new(text).unwrap().compile_matcher())
}

fn answer_of_nine() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    write(&path, SMALL, 5, 9).finish().unwrap();
    (dir, path)
}

#[test]
fn every_executed_operator_is_one_line_in_order() {
    let (_dir, path) = answer_of_nine();
    let all = lines(&path, &Filter::default());
    assert_eq!(all.len() as u64, Trace::open(&path).unwrap().totals().operators);
    assert_eq!(all.len(), 10 * 44);
    let nodes: Vec<u64> = all.iter().take(44).map(|l| l["node"].as_u64().unwrap()).collect();
    assert!(nodes.is_sorted() && all.iter().all(|l| l["op"] != "VIEW" && l["name"] != "node_1"));
    for line in &all {
        for field in ["eval", "token", "phase", "node", "op", "name", "layer", "node_type", "thread", "t_ns", "dur_ns"]
        {
            assert!(line.get(field).is_some(), "{field} is missing: {line}");
        }
        for field in ["type", "ne", "bytes", "buffer", "addr"] {
            assert!(line["dst"].get(field).is_some(), "dst.{field} is missing: {line}");
        }
        for source in line["src"].as_array().unwrap() {
            let place: &[&str] = if source["memory"] == "DISK" { &["file", "offset"] } else { &["buffer", "addr"] };
            for field in ["name", "type", "ne", "bytes", "layer"].iter().chain(place) {
                assert!(source.get(field).is_some(), "src.{field} is missing: {line}");
            }
        }
        assert!(line.get("experts").is_none());
        assert!(line["dur_ns"].is_u64() || line["fused_into"].is_u64());
    }
}

#[test]
fn an_access_names_the_byte_of_the_file_or_the_buffer() {
    let (_dir, path) = answer_of_nine();
    let filter = Filter { tokens: numbers("7"), layers: numbers("1"), op: glob("MUL_MAT"), ..Filter::default() };
    let found = lines(&path, &filter);
    assert_eq!(found.len(), 7);
    let q = &found[0];
    assert_eq!((&q["token"], &q["eval"], &q["phase"]), (&json!(7), &json!(3), &json!("GENERATE")));
    assert_eq!(q["token_text"], json!(format!(" t{}", token_id(&path, 7))));
    assert_eq!((&q["src"][0]["memory"], &q["src"][0]["file"]), (&json!("DISK"), &json!("/models/Smol LM2 ü.gguf")));
    let graph = Trace::open(&path).unwrap().graph(GraphId(1)).unwrap();
    let weight = graph.graph.tensors.iter().find(|t| t.name == "blk.1.attn_q.weight").unwrap();
    assert_eq!(q["src"][0]["offset"], json!(weight.mapped.unwrap().1));
    assert_eq!((&q["src"][1]["memory"], &q["src"][1]["name"]), (&json!("BUFFER"), &json!("attn_norm-1")));
    let kv = lines(&path, &Filter { op: glob("FLASH*"), evals: numbers("1"), ..Filter::default() });
    assert_eq!(kv[0]["src"][1]["buffer"], json!("KV cache (CPU)"));
    assert_eq!(kv[0]["dst"]["buffer"], json!("CPU"));
}

fn token_id(path: &Path, number: u64) -> i32 {
    let mut id = 0;
    let select = Select { tokens: Some(number..number + 1), evals: None };
    Trace::open(path).unwrap().for_each_evaluation(&select, false, |row| {
        id = row.evaluation.tokens[(number - row.first_token) as usize];
        ControlFlow::Continue(())
    });
    id
}

#[test]
fn filters_let_through_what_they_say() {
    let (_dir, path) = answer_of_nine();
    let count = |filter: Filter| lines(&path, &filter).len();
    assert_eq!(count(Filter { phase: Some(Phase::Prompt), ..Filter::default() }), 44);
    assert_eq!(count(Filter { phase: Some(Phase::Generate), ..Filter::default() }), 9 * 44);
    assert_eq!(count(Filter { evals: numbers("8.."), ..Filter::default() }), 2 * 44);
    assert_eq!(count(Filter { name: glob("l_out-*"), ..Filter::default() }), 20);
    assert_eq!(count(Filter { layers: numbers("0..1"), evals: numbers("1"), ..Filter::default() }), 40);
    assert_eq!(count(Filter { tokens: numbers("99"), ..Filter::default() }), 0);
    let disk = Filter { source: Some(Memory::Disk), evals: numbers("1"), ..Filter::default() };
    assert_eq!(count(disk), 1 + 2 * 9 + 2);
    // A token of the prompt names itself, not the first of its batch.
    let third = lines(&path, &Filter { tokens: numbers("3"), ..Filter::default() });
    assert_eq!((third.len(), &third[0]["token"], &third[0]["n_tokens"]), (44, &json!(3), &json!(5)));
}

#[test]
fn times_follow_each_other_without_a_gap() {
    let (_dir, path) = answer_of_nine();
    let mut at = None;
    for line in lines(&path, &Filter { evals: numbers("2"), ..Filter::default() }) {
        let start = line["t_ns"].as_u64().unwrap();
        assert!(at.is_none_or(|at| at == start), "{line}");
        at = Some(start + line["dur_ns"].as_u64().unwrap_or(0));
    }
}

/// A layer with four experts, two of them chosen a token; their weights lie in the file or were repacked.
fn experts(repacked: bool) -> StoredGraph {
    let mut b = Builder::default();
    let weight = b.weight("blk.0.ffn_up_exps.weight", true, &[64, 32, 4]);
    let tokens = b.input("inp_tokens", None, &[2]);
    let logits = b.node("ffn_moe_logits-0", "SQR", &[4, 2], &[tokens]);
    let sorted = b.node("ffn_moe_argsort-0", "ARGSORT", &[4, 2], &[logits]);
    let topk = b.look("ffn_moe_topk-0", "VIEW", &[2, 2], sorted);
    b.node("ffn_moe_up-0", "MUL_MAT_ID", &[32, 2, 2], &[weight, logits, topk]);
    let mut stored = b.finish(0, "/models/moe.gguf");
    if repacked {
        let at = stored.graph.tensors.iter().position(|t| t.name == "blk.0.ffn_up_exps.weight").unwrap();
        let (file, offset) = stored.graph.tensors[at].mapped.take().unwrap();
        stored.origins.push((TensorId(at as u32), file, offset));
        stored.graph.buffers[0].usage = BufferUsage::Weights;
        stored.graph.buffers[0].name = "CPU_REPACK".into();
    }
    stored
}

fn routed(stored: &StoredGraph) -> Evaluation {
    let topk = stored.graph.tensors.iter().position(|t| t.name == "ffn_moe_topk-0").unwrap();
    Evaluation {
        experts: vec![Experts { tensor: TensorId(topk as u32), n_used: 2, ids: vec![3, 1, 1, 0] }],
        ..evaluation(stored, 0, 0, &mut Random(1))
    }
}

#[test]
fn where_only_tokens_with_output_rows_are_routed_an_expert_is_its_own_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let stored = experts(false);
    let mut e = routed(&stored);
    e.outputs = Some(vec![1]);
    e.experts[0].ids.truncate(2);
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored).unwrap();
    writer.evaluation(e).unwrap();
    writer.finish().unwrap();
    let of = |tokens| lines(&path, &Filter { op: glob("MUL_MAT_ID"), tokens, ..Filter::default() }).remove(0);
    assert_eq!(of(numbers("1"))["experts"], json!([3, 1]));
    assert_eq!(of(numbers("0"))["experts"], json!([]));
    assert_eq!(of(None)["experts"], json!([3, 1]));
}

#[test]
fn an_experts_access_names_its_slice_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for repacked in [false, true] {
        let path = dir.path().join(format!("{repacked}.ggtrace"));
        let stored = experts(repacked);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(stored.clone()).unwrap();
        writer.evaluation(routed(&stored)).unwrap();
        writer.finish().unwrap();
        let of = |tokens| lines(&path, &Filter { op: glob("MUL_MAT_ID"), tokens, ..Filter::default() }).remove(0);
        let slice = |id: u64| json!({"id": id, "offset": 1_753_088 + id * 32 * 40, "bytes": 32 * 40});
        assert_eq!(of(None)["experts"], json!([3, 1, 0]), "each once");
        let second = of(numbers("1"));
        assert_eq!(second["experts"], json!([1, 0]), "of the second token only");
        let weight = &second["src"][0];
        assert_eq!(weight["experts"], json!([slice(1), slice(0)]));
        if repacked {
            assert_eq!((&weight["memory"], &weight["buffer"]), (&json!("BUFFER"), &json!("CPU_REPACK")));
            assert_eq!(weight["origin"], json!({"file": "/models/moe.gguf", "offset": 1_753_088}));
        } else {
            assert_eq!((&weight["memory"], &weight["offset"]), (&json!("DISK"), &json!(1_753_088)));
            assert!(weight.get("origin").is_none());
        }
    }
}

#[test]
fn a_run_on_another_device_is_timed_as_a_whole_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut stored = ggscope_trace::testing::llama(0, SMALL);
    stored.graph.devices = vec!["CUDA0".into()];
    let mut e = evaluation(&stored, 0, 0, &mut Random(1));
    e.durations.clear();
    (e.runs[0].clocked, e.runs[0].n_calls, e.runs[0].duration) = (false, 0, 7_000);
    let begin = e.start.0 + e.runs[0].start;
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored).unwrap();
    writer.evaluation(e.clone()).unwrap();
    writer.evaluation(Evaluation { eval: EvalId(1), ..e }).unwrap();
    writer.run_end(RunEnd { eval: EvalId(1), run: 0, end: Nanos(begin + 9_000) }).unwrap();
    writer.finish().unwrap();
    let all = lines(&path, &Filter::default());
    assert_eq!(all.len(), 2 * 44);
    for line in &all {
        let dur_ns = if line["eval"] == 0 { 7_000 } else { 9_000 };
        assert_eq!((&line["dur_ns"], &line["device"], &line["t_ns"]), (&json!(null), &json!("CUDA0"), &json!(begin)));
        assert_eq!(line["run"], json!({"number": 0, "t_ns": begin, "dur_ns": dur_ns}));
    }
}

#[test]
fn captured_values_are_put_together_and_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = write(&path, SMALL, 5, 2);
    let graph = ggscope_trace::testing::llama(1, SMALL).graph;
    let (id, _) = graph.nodes().find(|(_, t)| t.name == "l_out-1").unwrap();
    let bytes: Vec<u8> = (0..576).flat_map(|i| (i as f32 / 2.0).to_le_bytes()).collect();
    let mut piece = |eval: u64, from: usize, to: usize| {
        let part = bytes[from..to].to_vec();
        let (offset, total) = (from as u64, Bytes(bytes.len() as u64));
        let encoding = Encoding::Host;
        writer
            .value(Value { eval: EvalId(eval), graph: GraphId(1), tensor: id, offset, total, encoding, bytes: part })
            .unwrap();
    };
    piece(1, 0, 1000);
    piece(1, 1000, 2304);
    piece(2, 0, 1000);
    writer.finish().unwrap();
    let of = |eval: &str, values| {
        let found = lines(&path, &Filter { evals: numbers(eval), name: glob("l_out-1"), values, ..Filter::default() });
        found[0].get("value").cloned()
    };
    let value = of("1", true).unwrap();
    assert_eq!((&value["type"], &value["ne"]), (&json!("f32"), &json!([576, 1, 1, 1])));
    assert_eq!((&value["data"][3], value["data"].as_array().unwrap().len()), (&json!(1.5), 576));
    assert_eq!(of("2", true).unwrap()["missing_bytes"], json!(1304), "a piece was lost");
    assert_eq!(of("1", false), None);
    assert_eq!(of("0", true), None);
}
