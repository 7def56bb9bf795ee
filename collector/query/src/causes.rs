//! Why something that was to be captured is not in a trace. Only causes are named that the trace has evidence of, and how it
//! is to be helped only where that cause is meant.

use ggscope_format::EvalId;
use ggscope_format::capture::{CaptureChange, Set};
use ggscope_format::columns::Row;
use ggscope_format::sequences::MemoryOp;
use ggscope_trace::{Losses, Trace};

/// An evaluation of an answer has no more tokens than this, for `--capture-every` (docs/capture.md).
const MOST_OF_ANSWER: u32 = 16;

/// What a trace knows of what it lacks.
#[derive(Clone, Debug, Default)]
pub struct Causes {
    /// `None` if the trace does not say why records were lost.
    losses: Option<Losses>,
    lost: u64,
    left_out: u64,
    captures: Vec<CaptureChange>,
    /// The last evaluation that values have come of, of a trace that has not ended in order.
    until: Option<Option<EvalId>>,
    /// Contexts in which the program put rows of caches itself, by restoring or copying.
    put: Vec<u32>,
}

/// Why records are missing: each cause with how many records it took, and what helps.
pub fn losses(losses: &Losses) -> Vec<String> {
    let records = |n: u64| if n == 1 { "1 record was".to_owned() } else { format!("{n} records were") };
    let of = [
        (losses.full, "lost because the ring was full; a larger one loses fewer (--ring-size)"),
        (
            losses.no_ring,
            "lost because more threads computed at once than there are rings; rings of another size would not have helped",
        ),
        (losses.senseless, "lost because they did not decode or contradicted themselves"),
    ];
    of.into_iter().filter(|cause| cause.0 > 0).map(|(n, why)| format!("{} {why}", records(n))).collect()
}

impl Causes {
    /// Of a trace.
    pub fn of(trace: &Trace) -> Causes {
        let puts = |op| matches!(op, MemoryOp::Restore { .. } | MemoryOp::Copy { .. });
        let changes = trace.memory_changes().into_iter();
        let mut put: Vec<u32> = changes.filter(|change| puts(change.op)).map(|change| change.context).collect();
        put.sort_unstable();
        put.dedup();
        Causes {
            losses: trace.losses(),
            lost: trace.totals().dropped_records,
            left_out: trace.totals().left_out_evaluations,
            captures: trace.captures(),
            until: (!trace.complete()).then(|| trace.captured_until()),
            put,
        }
    }

    /// Why records are missing, one cause after the other; none if nothing was lost.
    fn of_losses(&self) -> Vec<String> {
        match &self.losses {
            Some(lost) => losses(lost),
            None if self.lost > 0 => vec![format!("{} records were lost while it was recorded", self.lost)],
            None => vec![],
        }
    }

    /// Why values of an evaluation that were to be captured are not there.
    pub fn of_values(&self, row: &Row) -> String {
        let e = &row.evaluation;
        let capture = self.captures.iter().rfind(|change| change.from <= e.eval).map(|change| &change.capture);
        let last = row.first_token + u64::from(e.n_tokens).saturating_sub(1);
        if let Some(capture) = capture.filter(|capture| !capture.tokens.has_any(row.first_token..=last)) {
            return format!("--capture-tokens was {}", capture.tokens);
        }
        let mut causes = vec![];
        match e.status {
            0 => {}
            1 => causes.push("the program aborted the evaluation".to_owned()),
            status => causes.push(format!("the evaluation failed (ggml's status {status})")),
        }
        if self.until.is_some_and(|until| until.is_none_or(|until| until < e.eval)) {
            causes.push("they come after the evaluation, and the trace does not go on so far".into());
        }
        if let Some(capture) = capture {
            if capture.every > 1 && e.n_tokens <= MOST_OF_ANSWER {
                causes.push(format!("--capture-every {} passed the evaluation over", capture.every));
            }
            if capture.budget.is_some() && self.left_out > 0 {
                causes.push(format!("--capture-budget left out {} evaluations", self.left_out));
            }
        }
        causes.extend(self.of_losses());
        one_of(&causes).unwrap_or_else(|| "the trace does not say why".into())
    }

    /// Why it is not known what is in a row of a cache that a token looks at.
    pub fn of_rows(&self, row: &Row) -> String {
        let mut causes = vec![];
        let first = self.captures.iter().find(|change| change.capture.has(Set::Attention));
        if let Some(first) = first.filter(|first| first.from.0 > 0) {
            causes
                .push(format!("attention is captured from evaluation {} on, and it was written before", first.from.0));
        }
        if self.put.contains(&row.evaluation.context) {
            causes.push("the program restored or copied a sequence".into());
        }
        causes.extend(self.of_losses());
        one_of(&causes).unwrap_or_else(|| "it was written before recording began, or by no evaluation".into())
    }
}

