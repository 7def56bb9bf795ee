//! The promises of the live server, with a shim of the tests' own: whoever looks on sees evaluations as they end, knows
//! what it has missed, and sees how each session ended, wherever it is recorded.

#[path = "support/document.rs"]
mod document;
mod support;

use ggscope_attach::{Collector, Event, Listener, Output, RecordOptions};
use ggscope_format::EvalId;
use ggscope_format::capture::{Capture, CaptureChange};
use ggscope_format::record::{Evaluation, Graph, Record};
use ggscope_server::{Server, Serving, Sessions};
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
use ggscope_trace::{Trace, TraceWriter};
use serde_json::{Value as Json, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{FakeShim, computation, receive, until};

/// A collector whose sessions are served.
struct Live {
    dir: tempfile::TempDir,
    collector: Collector,
    sessions: Arc<Sessions>,
    address: SocketAddr,
    _serving: Serving,
}

impl Live {
    fn start() -> Live {
        Live::with(512 << 20, RecordOptions::default().ring_bytes)
    }

    /// With so much memory for all traces, and rings of that size.
    fn with(memory: usize, ring_bytes: u64) -> Live {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&dir.path().join("sock")).unwrap();
        let output = Output::file(dir.path().join("run.ggtrace"), false);
        let collector =
            Collector::start(listener, RecordOptions { ring_bytes, ..RecordOptions::default() }, output).unwrap();
        let sessions = Arc::new(Sessions::default().with_memory(memory));
        let (address, serving) = serve(sessions.clone());
        Live { dir, collector, sessions, address, _serving: serving }
    }

    fn attach(&self) -> FakeShim {
        let shim = FakeShim::attach(&self.dir.path().join("sock")).unwrap();
        loop {
            let event = self.collector.events().recv_timeout(Duration::from_secs(20)).unwrap();
            if let Event::Attached { growing, control, .. } = event {
                self.sessions.add(growing, control);
                return shim;
            }
        }
    }
}

fn serve(sessions: impl Into<Arc<Sessions>>) -> (SocketAddr, Serving) {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    (server.address(), server.start(sessions).unwrap())
}

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Of this version an answer comes as it is, without being cut into chunks.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    stream
}

fn get(address: SocketAddr, path: &str) -> (u16, Json) {
    let mut answer = String::new();
    ask(address, path).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    document::check("GET", path, head, body.as_bytes());
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Json::Null))
}

fn ok(address: SocketAddr, path: &str) -> Json {
    let (status, body) = get(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// One who looks on.
struct Viewer {
    lines: std::io::Lines<BufReader<TcpStream>>,
    /// Numbers of the evaluations that it was told of, and what it knows to have missed.
    seen: Vec<u64>,
    missed: Vec<u64>,
}

impl Viewer {
    fn new(address: SocketAddr) -> Viewer {
        Viewer::asking(address, "/api/v1/live")
    }

    fn asking(address: SocketAddr, path: &str) -> Viewer {
        let mut lines = BufReader::new(ask(address, path)).lines();
        assert!(lines.next().unwrap().unwrap().contains(" 200 "));
        assert!(
            lines
                .by_ref()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .any(|l| l.contains("text/event-stream"))
        );
        Viewer { lines, seen: vec![], missed: vec![] }
    }

    /// The next event: its name and data.
    fn next(&mut self) -> (String, Json) {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let line = self.lines.next().expect("the stream ended").expect("an event in time");
            match line.split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                _ if line.is_empty() && !name.is_empty() => {
                    let data = serde_json::from_str(&data).unwrap();
                    document::check_event("/api/v1/live", &data);
                    return (name, data);
                }
                _ => {}
            }
        }
    }

    /// The next event of this name.
    fn next_of(&mut self, name: &str) -> Json {
        loop {
            let (named, data) = self.next();
            if named == name {
                return data;
            }
        }
    }

    /// Looks on until evaluation `last` of the only session was seen; the last event about it.
    fn until_seen(&mut self, last: u64) -> Json {
        loop {
            let event = self.next_of("evaluations");
            let next = event["from"].as_u64().unwrap();
            let expected = self.seen.iter().chain(&self.missed).max().map_or(0, |n| n + 1);
            self.missed.extend(expected..next);
            for (seq, item) in (next..).zip(event["items"].as_array().unwrap()) {
                assert_eq!(item["seq"], seq, "{event}");
                assert!(seq >= expected, "{seq} comes twice");
                self.seen.push(seq);
            }
            assert_eq!(event["total"], next + event["items"].as_array().unwrap().len() as u64, "{event}");
            if self.seen.contains(&last) {
                return event;
            }
        }
    }
}

