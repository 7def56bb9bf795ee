//! What the time of a session went to: the sums by operator and layer that monitoring asks for.

use super::dump::Filter;
use super::memory::ExpertRead;
use super::table::{NONE, Piece, Selection, Table};
use ggscope_format::GraphId;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Executions of one kind of operator in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The context that executed them.
    pub context: u32,
    /// Name of the operator in ggml.
    pub op: String,
    /// The layer; `None` for what belongs to none.
    pub layer: Option<u32>,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
}

/// The costs of all executions, by context, operator and layer.
pub fn costs(trace: &Trace, table: &Table) -> Vec<Cost> {
    table.contexts(&Filter::default()).into_iter().flat_map(|context| costs_of(trace, table, context)).collect()
}

fn costs_of(trace: &Trace, table: &Table, context: u32) -> Vec<Cost> {
    let filter = Filter { context: Some(context), ..Filter::default() };
    let selection = Selection::new(trace, table, &filter);
    let [sums] = sums(&selection, |_| 0);
    let mut costs: BTreeMap<(&str, Option<u32>), Sum> = BTreeMap::new();
    for (number, layout) in selection.layouts() {
        for &place in selection.places(number) {
            let i = place as usize;
            let layer = Some(layout.layer[i]).filter(|&layer| layer != NONE);
            costs.entry((table.text(layout.op[i]), layer)).or_default().add(&sums[number as usize][i]);
        }
    }
    let is_there = |(_, sum): &((&str, Option<u32>), Sum)| sum.count > 0;
    let cost = |((op, layer), Sum { count, ns, .. }): ((&str, Option<u32>), Sum)| Cost {
        context,
        op: op.to_owned(),
        layer,
        count,
        ns,
    };
    costs.into_iter().filter(is_there).map(cost).collect()
}

/// What the executed nodes of a graph cost, one entry a node, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeCosts {
    /// Number of the node.
    pub node: Vec<u32>,
    /// Executions.
    pub count: Vec<u64>,
    /// Sum of their times, nanoseconds; a fused pair's are its last node's.
    pub ns: Vec<u64>,
    /// Bytes that they read, as the shapes say.
    pub bytes: Vec<u64>,
}

/// What the nodes of `graph` cost in the evaluations that `filter` lets through.
pub fn node_costs(trace: &Trace, table: &Table, graph: GraphId, filter: &Filter) -> NodeCosts {
    let selection = Selection::among(trace, table, filter, |header| header.graph == graph);
    let [sums] = sums(&selection, |_| 0);
    let mut of_node: BTreeMap<u32, Sum> = BTreeMap::new();
    for (number, layout) in selection.layouts() {
        for &place in selection.places(number) {
            let node = layout.nodes[place as usize];
            of_node.entry(node).or_default().add(&sums[number as usize][place as usize]);
        }
    }
    let mut costs = NodeCosts::default();
    for (node, Sum { count, ns, bytes }) in of_node {
        costs.node.push(node);
        costs.count.push(count);
        costs.ns.push(ns);
        costs.bytes.push(bytes);
    }
    costs
}

/// Executions together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    /// How many.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
    /// Bytes that they read.
    pub bytes: u64,
}

impl Sum {
    pub fn add(&mut self, other: &Sum) {
        self.count = self.count.saturating_add(other.count);
        self.ns = self.ns.saturating_add(other.ns);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Wanted executions by layout and place, apart for each of `N` classes of evaluations, whatever their time.
pub(super) fn sums<const N: usize>(selection: &Selection<'_>, class: impl Fn(usize) -> usize) -> [Vec<Vec<Sum>>; N] {
    let table = selection.table;
    let none: Vec<Vec<Sum>> = table.plans().layouts().iter().map(|l| vec![Sum::default(); l.len()]).collect();
    let mut sums: [Vec<Vec<Sum>>; N] = std::array::from_fn(|_| none.clone());
    let mut times = vec![[0_u64; N]; table.plans().all().len()];
    let mut classes = vec![0_u8; table.len()];
    for (seq, plan) in selection.all_evaluations().filter_map(|seq| Some((seq, table.header(seq)?.plan))) {
        classes[seq] = class(seq) as u8;
        times[plan as usize][usize::from(classes[seq])] += 1;
    }
    for (plan, times) in table.plans().all().iter().zip(&times) {
        let layout = table.layout(plan.layout);
        for (class, &times) in times.iter().enumerate().filter(|(_, times)| **times > 0) {
            for &place in selection.places(plan.layout) {
                let bytes =
                    plan.bytes[layout.reads_of(place as usize)].iter().fold(0_u64, |sum, b| sum.saturating_add(*b));
                let of_plan = Sum { count: times, ns: 0, bytes: bytes.saturating_mul(times) };
                sums[class][plan.layout as usize][place as usize].add(&of_plan);
            }
        }
    }
    let add_times = |piece: &Piece<'_>| {
        let first = piece.seqs.first().map_or(0, |&seq| classes[seq as usize]);
        let alike = piece.seqs.iter().all(|&seq| classes[seq as usize] == first);
        for &(place, times) in &piece.columns {
            let (layout, place) = (piece.layout as usize, place as usize);
            if alike {
                let sum = &mut sums[usize::from(first)][layout][place];
                sum.ns = sum.ns.saturating_add(times.sum());
            } else {
                times.each(|i, ns| {
                    let sum = &mut sums[usize::from(classes[piece.seqs[i] as usize])][layout][place];
                    sum.ns = sum.ns.saturating_add(ns);
                });
            }
        }
    };
    selection.scan(add_times, |_, _| {});
    for_each_expert_read(selection, |seq, layout, read| {
        let sum = &mut sums[usize::from(classes[seq])][layout as usize][read.place as usize];
        sum.bytes = sum.bytes.saturating_add(read.slice.bytes);
    });
    sums
}

/// Calls `f` with ordinal, layout and read for each expert that wanted executions read.
pub(super) fn for_each_expert_read(selection: &Selection<'_>, mut f: impl FnMut(usize, u32, ExpertRead)) {
    let (trace, table) = (selection.trace, selection.table);
    let plan_of = |seq: usize| table.header(seq).and_then(|header| table.plan(header));
    let routed = selection.all_evaluations().filter(|&seq| plan_of(seq).is_some_and(|plan| !plan.routed.is_empty()));
    table.for_each_row(trace, routed, |seq, row| {
        let (Some(plan), Ok(view)) = (plan_of(seq), table.view(trace, row.evaluation.graph)) else { return };
        let places = selection.places(plan.layout);
        table.for_each_expert_read(&view, plan, row, |read| {
            if places.binary_search(&read.place).is_ok() {
                f(seq, plan.layout, read);
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::DEFAULT_MEMORY;
    use ggscope_trace::testing::{Shape, write};

    #[test]
    fn the_sums_are_those_of_the_summary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let costs = costs(&trace, &Table::new(&trace, DEFAULT_MEMORY));
        for total in trace.operators() {
            let of_op = costs.iter().filter(|c| c.op == total.op);
            let sum = of_op.fold((0, 0), |sum, c| (sum.0 + c.count, sum.1 + c.ns));
            assert_eq!(sum, (total.count, total.ns), "{}", total.op);
        }
        let attention = costs.iter().filter(|c| c.op == "FLASH_ATTN_EXT").map(|c| (c.layer, c.count));
        assert_eq!(attention.collect::<Vec<_>>(), [(Some(0), 10), (Some(1), 10)]);
    }
}
