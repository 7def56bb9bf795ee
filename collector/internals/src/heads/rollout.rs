//! From a token back to the prompt: attention rollout and attention flow through all layers (Abnar and Zuidema,
//! "Quantifying Attention Flow in Transformers", 2020), with the mean of a layer's heads and half of every token's own state.

use super::flow::{Layered, MAX_EDGES};
use crate::attention::error::captured;
use crate::attention::limits::{capture_of, said};
use crate::attention::token::which_token;
use crate::attention::{AttentionError, Span, TokenRow, for_each_row};
use crate::tokens::Tokens;
use ggscope_query::dump::Phase;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use utoipa::ToSchema;

/// A token that another one has drawn on.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = heads::Source)]
pub struct Source {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its position, if it is known.
    pub pos: Option<i32>,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// What it is part of.
    pub phase: Phase,
    /// Its share by attention rollout; all of them sum to 1.
    pub rollout: f64,
    /// The most that can flow from it to the token, 0 to 1; null if it was not computed.
    pub flow: Option<f64>,
}

/// Where a token's state comes from.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Flow {
    /// The context that computed the token.
    pub context: u32,
    /// The token.
    pub token: u64,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// Layers that it went through.
    pub layers: Vec<u32>,
    /// Layers with attention of which nothing was captured of the token: it is not followed through them.
    pub uncaptured_layers: u64,
    /// Heads of the layers that it went through.
    pub heads: usize,
    /// How many of them were captured: the mean of a layer is that of these.
    pub captured_heads: usize,
    /// Where it comes from, in the order of tokens.
    pub sources: Vec<Source>,
    /// Share by rollout that went to keys whose token is not known.
    pub unknown: f64,
    /// Rows that could not be computed: there, tokens keep their own state.
    pub missing_rows: u64,
    /// Why there is no attention flow, if there is none.
    pub flow_refused: Option<String>,
}

/// A row with half of the token's own state added: shares that sum to 1.
fn with_own(row: &TokenRow<'_>) -> Option<Vec<f64>> {
    mixed(row).map(|mixed| mixed.0)
}

/// The same, and what a weight of one head is multiplied by to be its part of a share.
pub(crate) fn mixed(row: &TokenRow<'_>) -> Option<(Vec<f64>, f64)> {
    let n = row.keys.len().max(1);
    let mut mean = vec![0.0; row.keys.len()];
    let mut heads = 0.0;
    for head in row.weights.chunks_exact(n).filter(|head| head.iter().all(|w| w.is_finite())) {
        mean.iter_mut().zip(head).for_each(|(sum, &w)| *sum += f64::from(w));
        heads += 1.0;
    }
    let total: f64 = mean.iter().sum();
    if heads == 0.0 || total <= 0.0 {
        return None;
    }
    // What learned sinks took goes nowhere: A + I, normalised.
    let norm = total / heads + 1.0;
    mean.iter_mut().for_each(|w| *w /= heads * norm);
    let own = row.keys.iter().position(|k| k.token == Some(row.token))?;
    mean[own] += 1.0 / norm;
    Some((mean, 1.0 / (heads * norm)))
}

/// One step of the rollout, from a layer's output to its input.
struct Step {
    from: BTreeMap<u64, f64>,
    to: BTreeMap<u64, f64>,
    unknown: f64,
}

impl Step {
    fn take(&mut self, row: &TokenRow<'_>) {
        let (Some(shares), Some(mass)) = (with_own(row), self.from.get(&row.token).copied()) else { return };
        self.from.remove(&row.token);
        for (key, share) in row.keys.iter().zip(shares) {
            match key.token {
                Some(token) => *self.to.entry(token).or_default() += mass * share,
                None => self.unknown += mass * share,
            }
        }
    }
}