/// Causes one of which it is.
fn one_of(causes: &[String]) -> Option<String> {
    match causes {
        [] => None,
        [one] => Some(one.clone()),
        [first, rest @ ..] => Some(rest.iter().fold(first.clone(), |all, cause| format!("{all}; or {cause}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::Bytes;
    use ggscope_format::capture::{Capture, Ranges};
    use ggscope_format::record::Evaluation;

    fn causes(capture: Capture, losses: Losses) -> Causes {
        let captures = vec![CaptureChange { from: EvalId(0), capture }];
        Causes { losses: Some(losses), lost: losses.records(), captures, ..Causes::default() }
    }

    fn row(eval: u64, n_tokens: u32) -> Row {
        Row { evaluation: Evaluation { eval: EvalId(eval), n_tokens, ..Evaluation::default() }, ..Row::default() }
    }

    #[test]
    fn a_full_ring_is_told_from_no_ring_at_all_and_only_the_first_is_helped_by_room() {
        let of = |losses: Losses| causes(Capture::named(["attention"]), losses).of_values(&row(3, 1));
        let full = of(Losses { full: 2, ..Losses::default() });
        assert_eq!(full, "2 records were lost because the ring was full; a larger one loses fewer (--ring-size)");
        let no_ring = of(Losses { no_ring: 1, ..Losses::default() });
        assert!(no_ring.starts_with("1 record was lost because more threads computed at once"), "{no_ring}");
        assert!(!no_ring.contains("--ring-size"), "{no_ring}");
        let both = of(Losses { full: 1, no_ring: 1, ..Losses::default() });
        assert!(both.contains("the ring was full") && both.contains("; or 1 record was lost because more"), "{both}");
        let senseless = of(Losses { senseless: 1, ..Losses::default() });
        assert!(!senseless.contains("ring"), "{senseless}");
    }

    #[test]
    fn where_nothing_was_lost_no_loss_is_named() {
        let none = causes(Capture::named(["attention"]), Losses::default());
        assert_eq!(none.of_values(&row(3, 1)), "the trace does not say why");
        assert_eq!(none.of_rows(&row(3, 1)), "it was written before recording began, or by no evaluation");
        let unknown = Causes { losses: None, lost: 7, ..none };
        assert_eq!(unknown.of_values(&row(3, 1)), "7 records were lost while it was recorded");
    }

    #[test]
    fn limits_are_named_where_they_can_have_left_something_out() {
        let every = causes(Capture { every: 4, ..Capture::named(["attention"]) }, Losses::default());
        assert_eq!(every.of_values(&row(3, 1)), "--capture-every 4 passed the evaluation over");
        assert_eq!(every.of_values(&row(0, 40)), "the trace does not say why", "prompts are captured whole");
        let tokens = Capture { tokens: Ranges::parse("9-12").unwrap(), ..Capture::named(["attention"]) };
        let tokens = causes(tokens, Losses { full: 1, ..Losses::default() });
        assert_eq!(tokens.of_values(&row(0, 4)), "--capture-tokens was 9-12", "whatever was lost elsewhere");
        let budget = Capture { budget: Some(Bytes(1 << 20)), ..Capture::named(["attention"]) };
        let within = causes(budget, Losses::default());
        assert_eq!(within.of_values(&row(3, 1)), "the trace does not say why", "nothing was left out");
        let beyond = Causes { left_out: 9, ..within };
        assert_eq!(beyond.of_values(&row(3, 1)), "--capture-budget left out 9 evaluations");
    }

    #[test]
    fn an_evaluation_that_failed_or_whose_values_have_not_come_is_no_loss() {
        let none = causes(Capture::named(["attention"]), Losses::default());
        let with = |status| {
            let row = row(3, 1);
            Row { evaluation: Evaluation { status, ..row.evaluation }, ..row }
        };
        assert_eq!(none.of_values(&with(1)), "the program aborted the evaluation");
        assert_eq!(none.of_values(&with(-1)), "the evaluation failed (ggml's status -1)");
        let open = Causes { until: Some(Some(EvalId(2))), ..none };
        assert_eq!(open.of_values(&row(3, 1)), "they come after the evaluation, and the trace does not go on so far");
        assert_eq!(open.of_values(&row(2, 1)), "the trace does not say why");
    }

    #[test]
    fn a_row_of_a_cache_is_missing_for_other_causes_than_a_value() {
        let none = causes(Capture::named(["attention"]), Losses::default());
        let later = CaptureChange { from: EvalId(5), capture: Capture::named(["attention"]) };
        let later = Causes { captures: vec![later], ..none.clone() };
        assert_eq!(later.of_rows(&row(9, 1)), "attention is captured from evaluation 5 on, and it was written before");
        let put = Causes { put: vec![0], ..none };
        assert_eq!(put.of_rows(&row(9, 1)), "the program restored or copied a sequence");
    }
}
