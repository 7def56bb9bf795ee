//! Hidden states over HTTP, of a recording whose values are known: rows belong to the right tokens, shares and norms are
//! those of the values, what is not finite is counted, and what is not there says how to get it.

#[path = "support/http.rs"]
mod http;

use ggscope_format::record::Graph;
use ggscope_format::value::{Encoding, Value};
use ggscope_format::{Bytes, EvalId, GraphId, TensorId};
use ggscope_server::{Server, Serving, Sessions};
use ggscope_trace::TraceWriter;
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording, write};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::Path;

const N_EMBD: usize = 576;
const SHAPE: Shape = Shape { n_layer: 2, n_tokens: 3, n_outputs: 1, n_kv: 32 };

/// A captured tensor whose rows have one number each.
fn value(graph: &Graph, name: &str, rows: &[f32]) -> Value {
    let at = graph.tensors.iter().position(|t| t.name == name).unwrap();
    let mut numbers: Vec<f32> = rows.iter().flat_map(|&row| [row; N_EMBD]).collect();
    if name == "l_out-1" {
        numbers[7] = f32::NAN;
    }
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    Value {
        eval: EvalId(0),
        graph: GraphId(0),
        tensor: TensorId(at as u32),
        offset: 0,
        total: Bytes(bytes.len() as u64),
        encoding: Encoding::Host,
        bytes,
    }
}

/// A prompt of three tokens, of which only the last has an output row. The first layer's states are `off` times as long as
/// they would be.
fn record(path: &Path, off: f32) {
    let stored = llama(0, SHAPE);
    let mut writer = TraceWriter::create(path, false, &recording()).unwrap();
    writer.graph(stored.clone()).unwrap();
    writer.evaluation(evaluation(&stored, 0, 0, &mut Random(7))).unwrap();
    let rows: [(&str, &[f32]); 5] = [
        ("embd", &[1.0, 2.0, 3.0]),
        ("ffn_inp-0", &[2.0, 4.0, 6.0]),
        ("l_out-0", &[3.0 * off, 6.0, 9.0]),
        ("ffn_inp-1", &[18.0]),
        ("l_out-1", &[36.0]),
    ];
    for (name, rows) in rows {
        writer.value(value(&stored.graph, name, rows)).unwrap();
    }
    writer.finish().unwrap();
}

fn serve() -> (SocketAddr, Serving, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let [captured, bare, other] = ["a.ggtrace", "b.ggtrace", "c.ggtrace"].map(|name| dir.path().join(name));
    record(&captured, 1.0);
    write(&bare, SHAPE, 3, 2).finish().unwrap();
    record(&other, 1.25);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = server.address();
    let serving = server.start(Sessions::open(&[captured, bare, other]).unwrap()).unwrap();
    (address, serving, dir)
}

fn near(found: &Json, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("no number: {found}"));
    assert!((found - expected).abs() < 1e-4 * expected, "{found} is not {expected}");
}

#[test]
fn layers_have_the_norms_and_shares_of_their_values() {
    let (address, _serving, _dir) = serve();
    let (status, found) = http::get(address, "/api/v1/sessions/0/layers");
    assert_eq!(status, 200, "{found}");
    assert_eq!((&found["n_embd"], &found["tokens"]), (&json!(N_EMBD), &json!(3)));
    let layers = found["layers"].as_array().unwrap();
    let places: Vec<_> = layers.iter().map(|l| (l["layer"].as_u64(), l["tokens"].as_u64())).collect();
    assert_eq!(
        places,
        [(None, Some(3)), (Some(0), Some(3)), (Some(1), Some(1))],
        "one token goes on in the last layer"
    );
    // A row of 576 equal numbers is 24 times as long as one of them.
    near(&layers[1]["norm"]["min"], 24.0 * 3.0);
    near(&layers[1]["norm"]["max"], 24.0 * 9.0);
    let parts: Vec<&Json> = layers[1]["added"].as_array().unwrap().iter().map(|a| &a["part"]).collect();
    assert_eq!(parts, ["attention", "feed_forward"]);
    near(&layers[1]["added"][0]["share"], 1.0);
    near(&layers[1]["added"][1]["share"], 0.5);
    near(&layers[2]["added"][0]["share"], 1.0);
    near(&layers[1]["cosine"], 1.0);
    assert_eq!((&layers[2]["nan"], &layers[2]["inf"]), (&json!(1), &json!(0)));
    near(&layers[2]["norm"]["median"], (575.0_f64).sqrt() * 36.0);
    let missing = found["missing"].as_array().unwrap();
    assert!(missing.contains(&json!("attn_norm-*")), "{missing:?}");
}

