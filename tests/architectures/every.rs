//! Every architecture that llama.cpp's own test generator makes, and those that it leaves out and that compute all the same:
//! a small model with random weights computes two prompts in one batch, then single tokens, with flash attention and without.
//! What is checked holds for all of them: order, sequences, phases, the layer of every operator, a meaning for every leaf, a
//! state of every layer for every token, sums of the stream, attention beside `kq_soft_max`, and what is refused.
//!
//! A third of them runs, by a seed that is printed; `GGSCOPE_ARCHITECTURES=all` runs all, any other number is the seed, and a
//! name is one of them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::ggscope::{command, dump, ggscope, info, number, record, run, text};
use crate::support::hosts;

/// The tests among which the architectures are dealt out: nextest runs them beside each other.
const SHARDS: usize = 12;

/// Those that broke a rule that all others kept once: they run always.
const ALWAYS: [&str; 14] = [
    "arctic",
    "bert",
    "deepseek4",
    "gemma2",
    "gemma3n",
    "glm5-next",
    "gpt2",
    "hrm_text",
    "jina-bert-v2",
    "llama",
    "minimax-01",
    "plamo2",
    "t5",
    "talkie",
];

/// Models whose layers hand on several streams, which are mixed and not added to: what a layer adds is not known.
const MIXED: [&str; 6] = ["deepseek4", "gemma3n", "glm5-next", "hy_v4", "kimi-k3", "qwen4exp"];

/// Models whose `l_out` is a copy of the end of a layer, or the end of a stack before something is added again.
const RENAMED: [&str; 2] = ["hy_v4", "hrm_text"];

/// Why attention is refused in models that do more than softmax(scale · Q · Kᵀ + mask). Anything else that is said is wrong.
const REFUSALS: [&str; 3] = [
    "adds a bias of its own to its products",
    "how the graph writes its K cache is not known",
    "queries and keys have shapes that do not fit each other",
];

/// One line that the generator lists: an architecture, and whether with experts.
type Model = (String, String);

/// One token that the host fed: sequence, position, id, and whether it is of an answer.
type Fed = (i64, i64, i64, bool);

struct Said {
    n_layer: usize,
    encodes: bool,
    batches: Vec<Vec<Fed>>,
}

fn host(model: &Model, flash: bool) -> Command {
    let mut host = command(hosts::archs());
    host.args(["run", "-", &model.0, &model.1, if flash { "1" } else { "0" }]);
    host
}

fn said(stdout: &str) -> Said {
    let mut said = Said { n_layer: 0, encodes: false, batches: vec![] };
    for line in stdout.lines() {
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        let token = |fed: &str| {
            let fields: Vec<&str> = fed.split(':').collect();
            let number = |i: usize| fields[i].parse::<i64>().expect("a number");
            (number(0), number(1), number(2), fields[3] == "G")
        };
        match what {
            "layers" => said.n_layer = rest.parse().expect("a number"),
            "encode" | "decode" => {
                said.encodes |= what == "encode";
                said.batches.push(rest.split_whitespace().map(token).collect());
            }
            _ => panic!("the host said {line}"),
        }
    }
    said
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn floats(value: &Value) -> Vec<f64> {
    list(value).iter().map(|n| n.as_f64().unwrap_or(f64::NAN)).collect()
}

/// What is wrong with a recording of a model.
fn wrong(model: &Model, flash: bool) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("run.ggtrace");
    let capture = ["--capture", "attention,layers,logits,kq_soft_max-*", "--ring-size", "64M"];
    let traced = run(record(&trace, &capture, &host(model, flash)));
    if !traced.status.success() {
        return vec![format!("it ended with {}: {}", traced.status, traced.stderr)];
    }
    let said = said(&traced.stdout);
    let mut wrong = vec![];
    let info = info(&trace);
    if info["dropped"]["records"] != 0 {
        wrong.push(format!("records were dropped: {}", info["dropped"]));
    }
    let rows = dump(&trace, &["--values"]);
    wrong.extend(wrong_order(&said, &info, &rows));
    wrong.extend(wrong_layers(model, &trace, &said, &rows));
    wrong.extend(wrong_sums(&rows));
    wrong.extend(wrong_places(model, &trace, &rows));
    wrong.extend(wrong_attention(&trace, &rows));
    let captured_nothing = |set: &str| traced.stderr.contains(&format!("nothing of the set `{set}`"));
    if captured_nothing("layers")
        || (captured_nothing("logits") && rows.iter().any(|r| text(r, "name") == "result_output"))
    {
        wrong.push(format!("nothing was captured: {}", traced.stderr));
    }
    wrong
}

