//! Executions by the time that they took. Times are counted in some ten thousand classes; a page is found in the class
//! that the counts point at, so that nothing is sorted but what is near the page.

use super::chosen::Selection;
use super::order::{Part, Place, in_order};
use super::pages::large_group;
use super::times::Piece;
use super::{BLOCK, NONE, Slice};
use crate::operators::Page;
use crate::range::Numbers;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Times below, in nanoseconds, are a class each; above, a class is a floating-point number without its last 15 bits.
const EXACT: usize = 1 << 16;
/// Classes, more than there are.
const CLASSES: usize = EXACT + (1 << 14);
/// Executions that are sorted at once.
const SORTED: u64 = 1 << 16;
/// Counts that are kept at most: of the filters that were asked for last; and the bytes of one.
pub(super) const KEPT: usize = 4;
pub(super) const BYTES: usize = 8 * CLASSES;

/// How many of the wanted executions took how long.
pub(crate) struct Ranks {
    counts: Vec<u64>,
    timed: u64,
    sum: u128,
    /// Layout and ordinal of evaluations whose times are damaged.
    damaged: Vec<(u32, u32)>,
}

/// The class of a time; a longer time has no lower class.
fn class(time: u64) -> usize {
    let of_float = ((time as f32).to_bits() >> 15) as usize;
    if time < EXACT as u64 { time as usize } else { of_float - FIRST_FLOAT + EXACT }
}

/// The same for what fits 32 bits, which processors turn into floating-point numbers faster.
fn narrow_class(time: u32) -> usize {
    let of_float = ((time as f32).to_bits() >> 15) as usize;
    if (time as usize) < EXACT { time as usize } else { of_float - FIRST_FLOAT + EXACT }
}

const FIRST_FLOAT: usize = ((EXACT as f32).to_bits() >> 15) as usize;

/// The shortest time of a class or a higher one.
fn shortest(of: usize) -> u64 {
    let (mut low, mut high) = (0_u64, u64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if class(middle) >= of { high = middle } else { low = middle + 1 }
    }
    low
}

/// The times of a class.
fn times_of(of: usize) -> Numbers {
    let above = shortest(of + 1);
    let last = if class(above) > of { above - 1 } else { u64::MAX };
    Numbers { first: shortest(of), last }
}

/// Counts times by class. Half as wide as the sums, more of the counts stay near the processor; and times that are like
/// each other follow each other, so that they are counted in turn in two places, and none waits for the one before.
struct Counter {
    counts: Vec<u64>,
    halves: [Vec<u32>; 2],
    /// Times that may be in a count of `halves`.
    counted: usize,
}

impl Default for Counter {
    fn default() -> Counter {
        Counter { counts: vec![0; CLASSES], halves: [vec![0; CLASSES], vec![0; CLASSES]], counted: 0 }
    }
}

impl Counter {
    fn add(&mut self, times: &[u32]) {
        self.counted += times.len();
        if self.counted > u32::MAX as usize {
            self.sum_up();
            self.counted = times.len();
        }
        let [first, second] = &mut self.halves;
        let mut pairs = times.chunks_exact(2);
        for pair in &mut pairs {
            first[narrow_class(pair[0])] += 1;
            second[narrow_class(pair[1])] += 1;
        }
        pairs.remainder().iter().for_each(|&t| first[narrow_class(t)] += 1);
    }

    fn sum_up(&mut self) {
        for half in &mut self.halves {
            self.counts.iter_mut().zip(half).for_each(|(sum, n)| *sum += u64::from(std::mem::take(n)));
        }
    }

    fn finish(mut self) -> Vec<u64> {
        self.sum_up();
        self.counts
    }
}

