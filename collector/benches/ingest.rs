//! Ingest, ring to file, on one core: how many operator records (durations) a second go from a segment through
//! decoding, columns and zstd into a file. The host's side runs on another core and waits for room, so that nothing is
//! lost and the ingest is what is measured. `cargo bench -p ggscope-collector --bench ingest`

use ggscope_attach::ingest::{self, Progress, Sink, Trouble};
use ggscope_format::record::Record;
use ggscope_format::segment::{DEFAULT_RING_BYTES, Segment, segment_bytes};
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
use ggscope_trace::{Ending, TraceWriter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const EVALUATIONS: u64 = 20_000;
const ROUNDS: usize = 5;

fn main() {
    let records = Records::new();
    let cores = cores();
    let mut rates: Vec<f64> = (0..ROUNDS).map(|_| records.ingest(&cores)).collect();
    rates.sort_by(f64::total_cmp);
    let (median, least, most) = (rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
    println!(
        "ingest: {:.1} million operator records/s on one core, nothing lost (median of {ROUNDS}, {:.1} to {:.1}; {} evaluations of {} records)",
        median / 1e6,
        least / 1e6,
        most / 1e6,
        EVALUATIONS,
        records.operators / EVALUATIONS,
    );
}

struct Records {
    encoded: Vec<Vec<u8>>,
    operators: u64,
}

impl Records {
    fn new() -> Records {
        let graph = llama(0, Shape::default());
        let mut random = Random(88_172_645_463_325_252);
        let mut operators = 0;
        let mut encoded = vec![vec![]];
        Record::Graph(graph.graph.clone()).encode(&mut encoded[0]);
        for i in 0..EVALUATIONS {
            let e = evaluation(&graph, i, i as i32, &mut random);
            operators += e.durations.len() as u64;
            let mut bytes = vec![];
            Record::Evaluation(e).encode(&mut bytes);
            encoded.push(bytes);
        }
        Records { encoded, operators }
    }

    /// Operator records a second, from the first push to the end of the finished file.
    fn ingest(&self, cores: &[usize]) -> f64 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let recording = recording();
        let writer = TraceWriter::create(&dir.path().join("bench.ggtrace"), false, &recording).expect("a new file");
        let mut memory = vec![Page([0; 4096]); segment_bytes(1, DEFAULT_RING_BYTES).div_ceil(4096)];
        // SAFETY: page-aligned zeroes, of that size, which live until both threads below have ended.
        let segment = unsafe { Segment::create(memory.as_mut_ptr().cast(), 1, DEFAULT_RING_BYTES) };
        let pushed = AtomicBool::new(false);
        let begin = Instant::now();
        let totals = std::thread::scope(|scope| {
            let ingest = scope.spawn(|| {
                pin_to(cores[0]);
                let progress = Progress::default();
                // The model of synthetic graphs does not exist, which is worth a warning and no more.
                let report = |trouble| assert!(matches!(trouble, Trouble::Warning(_)), "{trouble:?}");
                let sink = Sink { writer, hello: &recording.hello, tokens: true, progress: &progress, report: &report };
                let wait = |pause: Duration| {
                    std::thread::sleep(pause);
                    pushed.load(Ordering::Acquire).then_some(Ending::LetGo)
                };
                ingest::run(&segment, sink, wait).totals
            });
            pin_to(*cores.get(1).unwrap_or(&cores[0]));
            let mut lease = segment.ring(0).lease().expect("the only producer");
            for record in &self.encoded {
                while !lease.producer.fits_all([record.len()].into_iter()) {
                    std::thread::sleep(Duration::from_micros(100));
                }
                assert!(lease.producer.push(record));
            }
            pushed.store(true, Ordering::Release);
            ingest.join().expect("ingest ends")
        });
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!((totals.evaluations, totals.dropped_records), (EVALUATIONS, 0));
        if let Some(path) = std::env::var_os("GGSCOPE_BENCH_KEEP") {
            // benches/overhead measures `info` on it.
            std::fs::copy(dir.path().join("bench.ggtrace"), path).expect("a place to keep the trace");
        }
        self.operators as f64 / seconds
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// Cores that this program may use.
fn cores() -> Vec<usize> {
    // SAFETY: a set of processors is plain data, and the call writes only to it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &set)).collect()
    }
}

/// Keeps the calling thread, and those that it starts, on one core.
fn pin_to(core: usize) {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