/// Order, sequences and phases: each batch comes in its order, and its tokens have the ids that were fed.
fn wrong_order(said: &Said, info: &Value, rows: &[Value]) -> Vec<String> {
    let mut wrong = vec![];
    let fed: usize = said.batches.iter().map(Vec::len).sum();
    let (prompt, generate) = (number_or_0(&info["tokens"], "prompt"), number_or_0(&info["tokens"], "generate"));
    if (prompt + generate) as usize != fed {
        wrong.push(format!("{fed} tokens were fed, and the trace has {}", info["tokens"]));
    }
    let answers = said.batches.iter().flatten().filter(|token| token.3).count();
    if !said.encodes && generate as usize != answers {
        wrong.push(format!("{answers} tokens are of answers, and the trace has {generate}"));
    }
    // Ubatches cut a batch, and come in its place: the first tokens of evaluations are tokens of the batches in order.
    let mut first_of: BTreeMap<u64, Fed> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row["token_id"].is_null()) {
        let of = |key: &str| row[key].as_i64().unwrap_or(-1);
        let sequence = list(&row["seq_ids"]).first().and_then(Value::as_i64).unwrap_or(-1);
        first_of.entry(number(row, "eval")).or_insert((
            sequence,
            of("pos"),
            of("token_id"),
            row["phase"] == "GENERATE",
        ));
    }
    let mut batch = 0;
    for (eval, first) in first_of {
        let is_it =
            |fed: &Fed| fed.2 == first.2 && (first.0 < 0 || fed.0 == first.0) && (first.1 < 0 || fed.1 == first.1);
        match (batch..said.batches.len()).find(|&b| said.batches[b].iter().any(is_it)) {
            Some(found) => batch = found,
            None => wrong.push(format!("evaluation {eval} begins with {first:?}, which no later batch has")),
        }
    }
    wrong
}

