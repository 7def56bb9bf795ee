//! The main job: `ggscope record --` in front of an unmodified program.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use ggscope_format::chunk::{Chunk, FILE_HEADER_BYTES};
use serde_json::Value;
use tempfile::TempDir;

use crate::ggscope::{Finished, command, dump, ggscope, info, number, record, run, sources, text, tokens, traces_in};
use crate::gguf::Gguf;
use crate::support::gguf_writer::TensorType;
use crate::support::server::Server;
use crate::support::{hosts, tiny_model, vendored};

const PROMPT: &str = "The capital of France is";
const ANSWERED: usize = 10;
const LAYERS: u64 = 30;

/// What llama-server did for one request, and the trace of it.
struct Served {
    _dir: TempDir,
    trace: PathBuf,
    content: String,
    ids: Vec<i32>,
    status: ExitStatus,
}

/// Asks the real llama-server with the real model, over HTTP, for one greedy answer; with `record`'s options if it is
/// to be recorded.
fn serve(record_options: Option<&[&str]>) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let server = Server::start(&dir.path().join("log"), |port| {
        let mut server = command(vendored::built("llama-server"));
        server.arg("-m").arg(vendored::demo_model()).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        server.args(["-c", "512", "-np", "1", "-t", "1", "-tb", "1", "--no-warmup"]);
        match record_options {
            Some(options) => record(&trace, options, &server),
            None => server,
        }
    });
    let answer = server.complete(PROMPT, ANSWERED as u32);
    let status = server.stop(libc::SIGTERM);
    let ids = answer["tokens"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect();
    Served { _dir: dir, trace, content: text(&answer, "content").to_owned(), ids, status }
}

/// The operators of the last evaluation of one answered token.
fn last_decode(trace: &Path) -> Vec<Value> {
    let last = number(&info(trace), "evaluations") - 1;
    let rows = dump(trace, &["--eval", &last.to_string()]);
    assert!(rows.iter().all(|row| number(row, "n_tokens") == 1 && text(row, "phase") == "GENERATE"));
    rows
}

/// The host `generate` on a model.
fn generate(model: &Path, n: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "1"]).args(options);
    host
}

/// A dense tiny model in `dir`.
fn tiny(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&path, TensorType::F16);
    path
}

#[test]
fn a_recorded_llama_server_gives_the_same_answer_and_the_trace_tells_its_tokens_and_its_text() {
    let untraced = serve(None);
    let traced = serve(Some(&[]));
    assert_eq!(traced.content, untraced.content);
    assert_eq!(traced.ids, untraced.ids);
    assert_eq!(traced.ids.len(), ANSWERED);
    assert_eq!(traced.status, untraced.status, "the exit code is the server's");

    let (prompt, answer): (Vec<_>, Vec<_>) = tokens(&traced.trace).into_iter().partition(|token| !token.generated);
    let text_of = |tokens: &[crate::ggscope::Token]| -> String {
        tokens.iter().map(|token| token.text.as_deref().expect("its text is known")).collect()
    };
    // Before it listens, llama-server tries its context out with two tokens that end a text.
    assert_eq!(text_of(&prompt).trim_start_matches("<|endoftext|>"), PROMPT);
    // The last token that was answered ends the generation: it is never put into the model.
    let evaluated = &traced.ids[..ANSWERED - 1];
    assert_eq!(answer.len(), evaluated.len());
    assert_eq!(text_of(&answer), Gguf::read(&vendored::demo_model()).byte_level_text(evaluated));
    assert!(traced.content.starts_with(&text_of(&answer)), "{:?}", traced.content);
    assert!(answer.windows(2).all(|pair| pair[0].eval + 1 == pair[1].eval), "one evaluation each");
}

