//! The collector is absent, dies, comes back, is slow, or has more than one program.

use std::time::{Duration, Instant};

use crate::stage::{Pause, Process, Stage, assert_whole, evaluations, info, run, until};

#[test]
fn without_a_collector_a_program_runs_untraced_and_nothing_shows() {
    let stage = Stage::new();
    let expected = stage.untraced(40, &[]);
    let host = Process::start(stage.preloaded(stage.generate(40, &[])));
    let segments = format!("ggscope-{}-", host.pid());
    let done = host.done();
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    let left = std::fs::read_dir("/dev/shm").unwrap();
    assert_eq!(left.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(&segments)).count(), 0);
    assert_eq!(std::fs::read_dir(stage.dir()).unwrap().count(), 1, "only the model is there");
}

#[test]
fn a_program_outlives_a_killed_collector_and_attaches_to_the_next_one() {
    let stage = Stage::new();
    let expected = stage.untraced(1900, &[]);
    let first = stage.daemon(&[]);
    let host = Process::start(stage.preloaded(stage.generate(1900, &["--delay-ms", "2"])));
    // A chunk of evaluations is on disk.
    until("evaluations in the first trace", || {
        stage.traces().first().is_some_and(|trace| info(trace)["evaluations"].as_u64().unwrap() > 0)
    });
    first.kill();
    host.wait_for_lines(host.stdout().lines().count() + 50);

    let second = stage.daemon(&[]);
    let listening = Instant::now();
    second.wait_for_attached(1);
    assert!(listening.elapsed() < Duration::from_secs(3), "attached after {:?}", listening.elapsed());
    let done = host.done();
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    second.wait_for_detached(1);
    second.stop();

    let traces = stage.traces();
    assert_eq!(traces.len(), 2, "{traces:?}");
    let cut = info(&traces[0]);
    assert_eq!(cut["complete"], false);
    assert!(cut["warnings"][0].as_str().unwrap().contains("cut"), "{cut:#}");
    let n = cut["evaluations"].as_u64().unwrap();
    assert_eq!(evaluations(&traces[0]), (0..n).collect::<Vec<_>>());
    let whole = info(&traces[1]);
    assert_eq!(whole["complete"], true);
    assert_eq!(
        (&whole["dropped"]["records"], whole["warnings"].as_array().unwrap().len()),
        (&0.into(), 0),
        "{whole:#}"
    );
    let n = whole["evaluations"].as_u64().unwrap();
    assert!(n > 0 && n < 1900, "{n}");
    assert_eq!(evaluations(&traces[1]), (0..n).collect::<Vec<_>>());
}

#[test]
fn a_program_that_starts_before_its_collector_attaches_as_soon_as_there_is_one() {
    let stage = Stage::new();
    let expected = stage.untraced(600, &[]);
    let host = Process::start(stage.preloaded(stage.generate(600, &["--delay-ms", "5"])));
    host.wait_for_lines(50);
    let daemon = stage.daemon(&[]);
    daemon.wait_for_attached(1);
    let done = host.done();
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    daemon.stop();
    let trace = info(&stage.traces()[0]);
    assert_eq!(trace["complete"], true);
    assert!((1..550).contains(&trace["evaluations"].as_u64().unwrap()), "{trace:#}");
}

#[test]
fn a_daemon_that_is_stopped_lets_programs_go_and_finishes_their_traces() {
    let stage = Stage::new();
    let expected = stage.untraced(400, &[]);
    let daemon = stage.daemon(&[]);
    let host = Process::start(stage.preloaded(stage.generate(400, &["--delay-ms", "5"])));
    daemon.wait_for_attached(1);
    host.wait_for_lines(100);
    let begin = Instant::now();
    daemon.stop();
    assert!(begin.elapsed() < Duration::from_secs(2), "it took {:?}", begin.elapsed());
    let trace = info(&stage.traces()[0]);
    assert_eq!((&trace["complete"], &trace["ending"]["how"]), (&true.into(), &"let_go".into()), "{trace:#}");
    assert!((100..400).contains(&trace["evaluations"].as_u64().unwrap()), "{trace:#}");
    assert!(!stage.socket().exists());
    let done = host.done();
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
}

