//! Programs that reach llama.cpp in other ways, and models that lie or compute in other ways.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::ggscope::{
    Daemon, Finished, command, dump, info, leaves, number, record, run, run_within, sources, text, tokens, traces_in,
};
use crate::gguf::Gguf;
use crate::support::eval_dump::read_eval_dump;
use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model, vendored};

const PROMPT: &str = "The capital of France is";

fn generate(model: &Path, n: u32, options: &[&str]) -> Command {
    let mut host = command(hosts::generate());
    host.arg(model).arg(n.to_string()).args(["--threads", "1"]).args(options);
    host
}

fn tiny(dir: &TempDir, tensor_type: TensorType) -> PathBuf {
    let path = dir.path().join("tiny.gguf");
    tiny_model::write_dense_gguf(&path, tensor_type);
    path
}

/// Texts of the answered tokens, one after the other.
fn answered(trace: &Path) -> String {
    let answer = tokens(trace).into_iter().filter(|token| token.generated);
    answer.map(|token| token.text.expect("its text is known")).collect()
}

/// The trace is whole and each of its operators has its time.
fn assert_whole_and_timed(trace: &Path) {
    let info = info(trace);
    assert_eq!(info["complete"], true);
    assert_eq!(number(&info["dropped"], "records"), 0);
    let rows = dump(trace, &[]);
    assert_eq!(rows.len() as u64, number(&info, "operators"));
    for row in &rows {
        assert!(row["dur_ns"].is_u64() || row["fused_into"].is_u64(), "no time: {row}");
    }
}

#[test]
fn a_program_that_opens_libllama_with_rtld_local_is_recorded_with_all_times() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let mut host = command(hosts::dlopen_local());
    host.arg(vendored::built("libllama.so")).arg(vendored::demo_model()).args(["4", "1"]);
    let traced = run(record(&trace, &[], &host)).ok();
    let untraced = run(host).ok();
    assert_eq!(traced.stdout, untraced.stdout);
    assert_whole_and_timed(&trace);
    let evaluated = &untraced.ids()[..3];
    assert_eq!(answered(&trace), Gguf::read(&vendored::demo_model()).byte_level_text(evaluated));
    assert_eq!(number(&info(&trace), "operators"), 4 * 576);
}

#[test]
fn backends_that_ggml_loads_at_run_time_are_recorded_with_all_times() {
    let dir = tempfile::tempdir().unwrap();
    let backends = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/build-dl/bin");
    assert!(backends.join("libggml-cpu.so").exists(), "run `vendor/setup --tests` first");
    let model = vendored::demo_model();
    let linked = generate(&model, 3, &["--backends", backends.to_str().unwrap()]);
    let mut opened = command(hosts::dlopen_local());
    opened.arg(vendored::built("libllama.so")).arg(&model).args(["3", "1"]).arg(&backends);
    for (name, mut host) in [("linked", linked), ("opened", opened)] {
        let trace = dir.path().join(name).with_extension("ggtrace");
        host.env("LD_LIBRARY_PATH", &backends);
        let traced = run(record(&trace, &[], &host)).ok();
        assert_eq!(traced.stdout, run(host).ok().stdout);
        assert_whole_and_timed(&trace);
        let info = info(&trace);
        assert!(text(&info["process"], "ggml").contains("build-dl"), "{}", info["process"]);
        assert_eq!(number(&info, "operators"), 3 * 576);
    }
}

