//! Times of operators as pictures show them: layer by token, and how often which time occurred.

use super::contexts::Contexts;
use super::dump::Filter;
use super::range::Numbers;
use super::table::{Header, NONE, Piece, Ranks, Selection, Table};
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Times by layer and token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LayerTokens {
    /// The context that executed the operators; null if nothing was evaluated.
    pub context: Option<u32>,
    /// The layers, ascending; null at the end for what belongs to none.
    pub layers: Vec<Option<u32>>,
    /// Tokens that follow each other.
    pub bins: Vec<TokenBin>,
    /// For each layer and bin the sum of the times of its operators in nanoseconds. The time of an evaluation of several
    /// tokens is divided among them.
    pub ns: Vec<Vec<u64>>,
}

/// Tokens that follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenBin {
    /// Number of the first within the session.
    pub first_token: u64,
    /// Number of the last.
    pub last_token: u64,
    /// Evaluations with one of them.
    pub evaluations: u64,
}

/// Times by layer and token in at most `bins` bins of equally many tokens; the last may have fewer. Evaluations without
/// tokens are left out. Of several contexts that the filter lets through it is the one that [`context_of`] names.
pub fn layer_tokens(trace: &Trace, table: &Table, filter: &Filter, bins: usize) -> LayerTokens {
    let context = context_of(trace, table, filter);
    let filter = &Filter { context, ..filter.clone() };
    let selection = Selection::new(trace, table, filter);
    let tokens = |seq: usize| table.header(seq).and_then(|h| Some((h, h.first_token, h.last_token()?)));
    let all = || selection.all_evaluations().filter_map(tokens);
    let Some((first, last)) = all().map(|t| t.1).min().zip(all().map(|t| t.2).max()) else {
        return LayerTokens { context, ..LayerTokens::default() };
    };
    let (first, last) = filter.tokens.map_or((first, last), |n| (first.max(n.first), last.min(n.last)));
    let width = (last - first) / bins.max(1) as u64 + 1;
    let mut found = LayerTokens { context, ..LayerTokens::default() };
    for i in 0..=(last - first) / width {
        let first_token = first + i * width;
        found.bins.push(TokenBin {
            first_token,
            last_token: last.min(first_token.saturating_add(width - 1)),
            evaluations: 0,
        });
    }
    let bins_of = |header: &Header| {
        let end = header.last_token().unwrap_or(0).min(last);
        let begin = header.first_token.max(first);
        if begin > end { 0..0 } else { ((begin - first) / width) as usize..((end - first) / width) as usize + 1 }
    };
    all().for_each(|(header, ..)| found.bins[bins_of(header)].iter_mut().for_each(|bin| bin.evaluations += 1));
    let mut of_layer: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    let mut sums: Vec<u64> = vec![];
    let add = |piece: &Piece<'_>| {
        let layout = table.layout(piece.layout);
        let mut columns: Vec<_> = piece.columns.iter().map(|c| (layout.layer[c.0 as usize], c.1)).collect();
        columns.sort_by_key(|c| c.0);
        for columns in columns.chunk_by(|a, b| a.0 == b.0) {
            sums.clear();
            sums.resize(piece.seqs.len(), 0);
            columns.iter().for_each(|(_, times)| times.add_to(&mut sums));
            let of_bins = of_layer.entry(columns[0].0).or_insert_with(|| vec![0; found.bins.len()]);
            for (&ns, (header, ..)) in
                sums.iter().zip(piece.seqs.iter().map(|&seq| tokens(seq as usize))).filter_map(|(ns, t)| Some((ns, t?)))
            {
                for bin in bins_of(header) {
                    let TokenBin { first_token, last_token, .. } = found.bins[bin];
                    of_bins[bin] = of_bins[bin].saturating_add(share(header, ns, first_token, last_token));
                }
            }
        }
    };
    selection.scan(add, |_, _| {});
    for (layer, ns) in of_layer {
        found.layers.push((layer != NONE).then_some(layer));
        found.ns.push(ns);
    }
    found
}

/// The part of an evaluation's time that belongs to its tokens from `first` to `last`; the parts of all tokens add up
/// to the whole.
fn share(header: &Header, ns: u64, first: u64, last: u64) -> u64 {
    let n = u128::from(header.n_tokens.max(1));
    let before = |token: u64| u128::from(token.saturating_sub(header.first_token)).min(n) * u128::from(ns) / n;
    (before(last.saturating_add(1)) - before(first)) as u64
}

/// How often which time occurred, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Histogram {
    /// The context that executed them; null if nothing was evaluated.
    pub context: Option<u32>,
    /// Executions with a time of their own.
    pub count: u64,
    /// The shortest time; null if there is none, as of the following.
    pub min: Option<u64>,
    /// Half of the executions took no longer.
    pub p50: Option<u64>,
    /// 90 of 100 took no longer.
    pub p90: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99: Option<u64>,
    /// The longest.
    pub max: Option<u64>,
    /// The mean.
    pub mean: Option<f64>,
    /// Ranges of times that follow each other, longer times in wider ones.
    pub bins: Vec<TimeBin>,
}

/// A range of times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TimeBin {
    /// The shortest.
    pub from: u64,
    /// The longest.
    pub to: u64,
    /// Executions.
    pub count: u64,
}

/// The context that an answer about one is of: the one that the filter names; else, of those of which it lets evaluations
/// through, the one of the first model that computed a token last. `None` if nothing is let through.
pub fn context_of(trace: &Trace, table: &Table, filter: &Filter) -> Option<u32> {
    let among = table.contexts(filter);
    match among[..] {
        _ if filter.context.is_some() => filter.context,
        [] | [_] => among.first().copied(),
        _ => Contexts::of(trace).usual_of(|context| among.contains(&context)).map(|c| c.context),
    }
}

/// The times of the executions that `filter` lets through, in at most `bins` bins. Of several contexts it is the one that
/// [`context_of`] names.
pub fn histogram(trace: &Trace, table: &Table, filter: &Filter, bins: usize) -> Histogram {
    let context = context_of(trace, table, filter);
    let filter = &Filter { context, ..filter.clone() };
    let selection = Selection::new(trace, table, filter);
    let ranks = Ranks::of(&selection);
    let Some(longest) = ranks.timed().checked_sub(1) else {
        return Histogram { context, ..Histogram::default() };
    };
    // The least rank that the given share of all executions is not above.
    let rank = |percent: u64| (u128::from(ranks.timed()) * u128::from(percent)).div_ceil(100) as u64 - 1;
    let found = ranks.at(&selection, &[0, rank(50), rank(90), rank(99), longest]);
    let bin = |(times, count): (Numbers, u64)| TimeBin { from: times.first, to: times.last, count };
    Histogram {
        context,
        count: ranks.timed(),
        min: Some(found[0]),
        p50: Some(found[1]),
        p90: Some(found[2]),
        p99: Some(found[3]),
        max: Some(found[4]),
        mean: Some(ranks.sum() as f64 / ranks.timed() as f64),
        bins: ranks.bins(found[0], found[4], bins).into_iter().map(bin).collect(),
    }
}