#[test]
fn info_says_what_was_recorded_of_a_llama_server() {
    let served = serve(Some(&[]));
    let info = info(&served.trace);
    assert_eq!(info["format"], 3);
    assert_eq!(info["complete"], true);
    assert!(number(&info["process"], "pid") > 1);
    assert!(text(&info["process"], "exe").ends_with("llama-server"));
    let argv = info["process"]["argv"].as_array().unwrap();
    assert!(argv[0].as_str().unwrap().ends_with("llama-server") && argv.contains(&"--no-warmup".into()));
    let model = &info["model"];
    let path = Path::new(text(model, "path")).canonicalize().unwrap();
    assert_eq!(path, vendored::demo_model().canonicalize().unwrap());
    assert!(text(model, "name").to_lowercase().contains("smollm2"), "{model}");
    assert_eq!((text(model, "arch"), number(model, "n_layer")), ("llama", LAYERS));
    assert_eq!(info["level"], "ops");
    assert!(number(&info, "graphs") >= 2, "one of the prompt, one of the answer");
    let tokens = &info["tokens"];
    assert_eq!(number(tokens, "generate"), ANSWERED as u64 - 1);
    // And two before the first request, with which llama-server tries its context out.
    assert_eq!(number(tokens, "prompt"), 5 + 2);
    // llama-server may cut a prompt into more than one evaluation.
    let evaluations = number(&info, "evaluations");
    assert!((ANSWERED as u64..ANSWERED as u64 + 5).contains(&evaluations), "{evaluations}");
    assert_eq!(number(&info, "operators"), 576 * evaluations);
    let time = &info["time"];
    let span = number(time, "last_ns") - number(time, "first_ns");
    assert!(number(time, "compute_ns") > 0 && number(time, "compute_ns") <= span, "{time}");
    assert_eq!((number(&info["dropped"], "records"), number(&info["dropped"], "bytes")), (0, 0));
    let buffers = info["buffers"].as_array().expect("buffers");
    let weights = buffers.iter().find(|b| b["name"] == "CPU_Mapped").expect("the buffer of the mapped weights");
    assert!(number(weights, "bytes") > 90_000_000 && number(weights, "allocated_ns") > 0, "{weights}");
    // The server ended in order, so it released what it had.
    let released = |b: &Value| number(b, "released_ns") > number(b, "allocated_ns");
    assert!(buffers.len() >= 3 && buffers.iter().all(released), "{buffers:?}");
    let file_bytes = fs::metadata(&served.trace).unwrap().len();
    assert_eq!(number(&info["size"], "file_bytes"), file_bytes);
    let a_token = info["size"]["bytes_per_generated_token"].as_f64().unwrap();
    assert!((a_token - file_bytes as f64 / (ANSWERED as f64 - 1.0)).abs() < 1.0);
    assert_eq!(info["warnings"], Value::Array(vec![]));
}

#[test]
fn a_decoded_token_is_exactly_its_576_computed_nodes_each_in_its_layer() {
    let served = serve(Some(&[]));
    let rows = last_decode(&served.trace);
    assert_eq!(rows.len(), 576);
    let of_layer = |layer: u64| rows.iter().filter(move |row| row["layer"] == layer);
    for layer in 0..LAYERS {
        let n = if layer == LAYERS - 1 { 21 } else { 19 };
        assert_eq!(of_layer(layer).count(), n, "layer {layer}");
        assert!(of_layer(layer).all(|row| text(row, "node_type") == "layer"));
        assert_eq!(of_layer(layer).filter(|row| text(row, "op") == "FLASH_ATTN_EXT").count(), 1, "layer {layer}");
        let output_rows = of_layer(layer).filter(|row| text(row, "op") == "GET_ROWS").count();
        assert_eq!(output_rows, if layer == LAYERS - 1 { 2 } else { 0 }, "layer {layer}");
    }
    let ops_of = |kind: &str| -> Vec<&str> {
        rows.iter().filter(|row| text(row, "node_type") == kind).map(|row| text(row, "op")).collect()
    };
    assert_eq!(ops_of("embedding"), ["GET_ROWS"]);
    assert_eq!(ops_of("output"), ["RMS_NORM", "MUL", "MUL_MAT"]);
    assert!(ops_of("infrastructure").is_empty());
    let never = ["VIEW", "RESHAPE", "PERMUTE", "TRANSPOSE", "NONE"];
    assert!(rows.iter().all(|row| !never.contains(&text(row, "op"))), "looks at tensors are not computed");
}

