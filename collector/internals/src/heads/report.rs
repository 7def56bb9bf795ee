//! What is told of heads: the JSON of `ggscope heads` and of the API, put together from what was counted.

use super::clusters::{self, Tried, nearest};
use super::kind::{Kind, NAMES, Name, kind};
use super::measures::Measures;
use super::pairs::{Pairs, affordable, divergences};
use super::rank;
use super::{Analysis, HeadsOptions};
use crate::attention::{AttentionError, Walked};
use ggscope_compute::{Compute, divergence};
use ggscope_query::graph_report::Took;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;
use utoipa::ToSchema;

/// Pairs in the ranking of redundancy at most.
const MAX_TWINS: usize = 64;

/// A head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
pub struct HeadId {
    /// Its layer.
    pub layer: u32,
    /// Its number in the layer.
    pub head: usize,
}

/// Another head and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Near {
    /// Its layer.
    pub layer: u32,
    /// Its number in the layer.
    pub head: usize,
    /// Jensen-Shannon divergence, nats.
    pub divergence: f64,
}

/// What one head does.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Head {
    /// Its layer.
    pub layer: u32,
    /// Its number in the layer.
    pub head: usize,
    /// Rows that were measured.
    pub rows: u64,
    /// Rows that had NaN or infinite numbers, and were not.
    pub not_finite: u64,
    /// Rows that had something to copy, of which the induction score is the mean.
    pub induction_rows: u64,
    /// The measures.
    #[serde(flatten)]
    pub measures: Measures,
    /// What it is, and why; null if nothing was measured.
    pub kind: Option<Kind>,
    /// Number of its cluster.
    pub cluster: Option<usize>,
    /// Its PageRank among all heads; they sum to 1.
    pub pagerank: Option<f64>,
    /// The same, divided by the mean of its layer: lower layers have more readers.
    pub pagerank_in_layer: Option<f64>,
    /// The head of all layers that is most like it.
    pub nearest: Option<Near>,
    /// The head of its own layer that is most like it.
    pub twin: Option<Near>,
}

/// What a head that looks everywhere alike would have measured.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerUniform {
    /// The layer.
    pub layer: u32,
    /// Heads of the layer.
    pub n_head: usize,
    /// Its measures.
    #[serde(flatten)]
    pub measures: Measures,
}

/// How many heads are of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct KindCount {
    /// The kind.
    pub name: Name,
    /// Heads.
    pub heads: usize,
}

/// How heads were compared.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Divergence {
    /// Tokens over which divergences are averaged.
    pub tokens: usize,
    /// Of so many that were measured: fewer if memory or time would not do.
    pub of_tokens: u64,
    /// Jensen-Shannon divergence in nats of heads (0, 1), (0, 2), … (1, 2), … in the order of all heads, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Vec<f32>>,
}

/// Heads that behave alike.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Cluster {
    /// Heads in it.
    pub heads: usize,
    /// The one that is nearest to all others.
    pub medoid: HeadId,
    /// Mean silhouette of its heads.
    pub silhouette: f64,
}

/// All clusters.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Clusters {
    /// Mean silhouette of all heads.
    pub silhouette: f64,
    /// The clusters, the largest first.
    pub clusters: Vec<Cluster>,
    /// Numbers of clusters that were tried.
    pub tried: Vec<Tried>,
}

/// Two heads of a layer that look at the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Twins {
    /// Their layer.
    pub layer: u32,
    /// Both heads.
    pub heads: [usize; 2],
    /// Jensen-Shannon divergence, nats.
    pub divergence: f64,
}

/// How PageRank was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ranked {
    /// Tokens that were followed at most.
    pub tokens: u64,
    /// Why there is none.
    pub refused: Option<String>,
}

/// Rows that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = heads::Refused)]
pub struct Refused {
    /// Their layer.
    pub layer: u32,
    /// Why.
    pub why: String,
    /// How many.
    pub rows: u64,
}

