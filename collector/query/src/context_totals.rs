//! What one context of a recording computed, as the summary of the whole recording counts it.

use super::contexts::{Context, TokensPerSecond};
use ggscope_format::GraphId;
use ggscope_trace::analysis::timing::Plans;
use ggscope_trace::{OperatorSums, OperatorTotal, Select, Totals, Trace};
use std::ops::ControlFlow;

/// The sums of one context and its times by kind of operator; what is no context's is the whole recording's.
pub(super) fn totals_of(trace: &Trace, context: u32) -> (Totals, Vec<OperatorTotal>) {
    let of_context = |graph: &GraphId| trace.graph(*graph).is_ok_and(|stored| stored.graph.context == context);
    let graphs = trace.graphs().filter(of_context).count() as u64;
    let Totals {
        value_bytes, dropped_records, dropped_bytes, left_out_evaluations, left_out_bytes, file_bytes, ..
    } = *trace.totals();
    let mut totals = Totals {
        graphs,
        value_bytes,
        dropped_records,
        dropped_bytes,
        left_out_evaluations,
        left_out_bytes,
        file_bytes,
        ..Totals::default()
    };
    let (mut operators, mut plans) = (OperatorSums::default(), Plans::default());
    trace.for_each_evaluation(&Select::default(), true, |row| {
        if row.evaluation.context == context
            && let Ok(stored) = trace.graph(row.evaluation.graph)
        {
            let plan = plans.of(&stored.graph, &row.evaluation);
            totals.add(&row, &plan);
            operators.add(&stored.graph, &plan, &row.evaluation);
        }
        ControlFlow::Continue(())
    });
    (totals, operators.totals())
}

/// Speeds, where only one of the contexts has tokens of the phase: those of several have none in common.
pub(super) fn speed_of(contexts: &[Context], totals: &Totals) -> TokensPerSecond {
    let is_one = |tokens: fn(&Context) -> u64| contexts.iter().filter(|&c| tokens(c) > 0).count() < 2;
    let TokensPerSecond { prompt, generate } = TokensPerSecond::of(totals);
    TokensPerSecond {
        prompt: prompt.filter(|_| is_one(|c| c.prompt_tokens)),
        generate: generate.filter(|_| is_one(|c| c.generated_tokens)),
    }
}