#[test]
fn evaluations_are_told_as_they_end_to_all_who_look_on() {
    let live = Live::start();
    let (mut first, mut second) = (Viewer::new(live.address), Viewer::new(live.address));
    assert_eq!(first.next(), ("sessions".into(), json!([])));
    let shim = live.attach();
    let attached = first.next_of("sessions");
    let expected =
        json!({"id": "0", "state": "live", "complete": false, "evaluations": 0, "exe": "/usr/bin/fake-server"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&attached[0][field], value, "{field}");
    }
    let (graph, evaluations) = computation(0, 0, 40);
    for (n, e) in (0..).zip(&evaluations) {
        shim.compute(0, &graph, std::slice::from_ref(e));
        // Each is told before the next has begun, long before it is in the file.
        first.until_seen(n);
    }
    assert!(first.missed.is_empty());
    let told = second.until_seen(39);
    assert!(second.missed.is_empty(), "the session is as new to the one as to the other");
    let item = told["items"].as_array().unwrap().last().unwrap();
    let e = &evaluations[39];
    for (field, value) in [
        ("eval", json!(39)),
        ("graph", json!(0)),
        ("start_ns", json!(e.start.0 - evaluations[0].start.0)),
        ("dur_ns", json!(e.end.0 - e.start.0)),
        ("first_token", json!(39)),
        ("n_tokens", json!(1)),
        ("status", json!(0)),
    ] {
        assert_eq!(item[field], value, "{field}");
    }
    assert_eq!(
        item["tokens"],
        json!([{
            "number": 39, "id": e.tokens[0], "text": null, "phase": "GENERATE", "pos": e.positions[0], "seq_ids": [0],
            "output": true, "request": 0,
        }])
    );
    let session = "/api/v1/sessions/0";
    let regions = ok(live.address, &format!("{session}/memory?evals=39&limit=1000"));
    let read = |memory: &str| -> u64 {
        let of = regions["items"].as_array().unwrap().iter().filter(|r| r["memory"] == memory);
        of.map(|r| r["read_bytes"].as_u64().unwrap()).sum()
    };
    assert_eq!((&item["disk_bytes"], &item["buffer_bytes"]), (&json!(read("DISK")), &json!(read("BUFFER"))));
    // Other questions see it too.
    let page = ok(live.address, &format!("{session}/evaluations?evals=39"));
    assert_eq!((&page["total"], &page["items"][0]["operators"]), (&json!(1), &item["operators"]));
    assert_eq!(ok(live.address, session)["evaluations"], 40);
    drop(shim);
    until("the end to be told", || {
        let list = first.next_of("sessions");
        list[0]["state"] == "ended" && list[0]["complete"] == true && list[0]["evaluations"] == 40
    });
    let path = live.dir.path().join("run.ggtrace");
    assert_eq!(ok(live.address, session)["evaluations"], Trace::open(&path).unwrap().totals().evaluations);
}

