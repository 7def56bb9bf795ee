//! The nodes with the largest values.

use crate::graph::NodeId;
use std::cmp::Ordering;

/// The `k` nodes with the largest values, largest first; of equal ones the lower id comes first. Fewer if there are fewer.
pub fn top(values: &[f64], k: usize) -> Vec<(NodeId, f64)> {
    let order = |&a: &u32, &b: &u32| -> Ordering { values[b as usize].total_cmp(&values[a as usize]).then(a.cmp(&b)) };
    let mut nodes: Vec<u32> = (0..values.len() as u32).collect();
    if k < nodes.len() && k > 0 {
        nodes.select_nth_unstable_by(k - 1, order);
    }
    nodes.truncate(k);
    nodes.sort_unstable_by(order);
    nodes.into_iter().map(|node| (NodeId(node), values[node as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_of_equal_ones_the_lower_id() {
        let values = [0.5, 2.0, 0.5, 3.0, 0.1];
        let ids = |k| top(&values, k).iter().map(|(node, _)| node.0).collect::<Vec<_>>();
        assert_eq!(ids(3), [3, 1, 0]);
        assert_eq!(ids(4), [3, 1, 0, 2]);
        assert_eq!(ids(0), [0_u32; 0]);
        assert_eq!(ids(9), [3, 1, 0, 2, 4]);
        assert_eq!(top(&[], 3), []);
    }
}
