//! Two contexts of two models in one recording, over HTTP: every answer is of one of them and names it, and every question can
//! choose.

#[path = "support/http.rs"]
mod http;

use ggscope_format::capture::Capture;
use ggscope_format::record::Evaluation;
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
            if path.starts_with("/api/v1/models/") {
                // Of a session that ran the model: these have none.
                continue;
            }
            let own = path.replace("{id}", "0").replace("{graph}", "0");
            let with = match path.rsplit('/').next() {
                Some("against") => "with=1&",
                Some("compare") => "a=0&b=1&",
                Some("export") => "format=csv&",
                _ => "",
            };
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
    assert!(asked >= 32, "{asked}");
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

/// Routes without a context: what they answer is of the process, of one evaluation or graph, of a model's file, or of no
/// session at all.
const WITHOUT: [&str; 15] = [
    "/api/v1/live",
    "/api/v1/models",
    "/api/v1/models/{id}",
    "/api/v1/models/{id}/quant",
    "/api/v1/models/{id}/blocks",
    "/api/v1/models/{id}/tensor",
    "/api/v1/openapi.json",
    "/api/v1/sessions",
    "/api/v1/sessions/{id}/capture",
    "/api/v1/sessions/{id}/capture/estimate",
    "/api/v1/sessions/{id}/evaluations/{eval}/spans",
    "/api/v1/sessions/{id}/graphs/{graph}",
    "/api/v1/sessions/{id}/graphs/{graph}/analytics",
    "/api/v1/sessions/{id}/residency",
    "/metrics",
];

#[test]
fn every_list_and_sum_of_a_session_has_a_filter_for_its_context() {
    let document: Json = serde_json::from_str(&openapi_document()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let parameters = operations["get"]["parameters"].as_array().into_iter().flatten();
        let filters = parameters.filter_map(|p| p["name"].as_str()).any(|name| name.ends_with("context"));
        assert!(filters != WITHOUT.contains(&path.as_str()), "{path}");
    }
}

#[test]
fn sums_are_of_one_context_and_name_it() {
    let (address, _serving, _dir) = serve();
    let contexts = |path: &str| -> Vec<Json> {
        let found = get(address, path);
        let rows = found.as_array().or(found["items"].as_array()).unwrap_or_else(|| panic!("{path}: {found}"));
        rows.iter().map(|row| json!(row.get("context").or(row.get("contexts")))).collect()
    };
    for path in ["/graphs", "/reached", "/analytics/ops", "/analytics/layers", "/evaluations"] {
        let all = contexts(path);
        let of = |n: u32| contexts(&format!("{path}?context={n}"));
        assert!(of(0).iter().all(|c| *c == 0) && of(1).iter().all(|c| *c == 1), "{path}");
        assert!(!of(1).is_empty() && of(0).len() + of(1).len() == all.len(), "{path}");
    }
    for path in ["/places", "/memory", "/weights"] {
        let of = |n: u32| contexts(&format!("{path}?context={n}"));
        assert!(of(0).iter().all(|c| *c == json!([0])) && of(1).iter().all(|c| *c == json!([1])), "{path}");
        assert!(!of(1).is_empty(), "{path}");
    }
    // A weight of one name in two models is two.
    let weights = get(address, "/weights");
    let models = |name: &str| -> Vec<&Json> {
        weights.as_array().unwrap().iter().filter(|w| w["name"] == name).map(|w| &w["model"]).collect()
    };
    assert_eq!(models("blk.0.attn_q.weight"), [&json!(0), &json!(1)]);
    assert_eq!(models("blk.1.attn_q.weight"), [&json!(0)]);
    // Layer 1 of the target is nothing of the draft's, and layer 0 of both is no one number.
    let layers = get(address, "/analytics/layers");
    let numbers: Vec<Json> =
        layers.as_array().unwrap().iter().map(|row| json!([row["context"], row["layer"]])).collect();
    assert_eq!(numbers, [json!([0, 0]), json!([0, 1]), json!([0, null]), json!([1, 0]), json!([1, null])]);
    for path in ["/analytics/histogram", "/analytics/layer-tokens"] {
        let of = |query: &str| get(address, &format!("{path}{query}"));
        assert_eq!(of("")["context"], 0, "{path}: of the first model");
        assert_eq!(of("")["bins"], of("?context=0")["bins"], "{path}");
        assert_eq!((&of("?context=1")["context"], &of("?tokens=3..4")["context"]), (&json!(1), &json!(1)), "{path}");
        assert_eq!(of("?evals=3")["context"], 1, "{path}: the evaluation is of this context");
        assert_ne!(of("?context=0")["bins"], of("?context=1")["bins"], "{path}");
    }
    assert_eq!(get(address, "/evaluations/1/spans")["context"], 1);
    assert_eq!(get(address, "/analytics/access")["context"], 0);
    let access = get(address, "/analytics/access?context=1");
    assert_eq!((&access["context"], &access["eval"]), (&json!(1), &json!(1)));
    let (status, problem) = http::get(address, "/api/v1/sessions/0/analytics/access?context=1&eval=0");
    assert_eq!((status, &problem["error"]), (404, &json!("session 0 has no evaluation 0 of context 1")));
}

#[test]
fn two_sessions_are_compared_context_by_context() {
    let (address, _serving, _dir) = serve();
    let of = |query: &str| {
        let (status, found) = http::get(address, &format!("/api/v1/compare?a=0&b=1{query}"));
        assert_eq!(status, 200, "{query}: {found}");
        ["a", "b"].map(|side| json!([found[side]["context"], found[side]["other_contexts"], found[side]["tokens"]]))
    };
    assert_eq!(of(""), [json!([0, [1], 4]), json!([0, [1], 4])]);
    assert_eq!(of("&a_context=1"), [json!([1, [0], 4]), json!([1, [0], 4])], "the one of the same number");
    assert_eq!(of("&b_context=1"), [json!([0, [1], 4]), json!([1, [0], 4])]);
}

#[test]
fn tokens_of_unknown_phase_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let stored = llama(0, Shape { n_layer: 1, n_tokens: 3, n_outputs: 1, ..Shape::default() });
    let known = evaluation(&stored, 0, 0, &mut Random(1));
    let unknown = Evaluation { eval: EvalId(1), sequences: vec![], ..known.clone() };
    let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
    writer.graph(stored).unwrap();
    writer.evaluation(known).unwrap();
    writer.evaluation(unknown).unwrap();
    writer.finish().unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = server.address();
    let _serving = server.start(Sessions::open(&[path]).unwrap()).unwrap();
    let phases = |query: &str| -> Vec<Json> {
        let found = get(address, &format!("/operators?limit=1000&phase={query}"));
        found["items"].as_array().unwrap().iter().map(|o| json!([o["eval"], o["phase"]])).collect()
    };
    let (prompt, unknown) = (phases("prompt"), phases("unknown"));
    assert!(!prompt.is_empty() && prompt.iter().all(|o| *o == json!([0, "PROMPT"])), "{prompt:?}");
    assert!(unknown.len() == prompt.len() && unknown.iter().all(|o| *o == json!([1, null])), "{unknown:?}");
    let ops = get(address, "/analytics/ops?phase=unknown");
    assert!(ops.as_array().unwrap().iter().all(|op| op["phase"].is_null()) && ops[0]["count"].is_u64(), "{ops}");
    let (status, problem) = http::get(address, "/api/v1/sessions/0/operators?phase=answer");
    assert_eq!((status, &problem["help"]), (400, &json!("give prompt or generate or unknown")));
}
