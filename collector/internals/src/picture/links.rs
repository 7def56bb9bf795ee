//! Attention of a run of tokens in all layers at once, as links between tokens: the heaviest of every head, and how much of
//! one token's state came along each, by attention rollout. What a picture in space is drawn from.

use super::follow::not_here;
use super::matrix::Rounded;
use super::names::{Named, named};
use super::{Followers, MAX_WEIGHTS, Refused, of_head};
use crate::attention::{AttentionError, TokenRow};
use crate::heads::mixed;
use ggscope_query::contexts::of_token;
use ggscope_trace::Trace;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use utoipa::ToSchema;

/// Links in one answer, at most.
pub const MAX_LINKS: usize = 24_000;
/// Links of one head of the followed token, and of every other.
const OF_FOLLOWED: usize = 12;
const OF_OTHERS: usize = 2;
/// Lighter links are none.
const LEAST: f32 = 0.01;

/// A token of the picture.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LinkToken {
    /// The token, counted from 0 through the session.
    pub token: u64,
    /// Its position.
    pub pos: Option<i32>,
    /// Its text, if it is known.
    pub text: Option<String>,
    /// How much of the followed token's state was at this token before each layer, and after the last: the first number is
    /// before the first layer. Each column of all tokens sums up to 1, but for keys whose tokens are not known.
    pub shares: Vec<Rounded>,
}

/// Links as columns: one link at each place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Links {
    /// The layer.
    pub layer: Vec<u32>,
    /// The head.
    pub head: Vec<usize>,
    /// The token that looks.
    pub query: Vec<u64>,
    /// The token that it looks at.
    pub key: Vec<u64>,
    /// The weight.
    pub weight: Vec<Rounded>,
    /// How much of the followed token's state came along it, by rollout.
    pub share: Vec<f32>,
}

/// Links of some tokens, in all layers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AttentionLinks {
    /// The context that computed the tokens.
    pub context: u32,
    /// The token that is followed.
    pub token: u64,
    /// The tokens that looked, from this one on.
    pub first: u64,
    /// Layers with attention, from the first to the last.
    pub layers: Vec<u32>,
    /// The most heads that a layer has.
    pub n_head: usize,
    /// Tokens that something came from or went to, in their order.
    pub tokens: Vec<LinkToken>,
    /// The links: those of the followed token, and of the others those with the largest shares if there are too many.
    pub links: Links,
    /// Links that there was no room for.
    pub left_out: usize,
    /// What could not be computed.
    pub refused: Vec<Refused>,
}

struct Link {
    layer: u32,
    head: usize,
    query: u64,
    key: u64,
    weight: f32,
    share: f64,
}

/// A token in a layer.
struct Mixed {
    /// What it passes on to the tokens that it sees, and to itself.
    shares: Vec<(u64, f32)>,
    /// What a weight is multiplied by to be a part of that.
    of_head: f64,
    links: Vec<(usize, u64, f32)>,
}

struct Collected {
    token: u64,
    /// Whether what heads give to the first token counts as given to none: they have learned to rest there.
    without_first: bool,
    layers: BTreeMap<u32, BTreeMap<u64, Mixed>>,
    n_head: usize,
    n_shares: usize,
}

impl Collected {
    fn new(token: u64, without_first: bool) -> Collected {
        Collected { token, without_first, layers: BTreeMap::new(), n_head: 0, n_shares: 0 }
    }

    fn take(&mut self, row: &TokenRow<'_>) -> Result<(), AttentionError> {
        self.n_head = self.n_head.max(row.n_head);
        let layer = self.layers.entry(row.layer).or_default();
        let Some((mut shares, of_head_part)) = mixed(row) else { return Ok(()) };
        let rest = if self.without_first { resting(row, &mut shares) } else { None };
        self.n_shares += shares.len();
        if self.n_shares > MAX_WEIGHTS {
            return Err(AttentionError::TooMuch(format!(
                "these tokens have more than {MAX_WEIGHTS} keys in all layers"
            )));
        }
        let most = if row.token == self.token { OF_FOLLOWED } else { OF_OTHERS };
        let links = (0..row.n_head).flat_map(|head| {
            let heaviest = heaviest(of_head(row, head), most);
            let others = heaviest.into_iter().filter(move |&(i, _)| rest != Some(i));
            others.filter_map(move |(i, weight)| Some((head, row.keys[i].token?, weight)))
        });
        let known = |(key, share): (&crate::attention::KeyRef, f64)| Some((key.token?, share as f32));
        let links = links.collect();
        let shares = row.keys.iter().zip(shares).filter_map(known).collect();
        layer.insert(row.token, Mixed { shares, of_head: of_head_part, links });
        Ok(())
    }

