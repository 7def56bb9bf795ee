//! What the tests of faults share: a directory with a tiny model, programs that are watched while they run, and
//! daemons that end with their test.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::gguf_writer::TensorType;
use crate::support::{hosts, tiny_model};
use serde_json::Value;

/// Nothing that is waited for takes longer, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where cargo has put what it built: `target/release`.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.parent().and_then(Path::parent).expect("tests lie in deps/").join(name);
    assert!(path.exists(), "{} is missing: build the workspace first", path.display());
    path
}

/// The program under test.
pub fn ggscope() -> PathBuf {
    built("ggscope")
}

/// The shim.
pub fn shim() -> PathBuf {
    built("libggscope.so")
}

/// Waits for something that has to come.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a process of the test's own.
pub fn kill(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("a pid fits pid_t");
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "cannot signal process {pid}");
}

/// The processes that `pid` has started and that are still there.
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
}

/// A directory with a tiny model in it.
pub struct Stage {
    dir: tempfile::TempDir,
    model: PathBuf,
}

impl Stage {
    pub fn new() -> Stage {
        Stage::with_model("model.gguf")
    }

    pub fn with_model(name: &str) -> Stage {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let model = dir.path().join(name);
        tiny_model::write_dense_gguf(&model, TensorType::F16);
        Stage { dir, model }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn model(&self) -> &Path {
        &self.model
    }

    /// A command in this directory, which finds no daemon but one of this stage.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir()).env("GGSCOPE_SOCKET", self.socket());
        for name in ["LD_PRELOAD", "GGSCOPE_SHIM"] {
            command.env_remove(name);
        }
        command
    }

    /// The program that prints `n` token ids, one a line; untraced.
    pub fn generate(&self, n: u32, options: &[&str]) -> Command {
        let mut command = self.command(hosts::generate());
        command.arg(&self.model).arg(n.to_string()).args(["--ctx", "2048", "--threads", "1"]).args(options);
        command
    }

    /// What that program prints when nobody traces it.
    pub fn untraced(&self, n: u32, options: &[&str]) -> String {
        let done = run(self.generate(n, options));
        assert!(done.status.success(), "{}: {}", done.status, done.stderr);
        assert_eq!(done.stderr, "");
        done.stdout
    }

    /// `command` with the shim in it, to attach to this stage's daemon.
    pub fn preloaded(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", shim());
        command
    }

    /// `ggscope record` in front of `command`.
    pub fn record(&self, options: &[&str], command: &Command) -> Command {
        let mut record = self.command(ggscope());
        record.arg("record").args(options).arg("--").arg(command.get_program()).args(command.get_args());
        record
    }

    /// `ggscope` with arguments.
    pub fn ggscope<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Done {
        let mut command = self.command(ggscope());
        command.args(arguments);
        run(command)
    }

    /// Where this stage's daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.path("socket/daemon.sock")
    }

    /// A daemon that writes to `traces/`.
    pub fn daemon(&self, options: &[&str]) -> Daemon {
        let mut command = self.command(ggscope());
        command.args(["daemon", "-d", "traces"]).args(options);
        self.started_daemon(command)
    }

    /// The daemon that `command` is.
    pub fn started_daemon(&self, command: Command) -> Daemon {
        let process = Process::start(command);
        until("the daemon to say how programs attach", || process.stderr().contains("programs attach"));
        Daemon { process }
    }

    /// All traces of this stage's daemons, in the order of their creation.
    pub fn traces(&self) -> Vec<PathBuf> {
        traces_in(&self.path("traces"))
    }
}

/// All traces in a directory, in the order of their creation.
pub fn traces_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let paths = entries.map(|entry| entry.expect("a directory entry").path());
    let mut traces: Vec<PathBuf> = paths.filter(|path| path.extension() == Some(OsStr::new("ggtrace"))).collect();
    traces.sort_by_key(|path| fs::metadata(path).and_then(|m| m.created()).expect("the file's time"));
    traces
}

/// What `ggscope info --json` says of a trace.
pub fn info(trace: &Path) -> Value {
    try_info(trace).unwrap_or_else(|error| panic!("info of {}: {error}", trace.display()))
}

/// The same, or what it complains of.
pub fn try_info(trace: &Path) -> Result<Value, String> {
    let mut command = Command::new(ggscope());
    command.args([OsStr::new("info"), trace.as_os_str(), OsStr::new("--json")]);
    let done = run(command);
    assert_ne!(done.status.code(), Some(101), "a panic: {}", done.stderr);
    if !done.status.success() {
        return Err(done.stderr);
    }
    Ok(serde_json::from_str(&done.stdout).expect("JSON"))
}

