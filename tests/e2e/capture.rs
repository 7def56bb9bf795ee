//! What `--capture` takes and leaves: sets by name, limits, statistics in place of values, a budget, and what it says of a
//! set or a glob that nothing was found of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ggscope_format::chunk::{Chunk, ChunkKind, FILE_HEADER_BYTES};
use ggscope_format::record::decode;
use serde_json::Value;

use crate::ggscope::{Daemon, Running, built, command, dump, ggscope, info, number, record, run, text};
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

fn generate(model: &Path, n: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "1"]).args(options);
    host
}

struct Stage {
    _dir: tempfile::TempDir,
    trace: PathBuf,
    model: PathBuf,
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let (trace, model) = (dir.path().join("run.ggtrace"), dir.path().join("tiny.gguf"));
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    Stage { _dir: dir, trace, model }
}

/// Rows of `dump` that have a value or statistics.
fn captured(trace: &Path) -> Vec<Value> {
    let has = |row: &Value| row["value"].is_object() || row["statistics"].is_object();
    dump(trace, &["--values"]).into_iter().filter(has).collect()
}

fn names(rows: &[Value]) -> BTreeSet<&str> {
    rows.iter().map(|row| text(row, "name")).collect()
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().unwrap_or_else(|| panic!("no numbers: {list}")).iter().map(|n| n.as_f64().unwrap()).collect()
}

