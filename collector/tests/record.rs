//! `ggscope record` as its user meets it: whatever it does for itself, the program under it runs as it would alone.

mod support;

use ggscope_trace::Ending;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::{FakeShim, computation, until};

/// Set for the program that is run by [`host`]: what it shall do after it has attached.
const HOST_ENV: &str = "GGSCOPE_TEST_HOST";

/// Not a test, but the program that some of the tests record: it attaches as a shim would.
#[test]
fn host() {
    let Ok(then) = std::env::var(HOST_ENV) else { return };
    let socket = ggscope_format::session::socket_path(0);
    let shim = FakeShim::attach(&socket).unwrap();
    let (graph, evaluations) = computation(0, 0, 10);
    shim.compute(0, &graph, &evaluations);
    match then.as_str() {
        "end" => {}
        "be killed" => {
            // SAFETY: plain numbers.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        // A child that has inherited the connection lives on.
        "leave a child" => {
            use std::os::fd::AsRawFd;
            // SAFETY: the descriptor is open; it shall not be closed when the child is started.
            unsafe { libc::fcntl(shim.stream.as_raw_fd(), libc::F_SETFD, 0) };
            let script = "sleep 60 >/dev/null 2>&1 & echo $! >child";
            assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
        }
        other => panic!("{other}"),
    }
}

struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        // Something that can be preloaded into anything: the real shim is not what is tested here.
        let made =
            Command::new("cc").args(["-shared", "-xc", "/dev/null", "-o"]).arg(dir.path().join("shim.so")).status();
        assert!(made.expect("the tests need a C compiler, cc").success());
        Setup { dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("run.ggtrace")
    }

    /// `ggscope record … -- command`, in a directory of its own.
    fn record(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ggscope = Command::new(env!("CARGO_BIN_EXE_ggscope"));
        ggscope.arg("record").args(options).arg("--").args(command);
        ggscope.current_dir(self.dir.path()).env("GGSCOPE_SHIM", self.dir.path().join("shim.so"));
        ggscope
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Output {
        self.record(options, command).output().unwrap()
    }

    /// Records [`host`], under a shell script if `script` is given, in which `HOST` starts it.
    fn host(&self, then: &str, script: Option<&str>) -> Output {
        let host = format!("{} --exact host --nocapture", std::env::current_exe().unwrap().display());
        let script = script.unwrap_or("exec HOST").replace("HOST", &host);
        self.record(&["-o", "run.ggtrace"], &["sh", "-c", &script]).env(HOST_ENV, then).output().unwrap()
    }

    fn traces(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".ggtrace")).collect();
        names.sort();
        names
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_code_and_standard_streams_are_the_programs() {
    let setup = Setup::new();
    let mut child = setup
        .record(&["-q"], &["sh", "-c", "cat; echo to stderr >&2; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"to stdout\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((output.stdout.as_slice(), stderr(&output).as_str()), (&b"to stdout\n"[..], "to stderr\n"));
    assert_eq!(setup.traces(), [""; 0]);
}

#[test]
fn a_program_without_ggml_is_left_alone_and_leaves_no_file() {
    let setup = Setup::new();
    let output = setup.run(&[], &["true"]);
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert!(said.contains("made no ggml call that ggscope can see; nothing was recorded"), "{said}");
    assert_eq!((said.lines().count(), setup.traces().len()), (1, 0), "{said}");
}

#[test]
fn a_program_that_dies_by_a_signal_is_seen_to_by_whoever_waits_for_us() {
    let setup = Setup::new();
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM] {
        let output = setup.run(&[], &["sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(output.status.signal(), Some(signal));
    }
}

fn wait_for_file(path: &Path) {
    until("the program to begin", || path.exists());
}

fn start_trap(setup: &Setup, signal: &str) -> Child {
    let script = format!("trap 'exit 42' {signal}; touch ready; while :; do sleep 0.05; done");
    let child = setup.record(&["-q"], &["sh", "-c", &script]).stderr(Stdio::null()).spawn().unwrap();
    wait_for_file(&setup.dir.path().join("ready"));
    child
}

#[test]
fn signals_are_passed_on() {
    for (name, signal) in
        [("TERM", libc::SIGTERM), ("HUP", libc::SIGHUP), ("USR1", libc::SIGUSR1), ("INT", libc::SIGINT)]
    {
        let setup = Setup::new();
        let mut child = start_trap(&setup, name);
        // SAFETY: plain numbers; the process is our child and not reaped.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        assert_eq!(child.wait().unwrap().code(), Some(42), "{name}");
    }
}

#[test]
fn a_program_that_cannot_be_started_ends_as_in_a_shell() {
    let setup = Setup::new();
    let plain = setup.dir.path().join("plain");
    std::fs::write(&plain, "text").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (program, code) in [("no-such-program", 127), ("./no/such", 127), ("./plain", 126), ("/tmp", 126)] {
        let output = setup.run(&[], &[program]);
        assert_eq!(output.status.code(), Some(code), "{program}");
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("cannot start {program}")), "{}", stderr(&output));
    }
}

#[test]
fn an_existing_file_is_kept_and_the_program_not_even_started() {
    let setup = Setup::new();
    std::fs::write(setup.file(), "precious").unwrap();
    let output = setup.run(&["-o", "run.ggtrace"], &["touch", "started"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("run.ggtrace exists already"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
    assert!(!setup.dir.path().join("started").exists());
    assert_eq!(std::fs::read(setup.file()).unwrap(), b"precious");
    // And with --force it is kept as long as there is nothing to replace it.
    assert!(setup.run(&["--force", "-o", "run.ggtrace"], &["true"]).status.success());
    assert_eq!(std::fs::read(setup.file()).unwrap(), b"precious");
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_program_starts() {
    let setup = Setup::new();
    for place in ["no/such/dir/run.ggtrace", "."] {
        let output = setup.run(&["-o", place], &["touch", "started"]);
        assert_eq!(output.status.code(), Some(1), "{place}");
        assert!(stderr(&output).contains("cannot write"), "{}", stderr(&output));
        assert!(!setup.dir.path().join("started").exists());
    }
}

#[test]
fn a_static_program_runs_and_the_user_hears_why_it_is_not_traced() {
    let setup = Setup::new();
    let source = setup.dir.path().join("static.c");
    std::fs::write(&source, "int main(void) { return 3; }").unwrap();
    let made = Command::new("cc").arg("-static").arg(&source).arg("-o").arg(setup.dir.path().join("static")).status();
    assert!(made.unwrap().success());
    let output = setup.run(&[], &["./static"]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(said.contains("statically linked") && said.contains("docs/linking.md"), "{said}");
}

#[test]
fn what_a_program_computes_is_in_the_file_and_told_in_one_line() {
    let setup = Setup::new();
    let output = setup.host("end", None);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    let summary: Vec<&str> = said.lines().filter(|line| line.contains('→')).collect();
    assert_eq!(summary.len(), 1, "{said}");
    assert!(summary[0].starts_with("ggscope: 10 tokens, 10 evaluations, "), "{said}");
    assert!(summary[0].contains(" → run.ggtrace ("), "{said}");
    let trace = ggscope_trace::Trace::open(&setup.file()).unwrap();
    assert_eq!((trace.complete(), trace.ending()), (true, Some(Ending::Exited(0))));
}

#[test]
fn a_program_that_is_killed_leaves_a_complete_trace() {
    let setup = Setup::new();
    let output = setup.host("be killed", None);
    assert_eq!(output.status.signal(), Some(libc::SIGKILL));
    let trace = ggscope_trace::Trace::open(&setup.file()).unwrap();
    assert_eq!((trace.complete(), trace.ending()), (true, Some(Ending::Killed(libc::SIGKILL))));
    assert_eq!(trace.totals().evaluations, 10);
    let info = Command::new(env!("CARGO_BIN_EXE_ggscope")).arg("info").arg(setup.file()).output().unwrap();
    let said = String::from_utf8(info.stdout).unwrap();
    let line = "ended  fake-server was killed by SIGKILL; the trace has everything up to token 9\n";
    assert!(said.contains(line), "{said}");
}

#[test]
fn every_process_of_a_script_has_its_file() {
    let setup = Setup::new();
    let output = setup.host("end", Some("HOST & HOST; wait; exit 5"));
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    assert_eq!(setup.traces(), ["run.2.ggtrace", "run.ggtrace"]);
    assert!(stderr(&output).contains("is recorded to") && stderr(&output).contains("run.2.ggtrace"));
}

#[test]
fn a_process_that_outlives_the_program_is_recorded_to_its_end() {
    let setup = Setup::new();
    let output = setup.host("end", Some("(HOST) & until [ -e run.ggtrace ]; do :; done"));
    assert!(output.status.success());
    let trace = ggscope_trace::Trace::open(&setup.file()).unwrap();
    assert_eq!((trace.complete(), trace.totals().evaluations), (true, 10));
}

#[test]
fn a_child_that_has_inherited_the_connection_does_not_keep_the_session_open() {
    let setup = Setup::new();
    assert!(setup.host("leave a child", None).status.success());
    let child: libc::pid_t = std::fs::read_to_string(setup.dir.path().join("child")).unwrap().trim().parse().unwrap();
    // SAFETY: plain numbers. The child sleeps for a minute, so it is there if the session did not wait for it.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0, "the session has waited for the child");
}

#[test]
fn nothing_of_ours_is_left_behind() {
    let setup = Setup::new();
    let temporary = setup.dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = setup.record(&["-q"], &["sh", "-c", "ls $TMPDIR"]).env("TMPDIR", &temporary).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("ggscope-"));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    setup.host("end", None);
    let own = format!("ggscope-{}-", std::process::id());
    let left = std::fs::read_dir("/dev/shm")
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(&own));
    assert_eq!(left.count(), 0);
}