impl Ranks {
    fn new(selection: &Selection<'_>) -> Ranks {
        let mut counter = Counter::default();
        let (mut damaged, mut sum) = (vec![], 0_u128);
        let wanted = selection.filter.durations.unwrap_or(Numbers { first: 0, last: u64::MAX });
        let all = selection.filter.durations.is_none();
        let count = |piece: &Piece<'_>| {
            for (_, times) in &piece.columns {
                match times {
                    Slice::Narrow(narrow) if all => {
                        counter.add(narrow);
                        sum += u128::from(times.sum());
                    }
                    _ => times.within(wanted.first, wanted.last, |_, t| {
                        counter.counts[class(t)] += 1;
                        sum += u128::from(t);
                    }),
                }
            }
        };
        selection.scan(count, |layout, seq| damaged.push((layout, seq)));
        let counts = counter.finish();
        Ranks { timed: counts.iter().sum(), sum, counts, damaged }
    }

    /// Wanted executions with a time.
    pub fn timed(&self) -> u64 {
        self.timed
    }

    /// The sum of their times.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The times at some ranks, from the shortest with rank 0.
    pub fn at(&self, selection: &Selection<'_>, ranks: &[u64]) -> Vec<u64> {
        let classes: Vec<(usize, u64, u64)> = ranks.iter().map(|&rank| class_at(&self.counts, rank, false)).collect();
        let mut wanted: Vec<(Numbers, Vec<u64>)> = vec![];
        for times in classes.iter().map(|c| times_of(c.0)).filter(|times| times.first < times.last) {
            if wanted.iter().all(|w| w.0 != times) {
                wanted.push((times, vec![]));
            }
        }
        if !wanted.is_empty() {
            let durations = selection.filter.durations;
            let collect = |piece: &Piece<'_>| {
                for (_, times) in &piece.columns {
                    for (within, found) in &mut wanted {
                        let is_wanted = |t: u64| durations.is_none_or(|n| n.contains(t));
                        times.within(within.first, within.last, |_, t| found.extend(is_wanted(t).then_some(t)));
                    }
                }
            };
            selection.scan(collect, |_, _| {});
        }
        let at = |(&rank, (class, before, _)): (&u64, (usize, u64, u64))| {
            let times = times_of(class);
            let found = wanted.iter_mut().find(|w| w.0 == times).map(|w| &mut w.1);
            match found.filter(|found| !found.is_empty()) {
                Some(found) => {
                    let place = ((rank - before) as usize).min(found.len() - 1);
                    *found.select_nth_unstable(place).1
                }
                None => times.first,
            }
        };
        ranks.iter().zip(classes).map(at).collect()
    }

    /// How many times are in each of up to `n` ranges that follow each other from `first` to `last`, longer times in
    /// wider ones. A range begins and ends where times are told apart.
    pub fn bins(&self, first: u64, last: u64, n: usize) -> Vec<(Numbers, u64)> {
        let step = (last.max(1) as f64 / first.max(1) as f64).powf(1.0 / n as f64);
        let edge = |i: usize| class((first.max(1) as f64 * step.powi(i as i32)) as u64).min(class(last));
        let mut bins: Vec<(Numbers, u64)> = vec![];
        let mut next = class(first);
        for i in 1..=n {
            let end = if i == n { class(last) } else { edge(i) };
            if end < next {
                continue;
            }
            let (low, high) = (times_of(next), times_of(end));
            bins.push((Numbers { first: low.first, last: high.last }, self.counts[next..=end].iter().sum()));
            next = end + 1;
        }
        bins
    }

    /// The counts for a selection, worked out at most once for as long as the table does not grow.
    pub fn of(selection: &Selection<'_>) -> Arc<Ranks> {
        let key = format!("{} {:?}", selection.table.len(), selection.filter);
        let known = |kept: &[(String, Arc<Ranks>)]| kept.iter().find(|k| k.0 == key).map(|k| Arc::clone(&k.1));
        if let Some(ranks) = known(&selection.table.shared.ranks.lock()) {
            return ranks;
        }
        let ranks = Arc::new(Ranks::new(selection));
        if ranks.damaged.iter().any(|&(_, seq)| selection.table.may_be_young(seq as usize / BLOCK)) {
            return ranks;
        }
        let room = selection.table.shared.kept_ranks.load(Ordering::Relaxed);
        let mut kept = selection.table.shared.ranks.lock();
        if room > 0 {
            kept.push((key, Arc::clone(&ranks)));
        }
        let too_many = kept.len().saturating_sub(room);
        kept.drain(..too_many);
        ranks
    }
}

