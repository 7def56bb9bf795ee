//! Runs programs with a time limit, and the built `ggscope` among them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for the slowest test on a busy machine; only a program that hangs gets there.
const LIMIT: Duration = Duration::from_secs(150);

/// `target/release/NAME` (or whatever profile the tests are built with).
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let path = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").join(name);
    assert!(path.exists(), "{} is missing: run `make all` first", path.display());
    path
}

/// A command that no collector or shim of the surrounding session reaches into.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for name in ["LD_PRELOAD", "GGSCOPE_SOCKET", "GGSCOPE_SHIM"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// `ggscope ARGS`.
pub fn ggscope(args: &[&str]) -> Command {
    let mut command = command(built("ggscope"));
    command.args(args);
    command
}

/// `ggscope record -o TRACE OPTIONS -- PROGRAM ARGS`, with the environment of `program`.
pub fn record(trace: &Path, options: &[&str], program: &Command) -> Command {
    let mut command = ggscope(&["record", "-o"]);
    command.arg(trace).args(options).arg("--").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Panics unless the exit code is 0.
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{}:\n{}", self.status, self.stderr);
        self
    }

    /// Numbers on stdout, one a line: the token ids that the hosts print.
    pub fn ids(&self) -> Vec<i32> {
        self.stdout.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("no token id: {line}"))).collect()
    }

    /// What the program itself printed on stderr: all but our own lines.
    pub fn own_stderr(&self) -> String {
        self.stderr.lines().filter(|line| !line.starts_with("ggscope: ")).map(|line| format!("{line}\n")).collect()
    }
}

/// Runs a command to its end.
pub fn run(command: Command) -> Finished {
    run_within(LIMIT, command)
}

/// Runs a command to its end, which has to come in time. Its output goes to files, so that no full pipe can hold it.
pub fn run_within(limit: Duration, mut command: Command) -> Finished {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| File::create(dir.path().join(name)).expect("a file in a temporary directory");
    command.stdout(file("out")).stderr(file("err"));
    let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let status = Running(child).wait(limit);
    let read = |name: &str| String::from_utf8_lossy(&fs::read(dir.path().join(name)).unwrap_or_default()).into_owned();
    let (stdout, stderr) = (read("out"), read("err"));
    let status = status.unwrap_or_else(|| panic!("{command:?} ran longer than {limit:?}:\n{stdout}\n{stderr}"));
    Finished { status, stdout, stderr }
}

/// A process that was started here. It does not outlive this.
pub struct Running(pub Child);

impl Running {
    /// Sends SIGTERM, which `ggscope record` passes on to its program.
    pub fn terminate(&self) {
        let pid = libc::pid_t::try_from(self.0.id()).expect("a pid fits pid_t");
        // SAFETY: kill has no memory effects; the child is not reaped while it is held here, so the pid is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }

    /// Waits for the end; `None` if it does not come.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.0.try_wait().expect("cannot wait for a child") {
                None if begin.elapsed() < limit => thread::sleep(Duration::from_millis(10)),
                status => return status,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.terminate();
            if self.wait(Duration::from_secs(5)).is_none() {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
        }
    }
}

/// `ggscope daemon` on a socket of its own, ready for programs.
pub struct Daemon {
    process: Running,
    pub socket: PathBuf,
    dir: PathBuf,
}

impl Daemon {
    /// Starts one whose socket and traces lie in `dir`.
    pub fn start(dir: &Path, options: &[&str]) -> Self {
        let (socket, traces, log) = (dir.join("sock"), dir.join("traces"), dir.join("daemon.log"));
        let mut command = ggscope(&["daemon", "-d"]);
        command.arg(&traces).args(options).env("GGSCOPE_SOCKET", &socket);
        command.stdout(Stdio::null()).stderr(File::create(&log).expect("a file in a temporary directory"));
        let process = Running(command.spawn().expect("cannot start ggscope daemon"));
        let begin = Instant::now();
        while !fs::read_to_string(&log).unwrap_or_default().contains("programs attach with") {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(20), "the daemon does not come up:\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
        Self { process, socket, dir: traces }
    }

    /// Ends it and returns its traces, in the order of their names.
    pub fn stop(mut self) -> Vec<PathBuf> {
        self.process.terminate();
        let status = self.process.wait(Duration::from_secs(20)).expect("the daemon ends when it is asked to");
        assert!(status.success(), "the daemon ended with {status}");
        traces_in(&self.dir)
    }
}

/// The traces in a directory, in the order of their names.
pub fn traces_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("cannot read {}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ggtrace"));
    paths.sort();
    paths
}

/// `ggscope info TRACE --json`.
pub fn info(trace: &Path) -> Value {
    let mut command = ggscope(&["info", "--json"]);
    command.arg(trace);
    serde_json::from_str(&run(command).ok().stdout).expect("info prints JSON")
}

/// `ggscope leaves TRACE --json`.
pub fn leaves(trace: &Path) -> Vec<Value> {
    let mut command = ggscope(&["leaves", "--json"]);
    command.arg(trace);
    serde_json::from_str(&run(command).ok().stdout).expect("leaves prints a JSON array")
}

/// `ggscope dump TRACE --jsonl OPTIONS`.
pub fn dump(trace: &Path, options: &[&str]) -> Vec<Value> {
    let mut command = ggscope(&["dump", "--jsonl"]);
    command.args(options).arg(trace);
    let out = run(command).ok().stdout;
    out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// The text at a key, or nothing.
pub fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// The number at a key.
pub fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} is no number in {row}"))
}

/// The sources of an operator.
pub fn sources(row: &Value) -> &[Value] {
    row["src"].as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("no src in {row}"))
}

/// One token as the trace shows it: its phase and its text.
pub struct Token {
    pub eval: u64,
    pub generated: bool,
    pub text: Option<String>,
}

/// All tokens of a trace, in order: asks for each by number, because a line stands for the first token that fits.
pub fn tokens(trace: &Path) -> Vec<Token> {
    let counts = &info(trace)["tokens"];
    let all = number(counts, "prompt") + number(counts, "generate");
    (0..all)
        .map(|n| {
            let row = dump(trace, &["--token", &n.to_string(), "--limit", "1"]).pop();
            let row = row.unwrap_or_else(|| panic!("no operator for token {n}"));
            assert_eq!(number(&row, "token"), n);
            Token {
                eval: number(&row, "eval"),
                generated: text(&row, "phase") == "GENERATE",
                text: row["token_text"].as_str().map(str::to_owned),
            }
        })
        .collect()
}