    /// Follows the token down through all layers: the links with their shares, and what is at each token before each layer.
    fn follow(&self) -> (Vec<Link>, Vec<BTreeMap<u64, f64>>) {
        let mut links = vec![];
        let mut at = vec![BTreeMap::from([(self.token, 1.0)])];
        for (&layer, rows) in self.layers.iter().rev() {
            let mut below: BTreeMap<u64, f64> = BTreeMap::new();
            for (&query, &mass) in at.last().into_iter().flatten() {
                // A token without a row stays what it is.
                let Some(row) = rows.get(&query) else {
                    *below.entry(query).or_default() += mass;
                    continue;
                };
                for &(key, share) in &row.shares {
                    *below.entry(key).or_default() += mass * f64::from(share);
                }
                let link = |&(head, key, weight): &(usize, u64, f32)| Link {
                    layer,
                    head,
                    query,
                    key,
                    weight,
                    share: mass * row.of_head * f64::from(weight),
                };
                links.extend(row.links.iter().map(link));
            }
            at.push(below);
        }
        at.reverse();
        (links, at)
    }

    fn finish(self, trace: &Trace, first: u64, refused: Vec<Refused>) -> AttentionLinks {
        let (mut links, at) = self.follow();
        let left_out = links.len().saturating_sub(MAX_LINKS);
        let own = |link: &Link| link.query != self.token;
        let larger =
            |a: &Link, b: &Link| own(a).cmp(&own(b)).then(b.share.partial_cmp(&a.share).unwrap_or(Ordering::Equal));
        links.sort_by(larger);
        links.truncate(MAX_LINKS);
        let mut tokens: BTreeSet<u64> = links.iter().flat_map(|link| [link.query, link.key]).collect();
        tokens.insert(self.token);
        let names: HashMap<u64, Named> = named(trace, &tokens);
        let token = |token: u64| {
            let Named { pos, text } = names.get(&token).cloned().unwrap_or_default();
            let share = |at: &BTreeMap<u64, f64>| Rounded(at.get(&token).copied().unwrap_or(0.0) as f32);
            LinkToken { token, pos, text, shares: at.iter().map(share).collect() }
        };
        AttentionLinks {
            context: 0,
            token: self.token,
            first,
            layers: self.layers.keys().copied().collect(),
            n_head: self.n_head,
            tokens: tokens.into_iter().map(token).collect(),
            links: Links {
                layer: links.iter().map(|link| link.layer).collect(),
                head: links.iter().map(|link| link.head).collect(),
                query: links.iter().map(|link| link.query).collect(),
                key: links.iter().map(|link| link.key).collect(),
                weight: links.iter().map(|link| Rounded(link.weight)).collect(),
                share: links.iter().map(|link| link.share as f32).collect(),
            },
            left_out,
            refused,
        }
    }
}

/// Lets a token keep what it passes on to the first token of all that it sees, and returns the place of that; `None` if it
/// is that token itself, or is not among its keys.
fn resting(row: &TokenRow<'_>, shares: &mut [f64]) -> Option<usize> {
    let place = |token: Option<u64>| row.keys.iter().position(|key| token.is_some() && key.token == token);
    let (first, own) = (place(row.keys.iter().filter_map(|key| key.token).min())?, place(Some(row.token))?);
    if first == own {
        return None;
    }
    shares[own] += std::mem::take(&mut shares[first]);
    Some(first)
}

/// The places of the heaviest weights, the heaviest first; none of a head with NaN.
fn heaviest(weights: &[f32], most: usize) -> Vec<(usize, f32)> {
    if weights.iter().any(|w| w.is_nan()) {
        return vec![];
    }
    let mut found: Vec<(usize, f32)> = weights.iter().copied().enumerate().filter(|&(_, w)| w >= LEAST).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(most);
    found
}