#[test]
fn two_contexts_that_compute_at_once_have_their_records_apart() {
    const N: usize = 6;
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let model = vendored::demo_model();
    let mut host = command(hosts::two_contexts());
    host.arg(&model).args([&N.to_string(), "1"]);
    let traced = run(record(&trace, &[], &host)).ok();
    assert_eq!(traced.stdout, run(host).ok().stdout);
    assert_whole_and_timed(&trace);

    // What each thread evaluated, in the order of time: a text for each thread.
    let mut rows = dump(&trace, &["--op", "GET_ROWS", "--name", "embd", "--phase", "generate"]);
    rows.sort_by_key(|row| number(row, "t_ns"));
    let mut by_thread: HashMap<u64, String> = HashMap::new();
    for row in &rows {
        by_thread.entry(number(row, "thread")).or_default().push_str(text(row, "token_text"));
    }
    let vocabulary = Gguf::read(&model);
    let expected: HashSet<String> = (traced.stdout.lines())
        .map(|line| {
            let ids = line.split_once(": ").expect("`ctxN: ids`").1;
            let ids: Vec<i32> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
            vocabulary.byte_level_text(&ids[..N - 1])
        })
        .collect();
    assert_eq!(expected.len(), 2, "different prompts, different answers");
    assert_eq!(by_thread.into_values().collect::<HashSet<_>>(), expected);

    // Times of one thread follow each other; those of the other lie in between.
    let mut end_of: HashMap<u64, (u64, u64)> = HashMap::new();
    for row in dump(&trace, &[]).iter().filter(|row| row["dur_ns"].is_u64()) {
        let (eval, begin) = (number(row, "eval"), number(row, "t_ns"));
        let last = end_of.insert(number(row, "thread"), (eval, begin + number(row, "dur_ns")));
        assert!(last.is_none_or(|(last, end)| last != eval || end <= begin), "{row}");
    }
    assert_eq!(end_of.len(), 2);
}

#[test]
fn a_program_that_forks_in_mid_run_leaves_one_whole_trace() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir, TensorType::F16);
    let trace = dir.path().join("run.ggtrace");
    let host = generate(&model, 8, &["--fork"]);
    let traced = run(record(&trace, &[], &host)).ok();
    assert_eq!(traced.stdout, run(host).ok().stdout);
    assert_whole_and_timed(&trace);
    assert_eq!(number(&info(&trace), "evaluations"), 8);
    assert_eq!(traces_in(dir.path()), [trace], "the child computed nothing");
}

#[test]
fn a_program_and_its_forked_child_that_both_compute_get_a_trace_each() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir, TensorType::F16);
    let (trace, child) = (dir.path().join("run.ggtrace"), dir.path().join("child"));
    let host = generate(&model, 6, &["--fork-generate", child.to_str().unwrap()]);
    let traced = run(record(&trace, &[], &host)).ok();
    assert_eq!(traced.ids().len(), 6);
    assert_eq!(fs::read_to_string(child).unwrap(), traced.stdout, "the child generates the same");
    let traces = traces_in(dir.path());
    assert_eq!(traces.len(), 2, "{traces:?}");
    let pids: HashSet<u64> = traces
        .iter()
        .map(|trace| {
            assert_whole_and_timed(trace);
            let info = info(trace);
            assert_eq!((number(&info, "evaluations"), number(&info["tokens"], "generate")), (6, 5));
            number(&info["process"], "pid")
        })
        .collect();
    assert_eq!(pids.len(), 2);
}

/// Runs a program on a ggml that nobody knows; what it prints and returns is its own. Returns what was said about it.
fn refused(host: PathBuf) -> String {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let untraced = run(command(&host));
    assert_eq!((untraced.status.code(), untraced.stdout.as_str()), (Some(7), "fake host ran\n"));
    let Finished { status, stdout, stderr } = run(record(&trace, &["--quiet"], &command(&host)));
    assert_eq!((status, stdout), (untraced.status, untraced.stdout), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("ggscope: this process is not traced: "), "{stderr}");
    assert!(!trace.exists(), "there is nothing to record");
    // Without -q, record repeats the cause and gives no other one.
    let loud = run(record(&trace, &[], &command(&host))).stderr;
    let why = stderr.trim_end().strip_prefix("ggscope: this process is not traced: ").unwrap();
    assert_eq!(loud, format!("{stderr}ggscope: nothing was recorded: {why}\n"));
    stderr
}

#[test]
fn a_program_with_a_foreign_tensor_layout_is_refused_in_one_line_and_runs_untraced() {
    let why = refused(hosts::wrong_abi());
    assert!(why.contains("libggml-base.so have an unknown layout"), "{why}");
}

#[test]
fn a_program_whose_ggml_lacks_functions_is_refused_in_one_line_and_runs_untraced() {
    let why = refused(hosts::few_functions());
    assert!(why.contains("libggml-base.so has no function ggml_"), "{why}");
}

