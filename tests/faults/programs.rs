//! Programs of all kinds under `ggscope record`: those that are not ours to trace, those that cannot be traced, and
//! those that start others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::stage::{Done, Process, Stage, assert_whole, children, info, run, traces_in, until};
use crate::support::hosts;

/// Runs it under `record` with the default file name.
fn recorded(stage: &Stage, command: &Command) -> Done {
    run(stage.record(&[], command))
}

fn shell(stage: &Stage, script: &str) -> Command {
    let mut command = stage.command("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_program_without_ggml_runs_as_ever_and_leaves_no_file() {
    let stage = Stage::new();
    let mut ls = stage.command("ls");
    ls.arg(stage.dir());
    let untraced = run({
        let mut ls = stage.command("ls");
        ls.arg(stage.dir());
        ls
    });
    let done = recorded(&stage, &ls);
    assert_eq!((done.code(), &done.stdout), (Some(0), &untraced.stdout));
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("ggscope: ") && done.stderr.contains("nothing was recorded"), "{}", done.stderr);
    assert!(done.stderr.contains("no ggml call"), "{}", done.stderr);
    assert_eq!(traces_in(stage.dir()), [""; 0].map(Into::<std::path::PathBuf>::into));
}

#[test]
fn quiet_means_that_only_the_program_is_heard() {
    let stage = Stage::new();
    let done = run(stage.record(&["--quiet"], &shell(&stage, "echo out; echo err >&2")));
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), "out\n", "err\n"));
}

#[test]
fn the_way_a_program_ends_is_passed_on() {
    let stage = Stage::new();
    for code in [0, 3, 42, 255] {
        let done = recorded(&stage, &shell(&stage, &format!("exit {code}")));
        assert_eq!(done.code(), Some(code), "{}", done.stderr);
    }
    for (name, number) in [("TERM", libc::SIGTERM), ("KILL", libc::SIGKILL), ("SEGV", libc::SIGSEGV)] {
        let done = recorded(&stage, &shell(&stage, &format!("kill -{name} $$")));
        assert_eq!(done.signal(), Some(number), "{}", done.stderr);
    }
}

#[test]
fn standard_input_and_both_outputs_are_the_programs_own() {
    let stage = Stage::new();
    fs::write(stage.path("input"), "one\ntwo\n").unwrap();
    let mut record = stage.record(&["--quiet"], &shell(&stage, "cat; echo failure >&2"));
    record.stdin(fs::File::open(stage.path("input")).unwrap()).env("KEEP_STDIN", "1");
    let done = run(record);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("one\ntwo\n", "failure\n"));
}

#[test]
fn what_is_not_there_is_not_started() {
    let stage = Stage::new();
    for program in ["no-such-program-anywhere", "./no-such-program", "/no/such/program"] {
        let done = recorded(&stage, &stage.command(program));
        assert_eq!((done.code(), done.stdout.as_str()), (Some(127), ""));
        assert_eq!(done.stderr, format!("ggscope: cannot start {program}: no such program\n"));
    }
}

