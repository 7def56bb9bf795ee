//! The attention of one token in one layer, as a walk over a recording hands it on, and what a walk says of itself.

use ggscope_compute::Ran;
use ggscope_format::EvalId;
use ggscope_query::graph_report::Took;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

/// Which attention is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Tokens, counted from 0 through the session.
    pub tokens: Range<u64>,
    /// Layers; all if `None`.
    pub layers: Option<RangeInclusive<u32>>,
    /// The context that computed them; each if `None`.
    pub context: Option<u32>,
}

/// A key that a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Row of the K cache; without a cache, the number of the token in the evaluation.
    pub cell: u64,
    /// Number of its token within the session, if it is known.
    pub token: Option<u64>,
}

/// The attention of one token in one layer.
#[derive(Clone, Copy, Debug)]
pub struct TokenRow<'a> {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its evaluation.
    pub eval: EvalId,
    /// The context that computed it.
    pub context: u32,
    /// The layer.
    pub layer: u32,
    /// Heads.
    pub n_head: usize,
    /// Heads of the keys, each of which as many heads share.
    pub n_head_kv: usize,
    /// What the mask lets the token see, in the order of the cache.
    pub keys: &'a [KeyRef],
    /// `[n_keys, n_head]`: the keys of a head lie side by side. Of heads that were not captured they are NaN.
    pub weights: &'a [f32],
    /// Share of each head's sink, `[n_head]`; empty without sinks.
    pub sinks: &'a [f32],
}

/// What was computed, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Tokens with attention.
    pub tokens: u64,
    /// Rows: a token in a layer.
    pub rows: u64,
    /// Layer, why it could not be computed, for how many tokens.
    pub refused: Vec<(u32, String, u64)>,
    /// Rows that were not captured, as the limits of the capture had it.
    pub uncaptured: u64,
    /// Where it was computed, and how long that took, if it was to be computed on a device.
    pub ran: Vec<(Ran, Duration)>,
}

impl Walked {
    /// Some of it was computed there. Reasons of the CPU are one: the last.
    pub(super) fn on(&mut self, ran: Ran, took: Duration) {
        let is_cpu = |ran: &Ran| matches!(ran, Ran::Cpu(_));
        match self.ran.iter_mut().find(|known| is_cpu(&known.0) == is_cpu(&ran)) {
            Some(known) => *known = (ran, known.1 + took),
            None => self.ran.push((ran, took)),
        }
    }

    /// The same for a report.
    pub fn took(&self, measure: &'static str) -> Vec<Took> {
        let of = |(ran, took): &(Ran, Duration)| Took { measure, ms: took.as_secs_f64() * 1e3, on: ran.to_string() };
        self.ran.iter().map(of).collect()
    }
}