#[test]
fn who_comes_back_or_is_slow_knows_what_it_has_missed_and_can_ask_for_it() {
    let live = Live::start();
    let shim = live.attach();
    let (graph, evaluations) = computation(0, 0, 1000);
    let mut viewer = Viewer::new(live.address);
    shim.compute(0, &graph, &evaluations[..10]);
    viewer.until_seen(9);
    drop(viewer.lines);
    shim.compute(0, &graph, &evaluations[10..900]);
    until("the evaluations", || ok(live.address, "/api/v1/sessions/0")["evaluations"] == 900);
    let mut back = Viewer::new(live.address);
    let event = back.next_of("evaluations");
    assert_eq!(event, json!({"session": "0", "from": 900, "items": [], "total": 900}));
    (back.seen, back.missed) = (viewer.seen, (10..900).collect());
    shim.compute(0, &graph, &evaluations[900..]);
    back.until_seen(999);
    let mut known: Vec<u64> = back.seen.into_iter().chain(back.missed).collect();
    known.sort_unstable();
    assert_eq!(known, (0..1000).collect::<Vec<_>>(), "all was told, or is known to be missing");
    let first = ok(live.address, "/api/v1/sessions/0/evaluations?offset=10&limit=1000");
    assert_eq!((&first["total"], first["items"].as_array().unwrap().len()), (&json!(1000), 990));
}

