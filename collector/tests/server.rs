//! The promises of `ggscope open`, asked over TCP as any client would: pages and filters answer what the store says,
//! strangers get nothing, and wrong questions are told what is wrong with them.

#[path = "support/document.rs"]
mod document;

use ggscope_format::GraphId;
use ggscope_query::dump::{Filter, dump};
use ggscope_query::graph::{EvaluationCount, GraphQuery};
use ggscope_query::info::info;
use ggscope_query::leaves::leaves;
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_server::{Server, Serving, Sessions};
use ggscope_trace::testing::{Builder, Shape, recording, write};
use ggscope_trace::{Trace, TraceWriter};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

const HOSTILE: &str = "<img src=x onerror=\"alert(1)\">-0";

/// A server over two traces: one of a prompt of 5 and an answer of 9 tokens, one with a hostile name.
struct Running {
    address: SocketAddr,
    path: PathBuf,
    _serving: Option<Serving>,
    _dir: tempfile::TempDir,
}

/// An answer: status, head, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Running {
    fn start(token: Option<&str>) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.ggtrace"), dir.path().join("<b>.ggtrace"));
        let shape = Shape { n_layer: 3, n_tokens: 1, n_outputs: 1, n_kv: 32 };
        write(&path, shape, 5, 9).finish().unwrap();
        let mut b = Builder::default();
        let input = b.input("inp_tokens", None, &[1]);
        b.node(HOSTILE, "SQR", &[1], &[input]);
        let mut writer = TraceWriter::create(&other, false, &recording()).unwrap();
        writer.graph(b.finish(0, "m.gguf")).unwrap();
        writer.finish().unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), token.map(str::to_owned)).unwrap();
        let address = server.address();
        let sessions = Sessions::open(&[path.clone(), other]).unwrap();
        let serving = server.start(sessions).unwrap();
        Running { address, path, _serving: Some(serving), _dir: dir }
    }

    /// Sends a request as it stands and reads the answer.
    fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = vec![];
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let bytes = bytes[end + 4..].to_vec();
        let mut line = request.split(' ');
        document::check(line.next().unwrap(), line.next().unwrap(), &head, &bytes);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status, head: head.to_ascii_lowercase(), body, bytes }
    }

    fn with(&self, path: &str, headers: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
    }

    fn get(&self, path: &str) -> Answer {
        self.with(path, &format!("Host: {}\r\n", self.address))
    }

    fn ok(&self, path: &str) -> Json {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn trace(&self) -> Trace {
        Trace::open(&self.path).unwrap()
    }
}

/// What `dump` gives.
fn dumped(trace: &Trace, filter: &Filter) -> Vec<Json> {
    let mut all = vec![];
    dump(trace, filter, |operator| {
        all.push(serde_json::to_value(operator).unwrap());
        ControlFlow::Continue(())
    });
    all
}

/// All items of a list, page after page.
fn all_pages(server: &Running, path: &str, limit: usize) -> Vec<Json> {
    let mut items = vec![];
    let mut offset = 0;
    loop {
        let page = server.ok(&format!("{path}offset={offset}&limit={limit}"));
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_u64() {
            Some(next) => offset = next,
            None => {
                assert_eq!(page["total"], items.len(), "{path}");
                return items;
            }
        }
    }
}

#[test]
fn sessions_are_listed_and_each_says_what_info_says() {
    let server = Running::start(None);
    let sessions = server.ok("/api/v1/sessions");
    let named: Vec<_> = sessions.as_array().unwrap().iter().map(|s| (&s["id"], &s["name"])).collect();
    assert_eq!(named, [(&json!("0"), &json!("a.ggtrace")), (&json!("1"), &json!("<b>.ggtrace"))]);
    let expected = json!({
        "id": "0", "name": "a.ggtrace", "state": "ended", "complete": true, "level": "ops", "tokens": 14,
        "prompt_tokens": 5, "generated_tokens": 9, "evaluations": 10, "dropped_records": 0,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&sessions[0][field], value, "{field}");
    }
    let expected = serde_json::to_string(&info(&server.trace(), None)).unwrap();
    assert_eq!(server.get("/api/v1/sessions/0").body, expected);
}