#[test]
fn rows_behind_the_choice_of_output_rows_are_the_chosen_tokens() {
    let (address, _serving, _dir) = serve();
    let values = |path: &str| -> Vec<Json> {
        let (status, found) = http::get(address, path);
        assert_eq!(status, 200, "{found}");
        assert_eq!(found["layers"], json!([null, 0, 1]));
        found["rows"].as_array().unwrap().iter().map(|row| row["values"].clone()).collect()
    };
    let rms = values("/api/v1/sessions/0/layers/tokens?measure=rms");
    assert_eq!(rms, [json!([1.0, 3.0, null]), json!([2.0, 6.0, null]), json!([3.0, 9.0, 36.0])]);
    let one = values("/api/v1/sessions/0/layers/tokens?measure=nonfinite&tokens=2");
    assert_eq!(one, [json!([0.0, 0.0, 1.0])]);
}

#[test]
fn what_there_is_not_says_what_to_do() {
    let (address, _serving, _dir) = serve();
    let refused = |path: &str| {
        let (status, body) = http::get(address, &format!("/api/v1/sessions/{path}"));
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        (status, text("field"), text("help"))
    };
    let (status, field, help) = refused("1/layers");
    assert_eq!((status, field.as_str()), (404, "id"));
    assert!(help.contains("--capture layers"), "{help}");
    assert_eq!(refused("0/layers?tokens=9").0, 404);
    assert_eq!(refused("0/layers/tokens?measure=x").1, "measure");
    assert_eq!(refused("0/layers/lens?top=0").1, "top");
    let (status, _, help) = refused("0/layers/lens");
    assert_eq!(status, 404);
    assert!(help.contains("--model"), "no file is opened because a trace names it: {help}");
}

#[test]
fn two_sessions_of_one_prompt_are_compared_as_on_the_command_line() {
    let (address, _serving, dir) = serve();
    let (status, found) = http::get(address, "/api/v1/sessions/2/layers/against?with=0");
    assert_eq!(status, 200, "{found}");
    let file = |name: &str| dir.path().join(name);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ggscope"));
    command.args(["layers", "--json"]).arg(file("c.ggtrace")).arg("--against").arg(file("a.ggtrace"));
    let printed = command.output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    assert_eq!(found, serde_json::from_slice::<Json>(&printed.stdout).unwrap());
    // A state that is 1.25 times the reference is off by a quarter of it, and points the same way.
    let errors: Vec<&Json> = found["by_token"].as_array().unwrap().iter().map(|t| &t["errors"]).collect();
    near(&errors[0][1], 0.25);
    assert_eq!(
        (errors[0][0].as_f64(), errors[1], errors[2]),
        (Some(0.0), &json!([0.0, 0.0, null]), &json!([0.0, 0.0, 0.0]))
    );
    near(&found["layers"][1]["cosine"], 1.0);
    assert_eq!((&found["layers"][1]["worst"], &found["layers"][1]["tokens"]), (&json!(0), &json!(3)));
    let (status, one) = http::get(address, "/api/v1/sessions/2/layers/against?with=0&tokens=0");
    assert_eq!((status, &one["tokens"]), (200, &json!(1)));
}

#[test]
fn sessions_that_cannot_be_compared_say_which_of_both_and_why() {
    let (address, _serving, _dir) = serve();
    let refused = |path: &str| {
        let (status, body) = http::get(address, &format!("/api/v1/sessions/{path}"));
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        (status, text("field"), text("error"))
    };
    assert_eq!(refused("0/layers/against").1, "with");
    assert_eq!(refused("0/layers/against?with=9").1, "with");
    assert_eq!(refused("9/layers/against?with=0").1, "id");
    let (status, field, error) = refused("0/layers/against?with=2&tokens=7");
    assert_eq!((status, field.as_str()), (404, "tokens"), "{error}");
    assert!(error.contains("there is no token 7: the last one is 2"), "{error}");
    let (status, field, error) = refused("0/layers/against?with=1");
    assert_eq!((status, field.as_str()), (400, "with"), "{error}");
}