/// llama-simple's object, linked by the command that `docs/linking.md` gives, in `dir`.
fn link(dir: &Path, what: &str, arguments: impl FnOnce(&mut Command)) -> PathBuf {
    let program = dir.join(what);
    let mut linker = command("c++");
    linker.arg("-o").arg(&program);
    arguments(&mut linker);
    run(linker).ok();
    program
}

fn static_build() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/build-static");
    assert!(path.join("simple.o").exists(), "run `vendor/setup --tests` first");
    path
}

/// Runs `program` (llama-simple with ggscope linked in) under a daemon, with nothing preloaded, and compares it with
/// llama.cpp's own llama-simple.
fn assert_records_itself(dir: &Path, program: &Path) {
    let arguments = |program: &Path| {
        let mut simple = command(program);
        simple.arg("-m").arg(vendored::demo_model()).args(["-n", "6", PROMPT]);
        simple
    };
    let untraced = run(arguments(&vendored::built("llama-simple"))).ok();
    let alone = run(arguments(program)).ok();
    assert_eq!(alone.stdout, untraced.stdout, "without a daemon it runs as ever");

    let daemon = Daemon::start(dir, &[]);
    let mut simple = arguments(program);
    simple.env("GGSCOPE_SOCKET", &daemon.socket);
    let traced = run(simple).ok();
    assert_eq!(traced.stdout, untraced.stdout);
    let traces = daemon.stop();
    let [trace] = &traces[..] else { panic!("one trace: {traces:?}") };
    assert_whole_and_timed(trace);
    assert_eq!(number(&info(trace), "operators") % 576, 0);
    let answer = answered(trace);
    assert!(answer.len() > 5 && untraced.stdout.contains(&answer), "{answer:?} in {:?}", untraced.stdout);
}

#[test]
fn a_program_linked_with_libggscope_in_front_of_ggml_is_recorded_without_a_preload() {
    let dir = tempfile::tempdir().unwrap();
    let shim = crate::ggscope::built("libggscope.so");
    let (shim, bin) = (shim.parent().unwrap(), vendored::bin());
    let program = link(dir.path(), "llama-simple-dynamic", |linker| {
        linker.arg(static_build().join("simple.o"));
        linker.arg("-Wl,--no-as-needed").arg(format!("-L{}", shim.display())).args(["-lggscope", "-Wl,--as-needed"]);
        linker.arg(format!("-L{}", bin.display())).args(["-lllama", "-lggml", "-lggml-base"]);
        linker.arg(format!("-Wl,-rpath,{}:{}", shim.display(), bin.display()));
    });
    assert_records_itself(dir.path(), &program);
}

#[test]
fn a_static_program_linked_with_wrap_is_recorded_without_a_preload() {
    let dir = tempfile::tempdir().unwrap();
    let (archive, vendor) = (static_archive(), static_build());
    let link_args = fs::read_to_string(vendor.join("link-args")).unwrap();
    let (libraries, others): (Vec<&str>, Vec<&str>) =
        link_args.split_whitespace().partition(|argument| argument.ends_with(".a"));
    let (objects, flags): (Vec<&str>, Vec<&str>) = others.into_iter().partition(|argument| argument.ends_with(".o"));
    let program = link(dir.path(), "llama-simple-static", |linker| {
        linker.current_dir(&vendor).args(objects);
        linker.arg(format!("@{}/ffi/wrap.args", env!("CARGO_MANIFEST_DIR")));
        linker.arg("-Wl,--start-group").arg(archive).args(libraries).arg("-Wl,--end-group").args(flags);
    });
    assert_records_itself(dir.path(), &program);
}

/// `libggscope.a` with the `static-wrap` feature. A lock keeps tests that run at once from building it at once.
fn static_archive() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("static");
    fs::create_dir_all(&target).unwrap();
    let lock = fs::File::create(target.join(".ggscope-lock")).unwrap();
    // SAFETY: a descriptor that is open.
    assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
    let mut cargo = command(env!("CARGO"));
    cargo.current_dir(root).args(["rustc", "--release", "--package", "ggscope-shim", "--lib"]);
    cargo.args(["--crate-type", "staticlib", "--features", "static-wrap", "--target-dir"]).arg(&target);
    run_within(Duration::from_secs(900), cargo).ok();
    target.join("release/libggscope.a")
}