#[test]
fn filters_answer_what_dump_gives() {
    let server = Running::start(None);
    let trace = server.trace();
    let numbers = |text: &str| Some(text.parse().unwrap());
    let glob = |text: &str| Some(globset::Glob::new(text).unwrap().compile_matcher());
    use ggscope_query::dump::{Memory, Phase};
    for (query, filter) in [
        ("", Filter::default()),
        ("layer=1..2&", Filter { layers: numbers("1..2"), ..Filter::default() }),
        ("tokens=7&op=mul_mat&", Filter { tokens: numbers("7"), op: glob("MUL_MAT"), ..Filter::default() }),
        ("name=l_out-*&evals=3..&", Filter { name: glob("l_out-*"), evals: numbers("3.."), ..Filter::default() }),
        ("phase=prompt&", Filter { phase: Some(Phase::Prompt), ..Filter::default() }),
        ("source=disk&", Filter { source: Some(Memory::Disk), ..Filter::default() }),
        ("duration=5000..&", Filter { durations: numbers("5000.."), ..Filter::default() }),
        ("node=0&", Filter { node: Some(0), ..Filter::default() }),
        ("tensor=attn_norm-1&", Filter { tensor: Some("attn_norm-1".into()), ..Filter::default() }),
    ] {
        let items = all_pages(&server, &format!("/api/v1/sessions/0/operators?{query}"), 101);
        assert!(!items.is_empty(), "{query}");
        assert_eq!(items, dumped(&trace, &filter), "{query}");
    }
    let slowest = server.ok("/api/v1/sessions/0/operators?sort=-duration&limit=5&layer=1");
    let mut of_layer = dumped(&trace, &Filter { layers: numbers("1"), ..Filter::default() });
    of_layer.sort_by_key(|o| std::cmp::Reverse(o["dur_ns"].as_u64()));
    assert_eq!(slowest["items"], json!(of_layer[..5]));
}

