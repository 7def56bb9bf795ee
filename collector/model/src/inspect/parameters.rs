//! Parameters of a model, counted from its tensors: by component and layer, in all and those that one token uses; and the
//! textbook formula beside them, with what makes the difference.

use super::architecture::Architecture;
use super::facts::Tensor;
use super::hparams::{HParams, at};
use super::role::{Component, Kind, Stack};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Parameters of one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ComponentParameters {
    /// The part of the model.
    pub component: Component,
    /// All of them.
    pub total: u64,
    /// Those that one token uses.
    pub active: u64,
}

/// Parameters of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LayerParameters {
    /// The stack that it is in.
    pub stack: Stack,
    /// Its number there.
    pub layer: u32,
    /// All of them.
    pub total: u64,
    /// Those that one token uses.
    pub active: u64,
    /// By component.
    pub by_component: Vec<ComponentParameters>,
}

/// One reason why the textbook formula is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reason {
    /// What the formula leaves out or takes for something else.
    pub what: String,
    /// Parameters that it is off by.
    pub parameters: i64,
}

/// `layers · (4·d² + 3·d·d_ff)`: four square matrices for attention, three for a gated feed-forward network. Source: the
/// usual count for Llama-like models, as in "Scaling Laws for Neural Language Models" (Kaplan et al. 2020, table 1) with a
/// gate added (Shazeer 2020).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Textbook {
    /// What the formula gives.
    pub parameters: u64,
    /// What there really is, less that.
    pub difference: i64,
    /// Where the difference comes from; these sum to it.
    pub reasons: Vec<Reason>,
}

/// Parameters of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Parameters {
    /// All of them.
    pub total: u64,
    /// Those that one token uses: of an embedding one row, of experts those that are chosen, of next-token blocks none.
    pub active: u64,
    /// By component, in the order in which a token meets them.
    pub by_component: Vec<ComponentParameters>,
    /// By layer.
    pub by_layer: Vec<LayerParameters>,
    /// The textbook formula beside it, for models with layers of attention.
    pub textbook: Option<Textbook>,
}

#[derive(Default)]
struct Sums(BTreeMap<Component, (u64, u64)>);

impl Sums {
    fn add(&mut self, component: Component, total: u64, active: u64) {
        let sum = self.0.entry(component).or_default();
        *sum = (sum.0.saturating_add(total), sum.1.saturating_add(active));
    }

    fn list(&self) -> Vec<ComponentParameters> {
        let of = |&component: &Component| {
            self.0.get(&component).map(|&(total, active)| ComponentParameters { component, total, active })
        };
        Component::ALL.iter().filter_map(of).collect()
    }

    fn sum(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |a: (u64, u64), b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)))
    }
}

impl Parameters {
    /// The parameters of a model with these tensors.
    pub fn of(architecture: &Architecture, hp: &HParams, tensors: &[Tensor]) -> Parameters {
        let mut all = Sums::default();
        let mut layers: BTreeMap<(Stack, u32), Sums> = BTreeMap::new();
        for t in tensors {
            let active = active(t, architecture, hp);
            all.add(t.role.component, t.elements, active);
            if let Some(layer) = t.role.layer {
                layers.entry((t.role.stack, layer)).or_default().add(t.role.component, t.elements, active);
            }
        }
        let (total, active) = all.sum();
        let by_layer = layers.iter().map(|(&(stack, layer), sums)| {
            let (total, active) = sums.sum();
            LayerParameters { stack, layer, total, active, by_component: sums.list() }
        });
        Parameters {
            total,
            active,
            by_component: all.list(),
            by_layer: by_layer.collect(),
            textbook: textbook(architecture, hp, tensors, total),
        }
    }
}

/// Parameters of a tensor that one token uses.
pub(super) fn active(t: &Tensor, architecture: &Architecture, hp: &HParams) -> u64 {
    if is_next_token(t, hp) {
        return 0;
    }
    match t.role.component {
        Component::Embedding if t.ne[1] > 1 && t.role.stack == Stack::Model => {
            // A row is looked up; a tied output multiplies with all of them.
            let row = t.row();
            if architecture.tied_embeddings && t.name == "token_embd.weight" {
                t.elements.saturating_add(row)
            } else {
                row
            }
        }
        Component::Experts => chosen(t, hp, t.elements),
        _ => t.elements,
    }
}

/// Whether a tensor is of a block that only predicts further tokens.
pub(super) fn is_next_token(t: &Tensor, hp: &HParams) -> bool {
    let nextn = hp.n_layer_nextn > 0 && hp.router_layer.is_none();
    t.role.component == Component::NextToken
        || (nextn && t.role.stack == Stack::Model && t.role.layer.is_some_and(|layer| layer >= hp.n_layer()))
}