#[test]
fn experts_are_those_that_the_router_chose_and_name_their_slices_of_the_file() {
    const EXPERTS: u64 = 8;
    const N: u64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let (model, trace, seen) = (dir.path().join("moe.gguf"), dir.path().join("run.ggtrace"), dir.path().join("seen"));
    tiny_model::write_moe_gguf(&model, EXPERTS as u32, 2);
    let callback = ["--eval-callback", "ffn_moe_topk-*", seen.to_str().unwrap()];
    let untraced = run(generate(&model, N as u32, &callback)).ok();
    let traced = run(record(&trace, &[], &generate(&model, N as u32, &[]))).ok();
    assert_eq!(traced.stdout, untraced.stdout);

    // Of each evaluation and layer the ids, token by token.
    let chosen: Vec<Vec<Vec<i32>>> = read_eval_dump(&seen)
        .iter()
        .map(|tensor| tensor.as_i32().chunks(tensor.ne[0] as usize).map(<[i32]>::to_vec).collect())
        .collect();
    assert_eq!(chosen.len() as u64, N * tiny_model::N_LAYER);
    let gguf = Gguf::read(&model);
    let mut tokens = 0;
    for (eval, layers) in chosen.chunks(tiny_model::N_LAYER as usize).enumerate() {
        // The last layer computes only the rows that are put out: of the prompt that is its last token.
        for of_prompt in 0..layers[0].len() {
            for (layer, of_layer) in layers.iter().enumerate() {
                let outputs_only = layers[0].len() - of_layer.len();
                let token = tokens.to_string();
                let options = ["--token", &token, "--layer", &layer.to_string(), "--op", "MUL_MAT_ID"];
                let rows = dump(&trace, &options);
                assert_eq!(rows.len(), 3, "gate, up and down");
                let expected = of_prompt.checked_sub(outputs_only).map_or(&[][..], |row| &of_layer[row]);
                for row in &rows {
                    assert_eq!(number(row, "eval"), eval as u64);
                    assert_experts(row, expected, &gguf, EXPERTS);
                }
            }
            tokens += 1;
        }
    }
}

fn assert_experts(row: &Value, expected: &[i32], gguf: &Gguf, n_experts: u64) {
    let experts: Vec<i64> = row["experts"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
    assert!(experts.iter().eq(expected.iter().map(|&id| i64::from(id)).collect::<Vec<_>>().iter()), "{row}");
    let weights = &sources(row)[0];
    let (name, bytes) = (text(weights, "name"), number(weights, "bytes"));
    assert_eq!(text(weights, "memory"), "DISK");
    gguf.assert_at(name, number(weights, "offset"), bytes);
    let slices = weights["experts"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(slices.len(), expected.len());
    for (slice, &id) in slices.iter().zip(expected) {
        assert_eq!(slice["id"], id);
        assert_eq!(number(slice, "bytes"), bytes / n_experts, "{name}");
        assert_eq!(number(slice, "offset"), gguf.tensors[name].offset + id as u64 * (bytes / n_experts), "{name}");
    }
}

#[test]
fn a_model_file_may_lie_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Модели: 50% größer, \"naïve\" 模型");
    fs::create_dir(&folder).unwrap();
    let model = folder.join("tiny model ü.gguf");
    tiny_model::write_dense_gguf(&model, TensorType::F16);
    let trace = folder.join("a trace é.ggtrace");
    run(record(&trace, &[], &generate(&model, 3, &[]))).ok();
    let info = info(&trace);
    assert_eq!(Path::new(text(&info["model"], "path")), model);
    assert_eq!(text(&info["model"], "name"), "ggscope test fixture");
    let gguf = Gguf::read(&model);
    let rows = dump(&trace, &["--source", "disk"]);
    assert!(!rows.is_empty());
    for source in rows.iter().flat_map(sources).filter(|source| text(source, "memory") == "DISK") {
        assert_eq!(Path::new(text(source, "file")), model);
        gguf.assert_at(text(source, "name"), number(source, "offset"), number(source, "bytes"));
    }
}