/// All operators of a trace, as `ggscope dump --jsonl` prints them.
pub fn dump(trace: &Path) -> Vec<Value> {
    let mut command = Command::new(ggscope());
    command.args([OsStr::new("dump"), trace.as_os_str(), OsStr::new("--jsonl")]);
    let done = run(command);
    assert!(done.status.success(), "{}: {}", done.status, done.stderr);
    done.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The numbers of the evaluations of which a trace has operators.
pub fn evaluations(trace: &Path) -> Vec<u64> {
    let mut evaluations: Vec<u64> = dump(trace).iter().map(|row| row["eval"].as_u64().expect("a number")).collect();
    evaluations.sort_unstable();
    evaluations.dedup();
    evaluations
}

/// Asserts that the trace has all of what a program computed that printed `tokens`, from its first evaluation on.
pub fn assert_whole(trace: &Path, tokens: &str) {
    let info = info(trace);
    let n = tokens.lines().count() as u64;
    assert_eq!(info["complete"], true, "{info:#}");
    assert_eq!(info["evaluations"], n, "{info:#}");
    assert_eq!(info["dropped"]["records"], 0, "{info:#}");
    assert_eq!(info["warnings"], serde_json::json!([]), "{info:#}");
    assert_eq!(evaluations(trace), (0..n).collect::<Vec<_>>());
}

/// A process that has ended.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// What ggscope said, one line each.
    pub fn said(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.starts_with("ggscope: ")).collect()
    }
}

/// Runs a command to its end.
pub fn run(command: Command) -> Done {
    Process::start(command).done()
}

/// A running process whose output is read while it runs. Dropping it ends it.
pub struct Process {
    child: Child,
    stdout: Reader,
    stderr: Reader,
}

impl Process {
    pub fn start(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if command.get_envs().all(|(name, _)| name != OsStr::new("KEEP_STDIN")) {
            command.stdin(Stdio::null());
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = Reader::start(child.stdout.take().expect("a pipe"));
        let stderr = Reader::start(child.stderr.take().expect("a pipe"));
        Process { child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it has printed so many lines.
    pub fn wait_for_lines(&self, n: usize) {
        until(&format!("{n} lines of output"), || self.stdout().lines().count() >= n);
    }

    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Waits for its end.
    pub fn done(mut self) -> Done {
        until("the end of a process", || self.has_ended());
        let status = self.child.wait().expect("a child of ours");
        Done { status, stdout: self.stdout.rest(), stderr: self.stderr.rest() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads a pipe to its end, in a thread of its own.
struct Reader {
    read: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(mut pipe: impl Read + Send + 'static) -> Reader {
        let read = Arc::new(Mutex::new(vec![]));
        let shared = read.clone();
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut bytes) {
                shared.lock().expect("no panic").extend_from_slice(&bytes[..n]);
            }
        });
        Reader { read, thread: Some(thread) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().expect("no panic")).into_owned()
    }

    /// All of it. A pipe that a grandchild has kept open is not waited for.
    fn rest(&mut self) -> String {
        let thread = self.thread.take().expect("asked for once");
        let begin = Instant::now();
        while !thread.is_finished() && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.text()
    }
}

/// A running `ggscope daemon`. Dropping it ends it.
pub struct Daemon {
    pub process: Process,
}

impl Daemon {
    pub fn said(&self) -> String {
        self.process.stderr()
    }

    /// Waits until so many programs have attached in all.
    pub fn wait_for_attached(&self, n: usize) {
        until("a program to attach", || self.said().matches(" attached, to ").count() >= n);
    }

    /// Waits until so many programs have detached in all.
    pub fn wait_for_detached(&self, n: usize) {
        until("a program to detach", || self.said().matches(") detached").count() >= n);
    }

    /// Kills it as nothing else does.
    pub fn kill(self) -> Done {
        self.process.signal(libc::SIGKILL);
        self.process.done()
    }

    /// Ends it in order.
    pub fn stop(self) -> Done {
        self.process.signal(libc::SIGTERM);
        let done = self.process.done();
        assert_eq!(done.code(), Some(0), "{}", done.stderr);
        assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
        done
    }
}

/// A file whose presence holds the program `generate` after its next token.
pub struct Pause(PathBuf);

impl Pause {
    pub fn at(path: PathBuf) -> Pause {
        File::create(&path).expect("a file");
        Pause(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }

    pub fn end(&self) {
        fs::remove_file(&self.0).expect("the file is there");
    }
}