#[test]
fn every_operator_has_its_exact_time_or_is_fused_into_the_one_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    run(record(&trace, &[], &generate(&vendored::demo_model(), 3, &[]))).ok();

    let rows = last_decode(&trace);
    let (timed, untimed): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["dur_ns"].is_u64());
    assert_eq!((timed.len(), untimed.len()), (515, 61));
    for row in untimed {
        assert_eq!(text(row, "op"), "RMS_NORM");
        let into = rows.iter().find(|other| other["node"] == row["fused_into"]).expect("a node of the same evaluation");
        assert_eq!(text(into, "op"), "MUL");
        assert!(sources(into).iter().any(|source| source["name"] == row["name"]), "the one that reads it");
    }
    for pair in timed.windows(2) {
        let end = number(pair[0], "t_ns") + number(pair[0], "dur_ns");
        assert!(end <= number(pair[1], "t_ns"), "operators run one after the other: {} {}", pair[0], pair[1]);
    }
    let all: u64 = dump(&trace, &[]).iter().filter_map(|row| row["dur_ns"].as_u64()).sum();
    let compute = number(&info(&trace)["time"], "compute_ns");
    assert!(all <= compute, "{all} ns of operators in {compute} ns of evaluations");
    assert!(all > compute / 2, "evaluations are hardly more than their operators: {all} of {compute} ns");
}

#[test]
fn every_weight_is_read_from_its_place_in_the_gguf_file_and_the_cache_from_a_buffer_named_so() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let model = vendored::demo_model();
    run(record(&trace, &[], &generate(&model, 2, &[]))).ok();

    let gguf = Gguf::read(&model);
    let rows = last_decode(&trace);
    let mut weights = std::collections::HashSet::new();
    let mut caches = std::collections::HashSet::new();
    for (row, source) in rows.iter().flat_map(|row| sources(row).iter().map(move |source| (row, source))) {
        let name = text(source, "name");
        if let Some(layer) = name.strip_prefix("blk.") {
            assert_eq!(source["layer"].to_string(), layer.split('.').next().unwrap(), "{name}");
            assert_eq!(source["layer"], row["layer"], "{name}");
        }
        if name.ends_with(".weight") {
            assert_eq!(text(source, "memory"), "DISK", "{name}");
            assert_eq!(Path::new(text(source, "file")).canonicalize().unwrap(), model.canonicalize().unwrap());
            gguf.assert_at(name, number(source, "offset"), number(source, "bytes"));
            weights.insert(name);
        } else {
            assert_eq!(text(source, "memory"), "BUFFER", "{name}");
            assert!(source["file"].is_null() && number(source, "addr") > 0, "{source}");
        }
        if let Some(rest) = name.strip_prefix("cache_") {
            assert!(text(source, "buffer").starts_with("KV cache"), "{source}");
            assert_eq!(source["layer"], row["layer"], "{source}");
            caches.insert(rest.split(' ').next().unwrap());
        }
    }
    assert_eq!(weights.len(), gguf.tensors.len(), "all of the file's tensors are read for each token");
    assert_eq!(caches.len() as u64, 2 * LAYERS, "K and V of each layer");
    assert!(rows.iter().all(|row| number(&row["dst"], "addr") > 0 && row["dst"]["buffer"].is_string()));
}

/// All chunks of a trace, unpacked.
fn unpacked(trace: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(trace).unwrap();
    let mut rest = &bytes[FILE_HEADER_BYTES..];
    let mut chunks = vec![];
    while let Ok((chunk, length)) = Chunk::parse(rest) {
        chunks.push(chunk.unpack().unwrap());
        rest = &rest[length..];
    }
    assert!(!chunks.is_empty());
    chunks
}

/// The ids of the prompt's tokens, each a whole word of the vocabulary.
fn prompt_ids() -> Vec<u32> {
    let vocabulary = Gguf::read(&vendored::demo_model()).vocabulary;
    let id = |word: String| vocabulary.iter().position(|text| *text == word).expect("a word of the vocabulary") as u32;
    let words = PROMPT.split(' ').enumerate();
    words.map(|(i, word)| id(if i == 0 { word.into() } else { format!("Ġ{word}") })).collect()
}