#[test]
fn who_wants_to_hear_seldom_hears_seldom_and_of_everything() {
    let live = Live::start();
    let shim = live.attach();
    let (graph, evaluations) = computation(0, 0, 30);
    let mut viewer = Viewer::asking(live.address, "/api/v1/live?every=400");
    assert_eq!(viewer.next_of("evaluations")["total"], 0);
    let begin = Instant::now();
    for e in &evaluations {
        shim.compute(0, &graph, std::slice::from_ref(e));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut events = 0;
    while !viewer.seen.contains(&29) {
        let next = viewer.next_of("evaluations");
        viewer.seen.extend(next["items"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()));
        events += 1;
    }
    assert_eq!(viewer.seen, (0..30).collect::<Vec<_>>());
    let most = begin.elapsed().as_millis() / 400 + 1;
    assert!(events <= most, "{events} events in {:?}", begin.elapsed());
    for every in ["0", "19", "60001", "often"] {
        let (status, problem) = get(live.address, &format!("/api/v1/live?every={every}"));
        assert_eq!((status, &problem["field"]), (400, &json!("every")), "{every}: {problem}");
    }
}

#[test]
fn no_more_look_on_than_there_is_room_for() {
    let live = Live::start();
    let viewers: Vec<Viewer> = (0..64).map(|_| Viewer::new(live.address)).collect();
    assert_eq!(get(live.address, "/api/v1/live").0, 503);
    assert_eq!(ok(live.address, "/api/v1/sessions"), json!([]), "other questions are answered");
    drop(viewers);
    // A viewer that has gone makes room as soon as the server notices.
    let shim = live.attach();
    until("room", || {
        let mut begin = [0; 12];
        ask(live.address, "/api/v1/live").read_exact(&mut begin).unwrap();
        begin == *b"HTTP/1.0 200"
    });
    drop(shim);
}

#[test]
fn sessions_that_never_compute_or_end_early_are_shown_as_what_they_are() {
    let live = Live::start();
    let (idle, gone) = (live.attach(), live.attach());
    let states = || -> Vec<Json> {
        ok(live.address, "/api/v1/sessions").as_array().unwrap().iter().map(|s| s["state"].clone()).collect()
    };
    assert_eq!(states(), ["live", "live"]);
    assert_eq!(ok(live.address, "/api/v1/sessions/0")["evaluations"], 0);
    assert_eq!(ok(live.address, "/api/v1/sessions/0/operators")["total"], 0);
    let (graph, evaluations) = computation(0, 0, 3);
    gone.compute(0, &graph, &evaluations);
    // As kill -9 has it: the connection ends, and nothing more is said.
    drop(gone);
    until("the end", || states() == ["live", "ended"]);
    assert_eq!(ok(live.address, "/api/v1/sessions/1")["evaluations"], 3);
    drop(idle);
    until("the end", || states() == ["ended", "ended"]);
    // The process that these shims are part of runs on.
    for (id, has) in [(0, "it had computed nothing"), (1, "the trace has everything up to token 2")] {
        let text = format!("fake-server has closed its connection to ggscope and runs on without it; {has}");
        let ending = json!({"how": "left", "unexpected": true, "text": text});
        assert_eq!(ok(live.address, "/api/v1/sessions")[id]["ending"], ending);
        assert_eq!(ok(live.address, &format!("/api/v1/sessions/{id}"))["ending"], ending);
    }
    let (status, problem) = get(live.address, "/api/v1/sessions/2");
    assert_eq!((status, &problem["field"]), (404, &json!("id")));
}

/// A file that another process would be writing.
struct Elsewhere {
    dir: tempfile::TempDir,
    writer: TraceWriter,
    evaluations: std::vec::IntoIter<Evaluation>,
}

impl Elsewhere {
    fn new() -> Elsewhere {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = TraceWriter::create(&dir.path().join("a.ggtrace"), false, &recording()).unwrap();
        let stored = llama(0, Shape { n_layer: 2, ..Shape::default() });
        writer.graph(stored.clone()).unwrap();
        let mut random = Random(9);
        let evaluations: Vec<_> = (0..1000).map(|n| evaluation(&stored, n, n as i32, &mut random)).collect();
        Elsewhere { dir, writer, evaluations: evaluations.into_iter() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("a.ggtrace")
    }

    fn compute(&mut self, n: usize) {
        for e in self.evaluations.by_ref().take(n) {
            self.writer.evaluation(e).unwrap();
        }
        self.writer.flush().unwrap();
    }
}

#[test]
fn a_file_that_another_process_writes_is_followed_to_its_end() {
    let mut file = Elsewhere::new();
    file.compute(5);
    let (address, _serving) = serve(Sessions::open(&[file.path()]).unwrap());
    let mut viewer = Viewer::new(address);
    let list = viewer.next_of("sessions");
    assert_eq!((&list[0]["state"], &list[0]["evaluations"]), (&json!("live"), &json!(5)));
    viewer.missed = (0..5).collect();
    for n in [6, 106, 606] {
        let more = n - viewer.seen.last().map_or(5, |seen| seen + 1);
        file.compute(more as usize);
        viewer.until_seen(n - 1);
    }
    let last = ok(address, "/api/v1/sessions/0/operators?evals=605&limit=1000");
    assert!(last["items"].as_array().unwrap().iter().any(|o| o["dur_ns"].is_u64()), "times are there too");
    file.writer.finish().unwrap();
    until("the end to be told", || viewer.next_of("sessions")[0]["state"] == "ended");
    assert_eq!(ok(address, "/api/v1/sessions/0")["warnings"], json!([]));
}

#[test]
fn a_file_whose_writer_is_gone_is_cut_at_once() {
    let mut file = Elsewhere::new();
    file.compute(5);
    let (address, _serving) = serve(Sessions::open(&[file.path()]).unwrap());
    let state = || ok(address, "/api/v1/sessions")[0]["state"].clone();
    assert_eq!(state(), "live");
    // As kill -9 has it: the file is closed, and nothing more is written.
    let Elsewhere { dir: _dir, writer, .. } = file;
    drop(writer);
    let begin = std::time::Instant::now();
    until("the end to be noticed", || state() == "cut");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let text = ok(address, "/api/v1/sessions")[0]["ending"]["text"].clone();
    assert!(text.as_str().unwrap().ends_with("; the trace has everything up to token 4"), "{text}");
}

/// Mappings of files in a folder.
fn mapped(dir: &std::path::Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(dir.to_str().unwrap()) && line.contains(".ggtrace")).count()
}

#[test]
fn sessions_that_have_ended_take_no_memory_until_somebody_asks_for_them() {
    const SESSIONS: usize = 40;
    let live = Live::with(1 << 20, 64 << 10);
    let mut viewer = Viewer::new(live.address);
    let (graph, evaluations) = computation(0, 0, 60);
    let shims: Vec<FakeShim> = (0..SESSIONS).map(|_| live.attach()).collect();
    for (n, shim) in shims.iter().enumerate() {
        shim.compute(0, &graph, &evaluations[..=n]);
    }
    let list = || ok(live.address, "/api/v1/sessions");
    until("all of it", || (0..SESSIONS).all(|n| list()[n]["evaluations"] == n + 1));
    let dir = live.dir.path();
    assert!(mapped(dir) >= SESSIONS, "each is in memory while it goes on: {}", mapped(dir));
    drop(shims);
    until("their ends", || (0..SESSIONS).all(|n| list()[n]["state"] == "ended"));
    // Some, while it is looked for others that can go.
    until("them to be let go", || mapped(dir) <= 4);
    // Nobody misses them: the list, sums, and all that was in memory are as before.
    until("the viewer to know", || {
        let told = viewer.next_of("sessions");
        told.as_array().is_some_and(|told| told.len() == SESSIONS && told.iter().all(|s| s["state"] == "ended"))
    });
    let before = list();
    for n in (0..SESSIONS).rev() {
        let session = format!("/api/v1/sessions/{n}");
        assert_eq!(ok(live.address, &session)["evaluations"], n + 1);
        let rows = ok(live.address, &format!("{session}/operators?evals={n}&limit=1000"));
        assert_eq!(rows["total"], 44, "{rows}");
        assert!(mapped(dir) <= 4, "{} after session {n} was asked for", mapped(dir));
    }
    assert_eq!(list(), before);
    let mut metrics = String::new();
    ask(live.address, "/metrics").read_to_string(&mut metrics).unwrap();
    for n in 0..SESSIONS {
        let name = before[n]["name"].as_str().unwrap();
        let of = format!(
            "ggscope_operators_total{{session=\"{n}\",file=\"{name}\",context=\"0\",op=\"FLASH_ATTN_EXT\",layer=\"1\"}} "
        );
        let line = metrics.lines().find_map(|line| line.strip_prefix(of.as_str()));
        assert_eq!(line, Some((n + 1).to_string().as_str()), "{of}");
    }
    assert!(mapped(dir) <= 4, "{} after all sums were asked for", mapped(dir));
    // A file that is gone is said to be.
    std::fs::remove_file(dir.join(before[20]["name"].as_str().unwrap())).unwrap();
    let (status, problem) = get(live.address, "/api/v1/sessions/20/leaves");
    assert_eq!((status, &problem["field"]), (404, &json!("id")), "{problem}");
    assert!(problem["error"].as_str().unwrap().contains("is not what was recorded any more"), "{problem}");
    assert_eq!(list(), before, "what it was is still known");
}

#[test]
fn only_models_in_use_or_named_by_the_user_are_asked_about() {
    let live = Live::start();
    let shim = live.attach();
    let model = live.dir.path().join("model.gguf");
    std::fs::write(&model, [b"GGUF".as_slice(), &[0; 20_000]].concat()).unwrap();
    let secret = live.dir.path().join("secret.gguf");
    std::fs::copy(&model, &secret).unwrap();
    let (graph, evaluations) = computation(0, 0, 2);
    let graph = of_file(graph, model.to_str().unwrap());
    shim.compute(0, &graph, &evaluations);
    until("the evaluations", || ok(live.address, "/api/v1/sessions/0")["evaluations"] == 2);
    let path = |id: u32, file: &std::path::Path| format!("/api/v1/sessions/{id}/residency?place={}", file.display());
    let resident = ok(live.address, &path(0, &model));
    assert_eq!(resident["place"], model.to_str().unwrap());
    let pages = resident["pages"].as_u64().unwrap();
    assert_eq!(pages, 20_004_u64.div_ceil(resident["page_bytes"].as_u64().unwrap()));
    assert_eq!(
        (&resident["resident"], &resident["resident_pages"]),
        (&json!([[0, pages]]), &json!(pages)),
        "just written"
    );
    let refused = |address, path: String| {
        let (status, problem) = get(address, &path);
        assert_eq!((status, &problem["field"]), (404, &json!("place")), "{path}: {problem}");
        problem["help"].as_str().unwrap().to_owned()
    };
    refused(live.address, path(0, &secret));
    refused(live.address, path(0, std::path::Path::new("/etc/passwd")));
    drop(shim);
    until("the end", || ok(live.address, "/api/v1/sessions")[0]["state"] == "ended");
    assert!(refused(live.address, path(0, &model)).contains("--model"));

    let trace = live.dir.path().join("run.ggtrace");
    let (address, _serving) = serve(Sessions::open(&[trace]).unwrap().with_models(vec![model.clone()]));
    assert_eq!(ok(address, &path(0, &model))["pages"], pages);
    refused(address, path(0, &secret));
}

fn of_file(mut graph: Graph, path: &str) -> Graph {
    graph.files[0].path = path.into();
    graph
}

fn put(address: SocketAddr, path: &str, body: &str) -> (u16, Json) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("PUT {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    document::check("PUT", path, head, body.as_bytes());
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or(Json::Null))
}

