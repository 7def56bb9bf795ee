//! Where one run's attention leaves that of another: the same text through one model in two quantisations, or through two
//! models of the same shape. Tokens are paired by their order and ids, keys by their tokens, and the measure is the
//! Jensen-Shannon divergence of each head's rows. Both recordings are walked side by side, so memory is that of one batch.

use crate::aligned::{Parted, common, contexts_of, ours_of, tokens_of};
use crate::attention::error::{AttentionError, captured};
use crate::attention::row::{KeyRef, Span, TokenRow, Walked};
use crate::attention::walk::for_each_row_on;
use crate::heads::entropy::{divergence, sum_x_ln_x};
use ggscope_compute::Compute;
use ggscope_format::EvalId;
use ggscope_query::graph_report::Took;
use ggscope_trace::{Select, Trace};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;
use utoipa::ToSchema;

/// Rows of the reference that may be on their way.
const ON_THE_WAY: usize = 256;
/// Weights of the reference that may wait for their token: 512 MiB. More come only from batches of enormous size.
const MOST_WAITING: usize = 128 << 20;

/// How far a head is off.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct HeadDifference {
    /// The layer.
    pub layer: u32,
    /// The head.
    pub head: usize,
    /// Tokens that were compared.
    pub tokens: u64,
    /// Mean Jensen-Shannon divergence over them, nats: 0 when the rows are equal, ln 2 when they have nothing in common.
    pub mean: Option<f64>,
    /// The largest.
    pub max: Option<f32>,
    /// The token that has it.
    pub worst: Option<u64>,
    /// Tokens whose rows have NaN in one of both: they are in no mean.
    pub nans: u64,
}

/// How far a token is off.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TokenDifference {
    /// The token.
    pub token: u64,
    /// The token of the reference that it is compared with.
    pub reference_token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Mean divergence over all layers and heads, nats.
    pub mean: Option<f64>,
}

/// Attention beside that of a reference.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AttentionAgainst {
    /// The context that was compared.
    pub context: u32,
    /// The reference's file.
    pub reference: String,
    /// The context of the reference.
    pub reference_context: u32,
    /// Tokens that were compared.
    pub tokens: u64,
    /// Where the runs part, if they do before one of them ends.
    pub parted: Option<Parted>,
    /// Rows (a token in a layer) that only one of both has, or whose keys' tokens are not known.
    pub unpaired: u64,
    /// By layer, then by head.
    pub heads: Vec<HeadDifference>,
    /// By token.
    pub by_token: Vec<TokenDifference>,
    /// Where the attention of both was computed, and how long that took; one does not wait for the other.
    pub took: Vec<Took>,
}

/// A row that has to outlive its walk.
struct Owned {
    token: u64,
    layer: u32,
    /// First token of its evaluation.
    first: u64,
    n_head: usize,
    keys: Vec<KeyRef>,
    weights: Vec<f32>,
    sinks: Vec<f32>,
}

/// Compares the attention of a run with that of a reference, both computed on a device.
///
/// # Errors
/// When one of both has no attention or no token ids, the texts or the shapes of the models differ, a trace is damaged, or a
/// GPU that was asked for fails.
pub fn against(
    trace: &Trace,
    reference: &Trace,
    contexts: (Option<u32>, Option<u32>),
    tokens: Option<Range<u64>>,
    layers: Option<RangeInclusive<u32>>,
    device: &Arc<Compute>,
) -> Result<AttentionAgainst, AttentionError> {
    captured(trace)?;
    captured(reference)?;
    let missing = |why| AttentionError::Missing("context", why);
    let (here, there) = contexts_of(trace, reference, contexts).map_err(missing)?;
    let known = tokens_of(trace, here).map_err(AttentionError::Unlike)?;
    let others = tokens_of(reference, there).map_err(AttentionError::Unlike)?;
    let (n, parted) = common(trace, reference, &known, &others).map_err(AttentionError::Unlike)?;
    let shared = known[..n].first().map_or(0, |t| t.token)..known[..n].last().map_or(0, |t| t.token + 1);
    let tokens = tokens.map_or(shared.clone(), |t| t.start.max(shared.start)..t.end.min(shared.end));
    let of_tokens = |token: u64| Some(others.get(known[..n].binary_search_by_key(&token, |t| t.token).ok()?)?.token);
    // The reference's tokens that are these: a range, in which other contexts may have tokens, too.
    let first = known[..n].iter().find(|t| t.token >= tokens.start).and_then(|t| of_tokens(t.token));
    let last = known[..n].iter().rfind(|t| t.token < tokens.end).and_then(|t| of_tokens(t.token));
    let theirs = first.zip(last).map_or(0..0, |(first, last)| first..last + 1);
    let spans = [
        Span { tokens, layers: layers.clone(), context: Some(here) },
        Span { tokens: theirs, layers, context: Some(there) },
    ];
    let mut sums = Sums::default();
    let of_ours = ours_of(&known[..n], &others[..n]);
    let walked = for_each_pair((trace, reference), &spans, &of_ours, device, |pair| sums.add(pair))?;
    let took = [walked[0].took("attention"), walked[1].took("attention of the reference")].concat();
    let text = |token: u64| {
        let known = known.get(known.binary_search_by_key(&token, |t| t.token).ok()?)?;
        trace.text_of(known.graph, known.id)
    };
    Ok(AttentionAgainst {
        context: here,
        reference_context: there,
        reference: reference.path().display().to_string(),
        tokens: sums.tokens.len() as u64,
        parted,
        unpaired: sums.unpaired,
        heads: sums.heads.into_iter().map(|((layer, head), sum)| sum.of(layer, head)).collect(),
        by_token: sums
            .tokens
            .into_iter()
            .map(|(token, (sum, n))| TokenDifference {
                token,
                reference_token: of_tokens(token).unwrap_or(token),
                text: text(token),
                mean: (n > 0).then(|| sum / n as f64),
            })
            .collect(),
        took,
    })
}