/// What all heads do.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Heads {
    /// The context whose tokens were measured: `/sessions/{id}` says which model that is.
    pub context: u32,
    /// The other contexts of the recording.
    pub other_contexts: Vec<u32>,
    /// The first token that was wanted.
    pub first_token: u64,
    /// The last one.
    pub last_token: u64,
    /// Tokens that were computed.
    pub tokens: u64,
    /// Rows (a token in a layer) that were measured.
    pub rows: u64,
    /// Rows with too few keys to say anything.
    pub short_rows: u64,
    /// Rows of these tokens that were not captured, as the limits of the capture had it: those of other layers among them.
    pub uncaptured_rows: u64,
    /// Fewest keys of a row that is measured.
    pub min_keys: usize,
    /// Whether token ids are known: without them there is no induction score.
    pub ids: bool,
    /// Whether token texts are known: without them there is no punctuation.
    pub texts: bool,
    /// Rows that could not be computed.
    pub refused: Vec<Refused>,
    /// For each layer, those that are not told of as well, a head that looks everywhere alike.
    pub uniform: Vec<LayerUniform>,
    /// The reported heads, layer by layer. Each is compared with all heads of the model.
    pub heads: Vec<Head>,
    /// How many of them are of which kind.
    pub kinds: Vec<KindCount>,
    /// How heads were compared.
    pub divergence: Divergence,
    /// Clusters by divergence; null for fewer than three heads.
    pub clusters: Option<Clusters>,
    /// Heads of one layer that are nearest to each other, nearest first: candidates for pruning. Of the heads that are told of.
    pub twins: Vec<Twins>,
    /// How PageRank was computed.
    pub ranked: Ranked,
    /// Where attention and divergences were computed, and how long that took.
    pub took: Vec<Took>,
}

impl Analysis<'_> {
    pub(super) fn report(
        self,
        wanted: &HeadsOptions,
        range: Range<u64>,
        walked: Walked,
        device: &Compute,
    ) -> Result<Heads, AttentionError> {
        let n_heads: BTreeMap<u32, usize> = self.layers.iter().map(|(&layer, l)| (layer, l.heads.len())).collect();
        let ids: Vec<HeadId> =
            n_heads.iter().flat_map(|(&layer, &n)| (0..n).map(move |head| HeadId { layer, head })).collect();
        let is_told = |layer: u32| wanted.layers.as_ref().is_none_or(|layers| layers.contains(&layer));
        if wanted.layers.is_some() && !n_heads.keys().any(|&layer| is_told(layer)) {
            return Err(none_of_these(&n_heads, &walked, is_told));
        }
        let told = || n_heads.iter().filter(|(layer, _)| is_told(**layer)).map(|(_, &n)| n);
        if let Some(head) = wanted.head.filter(|&head| told().all(|n| n <= head)) {
            let most = told().max().unwrap_or(0);
            return Err(AttentionError::Missing("head", format!("there is no head {head}: layers have {most}")));
        }
        let of_tokens = self.sample.seen();
        let most = affordable(ids.len(), self.sample.widest());
        let kept = self.sample.rows(&n_heads, most);
        let begin = Instant::now();
        let rows: Vec<divergence::Rows> =
            kept.iter().map(|rows| divergence::Rows { n: rows.n, weights: &rows.weights }).collect();
        let (of, ran) = device.divergences(ids.len(), &rows, || divergences(ids.len(), &kept).of)?;
        let pairs = Pairs { n: ids.len(), of };
        let mut took = walked.took("attention");
        took.push(Took { measure: "divergence", ms: begin.elapsed().as_secs_f64() * 1e3, on: ran.to_string() });
        let (ranks, refused) = match self.flows.ranks() {
            Ok(ranks) => (ranks, None),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        let division = clusters::clusters(&pairs);
        let refused_rows = walked.refused.into_iter().filter(|&(layer, ..)| is_told(layer));
        let refused_rows = refused_rows.map(|(layer, why, rows)| Refused { layer, why, rows }).collect();
        let near = |found: Option<(usize, f64)>| {
            found.map(|(b, divergence)| Near { layer: ids[b].layer, head: ids[b].head, divergence })
        };
        let in_layer = |id: &HeadId| {
            let layer = ranks.range((id.layer, 0)..=(id.layer, usize::MAX));
            let (sum, n) = layer.fold((0.0, 0), |(sum, n), (_, rank)| (sum + rank, n + 1));
            ranks.get(&(id.layer, id.head)).filter(|_| sum > 0.0).map(|rank| rank * f64::from(n) / sum)
        };
        let uniform: BTreeMap<u32, Measures> =
            self.layers.iter().map(|(&l, layer)| (l, layer.uniform.means())).collect();
        let head = |(i, id): (usize, &HeadId)| {
            let sums = &self.layers[&id.layer].heads[id.head];
            let measures = sums.means();
            let same_layer = (0..ids.len()).filter(|&b| ids[b].layer == id.layer);
            Head {
                layer: id.layer,
                head: id.head,
                rows: sums.rows(),
                not_finite: sums.not_finite,
                induction_rows: sums.induction_rows(),
                kind: kind(&measures, &uniform[&id.layer], sums.induction_rows()),
                measures,
                cluster: division.of[i],
                pagerank: ranks.get(&(id.layer, id.head)).copied(),
                pagerank_in_layer: in_layer(id),
                nearest: near(nearest(&pairs, i, 0..ids.len())),
                twin: near(nearest(&pairs, i, same_layer)),
            }
        };
        let mut heads: Vec<Head> = ids.iter().enumerate().map(head).collect();
        let is_wanted =
            |layer: u32, heads: &[usize]| is_told(layer) && wanted.head.is_none_or(|head| heads.contains(&head));
        let mut twins = twins(&heads);
        twins.retain(|t| is_wanted(t.layer, &t.heads));
        twins.truncate(MAX_TWINS);
        heads.retain(|h| is_wanted(h.layer, &[h.head]));
        let count = |name: Name| heads.iter().filter(|h| h.kind.is_some_and(|k| k.name == name)).count();
        let kinds = NAMES.map(|name| KindCount { name, heads: count(name) }).to_vec();
        Ok(Heads {
            context: 0,
            other_contexts: vec![],
            first_token: range.start,
            last_token: range.end.saturating_sub(1),
            tokens: walked.tokens,
            rows: self.rows,
            short_rows: self.short,
            uncaptured_rows: walked.uncaptured,
            min_keys: super::MIN_KEYS,
            ids: self.tokens.have_ids(),
            texts: self.tokens.have_texts(),
            refused: refused_rows,
            uniform: uniform
                .iter()
                .map(|(&layer, &measures)| LayerUniform { layer, n_head: n_heads[&layer], measures })
                .collect(),
            heads,
            kinds,
            clusters: clusters_of(&division, &ids),
            divergence: Divergence { tokens: kept.len(), of_tokens, pairs: wanted.pairs.then_some(pairs.of) },
            twins,
            ranked: Ranked { tokens: of_tokens.min(rank::MAX_TOKENS as u64), refused },
            took,
        })
    }
}

