//! Small recordings of a target and its draft, for tests.

use crate::testing::{Random, Shape, evaluation, llama, recording};
use crate::{Trace, TraceWriter};
use ggscope_format::record::SequencesFrom;
use ggscope_format::{EvalId, TokenPhase};
use std::collections::BTreeMap;
use std::path::Path;

/// What is evaluated: context, first position, tokens.
pub type Step = (u32, i32, u32);

/// A target and its draft: two prompts, a round of drafts, the batch that verifies it, and the next token of each.
pub const ROUND: [Step; 7] = [(0, 0, 3), (1, 0, 3), (1, 3, 1), (1, 4, 1), (0, 3, 3), (1, 5, 1), (0, 6, 1)];

/// Begins a recording of these steps, with a graph for each shape that they have.
pub fn begin(path: &Path, steps: &[Step]) -> TraceWriter {
    let mut writer = TraceWriter::create(path, false, &recording()).unwrap();
    for (id, (context, n)) in shapes(steps) {
        let mut stored = llama(id, Shape { n_layer: 1, n_tokens: n.into(), n_outputs: n.into(), ..Shape::default() });
        stored.graph.context = context;
        writer.graph(stored).unwrap();
    }
    writer
}

fn shapes(steps: &[Step]) -> Vec<(u32, (u32, u32))> {
    let all: BTreeMap<(u32, u32), ()> = steps.iter().map(|step| ((step.0, step.2), ())).collect();
    (0..).zip(all.into_keys()).collect()
}

/// Records step `number`.
pub fn take(writer: &mut TraceWriter, steps: &[Step], number: usize) {
    let (context, position, n) = steps[number];
    let id = shapes(steps).iter().find(|shape| shape.1 == (context, n)).unwrap().0;
    let shape = Shape { n_layer: 1, n_tokens: n.into(), n_outputs: n.into(), ..Shape::default() };
    let mut e = evaluation(&llama(id, shape), number as u64, position, &mut Random(7));
    let is_prompt = position == 0;
    (e.context, e.call, e.eval) = (context, number as u64 + 1, EvalId(number as u64));
    e.tokens = (position..position + n as i32).map(|p| 100 + p).collect();
    e.positions = (position..position + n as i32).collect();
    (e.sequences, e.sequences_from) = (vec![0; n as usize], SequencesFrom::Batch);
    e.requested = Some(if is_prompt { vec![n as i32 - 1] } else { (0..n as i32).collect() });
    writer.evaluation(e).unwrap();
}

/// Context and tokens of answers of each evaluation.
pub fn phases(trace: &Trace) -> Vec<(u32, usize)> {
    let mut found = vec![];
    trace.for_each_evaluation_from(0, false, |_, row| {
        let answers = row.phases.iter().filter(|&&p| p == TokenPhase::Generate).count();
        found.push((row.evaluation.context, answers));
        std::ops::ControlFlow::Continue(())
    });
    found
}

/// [`phases`] of [`ROUND`], once it is known that context 1 drafts for context 0.
pub const RIGHT: [(u32, usize); 7] = [(0, 0), (1, 0), (1, 0), (1, 0), (0, 1), (1, 0), (0, 1)];
