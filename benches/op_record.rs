//! What one operator costs the traced program: the clock's call after the operator, and its share of writing the
//! evaluation to the ring afterwards. `cargo bench -p ggscope-shim --bench op_record`

#![allow(missing_docs, reason = "criterion's macros make public functions without any")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ggscope::clock::{self, Conversion, Ticks};
use ggscope::op_clock::{OpClock, op_clock};
use ggscope_format::record::{Evaluation, Record, Run};
use ggscope_format::ring::{Consumer, ShmRing};
use std::hint::black_box;

/// Clock calls in an evaluation of the demo model.
const CALLS: usize = 515;
const RING_BYTES: u64 = 2 << 20;

fn operator(c: &mut Criterion) {
    let clock = OpClock::new(None, std::ptr::null_mut());
    let data = std::ptr::from_ref(&*clock).cast_mut().cast();
    let mut group = c.benchmark_group("one operator");
    group.throughput(Throughput::Elements(CALLS as u64));
    group.bench_function("clock calls of an evaluation of 515 operators", |b| {
        b.iter(|| {
            clock.arm(CALLS);
            for _ in 0..CALLS {
                // SAFETY: the clock outlives the loop.
                black_box(unsafe { op_clock(black_box(data)) });
            }
        });
    });

    let mut memory = vec![0_u64; (64 + 256 + RING_BYTES as usize) / 8 + 8];
    let base = memory.as_mut_ptr().cast::<u8>();
    // SAFETY: the vector has room for the alignment, the control block and the data, and outlives both ends.
    let ring = unsafe { ShmRing::new(base.add(base.align_offset(64)), RING_BYTES) };
    // SAFETY: the only consumer.
    let mut consumer = unsafe { Consumer::new(ring) };
    let conversion = Conversion::begin();
    std::thread::sleep(std::time::Duration::from_millis(10));
    let mut ticks: Vec<Ticks> = vec![];
    let mut record = Evaluation::default();
    let (mut encoded, mut read) = (vec![], vec![]);
    group.bench_function("clock calls, durations, encoding and ring of an evaluation of 515 operators", |b| {
        b.iter(|| {
            record.clear();
            ticks.clear();
            let begin = clock::now();
            clock.arm(CALLS);
            for _ in 0..CALLS {
                // SAFETY: the clock outlives the loop.
                black_box(unsafe { op_clock(black_box(data)) });
            }
            ticks.extend(clock.times().expect("room for all calls"));
            conversion.rate().durations(begin, &ticks, &mut record.durations);
            record.runs.push(Run { n_nodes: 939, n_calls: CALLS as u32, ..Run::default() });
            let whole = Record::Evaluation(std::mem::take(&mut record));
            encoded.clear();
            whole.encode(&mut encoded);
            assert!(ring.lease().expect("nobody else writes").producer.push(&encoded));
            let Record::Evaluation(back) = whole else { unreachable!("it was made above") };
            record = back;
            assert!(consumer.pop(&mut read).expect("an honest ring"));
        });
    });
    group.finish();
}

criterion_group!(benches, operator);
criterion_main!(benches);
