//! Computing on a device that is not the CPU. No GPU is needed: ggml's RPC backend computes on a server, here one on
//! loopback, and is to its user what a GPU is: a device with memory of its own that works asynchronously.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::ggscope::{Running, command, dump, info, leaves, number, record, run, sources, text, tokens};
use crate::gguf::Gguf;
use crate::support::eval_dump::read_eval_dump;
use crate::support::{hosts, tiny_model, vendored};

const N: u64 = 4;

fn backends() -> PathBuf {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/build-dl/bin");
    assert!(bin.join("ggml-rpc-server").exists(), "run `vendor/setup --tests` first");
    bin
}

/// ggml's RPC server, computing on its CPU with one thread. It ends with this value.
struct RpcServer {
    _process: Running,
    endpoint: String,
    dir: TempDir,
}

impl RpcServer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("a free port on 127.0.0.1").port();
        let mut server = command(backends().join("ggml-rpc-server"));
        server.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--threads", "1"]);
        let output = File::create(&log).unwrap();
        server.stdout(output.try_clone().unwrap()).stderr(output).stdin(Stdio::null());
        let mut process = Running(server.spawn().expect("cannot start ggml-rpc-server"));
        let begin = Instant::now();
        // What a connection would find out, without one: the server tells of each that it closes.
        while !is_listening(port) {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(process.wait(Duration::ZERO), None, "ggml-rpc-server ended:\n{log}");
            assert!(begin.elapsed() < Duration::from_secs(30), "ggml-rpc-server does not come up:\n{log}");
            thread::sleep(Duration::from_millis(20));
        }
        Self { _process: process, endpoint: format!("127.0.0.1:{port}"), dir }
    }

    /// What ggml calls its device.
    fn device(&self) -> String {
        format!("RPC0[{}]", self.endpoint)
    }

    /// `generate` with so many layers on the server.
    fn generate(&self, model: &Path, n_layers: u32, options: &[&str]) -> Command {
        let backends = backends();
        let mut host = command(hosts::generate());
        host.arg(model).arg(N.to_string()).args(["--threads", "1", "--rpc", &self.endpoint]);
        host.arg("--backends").arg(&backends).args(["--n-gpu-layers", &n_layers.to_string()]).args(options);
        host.env("LD_LIBRARY_PATH", &backends);
        host
    }

    /// Records that, and compares it with the same untraced.
    fn recorded(&self, model: &Path, n_layers: u32, options: &[&str]) -> PathBuf {
        let trace = self.dir.path().join("run.ggtrace");
        let host = self.generate(model, n_layers, &[]);
        let traced = run(record(&trace, &[&["--force"], options].concat(), &host)).ok();
        let untraced = run(host).ok();
        assert_eq!(traced.ids(), untraced.ids());
        assert_eq!(traced.ids().len() as u64, N);
        assert_eq!(traced.own_stderr(), untraced.own_stderr());
        let info = info(&trace);
        assert_eq!(info["complete"], true);
        assert_eq!((number(&info, "evaluations"), number(&info["dropped"], "records")), (N, 0));
        assert_eq!(info["warnings"].as_array().unwrap().len(), 0, "{info}");
        trace
    }
}

/// Whether somebody listens on the port of 127.0.0.1, as the kernel's table says (`proc_net_tcp(5)`; 0A is listening).
fn is_listening(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has /proc/net/tcp");
    let local = format!("0100007F:{port:04X}");
    table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|f| f[1] == local && f[3] == "0A")
}

fn on<'a>(rows: &'a [Value], device: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| text(row, "device") == device).collect()
}

