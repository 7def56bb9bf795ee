//! What the time of a session went to, and what was read for it: by kind of operator, and by layer.

use super::cost::{Sum, for_each_expert_read, sums};
use super::dump::{Filter, Phase};
use super::table::{NONE, Selection, Table};
use ggscope_trace::Trace;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// Tensors of a layer that are named.
const HOTTEST: usize = 5;

/// All executions of one kind of operator in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpCost {
    /// The context that executed them.
    pub context: u32,
    /// Its name in ggml.
    pub op: String,
    /// Phase of the evaluations' first token that the filter lets through; null for evaluations without tokens.
    #[schema(value_type = Phase)]
    pub phase: Option<Phase>,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
    /// Bytes that they read, as the shapes say.
    pub bytes: u64,
}

/// Costs by context, kind of operator and phase, those that took longest first.
pub fn ops(trace: &Trace, table: &Table, filter: &Filter) -> Vec<OpCost> {
    let mut costs: Vec<OpCost> =
        each_context(table, filter).iter().flat_map(|(context, own)| ops_of(trace, table, *context, own)).collect();
    costs.sort_by(|a, b| (b.ns, &a.op, a.phase, a.context).cmp(&(a.ns, &b.op, b.phase, b.context)));
    costs
}

/// The filter for each context of which it lets evaluations through, ascending.
fn each_context(table: &Table, filter: &Filter) -> Vec<(u32, Filter)> {
    let of = |context| (context, Filter { context: Some(context), ..filter.clone() });
    table.contexts(filter).into_iter().map(of).collect()
}

fn ops_of(trace: &Trace, table: &Table, context: u32, filter: &Filter) -> Vec<OpCost> {
    const PHASES: [Option<Phase>; 3] = [Some(Phase::Prompt), Some(Phase::Generate), None];
    let selection = Selection::new(trace, table, filter);
    let phase = |seq: usize| match selection.token(seq) {
        (None, _) => 2,
        (_, phase) => phase as usize,
    };
    let sums: [_; 3] = sums(&selection, phase);
    let mut of_op: BTreeMap<(u32, usize), Sum> = BTreeMap::new();
    for (phase, sums) in sums.iter().enumerate() {
        for (number, layout) in selection.layouts() {
            for &place in selection.places(number) {
                let op = layout.op[place as usize];
                of_op.entry((op, phase)).or_default().add(&sums[number as usize][place as usize]);
            }
        }
    }
    let cost = |((op, phase), Sum { count, ns, bytes }): ((u32, usize), Sum)| OpCost {
        context,
        op: table.text(op).to_owned(),
        phase: PHASES[phase],
        count,
        ns,
        bytes,
    };
    of_op.into_iter().filter(|(_, sum)| sum.count > 0).map(cost).collect()
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LayerCost {
    /// The context that executed its operators.
    pub context: u32,
    /// Its number; null for what belongs to none.
    pub layer: Option<u32>,
    /// Executions of its operators.
    pub operators: u64,
    /// Sum of their times, nanoseconds.
    pub ns: u64,
    /// Bytes that they read, as the shapes say.
    pub read_bytes: u64,
    /// Size of the weights that belong to it, each once.
    pub weight_bytes: u64,
    /// The weights, caches and inputs with the largest parts of its operators' times; at most five.
    pub hottest: Vec<HotTensor>,
}

/// A leaf, and what was done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct HotTensor {
    /// Its name.
    pub name: String,
    /// How often an operator of the layer read it.
    pub accesses: u64,
    /// Bytes that were read of it.
    pub bytes: u64,
    /// Its part of the times of the operators that read it, nanoseconds: an operator's time is divided among all that it
    /// reads, tensors that are no leaves among them, in proportion to the bytes it read of each.
    pub ns: u64,
}

/// Costs by context and layer, ascending; what belongs to no layer at the end of its context.
pub fn layers(trace: &Trace, table: &Table, filter: &Filter) -> Vec<LayerCost> {
    each_context(table, filter).iter().flat_map(|(context, own)| layers_of(trace, table, *context, own)).collect()
}