/// Of `amount` that belongs to all experts of a tensor, what belongs to those that a token uses.
pub(super) fn chosen(t: &Tensor, hp: &HParams, amount: u64) -> u64 {
    let layer = t.role.layer.unwrap_or(0);
    let used = u64::from(at(&hp.n_expert_used, layer));
    let count = match (t.role.expert, t.role.part.ends_with("exps")) {
        // Each expert has a tensor of its own.
        (Some(_), _) => u64::from(hp.n_expert),
        (None, true) => expert_count(t),
        // What leads into the experts' own size and out of it is used by all.
        (None, false) => return amount,
    };
    if count == 0 || used >= count {
        return amount;
    }
    (u128::from(amount) * u128::from(used) / u128::from(count)) as u64
}

/// Experts in one tensor: the last dimension, of a bias the second.
pub(super) fn expert_count(t: &Tensor) -> u64 {
    let last = if t.role.kind == Kind::Weight && t.ne[2] > 1 { t.ne[2] } else { t.ne[1] };
    u64::try_from(last).unwrap_or(0)
}

fn textbook(architecture: &Architecture, hp: &HParams, tensors: &[Tensor], total: u64) -> Option<Textbook> {
    architecture.attention_layers().next()?;
    let d = i128::from(architecture.hidden);
    let layers: Vec<_> = architecture.main_layers().filter(|l| l.index < hp.n_layer_all / hp.n_loops).collect();
    let count = layers.len() as i128;
    let ff = |layer: &super::architecture::Layer| {
        let said = at(&hp.n_ff, layer.index);
        let experts = layer.feed_forward.as_ref().and_then(|f| f.experts.as_ref()).map_or(0, |e| e.size);
        i128::from(if said > 0 { u64::from(said) } else { experts })
    };
    let attention = 4 * d * d * count;
    let feed_forward: i128 = layers.iter().map(|l| 3 * d * ff(l)).sum();
    let mut is: BTreeMap<&str, i128> = BTreeMap::new();
    for t in tensors {
        let elements = i128::from(t.elements);
        let biased = matches!(t.role.component, Component::Attention | Component::FeedForward | Component::StateSpace);
        let what = match t.role.component {
            _ if is_next_token(t, hp) => "blocks for further tokens",
            _ if biased && t.role.kind == Kind::Bias => "biases",
            Component::Attention => "attention",
            Component::FeedForward => "feed-forward",
            Component::Embedding => match (architecture.tied_embeddings, t.name.as_str()) {
                (true, "token_embd.weight") => "embedding, which is the output too",
                _ => "embedding",
            },
            other => other.name(),
        };
        *is.entry(what).or_default() += elements;
    }
    let attends = is.remove("attention").unwrap_or(0);
    let feeds = is.remove("feed-forward").unwrap_or(0);
    let kind = attention_reason(architecture);
    let gated = layers.iter().filter_map(|l| l.feed_forward.as_ref()).all(|f| f.gated);
    let has_experts = layers.iter().filter_map(|l| l.feed_forward.as_ref()).any(|f| f.experts.is_some());
    let feed_reason = match (gated, has_experts) {
        (_, true) => "experts instead of one feed-forward",
        (false, false) => "a feed-forward without a gate",
        (true, false) => "feed-forward of other sizes",
    };
    let mut reasons: Vec<(String, i128)> = is.into_iter().map(|(what, n)| (what.to_owned(), n)).collect();
    reasons.push((kind, attends - attention));
    reasons.push((feed_reason.to_owned(), feeds - feed_forward));
    reasons.retain(|(_, n)| *n != 0);
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(n.abs()));
    let parameters = attention + feed_forward;
    let narrow = |n: i128| n.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    Some(Textbook {
        parameters: u64::try_from(parameters).unwrap_or(u64::MAX),
        difference: narrow(i128::from(total) - parameters),
        reasons: reasons.into_iter().map(|(what, n)| Reason { what, parameters: narrow(n) }).collect(),
    })
}

/// Why attention is not four square matrices.
fn attention_reason(architecture: &Architecture) -> String {
    let d = u64::from(architecture.hidden);
    let some = architecture.main_layers().count() > architecture.attention_layers().count();
    let Some(first) = architecture.attention_layers().next() else { return "attention".into() };
    let wide = u64::from(first.heads) * u64::from(first.head_k);
    let mut reasons = vec![];
    if some {
        reasons.push("layers without attention".to_owned());
    }
    if first.kind == super::architecture::AttentionKind::Mla {
        reasons.push("keys and values compressed (MLA)".to_owned());
    } else if first.kv_heads < first.heads {
        reasons.push(format!("{} key heads for {} query heads ({})", first.kv_heads, first.heads, first.kind.name()));
    }
    if wide != d && first.kind != super::architecture::AttentionKind::Mla {
        reasons.push(format!("heads {wide} wide together"));
    }
    if reasons.is_empty() { "attention of other sizes".into() } else { reasons.join(", ") }
}