/// Why no head of the wanted layers can be told of, though other layers have heads.
fn none_of_these(n_heads: &BTreeMap<u32, usize>, walked: &Walked, is_wanted: impl Fn(u32) -> bool) -> AttentionError {
    if let Some((layer, why, _)) = walked.refused.iter().find(|(layer, ..)| is_wanted(*layer)) {
        let why = format!("no row of attention could be computed; in layer {layer}: {why}");
        return AttentionError::Missing("layer", why);
    }
    let known = n_heads.first_key_value().zip(n_heads.last_key_value());
    let among = known
        .map_or(String::new(), |(first, last)| format!(": those that have rows are among {} to {}", first.0, last.0));
    AttentionError::Missing("layer", format!("none of these layers has a row of attention{among}"))
}

fn clusters_of(division: &clusters::Division, ids: &[HeadId]) -> Option<Clusters> {
    if division.medoids.is_empty() {
        return None;
    }
    let size = |cluster: usize| division.of.iter().filter(|&&c| c == Some(cluster)).count();
    let all = division.medoids.iter().zip(&division.silhouettes).enumerate();
    Some(Clusters {
        silhouette: division.silhouette,
        clusters: all.map(|(i, (&m, &silhouette))| Cluster { heads: size(i), medoid: ids[m], silhouette }).collect(),
        tried: division.tried.clone(),
    })
}

/// Each two heads of a layer of which one is nearest to the other, nearest first.
fn twins(heads: &[Head]) -> Vec<Twins> {
    let of = |h: &Head| {
        let twin = h.twin?;
        let heads = [h.head.min(twin.head), h.head.max(twin.head)];
        Some(Twins { layer: h.layer, heads, divergence: twin.divergence })
    };
    let mut all: Vec<Twins> = heads.iter().filter_map(of).collect();
    all.sort_by(|a, b| a.divergence.total_cmp(&b.divergence).then((a.layer, a.heads).cmp(&(b.layer, b.heads))));
    all.dedup();
    all
}
