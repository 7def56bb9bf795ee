//! Sessions from the first word on the socket to the finished file, with a shim of the tests' own.

mod support;

use ggscope_attach::ingest::Trouble;
use ggscope_attach::{Collector, Ended, Event, Listener, Output, RecordOptions};
use ggscope_format::capture::Capture;
use ggscope_format::record::{Evaluation, Record, RunEnd};
use ggscope_format::session::{Announce, Hello, Level, Welcome, frame};
use ggscope_format::{EvalId, Nanos};
use ggscope_trace::{Select, Trace};
use shared_memory::ShmemConf;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use support::{FakeShim, computation, compute, hello, receive, until};

struct Setup {
    dir: tempfile::TempDir,
    collector: Collector,
}

impl Setup {
    fn new(wanted: RecordOptions) -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::bind(&dir.path().join("sock")).unwrap();
        let output = Output::file(dir.path().join("run.ggtrace"), false);
        Setup { collector: Collector::start(listener, wanted, output).unwrap(), dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    fn attach(&self) -> FakeShim {
        FakeShim::attach(&self.socket()).unwrap()
    }

    /// All events until no session is open any more.
    fn events(&mut self) -> Vec<Event> {
        until("the sessions' end", || self.collector.open_sessions() == 0);
        self.collector.events().try_iter().collect()
    }

    /// The sessions that ended, and the warnings that they gave.
    fn ended(&mut self) -> (Vec<Ended>, Vec<String>) {
        let (mut ended, mut warnings) = (vec![], vec![]);
        for event in self.events() {
            match event {
                Event::Ended(session) => ended.push(*session),
                Event::Trouble { trouble: Trouble::Warning(text), .. } => warnings.push(text),
                Event::Attached { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        (ended, warnings)
    }
}

/// What a trace holds, in the order of the file.
fn evaluations_of(path: &Path) -> Vec<Evaluation> {
    let mut found = vec![];
    Trace::open(path).unwrap().for_each_evaluation(&Select::default(), true, |row| {
        found.push(row.evaluation);
        ControlFlow::Continue(())
    });
    found
}

#[test]
fn what_came_over_the_rings_is_in_the_file() {
    let mut setup = Setup::new(RecordOptions::default());
    let shim = setup.attach();
    // Two threads of the host, with a graph in common and one of its own.
    let (shared, first) = computation(0, 0, 600);
    let (_, second) = computation(0, 600, 300);
    let (own, third) = computation(1, 900, 300);
    std::thread::scope(|scope| {
        let segment = &shim.segment;
        scope.spawn(|| compute(segment, 0, &shared, &first));
        scope.spawn(|| {
            compute(segment, 1, &shared, &second);
            compute(segment, 1, &own, &third);
        });
    });
    drop(shim);
    let (ended, _) = setup.ended();
    let totals = &ended[0].outcome.totals;
    assert_eq!((totals.graphs, totals.evaluations, totals.dropped_records), (2, 1200, 0));
    assert_eq!(ended[0].outcome.cut, None);
    assert_eq!(ended[0].path, setup.dir.path().join("run.ggtrace"));
    let mut found = evaluations_of(&ended[0].path);
    found.sort_by_key(|e| e.eval);
    let expected: Vec<_> = [first, second, third].concat();
    assert_eq!(found.len(), expected.len());
    assert!(found == expected, "an evaluation has changed on its way");
}

#[test]
fn the_shim_is_told_what_is_wanted_and_the_segments_name_is_gone() {
    let wanted = RecordOptions {
        level: Level::Tensors,
        capture: Capture::named(["l_out-*"]),
        tokens: false,
        ring_bytes: 1 << 16,
    };
    let setup = Setup::new(wanted.clone());
    let shim = setup.attach();
    let Welcome { level, capture, tokens, ring_bytes, .. } = shim.welcome.clone();
    assert_eq!(RecordOptions { level, capture, tokens, ring_bytes }, wanted);
    assert!(ShmemConf::new().os_id(&shim.segment_name).open().is_err());
}

#[test]
fn no_tokens_keeps_them_out_even_if_the_shim_sends_them() {
    let mut setup = Setup::new(RecordOptions { tokens: false, ..RecordOptions::default() });
    let shim = setup.attach();
    let (graph, evaluations) = computation(0, 0, 3);
    assert!(evaluations.iter().all(|e| !e.tokens.is_empty()));
    shim.compute(0, &graph, &evaluations);
    drop(shim);
    let (ended, _) = setup.ended();
    let found = evaluations_of(&ended[0].path);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|e| e.tokens.is_empty()));
}

#[test]
fn records_that_make_no_sense_are_counted_and_the_rest_is_intact() {
    let mut setup = Setup::new(RecordOptions::default());
    let shim = setup.attach();
    let (graph, evaluations) = computation(0, 0, 10);
    shim.compute(0, &graph, &evaluations[..5]);
    assert!(shim.push_bytes(0, b"\xff\xff\xff nonsense"));
    assert!(shim.push_bytes(0, b""));
    assert!(shim.push(0, &Record::RunEnd(RunEnd { eval: EvalId(1), run: 0, end: Nanos(1) })));
    shim.compute(0, &graph, &evaluations[5..]);
    drop(shim);
    let (ended, warnings) = setup.ended();
    let totals = &ended[0].outcome.totals;
    assert_eq!((totals.evaluations, totals.dropped_records), (10, 2));
    assert!(warnings.iter().any(|w| w.contains("a record was lost")), "{warnings:?}");
}

#[test]
fn a_corrupted_ring_costs_what_it_held_and_no_more() {
    let mut setup = Setup::new(RecordOptions::default());
    let shim = setup.attach();
    let (graph, evaluations) = computation(0, 0, 20);
    shim.compute(0, &graph, &evaluations[..5]);
    // The host's memory went wild: the position that says how far ring 1 is written.
    let ring_one = 4096 + 256 + shim.welcome.ring_bytes as usize;
    // SAFETY: inside the mapping; the word is an atomic of the ring's control block, its head.
    let head = unsafe { &*shim.memory.as_ptr().add(ring_one).cast::<std::sync::atomic::AtomicU64>() };
    head.store(0xdead_beef_dead_beef, Ordering::Release);
    let mut warned = vec![];
    until("the warning", || {
        warned.extend(setup.collector.events().try_iter().filter_map(|event| match event {
            Event::Trouble { trouble: Trouble::Warning(text), .. } => Some(text),
            _ => None,
        }));
        warned.iter().any(|w| w.contains("corrupt"))
    });
    shim.compute(0, &graph, &evaluations[5..]);
    drop(shim);
    let (ended, _) = setup.ended();
    assert_eq!(ended[0].outcome.totals.evaluations, 20);
}

#[test]
fn what_a_full_ring_drops_is_counted_in_the_trace() {
    let mut setup = Setup::new(RecordOptions { ring_bytes: 64 << 10, ..RecordOptions::default() });
    let shim = setup.attach();
    let (graph, evaluations) = computation(0, 0, 5000);
    shim.compute(0, &graph, &[]);
    let pushed = evaluations.iter().filter(|e| shim.push(0, &Record::Evaluation((*e).clone()))).count() as u64;
    let dropped = evaluations.len() as u64 - pushed;
    assert!(dropped > 0, "nothing was dropped: the test does not test what it says");
    drop(shim);
    let (ended, _) = setup.ended();
    let totals = &ended[0].outcome.totals;
    assert_eq!((totals.evaluations, totals.dropped_records), (pushed, dropped));
}

#[test]
fn every_process_gets_its_own_file() {
    let mut setup = Setup::new(RecordOptions::default());
    let (graph, evaluations) = computation(0, 0, 4);
    let shims: Vec<FakeShim> = (0..3).map(|_| setup.attach()).collect();
    for (n, shim) in shims.iter().enumerate() {
        shim.compute(0, &graph, &evaluations[..=n]);
    }
    drop(shims);
    let (ended, _) = setup.ended();
    let mut found: Vec<(String, u64)> = ended
        .iter()
        .map(|e| (e.path.file_name().unwrap().to_string_lossy().into_owned(), e.outcome.totals.evaluations))
        .collect();
    found.sort();
    let expected = [("run.2.ggtrace", 2), ("run.3.ggtrace", 3), ("run.ggtrace", 1)];
    assert_eq!(found, expected.map(|(name, n)| (name.to_owned(), n)));
}

#[test]
fn letting_go_finishes_the_files_and_tells_the_shims() {
    let mut setup = Setup::new(RecordOptions::default());
    let shim = setup.attach();
    let (graph, evaluations) = computation(0, 0, 4);
    shim.compute(0, &graph, &evaluations);
    setup.collector.stop_accepting();
    assert!(UnixStream::connect(setup.socket()).is_err());
    setup.collector.stop_sessions();
    until("the collector to let go", || shim.segment.is_closed());
    let (ended, _) = setup.ended();
    assert_eq!(ended[0].outcome.totals.evaluations, 4);
    assert!(Trace::open(&ended[0].path).is_ok());
}

#[test]
fn who_does_not_keep_to_the_protocol_is_refused_and_leaves_no_file() {
    let mut setup = Setup::new(RecordOptions::default());
    let connect = || UnixStream::connect(setup.socket()).unwrap();
    // Hangs up at once, as one does who only wants to know whether somebody listens.
    drop(connect());
    let mut old = connect();
    old.write_all(&frame(&Hello { version: 0, ..hello() })).unwrap();
    assert!(receive::<Welcome>(&mut old).is_none());
    let mut foreign = connect();
    foreign.write_all(&frame(&hello())).unwrap();
    receive::<Welcome>(&mut foreign).unwrap();
    foreign.write_all(&frame(&Announce { segment: "/somebody-elses".into(), bytes: 1, refusal: None })).unwrap();
    assert!(receive::<ggscope_format::session::Attached>(&mut foreign).is_none());
    let events = setup.events();
    let is_hang_up = |event: &Event| match event {
        Event::Refused(error) => error.is_hang_up(),
        other => panic!("not refused: {other:?}"),
    };
    let hang_ups = events.iter().filter(|event| is_hang_up(event)).count();
    assert_eq!((hang_ups, events.len()), (1, 3), "{events:?}");
    assert_eq!(std::fs::read_dir(setup.dir.path()).unwrap().count(), 1, "only the socket is there");
}
