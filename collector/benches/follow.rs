//! The collector's memory while it follows a long run: 100,000 tokens of the demo model's graph, written, shown and
//! followed by a viewer who turns pages, in one process. `cargo bench -p ggscope-collector --bench follow`

use ggscope_server::{Server, Sessions};
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Random, Shape, evaluation, llama, model, recording};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Tokens of the run, an evaluation each.
const TOKENS: u64 = 100_000;
/// Evaluations between two looks at the run: what a viewer hears of in some seconds.
const LOOK_EVERY: u64 = 500;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = TraceWriter::create(&folder.path().join("run.ggtrace"), false, &recording()).expect("a new file");
    let stored = llama(0, Shape::default());
    writer.graph(stored.clone()).expect("a valid graph");
    writer.model(model()).expect("a model");
    let sessions = Arc::new(Sessions::default());
    sessions.add(writer.share().expect("the file can be read"), Arc::default());
    let server = Server::bind("127.0.0.1:0".parse().expect("an address"), None).expect("a port");
    let address = server.address();
    let _serving = server.start(sessions).expect("it answers");
    // One who looks on, and reads whatever comes.
    let mut live = ask(address, "/live");
    std::thread::spawn(move || std::io::copy(&mut live, &mut std::io::sink()));
    let (begin, mut random) = (Instant::now(), Random(7));
    for token in 0..TOKENS {
        writer.evaluation(evaluation(&stored, token, token as i32, &mut random)).expect("a valid evaluation");
        if token % LOOK_EVERY == 0 {
            writer.show();
            for path in [
                format!("/sessions/0/timeline?from={}", token.saturating_sub(LOOK_EVERY)),
                format!("/sessions/0/operators?limit=200&offset={}", random.below(token * 576 + 1)),
                format!("/sessions/0/operators?limit=200&sort=-duration&layer={}", random.below(30)),
            ] {
                let mut answer = vec![];
                ask(address, &path).read_to_end(&mut answer).expect("an answer");
                assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
            }
        }
    }
    writer.finish().expect("the file is whole");
    let [peak, own] = ["VmHWM:", "RssAnon:"].map(memory_mib);
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "following {TOKENS} tokens: at most {peak} MiB resident (of it {own} MiB at the end not the file's), {seconds:.0} s"
    );
}

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    write!(stream, "GET /api/v1{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it listens");
    stream
}

/// A line of this process's memory, MiB.
fn memory_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 10
}
