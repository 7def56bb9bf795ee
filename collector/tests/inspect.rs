//! The promises of `ggscope inspect`: a model in order is told in full, one that is not ends with 1 and with what is wrong,
//! and nothing that is no model hangs or costs more than it is.

use ggscope_model::testing::{self, Dtype, Fixture, Put};
use ggscope_trace::testing::{Shape, write};
use serde_json::Value as Json;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

fn ggscope(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ggscope")).args(args).output().unwrap()
}

fn inspect(path: &Path, options: &[&str]) -> Output {
    ggscope(&[&["inspect", path.to_str().unwrap()], options].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(path: &Path, options: &[&str]) -> Json {
    serde_json::from_slice(&inspect(path, &[&["--json"], options].concat()).stdout).unwrap()
}

fn written(fixture: &Fixture) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fixture.loadable().write(&path);
    (dir, path)
}

fn demo_model() -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is missing: run `make vendor`", path.display());
    path
}

#[test]
fn a_model_is_told_in_full_and_json_says_the_same() {
    let path = demo_model();
    let output = inspect(&path, &["--vram", "1GiB", "--bandwidth", "20", "--flops", "100"]);
    assert!(output.status.success());
    let text = stdout(&output);
    for told in [
        "llama, decoder",
        "GQA, 9 query heads on 3 key heads of 64",
        "134,515,008",
        "off by +11.2%",
        "−13,271,040 3 key heads for 9 query heads (GQA)",
        "all 31 layers fit",
        "answer, at most",
    ] {
        assert!(text.contains(told), "{told} is missing in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 110 && !line.ends_with(' ')), "{text}");
    let json = json(&path, &["--ctx", "8192", "--parallel", "2"]);
    let model = &json["models"][0];
    assert_eq!((&model["valid"], &model["findings"]), (&Json::Bool(true), &Json::Array(vec![])));
    assert_eq!(model["parameters"]["total"], 134_515_008);
    assert_eq!(model["architecture"]["layers"].as_array().unwrap().len(), 30);
    assert_eq!(model["memory"]["caches"]["parts"][0]["cells"], 4096);
    assert_eq!(model["memory"]["caches"]["bytes"], 2 * 30 * 2 * 192 * 4096 * 2);
    assert_eq!(model["tensors"].as_array().unwrap().len(), 272);
    assert_eq!(model["tokenizer"]["merges"], 48_900);
    let sum: i64 = model["parameters"]["textbook"]["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["parameters"].as_i64().unwrap())
        .sum();
    assert_eq!(sum, model["parameters"]["textbook"]["difference"]);
}

#[test]
fn all_keys_and_all_elements_are_there_if_they_are_wanted() {
    let path = demo_model();
    let tokens = |options: &[&str]| {
        let json = json(&path, options);
        let metadata = json["models"][0]["metadata"].as_array().unwrap().clone();
        let tokens = metadata.iter().find(|m| m["key"] == "tokenizer.ggml.tokens").unwrap().clone();
        (tokens["value"].as_array().unwrap().len(), tokens["count"].as_u64().unwrap())
    };
    assert_eq!((tokens(&[]), tokens(&["--all"])), ((8, 49_152), (49_152, 49_152)));
    let text = stdout(&inspect(&path, &["--all"]));
    assert!(text.contains("blk.29.ffn_up.weight") && text.contains("general.architecture"));
}

#[test]
fn several_models_stand_side_by_side() {
    let (_dir, other) = written(&testing::gemma3());
    let demo = demo_model();
    let output = ggscope(&["inspect", demo.to_str().unwrap(), other.to_str().unwrap(), "--ctx", "2048"]);
    assert!(output.status.success());
    let text = stdout(&output);
    assert!(text.contains("GQA 9:3 × 64") && text.contains("MQA 4:1 × 256") && text.contains("22 of 26"), "{text}");
    assert!(text.contains('█'));
}

#[test]
fn a_file_that_is_wrong_ends_with_1_and_with_offsets() {
    let bytes = testing::llama(testing::LLAMA_8B, false).first_layers(1).header();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let output = inspect(&path, &[]);
        assert_eq!(output.status.code(), Some(1));
        stdout(&output)
    };
    assert!(with(&|b| b[4..8].reverse()).contains("damaged  byte 4: a big-endian file"));
    assert!(
        with(&|b| b[16..24].fill(0xff))
            .contains("damaged  byte 16: the number of metadata pairs is 18446744073709551615")
    );
    assert!(with(&|b| b.truncate(100)).contains("damaged  byte"));
    assert!(with(&|_| {}).contains("refused"), "weights are missing");
    assert!(with(&|b| b.clear()).contains("the file is empty"));
    let json: Json = serde_json::from_slice(&inspect(&path, &["--json"]).stdout).unwrap();
    assert_eq!(json["models"][0]["valid"], false);
}

#[test]
fn what_is_no_file_is_named_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let _socket = UnixListener::bind(path("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let cases = [
        (dir.path().to_owned(), "it is a directory"),
        (path("socket"), "it is a socket"),
        (path("pipe"), "it is a pipe"),
        ("/dev/zero".into(), "it is a device"),
        (path("absent"), "No such file"),
    ];
    for (path, what) in cases {
        let start = Instant::now();
        let output = inspect(&path, &[]);
        assert_eq!(output.status.code(), Some(1), "{}", path.display());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(what) && said.lines().count() == 1, "{said}");
        assert!(start.elapsed().as_secs() < 5);
    }
}

#[test]
fn a_trace_is_no_damaged_model_and_the_command_for_it_is_named() {
    let (_dir, model) = written(&testing::llama(testing::LLAMA_8B, false).first_layers(1));
    let trace = model.with_file_name("run.ggtrace");
    write(&trace, Shape::default(), 1, 1).finish().unwrap();
    // Whatever it is called, and whatever stands beside it.
    let renamed = model.with_file_name("renamed.gguf");
    std::fs::copy(&trace, &renamed).unwrap();
    let page = model.with_file_name("page.gguf");
    std::fs::write(&page, "<html>").unwrap();
    let is_trace = "is not a GGUF file but a trace that ggscope recorded: `ggscope info` summarizes it";
    let model = model.to_str().unwrap();
    for (path, options, what) in [
        (&trace, &[][..], is_trace),
        (&renamed, &["--all"], is_trace),
        (&trace, &[model], is_trace),
        (&page, &[], "is not a GGUF file but a web page or XML"),
    ] {
        let output = inspect(path, options);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{said}");
        assert!(said.lines().count() == 1 && said.contains(&format!("{} {what}", path.display())), "{said}");
    }
    assert_eq!(inspect(&trace, &["--json"]).status.code(), Some(1));
    let json = json(&trace, &[]);
    assert_eq!(json["models"][0]["valid"], false);
    assert!(json["models"][0]["findings"].to_string().contains("`ggscope info` summarizes it"), "{json}");
}

#[test]
fn a_name_that_a_terminal_would_obey_is_shown() {
    let mut fixture = testing::llama(testing::LLAMA_8B, false).first_layers(1);
    fixture.general("general.name", Put::Text("\x1b[2J gone".into())).general("tokenizer.ggml.model", "\x1b]0;x\x07");
    let (_dir, path) = written(&fixture);
    let output = inspect(&path, &["--all"]);
    assert!(!output.stdout.contains(&0x1b) && !output.stdout.contains(&7));
}

#[test]
fn a_model_in_parts_is_one_and_a_missing_part_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let paths = testing::split(&testing::qwen3moe().reduced(4, 8).loadable(), dir.path(), 3);
    let whole = json(&paths[1], &[]);
    assert_eq!(whole["models"][0]["files"]["paths"].as_array().unwrap().len(), 3);
    assert_eq!(whole["models"][0]["valid"], true, "{}", whole["models"][0]["findings"]);
    std::fs::remove_file(&paths[2]).unwrap();
    let output = inspect(&paths[0], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("a part of the model is missing"), "{}", stdout(&output));
}

