//! What each head does, over a real text: measures and a kind for every head of every layer, how much heads differ, which
//! behave alike, which are read from most. One pass over the rows of attention; docs/heads.md has every formula.

mod clusters;
pub(super) mod entropy;
mod flow;
mod kind;
mod measures;
mod pairs;
mod rank;
mod report;
mod rollout;
mod sample;

pub use clusters::Tried;
pub use kind::{Kind, NAMES, Name};
pub use measures::{MIN_KEYS, Measures};
pub use report::{
    Cluster, Clusters, Divergence, Head, HeadId, Heads, KindCount, LayerUniform, Near, Ranked, Refused, Twins,
};
pub(super) use rollout::mixed;
pub use rollout::{Flow, Source, flow};

use crate::attention::error::captured;
use crate::attention::limits::said;
use crate::attention::tile::MeasuredHeads;
use crate::attention::walk::for_each_look;
use crate::attention::{AttentionError, KeyRef, Span, TokenRow};
use crate::tokens::{Marks, Tokens};
use ggscope_compute::Compute;
use ggscope_format::capture::CaptureChange;
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::Phase;
use ggscope_trace::Trace;
use measures::Sums;
use rank::Flows;
use sample::Sample;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

/// Which heads, over which part of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadsOptions {
    /// The context; if `None` that of the tokens, or the usual one.
    pub context: Option<u32>,
    /// Tokens of the session whose rows count; all if `None`.
    pub tokens: Option<Range<u64>>,
    /// Report only heads of these layers; all if `None`. Every head is computed, because heads are compared with all others.
    pub layers: Option<RangeInclusive<u32>>,
    /// Report only this head of each layer.
    pub head: Option<usize>,
    /// Only rows of prompts, or of answers.
    pub phase: Option<Phase>,
    /// Whether to tell the divergence of every two heads.
    pub pairs: bool,
}

/// The heads of a layer in the making.
#[derive(Default)]
struct LayerSums {
    heads: Vec<Sums>,
    /// A head that looks everywhere alike.
    uniform: Sums,
}

/// All heads in the making: takes rows, in any order of layers.
struct Analysis<'a> {
    tokens: &'a Tokens,
    /// What was captured from which evaluation on.
    captures: Vec<CaptureChange>,
    phase: Option<Phase>,
    layers: BTreeMap<u32, LayerSums>,
    sample: Sample,
    flows: Flows,
    rows: u64,
    /// Rows with too few keys.
    short: u64,
}