fn number_or_0(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

/// A row for each layer of each stack, a state of each token in all but the last of them, and parts that were added.
fn wrong_layers(model: &Model, trace: &Path, said: &Said, rows: &[Value]) -> Vec<String> {
    let mut command = ggscope(&["layers", "--json"]);
    command.arg(trace);
    let finished = run(command);
    if !finished.status.success() {
        return vec![finished.stderr];
    }
    let found: Value = serde_json::from_str(&finished.stdout).expect("layers prints JSON");
    let mut wrong: Vec<String> = list(&found["lost"]).iter().map(|lost| format!("lost: {lost}")).collect();
    let mut stacks: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for layer in list(&found["layers"]) {
        stacks.entry(layer["stack"].as_str().unwrap_or("").to_owned()).or_default().push(layer);
    }
    if stacks.len() != if said.encodes && said.batches.len() > 1 { 2 } else { 1 } {
        wrong.push(format!("stacks {:?}", stacks.keys()));
    }
    let names: Vec<&str> = rows.iter().map(|row| text(row, "name")).collect();
    for (stack, layers) in stacks {
        let numbers: Vec<Option<u64>> = layers.iter().map(|layer| layer["layer"].as_u64()).collect();
        let expected: Vec<Option<u64>> = [None].into_iter().chain((0..said.n_layer as u64).map(Some)).collect();
        if numbers != expected {
            wrong.push(format!("layers {numbers:?} {stack}"));
            continue;
        }
        let tokens: Vec<u64> = layers.iter().map(|layer| number(layer, "tokens")).collect();
        let last = tokens[tokens.len() - 1];
        if tokens[..tokens.len() - 1].iter().any(|&n| n != tokens[0]) || last == 0 || last > tokens[0] {
            wrong.push(format!("states of so many tokens by layer: {tokens:?} {stack}"));
        }
        for layer in &layers[1..] {
            let n = &layer["layer"];
            if list(&layer["added"]).is_empty() && !MIXED.contains(&&*model.0) {
                wrong.push(format!("nothing is added in layer {n} {stack}"));
            }
            if list(&layer["added"]).iter().any(|part| part["norm"].is_null()) {
                wrong.push(format!("what is added in layer {n} {stack} is not known: {}", layer["added"]));
            }
            let outside = ["adapter", "control_vector", "input"];
            if list(&layer["added"]).iter().any(|part| outside.contains(&part["part"].as_str().unwrap_or(""))) {
                wrong.push(format!("something comes from outside in layer {n} {stack}: {}", layer["added"]));
            }
            // Where llama.cpp names the ends of layers, they are these.
            let is_named = names.contains(&&*format!("l_out-{n}"));
            let is_last = layer["layer"].as_u64() == Some(said.n_layer as u64 - 1);
            if is_named && layer["tensor"] != "l_out" && !is_last && !RENAMED.contains(&&*model.0) {
                wrong.push(format!("layer {n} {stack} ends with {}", layer["tensor"]));
            }
        }
    }
    wrong
}

/// A captured sum of two captured tensors of one shape is their sum.
fn wrong_sums(rows: &[Value]) -> Vec<String> {
    let mut wrong = vec![];
    let mut values: HashMap<(u64, u64), Vec<f64>> = HashMap::new();
    for row in rows.iter().filter(|row| row["value"]["data"].is_array()) {
        let data = floats(&row["value"]["data"]);
        let address = |tensor: &Value| number_or_0(tensor, "addr");
        let sources: Vec<Option<&Vec<f64>>> =
            list(&row["src"]).iter().map(|s| values.get(&(number(row, "eval"), address(s)))).collect();
        if let ("ADD", [Some(a), Some(b)]) = (text(row, "op"), &sources[..])
            && a.len() == data.len()
            && b.len() == data.len()
        {
            let far = |((sum, a), b): ((&f64, &f64), &f64)| (sum - (a + b)).abs() > 1e-4 * (a.abs() + b.abs() + 1e-3);
            if data.iter().zip(*a).zip(*b).any(far) {
                wrong.push(format!("{} of evaluation {} is not the sum of its sources", row["name"], row["eval"]));
            }
        }
        values.insert((number(row, "eval"), address(&row["dst"])), data);
    }
    wrong
}

/// The layer and the kind of each operator and each leaf.
fn wrong_places(model: &Model, trace: &Path, rows: &[Value]) -> Vec<String> {
    let mut wrong = vec![];
    for row in rows {
        let (name, op) = (text(row, "name"), text(row, "op"));
        for source in list(&row["src"]) {
            let source = text(source, "name");
            let weight = source.split_once("blk.").and_then(|(_, rest)| rest.split('.').next()?.parse::<u64>().ok());
            // Slots of this one share the weights of a few layers.
            if weight.is_some() && row["layer"].is_null() && model.0 != "hrm_text" {
                wrong.push(format!("{op} {name} takes {source} and has no layer"));
            }
            let is_embedding = ["token_embd.weight", "position_embd.weight"].contains(&source);
            if op == "GET_ROWS" && is_embedding && row["node_type"] != "embedding" {
                wrong.push(format!("{name} takes rows of {source} and is {}", row["node_type"]));
            }
        }
    }
    let mut command = ggscope(&["leaves", "--json"]);
    command.arg(trace);
    let leaves: Value = serde_json::from_str(&run(command).ok().stdout).expect("leaves prints JSON");
    let unknown = list(&leaves).iter().filter(|leaf| text(leaf, "meaning") == "unknown");
    wrong.extend(unknown.map(|leaf| format!("nobody knows what {} is for", leaf["name"])));
    wrong.sort();
    wrong.dedup();
    wrong
}

/// Attention is what llama.cpp computed, where it is in memory; what is refused is refused for a reason that is true.
fn wrong_attention(trace: &Path, rows: &[Value]) -> Vec<String> {
    let mut wrong = vec![];
    let has_attention = rows.iter().any(|row| row["op"] == "FLASH_ATTN_EXT") || !list_of_softmax(rows).is_empty();
    let finished = run(ggscope(&["attention", trace.to_str().unwrap(), "--tokens", "0..1000000"]));
    if !finished.status.success() {
        return if has_attention { vec![finished.stderr] } else { vec![] };
    }
    let is_true = |line: &&str| !REFUSALS.iter().any(|refusal| line.contains(refusal));
    wrong.extend(finished.stderr.lines().filter(is_true).map(|line| format!("attention is refused: {line}")));
    let row = |line: &str| serde_json::from_str::<Value>(line).expect("a line of JSON");
    let found: HashMap<(u64, u64), Value> =
        finished.stdout.lines().map(row).map(|row| ((number(&row, "token"), number(&row, "layer")), row)).collect();
    let mut first_of: BTreeMap<u64, u64> = BTreeMap::new();
    let mut first = 0;
    for row in rows {
        first_of.entry(number(row, "eval")).or_insert_with(|| {
            first += number(row, "n_tokens");
            first - number(row, "n_tokens")
        });
    }
    for row in list_of_softmax(rows) {
        let Some(layer) = row["layer"].as_u64() else { continue };
        let (data, ne) = (floats(&row["value"]["data"]), floats(&row["value"]["ne"]));
        let (n_kv, per_stream, n_head) = (ne[0] as usize, ne[1] as usize, ne[2] as usize);
        for i in 0..number(row, "n_tokens") as usize {
            let Some(found) = found.get(&(first_of[&number(row, "eval")] + i as u64, layer)) else { continue };
            let cells: Vec<usize> = floats(&found["cells"]).iter().map(|&cell| cell as usize).collect();
            for (h, head) in list(&found["weights"]).iter().enumerate() {
                let mut computed = vec![0.0; n_kv];
                cells.iter().zip(floats(head)).for_each(|(&cell, w)| computed[cell % n_kv] = w);
                let (stream, i) = (i / per_stream, i % per_stream);
                let Some(real) = data.get(((stream * n_head + h) * per_stream + i) * n_kv..).map(|d| &d[..n_kv]) else {
                    continue;
                };
                let worst = computed.iter().zip(real).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                if worst > 2e-3 {
                    wrong.push(format!("attention of layer {layer}, head {h}, token {i} is off by {worst}"));
                }
            }
        }
    }
    wrong
}

fn list_of_softmax(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| text(row, "name").starts_with("kq_soft_max-") && row["value"]["data"].is_array()).collect()
}

