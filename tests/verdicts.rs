//! The verdicts of `ggscope inspect` against llama.cpp's: headers of every architecture that llama.cpp's own generator makes,
//! and real ones, changed at random; llama.cpp loads each as programs do and says what it thinks.
//!
//! `GGSCOPE_MUTATIONS=SEED:COUNT` tries others: 5,000 of any seed have to agree.

#[path = "verdicts/file.rs"]
mod file;
#[path = "verdicts/mutate.rs"]
mod mutate;
#[path = "support/mod.rs"]
mod support;

use crate::file::Model;
use crate::mutate::{Random, mutate};
use crate::support::{hosts, vendored};
use ggscope_model::gguf::Severity;
use ggscope_model::inspect::memory::Context;
use ggscope_model::inspect::{InspectOptions, Inspection};
use ggscope_model::testing::{self, Fixture};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tried in every run.
const SEED: u64 = 18;
const COUNT: usize = 300;

/// Files that are written at once.
const BATCH: usize = 100;

/// What llama.cpp does with each file: the bytes of its caches, or why it refuses it.
fn llama_cpp(paths: &[PathBuf]) -> Vec<Result<u64, String>> {
    let mut host = Command::new(hosts::verdicts())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .env_remove("LD_PRELOAD")
        .env("GGML_NO_BACKTRACE", "1")
        .spawn()
        .expect("verdicts runs");
    let mut stdin = host.stdin.take().unwrap();
    let names: String = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    let write = std::thread::spawn(move || stdin.write_all(names.as_bytes()));
    let lines = BufReader::new(host.stdout.take().unwrap()).split(b'\n');
    let said: Vec<String> = lines.map(|line| String::from_utf8_lossy(&line.unwrap()).into_owned()).collect();
    write.join().unwrap().unwrap();
    assert!(host.wait().unwrap().success());
    assert_eq!(said.len(), paths.len(), "{:?}", said.last());
    let verdict = |line: &String| match line.strip_prefix("loads ") {
        Some(bytes) => Ok(bytes.parse().expect("a number of bytes")),
        None => Err(line.trim_start_matches("refuses ").to_owned()),
    };
    said.iter().map(verdict).collect()
}

/// What ggscope says of a file: the bytes of its caches, or why llama.cpp refuses it. `None` if it is no model: llama.cpp,
/// which is asked for one, does not look at that.
fn ggscope(path: &Path) -> Option<Result<Option<u64>, String>> {
    let context = Context::new(512);
    let wanted = InspectOptions { context, context_of_model: None, vram: None, all: false };
    let told = Inspection::of_path(path, &wanted).expect("the file is there");
    if told.contents.is_some() {
        return None;
    }
    Some(match told.findings.into_iter().find(|f| f.severity > Severity::Notice) {
        Some(refused) => Err(refused.what),
        None => Ok(told.memory.caches.filter(|caches| caches.inexact.is_none()).map(|caches| caches.bytes)),
    })
}

/// Whether two verdicts are the same, and the same caches follow from the file.
fn agree(theirs: &Result<u64, String>, ours: &Result<Option<u64>, String>) -> bool {
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => ours.is_none_or(|ours| ours == *theirs),
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Of two verdicts that differ, what each says.
fn differences(dir: &Path, made: &[(String, Model)]) -> Vec<String> {
    let paths: Vec<PathBuf> = (0..made.len()).map(|i| dir.join(format!("{i}.gguf"))).collect();
    made.iter().zip(&paths).for_each(|((_, model), path)| model.write(path));
    let theirs = llama_cpp(&paths);
    let judged = made.iter().zip(&paths).zip(theirs).filter_map(|(((what, _), path), theirs)| {
        let ours = ggscope(path)?;
        let differ = !agree(&theirs, &ours);
        differ.then(|| format!("{what}\n    llama.cpp: {theirs:?}\n    ggscope: {ours:?}"))
    });
    judged.collect()
}

/// Headers of all architectures that the generator makes, by their names.
fn generated() -> BTreeMap<String, Model> {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(hosts::arch_headers()).arg(dir.path()).status().expect("arch_headers runs");
    assert!(made.success());
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let model = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, Model::parse(&std::fs::read(path).unwrap()))
    };
    files.map(model).collect()
}

/// Headers of models that exist, or nearly so.
fn real() -> Vec<(String, Model)> {
    let fixtures: [(&str, Fixture); 12] = [
        ("llama", testing::llama(testing::LLAMA_8B, false)),
        ("gemma3", testing::gemma3()),
        ("gemma3n", testing::gemma3n()),
        ("gpt-oss", testing::gpt_oss()),
        ("qwen3moe", testing::qwen3moe()),
        ("deepseek2", testing::deepseek2()),
        ("mamba", testing::mamba()),
        ("jamba", testing::jamba()),
        ("rwkv6", testing::rwkv6()),
        ("bert", testing::bert()),
        ("gpt2", testing::gpt2()),
        ("t5", testing::t5()),
    ];
    let small = fixtures.into_iter().map(|(name, fixture)| {
        let whole = matches!(name, "gemma3n" | "t5");
        let fixture = if whole { fixture } else { fixture.reduced(7, 8) };
        (format!("real {name}"), Model::parse(&fixture.loadable().header()))
    });
    let demo = ("the demo model".to_owned(), Model::parse(&std::fs::read(vendored::demo_model()).unwrap()));
    small.chain([demo]).collect()
}

fn wanted() -> (u64, usize) {
    let Ok(text) = std::env::var("GGSCOPE_MUTATIONS") else { return (SEED, COUNT) };
    let (seed, count) = text.split_once(':').expect("SEED:COUNT");
    (seed.parse().expect("a seed"), count.parse().expect("a count"))
}

#[test]
fn verdicts_on_changed_headers_are_those_of_llama_cpp() {
    let dir = tempfile::tempdir().unwrap();
    let mut models: Vec<(String, Model)> = generated().into_iter().collect();
    assert!(models.len() >= 120, "{} models", models.len());
    models.extend(real());
    let (seed, count) = wanted();
    let mut random = Random(seed);
    let mut found = vec![];
    for done in (0..count).step_by(BATCH) {
        let made = (0..BATCH.min(count - done)).map(|_| {
            let (name, model) = &models[random.below(models.len())];
            let mut model = model.clone();
            let mut what = format!("{name}: {}", mutate(&mut model, &mut random));
            if random.below(7) == 0 && !model.keys.is_empty() && !model.tensors.is_empty() {
                what = format!("{what}; {}", mutate(&mut model, &mut random));
            }
            (what, model)
        });
        found.extend(differences(dir.path(), &made.collect::<Vec<_>>()));
    }
    assert!(found.is_empty(), "{} of {count} differ (seed {seed}):\n{}", found.len(), found.join("\n"));
}

#[test]
fn unchanged_headers_are_judged_as_llama_cpp_does() {
    let dir = tempfile::tempdir().unwrap();
    let models: Vec<(String, Model)> = generated().into_iter().chain(real()).collect();
    let found = differences(dir.path(), &models);
    assert!(found.is_empty(), "{}", found.join("\n"));
}
