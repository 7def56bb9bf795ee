//! Pages of the trace table: which executions stand where, in any order. Nothing is derived here for an execution, and
//! only questions about times look at more than evaluations times kinds of evaluations.

use super::chosen::Selection;
use super::order::{Part, Place, in_order};
use super::plan::NONE;
use super::ranks;
use crate::operators::{Column as By, Page, Sort};
use crate::range::Numbers;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Executions of a group that are put in order all at once; of a larger group only those of the page.
const SMALL_GROUP: u64 = 1 << 16;

/// The executions of a page in its order, and how many there are in all.
pub(crate) fn find(selection: &Selection<'_>, page: &Page) -> (Vec<Place>, u64) {
    match (page.sort.by, selection.filter.durations) {
        (By::Duration, _) => ranks::page(selection, page),
        (By::File | By::Token | By::Phase, None) => {
            let of_layout = |layout: u32| selection.places(layout).len() as u64;
            by_evaluation(selection, page, |_, layout| of_layout(layout), |_, layout| selection.places(layout).to_vec())
        }
        (By::File | By::Token | By::Phase, Some(durations)) => {
            let counts = count_by_evaluation(selection, durations, |layout| selection.columns(layout));
            let taken = |seq: u32, layout| within(selection, seq, &selection.columns(layout), durations);
            by_evaluation(selection, page, |seq, _| u64::from(counts[seq as usize]), taken)
        }
        (By::Op | By::Name | By::Layer, None) => by_key(selection, page),
        (By::Op | By::Name | By::Layer, Some(durations)) => by_key_and_time(selection, page, durations),
    }
}

/// How many times of each evaluation are wanted, among the columns that `columns` says.
pub(super) fn count_by_evaluation(
    selection: &Selection<'_>,
    durations: Numbers,
    columns: impl Fn(u32) -> Vec<(u32, u32)>,
) -> Vec<u32> {
    let mut counts = vec![0_u32; selection.table.len()];
    let of_layout: HashMap<u32, _> = selection.layouts().map(|(layout, _)| (layout, columns(layout))).collect();
    let mut sums: Vec<u32> = vec![];
    selection.scan_columns(
        |layout| of_layout.get(&layout).map(Vec::as_slice),
        |piece| {
            sums.clear();
            sums.resize(piece.seqs.len(), 0);
            piece.columns.iter().for_each(|(_, times)| times.mark(durations.first, durations.last, &mut sums));
            piece.seqs.iter().zip(&sums).for_each(|(&seq, sum)| counts[seq as usize] += sum);
        },
        |_, _| {},
    );
    counts
}

/// The places of an evaluation among `columns` whose times are wanted.
pub(super) fn within(selection: &Selection<'_>, seq: u32, columns: &[(u32, u32)], durations: Numbers) -> Vec<u32> {
    let Some(times) = selection.table.durations(selection.trace, seq as usize) else { return vec![] };
    let is_wanted = |column: u32| times.get(column as usize).is_some_and(|&t| durations.contains(t));
    columns.iter().filter(|c| is_wanted(c.1)).map(|c| c.0).collect()
}

/// Executions by what is the same for all of an evaluation: its place in the file, its token, its phase.
fn by_evaluation(
    selection: &Selection<'_>,
    page: &Page,
    count: impl Fn(u32, u32) -> u64,
    places: impl Fn(u32, u32) -> Vec<u32>,
) -> (Vec<Place>, u64) {
    let mut order: Vec<u32> = selection.all_evaluations().map(|seq| seq as u32).collect();
    let Sort { by, descending } = page.sort;
    match by {
        By::Token => order.sort_by_cached_key(|&seq| ordered(selection.token(seq as usize).0, descending)),
        By::Phase => order.sort_by_cached_key(|&seq| ordered(Some(selection.token(seq as usize).1), descending)),
        _ => {}
    }
    let layout = |seq: u32| {
        let header = selection.table.header(seq as usize);
        header.and_then(|h| selection.table.plan(h)).map_or(0, |plan| plan.layout)
    };
    let (mut skip, mut total, mut found) = (page.offset as u64, 0, vec![]);
    for seq in order {
        let layout = layout(seq);
        let n = count(seq, layout);
        total += n;
        if n <= skip || found.len() == page.limit {
            skip = skip.saturating_sub(n);
            continue;
        }
        let left = page.limit - found.len();
        found.extend(places(seq, layout).into_iter().skip(skip as usize).take(left).map(|place| (seq, place)));
        skip = 0;
    }
    (found, total)
}

/// A key that sorts in either direction, with those that have none at the end in both.
fn ordered<K: Ord + Copy>(key: Option<K>, descending: bool) -> (bool, Option<K>, Option<Reverse<K>>) {
    match (key, descending) {
        (key, false) => (key.is_none(), key, None),
        (key, true) => (key.is_none(), None, key.map(Reverse)),
    }
}

/// Places with the same key: layout and places in it.
type Group = Vec<(u32, Vec<u32>)>;