/// A row beside that of the reference, if it has one.
struct Pair<'a> {
    row: &'a TokenRow<'a>,
    other: Option<Owned>,
}

/// Walks both recordings. Neither waits for more than the evaluations that the other is in.
fn for_each_pair(
    (trace, reference): (&Trace, &Trace),
    [span, span_there]: &[Span; 2],
    of_ours: &HashMap<u64, u64>,
    device: &Arc<Compute>,
    mut f: impl FnMut(Pair<'_>) -> Result<(), AttentionError>,
) -> Result<[Walked; 2], AttentionError> {
    let (ours, theirs) = (evaluations(trace), evaluations(reference));
    let (send, receive) = crossbeam::channel::bounded::<Owned>(ON_THE_WAY);
    std::thread::scope(|scope| {
        let theirs = &theirs;
        let walk = scope.spawn(move || {
            for_each_row_on(reference, span_there, device, |row| {
                let first = theirs.get(&row.eval).map_or(row.token, |tokens| tokens.start);
                let Some(row) = Owned::of(row, first).with_our_tokens(of_ours) else {
                    return ControlFlow::Continue(());
                };
                match send.send(row) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Nobody listens any more.
                    Err(_) => ControlFlow::Break(()),
                }
            })
        });
        let mut waiting = Waiting::default();
        let mut failed = Ok(());
        let walked = for_each_row_on(trace, span, device, |row| {
            let evaluation = ours.get(&row.eval).cloned().unwrap_or(row.token..row.token + 1);
            let found = waiting.find(row, &evaluation, || receive.recv().ok());
            failed = found.and_then(|other| f(Pair { row, other }));
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        drop(receive);
        let other = walk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        failed?;
        Ok([walked?, other?])
    })
}

/// The tokens of each evaluation.
fn evaluations(trace: &Trace) -> HashMap<EvalId, Range<u64>> {
    let mut all = HashMap::new();
    trace.for_each_evaluation(&Select::default(), false, |row| {
        let end = row.first_token + u64::from(row.evaluation.n_tokens);
        all.insert(row.evaluation.eval, row.first_token..end);
        ControlFlow::Continue(())
    });
    all
}

/// Rows of the reference that came before they were asked for.
#[derive(Default)]
struct Waiting {
    rows: HashMap<(u64, u32), Owned>,
    floats: usize,
    /// The evaluation of the reference that the last of them is of begins here: what was before has all come.
    reached: u64,
    over: bool,
    /// The evaluation that was asked for last begins here: nobody asks for what was before.
    begin: u64,
}

impl Waiting {
    /// The row of the reference for a token and a layer.
    fn find(
        &mut self,
        row: &TokenRow<'_>,
        evaluation: &Range<u64>,
        mut next: impl FnMut() -> Option<Owned>,
    ) -> Result<Option<Owned>, AttentionError> {
        if evaluation.start > self.begin {
            self.begin = evaluation.start;
            self.rows.retain(|key, _| key.0 >= evaluation.start);
            self.floats = self.rows.values().map(|row| row.weights.len()).sum();
        }
        let key = (row.token, row.layer);
        if let Some(found) = self.rows.remove(&key) {
            self.floats -= found.weights.len();
            return Ok(Some(found));
        }
        while !self.over && self.reached < evaluation.end {
            let Some(other) = next() else {
                self.over = true;
                break;
            };
            self.reached = other.first;
            if (other.token, other.layer) == key {
                return Ok(Some(other));
            }
            self.floats += other.weights.len();
            self.rows.insert((other.token, other.layer), other);
            if self.floats > MOST_WAITING {
                let why = "one of both was evaluated in far larger batches than the other: record both with the same \
                           -b and -ub, or compare fewer tokens or one layer";
                return Err(AttentionError::Unlike(why.to_owned()));
            }
        }
        Ok(None)
    }
}

impl Owned {
    /// With the numbers that its tokens have in our run; `None` if it has none.
    fn with_our_tokens(mut self, of_ours: &HashMap<u64, u64>) -> Option<Owned> {
        self.token = *of_ours.get(&self.token)?;
        self.first = of_ours.get(&self.first).copied().unwrap_or(self.token);
        self.keys.iter_mut().for_each(|key| key.token = key.token.and_then(|token| of_ours.get(&token).copied()));
        Some(self)
    }

    fn of(row: &TokenRow<'_>, first: u64) -> Owned {
        Owned {
            token: row.token,
            layer: row.layer,
            first,
            n_head: row.n_head,
            keys: row.keys.to_vec(),
            weights: row.weights.to_vec(),
            sinks: row.sinks.to_vec(),
        }
    }
}

#[derive(Default)]
struct Sums {
    heads: BTreeMap<(u32, usize), HeadSum>,
    /// Sum and number of divergences.
    tokens: BTreeMap<u64, (f64, u64)>,
    unpaired: u64,
}

#[derive(Default)]
struct HeadSum {
    sum: f64,
    n: u64,
    max: Option<(f32, u64)>,
    nans: u64,
}

impl Sums {
    fn add(&mut self, Pair { row, other }: Pair<'_>) -> Result<(), AttentionError> {
        let Some(other) = other else {
            self.unpaired += 1;
            return Ok(());
        };
        if other.n_head != row.n_head {
            return Err(AttentionError::Unlike(format!(
                "the models have other shapes: layer {} has {} heads in one and {} in the other",
                row.layer, row.n_head, other.n_head
            )));
        }
        let Some(places) = Places::of(row.keys, &other.keys) else {
            self.unpaired += 1;
            return Ok(());
        };
        let of_token = self.tokens.entry(row.token).or_default();
        let (mut p, mut q) = (vec![], vec![]);
        for head in 0..row.n_head {
            let share = |sinks: &[f32]| sinks.get(head).copied().unwrap_or(0.0);
            places.spread(&places.ours, &row.weights[head * row.keys.len()..], share(row.sinks), &mut p);
            places.spread(&places.theirs, &other.weights[head * other.keys.len()..], share(&other.sinks), &mut q);
            let js = divergence(&p, &q, sum_x_ln_x(&p), sum_x_ln_x(&q));
            let sum = self.heads.entry((row.layer, head)).or_default();
            if js.is_nan() {
                sum.nans += 1;
                continue;
            }
            (sum.sum, sum.n) = (sum.sum + f64::from(js), sum.n + 1);
            if sum.max.is_none_or(|(max, _)| js > max) {
                sum.max = Some((js, row.token));
            }
            *of_token = (of_token.0 + f64::from(js), of_token.1 + 1);
        }
        Ok(())
    }
}

impl HeadSum {
    fn of(self, layer: u32, head: usize) -> HeadDifference {
        HeadDifference {
            layer,
            head,
            tokens: self.n,
            mean: (self.n > 0).then(|| self.sum / self.n as f64),
            max: self.max.map(|max| max.0),
            worst: self.max.map(|max| max.1),
            nans: self.nans,
        }
    }
}

/// Where the keys of two rows lie among the tokens that either of them sees.
struct Places {
    ours: Vec<usize>,
    theirs: Vec<usize>,
    n: usize,
}

impl Places {
    /// `None` if it is not known which tokens they are.
    fn of(ours: &[KeyRef], theirs: &[KeyRef]) -> Option<Places> {
        let mut places: HashMap<u64, usize> = HashMap::with_capacity(ours.len());
        let mut of = |keys: &[KeyRef]| -> Option<Vec<usize>> {
            let place = |key: &KeyRef| {
                let next = places.len();
                Some(*places.entry(key.token?).or_insert(next))
            };
            keys.iter().map(place).collect()
        };
        let (ours, theirs) = (of(ours)?, of(theirs)?);
        Some(Places { ours, theirs, n: places.len() })
    }

    /// A row as a distribution over all these tokens, and the sink.
    fn spread(&self, places: &[usize], weights: &[f32], sink: f32, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.n + 1, 0.0);
        places.iter().zip(weights).for_each(|(&place, &weight)| out[place] = weight);
        out[self.n] = sink;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::LN_2;

    fn keys(tokens: &[u64]) -> Vec<KeyRef> {
        tokens.iter().map(|&token| KeyRef { cell: token + 5, token: Some(token) }).collect()
    }

    fn row<'a>(token: u64, keys: &'a [KeyRef], weights: &'a [f32]) -> TokenRow<'a> {
        let n_head = weights.len() / keys.len();
        TokenRow { token, eval: EvalId(token), context: 0, layer: 0, n_head, n_head_kv: 1, keys, weights, sinks: &[] }
    }

    fn compared(a: &TokenRow<'_>, b: &TokenRow<'_>) -> Sums {
        let mut sums = Sums::default();
        sums.add(Pair { row: a, other: Some(Owned::of(b, b.token)) }).unwrap();
        sums
    }

    #[test]
    fn keys_are_paired_by_their_tokens_wherever_they_lie_in_the_cache() {
        let (a, b) = (keys(&[0, 1, 2]), keys(&[2, 0, 1]));
        let sums =
            compared(&row(2, &a, &[0.5, 0.25, 0.25, 1.0, 0.0, 0.0]), &row(2, &b, &[0.25, 0.5, 0.25, 0.0, 0.5, 0.5]));
        assert!(sums.heads[&(0, 0)].sum.abs() < 1e-6, "the same row in another order");
        let half = sums.heads[&(0, 1)].max.unwrap().0;
        // ½ KL(p‖m) + ½ KL(q‖m) of (1, 0) and (½, ½), by hand.
        assert!((half - 0.215_761_7).abs() < 1e-5, "{half}");
    }

    #[test]
    fn what_only_one_of_both_sees_counts_as_different() {
        let (a, b) = (keys(&[0]), keys(&[1]));
        let sums = compared(&row(1, &a, &[1.0]), &row(1, &b, &[1.0]));
        assert!((sums.heads[&(0, 0)].sum as f32 - LN_2).abs() < 1e-6);
    }

    #[test]
    fn rows_with_nan_are_counted_and_in_no_mean() {
        let a = keys(&[0]);
        let sums = compared(&row(0, &a, &[f32::NAN]), &row(0, &a, &[1.0]));
        let head = &sums.heads[&(0, 0)];
        assert_eq!((head.nans, head.n, head.max), (1, 0, None));
    }

    #[test]
    fn rows_wait_for_their_token_when_batches_differ_and_what_never_came_is_not_waited_for_forever() {
        // The reference took tokens 0 to 3 at once, layer by layer, and lost token 1 in layer 1; this run took two at a time.
        let a = keys(&[0]);
        let other = |token, layer| Owned { layer, ..Owned::of(&row(token, &a, &[1.0]), 0) };
        let lost = |&(token, layer): &(u64, u32)| (token, layer) != (1, 1);
        let order = (0..2).flat_map(|layer| (0..4).map(move |token| (token, layer))).filter(lost);
        let last = Owned { first: 4, ..other(4, 0) };
        let mut stream = order.map(|(token, layer)| other(token, layer)).chain([last]);
        let mut waiting = Waiting::default();
        let mut found = vec![];
        for begin in [0_u64, 2] {
            for (layer, token) in (0..2).flat_map(|layer| (begin..begin + 2).map(move |token| (layer, token))) {
                let asked = TokenRow { layer, ..row(token, &a, &[1.0]) };
                let got = waiting.find(&asked, &(begin..begin + 2), || stream.next()).unwrap();
                found.push(got.map(|row| (row.token, row.layer)));
            }
        }
        let expected = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (3, 0), (2, 1), (3, 1)];
        let expected: Vec<_> = expected.map(|key| lost(&key).then_some(key)).to_vec();
        assert_eq!(found, expected);
    }
}
