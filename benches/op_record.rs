//! What one operator costs the traced program: the clock's call after the operator, and its share of writing the
//! evaluation to the ring afterwards; and what recognizing a graph costs. `cargo bench -p ggscope-shim --bench op_record`

#![allow(missing_docs, reason = "criterion's macros make public functions without any")]

#[path = "../tests/support/decoder.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod decoder;
#[path = "../tests/support/graphs.rs"]
mod graphs;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use decoder::{Decoder, Model, memory};
use ggscope::choices::Choices;
use ggscope::clock::{self, Conversion, Ticks};
use ggscope::graph::GraphRef;
use ggscope::host::InitParams;
use ggscope::identity::{Places, Setting, identify};
use ggscope::inputs::inputs;
use ggscope::op_clock::{OpClock, op_clock};
use ggscope::structure::{Tensors, plain};
use ggscope_format::record::{Evaluation, Record, Run};
use ggscope_format::ring::{Consumer, ShmRing};
use ggscope_format::structure::Chosen;
use graphs::ggml;
use std::hint::black_box;

/// Clock calls in an evaluation of the demo model.
const CALLS: usize = 515;
const RING_BYTES: u64 = 2 << 20;
/// Nodes of the demo model's graph.
const NODES: usize = 939;

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

/// A graph of the vendored ggml, which is loaded into this process: chains of products and scalings.
fn graph(c: &mut Criterion) {
    let graphs::Ggml { host, layout, .. } = ggml();
    // SAFETY: ggml's documented use; context and graph live as long as the process.
    let graph = unsafe {
        let mem_size = 2 * NODES * (host.ggml_tensor_overhead)() + (host.ggml_graph_overhead)();
        let ctx = (host.ggml_init)(InitParams { mem_size, mem_buffer: std::ptr::null_mut(), no_alloc: true });
        let matrix = (host.ggml_new_tensor_3d)(ctx, 0, 64, 64, 1);
        let mut at = (host.ggml_new_tensor_3d)(ctx, 0, 64, 1, 1);
        for i in 0..NODES {
            at = if i % 2 == 0 { (host.ggml_mul_mat)(ctx, matrix, at) } else { (host.ggml_scale)(ctx, at, 0.5) };
            (host.ggml_set_name)(at, c"Qcur-12 (view)".as_ptr());
        }
        let graph = (host.ggml_new_graph)(ctx);
        (host.ggml_build_forward_expand)(graph, at);
        GraphRef::new(host, layout, graph)
    };
    assert_eq!(graph.n_nodes as usize, NODES);
    let places = Places::of(graph);
    let mut group = c.benchmark_group("a graph of 939 nodes");
    group.bench_function("is the one before", |b| b.iter(|| assert!(places.are_of(black_box(graph)))));
    group.bench_function("is identified", |b| {
        b.iter(|| {
            identify(black_box(graph), Setting::default(), |identity| {
                black_box(identity);
            })
        });
    });
    group.bench_function("has inputs", |b| b.iter(|| black_box(inputs(black_box(graph)))));
    group.finish();
}

/// A decoder of 30 layers that is built anew for every token: what the sets `layers` and `logits` take of it.
fn choice(c: &mut Criterion) {
    let (model, mut memory) = (Model::new(30), memory());
    let built = Decoder { layers: 30, ..Decoder::default() }.build(&model, &mut memory);
    let (graph, choices) = (built.read(), Choices::default());
    let mut group = c.benchmark_group(format!("a graph of {} nodes that is built for every token", graph.n_nodes));
    group.bench_function("is looked through", |b| {
        b.iter(|| black_box(Chosen::of(&plain(black_box(graph), &Tensors::of(graph)))));
    });
    group.bench_function("is known", |b| b.iter(|| black_box(choices.of(black_box(graph)))));
    group.finish();
}

criterion_group!(benches, operator, graph, choice);
criterion_main!(benches);
