//! One layer of one evaluation with all that its attention is computed from: queries, the rows of keys as they are now,
//! masks and sinks. What a token sees, and how its queries are rounded, is decided here; what is missing is told.

use crate::attention::cache_rows::{Rows, Shape};
use crate::attention::owners::Owners;
use crate::attention::plan::{CacheKey, LayerPlan, Look, Source};
use crate::attention::row::KeyRef;
use ggscope_compute::attention::kernel::widen;
use ggscope_compute::attention::softmax::{rounded, slope};
use ggscope_format::TensorId;
use ggscope_format::columns::Row;
use ggscope_query::causes::Causes;
use ggscope_query::values::Stretches;
use half::f16;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// Tensors of an evaluation that were captured as they were, by whose bytes they are.
pub type Whole = HashMap<TensorId, Stretches>;

/// What is known of caches.
#[derive(Debug, Default)]
pub struct Caches {
    /// Rows, for each shape that graphs see in them.
    pub rows: HashMap<CacheKey, Vec<Rows>>,
    /// Which tokens are in the rows of keys.
    pub owners: HashMap<CacheKey, Owners>,
}

impl Caches {
    /// Rows of a cache in a certain shape.
    pub fn of(&self, key: CacheKey, shape: Shape) -> Option<&Rows> {
        self.rows.get(&key)?.iter().find(|rows| rows.shape == shape)
    }
}

/// The keys that a token sees, counted from the first of its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// From the first to the last.
    pub range: Range<usize>,
    /// Which of them, if not all.
    pub some: Option<Vec<u32>>,
    /// What the mask adds to each, `[n_seen, heads of the mask]`; empty if it adds nothing.
    pub bias: Vec<f32>,
}

impl Seen {
    /// How many.
    pub fn len(&self) -> usize {
        self.some.as_ref().map_or(self.range.len(), Vec::len)
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = usize> {
        let all = if self.some.is_none() { self.range.clone() } else { 0..0 };
        all.chain(self.some.iter().flatten().map(|&j| j as usize))
    }

    /// What the mask adds for a head.
    pub fn bias_of(&self, head: usize) -> Option<&[f32]> {
        let n = self.len();
        let heads = self.bias.len().checked_div(n).filter(|&heads| heads > 0)?;
        self.bias.chunks_exact(n).nth(head % heads)
    }

    fn of(masks: &[Vec<f32>], n_kv: usize) -> Seen {
        let is_seen = |j: &usize| masks.iter().any(|m| m[*j] != f32::NEG_INFINITY);
        let (Some(first), Some(last)) = ((0..n_kv).find(is_seen), (0..n_kv).rfind(is_seen)) else {
            return Seen { range: 0..0, some: None, bias: vec![] };
        };
        let range = first..last + 1;
        let some = (!range.clone().all(|j| is_seen(&j)))
            .then(|| range.clone().filter(is_seen).map(|j| j as u32).collect::<Vec<_>>());
        let mut seen = Seen { range, some, bias: vec![] };
        if masks.iter().any(|mask| seen.each().any(|j| mask[j] != 0.0)) {
            seen.bias = masks.iter().flat_map(|mask| seen.each().map(|j| mask[j])).collect();
        }
        seen
    }
}

/// See [`LayerState::showing`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Showing {
    mask: Option<(Look, bool)>,
    n_kv: usize,
    n_head: usize,
    token: (usize, usize),
}

