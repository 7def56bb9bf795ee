//! `ggscope daemon` as its user meets it: it finds the place free or says who has it, and whatever ends it, files that
//! were begun can be read.

mod support;

use ggscope_trace::Trace;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use support::{FakeShim, computation, until};

struct Daemon {
    dir: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().unwrap();
        let process = command(&dir).spawn().unwrap();
        let daemon = Daemon { dir, process };
        until("the daemon to listen", || std::os::unix::net::UnixStream::connect(daemon.socket()).is_ok());
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn traces(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.dir.path().join("traces")) else { return vec![] };
        let mut traces: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        traces.sort();
        traces
    }

    /// Sends the signal, and returns the exit code and what the daemon said.
    fn end(&mut self, signal: i32) -> (Option<i32>, String) {
        // SAFETY: plain numbers; the process is our child and not reaped.
        unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap().code(), said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(dir: &tempfile::TempDir) -> Command {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_ggscope"));
    daemon.args(["daemon", "-d"]).arg(dir.path().join("traces"));
    daemon
        .env("GGSCOPE_SOCKET", dir.path().join("sock"))
        .env("TMPDIR", dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    daemon
}

#[test]
fn every_program_gets_a_file_and_a_line_when_it_comes_and_goes() {
    let mut daemon = Daemon::start();
    let (graph, evaluations) = computation(0, 0, 6);
    let shims: Vec<FakeShim> = (0..2).map(|_| FakeShim::attach(&daemon.socket()).unwrap()).collect();
    shims.iter().for_each(|shim| shim.compute(0, &graph, &evaluations));
    drop(shims);
    let traces = daemon.traces();
    assert_eq!(traces.len(), 2);
    assert!(traces.iter().all(|t| t.file_name().unwrap().to_string_lossy().starts_with("fake-server-2")));
    until("the files' end", || traces.iter().all(|t| Trace::open(t).is_ok_and(|t| t.complete())));
    assert!(traces.iter().all(|t| Trace::open(t).unwrap().totals().evaluations == 6));
    let (code, said) = daemon.end(libc::SIGTERM);
    assert_eq!(code, Some(0), "{said}");
    for line in ["attached, to ", "detached", "6 evaluations", "libggscope.so"] {
        assert!(said.contains(line), "{line} is missing in:\n{said}");
    }
    assert!(!daemon.socket().exists());
}

#[test]
fn a_signal_finishes_the_files_and_lets_programs_go() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut daemon = Daemon::start();
        let (graph, evaluations) = computation(0, 0, 6);
        let shim = FakeShim::attach(&daemon.socket()).unwrap();
        shim.compute(0, &graph, &evaluations);
        let (code, said) = daemon.end(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(shim.segment.is_closed());
        let trace = Trace::open(&daemon.traces()[0]).unwrap();
        assert_eq!((trace.complete(), trace.totals().evaluations), (true, 6));
    }
}

#[test]
fn a_second_daemon_says_that_there_is_one() {
    let daemon = Daemon::start();
    let second = command(&daemon.dir).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("another ggscope daemon listens on"), "{said}");
    assert!(FakeShim::attach(&daemon.socket()).is_ok(), "the first one has lost its socket");
}

#[test]
fn a_killed_daemon_leaves_a_readable_file_and_its_place_to_the_next() {
    let mut daemon = Daemon::start();
    let (graph, evaluations) = computation(0, 0, 600);
    let shim = FakeShim::attach(&daemon.socket()).unwrap();
    shim.compute(0, &graph, &evaluations);
    let written = |daemon: &Daemon| daemon.traces().first().map_or(0, |t| std::fs::metadata(t).unwrap().len());
    until("the first chunk", || written(&daemon) > 10_000);
    daemon.end(libc::SIGKILL);
    assert!(daemon.socket().exists());
    let trace = Trace::open(&daemon.traces()[0]).unwrap();
    assert!(!trace.complete() && trace.totals().evaluations >= 256);
    daemon.process = command(&daemon.dir).spawn().unwrap();
    until("the next daemon to listen", || FakeShim::attach(&daemon.socket()).is_ok());
    assert_eq!(daemon.traces().len(), 2);
}
