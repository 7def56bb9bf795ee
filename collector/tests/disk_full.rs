//! A disk that is full in the middle of a session: the host does not notice, the user hears of it once, and what was
//! written before opens. One test in a program of its own, because a limit on the size of files is the whole process's.

mod support;

use ggscope_attach::ingest::Trouble;
use ggscope_attach::{Collector, Event, Listener, Output, RecordOptions};
use ggscope_trace::Trace;
use support::{FakeShim, computation, until};

const LIMIT_BYTES: u64 = 64 << 10;

#[test]
fn the_host_goes_on_and_what_was_written_opens() {
    let dir = tempfile::tempdir().unwrap();
    let listener = Listener::bind(&dir.path().join("sock")).unwrap();
    let output = Output::file(dir.path().join("run.ggtrace"), false);
    let collector =
        Collector::start(listener, RecordOptions { ring_bytes: 64 << 10, ..RecordOptions::default() }, output).unwrap();
    // The segment is a file too, and larger: it is made before the limit counts.
    let shim = FakeShim::attach(&dir.path().join("sock")).unwrap();
    limit_files();
    let (graph, evaluations) = computation(0, 0, 4000);
    // Many times what the ring holds: it would be full if nobody read it.
    shim.compute(0, &graph, &evaluations);
    shim.compute(1, &graph, &evaluations);
    assert_eq!(shim.segment.ring(0).dropped(), (0, 0));
    drop(shim);
    until("the session's end", || collector.open_sessions() == 0);
    let (mut cuts, mut outcomes) = (vec![], vec![]);
    for event in collector.events().try_iter() {
        match event {
            Event::Trouble { trouble: Trouble::Cut(text), .. } => cuts.push(text),
            Event::Ended(ended) => outcomes.push(ended),
            _ => {}
        }
    }
    assert_eq!(cuts.len(), 1, "{cuts:?}");
    assert!(cuts[0].contains("run.ggtrace") && cuts[0].contains("cannot write"), "{}", cuts[0]);
    assert_eq!(outcomes[0].outcome.cut.as_ref(), Some(&cuts[0]));
    let trace = Trace::open(&outcomes[0].path).unwrap();
    assert!(!trace.complete());
    assert!(trace.totals().evaluations >= 256, "{}", trace.totals().evaluations);
}

fn limit_files() {
    let limit = libc::rlimit { rlim_cur: LIMIT_BYTES, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: plain data; writing beyond the limit shall be an error and not a signal.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
    }
}