/// Why the attention of a layer cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// What was to be captured of the evaluation is not there: what, in the plural.
    Values(&'static str),
    /// It is not known what is in a row of a cache that it looks at: of which.
    Row(&'static str),
    /// Something else.
    Otherwise(String),
}

impl Lacks {
    /// In words, with the causes that the trace has evidence of.
    pub fn said(&self, causes: &Causes, row: &Row) -> String {
        match self {
            Lacks::Values(what) => format!("its {what} are not in the trace: {}", causes.of_values(row)),
            Lacks::Row(cache) => {
                format!("a row of the {cache} cache that it looks at is not known: {}", causes.of_rows(row))
            }
            Lacks::Otherwise(why) => why.clone(),
        }
    }
}

impl From<&str> for Lacks {
    fn from(why: &str) -> Lacks {
        Lacks::Otherwise(why.to_owned())
    }
}

impl From<&String> for Lacks {
    fn from(why: &String) -> Lacks {
        Lacks::Otherwise(why.clone())
    }
}

impl From<String> for Lacks {
    fn from(why: String) -> Lacks {
        Lacks::Otherwise(why)
    }
}

/// A layer of an evaluation.
pub struct LayerState<'a> {
    /// What is known of it from its graph.
    pub plan: &'a LayerPlan,
    /// The keys.
    pub rows: Cow<'a, Rows>,
    owners: Option<&'a Owners>,
    q: &'a Stretches,
    mask: Option<&'a [u8]>,
    sinks: Option<Vec<f32>>,
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn halves(bytes: &[u8]) -> Vec<f32> {
    let halves: Vec<f16> = bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b)).collect();
    let mut floats = vec![0.0; halves.len()];
    widen(&halves, &mut floats);
    floats
}

fn captured<'a>(whole: &'a Whole, id: TensorId, what: &'static str) -> Result<&'a [u8], Lacks> {
    whole.get(&id).and_then(Stretches::whole).ok_or(Lacks::Values(what))
}

const DAMAGED: &str = "its tensors are smaller than their shapes say";