impl<'a> Analysis<'a> {
    fn new(tokens: &'a Tokens, captures: Vec<CaptureChange>, first: u64, phase: Option<Phase>) -> Analysis<'a> {
        Analysis {
            tokens,
            captures,
            phase,
            layers: BTreeMap::new(),
            sample: Sample::default(),
            flows: Flows::new(first),
            rows: 0,
            short: 0,
        }
    }

    fn add(&mut self, row: &TokenRow<'_>, looked: Option<&MeasuredHeads>) {
        if !is_wanted(self.tokens, self.phase, row.token) {
            return;
        }
        let n = row.keys.len();
        if n < MIN_KEYS || row.weights.len() != n * row.n_head {
            self.short += 1;
            return;
        }
        self.rows += 1;
        let known = looked.and_then(|looked| Some((looked.marks.as_ref()?, &looked.heads)));
        let marks = known.map_or_else(
            || Cow::Owned(Marks::new(self.tokens, row.token, row.keys)),
            |(marks, _)| Cow::Borrowed(marks),
        );
        let layer = self.layers.entry(row.layer).or_default();
        if layer.heads.len() < row.n_head {
            layer.heads.resize(row.n_head, Sums::default());
        }
        // Heads that were not captured have rows of NaN, which are no numbers that went wrong.
        let captured = self.captures.iter().rev().find(|change| change.from <= row.eval).map(|c| &c.capture.heads);
        let is_captured = |h: &usize| captured.is_none_or(|heads| heads.has(*h as u64));
        for (h, weights) in row.weights.chunks_exact(n).enumerate().filter(|(h, _)| is_captured(h)) {
            let sink = row.sinks.get(h).copied();
            match known.and_then(|(_, heads)| heads.get(h)) {
                Some(measured) => layer.heads[h].count(measured, n, sink, &marks),
                None => layer.heads[h].add(weights, sink, &marks),
            }
        }
        layer.uniform.add(&vec![1.0 / n as f32; n], None, &marks);
        self.flows.add(row, &marks);
        self.sample.add(row);
    }
}

/// Whether the rows of a token count.
fn is_wanted(tokens: &Tokens, phase: Option<Phase>, token: u64) -> bool {
    phase.is_none_or(|wanted| wanted == Phase::of(tokens.get(token).phase))
}

/// What each head does over the wanted tokens of one context, computed on a device.
///
/// # Errors
/// As [`super::for_each_row_on`]; when no row is left to measure.
pub fn heads(trace: &Trace, wanted: &HeadsOptions, device: &Arc<Compute>) -> Result<Heads, AttentionError> {
    captured(trace)?;
    let all = trace.totals().tokens();
    let contexts = Contexts::of(trace);
    let missing = |why| AttentionError::Missing("context", why);
    let context = contexts.choose(trace, wanted.context, wanted.tokens.as_ref()).map_err(missing)?.unwrap_or(0);
    let own = contexts.get(context).and_then(|of| Some(of.first_token?..of.last_token? + 1));
    let range = wanted.tokens.clone().or(own).unwrap_or(0..all);
    if range.start >= all {
        return Err(AttentionError::Missing("tokens", super::no_token(range.start, all)));
    }
    let range = range.start..range.end.min(all);
    let tokens = Tokens::read(trace, range.end);
    let mut analysis = Analysis::new(&tokens, trace.captures(), range.start, wanted.phase);
    // A head is compared with those of all layers, also with those that are not reported.
    let span = Span { tokens: range.clone(), layers: None, context: Some(context) };
    let marks = |token: u64, keys: &[KeyRef]| {
        let counts = keys.len() >= MIN_KEYS && is_wanted(&tokens, wanted.phase, token);
        counts.then(|| Marks::new(&tokens, token, keys))
    };
    let walked = for_each_look(trace, &span, device, &marks, |row, looked| {
        analysis.add(row, looked);
        ControlFlow::Continue(())
    })?;
    if analysis.rows == 0 {
        return Err(match walked.refused.first() {
            Some((layer, why, _)) => {
                let why = format!("no row of attention could be computed; in layer {layer}: {why}");
                AttentionError::Missing("tokens", why)
            }
            None => {
                let last = range.end.saturating_sub(1);
                let phase = wanted.phase.map_or(String::new(), |phase| format!(" of {}", phase.name()));
                let whose =
                    if contexts.others(context).is_empty() { String::new() } else { format!(" of context {context}") };
                let tokens = format!("tokens {} to {last}{phase}{whose}", range.start);
                let uncaptured = match walked.uncaptured {
                    0 => String::new(),
                    n => format!(": {n} rows were not captured, as the capture was {}", said(trace)),
                };
                let why = format!("{tokens} have no row of attention with at least {MIN_KEYS} keys{uncaptured}");
                AttentionError::Missing("tokens", why)
            }
        });
    }
    let found = analysis.report(wanted, range, walked, device)?;
    Ok(Heads { context, other_contexts: contexts.others(context), ..found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::Walked;
    use crate::attention::testing::SyntheticRun;
    use crate::tokens::Token;
    use ggscope_compute::Device;
    use ggscope_format::EvalId;
    use ggscope_format::TokenPhase;
    use ggscope_format::capture::{Capture, Ranges};

    const N: u64 = 24;

    fn cpu() -> Compute {
        Compute::open(Device::Cpu, &[], None).unwrap()
    }

    /// 24 tokens, the last 8 of them generated, and two layers of three heads: one looks at the token before, one at the
    /// first token, and one, which was not captured, nowhere.
    fn report(wanted: &HeadsOptions) -> Heads {
        try_report(wanted).unwrap()
    }

    fn try_report(wanted: &HeadsOptions) -> Result<Heads, AttentionError> {
        let token = |i: u64| Token {
            pos: Some(i as i32),
            phase: if i >= N - 8 { TokenPhase::Generate } else { TokenPhase::Prompt },
            ..Token::default()
        };
        let tokens = Tokens::of((0..N).map(token).collect());
        let capture = Capture { heads: Ranges::parse("0-1").unwrap(), ..Capture::named(["attention"]) };
        let captures = vec![CaptureChange { from: EvalId(0), capture }];
        let mut analysis = Analysis::new(&tokens, captures, 0, wanted.phase);
        for layer in [3, 7] {
            for t in 0..N {
                let keys: Vec<KeyRef> = (0..=t).map(|k| KeyRef { cell: k, token: Some(k) }).collect();
                let at = |place: u64| (0..=t).map(move |k| if k == place { 1.0 } else { 0.0 });
                let weights: Vec<f32> =
                    at(t.saturating_sub(1)).chain(at(0)).chain(std::iter::repeat_n(f32::NAN, keys.len())).collect();
                analysis.add(
                    &TokenRow {
                        token: t,
                        eval: EvalId(0),
                        context: 0,
                        layer,
                        n_head: 3,
                        n_head_kv: 1,
                        keys: &keys,
                        weights: &weights,
                        sinks: &[],
                    },
                    None,
                );
            }
        }
        analysis.report(wanted, 0..N, Walked { tokens: N, rows: 2 * N, uncaptured: 7, ..Walked::default() }, &cpu())
    }

    #[test]
    fn heads_are_named_compared_and_counted_and_those_not_captured_are_no_numbers() {
        let found = report(&HeadsOptions { pairs: true, ..HeadsOptions::default() });
        let names: Vec<Option<Name>> = found.heads.iter().map(|h| h.kind.map(|k| k.name)).collect();
        let layer = [Some(Name::PreviousToken), Some(Name::Sink), None];
        assert_eq!(names, [layer, layer].concat());
        assert_eq!((found.rows, found.short_rows, found.heads[0].rows), (2 * (N - 3), 6, N - 3));
        assert_eq!(found.uncaptured_rows, 7, "of other layers");
        assert!(found.heads.iter().all(|h| h.not_finite == 0), "not captured is not broken");
        assert_eq!(found.heads[2].measures, Measures::default());
        let pairs = found.divergence.pairs.unwrap();
        assert!((pairs[0] - std::f32::consts::LN_2).abs() < 1e-6 && pairs[1].is_nan() && pairs[2] < 1e-6);
        assert_eq!(found.heads[0].nearest.map(|n| (n.layer, n.head)), Some((7, 0)));
        assert_eq!(found.twins.len(), 2);
        assert_eq!(found.heads[5].cluster, None);
        let ranks: f64 = found.heads.iter().filter_map(|h| h.pagerank).sum();
        assert!((ranks - 1.0).abs() < 1e-9);
    }

    /// A text of 60 tokens that repeats itself, in two layers of four heads with sinks.
    fn of_a_text(device: &Arc<Compute>) -> Heads {
        let made =
            SyntheticRun { n: 60, layers: vec![2, 5], sinks: true, odd: Some(f32::NAN), ..SyntheticRun::default() };
        let token = |i: i32| {
            let (id, pos) = (Some(i % 17), Some(i));
            Token { id, pos, phase: TokenPhase::Prompt, punctuation: i % 9 == 4, ..Token::default() }
        };
        let tokens = Tokens::of((0..60).map(token).collect());
        let mut analysis = Analysis::new(&tokens, vec![], 0, None);
        let marks = |token: u64, keys: &[KeyRef]| (keys.len() >= MIN_KEYS).then(|| Marks::new(&tokens, token, keys));
        let mut measured = 0;
        let walked = made.compute(Some(device.clone()), Some(&marks), |row, looked| {
            measured += looked.map_or(0, |looked| looked.heads.len());
            analysis.add(row, looked);
        });
        let on_gpu = walked.ran.iter().any(|(ran, _)| matches!(ran, ggscope_compute::Ran::Cuda(_)));
        assert_eq!(measured, if on_gpu { 2 * 57 * 4 } else { 0 });
        let wanted = HeadsOptions { pairs: true, ..HeadsOptions::default() };
        analysis.report(&wanted, 0..60, walked, device).unwrap()
    }

    #[test]
    fn heads_on_an_emulated_gpu_are_those_of_the_cpu() {
        let theirs = of_a_text(&Arc::new(cpu()));
        assert!(theirs.took.iter().all(|took| took.on == "cpu (asked for)"), "{:?}", theirs.took);
        for backwards in [false, true] {
            let ours = of_a_text(&Arc::new(Compute::emulated(backwards)));
            let on: Vec<_> = ours.took.iter().map(|took| (took.measure, took.on.as_str())).collect();
            assert_eq!(on, [("attention", "emulated"), ("divergence", "emulated")]);
            for (a, b) in ours.heads.iter().zip(&theirs.heads) {
                assert_eq!((a.rows, a.not_finite, a.induction_rows), (b.rows, b.not_finite, b.induction_rows));
                assert_eq!(a.kind.map(|k| k.name), b.kind.map(|k| k.name));
                let all = |m: &Measures| serde_json::to_value(m).unwrap();
                for (name, a) in all(&a.measures).as_object().unwrap() {
                    let (a, b) = (a.as_f64().unwrap(), all(&b.measures)[name].as_f64().unwrap());
                    assert!((a - b).abs() < 1e-4, "{name}: {a} is not {b}");
                }
            }
            assert!(ours.heads.iter().any(|head| head.not_finite > 0));
            let (ours, theirs) = (ours.divergence.pairs.unwrap(), theirs.divergence.pairs.as_ref().unwrap());
            assert_eq!(ours.len(), 8 * 7 / 2);
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() < 1e-5, "{a} is not {b}");
            }
        }
    }

    #[test]
    fn heads_that_are_picked_are_compared_with_all_others() {
        let all = report(&HeadsOptions { pairs: true, ..HeadsOptions::default() });
        for (layers, head) in [(Some(7..=7), None), (None, Some(0)), (Some(3..=3), Some(1)), (Some(0..=3), None)] {
            let picked = report(&HeadsOptions { layers: layers.clone(), head, pairs: true, ..HeadsOptions::default() });
            let is_picked = |layer: &u32, of: usize| {
                layers.as_ref().is_none_or(|l| l.contains(layer)) && head.is_none_or(|head| head == of)
            };
            let expected: Vec<Head> = all.heads.iter().filter(|h| is_picked(&h.layer, h.head)).cloned().collect();
            assert_eq!(picked.heads, expected, "{layers:?} {head:?}");
            assert_eq!(picked.heads[0].nearest.map(|n| n.head), Some(picked.heads[0].head), "in the other layer");
            assert_ne!(picked.heads[0].nearest.map(|n| n.layer), Some(picked.heads[0].layer));
            assert_eq!((&picked.clusters, &picked.uniform), (&all.clusters, &all.uniform));
            let twins = all.twins.iter().filter(|t| t.heads.iter().any(|&of| is_picked(&t.layer, of)));
            assert!(twins.eq(&picked.twins), "{:?}", picked.twins);
            assert_eq!(picked.divergence.pairs.as_ref().map(Vec::len), Some(15));
        }
    }

    #[test]
    fn layers_without_a_row_are_refused_with_those_that_have_some() {
        let error = try_report(&HeadsOptions { layers: Some(4..=6), ..HeadsOptions::default() }).unwrap_err();
        let AttentionError::Missing("layer", why) = error else { panic!("{error}") };
        assert!(why.contains("among 3 to 7"), "{why}");
    }

    #[test]
    fn phases_and_heads_can_be_picked_and_one_that_is_not_there_is_refused() {
        let answer = report(&HeadsOptions { phase: Some(Phase::Generate), head: Some(1), ..HeadsOptions::default() });
        assert_eq!(answer.heads.iter().map(|h| (h.layer, h.head, h.rows)).collect::<Vec<_>>(), [(3, 1, 8), (7, 1, 8)]);
        let tokens = Tokens::default();
        let none = Analysis::new(&tokens, vec![], 0, None);
        let wanted = HeadsOptions { head: Some(9), ..HeadsOptions::default() };
        assert!(matches!(
            none.report(&wanted, 0..1, Walked::default(), &cpu()),
            Err(AttentionError::Missing("head", _))
        ));
    }
}