#[test]
fn every_kind_of_model_is_reported_without_complaint() {
    for (name, fixture) in [
        ("gpt-oss", testing::gpt_oss()),
        ("deepseek2", testing::deepseek2()),
        ("jamba", testing::jamba()),
        ("mamba", testing::mamba()),
        ("rwkv6", testing::rwkv6()),
        ("bert", testing::bert()),
        ("t5", testing::t5()),
        ("vocabulary", testing::vocabulary_only()),
    ] {
        let (_dir, path) = written(&fixture);
        let output = inspect(&path, &["--vram", "8GiB", "--bandwidth", "50", "--flops", "500"]);
        assert!(output.status.success(), "{name}: {}", stdout(&output));
        assert!(output.stderr.is_empty(), "{name}");
    }
}

#[test]
fn what_llama_cpp_refuses_has_no_caches_and_no_costs() {
    let mut fixture = testing::llama(testing::LLAMA_8B, false).first_layers(2);
    fixture.set("rope.scaling.type", "ntk");
    let (_dir, path) = written(&fixture);
    let output = inspect(&path, &["--bandwidth", "50", "--flops", "500"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("refused  byte") && text.contains("rope"), "{text}");
    assert!(!text.contains("FLOPs") && !text.contains("cache") && !text.contains("context of 4"), "{text}");
    let model = &json(&path, &[])["models"][0];
    assert_eq!((&model["memory"]["caches"], &model["memory"]["total_bytes"]), (&Json::Null, &Json::Null));
    assert_eq!(model["costs"]["generate"], Json::Array(vec![]));
}

#[test]
fn files_that_are_no_models_are_told_as_what_they_are() {
    let mut matrix = Fixture::default();
    matrix.general("general.type", "imatrix").general("imatrix.chunk_count", 2_u32);
    matrix.tensor("blk.0.attn_q.weight.in_sum2", Dtype::F32, &[64]);
    matrix.tensor("blk.0.attn_q.weight.counts", Dtype::F32, &[1]);
    let mut vector = Fixture::new("controlvector");
    vector.tensor("direction.1", Dtype::F32, &[64]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.gguf");
    for (fixture, kind, name) in
        [(&matrix, "importance_matrix", "importance matrix"), (&vector, "control_vector", "control vector")]
    {
        fixture.write(&path);
        let output = inspect(&path, &[]);
        let text = stdout(&output);
        assert!(output.status.success() && text.contains(name), "{text}");
        assert!(!text.contains("FLOPs") && !text.contains("attention "), "{text}");
        assert_eq!(json(&path, &[])["models"][0]["contents"]["kind"], kind);
    }
    let mut broken = vector.clone();
    broken.tensor("direction.0", Dtype::F32, &[64]);
    broken.write(&path);
    assert_eq!(inspect(&path, &[]).status.code(), Some(1));
}

#[test]
fn a_name_that_is_no_utf8_is_kept_as_its_bytes() {
    let mut fixture = testing::llama(testing::LLAMA_8B, false).first_layers(1);
    for name in ["@@1", "@@2"] {
        fixture.tensor(name, Dtype::F32, &[8]);
    }
    let (_dir, path) = written(&fixture);
    let mut bytes = fixture.loadable().header();
    for (name, byte) in [(b"@@1", 0xff), (b"@@2", 0xfe)] {
        let at = bytes.windows(3).position(|window| window == name).unwrap();
        bytes[at..at + 3].copy_from_slice(&[b'x', byte, b'y']);
    }
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&bytes).unwrap();
    let model = &json(&path, &[])["models"][0];
    let names: Vec<&str> = model["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"x\\xffy") && names.contains(&"x\\xfey"), "{names:?}");
    let said = model["findings"].to_string();
    assert!(said.contains("are not used: ") && !said.contains("twice") && !said.contains('\u{fffd}'), "{said}");
}

#[test]
fn a_file_of_holes_costs_what_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holes.gguf");
    let size = 256_u64 << 20;
    let mut header = b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    header.extend(((size - 24) / 13).to_le_bytes());
    let mut strings =
        b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a\x09\0\0\0\x08\0\0\0".to_vec();
    strings.extend((size / 8 - 100).to_le_bytes());
    for bytes in [header, strings] {
        std::fs::write(&path, bytes).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size).unwrap();
        let script = "ulimit -d 150000; exec \"$0\" inspect --all --json \"$1\"";
        let output =
            Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_ggscope")]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["models"][0]["findings"][0]["severity"], "damaged");
        assert!(output.stdout.len() < 1 << 20, "{} bytes", output.stdout.len());
    }
}