impl<'a> LayerState<'a> {
    /// Puts together what there is of a layer in an evaluation of `n_tokens`.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn new(plan: &'a LayerPlan, n_tokens: usize, whole: &'a Whole, caches: &'a Caches) -> Result<Self, Lacks> {
        if plan.q.ne[1].checked_mul(plan.q.ne[3]) != Some(n_tokens) {
            return Err("it has not as many queries as tokens".into());
        }
        let q = whole.get(&plan.q.root).ok_or(Lacks::Values("queries"))?;
        let mask = plan.mask.map(|(mask, _)| captured(whole, mask.root, "masks")).transpose()?;
        let sinks = plan.sinks.map(|sinks| captured(whole, sinks, "sinks").map(floats)).transpose()?;
        let (rows, owners) = match plan.k_source {
            Source::Own => {
                (Cow::Owned(own(&plan.k, plan.k_shape, captured(whole, plan.k.root, "keys")?, false)?), None)
            }
            Source::Cache(key) => {
                let rows = caches.of(key, plan.k_shape).filter(|rows| !rows.told().is_empty());
                let rows = rows.ok_or(Lacks::Values("keys"))?;
                (Cow::Borrowed(rows), caches.owners.get(&key))
            }
        };
        let layer = LayerState { plan, rows, owners, q, mask, sinks };
        let (last, n_head) = ((plan.per_stream() - 1, plan.q.ne[3] - 1), plan.n_head());
        let is_there = |head: usize| layer.query(0, 0, head).and(layer.query(last.0, last.1, head)).is_some();
        if !(0..n_head).any(is_there) {
            return Err(Lacks::Values("queries"));
        }
        if layer.sinks.as_ref().is_some_and(|sinks| sinks.len() < n_head) {
            return Err(DAMAGED.into());
        }
        Ok(layer)
    }

    /// What the layer weighs.
    ///
    /// # Errors
    /// Says why it is not known.
    pub fn values(&self, whole: &Whole, caches: &'a Caches) -> Result<Cow<'a, Rows>, Lacks> {
        let plan = self.plan.values.as_ref().ok_or("they were not asked for")?.as_ref().map_err(String::as_str)?;
        match plan.source {
            Source::Own => {
                let bytes = captured(whole, plan.look.root, "values")?;
                Ok(Cow::Owned(own(&plan.look, plan.shape, bytes, plan.by_element)?))
            }
            Source::Cache(key) => {
                let rows = caches.of(key, plan.shape).filter(|rows| !rows.told().is_empty());
                rows.map(Cow::Borrowed).ok_or(Lacks::Values("values"))
            }
        }
    }

    /// The query of a head of token `i` of a stream, as it was computed.
    pub fn query(&self, i: usize, stream: usize, head: usize) -> Option<Vec<f32>> {
        let (look, n) = (&self.plan.q, self.plan.q.ne[0].checked_mul(4)?);
        self.q.get(look.offset_of([i, head, stream])?, n).map(floats)
    }

    /// The same, rounded as it is multiplied.
    pub fn multiplied(&self, i: usize, stream: usize, head: usize) -> Option<Vec<f32>> {
        let mut query = self.query(i, stream, head)?;
        rounded(&mut query, self.plan.k_shape.ty);
        Some(query)
    }

    /// Whether the keys lie in a cache, so that later evaluations look at them again.
    pub fn is_cached(&self) -> bool {
        matches!(self.plan.k_source, Source::Cache(_))
    }

    /// The logit of a head's sink.
    pub fn sink(&self, head: usize) -> Option<f32> {
        self.sinks.as_ref()?.get(head).copied()
    }

    /// What a head's mask is multiplied with.
    pub fn slope(&self, head: usize) -> f32 {
        slope(self.plan.max_bias, head, self.plan.n_head())
    }

    fn rows_of(&self, stream: usize) -> Range<u64> {
        let first = self.plan.first_row(self.plan.k_stream(stream));
        first..first.saturating_add(self.plan.k.ne[1] as u64)
    }

    /// Whether the keys of a stream are in the same rows and of the same tokens as another layer's.
    pub fn has_keys_of(&self, other: &LayerState<'_>, stream: usize) -> bool {
        let (rows, theirs) = (self.rows_of(stream), other.rows_of(stream));
        let owners = self.owners.zip(other.owners);
        rows == theirs && owners.is_some_and(|(ours, theirs)| ours.are_alike(theirs, rows))
    }

    /// The keys of a stream of queries, whether they are seen or not. `first_token` is the evaluation's.
    pub fn keys(&self, stream: usize, first_token: u64) -> Vec<KeyRef> {
        let rows = self.rows_of(stream);
        match (self.plan.k_source, self.owners) {
            (Source::Own, _) => rows.map(|cell| KeyRef { cell, token: first_token.checked_add(cell) }).collect(),
            (Source::Cache(_), Some(owners)) => owners.keys(rows),
            (Source::Cache(_), None) => rows.map(|cell| KeyRef { cell, token: None }).collect(),
        }
    }

    /// What token `i` of a stream sees.
    ///
    /// # Errors
    /// When that is not known, or one of the keys is not.
    pub fn seen(&self, i: usize, stream: usize) -> Result<Seen, Lacks> {
        let seen = self.shown(i, stream)?;
        self.has(&seen, stream)?;
        Ok(seen)
    }

    /// What tells apart what layers of one evaluation show a token: alike for those that have the same mask.
    pub fn showing(&self, i: usize, stream: usize) -> Showing {
        let LayerPlan { mask, k, .. } = self.plan;
        Showing { mask: *mask, n_kv: k.ne[1], n_head: self.plan.n_head(), token: (i, stream) }
    }

    /// The keys that the mask shows token `i` of a stream.
    ///
    /// # Errors
    /// When the mask is not all there.
    pub fn shown(&self, i: usize, stream: usize) -> Result<Seen, Lacks> {
        let n_kv = self.plan.k.ne[1];
        let Some((bytes, (look, is_half))) = self.mask.zip(self.plan.mask) else {
            return Ok(Seen { range: 0..n_kv, some: None, bias: vec![] });
        };
        let of_head = |head: usize| {
            let at = [i, head, stream % look.ne[3]];
            let n = n_kv.checked_mul(if is_half { 2 } else { 4 })?;
            look.at(bytes, at, n).map(|bytes| if is_half { halves(bytes) } else { floats(bytes) })
        };
        let heads = look.ne[2].min(self.plan.n_head());
        let masks: Option<Vec<Vec<f32>>> = (0..heads).map(of_head).collect();
        Ok(Seen::of(&masks.ok_or("its mask is smaller than its shape says")?, n_kv))
    }

    /// Whether all keys that are seen are known.
    ///
    /// # Errors
    /// When one is not.
    pub fn has(&self, seen: &Seen, stream: usize) -> Result<(), Lacks> {
        let first = self.plan.first_row(self.plan.k_stream(stream));
        let missing = match &seen.some {
            None => {
                let end = first.saturating_add(seen.range.end as u64);
                self.rows.first_missing(first.saturating_add(seen.range.start as u64)..end)
            }
            Some(some) => some.iter().map(|&j| first.saturating_add(u64::from(j))).find(|&row| !self.rows.has(row)),
        };
        missing.map_or(Ok(()), |_| Err(Lacks::Row("K")))
    }
}

