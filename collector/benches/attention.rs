//! How fast attention is computed again: of a recorded run, every token in every layer and head, as somebody does who follows
//! it. `GGSCOPE_BENCH_TRACE=run.ggtrace cargo bench -p ggscope-collector --bench attention`; `benches/attention` records
//! such a run and puts beside it what llama.cpp and PyTorch take.

use ggscope_internals::attention::Walker;
use ggscope_trace::{Select, Trace};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

fn main() {
    let Some(path) = std::env::var_os("GGSCOPE_BENCH_TRACE").map(PathBuf::from) else {
        println!("attention: benches/attention records a run for it (GGSCOPE_BENCH_TRACE)");
        return;
    };
    let trace = Trace::open(&path).expect("a trace");
    let (mut single, mut prompt) = (vec![], (0_u64, 0.0));
    let mut walker = Walker::new(None);
    let mut keys = 0;
    trace.for_each_evaluation(&Select::default(), false, |row| {
        let begin = Instant::now();
        let flow = walker.advance(&trace, &row, &(0..u64::MAX), |row| {
            keys = row.keys.len();
            std::hint::black_box(row.weights);
            ControlFlow::Continue(())
        });
        let seconds = begin.elapsed().as_secs_f64();
        if row.evaluation.n_tokens == 1 {
            single.push(seconds);
        } else {
            prompt = (prompt.0 + u64::from(row.evaluation.n_tokens), prompt.1 + seconds);
        }
        flow
    });
    assert!(walker.walked().refused.is_empty(), "{:?}", walker.walked().refused);
    single.sort_by(f64::total_cmp);
    let of = |part: usize| single.get(single.len() * part / 100).map_or(f64::NAN, |s| s * 1e3);
    println!(
        "attention of a new token at {keys} keys, all layers and heads: {:.2} ms (middle half {:.2} to {:.2}, {} tokens)",
        of(50),
        of(25),
        of(75),
        single.len()
    );
    println!("attention of {} tokens of prompts: {:.3} s", prompt.0, prompt.1);
}