#[test]
fn operators_on_another_device_are_named_by_it_and_timed_as_a_whole() {
    const LAYERS: u32 = 10;
    let server = RpcServer::start();
    let model = vendored::demo_model();
    let trace = server.recorded(&model, LAYERS, &[]);
    let rows = dump(&trace, &[]);
    assert_eq!(rows.len() as u64, N * 576);
    let (cpu, device) = (on(&rows, "CPU"), on(&rows, &server.device()));
    assert_eq!(cpu.len() + device.len(), rows.len());

    // Layers count from the last, and the output is the first of them.
    let layers: HashSet<u64> = device.iter().filter_map(|row| row["layer"].as_u64()).collect();
    assert!((22..30).all(|layer| layers.contains(&layer)), "{layers:?}");
    assert!(device.iter().any(|row| text(row, "node_type") == "output"));
    assert!(cpu.iter().any(|row| row["layer"] == 0) && !layers.contains(&0));

    for row in &cpu {
        assert!(row["dur_ns"].is_u64() || row["fused_into"].is_u64(), "no time: {row}");
        assert!(row["run"].is_null(), "{row}");
    }
    let mut runs: BTreeMap<u64, HashSet<(u64, u64, u64)>> = BTreeMap::new();
    for row in &device {
        assert!(row["dur_ns"].is_null() && row["fused_into"].is_null(), "{row}");
        let of = &row["run"];
        assert_eq!(number(of, "t_ns"), number(row, "t_ns"));
        let run = (number(of, "number"), number(of, "t_ns"), number(of, "dur_ns"));
        runs.entry(number(row, "eval")).or_default().insert(run);
    }
    // One run an evaluation: it lasts until the server has answered, not until it was asked, and the next evaluation
    // begins after it.
    assert_eq!(runs.keys().copied().collect::<Vec<_>>(), (0..N).collect::<Vec<_>>());
    let runs: Vec<_> = runs.into_values().collect();
    assert!(runs.iter().all(|of| of.len() == 1), "{runs:?}");
    let runs: Vec<_> = runs.into_iter().flatten().collect();
    assert!(runs.iter().all(|run| run.2 > 300_000), "nine layers take longer: {runs:?}");
    for (eval, pair) in runs.windows(2).enumerate() {
        let next =
            rows.iter().filter(|row| number(row, "eval") == eval as u64 + 1).map(|row| number(row, "t_ns")).min();
        assert!(pair[0].1 + pair[0].2 <= next.unwrap(), "{pair:?}");
    }

    // The summary counts the server's time, too, and names it.
    let info = info(&trace);
    let whole: u64 = runs.iter().map(|run| run.2).sum();
    let own: u64 = cpu.iter().filter_map(|row| row["dur_ns"].as_u64()).sum();
    let compute = number(&info["time"], "compute_ns");
    assert!(compute >= whole + own, "{compute} ns of compute, {whole} on the device and {own} on the CPU");
    assert!(compute <= number(&info["time"], "last_ns") - number(&info["time"], "first_ns"));
    let of_devices = info["devices"].as_array().unwrap();
    let of_server = of_devices.iter().find(|of| text(of, "name") == server.device()).expect("the server is named");
    assert_eq!((number(of_server, "runs"), number(of_server, "operators")), (N, device.len() as u64));
    assert_eq!(number(of_server, "ns"), whole);
}

#[test]
fn weights_and_caches_on_another_device_lie_in_its_buffers_and_come_from_the_file() {
    let server = RpcServer::start();
    let model = vendored::demo_model();
    let trace = server.recorded(&model, 99, &[]);
    let rows = dump(&trace, &[]);
    let device = server.device();
    assert_eq!(on(&rows, &device).len() as u64, N * 575);
    let embedding = on(&rows, "CPU");
    assert!(embedding.iter().all(|row| text(row, "node_type") == "embedding" && text(row, "op") == "GET_ROWS"));
    assert_eq!(embedding.len() as u64, N);
    assert!(embedding.iter().all(|row| text(&sources(row)[0], "memory") == "DISK"));

    let gguf = Gguf::read(&model);
    let mut seen = HashSet::new();
    for source in on(&rows, &device).into_iter().flat_map(sources) {
        assert_eq!(text(source, "memory"), "BUFFER", "{source}");
        let name = text(source, "name");
        if gguf.tensors.contains_key(name) {
            assert_eq!(text(source, "buffer"), device);
            assert_eq!(
                Path::new(text(&source["origin"], "file")).canonicalize().unwrap(),
                model.canonicalize().unwrap()
            );
            gguf.assert_at(name, number(&source["origin"], "offset"), number(source, "bytes"));
            seen.insert(name.to_owned());
        } else if name.starts_with("cache_") {
            assert_eq!(text(source, "buffer"), format!("KV cache ({device})"));
        } else {
            assert!(source["origin"].is_null(), "{source}");
        }
    }
    assert_eq!(seen.len(), gguf.tensors.len(), "each weight is used on the device");

    // Tokens are told as ever, because they are the host's.
    let ids = run(server.generate(&model, 99, &[])).ok().ids();
    let generated: String = tokens(&trace).iter().filter(|t| t.generated).filter_map(|t| t.text.clone()).collect();
    assert_eq!(generated, gguf.byte_level_text(&ids[..N as usize - 1]));

    // And leaves by their use, though the device has copies of them.
    let leaves = leaves(&trace);
    let used: Vec<&Value> = leaves.iter().filter(|leaf| leaf["accesses"] != 0).collect();
    assert!(used.iter().all(|leaf| text(leaf, "meaning") != "unknown"), "{used:?}");
    for meaning in ["token ids", "positions for RoPE", "attention mask", "output rows", "K cache", "weight"] {
        assert!(used.iter().any(|leaf| text(leaf, "meaning") == meaning), "no {meaning}");
    }
}

/// The bits of a captured F32 tensor. JSON numbers are shortest decimals that read back as the same number.
fn bits(row: &Value) -> Vec<u32> {
    let data = row["value"]["data"].as_array().unwrap_or_else(|| panic!("no values in {row}"));
    data.iter().map(|x| (x.as_f64().expect("a number") as f32).to_bits()).collect()
}

