//! What leaves for a terminal or a pipe: no file and no argument makes a command send what a terminal would obey, and no
//! command complains that its reader has seen enough.

use ggscope_model::testing::{self, Dtype, Fixture};
use ggscope_trace::testing::{Shape, write};
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const HOSTILE: &str = "k\x1b[2J\x1b]0;title\x07\u{9b}31m\u{202e}\u{2066}\u{200b}\r\n";

fn ggscope(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ggscope"));
    command.args(args).stdin(Stdio::null());
    command
}

/// A pipe that no one reads.
fn closed_pipe() -> Stdio {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are owned from then on.
    let [reader, writer] = unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        ends.map(|end| File::from_raw_fd(end))
    };
    drop(reader);
    writer.into()
}

fn trace(dir: &Path) -> PathBuf {
    let path = dir.join("run.ggtrace");
    write(&path, Shape { n_kv: 32, ..Shape::default() }, 5, 9).finish().unwrap();
    path
}

fn model(dir: &Path) -> PathBuf {
    let path = dir.join("model.gguf");
    testing::llama(testing::LLAMA_8B, false).write(&path);
    path
}

#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let (trace, model) = (trace(dir.path()), model(dir.path()));
    let (t, m) = (trace.to_str().unwrap(), model.to_str().unwrap());
    let mut calls: Vec<Vec<&str>> = vec![
        vec!["info", t],
        vec!["info", t, "--json"],
        vec!["dump", t],
        vec!["dump", t, "--jsonl"],
        vec!["leaves", t],
        vec!["leaves", t, "--json"],
        vec!["graph", t],
        vec!["graph", t, "--format", "dot"],
        vec!["graph", t, "--format", "graphml"],
        vec!["graph", t, "--format", "gexf"],
        vec!["graph", t, "--analytics"],
        vec!["diff", t, t],
        vec!["diff", t, t, "--json"],
        vec!["inspect", m],
        vec!["inspect", m, "--json", "--all"],
        vec!["inspect", m, m],
        vec!["arch", m],
        vec!["arch", m, "--json"],
        vec!["quant", m],
        vec!["quant", m, "--json"],
        vec!["--help"],
        vec!["dump", "--help"],
        vec!["--version"],
    ];
    for format in ["csv", "json", "chrome", "perfetto", "parquet", "dot"] {
        calls.push(vec!["export", t, "--format", format, "-o", "-"]);
        calls.push(vec!["export", t, "--format", format, "-o", "/dev/stdout"]);
    }
    for args in calls {
        let output = ggscope(&args).stdout(closed_pipe()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && said.is_empty(), "{args:?}: {:?} {said}", output.status);
    }
}

/// What a terminal would obey, or what reorders text.
fn obeyed(bytes: &[u8]) -> Vec<char> {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let is_obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|&c| is_obeyed(c)).collect()
}