/// The executions of a page that is sorted by time, those without a time of their own at the end, and how many there
/// are in all.
pub(super) fn page(selection: &Selection<'_>, page: &Page) -> (Vec<Place>, u64) {
    let ranks = Ranks::of(selection);
    let descending = page.sort.descending;
    let mut found = vec![];
    while found.len() < page.limit {
        let rank = (page.offset as u64).saturating_add(found.len() as u64);
        if rank >= ranks.timed {
            break;
        }
        let near = Near::find(selection, &ranks, rank, (page.limit - found.len()) as u64, descending);
        let before = found.len();
        found.extend(near.executions(selection, rank, page.limit - found.len(), descending));
        if found.len() == before {
            break;
        }
    }
    if selection.filter.durations.is_some() {
        return (found, ranks.timed);
    }
    let untimed = Untimed::new(selection, &ranks.damaged);
    let parts = untimed.parts(selection);
    if found.len() < page.limit {
        let skip = (page.offset as u64).saturating_sub(ranks.timed);
        found.extend(in_order(&parts, skip, page.limit - found.len()));
    }
    (found, ranks.timed + parts.iter().map(Part::len).sum::<u64>())
}

/// Times around a rank.
struct Near {
    times: Numbers,
    /// Executions that stand before all of these.
    before: u64,
    /// Executions with such times.
    n: u64,
}

/// The class in which `rank` is, the executions before it and in it. In descending order the last class is the first.
fn class_at(counts: &[u64], rank: u64, descending: bool) -> (usize, u64, u64) {
    let (mut before, last) = (0, counts.len() - 1);
    for i in 0..counts.len() {
        let class = if descending { last - i } else { i };
        if before + counts[class] > rank {
            return (class, before, counts[class]);
        }
        before += counts[class];
    }
    (if descending { 0 } else { last }, before, 0)
}

impl Near {
    fn find(selection: &Selection<'_>, ranks: &Ranks, rank: u64, limit: u64, descending: bool) -> Near {
        let (first, before, mut n) = class_at(&ranks.counts, rank, descending);
        if n <= SORTED {
            // As many classes as the page needs.
            let mut class = first;
            while before + n < rank.saturating_add(limit) {
                let Some(next) = (if descending { class.checked_sub(1) } else { Some(class + 1) }) else { break };
                let Some(&more) = ranks.counts.get(next).filter(|&&more| n + more <= SORTED) else { break };
                (class, n) = (next, n + more);
            }
            let (low, high) = (times_of(first.min(class)), times_of(first.max(class)));
            return Near { times: Numbers { first: low.first, last: high.last }, before, n };
        }
        let mut near = Near { times: times_of(first), before, n };
        while near.n > SORTED && near.times.first < near.times.last {
            near.divide(selection, rank, descending);
        }
        near
    }

    /// Finds a part of the times that `rank` is in: one in as many as there are classes.
    fn divide(&mut self, selection: &Selection<'_>, rank: u64, descending: bool) {
        let Numbers { first, last } = self.times;
        let (first, last) =
            selection.filter.durations.map_or((first, last), |n| (first.max(n.first), last.min(n.last)));
        let width = (last - first) / CLASSES as u64 + 1;
        let mut counts = vec![0_u64; CLASSES];
        let count = |piece: &Piece<'_>| {
            for (_, times) in &piece.columns {
                times.within(first, last, |_, t| counts[((t - first) / width) as usize] += 1);
            }
        };
        selection.scan(count, |_, _| {});
        let (class, before, n) = class_at(&counts, rank - self.before, descending);
        let low = first + class as u64 * width;
        self.times = Numbers { first: low, last: low.saturating_add(width - 1).min(last) };
        (self.before, self.n) = (self.before + before, n);
    }

    /// Up to `limit` executions with these times, from `rank` on.
    fn executions(&self, selection: &Selection<'_>, rank: u64, limit: usize, descending: bool) -> Vec<Place> {
        let wanted = selection.filter.durations.map_or(self.times, |n| Numbers {
            first: self.times.first.max(n.first),
            last: self.times.last.min(n.last),
        });
        let skip = rank - self.before;
        if self.n > SORTED {
            // All took equally long.
            let n = (self.n - skip).min(limit as u64);
            return large_group(selection, wanted, skip, n, |layout| selection.columns(layout));
        }
        let mut near: Vec<(u64, u32, u32)> = Vec::with_capacity(self.n as usize);
        let collect = |piece: &Piece<'_>| {
            for &(place, times) in &piece.columns {
                times.within(wanted.first, wanted.last, |i, t| {
                    near.push((if descending { u64::MAX - t } else { t }, piece.seqs[i], place));
                });
            }
        };
        selection.scan(collect, |_, _| {});
        near.sort_unstable();
        near.into_iter().skip(skip as usize).take(limit).map(|(_, seq, place)| (seq, place)).collect()
    }
}

