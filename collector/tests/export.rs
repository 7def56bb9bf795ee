//! The promises of `ggscope export`, `ggscope diff` and their routes: a file is there as a whole or not at all, nothing is
//! overwritten unasked, and a download is what the command line writes.

#[path = "support/document.rs"]
mod document;

use ggscope_query::compare::{By, compare};
use ggscope_query::dump::Phase;
use ggscope_server::{Server, Serving, Sessions};
use ggscope_trace::Trace;
use ggscope_trace::testing::{Shape, write};
use serde_json::{Value as Json, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

const FORMATS: [(&str, &str); 6] = [
    ("perfetto", "pftrace"),
    ("chrome", "chrome.json"),
    ("csv", "csv"),
    ("json", "json"),
    ("parquet", "parquet"),
    ("dot", "dot"),
];

/// A folder with two traces: `a.ggtrace` and `b "x".ggtrace`.
fn traces() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.ggtrace"), dir.path().join("b \"x\".ggtrace"));
    let shape = Shape { n_layer: 2, n_tokens: 1, n_outputs: 1, n_kv: 32 };
    write(&a, shape, 5, 9).finish().unwrap();
    write(&b, Shape { n_layer: 3, ..shape }, 4, 6).finish().unwrap();
    (dir, a, b)
}

fn ggscope(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ggscope")).current_dir(dir).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        dir.read_dir().unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_format_is_written_to_the_file_that_was_named() {
    let (dir, _, _) = traces();
    for (format, extension) in FORMATS {
        let name = format!("out.{extension}");
        let done = ggscope(dir.path(), &["export", "a.ggtrace", "--format", format, "-o", &name]);
        assert!(done.status.success() && said(&done).contains(&format!("→ {name}")), "{format}: {done:?}");
        assert!(done.stdout.is_empty() && dir.path().join(&name).metadata().unwrap().len() > 0, "{format}");
    }
    assert!(names(dir.path()).iter().all(|name| !name.ends_with(".part")), "{:?}", names(dir.path()));
}

#[test]
fn without_a_name_text_goes_to_stdout_and_the_rest_to_a_file_named_after_the_trace() {
    let (dir, _, _) = traces();
    for (format, extension) in FORMATS {
        let done = ggscope(dir.path(), &["export", "a.ggtrace", "--format", format]);
        assert!(done.status.success(), "{format}: {done:?}");
        let is_file = dir.path().join(format!("a.{extension}")).exists();
        assert_eq!((is_file, done.stdout.is_empty()), (!["chrome", "csv", "json", "dot"].contains(&format), is_file));
    }
    let rows: Json =
        serde_json::from_slice(&ggscope(dir.path(), &["export", "a.ggtrace", "-f", "json"]).stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 440);
    let parquet = ggscope(dir.path(), &["export", "a.ggtrace", "-f", "parquet", "-o", "-"]);
    assert_eq!((&parquet.stdout[..4], parquet.status.success()), (&b"PAR1"[..], true), "if it is asked for");
}