#[test]
fn layers_are_the_residual_stream_and_the_norms_of_every_block() {
    let Stage { _dir, trace, .. } = stage();
    let host = || generate(&vendored::demo_model(), 3, &[]);
    let traced = run(record(&trace, &["--capture", "layers,logits"], &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
    let rows = captured(&trace);
    let names = names(&rows);
    for layer in 0..30 {
        for part in ["attn_norm", "attn_out", "ffn_inp", "ffn_norm", "ffn_out", "l_out"] {
            assert!(names.contains(&*format!("{part}-{layer}")), "{part}-{layer} is missing: {names:?}");
        }
    }
    assert!(names.contains("result_norm") && names.contains("result_output"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("Qcur") || name.starts_with("norm")), "{names:?}");
    assert_eq!(info(&trace)["dropped"]["records"], 0);
    assert!(!traced.stderr.contains("nothing"), "{}", traced.stderr);
}

#[test]
fn the_residual_stream_adds_up_in_every_block() {
    let Stage { _dir, trace, model } = stage();
    run(record(&trace, &["--capture", "layers"], &generate(&model, 3, &[]))).ok();
    let rows = captured(&trace);
    let mut compared = 0;
    for row in rows.iter().filter(|row| text(row, "name").starts_with("l_out-")) {
        let of = |part: &str| {
            let name = format!("{part}-{}", number(row, "layer"));
            let found = rows.iter().find(|r| r["eval"] == row["eval"] && text(r, "name") == name);
            floats(&found.unwrap_or_else(|| panic!("no {name}"))["value"]["data"])
        };
        let (out, from, added) = (of("l_out"), of("ffn_inp"), of("ffn_out"));
        for ((out, from), added) in out.iter().zip(&from).zip(&added) {
            assert_eq!(*out as f32, *from as f32 + *added as f32);
            compared += 1;
        }
    }
    assert!(compared >= 64 * 3 * 3, "{compared}");
}

#[test]
fn routers_probabilities_and_weights_are_the_set_experts() {
    let Stage { _dir, trace, model } = stage();
    tiny_model::write_moe_gguf(&model, 8, 2);
    run(record(&trace, &["--capture", "experts"], &generate(&model, 3, &[]))).ok();
    let rows = captured(&trace);
    let one = |name: &str| rows.iter().find(|row| text(row, "name") == name).unwrap_or_else(|| panic!("no {name}"));
    let probabilities = floats(&one("ffn_moe_probs-1")["value"]["data"]);
    assert!(probabilities.chunks(8).all(|token| (token.iter().sum::<f64>() - 1.0).abs() < 1e-5));
    let weights = rows.iter().any(|row| text(row, "name").starts_with("ffn_moe_weights"));
    assert!(weights, "{:?}", names(&rows));
}

#[test]
fn layers_tokens_and_every_nth_are_what_is_captured_and_no_more() {
    let Stage { _dir, trace, model } = stage();
    let limits = ["--capture", "l_out-*,result_norm", "--capture-layers", "1-2", "--capture-every", "3"];
    run(record(&trace, &limits, &generate(&model, 9, &[]))).ok();
    let rows = captured(&trace);
    assert_eq!(names(&rows), BTreeSet::from(["l_out-1", "l_out-2", "result_norm"]));
    let mut evals: Vec<u64> = rows.iter().map(|row| number(row, "eval")).collect();
    evals.dedup();
    let all = number(&info(&trace), "evaluations");
    // Eight tokens are evaluated after the prompt.
    assert_eq!(all, 9);
    assert_eq!(evals, [0, 1, 4, 7], "the prompt, and every third of the answer");

    let only = trace.with_file_name("tokens.ggtrace");
    let prompt = number(&info(&trace)["tokens"], "prompt");
    let range = format!("{}-{}", prompt + 1, prompt + 2);
    run(record(&only, &["--capture", "l_out-0", "--capture-tokens", &range], &generate(&model, 9, &[]))).ok();
    let tokens: Vec<u64> = captured(&only).iter().map(|row| number(row, "token")).collect();
    assert_eq!(tokens, [prompt + 1, prompt + 2]);
}

#[test]
fn statistics_are_those_of_the_values() {
    let Stage { _dir, trace, model } = stage();
    let values = trace.with_file_name("values.ggtrace");
    run(record(&values, &["--capture", "layers"], &generate(&model, 4, &[]))).ok();
    run(record(&trace, &["--capture", "layers", "--capture-stats"], &generate(&model, 4, &[]))).ok();
    assert_eq!(info(&trace)["size"]["value_bytes"], 0);
    let (with, without) = (captured(&trace), captured(&values));
    assert_eq!(with.len(), without.len());
    let mut compared = 0;
    for (row, value) in with.iter().zip(&without) {
        assert_eq!((&row["name"], &row["eval"]), (&value["name"], &value["eval"]));
        assert!(row["value"].is_null());
        let data = floats(&value["value"]["data"]);
        let width = floats(&value["value"]["ne"])[0] as usize;
        let rows = row["statistics"]["rows"].as_array().unwrap();
        assert_eq!(rows.len(), data.len() / width);
        for (row, data) in rows.iter().zip(data.chunks(width)) {
            let mean = data.iter().sum::<f64>() / width as f64;
            let rms = (data.iter().map(|x| x * x).sum::<f64>() / width as f64).sqrt();
            let near = |key: &str, value: f64| (row[key].as_f64().unwrap() - value).abs() < 1e-5 * value.abs().max(1.0);
            assert!(near("mean", mean) && near("rms", rms), "{row}");
            assert!(near("min", data.iter().copied().fold(f64::INFINITY, f64::min)));
            assert!(near("max", data.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
            compared += 1;
        }
        let counted: f64 = floats(&row["statistics"]["counts"]).iter().sum();
        assert_eq!(counted as usize, data.iter().filter(|x| **x != 0.0).count());
    }
    assert!(compared > 100);
}

#[test]
fn halves_are_the_values_rounded_and_take_half_the_bytes() {
    let Stage { _dir, trace, model } = stage();
    let whole = trace.with_file_name("whole.ggtrace");
    run(record(&whole, &["--capture", "l_out-*"], &generate(&model, 3, &[]))).ok();
    run(record(&trace, &["--capture", "l_out-*", "--capture-as", "f16"], &generate(&model, 3, &[]))).ok();
    let bytes = |trace: &Path| number(&info(trace)["size"], "value_bytes");
    assert_eq!(bytes(&trace) * 2, bytes(&whole));
    for (half, whole) in captured(&trace).iter().zip(&captured(&whole)) {
        let (half, whole) = (floats(&half["value"]["data"]), floats(&whole["value"]["data"]));
        assert_eq!(half.len(), whole.len());
        for (half, whole) in half.iter().zip(&whole) {
            assert_eq!(*half, half::f16::from_f32(*whole as f32).to_f64());
        }
    }
}

#[test]
fn beyond_the_budget_whole_captures_are_left_out_and_counted() {
    let Stage { _dir, trace, model } = stage();
    let host = || generate(&model, 40, &[]);
    let traced = run(record(&trace, &["--capture", "layers", "--capture-budget", "4KiB/s"], &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout);
    let info = info(&trace);
    let (left_out, all) = (number(&info["left_out"], "evaluations"), number(&info, "evaluations"));
    assert!(left_out > 0 && number(&info["left_out"], "bytes") > 0, "{info}");
    assert_eq!(info["dropped"]["records"], 0, "a full ring is another matter");
    assert!(traced.stderr.contains("--capture-budget"), "{}", traced.stderr);
    let rows = captured(&trace);
    let evals: BTreeSet<u64> = rows.iter().map(|row| number(row, "eval")).collect();
    assert_eq!(evals.len() as u64, all - left_out);
    let of_first = rows.iter().filter(|row| row["eval"] == rows[0]["eval"]).count();
    for eval in &evals {
        let of_this = rows.iter().filter(|row| number(row, "eval") == *eval).count();
        assert_eq!(of_this, of_first, "all of evaluation {eval} or nothing");
    }
}

#[test]
fn what_nothing_was_found_of_is_said_with_the_nearest_names() {
    let Stage { _dir, trace, model } = stage();
    let finished = run(record(&trace, &["--capture", "lout-*,experts,l_out-0"], &generate(&model, 2, &[]))).ok();
    assert!(finished.stderr.contains("nothing was captured of `lout-*`"), "{}", finished.stderr);
    assert!(finished.stderr.contains("nearest names are l_out-*"), "{}", finished.stderr);
    assert!(finished.stderr.contains("set `experts`"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("`l_out-0`"));
}

/// Bytes in a line that says `… N KiB …` behind these words.
fn bytes_behind(stderr: &str, words: &str) -> f64 {
    let rest = stderr.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {stderr}")).1;
    let mut parts = rest.split_whitespace();
    let number: f64 = parts.next().unwrap().parse().unwrap();
    number * if parts.next().unwrap().starts_with("MiB") { 1024.0 } else { 1.0 }
}

#[test]
fn what_a_token_will_take_is_said_before_the_program_starts_and_is_about_what_it_takes() {
    let Stage { _dir, trace, .. } = stage();
    for names in ["attention", "attention,values,logits", "layers"] {
        let host = generate(&vendored::demo_model(), 6, &["--delay-ms", "300"]);
        let said = run(record(&trace, &["--capture", names, "--force"], &host)).ok().stderr;
        let (wanted, taken) = (bytes_behind(&said, "ggscope: about "), bytes_behind(&said, "ggscope: captured "));
        assert!((wanted / taken - 1.0).abs() < 0.2, "{names}: {said}");
        assert!(said.find("about").unwrap() < said.find("captured").unwrap());
    }
}

#[test]
fn values_of_attention_are_rows_of_the_v_cache_or_those_on_their_way_into_it() {
    let Stage { _dir, trace, model } = stage();
    for (flash, in_cache) in [("on", true), ("off", false)] {
        let trace = trace.with_file_name(format!("{flash}.ggtrace"));
        let by_name = trace.with_extension("Vcur.ggtrace");
        let host = || generate(&model, 3, &["--flash-attn", flash]);
        run(record(&trace, &["--capture", "values"], &host())).ok();
        run(record(&by_name, &["--capture", "Vcur-*"], &host())).ok();
        let told = told(&trace);
        let mut compared = 0;
        for row in captured(&by_name).iter().filter(|row| row["value"]["data"].is_array()) {
            let numbers = floats(&row["value"]["data"]).into_iter().map(|x| x as f32);
            let bytes: Vec<u8> = if in_cache {
                numbers.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect()
            } else {
                numbers.flat_map(f32::to_le_bytes).collect()
            };
            let of_evaluation = &told[&number(row, "eval")];
            let found = of_evaluation.values().any(|told| told.windows(bytes.len()).step_by(4).any(|w| w == bytes));
            assert!(found, "{} in evaluation {} with flash attention {flash}", text(row, "name"), row["eval"]);
            compared += 1;
        }
        assert_eq!(compared, 3 * tiny_model::N_LAYER, "flash attention {flash}");
    }
}

/// The bytes of every tensor that a trace has values of, by evaluation.
fn told(trace: &Path) -> BTreeMap<u64, BTreeMap<u32, Vec<u8>>> {
    let file = std::fs::read(trace).unwrap();
    let mut told: BTreeMap<u64, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    let mut at = FILE_HEADER_BYTES;
    while let Ok((chunk, len)) = Chunk::parse(&file[at..]) {
        at += len;
        if chunk.kind == ChunkKind::Values {
            let values: Vec<ggscope_format::value::Value> = decode(&chunk.unpack().unwrap()).unwrap();
            for value in values {
                let of_evaluation = told.entry(value.eval.0).or_default();
                of_evaluation.entry(value.tensor.0).or_default().extend(value.bytes);
            }
        }
    }
    told
}

#[test]
fn a_token_that_was_not_captured_is_seen_by_those_after_it() {
    let Stage { _dir, trace, model } = stage();
    let host = generate(&model, 8, &["--flash-attn", "on"]);
    run(record(&trace, &["--capture", "attention", "--capture-every", "3"], &host)).ok();
    let last = number(&info(&trace)["tokens"], "prompt") + number(&info(&trace)["tokens"], "generate") - 1;
    let of = |token: u64| {
        let (trace, token) = (trace.to_str().unwrap(), token.to_string());
        run(ggscope(&["attention", trace, "--json", "--layer", "1", "--token", &token]))
    };
    let taken: Vec<u64> = (0..=last).filter(|&token| of(token).status.success()).collect();
    let prompt = number(&info(&trace)["tokens"], "prompt");
    let answers: Vec<u64> = taken.iter().copied().filter(|&token| token >= prompt).map(|t| t - prompt).collect();
    assert_eq!(answers, [0, 3, 6]);
    let found: Value = serde_json::from_str(&of(prompt + 6).ok().stdout).unwrap();
    let tokens: Vec<u64> = found["keys"].as_array().unwrap().iter().map(|key| number(key, "token")).collect();
    assert_eq!(tokens, (0..=prompt + 6).collect::<Vec<_>>(), "also those of tokens that were passed over");
}

/// Asks the page's server, and returns what it answers.
fn ask(address: &str, method: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{method} /api/v1/sessions/0/capture HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all((head + &length).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

#[test]
fn what_is_captured_can_be_changed_while_the_program_runs_and_nothing_that_was_overwritten_is_read() {
    let Stage { _dir, trace, model } = stage();
    // What all of it would be.
    let whole = trace.with_file_name("whole.ggtrace");
    let rounds = ["--repeat", "6", "--flash-attn", "on"];
    let options = ["--capture", "l_out-*,attention", "--ring-size", "64M"];
    run(record(&whole, &options, &generate(&model, 20, &rounds))).ok();

    let dir = trace.parent().unwrap().join("daemon");
    std::fs::create_dir(&dir).unwrap();
    let daemon = Daemon::start(&dir, &["--listen", "127.0.0.1:0"]);
    let begin = Instant::now();
    let address = loop {
        let log = std::fs::read_to_string(dir.join("daemon.log")).unwrap();
        match log.split("http://").nth(1).and_then(|rest| rest.split_once('/')) {
            Some((address, _)) => break address.to_owned(),
            None => assert!(begin.elapsed() < Duration::from_secs(20), "{log}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut host = generate(&model, 20, &[&rounds[..], &["--delay-ms", "60"]].concat());
    host.env("GGSCOPE_SOCKET", &daemon.socket).env("LD_PRELOAD", built("libggscope.so"));
    let mut host = Running(host.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let state = |body: Option<&str>| ask(&address, if body.is_some() { "PUT" } else { "GET" }, body.unwrap_or(""));
    let listed = || std::fs::read_to_string(dir.join("daemon.log")).unwrap().contains("attached");
    while !listed() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(state(None)["now"]["names"].as_array().unwrap().len(), 0);
    let changed = state(Some(r#"{"names": ["l_out-*", "attention"]}"#));
    assert_eq!(changed["can_change"], true);
    // It looks once a second, between evaluations; then it is told to stop again.
    while state(None)["now"]["names"].as_array().unwrap().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{}", state(None));
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(2500));
    state(Some(r#"{"names": []}"#));
    assert!(host.wait(Duration::from_secs(60)).unwrap().success());
    let trace = daemon.stop().pop().expect("a trace");

    let changes = info(&trace)["captures"].as_array().unwrap().clone();
    assert_eq!(changes.len(), 2, "{changes:?}");
    let (from, to) = (number(&changes[0], "from_eval"), number(&changes[1], "from_eval"));
    let (rows, expected) = (captured(&trace), captured(&whole));
    let rows: Vec<&Value> = rows.iter().filter(|row| text(row, "name").starts_with("l_out-")).collect();
    assert!(!rows.is_empty(), "captured from a later graph on: {from} to {to}");
    for row in rows {
        assert!((from..to).contains(&number(row, "eval")));
        let same = |other: &&Value| other["eval"] == row["eval"] && other["name"] == row["name"];
        let expected = expected.iter().find(same).expect("the same evaluation");
        assert_eq!(row["value"]["data"], expected["value"]["data"], "{} of {}", row["name"], row["eval"]);
    }
}
