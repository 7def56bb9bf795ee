//! What a writer counts of each kind of operator: executions and the time that was theirs.

use super::index::OperatorTotal;
use crate::analysis::timing::Plan;
use ggscope_format::record::{Evaluation, Graph};
use std::collections::HashMap;

/// Executions and nanoseconds by kind.
#[derive(Default)]
pub struct OperatorSums(HashMap<String, (u64, u64)>);

impl OperatorSums {
    /// Counts the operators of one evaluation in.
    pub fn add(&mut self, graph: &Graph, plan: &Plan, e: &Evaluation) {
        let mut add = |op: &str, count: u64, ns: u64| match self.0.get_mut(op) {
            Some(total) => *total = (total.0 + count, total.1.saturating_add(ns)),
            None => drop(self.0.insert(op.to_owned(), (count, ns))),
        };
        let mut of_op = vec![(0_u64, 0_u64); graph.ops.len()];
        for id in plan.executed_nodes() {
            of_op[usize::from(graph.tensors[id.index()].op)].0 += 1;
        }
        for (&ns, owner) in e.durations.iter().zip(plan.slots()) {
            if let Some(id) = owner {
                let total = &mut of_op[usize::from(graph.tensors[id.index()].op)].1;
                *total = total.saturating_add(ns);
            }
        }
        for (op, &(count, ns)) in graph.ops.iter().zip(&of_op).filter(|(_, total)| total.0 > 0) {
            add(op, count, ns);
        }
    }

    /// The sums, longest time first.
    pub fn totals(&self) -> Vec<OperatorTotal> {
        let total = |(op, &(count, ns)): (&String, &(u64, u64))| OperatorTotal { op: op.clone(), count, ns };
        let mut totals: Vec<_> = self.0.iter().map(total).collect();
        totals.sort_by(|a, b| (b.ns, b.count, &a.op).cmp(&(a.ns, a.count, &b.op)));
        totals
    }
}