/// Keys or values that are in no cache.
fn own(look: &Look, shape: Shape, bytes: &[u8], by_element: bool) -> Result<Rows, String> {
    let mut rows = Rows::new(shape).ok_or(DAMAGED)?;
    let ([n_kv, n_head, n_stream], n) = (
        if by_element { [look.ne[0], look.ne[2], look.ne[3]] } else { [look.ne[1], look.ne[2], look.ne[3]] },
        shape.stride,
    );
    let size = shape.ty.type_size() as usize;
    let head_of = |j: usize, head: usize, stream: usize| -> Option<Cow<'_, [u8]>> {
        if !by_element {
            return look.at(bytes, [j, head, stream], n).map(Cow::Borrowed);
        }
        let element = |d: usize| {
            let begin = look.offset_of([d, head, stream])?.checked_add(look.nb[0].checked_mul(j as u64)?)?;
            let begin = usize::try_from(begin).ok()?;
            bytes.get(begin..begin.checked_add(size)?)
        };
        (0..shape.n_embd).map(element).collect::<Option<Vec<_>>>().map(|parts| Cow::Owned(parts.concat()))
    };
    for (stream, j) in (0..n_stream).flat_map(|stream| (0..n_kv).map(move |j| (stream, j))) {
        let heads: Option<Vec<Cow<'_, [u8]>>> = (0..n_head).map(|head| head_of(j, head, stream)).collect();
        let heads = heads.ok_or(DAMAGED)?;
        rows.put((stream * n_kv + j) as u64, |head| &heads[head]);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: f32 = f32::NEG_INFINITY;

    #[test]
    fn what_a_mask_shows_is_a_range_or_a_list_and_its_numbers_are_kept_where_they_matter() {
        let of = |masks: &[&[f32]]| Seen::of(&masks.iter().map(|m| m.to_vec()).collect::<Vec<_>>(), masks[0].len());
        let causal = of(&[&[0.0, 0.0, HIDDEN]]);
        assert_eq!(causal, Seen { range: 0..2, some: None, bias: vec![] });
        let window = of(&[&[HIDDEN, 0.0, 0.0, HIDDEN]]);
        assert_eq!((window.range.clone(), window.len()), (1..3, 2));
        let several = of(&[&[0.0, HIDDEN, -1.0]]);
        assert_eq!(several, Seen { range: 0..3, some: Some(vec![0, 2]), bias: vec![0.0, -1.0] });
        assert_eq!(several.each().collect::<Vec<_>>(), [0, 2]);
        let heads = of(&[&[0.0, HIDDEN, HIDDEN], &[HIDDEN, 0.0, HIDDEN]]);
        assert_eq!(
            (heads.len(), heads.bias_of(0), heads.bias_of(3)),
            (2, Some(&[0.0, HIDDEN][..]), Some(&[HIDDEN, 0.0][..]))
        );
        assert_eq!(of(&[&[HIDDEN; 3]]).len(), 0);
        assert_eq!(causal.bias_of(0), None);
    }
}
