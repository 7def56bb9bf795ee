//! Two contexts of two models in one recording, over HTTP: every answer is of one of them and names it, and every question can
//! choose.

#[path = "support/http.rs"]
mod http;

use ggscope_format::capture::Capture;
use ggscope_format::value::Value;
use ggscope_format::{Bytes, EvalId, GraphId, TensorId};
use ggscope_server::{Server, Serving, Sessions, openapi_document};
use ggscope_trace::testing::{Random, Shape, evaluation, llama, model, recording};
use ggscope_trace::{Model, ModelId, Recording, TraceWriter};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;

/// A target of two layers, and its draft of one: the context, which is the model's number too, and how many tokens.
const EVALUATIONS: [(u32, i64); 4] = [(0, 3), (1, 2), (0, 1), (1, 2)];

fn record(path: &Path) {
    let capture = Capture::named(["layers"]);
    let mut writer = TraceWriter::create(path, false, &Recording { capture, ..recording() }).unwrap();
    for (id, name) in [(0, "target"), (1, "draft")] {
        writer.model(Model { id: ModelId(id), name: name.into(), n_layer: 2 - id, ..model() }).unwrap();
    }
    let mut positions = [0; 2];
    for (number, (context, n_tokens)) in (0..).zip(EVALUATIONS) {
        let n_layer = 2 - context;
        let mut stored = llama(number, Shape { n_layer, n_tokens, n_outputs: n_tokens, ..Shape::default() });
        (stored.graph.context, stored.model) = (context, Some(ModelId(context)));
        let mut e = evaluation(&stored, u64::from(number), positions[context as usize], &mut Random(7));
        (e.context, e.outputs) = (context, None);
        // The same ids in both vocabularies.
        e.tokens = (0..n_tokens as i32).collect();
        positions[context as usize] += n_tokens as i32;
        let texts =
            e.tokens.iter().map(|&id| (ModelId(context), id, format!("{id} of {context}").into_bytes())).collect();
        let graph = stored.graph.clone();
        writer.graph(stored).unwrap();
        writer.texts(texts).unwrap();
        writer.evaluation(e).unwrap();
        let states = (0..graph.n_nodes).map(TensorId).filter_map(|id| Some((id, graph.tensor(id)?)));
        for (tensor, t) in states.filter(|(_, t)| t.name == "embd" || t.name.starts_with("l_out-")) {
            let bytes = (context as f32 + 1.0).to_le_bytes().repeat(t.bytes.0 as usize / 4);
            let (eval, graph, total) = (EvalId(number.into()), GraphId(number), Bytes(bytes.len() as u64));
            writer.value(Value { eval, graph, tensor, total, bytes, ..Value::default() }).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn serve() -> (SocketAddr, Serving, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a.ggtrace", "b.ggtrace"].map(|name| dir.path().join(name));
    paths.iter().for_each(|path| record(path));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = server.address();
    let serving = server.start(Sessions::open(&paths).unwrap()).unwrap();
    (address, serving, dir)
}

fn get(address: SocketAddr, path: &str) -> Json {
    let (status, found) = http::get(address, &format!("/api/v1/sessions/0{path}"));
    assert_eq!(status, 200, "{path}: {found}");
    found
}

#[test]
fn a_session_says_which_contexts_and_models_it_has_and_whose_each_graph_is() {
    let (address, _serving, _dir) = serve();
    let info = get(address, "");
    assert_eq!((&info["model"]["name"], &info["more_models"][0]["name"]), (&json!("target"), &json!("draft")));
    let contexts: Vec<Json> = (info["contexts"].as_array().unwrap().iter())
        .map(|c| json!([c["context"], c["model"], c["model_name"], c["tokens"], c["first_token"], c["last_token"]]))
        .collect();
    assert_eq!(contexts, [json!([0, 0, "target", 4, 0, 5]), json!([1, 1, "draft", 4, 3, 7])]);
    let graphs = get(address, "/graphs");
    let of = |g: &Json| (g["context"].as_u64().unwrap(), g["model"].as_u64().unwrap());
    let found: Vec<_> = graphs["items"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(found, [(0, 0), (1, 1), (0, 0), (1, 1)]);
    assert_eq!(of(&get(address, "/graphs/1")), (1, 1));
    // Token ids mean what they mean in their own vocabulary.
    let texts: Vec<Json> = (get(address, "/evaluations")["items"].as_array().unwrap().iter())
        .flat_map(|e| e["tokens"].as_array().unwrap().iter().map(|t| t["text"].clone()).collect::<Vec<_>>())
        .collect();
    assert_eq!(texts[2..5], [json!("2 of 0"), json!("0 of 1"), json!("1 of 1")]);
}

#[test]
fn hidden_states_are_of_the_context_that_is_named_or_of_the_token_s_or_of_the_first_model_s() {
    let (address, _serving, _dir) = serve();
    let whose = |query: &str| {
        let found = get(address, &format!("/layers{query}"));
        let layers = found["layers"].as_array().unwrap().len();
        (found["context"].as_u64().unwrap(), found["tokens"].as_u64().unwrap(), layers)
    };
    assert_eq!(whose(""), (0, 4, 3));
    assert_eq!(get(address, "/layers")["other_contexts"], json!([1]));
    assert_eq!(whose("?context=1"), (1, 4, 2));
    assert_eq!(whose("?tokens=3..4"), (1, 2, 2));
    assert_eq!(whose("?tokens=2..4"), (0, 1, 3));
    assert_eq!(whose("?tokens=2..4&context=1"), (1, 2, 2));
    let matrix = get(address, "/layers/tokens?context=1");
    let norms: Vec<&Json> = matrix["rows"].as_array().unwrap().iter().map(|row| &row["values"][0]).collect();
    assert_eq!((&matrix["context"], norms), (&json!(1), vec![&json!(48.0); 4]));
    let against = get(address, "/layers/against?with=1&context=1");
    assert_eq!(
        (&against["context"], &against["reference_context"], &against["tokens"]),
        (&json!(1), &json!(1), &json!(4))
    );
    let (status, other) = http::get(address, "/api/v1/sessions/0/layers/against?with=1&context=1&with_context=0");
    assert_eq!((status, &other["field"]), (400, &json!("with")), "of another model: {other}");
}

#[test]
fn a_context_that_is_not_there_or_has_none_of_the_tokens_is_named() {
    let (address, _serving, _dir) = serve();
    for path in [
        "/layers?context=7",
        "/layers/tokens?context=7",
        "/layers?tokens=3&context=0",
        "/attention?context=7",
        "/attention?tokens=3&context=0",
        "/attention/map?context=7",
        "/attention/matrix?context=7",
        "/attention/links?context=7",
        "/heads?context=7",
        "/experts?context=7",
        "/experts/choices?context=7",
    ] {
        let (status, problem) = http::get(address, &format!("/api/v1/sessions/0{path}"));
        assert_eq!((status, &problem["field"]), (404, &json!("context")), "{path}: {problem}");
        assert!(problem["error"].as_str().unwrap().contains("context"), "{path}: {problem}");
    }
    let (status, problem) = http::get(address, "/api/v1/sessions/0/layers?context=x");
    assert_eq!((status, &problem["field"]), (400, &json!("context")), "{problem}");
}

#[test]
fn every_question_about_a_context_that_is_not_there_has_the_same_answer() {
    let (address, _serving, _dir) = serve();
    let document: Json = serde_json::from_str(&openapi_document()).unwrap();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let parameters = operations["get"]["parameters"].as_array().into_iter().flatten();
        for name in parameters.filter_map(|p| p["name"].as_str()).filter(|name| name.ends_with("context")) {
            let own = path.replace("{id}", "0").replace("{graph}", "0");
            let with = if path.ends_with("/against") { "with=1&" } else { "" };
            let layer = if path.ends_with("/pairs") { "layer=0&" } else { "" };
            let question = format!("{own}?{with}{layer}{name}=9");
            let (status, problem) = http::get(address, &question);
            assert_eq!((status, &problem["field"]), (404, &json!(name)), "{question}: {problem}");
            let (error, help) = (problem["error"].as_str().unwrap(), problem["help"].as_str().unwrap());
            assert!(error.starts_with("there is no context 9: "), "{question}: {problem}");
            assert_eq!(help, format!("leave {name} out, or give one of these: 0 (target), 1 (draft)"), "{question}");
            asked += 1;
        }
    }
    assert!(asked >= 21, "{asked}");
}

#[test]
fn evaluations_and_operators_of_one_context_are_those_of_its_evaluations() {
    let (address, _serving, _dir) = serve();
    let whose = |path: &str| -> Vec<u64> {
        let found = get(address, path);
        found["items"].as_array().unwrap().iter().map(|item| item["context"].as_u64().unwrap()).collect()
    };
    assert_eq!(whose("/evaluations?context=1"), [1, 1]);
    let operators = get(address, "/operators?context=1&limit=1000");
    assert!(operators["items"].as_array().unwrap().iter().all(|o| o["context"] == 1));
    let all = get(address, "/operators?limit=1")["total"].as_u64().unwrap();
    let of_other = get(address, "/operators?context=0&limit=1")["total"].as_u64().unwrap();
    assert_eq!(operators["total"].as_u64().unwrap() + of_other, all);
    let ns = |query: &str| -> u64 {
        let ops = get(address, &format!("/analytics/ops{query}"));
        ops.as_array().unwrap().iter().map(|op| op["ns"].as_u64().unwrap()).sum()
    };
    assert_eq!(ns("?context=0") + ns("?context=1"), ns(""));
    assert!(ns("?context=1") < ns("?context=0"));
}