/// LEB128.
fn varints(ids: &[u32], map: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut out = vec![];
    for mut rest in ids.iter().map(|&id| map(id)) {
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out
}

#[test]
fn no_tokens_keeps_ids_and_texts_out_of_the_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (with, without) = (dir.path().join("with.ggtrace"), dir.path().join("without.ggtrace"));
    let host = generate(&vendored::demo_model(), 4, &[]);
    run(record(&with, &[], &host)).ok();
    run(record(&without, &["--no-tokens"], &host)).ok();

    let holds =
        |trace: &Path, needle: &[u8]| unpacked(trace).iter().any(|c| c.windows(needle.len()).any(|w| w == needle));
    for text in [b" France".as_slice(), b" capital"] {
        assert!(holds(&with, text), "or this test looks for the wrong thing");
        assert!(!holds(&without, text));
    }
    // The prompt's ids one after the other, in each way that they could be written.
    let prompt = prompt_ids();
    let fixed = prompt.iter().flat_map(|id| id.to_le_bytes()).collect();
    let written: [Vec<u8>; 3] = [fixed, varints(&prompt, |id| id), varints(&prompt, |id| id << 1)];
    assert!(written.iter().any(|ids| holds(&with, ids)), "or this test looks for the wrong thing");
    assert!(!written.iter().any(|ids| holds(&without, ids)));

    assert!(dump(&with, &[]).iter().all(|row| row["token_text"].is_string()));
    assert!(dump(&without, &[]).iter().all(|row| row["token_text"].is_null()));
    let (with, without) = (info(&with), info(&without));
    assert_eq!(with["tokens"], without["tokens"], "how many there were is no secret");
    assert_eq!(with["operators"], without["operators"]);
}

#[test]
fn at_level_graph_every_operator_is_listed_without_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let host = generate(&tiny(&dir), 3, &[]);
    let traced = run(record(&trace, &["--level", "graph"], &host)).ok();
    assert_eq!(traced.stdout, run(host).ok().stdout);
    assert_eq!(info(&trace)["level"], "graph");
    let rows = dump(&trace, &[]);
    assert!(rows.len() > 100 && rows.iter().all(|row| row["dur_ns"].is_null() && number(row, "t_ns") > 0));
}

#[test]
fn stdout_stderr_and_exit_code_of_a_program_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let model = tiny(&dir);
    // Aborts in the second evaluation: a program that ends with an exit code and something on stderr.
    let host = || generate(&model, 5, &["--abort-after", "100"]);
    let (untraced, traced) = (run(host()), run(record(&trace, &[], &host())));
    assert_eq!(untraced.status.code(), Some(3));
    assert_eq!(traced.status, untraced.status);
    assert_eq!(traced.stdout, untraced.stdout);
    assert_eq!(traced.own_stderr(), untraced.stderr);

    let quiet = run(record(&trace, &["--force", "--quiet"], &host()));
    assert_eq!(quiet.stderr, untraced.stderr, "--quiet adds nothing");

    let shell = |script: &str| {
        let mut command = command("/bin/sh");
        command.args(["-c", script]);
        run(record(&dir.path().join("shell.ggtrace"), &["--quiet"], &command))
    };
    let Finished { status, stdout, stderr } = shell("echo out; echo err >&2; exit 7");
    assert_eq!((status.code(), stdout.as_str(), stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(shell("kill -TERM $$").status.signal(), Some(libc::SIGTERM));
}

#[test]
fn llama_bench_is_recorded_to_a_file_named_after_it_and_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = ggscope(&["record", "--"]);
    command.arg(vendored::built("llama-bench")).arg("-m").arg(tiny(&dir));
    command.args(["-p", "4", "-n", "3", "-r", "1", "-t", "1", "-o", "jsonl"]).current_dir(dir.path());
    let finished = run(command).ok();
    assert!(finished.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", finished.stdout);
    assert_eq!(finished.stdout.lines().count(), 2, "a line for -p, a line for -n");

    let traces = traces_in(dir.path());
    let [trace] = &traces[..] else { panic!("one trace: {traces:?}") };
    let name = trace.file_name().unwrap().to_str().unwrap();
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "llama-bench-00000000-000000.ggtrace");
    let info = info(trace);
    assert_eq!(info["complete"], true);
    assert!(number(&info, "evaluations") >= 4 && number(&info["tokens"], "generate") >= 2, "{info}");
}

#[test]
fn an_existing_file_is_refused_before_the_program_starts_and_replaced_with_force() {
    let dir = tempfile::tempdir().unwrap();
    let (trace, witness) = (dir.path().join("run.ggtrace"), dir.path().join("started"));
    fs::write(&trace, "precious").unwrap();
    let mut touch = command("/usr/bin/touch");
    touch.arg(&witness);
    let refused = run(record(&trace, &[], &touch));
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("run.ggtrace") && refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert!(!witness.exists(), "the program was started");
    assert_eq!(fs::read(&trace).unwrap(), b"precious");

    run(record(&trace, &["--force"], &generate(&tiny(&dir), 2, &[]))).ok();
    assert_eq!(info(&trace)["complete"], true);
}