#[test]
fn what_is_captured_is_changed_by_who_asks_well_and_told_to_the_shim() {
    let live = Live::start();
    let mut shim = live.attach();
    let path = "/api/v1/sessions/0/capture";
    let state = ok(live.address, path);
    assert_eq!(
        (&state["now"]["names"], &state["can_change"], &state["next"]),
        (&json!([]), &json!(true), &json!(null))
    );
    for (body, field) in [
        ("{", "body"),
        (r#"{"names": ["a"], "layer": "0"}"#, "body"),
        (r#"{"names": ["a"], "layers": "3-1"}"#, "layers"),
        (r#"{"names": ["a["]}"#, "names"),
        (r#"{"names": ["values"], "statistics": true}"#, "names"),
    ] {
        let (status, problem) = put(live.address, path, body);
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{body}: {problem}");
    }
    for nothing in ["{}", "[]", r#"{"every": 2}"#] {
        assert_eq!(
            put(live.address, path, nothing).0,
            400,
            "{nothing} does not say what, and captures are not ended by it"
        );
    }
    // What would be refused is refused in the same words by the question what it takes, which changes nothing.
    let takes = |query: &str| get(live.address, &format!("{path}/estimate?{query}"));
    for (query, field) in
        [("names=a[", "names"), ("names=values&statistics=true", "names"), ("names=a&heads=x", "heads")]
    {
        let (status, problem) = takes(query);
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{query}: {problem}");
    }
    let (status, found) = takes("names=layers,lout-*&layers=0-3");
    assert_eq!(
        (status, &found["bytes"], &found["globs"]),
        (200, &json!(null), &json!(true)),
        "no model is known: {found}"
    );
    assert_eq!(ok(live.address, path)["next"], json!(null));
    let (status, told) = put(live.address, path, r#"{"names": ["layers"], "layers": "0-3", "every": 2}"#);
    assert_eq!((status, &told["next"]["layers"]), (200, &json!("0-3")));
    let heard: Capture = receive(&mut shim.stream).unwrap();
    assert_eq!(heard.to_string(), "layers, layers 0-3, every 2");
    assert_eq!(ok(live.address, path)["next"]["every"], 2, "it was told, and has not taken it yet");
    let change = CaptureChange { from: EvalId(7), capture: heard };
    assert!(shim.push(0, &Record::Capture(change)));
    until("the process has told", || ok(live.address, path)["from_eval"] == 7);
    let state = ok(live.address, path);
    assert_eq!((&state["now"]["layers"], &state["next"]), (&json!("0-3"), &json!(null)));
    drop(shim);
    until("it is over", || ok(live.address, path)["can_change"] == false);
    assert_eq!(put(live.address, path, r#"{"names": []}"#).0, 409);
    assert_eq!(put(live.address, "/api/v1/sessions/9/capture", r#"{"names": []}"#).0, 404);
    assert_eq!(put(live.address, "/api/v1/sessions/0", "{}").0, 405);
}