#[test]
fn repacked_weights_lie_in_a_buffer_and_still_name_the_place_in_the_file_that_they_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir, TensorType::Q4_0);
    let trace = dir.path().join("run.ggtrace");
    let host = generate(&model, 3, &[]);
    let traced = run(record(&trace, &[], &host)).ok();
    assert_eq!(traced.stdout, run(host).ok().stdout);
    let gguf = Gguf::read(&model);
    let rows = dump(&trace, &["--op", "MUL_MAT", "--layer", "1"]);
    let weights: Vec<&Value> =
        rows.iter().flat_map(sources).filter(|source| text(source, "name").starts_with("blk.1.")).collect();
    assert!(!weights.is_empty());
    for weight in weights {
        assert_eq!(text(weight, "memory"), "BUFFER", "{weight}");
        assert!(text(weight, "buffer").contains("REPACK"), "{weight}");
        assert_eq!(Path::new(text(&weight["origin"], "file")), model);
        gguf.assert_at(text(weight, "name"), number(&weight["origin"], "offset"), number(weight, "bytes"));
    }
}

#[test]
fn weights_that_were_read_rather_than_mapped_lie_in_a_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(&dir, TensorType::F16);
    let trace = dir.path().join("run.ggtrace");
    run(record(&trace, &[], &generate(&model, 2, &["--no-mmap"]))).ok();
    let gguf = Gguf::read(&model);
    let rows = dump(&trace, &["--op", "MUL_MAT"]);
    for weight in rows.iter().flat_map(sources).filter(|source| text(source, "name").ends_with(".weight")) {
        assert_eq!(text(weight, "memory"), "BUFFER", "{weight}");
        gguf.assert_at(text(weight, "name"), number(&weight["origin"], "offset"), number(weight, "bytes"));
    }
}

#[test]
fn leaves_say_what_they_are_for_and_who_uses_them() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    run(record(&trace, &[], &generate(&vendored::demo_model(), 3, &[]))).ok();
    let leaves = leaves(&trace);
    let meanings: HashSet<&str> = leaves.iter().map(|leaf| text(leaf, "meaning")).collect();
    for meaning in [
        "token ids",
        "positions for RoPE",
        "KV write positions (K)",
        "KV write positions (V)",
        "output rows",
        "attention mask",
        "K cache",
        "V cache",
        "weight",
    ] {
        assert!(meanings.contains(meaning), "no {meaning} in {meanings:?}");
    }
    // Of the two graphs, one for a prompt of five tokens and one for a token, those that decode.
    let one = |meaning: &str, ne0: u64| {
        let found: Vec<&Value> = leaves
            .iter()
            .filter(|l| text(l, "meaning") == meaning && l["ne"][0] == ne0 && l["accesses"] != 0)
            .collect();
        assert_eq!(found.len(), 1, "{meaning}: {found:?}");
        found[0]
    };
    let positions = one("positions for RoPE", 1);
    assert_eq!(number(positions, "accesses"), 2 * 60, "Q and K of each layer, for two tokens");
    assert_eq!(positions["used_by"][0]["op"], "ROPE");
    assert_eq!(positions["used_by"][0]["layers"].as_array().unwrap().len(), 30);
    assert_eq!(one("token ids", 1)["used_by"][0]["op"], "GET_ROWS");
    assert_eq!(one("token ids", 5)["type"], "i32");
    let weights: Vec<&Value> = leaves.iter().filter(|leaf| text(leaf, "meaning") == "weight").collect();
    let gguf = Gguf::read(&vendored::demo_model());
    assert_eq!(weights.len(), gguf.tensors.len());
    for weight in weights {
        gguf.assert_at(text(weight, "name"), number(weight, "offset"), number(weight, "bytes"));
    }
    let caches: Vec<&Value> = leaves.iter().filter(|leaf| text(leaf, "name").starts_with("cache_")).collect();
    assert_eq!(caches.len(), 60);
    assert!(caches.iter().all(|cache| text(cache, "buffer").starts_with("KV cache")));
}