/// The links of a token and of those up to `span` before it, in all layers. With `without_first`, what heads give to the first
/// token of all counts as given to none.
///
/// # Errors
/// When the trace has no such captures, or no such token, or these tokens see more than [`MAX_WEIGHTS`] keys.
pub fn links(
    trace: &Trace,
    followers: &mut Followers,
    (token, span, without_first): (u64, u64, bool),
) -> Result<AttentionLinks, AttentionError> {
    let end = token.saturating_add(1);
    let first = end.saturating_sub(span.max(1));
    let mut collected = Collected::new(token, without_first);
    let context = of_token(trace, token).unwrap_or(0);
    let refused = followers.rows(trace, (context, &(first..end)), None, |row| collected.take(row))?;
    if !collected.layers.values().any(|rows| rows.contains_key(&token)) && refused.is_empty() {
        return Err(AttentionError::Missing("tokens", not_here(trace, token)));
    }
    Ok(AttentionLinks { context, ..collected.finish(trace, first, refused) })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{keys, row};
    use super::*;

    #[test]
    fn a_token_is_followed_down_through_heads_to_what_it_came_from() {
        let mut all = Collected::new(2, false);
        let seen = keys(&[(0, Some(0)), (1, Some(1)), (2, Some(2))]);
        // The last layer: one head looks at token 1, the other at the token itself.
        let above = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        all.take(&TokenRow { layer: 7, ..row(2, &seen, 2, &above) }).unwrap();
        // The first: token 1 looks at token 0 with both; token 2 has no row.
        let below = [1.0, 0.0, 1.0, 0.0];
        all.take(&row(1, &seen[..2], 2, &below)).unwrap();
        let (links, at) = all.follow();
        assert_eq!(at.len(), 3, "before the first layer, between, and after the last");
        assert_eq!(at[2], BTreeMap::from([(2, 1.0)]));
        assert_eq!(at[1], BTreeMap::from([(0, 0.0), (1, 0.25), (2, 0.75)]));
        assert_eq!(at[0], BTreeMap::from([(0, 0.125), (1, 0.125), (2, 0.75)]));
        let of = |layer: u32| -> Vec<_> {
            links.iter().filter(|l| l.layer == layer).map(|l| (l.head, l.query, l.key, l.share)).collect()
        };
        assert_eq!(of(7), [(0, 2, 1, 0.25), (1, 2, 2, 0.25)]);
        assert_eq!(of(0), [(0, 1, 0, 0.0625), (1, 1, 0, 0.0625)]);
    }

    #[test]
    fn of_each_head_the_heaviest_are_kept_and_none_of_one_with_nan() {
        assert_eq!(heaviest(&[0.2, 0.5, 0.001, 0.3], 2), [(1, 0.5), (3, 0.3)]);
        assert_eq!(heaviest(&[0.2, f32::NAN], 2), []);
        let mut all = Collected::new(9, false);
        all.take(&row(9, &keys(&[(0, None), (1, Some(9))]), 1, &[0.5, 0.5])).unwrap();
        let (links, at) = all.follow();
        assert_eq!(links.len(), 1, "a key whose token is not known is no link");
        assert_eq!(at[0][&9], 0.75);
    }

    #[test]
    fn what_rests_on_the_first_token_stays_where_it_was() {
        let seen = keys(&[(0, Some(0)), (1, Some(1)), (2, Some(2))]);
        let mut all = Collected::new(2, true);
        all.take(&row(2, &seen, 1, &[0.75, 0.25, 0.0])).unwrap();
        let (links, at) = all.follow();
        assert_eq!(at[0], BTreeMap::from([(0, 0.0), (1, 0.125), (2, 0.875)]));
        assert_eq!(links.iter().map(|link| link.key).collect::<Vec<_>>(), [1]);
        // The first token itself has nothing else to look at.
        let mut first = Collected::new(0, true);
        first.take(&row(0, &seen[..1], 1, &[1.0])).unwrap();
        assert_eq!(first.follow().0.len(), 1);
    }
}