#[test]
fn a_file_that_is_there_is_replaced_only_with_force() {
    let (dir, _, _) = traces();
    let path = dir.path().join("out.csv");
    std::fs::write(&path, "mine").unwrap();
    let args = ["export", "a.ggtrace", "--format", "csv", "-o", "out.csv"];
    let refused = ggscope(dir.path(), &args);
    assert!(!refused.status.success() && said(&refused).contains("exists already"), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    let forced = ggscope(dir.path(), &[&args[..], &["--force"]].concat());
    assert!(forced.status.success() && std::fs::read_to_string(&path).unwrap().starts_with("eval,seq,graph,context,"));
    let into_a_directory = ggscope(dir.path(), &["export", "a.ggtrace", "--format", "csv", "-o", ".", "--force"]);
    assert!(said(&into_a_directory).contains("it is a directory"));
    let device = ggscope(dir.path(), &["export", "a.ggtrace", "--format", "csv", "-o", "/dev/null"]);
    assert!(device.status.success(), "{device:?}");
    let full = ggscope(dir.path(), &["export", "a.ggtrace", "--format", "csv", "-o", "/dev/full"]);
    assert!(!full.status.success() && said(&full).contains("cannot write /dev/full"), "{full:?}");
}

#[test]
fn an_export_that_fails_leaves_nothing_behind() {
    let (dir, _, _) = traces();
    let before = names(dir.path());
    for (args, reason) in [
        (&["--format", "dot", "--layer", "9"][..], "has no layer 9: it has layers 0 to 1"),
        (&["--format", "dot", "--token", "3"], "the format dot takes none"),
        (&["--format", "csv", "--graph", "1"], "only the format dot is of one graph"),
        (&["--format", "xml"], "invalid value 'xml'"),
    ] {
        let refused = ggscope(dir.path(), &[&["export", "a.ggtrace", "-o", "out"], args].concat());
        assert!(!refused.status.success() && said(&refused).contains(reason), "{args:?}: {refused:?}");
    }
    let nowhere = ggscope(dir.path(), &["export", "a.ggtrace", "-f", "csv", "-o", "missing/out.csv"]);
    assert!(said(&nowhere).contains("cannot write missing/out.csv"), "{nowhere:?}");
    assert_eq!(names(dir.path()), before);
}

#[test]
fn an_export_that_is_ended_by_a_signal_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let (dir, _, _) = traces();
    // Of a kind that takes seconds.
    let long = dir.path().join("long.ggtrace");
    write(&long, Shape { n_layer: 30, n_tokens: 1, n_outputs: 1, n_kv: 32 }, 1, 4000).finish().unwrap();
    let before = names(dir.path());
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let mut export = Command::new(env!("CARGO_BIN_EXE_ggscope"))
            .current_dir(dir.path())
            .args(["export", "long.ggtrace", "-f", "json", "-o", "out.json"])
            .spawn()
            .unwrap();
        let begin = std::time::Instant::now();
        while !names(dir.path()).iter().any(|name| name.ends_with(".part")) {
            assert!(begin.elapsed() < Duration::from_secs(20) && export.try_wait().unwrap().is_none());
        }
        // SAFETY: plain numbers; the process is our child and not reaped.
        unsafe { libc::kill(export.id() as libc::pid_t, signal) };
        assert_eq!(export.wait().unwrap().signal(), Some(signal));
        assert_eq!(names(dir.path()), before, "signal {signal}");
    }
}

#[test]
fn tokens_and_layers_choose_the_rows() {
    let (dir, _, _) = traces();
    let rows = |args: &[&str]| -> Vec<Json> {
        let done = ggscope(dir.path(), &[&["export", "a.ggtrace", "-f", "json"], args].concat());
        serde_json::from_slice(&done.stdout).unwrap()
    };
    assert_eq!(rows(&["--token", "7..8"]).len(), 88);
    assert!(rows(&["--layer", "1", "--token", "7"]).iter().all(|row| row["layer"] == 1 && row["token"] == 7));
    let nothing = ggscope(dir.path(), &["export", "a.ggtrace", "-f", "csv", "--token", "999"]);
    assert!(nothing.status.success() && said(&nothing).contains("nothing matches"), "{nothing:?}");
}

#[test]
fn diff_prints_the_comparison() {
    let (dir, a, b) = traces();
    let (first, second) = (Trace::open(&a).unwrap(), Trace::open(&b).unwrap());
    for (by, name) in [(By::Op, "op"), (By::Layer, "layer"), (By::Tensor, "tensor")] {
        let args = ["diff", "a.ggtrace", "b \"x\".ggtrace", "--by", name, "--phase", "generate"];
        let printed: Json =
            serde_json::from_slice(&ggscope(dir.path(), &[&args[..], &["--json"]].concat()).stdout).unwrap();
        let expected = compare(&first, &second, (None, None), by, Some(Phase::Generate)).unwrap();
        assert_eq!(printed, serde_json::from_str::<Json>(&serde_json::to_string(&expected).unwrap()).unwrap());
        let table = String::from_utf8(ggscope(dir.path(), &args).stdout).unwrap();
        assert!(expected.rows.iter().all(|row| table.contains(&row.key)), "{table}");
        assert!(table.contains("a.ggtrace: 9 tokens in 9 evaluations"), "{table}");
        let unmatched = !expected.unmatched_b.is_empty();
        assert_eq!((table.contains("only in b: "), unmatched), (unmatched, name != "op"), "{table}");
    }
    let absent = ggscope(dir.path(), &["diff", "a.ggtrace", "c.ggtrace"]);
    assert!(!absent.status.success() && said(&absent).contains("c.ggtrace"), "{absent:?}");
}

