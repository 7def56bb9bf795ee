//! What the time of a session went to: the sums by operator and layer that monitoring asks for.

use super::dump::Filter;
use super::table::{NONE, Piece, Selection, Table};
use crate::trace::Trace;
use std::collections::BTreeMap;

/// Executions of one kind of operator in one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Name of the operator in ggml.
    pub op: String,
    /// The layer; `None` for what belongs to none.
    pub layer: Option<u32>,
    /// Executions.
    pub count: u64,
    /// Sum of the attributed times, nanoseconds.
    pub ns: u64,
}

/// The costs of all executions, by operator and layer.
pub fn costs(trace: &Trace, table: &Table) -> Vec<Cost> {
    let filter = Filter::default();
    let selection = Selection::new(trace, table, &filter);
    let times = sums(&selection);
    let mut costs: BTreeMap<(&str, Option<u32>), (u64, u64)> = BTreeMap::new();
    for (number, layout) in selection.layouts() {
        let executions = selection.evaluations(number).len() as u64;
        for &place in selection.places(number) {
            let i = place as usize;
            let layer = Some(layout.layer[i]).filter(|&layer| layer != NONE);
            let (count, ns) = costs.entry((table.text(layout.op[i]), layer)).or_default();
            (*count, *ns) = (count.saturating_add(executions), ns.saturating_add(times[number as usize][i]));
        }
    }
    costs.into_iter().map(|((op, layer), (count, ns))| Cost { op: op.to_owned(), layer, count, ns }).collect()
}

/// The sums of the times of wanted executions, by layout and place.
pub(super) fn sums(selection: &Selection<'_>) -> Vec<Vec<u64>> {
    let mut sums: Vec<Vec<u64>> = selection.table.plans().layouts().iter().map(|l| vec![0; l.len()]).collect();
    let add = |piece: &Piece<'_>| {
        for &(place, times) in &piece.columns {
            let sum = &mut sums[piece.layout as usize][place as usize];
            *sum = sum.saturating_add(times.sum());
        }
    };
    selection.scan(add, |_, _| {});
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::table::DEFAULT_MEMORY;
    use crate::trace::testing::{Shape, write};

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