#[test]
fn what_cannot_be_executed_is_not_started() {
    let stage = Stage::new();
    fs::write(stage.path("plain"), "text").unwrap();
    for program in ["./plain", "/"] {
        let done = recorded(&stage, &stage.command(program));
        assert_eq!((done.code(), done.stdout.as_str()), (Some(126), ""), "{program}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert!(done.stderr.starts_with(&format!("ggscope: cannot start {program}: ")), "{}", done.stderr);
    }
    assert!(traces_in(stage.dir()).is_empty());
}

#[test]
fn a_static_program_runs_and_the_user_hears_why_it_is_not_recorded_and_what_to_do() {
    let stage = Stage::new();
    let program = hosts::static_hello();
    let untraced = run(stage.command(&program));
    let done = recorded(&stage, &stage.command(&program));
    assert_eq!((done.code(), &done.stdout), (untraced.code(), &untraced.stdout));
    assert!(!done.stdout.is_empty());
    for part in [program.to_str().unwrap(), "statically linked", "docs/linking.md", "nothing was recorded"] {
        assert!(done.stderr.contains(part), "{part:?} is not in {}", done.stderr);
    }
    assert!(traces_in(stage.dir()).is_empty());
}

#[test]
fn a_script_that_starts_a_ggml_program_is_recorded_as_that_program() {
    let stage = Stage::new();
    let expected = stage.untraced(50, &[]);
    let generate = stage.generate(50, &[]);
    let arguments: Vec<_> = generate.get_args().map(|a| format!("'{}'", a.to_str().unwrap())).collect();
    let line = format!("'{}' {}", generate.get_program().to_str().unwrap(), arguments.join(" "));
    // A shell, children that are not ours to trace, a pipe, an exit code.
    let script = format!("#!/bin/sh\necho begin | cat\n{line} | cat\nls / >/dev/null\nexit 5\n");
    fs::write(stage.path("script"), script).unwrap();
    fs::set_permissions(stage.path("script"), fs::Permissions::from_mode(0o755)).unwrap();
    let done = run(stage.record(&["-o", "run.ggtrace"], &stage.command("./script")));
    assert_eq!((done.code(), &done.stdout), (Some(5), &format!("begin\n{expected}")), "{}", done.stderr);
    assert_eq!(done.said().len(), 1, "{}", done.stderr);
    assert_eq!(traces_in(stage.dir()), [stage.path("run.ggtrace")]);
    assert_whole(&stage.path("run.ggtrace"), &expected);
    let exe = info(&stage.path("run.ggtrace"))["process"]["exe"].as_str().unwrap().to_owned();
    assert!(exe.ends_with("/generate"), "{exe}");
}

#[test]
fn a_program_that_forks_while_it_is_recorded_keeps_its_trace() {
    let stage = Stage::new();
    let expected = stage.untraced(100, &["--fork"]);
    let done = run(stage.record(&["-o", "run.ggtrace"], &stage.generate(100, &["--fork"])));
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected), "{}", done.stderr);
    // The child computes nothing and gets no file.
    assert_eq!(traces_in(stage.dir()), [stage.path("run.ggtrace")]);
    assert_whole(&stage.path("run.ggtrace"), &expected);
}

#[test]
fn a_program_and_the_child_that_it_forked_get_a_whole_trace_each() {
    let stage = Stage::new();
    let expected = stage.untraced(100, &[]);
    let child_output = stage.path("child.txt");
    let options = ["--fork-generate", child_output.to_str().unwrap()];
    let done = run(stage.record(&["-o", "run.ggtrace"], &stage.generate(100, &options)));
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected), "{}", done.stderr);
    assert_eq!(fs::read_to_string(&child_output).unwrap(), expected);
    let (first, second) = (stage.path("run.ggtrace"), stage.path("run.2.ggtrace"));
    for trace in [&first, &second] {
        assert_whole(trace, &expected);
        let name = trace.file_name().unwrap().to_str().unwrap();
        assert!(done.stderr.contains(&format!("→ {name} ")), "{}", done.stderr);
    }
    assert_ne!(info(&first)["process"]["pid"], info(&second)["process"]["pid"]);
}

#[test]
fn a_program_killed_in_mid_run_leaves_all_that_it_had_computed() {
    let stage = Stage::new();
    let expected = stage.untraced(1900, &[]);
    let daemon = stage.daemon(&[]);
    let host = Process::start(stage.preloaded(stage.generate(1900, &["--delay-ms", "1"])));
    host.wait_for_lines(400);
    host.signal(libc::SIGKILL);
    let done = host.done();
    assert_eq!((done.signal(), done.stderr.as_str()), (Some(libc::SIGKILL), ""));
    assert!(expected.starts_with(&done.stdout));
    daemon.wait_for_detached(1);
    daemon.stop();
    let trace = &stage.traces()[0];
    let info = info(trace);
    assert_eq!((&info["complete"], &info["dropped"]["records"]), (&true.into(), &0.into()), "{info:#}");
    said_to_be_killed(&info);
    let (n, printed) = (info["evaluations"].as_u64().unwrap(), done.stdout.lines().count() as u64);
    // The last one may have been computed and not printed.
    assert!(n == printed || n == printed + 1, "{n} evaluations and {printed} tokens");
    assert_eq!(crate::stage::evaluations(trace), (0..n).collect::<Vec<_>>());
}

