//! Signals: what is sent to `ggscope record` is meant for the program, and what a terminal sends has reached it already.

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::stage::{Process, Stage, info, until};

/// A terminal of the test's own: the end that types, and the one that programs have.
struct Terminal {
    keyboard: File,
    screen: OwnedFd,
}

impl Terminal {
    fn open() -> Terminal {
        let (mut ours, mut theirs) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: both descriptors are written, and the other pointers may be null.
        let status = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()) };
        assert_eq!(status, 0, "no terminal: {}", std::io::Error::last_os_error());
        // SAFETY: both descriptors are new and nobody else's.
        unsafe {
            for fd in [ours, theirs] {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
            Terminal { keyboard: File::from_raw_fd(ours), screen: OwnedFd::from_raw_fd(theirs) }
        }
    }

    /// Makes it the terminal of the session that `command` begins.
    fn controls(&self, command: &mut Command) {
        use std::os::fd::AsRawFd;
        let fd = self.screen.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are made; the descriptor is open until then.
        unsafe {
            command.pre_exec(move || {
                if libc::setsid() < 0 || libc::ioctl(fd, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            })
        };
    }

    fn press_ctrl_c(&mut self) {
        self.keyboard.write_all(b"\x03").unwrap();
    }
}

/// Says which signals come, how often, and ends half a second after the first.
const COUNTING: &str = r"
trap 'n=$((n+1))' INT TERM HUP USR1
n=0; echo ready
while [ $n = 0 ]; do sleep 0.02; done
i=0; while [ $i -lt 10 ]; do sleep 0.02; i=$((i+1)); done
echo $n; exit 7";

#[test]
fn a_signal_to_record_reaches_the_program_once_and_record_waits_for_it() {
    let stage = Stage::new();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
        let mut command = stage.command("sh");
        command.args(["-c", COUNTING]);
        let record = Process::start(stage.record(&[], &command));
        record.wait_for_lines(1);
        record.signal(signal);
        let done = record.done();
        assert_eq!((done.code(), done.stdout.as_str()), (Some(7), "ready\n1\n"), "signal {signal}: {}", done.stderr);
    }
}

#[test]
fn ctrl_c_reaches_the_program_once() {
    let stage = Stage::new();
    let mut terminal = Terminal::open();
    let mut command = stage.command("sh");
    command.args(["-c", COUNTING]);
    let mut record = stage.record(&[], &command);
    terminal.controls(&mut record);
    let record = Process::start(record);
    record.wait_for_lines(1);
    terminal.press_ctrl_c();
    let done = record.done();
    assert_eq!((done.code(), done.stdout.as_str()), (Some(7), "ready\n1\n"), "{}", done.stderr);
}

#[test]
fn a_program_that_a_signal_ends_leaves_a_whole_trace() {
    let stage = Stage::new();
    let expected = stage.untraced(1900, &[]);
    for ctrl_c in [false, true] {
        let generate = stage.generate(1900, &["--delay-ms", "2"]);
        let mut record = stage.record(&["-o", "run.ggtrace", "--force"], &generate);
        let mut terminal = Terminal::open();
        terminal.controls(&mut record);
        let record = Process::start(record);
        record.wait_for_lines(100);
        let signal = if ctrl_c { libc::SIGINT } else { libc::SIGTERM };
        if ctrl_c {
            terminal.press_ctrl_c()
        } else {
            record.signal(signal)
        }
        let done = record.done();
        assert_eq!(done.signal(), Some(signal), "{}", done.stderr);
        assert!(expected.starts_with(&done.stdout) && done.stdout.len() < expected.len());
        assert!(done.stderr.contains("run.ggtrace"), "{}", done.stderr);
        let info = info(&stage.path("run.ggtrace"));
        let (n, printed) = (info["evaluations"].as_u64().unwrap(), done.stdout.lines().count() as u64);
        assert_eq!(info["complete"], true);
        assert!(n == printed || n == printed + 1, "{n} evaluations and {printed} tokens");
    }
}

#[test]
fn what_outlives_the_program_is_waited_for_until_ctrl_c() {
    let stage = Stage::new();
    let expected = stage.untraced(1500, &[]);
    let output = stage.path("tokens.txt");
    let generate = stage.generate(1500, &["--delay-ms", "2"]);
    // Ends at once; what it has started runs on in the background, which neither Ctrl-C nor the terminal's end reaches.
    let mut command = stage.command("sh");
    command.args([
        "-c",
        r#"trap '' HUP; "$@" >"$0" 2>/dev/null </dev/null & while ! [ -s "$0" ]; do sleep 0.02; done; exit 9"#,
    ]);
    command.arg(&output).arg(generate.get_program()).args(generate.get_args());
    let mut record = stage.record(&["-o", "run.ggtrace"], &command);
    let mut terminal = Terminal::open();
    terminal.controls(&mut record);
    let record = Process::start(record);
    until("the word that it waits", || record.stderr().contains("the program has ended; 1 that it started run"));
    terminal.press_ctrl_c();
    let done = record.done();
    assert_eq!(done.code(), Some(9), "{}", done.stderr);
    let info = info(&stage.path("run.ggtrace"));
    assert_eq!(info["complete"], true);
    assert!((1..1500).contains(&info["evaluations"].as_u64().unwrap()), "{info:#}");
    until("the background program's end", || std::fs::read(&output).unwrap().len() >= expected.len());
    assert_eq!(std::fs::read_to_string(&output).unwrap(), expected);
}
