//! Heads that behave alike: average-linkage clusters over the square root of the divergence (a metric: Endres and
//! Schindelin, 2003), cut where the mean silhouette (Rousseeuw, 1987) is best. And heads that have a twin.

use super::pairs::Pairs;
use kodama::{Method, linkage};
use serde::Serialize;
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// Numbers of clusters that are tried.
pub const TRIED: RangeInclusive<usize> = 2..=24;
/// Fewest that are chosen, if there are as many heads: two or three only tell heads that park their attention from others.
pub const FEWEST: usize = 4;

/// A number of clusters and how well heads fit into them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Tried {
    /// Clusters.
    pub clusters: usize,
    /// Mean silhouette of all heads, -1 to 1.
    pub silhouette: f64,
}

/// How heads are divided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Division {
    /// Cluster of each head, the largest is 0; `None` for a head without divergences.
    pub of: Vec<Option<usize>>,
    /// The head of each cluster that is nearest to all others of it.
    pub medoids: Vec<usize>,
    /// Mean silhouette of each cluster.
    pub silhouettes: Vec<f64>,
    /// Mean silhouette of all.
    pub silhouette: f64,
    /// All numbers of clusters that were tried.
    pub tried: Vec<Tried>,
}

/// Divides heads into clusters. None at all if there are fewer than three heads to divide.
pub fn clusters(pairs: &Pairs) -> Division {
    // A head that no token has a row of is compared with nothing.
    let known: Vec<usize> =
        (0..pairs.n).filter(|&a| (0..pairs.n).any(|b| b != a && !pairs.get(a, b).is_nan())).collect();
    let n = known.len();
    let mut division = Division { of: vec![None; pairs.n], ..Division::default() };
    if n < 3 {
        return division;
    }
    let largest = std::f32::consts::LN_2;
    let distance = |a: usize, b: usize| {
        let js = pairs.get(known[a], known[b]);
        f64::from(if js.is_nan() { largest } else { js }).sqrt()
    };
    let mut condensed: Vec<f64> =
        (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).map(|(a, b)| distance(a, b)).collect();
    let steps = linkage(&mut condensed, n, Method::Average);
    let merges: Vec<(usize, usize)> = steps.steps().iter().map(|s| (s.cluster1, s.cluster2)).collect();
    let mut best: Option<(f64, Vec<usize>, Vec<f64>)> = None;
    for k in TRIED.filter(|&k| k < n) {
        let labels = cut(n, &merges, k);
        let each = silhouettes(n, k, &labels, &distance);
        let mean = each.iter().sum::<f64>() / n as f64;
        division.tried.push(Tried { clusters: k, silhouette: mean });
        if k >= FEWEST.min(n - 1) && best.as_ref().is_none_or(|b| mean > b.0) {
            best = Some((mean, labels, each));
        }
    }
    let Some((silhouette, labels, each)) = best else { return division };
    let k = labels.iter().max().map_or(0, |m| m + 1);
    let mut members: Vec<Vec<usize>> = vec![vec![]; k];
    labels.iter().enumerate().for_each(|(i, &label)| members[label].push(i));
    members.sort_by_key(|m| (std::cmp::Reverse(m.len()), m[0]));
    for (cluster, of) in members.iter().enumerate() {
        let far = |a: usize| of.iter().map(|&b| distance(a, b)).sum::<f64>();
        let medoid = of.iter().copied().min_by(|&a, &b| far(a).total_cmp(&far(b)));
        division.medoids.extend(medoid.map(|m| known[m]));
        division.silhouettes.push(of.iter().map(|&i| each[i]).sum::<f64>() / of.len() as f64);
        of.iter().for_each(|&i| division.of[known[i]] = Some(cluster));
    }
    division.silhouette = silhouette;
    division
}

/// Labels from 0 after all but the last `k - 1` merges.
fn cut(n: usize, merges: &[(usize, usize)], k: usize) -> Vec<usize> {
    let mut parent: Vec<usize> = (0..n + merges.len()).collect();
    for (i, &(a, b)) in merges.iter().take(n - k).enumerate() {
        parent[a] = n + i;
        parent[b] = n + i;
    }
    let root = |mut i: usize| {
        while parent[i] != i {
            i = parent[i];
        }
        i
    };
    let mut names: Vec<usize> = vec![];
    (0..n)
        .map(|i| {
            let root = root(i);
            names.iter().position(|&r| r == root).unwrap_or_else(|| {
                names.push(root);
                names.len() - 1
            })
        })
        .collect()
}

