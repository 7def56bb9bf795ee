//! Which experts each token was sent to in each layer: the ids that routers chose, evaluation after evaluation, with
//! the weights where those were captured. What a trace says is checked here; whoever counts may trust it.

use ggscope_format::columns::Row;
use ggscope_format::record::{Experts, Graph};
use ggscope_format::{GraphId, TensorId};
use ggscope_query::dump::{Filter, Phase, expert_dim};
use ggscope_query::memory::looked_at;
use ggscope_query::values::Captured;
use ggscope_trace::Trace;
use ggscope_trace::analysis::layers::base_name;
use ggscope_trace::view::{GraphView, GraphViews};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

/// More experts than any model has in a layer (llama.cpp's own limit).
pub(super) const MAX_EXPERTS: usize = 1024;
/// Graphs whose routers are kept.
const KEPT: usize = 64;

/// The stages of the weights in llama.cpp's graphs, last first: what experts' outputs are multiplied with is the last
/// that a graph has.
const WEIGHTS: [&str; 4] =
    ["ffn_moe_weights_scaled", "ffn_moe_weights_norm", "ffn_moe_weights_softmax", "ffn_moe_weights"];

/// What chooses the experts of a layer.
#[derive(Debug)]
pub(super) struct Router {
    pub layer: u32,
    pub n_experts: usize,
    /// Bytes of one expert: its part of all tensors of the layer that hold experts.
    pub expert_bytes: u64,
    /// Tensors that hold weights of the choice, the last stage first.
    weights: Vec<(&'static str, TensorId)>,
}

/// The routers of a graph, by the tensor that their ids lie in.
type Routers = HashMap<TensorId, Router>;

/// What the router of one layer chose in one evaluation.
pub(super) struct Routed<'a> {
    pub row: &'a Row,
    pub router: &'a Router,
    pub n_used: usize,
    /// Weights, `[n_used, rows]`, the name of the stage, and whether it is the last.
    pub weights: Option<(Vec<f32>, &'static str, bool)>,
    ids: &'a [i32],
    /// Index in the evaluation of each wanted token, and its row in the ids.
    tokens: Vec<(usize, usize)>,
}

/// One token in one layer.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    /// Which of the evaluation's tokens it is.
    pub index: usize,
    /// Number within the session.
    pub token: u64,
    pub phase: Phase,
    pub experts: &'a [i32],
    pub weights: Option<&'a [f32]>,
}

impl Routed<'_> {
    /// The wanted tokens, in their order.
    pub fn choices(&self) -> impl Iterator<Item = Choice<'_>> {
        self.tokens.iter().map(|&(index, row)| {
            let of_row = row * self.n_used..(row + 1) * self.n_used;
            Choice {
                index,
                token: self.row.first_token.saturating_add(index as u64),
                phase: Phase::of(self.row.phases[index]),
                experts: &self.ids[of_row.clone()],
                weights: self.weights.as_ref().and_then(|w| w.0.get(of_row)),
            }
        })
    }

    /// Whether nothing was chosen: every expert was used. llama.cpp warms up that way.
    pub fn uses_all(&self) -> bool {
        self.n_used >= self.router.n_experts
    }
}