/// The wanted places by what they are sorted by, in the page's order.
fn groups(selection: &Selection<'_>, sort: Sort) -> Vec<Group> {
    let mut of_key: HashMap<u32, Group> = HashMap::new();
    for (number, layout) in selection.layouts() {
        let keys = match sort.by {
            By::Op => &layout.op,
            By::Name => &layout.name,
            _ => &layout.layer,
        };
        for &place in selection.places(number) {
            let group = of_key.entry(keys[place as usize]).or_default();
            match group.last_mut().filter(|(last, _)| *last == number) {
                Some((_, places)) => places.push(place),
                None => group.push((number, vec![place])),
            }
        }
    }
    let mut groups: Vec<(u32, Group)> = of_key.into_iter().collect();
    match sort.by {
        By::Layer => {
            groups.sort_by_key(|&(layer, _)| ordered(Some(layer).filter(|&l| l != NONE), sort.descending));
        }
        _ => groups.sort_by_key(|&(text, _)| ordered(Some(selection.table.text(text)), sort.descending)),
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Executions by what is the same for all of a place: its operator, its name, its layer.
fn by_key(selection: &Selection<'_>, page: &Page) -> (Vec<Place>, u64) {
    let (mut skip, mut total, mut found) = (page.offset as u64, 0, vec![]);
    for group in groups(selection, page.sort) {
        let part = |(layout, places): &(u32, Vec<u32>)| (selection.evaluations(*layout), places.len() as u64);
        let n: u64 = group.iter().map(part).map(|(evaluations, places)| evaluations.len() as u64 * places).sum();
        total += n;
        if n <= skip || found.len() == page.limit {
            skip = skip.saturating_sub(n);
            continue;
        }
        let parts: Vec<Part<'_>> = (group.iter())
            .map(|(layout, places)| Part { evaluations: selection.evaluations(*layout), places })
            .collect();
        found.extend(in_order(&parts, skip, page.limit - found.len()));
        skip = 0;
    }
    (found, total)
}

fn by_key_and_time(selection: &Selection<'_>, page: &Page, durations: Numbers) -> (Vec<Place>, u64) {
    let groups = groups(selection, page.sort);
    let group_of = group_numbers(selection, &groups);
    let mut counts = vec![0_u64; groups.len()];
    let Numbers { first, last } = durations;
    selection.scan(
        |piece| {
            let group_of = &group_of[piece.layout as usize];
            for (place, times) in &piece.columns {
                counts[group_of[*place as usize] as usize] += times.count(first, last);
            }
        },
        |_, _| {},
    );
    // The groups that the page touches: how many of each come before the page, and how many are in it.
    let (mut skip, mut left) = (page.offset as u64, page.limit as u64);
    let mut touched: Vec<(u32, u64, u64)> = vec![];
    for (group, &n) in counts.iter().enumerate() {
        let of_page = n.saturating_sub(skip).min(left);
        if of_page > 0 {
            touched.push((group as u32, skip, of_page));
        }
        skip = skip.saturating_sub(n);
        left -= of_page;
    }
    let is_small = |group: u32| counts[group as usize] <= SMALL_GROUP;
    let mut small: Vec<(u32, Place)> =
        small_groups(selection, &group_of, durations, |group| is_small(group) && touched.iter().any(|t| t.0 == group));
    small.sort_unstable();
    let mut found = vec![];
    for (group, skip, n) in touched {
        if is_small(group) {
            let begin = small.partition_point(|s| s.0 < group) + skip as usize;
            found.extend(small[begin..begin + n as usize].iter().map(|s| s.1));
        } else {
            let of_layout: HashMap<u32, &Vec<u32>> = groups[group as usize].iter().map(|(l, p)| (*l, p)).collect();
            let columns =
                |layout: u32| of_layout.get(&layout).map_or(vec![], |places| selection.columns_among(layout, places));
            found.extend(large_group(selection, durations, skip, n, columns));
        }
    }
    (found, counts.iter().sum())
}

/// The group of each place of each layout.
fn group_numbers(selection: &Selection<'_>, groups: &[Group]) -> Vec<Vec<u32>> {
    let layouts = selection.table.plans().layouts();
    let mut group_of: Vec<Vec<u32>> = layouts.iter().map(|layout| vec![NONE; layout.len()]).collect();
    for (number, group) in groups.iter().enumerate() {
        for (layout, places) in group {
            places.iter().for_each(|&place| group_of[*layout as usize][place as usize] = number as u32);
        }
    }
    group_of
}

/// All executions of some groups whose times are wanted, with their groups.
fn small_groups(
    selection: &Selection<'_>,
    group_of: &[Vec<u32>],
    durations: Numbers,
    wanted: impl Fn(u32) -> bool,
) -> Vec<(u32, Place)> {
    let columns = |layout: u32| {
        let group_of = &group_of[layout as usize];
        let mut columns = selection.columns(layout);
        columns.retain(|c| wanted(group_of[c.0 as usize]));
        columns
    };
    let of_layout: HashMap<u32, _> = selection.layouts().map(|(layout, _)| (layout, columns(layout))).collect();
    let mut found = vec![];
    if of_layout.values().all(Vec::is_empty) {
        return found;
    }
    selection.scan_columns(
        |layout| of_layout.get(&layout).map(Vec::as_slice),
        |piece| {
            for &(place, times) in &piece.columns {
                let group = group_of[piece.layout as usize][place as usize];
                times.within(durations.first, durations.last, |i, _| found.push((group, (piece.seqs[i], place))));
            }
        },
        |_, _| {},
    );
    found
}

/// `n` executions of a group in the order of the file, after the first `skip`, whose times are wanted.
pub(super) fn large_group(
    selection: &Selection<'_>,
    durations: Numbers,
    mut skip: u64,
    n: u64,
    columns: impl Fn(u32) -> Vec<(u32, u32)>,
) -> Vec<Place> {
    let counts = count_by_evaluation(selection, durations, &columns);
    let mut found: Vec<Place> = vec![];
    for (seq, &count) in counts.iter().enumerate() {
        if u64::from(count) <= skip {
            skip -= u64::from(count);
            continue;
        }
        let Some(plan) = selection.table.header(seq).and_then(|h| selection.table.plan(h)) else { continue };
        let places = within(selection, seq as u32, &columns(plan.layout), durations);
        let left = n as usize - found.len();
        found.extend(places.into_iter().skip(skip as usize).take(left).map(|place| (seq as u32, place)));
        skip = 0;
        if found.len() as u64 == n {
            break;
        }
    }
    found
}