#[test]
fn values_that_a_device_computed_are_those_that_an_eval_callback_sees() {
    let server = RpcServer::start();
    let model = vendored::demo_model();
    let seen = server.dir.path().join("seen");
    run(server.generate(&model, 10, &["--eval-callback", "l_out-*", seen.to_str().unwrap()])).ok();
    let trace = server.recorded(&model, 10, &["--capture", "l_out-*", "--ring-size", "64M"]);
    let rows = dump(&trace, &["--values", "--name", "l_out-*"]);
    let expected = read_eval_dump(&seen);
    assert_eq!((rows.len(), expected.len() as u64), (expected.len(), N * 30));
    assert!(!on(&rows, &server.device()).is_empty() && !on(&rows, "CPU").is_empty());
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(text(row, "name"), expected.name);
        let expected_bits = expected.bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        assert!(expected_bits.eq(bits(row)), "{} in evaluation {}", expected.name, row["eval"]);
    }
    // The host waited for the values, and so knows when they were there.
    let runs: HashSet<(u64, u64)> =
        (on(&rows, &server.device()).iter()).map(|row| (number(row, "eval"), number(&row["run"], "dur_ns"))).collect();
    assert!(runs.len() as u64 == N && runs.iter().all(|run| run.1 > 300_000), "{runs:?}");
}

#[test]
fn experts_that_a_device_chose_are_told() {
    let server = RpcServer::start();
    let model = server.dir.path().join("moe.gguf");
    tiny_model::write_moe_gguf(&model, 8, 2);
    let seen = server.dir.path().join("seen");
    run(server.generate(&model, 99, &["--eval-callback", "ffn_moe_topk-*", seen.to_str().unwrap()])).ok();
    let trace = server.recorded(&model, 99, &["--level", "tensors"]);
    let chosen = read_eval_dump(&seen);
    assert_eq!(chosen.len() as u64, N * tiny_model::N_LAYER);
    let rows = dump(&trace, &["--op", "MUL_MAT_ID"]);
    assert_eq!(rows.len(), chosen.len() * 3, "gate, up and down");
    for (of_layer, chosen) in rows.chunks(3).zip(&chosen) {
        let expected: HashSet<i64> = chosen.as_i32().into_iter().map(i64::from).collect();
        for row in of_layer {
            assert_eq!(text(row, "device"), server.device());
            let told = row["experts"].as_array().unwrap_or_else(|| panic!("no experts in {row}"));
            assert_eq!(told.iter().filter_map(Value::as_i64).collect::<HashSet<_>>(), expected, "{row}");
        }
    }
}

#[test]
fn experts_that_a_device_chose_for_products_on_the_cpu_are_told() {
    let server = RpcServer::start();
    let (model, trace) = (server.dir.path().join("moe.gguf"), server.dir.path().join("run.ggtrace"));
    tiny_model::write_moe_gguf(&model, 8, 2);
    let mut bench = command(vendored::built("llama-bench"));
    bench.arg("-m").arg(&model).args(["-p", "0", "-n", "4", "-r", "1", "-t", "1", "--no-warmup"]);
    bench.args(["-ngl", "99", "-ncmoe", "99", "--rpc", &server.endpoint]).env("LD_LIBRARY_PATH", backends());
    run(record(&trace, &["--capture", "ffn_moe_topk-*"], &bench)).ok();
    // A run on the device lasts until what it computed has come, not only until it was asked for: what is left before
    // the CPU's turn is short.
    let rows = dump(&trace, &[]);
    let (mut long, mut short) = (0, 0);
    for row in on(&rows, &server.device()) {
        let (eval, length) = (number(row, "eval"), number(&row["run"], "dur_ns"));
        let behind = |other: &&Value| number(other, "eval") == eval && number(other, "node") > number(row, "node");
        let Some(next) = on(&rows, "CPU").into_iter().find(behind) else { continue };
        let pause = number(next, "t_ns").checked_sub(number(row, "t_ns") + length);
        let pause = pause.unwrap_or_else(|| panic!("{row} overlaps {next}"));
        *if length > pause { &mut long } else { &mut short } += 1;
    }
    assert!(long > short, "{long} runs that were waited for, {short} that were only asked for");
    let routers = dump(&trace, &["--values", "--name", "ffn_moe_topk-*"]);
    let products = dump(&trace, &["--op", "MUL_MAT_ID"]);
    assert!(on(&products, "CPU").len() == products.len() && products.len() as u64 == 3 * 4 * tiny_model::N_LAYER);
    for row in &products {
        let of = |other: &&Value| (&other["eval"], &other["layer"]) == (&row["eval"], &row["layer"]);
        let router = routers.iter().find(of).unwrap_or_else(|| panic!("no router for {row}"));
        let numbers = |of: &Value| of.as_array().unwrap().iter().filter_map(Value::as_f64).collect::<Vec<_>>();
        let told = numbers(&row["experts"]);
        assert_eq!((told.len(), &told), (2, &numbers(&router["value"]["data"])), "{row}");
    }
}
