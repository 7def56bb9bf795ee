//! The disk takes no more.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Done, Process, Stage, evaluations, ggscope, info, run};

/// More than any of the full disks of these tests holds.
const OPTIONS: [&str; 2] = ["--capture", "l_out-*"];
const TOKENS: u32 = 1800;

/// A file system of a few bytes, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(at: PathBuf, bytes: u32) -> Option<SmallDisk> {
        std::fs::create_dir(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&at);
        command.output().is_ok_and(|out| out.status.success()).then(|| SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = CString::new(self.0.as_os_str().as_bytes()).unwrap();
        // SAFETY: a valid C string; the mount is the test's own.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

/// No file of the command's process gets larger: writing on fails with EFBIG, as it does with ENOSPC on a full disk.
fn limit_files(command: &mut Command, bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: between fork and exec only async-signal-safe calls are made.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        })
    };
}

/// Asserts that the trace was cut by the full disk, that this was said once and clearly, and that what is there opens.
fn assert_cut(trace: &Path, said: &str, why: &str) {
    let failures: Vec<&str> = said.lines().filter(|line| line.contains("cannot write")).collect();
    assert_eq!(failures.len(), 1, "{said}");
    assert!(failures[0].starts_with("ggscope: cannot write"), "{said}");
    for part in [trace.to_str().unwrap(), "at byte ", why, "the program runs on"] {
        assert!(failures[0].contains(part), "{part:?} is not in {said}");
    }
    let info = info(trace);
    assert_eq!(info["complete"], false, "{info:#}");
    assert!(info["warnings"][0].as_str().unwrap().contains("cut"), "{info:#}");
    let n = info["evaluations"].as_u64().unwrap();
    assert!(n > 0 && n < u64::from(TOKENS), "{info:#}");
    assert_eq!(evaluations(trace), (0..n).collect::<Vec<_>>());
}

fn assert_unaffected(done: &Done, expected: &str) {
    assert_eq!((done.code(), done.stdout.as_str()), (Some(0), expected), "{}", done.stderr);
}

/// A daemon whose files have a limit.
fn a_limited_daemon() {
    let stage = Stage::new();
    let expected = stage.untraced(TOKENS, &[]);
    let mut command = stage.command(ggscope());
    command.args(["daemon", "-d", "traces"]).args(OPTIONS);
    limit_files(&mut command, 200 << 10);
    let daemon = stage.started_daemon(command);
    let done = run(stage.preloaded(stage.generate(TOKENS, &["--delay-ms", "1"])));
    assert_unaffected(&done, &expected);
    assert_eq!(done.stderr, "");
    daemon.wait_for_detached(1);
    let said = daemon.stop().stderr;
    assert_cut(&stage.traces()[0], &said, "too large");
}

#[test]
fn a_file_that_may_not_grow_ends_the_trace_and_nothing_else() {
    a_limited_daemon();
}

#[test]
fn a_full_disk_ends_the_trace_and_nothing_else() {
    let stage = Stage::new();
    let Some(disk) = SmallDisk::mount(stage.path("disk"), 256 << 10) else {
        // The same fault in the way that needs no right.
        return a_limited_daemon();
    };
    let expected = stage.untraced(TOKENS, &[]);
    let trace = disk.0.join("run.ggtrace");
    let options = [&["-o", trace.to_str().unwrap()], &OPTIONS[..]].concat();
    let done = run(stage.record(&options, &stage.generate(TOKENS, &[])));
    assert_unaffected(&done, &expected);
    assert_cut(&trace, &done.stderr, "No space left on device");
    assert!(done.stderr.contains("cut: not all of it could be written"), "{}", done.stderr);
}

#[test]
fn the_exit_code_is_the_programs_own_also_when_the_disk_is_full() {
    let stage = Stage::new();
    let Some(disk) = SmallDisk::mount(stage.path("disk"), 256 << 10) else { return a_limited_daemon() };
    let trace = disk.0.join("run.ggtrace");
    let options = [&["-o", trace.to_str().unwrap()], &OPTIONS[..]].concat();
    // Computes, and then fails in its own way.
    let mut command = stage.command("sh");
    let script = r#""$0" "$@"; exit 42"#;
    let generate = stage.generate(TOKENS, &[]);
    command.args(["-c", script]).arg(generate.get_program()).args(generate.get_args());
    let done = run(stage.record(&options, &command));
    assert_eq!((done.code(), &done.stdout), (Some(42), &stage.untraced(TOKENS, &[])));
    assert_cut(&trace, &done.stderr, "No space left on device");
}

#[test]
fn a_disk_without_room_for_the_first_byte_means_that_nothing_is_recorded() {
    let stage = Stage::new();
    let Some(disk) = SmallDisk::mount(stage.path("disk"), 4096) else { return a_limited_daemon() };
    while std::fs::write(disk.0.join("filler"), [1; 4096]).is_err() {}
    let trace = disk.0.join("run.ggtrace");
    let done = run(stage.record(&["-o", trace.to_str().unwrap()], &stage.generate(30, &[])));
    assert_unaffected(&done, &stage.untraced(30, &[]));
    assert!(done.stderr.contains("No space left on device"), "{}", done.stderr);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}

#[test]
fn a_session_whose_disk_is_full_does_not_hurt_the_next() {
    let stage = Stage::new();
    let expected = stage.untraced(50, &[]);
    let mut command = stage.command(ggscope());
    command.args(["daemon", "-d", "traces"]).args(OPTIONS);
    limit_files(&mut command, 200 << 10);
    let daemon = stage.started_daemon(command);
    let long = Process::start(stage.preloaded(stage.generate(TOKENS, &["--delay-ms", "1"])));
    daemon.wait_for_attached(1);
    let short = run(stage.preloaded(stage.generate(50, &[])));
    assert_unaffected(&short, &expected);
    assert_unaffected(&long.done(), &stage.untraced(TOKENS, &[]));
    daemon.wait_for_detached(2);
    daemon.stop();
    crate::stage::assert_whole(&stage.traces()[1], &expected);
}