fn layers_of(trace: &Trace, table: &Table, context: u32, filter: &Filter) -> Vec<LayerCost> {
    let selection = Selection::new(trace, table, filter);
    let [of_place] = sums(&selection, |_| 0);
    let mut of_layer: HashMap<u32, Sum> = HashMap::new();
    for (number, layout) in selection.layouts() {
        for &place in selection.places(number) {
            let layer = layout.layer[place as usize];
            of_layer.entry(layer).or_default().add(&of_place[number as usize][place as usize]);
        }
    }
    let of_leaf = leaves(&selection, &of_place);
    let mut weights: HashMap<u32, u64> = HashMap::new();
    for (layer, bytes) in table.plans().weights(context) {
        let sum = weights.entry(layer.unwrap_or(NONE)).or_default();
        *sum = sum.saturating_add(bytes);
    }
    let mut hottest: HashMap<u32, Vec<HotTensor>> = HashMap::new();
    for ((layer, name), Sum { count, ns, bytes }) in of_leaf {
        let name = table.text(name).to_owned();
        hottest.entry(layer).or_default().push(HotTensor { name, accesses: count, bytes, ns });
    }
    // The number that stands for no layer is the greatest.
    let of_layer: BTreeMap<u32, Sum> = of_layer.into_iter().collect();
    let cost = |(layer, sum): (u32, Sum)| {
        let mut hottest = hottest.remove(&layer).unwrap_or_default();
        hottest.sort_by(|a, b| (Reverse((a.ns, a.bytes)), &a.name).cmp(&(Reverse((b.ns, b.bytes)), &b.name)));
        hottest.truncate(HOTTEST);
        LayerCost {
            context,
            layer: (layer != NONE).then_some(layer),
            operators: sum.count,
            ns: sum.ns,
            read_bytes: sum.bytes,
            weight_bytes: weights.get(&layer).copied().unwrap_or(0),
            hottest,
        }
    };
    of_layer.into_iter().map(cost).collect()
}

/// Of each leaf that a layer's operators read, by layer and name: accesses, its part of their times, and bytes.
fn leaves(selection: &Selection<'_>, of_place: &[Vec<Sum>]) -> HashMap<(u32, u32), Sum> {
    let table = selection.table;
    // Accesses and bytes of each read of each layout.
    let mut of_read: HashMap<(u32, usize), (u64, u64)> = HashMap::new();
    let evaluations = evaluations_by_plan(selection);
    for (plan, evaluations) in table.plans().all().iter().zip(evaluations).filter(|(_, n)| *n > 0) {
        let layout = table.layout(plan.layout);
        for read in selection.places(plan.layout).iter().flat_map(|&place| layout.reads_of(place as usize)) {
            let (_, bytes) = of_read.entry((plan.layout, read)).or_default();
            *bytes = bytes.saturating_add(plan.bytes[read].saturating_mul(evaluations));
        }
    }
    for_each_expert_read(selection, |_, number, read| {
        let layout = table.layout(number);
        if let Some(at) = layout.reads_of(read.place as usize).find(|&at| layout.reads[at].routed) {
            let (accesses, bytes) = of_read.entry((number, at)).or_default();
            *accesses += 1;
            *bytes = bytes.saturating_add(read.slice.bytes);
        }
    });
    let mut of_leaf: HashMap<(u32, u32), Sum> = HashMap::new();
    for (number, layout) in selection.layouts() {
        for &place in selection.places(number) {
            let (sum, reads) = (&of_place[number as usize][place as usize], layout.reads_of(place as usize));
            let known = |at: usize| of_read.get(&(number, at)).copied().unwrap_or_default();
            let all = reads.clone().fold(0_u128, |all, at| all + u128::from(known(at).1));
            for at in reads.clone().filter(|&at| layout.reads[at].leaf) {
                let (accesses, bytes) = known(at);
                // Alike where nothing says how much of each was read.
                let (part, of) = if all > 0 { (u128::from(bytes), all) } else { (1, reads.len() as u128) };
                let ns = (u128::from(sum.ns) * part / of) as u64;
                let count = if layout.reads[at].routed { accesses } else { sum.count };
                of_leaf.entry((layout.layer[place as usize], layout.reads[at].name)).or_default().add(&Sum {
                    count,
                    ns,
                    bytes,
                });
            }
        }
    }
    of_leaf
}

fn evaluations_by_plan(selection: &Selection<'_>) -> Vec<u64> {
    let mut evaluations = vec![0; selection.table.plans().all().len()];
    for header in selection.all_evaluations().filter_map(|seq| selection.table.header(seq)) {
        evaluations[header.plan as usize] += 1;
    }
    evaluations
}

#[cfg(test)]
#[path = "analytics_tests.rs"]
mod tests;