/// Wanted executions without a time of their own: some places of sound evaluations, all of those that are damaged.
struct Untimed {
    sound: Vec<(Vec<u32>, Vec<u32>)>,
    damaged: HashMap<u32, Vec<u32>>,
}

impl Untimed {
    fn new(selection: &Selection<'_>, without_times: &[(u32, u32)]) -> Untimed {
        let mut damaged: HashMap<u32, Vec<u32>> = HashMap::new();
        without_times.iter().for_each(|&(layout, seq)| damaged.entry(layout).or_default().push(seq));
        let sound = selection.layouts().map(|(number, layout)| {
            let is_damaged = |seq| damaged.get(&number).is_some_and(|d| d.binary_search(seq).is_ok());
            let evaluations = selection.evaluations(number).iter().filter(|seq| !is_damaged(seq));
            let untimed = selection.places(number).iter().filter(|&&p| layout.column[p as usize] == NONE);
            (evaluations.copied().collect(), untimed.copied().collect())
        });
        Untimed { sound: sound.collect(), damaged }
    }

    fn parts<'a>(&'a self, selection: &'a Selection<'_>) -> Vec<Part<'a>> {
        let sound = self.sound.iter().map(|(evaluations, places)| Part { evaluations, places });
        let of_layout =
            |(&layout, evaluations): (&u32, &'a Vec<u32>)| Part { evaluations, places: selection.places(layout) };
        sound.chain(self.damaged.iter().map(of_layout)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Filter;
    use crate::table::Table;
    use ggscope_trace::Trace;
    use ggscope_trace::testing::{Shape, write};

    #[test]
    fn counts_are_kept_as_far_as_the_memory_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        write(&path, Shape { n_layer: 2, ..Shape::default() }, 5, 9).finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        let filters: Vec<Filter> = (0..6).map(|node| Filter { node: Some(node), ..Filter::default() }).collect();
        for (memory, kept) in [(1 << 20, 0), (20 * BYTES, 1), (512 << 20, KEPT)] {
            let table = Table::new(&trace, memory);
            for filter in &filters {
                Ranks::of(&Selection::new(&trace, &table, filter));
            }
            assert_eq!(table.shared.ranks.lock().len(), kept, "{memory}");
            table.set_memory(1 << 20);
            assert_eq!(table.shared.ranks.lock().len(), 0, "what is kept goes when the memory does");
        }
    }

    #[test]
    fn classes_cover_all_times_in_order() {
        let mut next = 0;
        for of in 0..class(u64::MAX) {
            let times = times_of(of);
            if times.first <= times.last && class(times.first) == of {
                assert_eq!(times.first, next, "class {of} follows the one before");
                next = times.last + 1;
            }
        }
        assert_eq!(class(next), class(u64::MAX));
        for time in [0, 1, 1000, 1_000_000, u64::from(u32::MAX)] {
            let Numbers { first, last } = times_of(class(time));
            assert!((first..=last).contains(&time) && narrow_class(time as u32) == class(time));
            assert!(last - first <= time / 256 + 1);
        }
    }
}