/// A server, which answers until it is dropped, and its address.
fn serve(paths: &[PathBuf]) -> (SocketAddr, Serving) {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = server.address();
    (address, server.start(Sessions::open(paths).unwrap()).unwrap())
}

/// An answer: status, head, body with its chunks put together.
fn get(address: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET /api/v1{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = vec![];
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let mut rest = &bytes[end + 4..];
    let mut body = vec![];
    if head.contains("transfer-encoding: chunked") {
        loop {
            let line = rest.windows(2).position(|w| w == b"\r\n").expect("a chunk, or the last one");
            let len = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if len == 0 {
                break;
            }
            body.extend(&rest[line + 2..line + 2 + len]);
            rest = &rest[line + 4 + len..];
        }
    } else {
        body.extend(rest);
    }
    document::check("GET", &format!("/api/v1{path}"), &head, &body);
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body)
}

#[test]
fn a_download_is_what_the_command_line_writes() {
    let (dir, a, b) = traces();
    let (address, _serving) = serve(&[a, b]);
    for (format, extension) in FORMATS {
        let written = ggscope(dir.path(), &["export", "b \"x\".ggtrace", "-f", format, "-o", "-"]).stdout;
        let (status, head, body) = get(address, &format!("/sessions/1/export?format={format}"));
        assert_eq!((status, body == written), (200, true), "{format}: {} and {} bytes", body.len(), written.len());
        let disposition = format!("content-disposition: attachment; filename=\"b__x_.{extension}\"\r\n");
        assert!(head.contains(&disposition) && head.contains("x-content-type-options: nosniff"), "{head}");
    }
    let (_, _, rows) = get(address, "/sessions/0/export?format=json&tokens=7&layer=1");
    let rows: Vec<Json> = serde_json::from_slice(&rows).unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["token"] == 7 && row["layer"] == 1));
}

#[test]
fn clients_that_go_away_do_not_keep_others_from_their_downloads() {
    let (_dir, a, b) = traces();
    let (address, _serving) = serve(&[a, b]);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /api/v1/sessions/0/export?format=json HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
    }
    assert_eq!(get(address, "/sessions/0/export?format=csv").0, 200);
}

#[test]
fn wrong_questions_are_told_what_is_wrong() {
    let (_dir, a, b) = traces();
    let (address, _serving) = serve(&[a, b]);
    for (path, status, field) in [
        ("/sessions/0/export", 400, "format"),
        ("/sessions/0/export?format=xml", 400, "format"),
        ("/sessions/0/export?format=csv&layer=x", 400, "layer"),
        ("/sessions/0/export?format=csv&colour=red", 400, "query"),
        ("/sessions/0/export?format=dot&tokens=1", 400, "tokens"),
        ("/sessions/0/export?format=dot&layer=9", 404, "layer"),
        ("/sessions/7/export?format=csv", 404, "id"),
        ("/compare?a=0", 400, "b"),
        ("/compare?a=0&b=7", 404, "b"),
        ("/compare?a=0&b=1&by=token", 400, "by"),
        ("/compare?a=0&b=1&phase=x", 400, "phase"),
    ] {
        let (got, _, body) = get(address, path);
        let body: Json = serde_json::from_slice(&body).unwrap();
        assert_eq!((got, &body["field"]), (status, &json!(field)), "{path}: {body}");
        assert!(body["error"].is_string() && body["help"].is_string(), "{path}: {body}");
    }
}

#[test]
fn the_servers_comparison_is_the_command_lines() {
    let (dir, a, b) = traces();
    let (address, _serving) = serve(&[a, b]);
    let printed = ggscope(dir.path(), &["diff", "a.ggtrace", "b \"x\".ggtrace", "--by", "layer", "--json"]);
    let (status, _, body) = get(address, "/compare?a=0&b=1&by=layer");
    let of = |bytes: &[u8]| serde_json::from_slice::<Json>(bytes).unwrap();
    assert_eq!((status, of(&body)), (200, of(&printed.stdout)));
}