#[test]
fn evaluations_come_in_pages_and_name_their_tokens() {
    let server = Running::start(None);
    let all = all_pages(&server, "/api/v1/sessions/0/evaluations?", 3);
    assert_eq!(all.iter().map(|e| e["eval"].as_u64().unwrap()).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(all[0]["tokens"].as_array().unwrap().len(), 5);
    let third = server.ok("/api/v1/sessions/0/evaluations?tokens=7");
    assert_eq!((&third["total"], &third["items"][0]), (&json!(1), &all[3]));
    assert_eq!(third["items"][0]["tokens"][0]["phase"], "GENERATE");
    let sum: u64 = all.iter().map(|e| e["operators"].as_u64().unwrap()).sum();
    assert_eq!(sum, server.trace().totals().operators);
}

#[test]
fn a_timeline_and_the_spans_of_an_evaluation_are_its_operators() {
    let server = Running::start(None);
    let (trace, all) = (server.trace(), all_pages(&server, "/api/v1/sessions/0/evaluations?", 100));
    let timeline = server.get("/api/v1/sessions/0/timeline?from=4").bytes;
    assert_eq!(timeline, ggscope_query::timeline::timeline(&Table::new(&trace, DEFAULT_MEMORY), 4, None));
    let column = |byte: usize| f64::from_le_bytes(timeline[byte..byte + 8].try_into().unwrap());
    assert_eq!((&timeline[..4], timeline.len()), (&b"GGTL"[..], 32 + 6 * (4 * 8 + 12 * 4)));
    assert_eq!((timeline[8], column(16), column(24)), (6, 4.0, all[0]["t_ns"].as_f64().unwrap()));
    assert_eq!(column(32), all[4]["t_ns"].as_f64().unwrap() - all[0]["t_ns"].as_f64().unwrap());
    assert_eq!(column(32 + 2 * 48), all[4]["disk_bytes"].as_f64().unwrap());
    let spans = server.ok("/api/v1/sessions/0/evaluations/4/spans");
    let rows = dumped(&trace, &Filter { evals: Some("4".parse().unwrap()), ..Filter::default() });
    for (i, row) in rows.iter().enumerate() {
        let start = row["t_ns"].as_u64().unwrap() - spans["t_ns"].as_u64().unwrap();
        assert_eq!((&spans["node"][i], &spans["start"][i]), (&row["node"], &json!(start)));
        assert_eq!(spans["dur"][i], row["dur_ns"]);
        assert_eq!(&spans["fused_into"][i], row.get("fused_into").unwrap_or(&Json::Null));
    }
    assert_eq!(spans["node"].as_array().unwrap().len(), rows.len());
}

#[test]
fn a_graph_and_one_of_its_layers_are_the_query_s() {
    let server = Running::start(None);
    let trace = server.trace();
    let query = GraphQuery::open(&trace, GraphId(1)).unwrap();
    let graphs = server.ok("/api/v1/sessions/0/graphs");
    assert_eq!(
        (&graphs["total"], &graphs["items"][1]),
        (
            &json!(2),
            &serde_json::to_value(query.summary(EvaluationCount { evaluations: 9, last_seq: Some(9) })).unwrap()
        )
    );
    let whole = server.ok("/api/v1/sessions/0/graphs/1");
    assert_eq!(whole, serde_json::to_value(query.whole()).unwrap());
    let layer = server.ok("/api/v1/sessions/0/graphs/1?layer=1");
    assert_eq!(layer, serde_json::to_value(query.layer(1).unwrap()).unwrap());
    let tensors = layer["tensors"].as_array().unwrap();
    let shown = |id: &Json| tensors.iter().find(|t| &t["id"] == id);
    for edge in layer["edges"].as_array().unwrap() {
        assert!(shown(&edge["from"]).is_some() && shown(&edge["to"]).is_some(), "{edge} leads outside");
    }
    // Every node of the layer has all of its sources: nothing that it needs is left out.
    for edge in whole["edges"].as_array().unwrap() {
        if shown(&edge["to"]).is_some_and(|t| t["category"] == "layer") {
            assert!(layer["edges"].as_array().unwrap().contains(edge), "{edge} is missing");
        }
    }
}

#[test]
fn leaves_memory_and_metrics_say_what_was_read() {
    let server = Running::start(None);
    let expected =
        serde_json::to_value(leaves(&server.trace(), &Table::new(&server.trace(), DEFAULT_MEMORY), None)).unwrap();
    assert_eq!(json!(all_pages(&server, "/api/v1/sessions/0/leaves?", 7)), expected);
    let q = server.trace().graph(GraphId(1)).unwrap();
    let q = q.graph.tensors.iter().find(|t| t.name == "blk.1.attn_q.weight").unwrap();
    let at = q.mapped.unwrap().1;
    let found = server.ok(&format!("/api/v1/sessions/0/memory?memory=disk&bytes={at}..{}", at + 1));
    assert_eq!((&found["total"], &found["items"][0]["name"]), (&json!(1), &json!("blk.1.attn_q.weight")));
    assert_eq!(found["items"][0]["accesses"], 10);
    let buffers = all_pages(&server, "/api/v1/sessions/0/memory?place=KV%20cache%20(CPU)&", 2);
    assert_eq!(buffers.len(), 6, "K and V of three layers");
    let metrics = server.get("/metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert!(
        metrics
            .body
            .contains("ggscope_tokens_total{session=\"0\",file=\"a.ggtrace\",context=\"0\",phase=\"PROMPT\"} 5\n")
    );
}

#[test]
fn charts_are_sums_of_what_dump_gives() {
    let server = Running::start(None);
    let rows = dumped(&server.trace(), &Filter { tokens: Some("5..9".parse().unwrap()), ..Filter::default() });
    let ns = |rows: &[Json]| rows.iter().filter_map(|o| o["dur_ns"].as_u64()).sum::<u64>();
    let sum = |items: &Json, field: &str| {
        let of = |item: &Json| item[field].as_u64().unwrap();
        items.as_array().unwrap().iter().map(of).sum::<u64>()
    };
    let ask = |path: &str| server.ok(&format!("/api/v1/sessions/0/{path}tokens=5..9"));
    let ops = ask("analytics/ops?phase=generate&");
    assert_eq!((sum(&ops, "count"), sum(&ops, "ns")), (rows.len() as u64, ns(&rows)));
    assert_eq!(ops[0]["phase"], "GENERATE");
    let layers = ask("analytics/layers?");
    assert_eq!((sum(&layers, "operators"), sum(&layers, "ns")), (rows.len() as u64, ns(&rows)));
    assert_eq!((&layers[0]["layer"], &layers[3]["layer"]), (&json!(0), &json!(null)));
    let map = ask("analytics/layer-tokens?bins=5&");
    let cells = map["ns"].as_array().unwrap().iter().flat_map(|l| l.as_array().unwrap());
    assert_eq!(cells.map(|ns| ns.as_u64().unwrap()).sum::<u64>(), ns(&rows));
    assert_eq!(map["bins"][4], json!({"first_token": 9, "last_token": 9, "evaluations": 1}));
    let of_op: Vec<Json> = rows.iter().filter(|o| o["op"] == "MUL_MAT").cloned().collect();
    let histogram = ask("analytics/histogram?op=mul_mat&bins=10&");
    assert_eq!((&histogram["count"], sum(&histogram["bins"], "count")), (&json!(of_op.len()), of_op.len() as u64));
    let costs = ask("graphs/1/costs?");
    assert_eq!(costs["ns"].as_array().unwrap().iter().map(|ns| ns.as_u64().unwrap()).sum::<u64>(), ns(&rows));
    let access = server.ok("/api/v1/sessions/0/analytics/access?eval=3");
    assert_eq!((&access["eval"], &access["reads"][0]["name"]), (&json!(3), &json!("token_embd.weight")));
    let places = server.ok("/api/v1/sessions/0/places");
    assert_eq!((&places[0]["memory"], &places[0]["end"]), (&json!("DISK"), &json!(98_000_000)));
}

#[test]
fn heads_of_a_recording_without_attention_are_missing_and_it_is_said_how_to_record_them() {
    let server = Running::start(None);
    for path in ["heads", "heads?pairs=true&tokens=0..9", "heads/flow", "heads/flow?tokens=3"] {
        let answer = server.get(&format!("/api/v1/sessions/0/{path}"));
        assert_eq!((answer.status, &answer.json()["field"]), (404, &json!("id")), "{path}");
        assert!(answer.json()["help"].as_str().unwrap().contains("--capture attention"));
    }
    for (path, field) in [("heads?phase=x", "phase"), ("heads?head=-1", "head"), ("heads/flow?tokens=1..2", "tokens")] {
        let answer = server.get(&format!("/api/v1/sessions/0/{path}"));
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{path}");
    }
}

#[test]
fn the_document_lists_every_route() {
    let server = Running::start(None);
    let document = server.ok("/api/v1/openapi.json");
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let session = "/api/v1/sessions/{id}";
    let mut expected =
        vec!["/api/v1/openapi.json".into(), "/api/v1/sessions".into(), session.into(), "/metrics".into()];
    expected.extend(["/api/v1/compare".into(), "/api/v1/live".into()]);
    for list in [
        "analytics/access",
        "analytics/histogram",
        "analytics/layer-tokens",
        "analytics/layers",
        "analytics/ops",
        "attention",
        "attention/against",
        "attention/links",
        "attention/map",
        "attention/matrix",
        "capture",
        "capture/estimate",
        "evaluations",
        "evaluations/{eval}/spans",
        "experts",
        "experts/choices",
        "experts/pairs",
        "export",
        "graphs",
        "graphs/{graph}",
        "graphs/{graph}/analytics",
        "graphs/{graph}/costs",
        "heads",
        "heads/flow",
        "layers",
        "layers/against",
        "layers/lens",
        "layers/tokens",
        "leaves",
        "memory",
        "operators",
        "places",
        "reached",
        "requests",
        "residency",
        "timeline",
        "weights",
    ] {
        expected.push(format!("{session}/{list}"));
    }
    expected.extend(["/api/v1/models".into(), "/api/v1/models/{id}".into()]);
    for part in ["analytics", "blocks", "graph", "quant", "tensor"] {
        expected.push(format!("/api/v1/models/{{id}}/{part}"));
    }
    expected.sort();
    assert_eq!(paths, expected.iter().collect::<Vec<_>>());
    // What each parameter may be is said, and that every question can go wrong.
    let of = |path: &str| document["paths"][path]["get"].clone();
    let schema = |path: &str, name: &str| {
        let parameters = of(path)["parameters"].as_array().unwrap().clone();
        parameters.iter().find(|p| p["name"] == name).map(|p| p["schema"].clone()).unwrap()
    };
    let operators = format!("{session}/operators");
    assert_eq!(schema(&operators, "phase")["enum"], json!(["prompt", "generate", "unknown"]));
    assert!(schema(&operators, "sort")["enum"].as_array().unwrap().contains(&json!("-duration")));
    assert_eq!(schema(&operators, "offset")["type"], "integer");
    assert!(schema(&operators, "tokens")["pattern"].is_string());
    for path in &paths {
        let answers = of(path)["responses"].as_object().unwrap().clone();
        assert!(["400", "401", "403", "413", "500"].iter().all(|status| answers.contains_key(*status)), "{path}");
        assert!(answers.values().all(|answer| answer["description"].is_string()), "{path}: OpenAPI wants them");
    }
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let ids: Vec<String> = operations.clone().map(|operation| operation["operationId"].to_string()).collect();
    for operation in operations {
        let mut answers = operation["responses"].as_object().unwrap().values();
        assert!(answers.all(|answer| !answer["description"].as_str().unwrap().is_empty()), "{operation}");
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an operation is known by its id: {ids:?}");
    // No page may be larger than the document says, and none has to be smaller.
    for list in ["operators", "evaluations", "graphs", "leaves", "memory"] {
        let path = format!("{session}/{list}");
        let most = schema(&path, "limit")["maximum"].as_f64().unwrap() as u64;
        let status = |limit: u64| server.get(&format!("{}?limit={limit}", path.replace("{id}", "0"))).status;
        assert_eq!((status(most), status(most + 1)), (200, 400), "{path}: {most}");
    }
    // One never ends, and some have nothing to say of a trace whose model is not here.
    let needs_more = |path: &str| {
        let [live, residency] = ["/live", "/residency"].map(|end| path.ends_with(end));
        let inside = ["/attention", "/heads", "/layers", "/experts", "/capture"].iter().any(|part| path.contains(part));
        live || residency || path.contains("/models/{id}") || (inside && !path.contains("/analytics"))
    };
    for path in paths.into_iter().filter(|path| !needs_more(path)) {
        let required = match path.rsplit('/').next() {
            Some("compare") => "?a=0&b=1",
            Some("export") => "?format=dot&layer=0",
            _ => "",
        };
        let filled = path.replace("{id}", "0").replace("{graph}", "0").replace("{eval}", "0") + required;
        assert_eq!(server.get(&filled).status, 200, "{path}");
    }
    let parameters = document["paths"][format!("{session}/operators")]["get"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "layer" && p["in"] == "query"), "{parameters:?}");
}

#[test]
fn the_document_passes_openapi_spec_validator() {
    let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../vendor/python/bin/python");
    assert!(python.exists(), "{} is missing: run `vendor/setup --tests`", python.display());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("openapi.json");
    std::fs::write(&path, ggscope_server::openapi_document()).unwrap();
    let run = std::process::Command::new(python).args(["-m", "openapi_spec_validator"]).arg(path).output().unwrap();
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}

#[test]
fn strangers_get_nothing() {
    let server = Running::start(None);
    let port = server.address.port();
    let status = |headers: String| server.with("/api/v1/sessions", &headers).status;
    assert_eq!(status(format!("Host: localhost:{port}\r\n")), 200);
    assert_eq!(status(format!("Host: evil.example:{port}\r\n")), 403, "a name that was rebound");
    assert_eq!(status(format!("Host: localhost:{port}\r\nOrigin: http://evil.example\r\n")), 403);
    assert_eq!(status(format!("Host: localhost:{port}\r\nOrigin: null\r\n")), 403);
    assert_eq!(status(format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n")), 200);
    let refused = server.with("/metrics", "Host: evil.example\r\n");
    assert_eq!(refused.status, 403);
    assert!(refused.json()["help"].as_str().unwrap().contains(&server.address.to_string()));
    assert!(!refused.head.contains("access-control-allow-origin"));
    let post = server
        .send(&format!("POST /api/v1/sessions HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address));
    assert_eq!(post.status, 405);
}

#[test]
fn a_token_opens_every_route_and_nothing_else_does() {
    let server = Running::start(Some("s3cret&?"));
    for path in ["/", "/nowhere?view=table"] {
        let asked = server.get(path);
        assert!(asked.status == 401 && asked.body.contains("name=\"token\""), "{path}: {}", asked.body);
    }
    for path in ["/api/v1/sessions", "/api/v1/openapi.json", "/api/v1/live", "/metrics", "/api/v1/nowhere"] {
        let refused = server.get(path);
        assert_eq!((refused.status, refused.json()["error"].is_string()), (401, true), "{path}");
    }
    let host = format!("Host: {}\r\n", server.address);
    let bearer = format!("{host}Authorization: Bearer s3cret&?\r\n");
    assert_eq!(server.with("/api/v1/sessions", &bearer).status, 200);
    assert_eq!(server.get("/api/v1/sessions/0/operators?limit=1&token=s3cret%26%3F").status, 200);
    assert_eq!(server.get("/api/v1/sessions?token=s3cret").status, 401);
    assert_eq!(server.get("/?token=s3cret").status, 401);
    let page = server.get("/sessions/0?token=s3cret%26%3F&view=graph");
    assert_eq!(page.status, 303);
    let header = |name: &str| {
        let line = page.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("{name} is missing: {}", page.head)).to_owned()
    };
    assert_eq!(header("location"), "/sessions/0?view=graph");
    let cookie = header("set-cookie");
    assert!(cookie.contains("httponly") && cookie.contains("samesite=strict"), "{cookie}");
    let pair = format!("ggscope_token_{}=s3cret%26%3F", server.address.port());
    assert!(cookie.starts_with(&pair.to_ascii_lowercase()), "{cookie}");
    let kept = format!("{host}Cookie: {pair}\r\n");
    assert_eq!(server.with("/", &kept).status, 200);
    assert_eq!(server.with("/api/v1/sessions", &kept).status, 200);
}

#[test]
fn without_a_secret_token_is_a_parameter_that_no_question_has() {
    let server = Running::start(None);
    for path in ["attention?token=3&layer=0", "operators?limit=1&token=3", "layers/lens?token=3", "evaluations?token="]
    {
        let refused = server.get(&format!("/api/v1/sessions/0/{path}"));
        let json = refused.json();
        assert_eq!((refused.status, &json["field"]), (400, &json!("query")), "{path}: {json}");
        assert!(json["error"].as_str().unwrap().starts_with("token is no parameter here"), "{path}: {json}");
        assert!(json["help"].as_str().unwrap().starts_with("it is called tokens; "), "{path}: {json}");
    }
    let without_tokens = server.get("/api/v1/sessions/0/graphs?token=3");
    assert_eq!(without_tokens.status, 400, "{}", without_tokens.body);
    assert!(!without_tokens.body.contains("it is called"), "{}", without_tokens.body);
    assert_eq!(server.get("/?token=3").status, 200, "a page is no question");
    let guarded = Running::start(Some("3"));
    assert_eq!(guarded.get("/api/v1/sessions/0/operators?limit=1&token=3").status, 200);
    let both = format!("Host: {}\r\nAuthorization: Bearer 3\r\n", guarded.address);
    assert_eq!(
        guarded.with("/api/v1/sessions/0/operators?limit=1&token=4", &both).status,
        401,
        "no secret, and no token"
    );
}

#[test]
fn wrong_questions_are_told_what_is_wrong() {
    let server = Running::start(None);
    for (path, status, field) in [
        ("/api/v1/sessions/2", 404, "id"),
        ("/api/v1/sessions/%FF", 400, "path"),
        ("/api/v1/sessions/2/residency?place=/x", 404, "id"),
        ("/api/v1/sessions/0/residency", 400, "place"),
        ("/api/v1/sessions/0/residency?place=/etc/passwd", 404, "place"),
        ("/api/v1/sessions/..%2F..%2Fetc%2Fpasswd", 404, "id"),
        ("/api/v1/sessions/0/experts", 404, "id"),
        ("/api/v1/sessions/0/experts/choices?phase=x", 400, "phase"),
        ("/api/v1/sessions/0/experts?cache=1,x", 400, "cache"),
        ("/api/v1/sessions/0/experts/pairs", 400, "layer"),
        ("/api/v1/sessions/0/graphs/9", 404, "graph"),
        ("/api/v1/sessions/0/graphs/1?layer=3", 404, "layer"),
        ("/api/v1/sessions/0/graphs/1?layer=x", 400, "layer"),
        ("/api/v1/sessions/0/operators?layer=9..1", 400, "layer"),
        ("/api/v1/sessions/0/operators?op=%5B", 400, "op"),
        ("/api/v1/sessions/0/operators?sort=size", 400, "sort"),
        ("/api/v1/sessions/0/operators?limit=1001", 400, "limit"),
        ("/api/v1/sessions/0/operators?node=x", 400, "node"),
        ("/api/v1/sessions/0/memory?limit=10001", 400, "limit"),
        ("/api/v1/sessions/0/timeline?from=x", 400, "from"),
        ("/api/v1/sessions/0/evaluations/10/spans", 404, "eval"),
        ("/api/v1/sessions/0/evaluations/x/spans", 404, "eval"),
        ("/api/v1/sessions/0/graphs/9/costs", 404, "graph"),
        ("/api/v1/sessions/0/graphs/0/costs?tokens=x", 400, "tokens"),
        ("/api/v1/sessions/2/places", 404, "id"),
        ("/api/v1/sessions/0/analytics/ops?phase=x", 400, "phase"),
        ("/api/v1/sessions/0/analytics/layers?evals=x", 400, "evals"),
        ("/api/v1/sessions/0/analytics/layer-tokens?bins=501", 400, "bins"),
        ("/api/v1/sessions/0/analytics/histogram?node=-1", 400, "node"),
        ("/api/v1/sessions/0/analytics/access?eval=x", 400, "eval"),
        ("/api/v1/sessions/0/analytics/access?eval=99", 404, "eval"),
        ("/api/v1/sessions/0/operators?colour=red", 400, "query"),
        ("/api/v1/sessions/0/operators?layer=1&layer=2", 400, "query"),
        ("/api/v1/sessions/0/memory?memory=tape", 400, "memory"),
        ("/api/v1/sessions/0/evaluations?time=now", 400, "time"),
        ("/api/v1/sessions/0/attention?tokens=7..9", 400, "tokens"),
        ("/api/v1/sessions/0/attention?layer=x", 400, "layer"),
        ("/api/v1/sessions/0/attention/map?tokens=x", 400, "tokens"),
        ("/api/v1/sessions/0/attention/matrix?head=-1", 400, "head"),
        ("/api/v1/sessions/0/attention/matrix?tokens=99..", 404, "tokens"),
    ] {
        let answer = server.get(path);
        let json = answer.json();
        assert_eq!((answer.status, &json["field"]), (status, &json!(field)), "{path}: {json}");
        assert!(json["error"].is_string() && json["help"].is_string(), "{path}: {json}");
    }
    for path in ["/etc/passwd.txt", "/assets/x.js", "/api/v1/../../etc/passwd", "/api/v2"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_session_without_attention_says_how_to_record_it() {
    let server = Running::start(None);
    for question in ["attention", "attention/map", "attention/matrix?layer=1"] {
        let answer = server.get(&format!("/api/v1/sessions/0/{question}"));
        let json = answer.json();
        assert_eq!((answer.status, &json["field"]), (404, &json!("id")), "{question}: {json}");
        assert!(json["help"].as_str().unwrap().contains("ggscope record --capture attention"), "{question}: {json}");
    }
}

#[test]
fn names_are_text() {
    let server = Running::start(None);
    let answer = server.get("/api/v1/sessions/1/graphs/0");
    assert_eq!(answer.json()["tensors"][0]["name"], HOSTILE);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    for protection in [
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: same-origin",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(answer.head.contains(protection), "{}", answer.head);
    }
}

#[test]
fn many_clients_are_answered_at_once() {
    let server = Running::start(None);
    std::thread::scope(|scope| {
        for i in 0..12 {
            let server = &server;
            scope.spawn(move || server.ok(&format!("/api/v1/sessions/0/operators?evals={}", i % 10)));
        }
    });
}

#[test]
fn the_command_line_serves_until_it_is_told_to_stop_and_prints_the_same_graph() {
    let server = Running::start(None);
    let ggscope = || std::process::Command::new(env!("CARGO_BIN_EXE_ggscope"));
    let path = server.path.to_str().unwrap();
    let printed = ggscope().args(["graph", path, "--layer", "1"]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let printed: Json = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, server.ok("/api/v1/sessions/0/graphs/1?layer=1"), "of the graph with the most evaluations");
    let refused = ggscope().args(["graph", path, "--layer", "3"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("has no layer 3: it has layers 0 to 2"), "{said}");

    let taken = server.address.to_string();
    let mut open = ggscope().args(["open", path, "--listen", &taken]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(open.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("is taken"), "the test's own server has the port");
    let said = lines.next().unwrap();
    let at = said.split_once("http://").and_then(|(_, rest)| rest.split('/').next()).unwrap().parse().unwrap();
    let other = Running { address: at, path: server.path.clone(), _serving: None, _dir: tempfile::tempdir().unwrap() };
    assert_eq!(other.ok("/api/v1/sessions/0"), server.ok("/api/v1/sessions/0"));
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(open.id() as i32, libc::SIGINT) };
    assert!(open.wait().unwrap().success());

    let open = ggscope().args(["open", path, "--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!open.status.success() && String::from_utf8_lossy(&open.stderr).contains("give --auth-token"), "{open:?}");
}