#[test]
fn no_command_sends_what_a_terminal_would_obey() {
    let dir = tempfile::tempdir().unwrap();
    let trace = trace(dir.path());
    let mut fixture = testing::llama(testing::LLAMA_8B, false).first_layers(1);
    fixture.general(HOSTILE, HOSTILE).general("general.name", HOSTILE).tensor(HOSTILE, Dtype::F32, &[4]);
    let (valid, twice) = (dir.path().join("valid.gguf"), dir.path().join("twice.gguf"));
    fixture.write(&valid);
    fixture.general(HOSTILE, "again").write(&twice);
    let named = dir.path().join(format!("named {}", HOSTILE.trim_end()));
    Fixture::new(HOSTILE).write(&named);
    let (t, named) = (trace.to_str().unwrap(), named.to_str().unwrap());
    let absent = format!("/absent/{HOSTILE}");
    for m in [valid.to_str().unwrap(), twice.to_str().unwrap(), named, &absent] {
        let calls: Vec<Vec<&str>> = vec![
            vec!["inspect", m],
            vec!["inspect", m, "--all"],
            vec!["inspect", m, "--json", "--all"],
            vec!["inspect", m, m],
            vec!["quant", m],
            vec!["quant", m, HOSTILE],
            vec!["quant", m, "--json"],
            vec!["quant", m, "--reference", m],
            vec!["arch", m],
            vec!["arch", m, "--json"],
            vec!["info", m],
            vec!["dump", m],
            vec!["export", m, "--format", "csv", "-o", "-"],
            vec!["layers", t, "--lens", "--model", m],
            vec!["diff", t, m],
            vec![m],
            vec!["dump", t, "--op", m],
            vec!["dump", t, m],
            vec!["dump", t, "--layer", m],
            vec!["graph", m],
            vec!["record", m],
            vec!["record", "-o", m, "--", "true"],
            vec!["record", "--", m],
            vec!["record", "--capture", m, "-o", "/dev/null", "--", "true"],
            vec!["export", t, "--format", m],
        ];
        for args in calls {
            let output = ggscope(&args).output().unwrap();
            assert_eq!(obeyed(&output.stdout), [], "{args:?} on stdout");
            assert_eq!(obeyed(&output.stderr), [], "{args:?} on stderr");
        }
    }
    for m in [valid, twice] {
        let mut page = ggscope(&["open", m.to_str().unwrap(), "--no-open", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while page.try_wait().unwrap().is_none() && begin.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = page.kill();
        let (mut out, mut err) = (vec![], vec![]);
        page.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        page.stderr.take().unwrap().read_to_end(&mut err).unwrap();
        page.wait().unwrap();
        assert_eq!((obeyed(&out), obeyed(&err)), (vec![], vec![]));
    }
}

#[test]
fn json_has_the_same_texts_with_its_own_escapes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    testing::llama(testing::LLAMA_8B, false).first_layers(1).general("general.author", HOSTILE).write(&path);
    let output = ggscope(&["inspect", path.to_str().unwrap(), "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let pairs = json["models"][0]["metadata"].as_array().unwrap();
    let author = pairs.iter().find(|pair| pair["key"] == "general.author").unwrap();
    assert_eq!(author["value"], HOSTILE);
}

#[test]
fn what_a_user_may_have_meant_is_proposed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (trace, model) = (trace(dir.path()), model(dir.path()));
    let (t, m) = (trace.to_str().unwrap(), model.to_str().unwrap());
    let ran = dir.path().join("ran");
    let touch = ["touch", ran.to_str().unwrap()];
    let calls: Vec<(Vec<&str>, &str)> = vec![
        (vec!["info", m], "`ggscope inspect`"),
        (vec!["inspect", t], "`ggscope info`"),
        (vec!["record", "touch", touch[1]], "ggscope record -- touch"),
        (vec!["record", "-o", "x.ggtrace", "touch", touch[1]], "ggscope record -o x.ggtrace -- touch"),
        (vec![t], "ggscope info"),
        (vec![m], "ggscope inspect"),
        (vec!["dump", t, "--op", "mul_matt"], "MUL_MAT"),
        (vec!["record", "--capture", "attentoin", "--", touch[0], touch[1]], "did you mean `attention`?"),
        (vec!["record", "--capture", "logits,layer", "--", touch[0], touch[1]], "did you mean `layers`?"),
        (vec!["dump", t, "--layer", "7..5"], "5..7"),
    ];
    for (args, expected) in calls {
        let output = ggscope(&args).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains(expected), "{args:?}: {said}");
        assert!(!ran.exists(), "{args:?}: the program was started");
    }
}

#[test]
fn dump_prints_what_an_operator_wrote_before_what_it_read_and_values_without_json() {
    let dir = tempfile::tempdir().unwrap();
    let trace = trace(dir.path());
    let output = ggscope(&["dump", trace.to_str().unwrap(), "--values", "--limit", "3"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
