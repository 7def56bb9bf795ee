//! `ggscope record --serve`, `open` and `daemon` as their user meets them: where the page is, how long it stays, and
//! that it changes nothing about the program.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{FakeShim, computation, until};

/// Something that can be preloaded into anything: the real shim is not what is tested here.
fn shim(dir: &Path) -> PathBuf {
    let shim = dir.join("shim.so");
    let made = Command::new("cc").args(["-shared", "-xc", "/dev/null", "-o"]).arg(&shim).status();
    assert!(made.expect("the tests need a C compiler, cc").success());
    shim
}

/// A ggscope that serves, and what it says.
struct Ggscope {
    process: Child,
    said: Vec<String>,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    dir: tempfile::TempDir,
}

impl Ggscope {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Ggscope {
        let dir = tempfile::tempdir().unwrap();
        Ggscope::start_in(dir, arguments, variables)
    }

    fn start_in(dir: tempfile::TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Ggscope {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ggscope"));
        command.args(arguments).current_dir(dir.path()).env("GGSCOPE_SHIM", shim(dir.path()));
        command.env("GGSCOPE_SOCKET", dir.path().join("sock"));
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").envs(variables.iter().copied());
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        Ggscope { process, said: vec![], lines, dir }
    }

    /// Waits for a line that has `part` in it.
    fn until_said(&mut self, part: &str) -> String {
        for line in self.lines.by_ref().map_while(Result::ok) {
            self.said.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
        panic!("{part} was not said:\n{}", self.said.join("\n"));
    }

    /// Where the page is.
    fn address(&mut self) -> String {
        let line = self.until_said("the page is at");
        line.split_once("http://").unwrap().1.split('/').next().unwrap().to_owned()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: plain numbers; the process is our child and not reaped.
        unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Ggscope {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const ANY_PORT: [&str; 3] = ["--serve", "--listen", "127.0.0.1:0"];

#[test]
fn the_page_stays_after_the_program_and_the_exit_code_is_the_program_s() {
    let mut ggscope = Ggscope::start(&[&["record"], &ANY_PORT[..], &["--", "sh", "-c", "exit 7"]].concat(), &[]);
    let address = ggscope.address();
    ggscope.until_said("the page stays until Ctrl-C");
    let page = get(&address, "/");
    assert!(page.starts_with("HTTP/1.0 200 OK"), "{page}");
    let policy = "content-security-policy: default-src 'self';";
    assert!(page.to_ascii_lowercase().contains(policy), "{page}");
    assert!(get(&address, "/api/v1/sessions").ends_with("\r\n\r\n[]"), "no process computed anything");
    ggscope.signal(libc::SIGINT);
    assert_eq!(ggscope.exit_code(), Some(7));
}

#[test]
fn a_signal_that_ends_the_program_through_us_ends_the_page_too() {
    let command = ["--", "sh", "-c", "trap 'exit 9' TERM; touch ready; while :; do sleep 0.01; done"];
    let mut ggscope = Ggscope::start(&[&["record"], &ANY_PORT[..], &command].concat(), &[]);
    ggscope.address();
    let ready = ggscope.dir.path().join("ready");
    until("the program", || ready.exists());
    ggscope.signal(libc::SIGTERM);
    assert_eq!(ggscope.exit_code(), Some(9));
}

#[test]
fn who_cannot_serve_says_so_before_the_program_starts() {
    for (options, said) in [
        (&["--serve", "--listen", "192.0.2.1:7437", "--auth-token", "x"][..], "cannot listen on 192.0.2.1:7437"),
        (&["--serve", "--listen", "0.0.0.0:0"], "give --auth-token"),
        (&["--listen", "127.0.0.1:0"], "give --serve"),
    ] {
        let mut ggscope = Ggscope::start(&[&["record"], options, &["--", "touch", "started"]].concat(), &[]);
        ggscope.until_said(said);
        assert_eq!(ggscope.exit_code(), Some(1), "{options:?}");
        assert!(!ggscope.dir.path().join("started").exists(), "{options:?}");
    }
}

#[test]
fn a_browser_is_sent_to_the_page_with_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let browser = dir.path().join("browser");
    std::fs::write(&browser, "#!/bin/sh\necho \"$1\" >address.new && mv address.new address\n").unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sent = dir.path().join("address");
    let variables = [("DISPLAY", ":7"), ("BROWSER", browser.to_str().unwrap())];
    let start = |dir, options: &[&str]| {
        let arguments = [&["record"], &ANY_PORT[..], options, &["--", "true"]].concat();
        Ggscope::start_in(dir, &arguments, &variables)
    };
    let mut unseen = start(tempfile::tempdir().unwrap(), &["--no-open"]);
    unseen.until_said("the page stays");
    assert!(!unseen.dir.path().join("address").exists());
    let mut ggscope = start(dir, &["--auth-token", "a b"]);
    let address = ggscope.address();
    until("the browser", || sent.exists());
    assert_eq!(std::fs::read_to_string(&sent).unwrap(), format!("http://{address}/?token=a+b\n"));
    assert!(get(&address, "/?token=a+b").contains("303"));
    assert!(ggscope.said.iter().all(|line| !line.contains("a b") && !line.contains("a+b")), "the secret is not shown");
    ggscope.until_said("the page stays");
    ggscope.signal(libc::SIGTERM);
    assert_eq!(ggscope.exit_code(), Some(0));
}

#[test]
fn a_daemon_serves_unless_it_is_told_not_to() {
    let mut daemon = Ggscope::start(&["daemon", "--listen", "127.0.0.1:0"], &[]);
    let address = daemon.address();
    assert!(get(&address, "/api/v1/sessions").ends_with("\r\n\r\n[]"));
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.exit_code(), Some(0));
    let mut quiet = Ggscope::start(&["daemon", "--no-serve"], &[]);
    quiet.until_said("programs attach with");
    quiet.signal(libc::SIGTERM);
    assert_eq!(quiet.exit_code(), Some(0));
    let rest: Vec<String> = quiet.lines.by_ref().map_while(Result::ok).collect();
    assert!(!quiet.said.iter().chain(&rest).any(|line| line.contains("the page is at")), "{:?} {rest:?}", quiet.said);
}

/// What the server says of its only session, once there is one.
fn session(address: &str, field: &str) -> String {
    let answer = get(address, "/api/v1/sessions");
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body[0][field].to_string()
}

#[test]
fn another_process_sees_news_within_about_a_second_and_at_once_that_the_collector_was_killed() {
    let mut daemon = Ggscope::start(&["daemon", "--no-serve"], &[]);
    daemon.until_said("programs attach with");
    let shim = FakeShim::attach(&daemon.dir.path().join("sock")).unwrap();
    let (graph, evaluations) = computation(0, 0, 30);
    let line = daemon.until_said("attached, to ");
    let trace = line.split_once("attached, to ").unwrap().1.to_owned();
    let mut open = Ggscope::start(&["open", "--no-open", "--listen", "127.0.0.1:0", &trace], &[]);
    let address = open.address();
    assert_eq!(session(&address, "state"), "\"live\"");
    // Somebody looks on, as a page does.
    let mut page = TcpStream::connect(&address).unwrap();
    page.write_all(format!("GET /api/v1/live HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    page.read_exact(&mut [0; 64]).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    for n in 0..3 {
        shim.compute(0, &graph, &evaluations[10 * n..10 * n + 10]);
        let computed = Instant::now();
        until("the news", || session(&address, "evaluations") == (10 * n + 10).to_string());
        assert!(computed.elapsed() < Duration::from_millis(2500), "{:?}", computed.elapsed());
    }
    daemon.signal(libc::SIGKILL);
    assert_eq!(daemon.exit_code(), None);
    let killed = Instant::now();
    until("the end", || session(&address, "state") == "\"cut\"");
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    drop(page);
}

#[test]
fn a_program_that_made_no_ggml_call_is_said_to_whoever_looks_on() {
    let mut ggscope = Ggscope::start(&[&["record"], &ANY_PORT[..], &["--", "sh", "-c", "exit 7"]].concat(), &[]);
    let address = ggscope.address();
    ggscope.until_said("the page stays until Ctrl-C");
    let mut events = TcpStream::connect(&address).unwrap();
    events.write_all(format!("GET /api/v1/live HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let lines = BufReader::new(events).lines().map_while(Result::ok);
    let told = lines.skip_while(|line| line != "event: notices").nth(1).unwrap();
    assert!(told.contains("made no ggml call that ggscope can see") && told.contains("exit status: 7"), "{told}");
}

#[test]
fn a_model_that_is_none_is_refused() {
    let mut ggscope = Ggscope::start(&["open", "x.ggtrace", "--model", "/etc/passwd"], &[]);
    ggscope.until_said("--model /etc/passwd: there is no GGUF file");
    assert_eq!(ggscope.exit_code(), Some(1));
}