/// The models of this run.
fn models() -> Vec<Model> {
    let mut list = command(hosts::archs());
    list.arg("list");
    let all = run(list).ok().stdout;
    let all =
        all.lines().filter_map(|line| line.split_once(' ')).map(|(name, kind)| (name.to_owned(), kind.to_owned()));
    let wanted = std::env::var("GGSCOPE_ARCHITECTURES").unwrap_or_default();
    let of_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = if wanted.is_empty() { Some(of_clock()) } else { wanted.parse().ok() };
    println!("GGSCOPE_ARCHITECTURES={}", seed.map_or(wanted.clone(), |seed| seed.to_string()));
    all.filter(|(name, kind)| match seed {
        _ if wanted == "all" => true,
        None => *name == wanted,
        Some(seed) => {
            let mut hasher = DefaultHasher::new();
            (seed, name, kind).hash(&mut hasher);
            hasher.finish().is_multiple_of(3) || ALWAYS.contains(&&**name)
        }
    })
    .collect()
}

fn run_shard(shard: usize) {
    let mut failed = vec![];
    for model in models().iter().skip(shard).step_by(SHARDS) {
        for flash in [false, true] {
            let mut wrong = wrong(model, flash);
            wrong.truncate(12);
            if !wrong.is_empty() {
                let (name, kind) = model;
                failed.push(format!("{name} {kind}, flash attention {flash}:\n  {}", wrong.join("\n  ")));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

macro_rules! shards {
    ($($name:ident $number:literal)*) => {
        $(#[test]
        fn $name() {
            run_shard($number);
        })*
        const _: () = assert!([$($number),*].len() == SHARDS);
    };
}

shards! {
    part_0 0 part_1 1 part_2 2 part_3 3 part_4 4 part_5 5 part_6 6 part_7 7 part_8 8 part_9 9 part_10 10 part_11 11
}