/// How much nearer each is to its own cluster than to the nearest other one; 0 for one alone.
fn silhouettes(n: usize, k: usize, labels: &[usize], distance: &impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut sizes = vec![0_usize; k];
    labels.iter().for_each(|&label| sizes[label] += 1);
    let of = |i: usize| {
        if sizes[labels[i]] < 2 {
            return 0.0;
        }
        let mut sums = vec![0.0; k];
        (0..n).filter(|&j| j != i).for_each(|j| sums[labels[j]] += distance(i, j));
        let own = sums[labels[i]] / (sizes[labels[i]] - 1) as f64;
        let others = (0..k).filter(|&c| c != labels[i]).map(|c| sums[c] / sizes[c] as f64);
        let other = others.fold(f64::INFINITY, f64::min);
        if own.max(other) > 0.0 { (other - own) / own.max(other) } else { 0.0 }
    };
    (0..n).map(of).collect()
}

/// The head that is nearest to `a` among `others`, and their divergence.
pub fn nearest(pairs: &Pairs, a: usize, others: impl Iterator<Item = usize>) -> Option<(usize, f64)> {
    let known = others.filter(|&b| b != a).map(|b| (b, pairs.get(a, b))).filter(|(_, js)| !js.is_nan());
    known.min_by(|x, y| x.1.total_cmp(&y.1)).map(|(b, js)| (b, f64::from(js)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sizes.len()` groups: near within, far between.
    fn planted(sizes: &[usize]) -> (Pairs, Vec<usize>) {
        let group: Vec<usize> = sizes.iter().enumerate().flat_map(|(g, &size)| vec![g; size]).collect();
        let n = group.len();
        let mut random = ggscope_trace::testing::Random(3);
        let mut of = vec![];
        for a in 0..n {
            for b in a + 1..n {
                let noise = random.below(100) as f32 / 1e4;
                of.push(if group[a] == group[b] { 0.01 + noise } else { 0.4 + noise });
            }
        }
        (Pairs { n, of }, group)
    }

    #[test]
    fn planted_groups_are_found_and_so_is_their_number() {
        let (pairs, group) = planted(&[4, 9, 5, 3, 7]);
        let found = clusters(&pairs);
        let names: Vec<usize> = found.of.iter().map(|c| c.unwrap()).collect();
        // The largest comes first.
        assert_eq!(names, group.iter().map(|&g| [3, 0, 2, 4, 1][g]).collect::<Vec<_>>());
        assert!(found.silhouette > 0.7, "{}", found.silhouette);
        assert_eq!(found.medoids.len(), 5);
        assert!(found.medoids.iter().enumerate().all(|(c, &m)| found.of[m] == Some(c)));
        assert!(found.tried.iter().all(|t| t.clusters == 5 || t.silhouette < found.silhouette));
    }

    #[test]
    fn the_silhouette_is_that_of_the_paper() {
        // Three on a line at 0, 1 and 5; {0, 1} and {5}: (5 - 1) / 5, (4 - 1) / 4, 0.
        let at = [0.0_f64, 1.0, 5.0];
        let found = silhouettes(3, 2, &[0, 0, 1], &|a, b| (at[a] - at[b]).abs());
        assert_eq!(found, [0.8, 0.75, 0.0]);
    }

    #[test]
    fn a_head_without_rows_is_in_no_cluster() {
        let (mut pairs, _) = planted(&[3, 3]);
        for b in 1..6 {
            let place = Pairs::place(6, 0, b);
            pairs.of[place] = f32::NAN;
        }
        let found = clusters(&pairs);
        assert_eq!(found.of[0], None);
        assert!(found.of[1..].iter().all(Option::is_some));
        assert_eq!(nearest(&pairs, 0, 0..6), None);
        assert_eq!(nearest(&pairs, 1, 0..6).map(|n| n.0), Some(2));
    }

    #[test]
    fn too_few_heads_are_not_divided() {
        assert!(clusters(&Pairs { n: 2, of: vec![0.1] }).medoids.is_empty());
        assert!(clusters(&Pairs { n: 0, of: vec![] }).of.is_empty());
    }
}