/// Calls `f` for each layer of each evaluation that has something which the filter lets through, layers in the order of
/// execution, until it breaks. Says whether any evaluation had ids, whatever the filter.
pub(super) fn for_each(trace: &Trace, filter: &Filter, mut f: impl FnMut(&Routed<'_>) -> ControlFlow<()>) -> bool {
    let mut views = GraphViews::default();
    let mut known: HashMap<GraphId, Arc<Routers>> = HashMap::new();
    let has_values = trace.has_values();
    let mut has_ids = false;
    trace.for_each_evaluation(&filter.select(), false, |row| {
        if row.evaluation.experts.is_empty() {
            return ControlFlow::Continue(());
        }
        has_ids = true;
        let Some(chosen) = filter.choose(&row) else { return ControlFlow::Continue(()) };
        let view = match views.of(trace, row.evaluation.graph) {
            Ok(view) => view,
            Err(error) => {
                trace.warn(format!("evaluations are left out: {error}"));
                return ControlFlow::Continue(());
            }
        };
        if known.len() >= KEPT {
            known.clear();
        }
        let routers = known.entry(row.evaluation.graph).or_insert_with(|| Arc::new(routers(trace, &view)));
        let mut captured: Option<Captured> = None;
        for experts in &row.evaluation.experts {
            let Some(router) = routers.get(&root(&view.stored.graph, experts.tensor)) else { continue };
            if filter.layers.is_some_and(|n| !n.contains(u64::from(router.layer))) {
                continue;
            }
            let mut routed = routed(trace, &row, router, experts, &chosen.tokens);
            if has_values && !routed.tokens.is_empty() {
                let captured = captured.get_or_insert_with(|| Captured::of(trace, row.evaluation.eval));
                routed.weights = weights(&view, router, captured, experts.ids.len());
            }
            if !routed.tokens.is_empty() {
                f(&routed)?;
            }
        }
        ControlFlow::Continue(())
    });
    has_ids
}

/// The routers of a graph.
pub(super) fn routers_of(trace: &Trace, view: &GraphView) -> Vec<Router> {
    routers(trace, view).into_values().collect()
}

fn root(graph: &Graph, id: TensorId) -> TensorId {
    graph.tensor(id).and_then(|t| t.view).map_or(id, |(root, _)| root)
}

fn routers(trace: &Trace, view: &GraphView) -> Routers {
    let graph = &view.stored.graph;
    let mut found: BTreeMap<TensorId, (Router, Vec<TensorId>)> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        for (source, from) in node.src.iter().enumerate() {
            let Some((dim, from)) = expert_dim(graph.op(node), source).zip(*from) else { continue };
            let (Some(ids), Some(layer)) = (node.src.get(2).copied().flatten(), view.layers.layer(id)) else {
                continue;
            };
            let held = looked_at(graph, from);
            let tensor = &graph.tensors[held.index()];
            let n_experts = usize::try_from(tensor.ne[dim]).unwrap_or(0);
            if !(1..=MAX_EXPERTS).contains(&n_experts) {
                trace.warn(format!("layer {layer} is left out: {} has {} experts", tensor.name, tensor.ne[dim]));
                continue;
            }
            let new = || (Router { layer, n_experts, expert_bytes: 0, weights: vec![] }, vec![]);
            let (router, counted) = found.entry(root(graph, ids)).or_insert_with(new);
            if router.n_experts == n_experts && !counted.contains(&held) {
                router.expert_bytes = router.expert_bytes.saturating_add(tensor.nb[dim]);
                counted.push(held);
            }
        }
    }
    let mut routers: Routers = found.into_iter().map(|(ids, (router, _))| (ids, router)).collect();
    let weights = graph.nodes().filter(|(_, t)| t.name.starts_with("ffn_moe_weights"));
    let named: Vec<(&'static str, u32, TensorId)> = weights
        .filter_map(|(id, t)| {
            let base = base_name(&t.name);
            let stage =
                WEIGHTS.into_iter().find(|stage| base.rsplit_once('-').is_some_and(|(name, _)| name == *stage))?;
            Some((stage, view.layers.layer(id)?, id))
        })
        .collect();
    for router in routers.values_mut() {
        for stage in WEIGHTS {
            let of_stage = named.iter().rev().filter(|n| (n.0, n.1) == (stage, router.layer));
            router.weights.extend(of_stage.map(|n| (stage, n.2)));
        }
    }
    routers
}

/// The wanted tokens of what a router chose. The last layer routes only the tokens that have output rows, in the order
/// of these rows.
fn routed<'a>(trace: &Trace, row: &'a Row, router: &'a Router, experts: &'a Experts, wanted: &[usize]) -> Routed<'a> {
    let n_used = experts.n_used.max(1) as usize;
    let n_tokens = row.phases.len();
    let n_rows = experts.ids.len() / n_used;
    let outputs = row.evaluation.outputs.as_deref().unwrap_or_default();
    let token_of = |r: usize| if n_rows == n_tokens { Some(r) } else { usize::try_from(*outputs.get(r)?).ok() };
    let fits = |ids: &[i32]| ids.iter().all(|&id| usize::try_from(id).is_ok_and(|id| id < router.n_experts));
    let mut tokens: Vec<(usize, usize)> = vec![];
    for (r, ids) in experts.ids.chunks_exact(n_used).enumerate() {
        let Some(token) = token_of(r).filter(|t| *t < n_tokens && wanted.binary_search(t).is_ok()) else { continue };
        if fits(ids) {
            tokens.push((token, r));
        } else {
            let eval = row.evaluation.eval;
            trace.warn(format!("evaluation {eval}: layer {} chose experts that it does not have", router.layer));
        }
    }
    Routed { row, router, n_used, weights: None, ids: &experts.ids, tokens }
}

fn weights(
    view: &GraphView,
    router: &Router,
    captured: &Captured,
    n_ids: usize,
) -> Option<(Vec<f32>, &'static str, bool)> {
    let last = router.weights.first()?.0;
    router.weights.iter().find_map(|&(stage, id)| {
        let data = captured.value(view, id)?.data.filter(|data| data.len() == n_ids)?;
        Some((data.into_iter().map(|w| w as f32).collect(), stage, stage == last))
    })
}
