//! What the server says of models: the same as the commands, tied to the run where there is one, and of no file that was
//! not given to it.

#[path = "support/http.rs"]
mod http;

use ggscope_server::{Server, Serving, Sessions};
use ggscope_trace::testing::{Shape, write};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

fn demo_model() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    path.canonicalize().unwrap_or_else(|_| panic!("{} is missing: run `make vendor`", path.display()))
}

/// A server over a synthetic run of the demo model's shape, whose model lies where the run says under another folder.
struct Running {
    address: SocketAddr,
    _serving: Serving,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start(with_model: bool) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let (trace, model) = (dir.path().join("a.ggtrace"), dir.path().join("Smol LM2 ü.gguf"));
        write(&trace, Shape { n_kv: 32, ..Shape::default() }, 5, 9).finish().unwrap();
        std::os::unix::fs::symlink(demo_model(), &model).unwrap();
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = server.address();
        let models = if with_model { vec![model] } else { vec![] };
        let serving = server.start(Sessions::open(&[trace]).unwrap().with_models(models)).unwrap();
        Running { address, _serving: serving, _dir: dir }
    }

    fn ok(&self, path: &str) -> Json {
        let (status, body) = http::get(self.address, path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn refused(&self, path: &str) -> (u16, String) {
        let (status, body) = http::get(self.address, path);
        assert!(!body["error"].as_str().unwrap().is_empty() && !body["help"].as_str().unwrap().is_empty());
        (status, body["field"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn models_are_listed_with_the_sessions_that_ran_them() {
    let server = Running::start(true);
    let models = server.ok("/api/v1/models");
    assert_eq!(models.as_array().unwrap().len(), 1);
    let expected = json!({"id": "0", "architecture": "llama", "layers": 30, "sessions": ["0"], "error": null});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&models[0][field], value, "{field}");
    }
    let inspection = server.ok("/api/v1/models/0?ctx=2048&cache_type_k=q8_0");
    assert_eq!(inspection["architecture"]["hidden"], 576);
    assert_eq!(inspection["tensors"].as_array().unwrap().len(), 272);
}

#[test]
fn a_trace_opens_no_file_that_was_not_given() {
    let server = Running::start(false);
    assert_eq!(server.ok("/api/v1/models"), json!([]));
    assert_eq!(server.refused("/api/v1/models/0"), (404, "id".into()));
}

#[test]
fn the_graph_has_the_measured_times_of_its_weights() {
    let server = Running::start(true);
    let graph = server.ok("/api/v1/models/0/graph?session=0");
    let weights = server.ok("/api/v1/sessions/0/weights");
    let of_weight = |name: &str| {
        weights.as_array().unwrap().iter().find(|w| w["name"] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    let node = |id: &str| graph["nodes"].as_array().unwrap().iter().find(|n| n["id"] == id).unwrap().clone();
    let (up, gate, down) =
        (of_weight("blk.7.ffn_up.weight"), of_weight("blk.7.ffn_gate.weight"), of_weight("blk.7.ffn_down.weight"));
    let sum = |field: &str| [&up, &gate, &down].iter().map(|w| w[field].as_u64().unwrap()).sum::<u64>();
    let measured = &node("layer_7_feed_forward")["measured"];
    assert_eq!(measured["alone"], true);
    assert_eq!((measured["ns"].as_u64(), measured["accesses"].as_u64()), (Some(sum("ns")), Some(sum("accesses"))));
    assert_eq!(node("layer_7_head_3")["measured"]["alone"], false);
    assert_eq!(node("input").get("measured"), None);
    // Without a session nothing was measured.
    let graph = server.ok("/api/v1/models/0/graph");
    assert!(graph["nodes"].as_array().unwrap().iter().all(|n| n.get("measured").is_none()));
}

#[test]
fn operators_have_reached_what_their_bytes_and_operations_took() {
    let server = Running::start(true);
    let reached = server.ok("/api/v1/sessions/0/reached");
    let ops = server.ok("/api/v1/sessions/0/analytics/ops");
    let sum =
        |list: &Json, field: &str| list.as_array().unwrap().iter().map(|r| r[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&reached, "ns"), sum(&ops, "ns"));
    let products = reached.as_array().unwrap().iter().filter(|r| r["op"] == "MUL_MAT" && r["phase"] == "GENERATE");
    assert!(products.map(|r| r["flops"].as_f64().unwrap()).sum::<f64>() > 0.0);
}

#[test]
fn a_layer_and_the_tutorials_graph_can_be_asked_for() {
    let server = Running::start(true);
    let tutorial = server.ok("/api/v1/models/0/graph?schema=tutorial");
    assert_eq!(tutorial["nodes"].as_array().unwrap().len(), 5 + 30 + 30 * 9);
    let layer = server.ok("/api/v1/models/0/graph?layer=5");
    let nodes = layer["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|n| n["layer"] == 5) && nodes.len() == 17, "{}", nodes.len());
}

#[test]
fn analytics_are_of_the_edges_and_weights_that_were_asked_for() {
    let server = Running::start(true);
    let all = server.ok("/api/v1/models/0/analytics");
    let sum: f64 = all["pagerank"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    let flow = server.ok("/api/v1/models/0/analytics?edges=feeds_into");
    assert!(flow["edges"].as_u64() < all["edges"].as_u64());
    // Nothing that flows goes round in circles.
    assert_eq!(flow["strong_components"].as_u64(), Some(flow["nodes"].as_array().unwrap().len() as u64));
    let timed = server.ok("/api/v1/models/0/analytics?edges=feeds_into&weight=time&session=0");
    assert!(timed["weight"] == "time" && timed["pagerank"] != flow["pagerank"]);
    let computed = server.ok("/api/v1/sessions/0/graphs/1/analytics?weight=bytes");
    assert!(computed["nodes"].as_array().unwrap().len() > 900);
}

#[test]
fn blocks_and_distributions_are_those_of_the_file() {
    let server = Running::start(true);
    let mix = server.ok("/api/v1/models/0/quant");
    assert_eq!(mix["total"]["tensors"], 272);
    let report = server.ok("/api/v1/models/0/tensor?tensor=blk.5.attn_q.weight");
    assert_eq!(
        (report["values"]["count"].as_u64(), report["blocks"]["count"].as_u64()),
        (Some(576 * 576), Some(10_368))
    );
    let blocks = server.ok("/api/v1/models/0/blocks?tensor=blk.5.attn_q.weight&offset=10366&limit=100");
    let items = blocks["items"].as_array().unwrap();
    assert_eq!((items.len(), &blocks["total"], &blocks["next"]), (2, &json!(10_368), &Json::Null));
    // Scale times quant and the minimum make the value.
    let block = &items[1];
    let part = &block["sub_blocks"][0];
    let number = |v: &Json| v.as_f64().unwrap() as f32;
    for (quant, value) in part["quants"].as_array().unwrap().iter().zip(block["values"].as_array().unwrap()) {
        assert_eq!(number(quant) * number(&part["scale"]) + number(&part["min"]), number(value));
    }
}

#[test]
fn wrong_questions_are_told_what_is_wrong() {
    let server = Running::start(true);
    for (path, expected) in [
        ("/api/v1/models/7", (404, "id")),
        ("/api/v1/models/x/graph", (404, "id")),
        ("/api/v1/models/0?ctx=0", (400, "ctx")),
        ("/api/v1/models/0?parallel=x", (400, "parallel")),
        ("/api/v1/models/0?cache_type_k=q6_K", (400, "cache_type_k")),
        ("/api/v1/models/0?vram=much", (400, "vram")),
        ("/api/v1/models/0/graph?schema=none", (400, "schema")),
        ("/api/v1/models/0/graph?layer=30", (404, "layer")),
        ("/api/v1/models/0/graph?layer=x", (400, "layer")),
        ("/api/v1/models/0/graph?session=9", (404, "session")),
        ("/api/v1/models/0/analytics?edges=feeds_into,x", (400, "edges")),
        ("/api/v1/models/0/analytics?weight=x", (400, "weight")),
        ("/api/v1/models/0/analytics?weight=time", (400, "weight")),
        ("/api/v1/sessions/0/graphs/99/analytics", (404, "graph")),
        ("/api/v1/sessions/9/weights", (404, "id")),
        ("/api/v1/sessions/9/reached", (404, "id")),
        ("/api/v1/models/9/quant", (404, "id")),
        ("/api/v1/models/0/tensor", (400, "tensor")),
        ("/api/v1/models/0/tensor?tensor=blk.5.attn_x.weight", (404, "tensor")),
        ("/api/v1/models/0/blocks?tensor=output_norm.weight", (400, "tensor")),
        ("/api/v1/models/0/blocks?tensor=blk.5.attn_q.weight&offset=10368", (404, "tensor")),
        ("/api/v1/models/0/blocks?tensor=blk.5.attn_q.weight&limit=1000", (400, "limit")),
    ] {
        let (status, field) = expected;
        assert_eq!(server.refused(path), (status, field.to_owned()), "{path}");
    }
}