#[test]
fn what_a_slow_collector_misses_is_counted_and_the_rest_is_intact() {
    // Rounds of 150 tokens: from the second on, no graph is new, so what is lost is evaluations.
    let options = ["--repeat", "8"];
    let stage = Stage::new();
    let expected = stage.untraced(150, &options);
    let daemon = stage.daemon(&["--ring-size", "64KiB"]);
    let host = Process::start(stage.preloaded(stage.generate(150, &[&options[..], &["--delay-ms", "1"]].concat())));
    host.wait_for_lines(200);
    daemon.process.signal(libc::SIGSTOP);
    host.wait_for_lines(1000);
    daemon.process.signal(libc::SIGCONT);
    let done = host.done();
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    daemon.wait_for_detached(1);
    let said = daemon.stop().stderr;
    assert!(said.contains("lost because the ring was full"), "{said}");

    let trace = &stage.traces()[0];
    let info = info(trace);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let (recorded, dropped) = (number(&info["evaluations"]), number(&info["dropped"]["records"]));
    assert!(dropped > 0 && number(&info["dropped"]["bytes"]) > 0, "nothing was lost: this test does not test");
    // Each of the eight rounds begins with a cleared memory, and the record of that may be lost too.
    let computed = expected.lines().count() as u64;
    assert!((computed..=computed + 8).contains(&(recorded + dropped)), "{info:#}");
    assert_eq!(info["complete"], true);
    assert!(info["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("lost")), "{info:#}");
    let there = evaluations(trace);
    assert_eq!(there.len() as u64, recorded);
    // Before and after the gap.
    assert_eq!((there[0], *there.last().unwrap()), (0, 1199));
}

#[test]
fn a_program_never_waits_for_a_collector_that_hangs() {
    let stage = Stage::new();
    let expected = stage.untraced(1000, &[]);
    let daemon = stage.daemon(&["--ring-size", "64KiB"]);
    let pause = Pause::at(stage.path("pause"));
    let host = Process::start(stage.preloaded(stage.generate(1000, &["--pause-file", pause.path()])));
    daemon.wait_for_attached(1);
    daemon.process.signal(libc::SIGSTOP);
    pause.end();
    // It ends although nobody reads what it records.
    let done = host.done();
    daemon.process.signal(libc::SIGCONT);
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    daemon.wait_for_detached(1);
    daemon.stop();
    let info = info(&stage.traces()[0]);
    assert_eq!(info["complete"], true);
    assert!(info["dropped"]["records"].as_u64().unwrap() > 0, "{info:#}");
    let recorded = info["evaluations"].as_u64().unwrap();
    assert_eq!(evaluations(&stage.traces()[0]).len() as u64, recorded, "{info:#}");
}

#[test]
fn a_collector_that_hangs_from_the_beginning_holds_a_program_up_for_seconds_at_most() {
    let stage = Stage::new();
    let expected = stage.untraced(20, &[]);
    let daemon = stage.daemon(&[]);
    daemon.process.signal(libc::SIGSTOP);
    let begin = Instant::now();
    let done = run(stage.preloaded(stage.generate(20, &[])));
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    assert_eq!((done.code(), done.stdout.as_str(), done.stderr.as_str()), (Some(0), expected.as_str(), ""));
    daemon.process.signal(libc::SIGCONT);
    daemon.stop();
}

#[test]
fn two_programs_under_one_daemon_get_a_whole_trace_each() {
    let stage = Stage::new();
    let prompts = ["once upon a time", "the end of it"];
    let options = prompts.map(|prompt| ["--seed-prompt", prompt, "--delay-ms", "2"]);
    let expected = prompts.map(|prompt| stage.untraced(200, &["--seed-prompt", prompt]));
    assert_ne!(expected[0], expected[1]);
    let daemon = stage.daemon(&[]);
    let hosts = options.map(|options| Process::start(stage.preloaded(stage.generate(200, &options))));
    daemon.wait_for_attached(2);
    let dones = hosts.map(Process::done);
    daemon.wait_for_detached(2);
    daemon.stop();
    let traces = stage.traces();
    assert_eq!(traces.len(), 2, "{traces:?}");
    for (i, done) in dones.iter().enumerate() {
        assert_eq!((done.code(), &done.stdout, done.stderr.as_str()), (Some(0), &expected[i], ""));
    }
    for trace in &traces {
        let info = info(trace);
        let argv: Vec<&str> = info["process"]["argv"].as_array().unwrap().iter().flat_map(|a| a.as_str()).collect();
        let which = prompts.iter().position(|prompt| argv.contains(prompt)).expect("one of the two");
        assert_whole(trace, &expected[which]);
    }
}

#[test]
fn a_second_daemon_leaves_the_first_ones_socket_alone() {
    let stage = Stage::new();
    let expected = stage.untraced(20, &[]);
    let daemon = stage.daemon(&[]);
    let second = stage.ggscope(&["daemon", "-d", "traces"]);
    assert_eq!(second.code(), Some(1));
    assert_eq!(second.said().len(), 1, "{}", second.stderr);
    assert!(second.stderr.contains("another ggscope daemon listens on"), "{}", second.stderr);
    assert!(second.stderr.contains(stage.socket().to_str().unwrap()), "{}", second.stderr);
    let done = run(stage.preloaded(stage.generate(20, &[])));
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected));
    daemon.wait_for_detached(1);
    daemon.stop();
    assert_whole(&stage.traces()[0], &expected);
}

#[test]
fn a_daemon_takes_over_the_socket_of_one_that_was_killed() {
    let stage = Stage::new();
    let expected = stage.untraced(20, &[]);
    stage.daemon(&[]).kill();
    assert!(stage.socket().exists(), "a killed daemon removes nothing: this test does not test");
    let daemon = stage.daemon(&[]);
    let done = run(stage.preloaded(stage.generate(20, &[])));
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected));
    daemon.wait_for_detached(1);
    daemon.stop();
    assert_whole(&stage.traces()[0], &expected);
}