#[test]
fn a_program_killed_under_record_leaves_a_whole_trace_and_the_signal_is_passed_on() {
    let stage = Stage::new();
    let generate = stage.generate(1900, &["--delay-ms", "1"]);
    let record = Process::start(stage.record(&["-o", "run.ggtrace"], &generate));
    record.wait_for_lines(100);
    let host = children(record.pid());
    assert_eq!(host.len(), 1);
    crate::stage::kill(host[0], libc::SIGKILL);
    let done = record.done();
    assert_eq!(done.signal(), Some(libc::SIGKILL), "{}", done.stderr);
    assert!(done.stderr.contains("run.ggtrace"), "{}", done.stderr);
    let info = info(&stage.path("run.ggtrace"));
    let (n, printed) = (info["evaluations"].as_u64().unwrap(), done.stdout.lines().count() as u64);
    assert_eq!(info["complete"], true);
    said_to_be_killed(&info);
    assert!(n == printed || n == printed + 1, "{n} evaluations and {printed} tokens");
}

/// The trace says how its program ended, and how far it goes.
fn said_to_be_killed(info: &serde_json::Value) {
    let ending = &info["ending"];
    assert_eq!((&ending["how"], &ending["signal"]), (&"killed".into(), &"SIGKILL".into()), "{ending}");
    let tokens = info["tokens"]["prompt"].as_u64().unwrap() + info["tokens"]["generate"].as_u64().unwrap();
    let text = format!("generate was killed by SIGKILL; the trace has everything up to token {}", tokens - 1);
    assert_eq!(ending["text"], text);
}

#[test]
fn a_trace_says_how_its_program_ended() {
    let stage = Stage::new();
    let daemon = stage.daemon(&[]);
    let script = r#""$@" >/dev/null & p=$!; sleep 0.2; wait $p; exit 0"#;
    // A decode that is aborted ends the program with 3.
    for (n, arguments) in [&[][..], &["--abort-after", "30"]].into_iter().enumerate() {
        let generate = stage.generate(20, arguments);
        let mut command = shell(&stage, script);
        command.arg("sh").arg(generate.get_program()).args(generate.get_args());
        run(stage.preloaded(command));
        daemon.wait_for_detached(n + 1);
    }
    until("both traces' ends", || stage.traces().iter().all(|trace| info(trace)["complete"] == true));
    let mut endings: Vec<_> = stage.traces().iter().map(|trace| info(trace)["ending"].clone()).collect();
    endings.sort_by_key(|ending| ending["code"].as_i64());
    let facts = |e: &serde_json::Value| (e["how"].clone(), e["code"].as_i64(), e["unexpected"].as_bool());
    let expected = [("exited".into(), Some(0), Some(false)), ("exited".into(), Some(3), Some(true))];
    assert_eq!(endings.iter().map(facts).collect::<Vec<_>>(), expected);
    assert!(daemon.stop().stderr.contains("generate exited with code 3; "));
}

#[test]
fn a_record_that_is_killed_lets_its_program_run_on() {
    let stage = Stage::new();
    let expected = stage.untraced(500, &[]);
    let output = stage.path("tokens.txt");
    // Its output must not end with `record`'s pipes being read.
    let generate = stage.generate(500, &["--delay-ms", "2"]);
    let mut command = shell(&stage, r#"exec "$@" >"$0""#);
    command.arg(&output).arg(generate.get_program()).args(generate.get_args());
    let record = Process::start(stage.record(&["-o", "run.ggtrace"], &command));
    let printed = || fs::read_to_string(&output).unwrap_or_default();
    until("tokens", || printed().lines().count() > 50);
    record.signal(libc::SIGKILL);
    let done = record.done();
    assert_eq!(done.signal(), Some(libc::SIGKILL));
    until("the program's last token", || printed().len() >= expected.len());
    assert_eq!(printed(), expected);
}

#[test]
fn no_temporary_file_is_left_behind() {
    let stage = Stage::new();
    let temporary = stage.path("tmp");
    fs::create_dir(&temporary).unwrap();
    for command in [stage.generate(5, &[]), shell(&stage, "exit 3"), shell(&stage, "kill -TERM $$")] {
        let mut record = stage.record(&["-o", "run.ggtrace", "--force"], &command);
        record.env("TMPDIR", &temporary);
        run(record);
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    }
}