/// Follows a token back through all layers: if none is named, the last one of the context that is named, or of the usual one.
///
/// # Errors
/// As [`for_each_row`]; when there is no such token.
pub fn flow(trace: &Trace, context: Option<u32>, token: Option<u64>) -> Result<Flow, AttentionError> {
    captured(trace)?;
    let (token, context) = which_token(trace, context, token)?;
    let mut layers = BTreeSet::new();
    let (mut heads, mut captured_heads) = (0, 0);
    let last = Span { tokens: token..token.saturating_add(1), layers: None, context: Some(context) };
    let walked = for_each_row(trace, &last, |row| {
        layers.insert(row.layer);
        let wanted = capture_of(trace, row.eval).map(|capture| capture.heads).unwrap_or_default();
        heads += row.n_head;
        captured_heads += (0..row.n_head as u64).filter(|&head| wanted.has(head)).count();
        ControlFlow::Continue(())
    })?;
    if layers.is_empty() {
        return Err(match walked.refused.first() {
            Some((layer, why, _)) => AttentionError::Missing("token", format!("layer {layer} of token {token}: {why}")),
            None if walked.uncaptured > 0 => {
                let why = format!("the attention of token {token} was not captured: the capture was {}", said(trace));
                AttentionError::Missing("token", why)
            }
            None => {
                let why = format!("the graph that computed token {token} has no attention");
                AttentionError::Missing("token", why)
            }
        });
    }
    let mut step = Step { from: BTreeMap::new(), to: BTreeMap::from([(token, 1.0)]), unknown: 0.0 };
    let mut missing_rows = 0;
    let mut layered = Layered::new(token);
    for &layer in layers.iter().rev() {
        step.from = std::mem::take(&mut step.to);
        let first = step.from.keys().next().copied().unwrap_or(token);
        let last = step.from.keys().next_back().copied().unwrap_or(token);
        let tokens = first..last.saturating_add(1);
        // Only rows of tokens that it came from are taken, whoever computed them.
        let span = Span { tokens, layers: Some(layer..=layer), context: None };
        let mut next = layered.layer();
        for_each_row(trace, &span, |row| {
            if step.from.contains_key(&row.token) {
                if let Some(shares) = with_own(row) {
                    next.add(row, &shares);
                }
                step.take(row);
            }
            ControlFlow::Continue(())
        })?;
        missing_rows += step.from.len() as u64;
        for (token, mass) in std::mem::take(&mut step.from) {
            next.keep(token);
            *step.to.entry(token).or_default() += mass;
        }
        layered.finish(next);
    }
    let flows = layered.flows();
    let tokens = Tokens::read(trace, token.saturating_add(1).max(step.to.keys().next_back().map_or(0, |t| t + 1)));
    let source = |(&number, &rollout): (&u64, &f64)| {
        let known = tokens.get(number);
        Source {
            token: number,
            pos: known.pos,
            text: tokens.text(number),
            phase: Phase::of(known.phase),
            rollout,
            flow: flows.as_ref().map(|f| f.get(&number).copied().unwrap_or(0.0)),
        }
    };
    Ok(Flow {
        context,
        token,
        text: tokens.text(token),
        layers: layers.into_iter().collect(),
        uncaptured_layers: walked.uncaptured,
        heads,
        captured_heads,
        sources: step.to.iter().map(source).collect(),
        unknown: step.unknown,
        missing_rows,
        flow_refused: flows.is_none().then(|| {
            format!("attention flow is computed through {MAX_EDGES} edges at most: this token has more before it")
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::KeyRef;
    use ggscope_format::EvalId;

    #[test]
    fn a_step_of_the_rollout_mixes_half_of_the_token_itself_in() {
        let keys = [KeyRef { cell: 0, token: Some(0) }, KeyRef { cell: 1, token: Some(1) }];
        let weights = [1.0, 0.0, 0.5, 0.5];
        let row = TokenRow {
            token: 1,
            eval: EvalId(0),
            context: 0,
            layer: 0,
            n_head: 2,
            n_head_kv: 1,
            keys: &keys,
            weights: &weights,
            sinks: &[],
        };
        assert_eq!(with_own(&row), Some(vec![0.375, 0.625]));
        let mut step = Step { from: BTreeMap::from([(1, 0.5), (7, 0.5)]), to: BTreeMap::new(), unknown: 0.0 };
        step.take(&row);
        assert_eq!(step.to, BTreeMap::from([(0, 0.1875), (1, 0.3125)]));
        assert_eq!(step.from, BTreeMap::from([(7, 0.5)]), "its row is missing");
        let broken = TokenRow { weights: &[f32::NAN; 4], ..row };
        assert_eq!(with_own(&broken), None);
    }
}
