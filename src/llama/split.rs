//! Which tokens of a batch an evaluation computes. llama.cpp cuts a batch into *ubatches*, and some caches need its
//! tokens grouped by sequence: the tokens of an evaluation are looked for in the batch, by their ids and positions.

use crate::llama::entry::Entry;

/// What the graph's inputs say of the tokens of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// How many there are.
    pub n_tokens: usize,
    /// Their ids, one per token, or none.
    pub ids: &'a [i32],
    /// Their positions, one per token, or none.
    pub positions: &'a [i32],
}

impl Inputs<'_> {
    /// Whether token `i` of the evaluation may be `entry`. `None` if there is nothing to compare.
    fn agrees(&self, i: usize, entry: &Entry) -> Option<bool> {
        entry.agrees(self.ids.get(i).copied(), self.positions.get(i).copied())
    }
}

/// For each token of an evaluation its place in the batch, among those that no earlier evaluation of the batch has
/// taken. `None` if the batch does not have these tokens, or has them more than once and the order does not tell them
/// apart.
pub fn places(entries: &[Entry], is_used: &[bool], inputs: Inputs<'_>) -> Option<Vec<usize>> {
    let n = inputs.n_tokens;
    let unused: Vec<usize> = (0..entries.len()).filter(|&i| !is_used[i]).collect();
    if n == 0 || unused.len() < n {
        return None;
    }
    let fits = |places: &[usize]| (0..n).all(|i| inputs.agrees(i, &entries[places[i]]) == Some(true));
    let mut found: Option<Vec<usize>> = None;
    let in_order = (unused[..n].to_vec(), fits(&unused[..n]));
    let by_sequence = (1..=n).filter(|k| n.is_multiple_of(*k)).filter_map(|k| grouped(entries, &unused, n / k, inputs));
    let candidates = in_order.1.then_some(in_order.0).into_iter().chain(by_sequence.filter(|places| fits(places)));
    for places in candidates {
        match &found {
            None => found = Some(places),
            Some(known) if is_same(entries, known, &places) => {}
            Some(_) => return None,
        }
    }
    found.or_else(|| unique(entries, &unused, inputs))
}

/// Whether it makes no difference which of the two is right.
fn is_same(entries: &[Entry], a: &[usize], b: &[usize]) -> bool {
    let same = |(&a, &b): (&usize, &usize)| a == b || entries[a] == entries[b];
    a.iter().zip(b).all(same)
}

/// The places if tokens come in runs of `len`, each the next ones of one set of sequences, and the sets in the order in
/// which they come in the batch.
fn grouped(entries: &[Entry], unused: &[usize], len: usize, inputs: Inputs<'_>) -> Option<Vec<usize>> {
    let mut taken = vec![false; entries.len()];
    let mut places = Vec::with_capacity(inputs.n_tokens);
    let mut sets: Vec<&Entry> = vec![];
    while places.len() < inputs.n_tokens {
        let begin = places.len();
        let is_free = |&i: &usize| !taken[i] && !sets.iter().any(|set| is_same_set(set, &entries[i]));
        let first = unused.iter().copied().filter(is_free).find(|&i| {
            let mut run = unused.iter().filter(|&&j| is_same_set(&entries[i], &entries[j])).take(len).enumerate();
            run.all(|(k, &j)| inputs.agrees(begin + k, &entries[j]) == Some(true))
        })?;
        let run: Vec<usize> =
            unused.iter().copied().filter(|&j| is_same_set(&entries[first], &entries[j])).take(len).collect();
        if run.len() < len {
            return None;
        }
        run.iter().for_each(|&i| taken[i] = true);
        sets.push(&entries[first]);
        places.extend(run);
    }
    Some(places)
}

fn is_same_set(a: &Entry, b: &Entry) -> bool {
    a.sequences().eq(b.sequences())
}

/// The places if every token is in the batch exactly once.
fn unique(entries: &[Entry], unused: &[usize], inputs: Inputs<'_>) -> Option<Vec<usize>> {
    let mut taken = vec![false; entries.len()];
    let only = |i: usize| {
        let mut fitting = unused.iter().copied().filter(|&j| inputs.agrees(i, &entries[j]) == Some(true));
        fitting.next().filter(|_| fitting.next().is_none())
    };
    let places: Vec<usize> = (0..inputs.n_tokens).map(only).collect::<Option<_>>()?;
    places.iter().all(|&i| !std::mem::replace(&mut taken[i], true)).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens as (sequence, id, position).
    fn batch(tokens: &[(i32, i32, i32)]) -> Vec<Entry> {
        let entry = |&(s, id, p): &(i32, i32, i32)| Entry { id: Some(id), position: Some(p), ..Entry::of(s) };
        tokens.iter().map(entry).collect()
    }

    fn find(entries: &[Entry], used: &[usize], ids: &[i32], positions: &[i32]) -> Option<Vec<usize>> {
        let is_used: Vec<bool> = (0..entries.len()).map(|i| used.contains(&i)).collect();
        places(entries, &is_used, Inputs { n_tokens: ids.len().max(positions.len()), ids, positions })
    }

    #[test]
    fn ubatches_in_the_order_of_the_batch_are_found_one_after_the_other() {
        let entries = batch(&[(0, 7, 0), (0, 8, 1), (1, 7, 0), (1, 9, 1)]);
        assert_eq!(find(&entries, &[], &[7, 8, 7], &[0, 1, 0]), Some(vec![0, 1, 2]));
        assert_eq!(find(&entries, &[0, 1, 2], &[9], &[1]), Some(vec![3]));
    }

    #[test]
    fn tokens_that_are_grouped_by_sequence_are_found() {
        let entries = batch(&[(0, 7, 0), (1, 7, 0), (0, 8, 1), (1, 9, 1), (0, 3, 2)]);
        assert_eq!(find(&entries, &[], &[7, 8, 7, 9], &[0, 1, 0, 1]), Some(vec![0, 2, 1, 3]));
        assert_eq!(find(&entries, &[0, 1, 2, 3], &[3], &[2]), Some(vec![4]));
    }

    #[test]
    fn two_sequences_with_the_same_prompt_keep_the_order_of_the_batch() {
        let entries = batch(&[(4, 7, 0), (4, 8, 1), (2, 7, 0), (2, 8, 1)]);
        assert_eq!(find(&entries, &[], &[7, 8, 7, 8], &[0, 1, 0, 1]), Some(vec![0, 1, 2, 3]));
        assert_eq!(find(&entries, &[], &[7, 8], &[0, 1]), Some(vec![0, 1]));
        assert_eq!(find(&entries, &[0, 1], &[7, 8], &[0, 1]), Some(vec![2, 3]));
    }

    #[test]
    fn what_the_batch_does_not_have_is_not_found() {
        let entries = batch(&[(0, 7, 0), (0, 8, 1)]);
        assert_eq!(find(&entries, &[], &[7, 9], &[0, 1]), None);
        assert_eq!(find(&entries, &[], &[7, 8], &[0, 2]), None);
        assert_eq!(find(&entries, &[0], &[7], &[0]), None);
        assert_eq!(find(&entries, &[], &[], &[]), None);
    }

    #[test]
    fn ids_alone_prove_where_a_graph_has_no_positions_and_positions_where_the_input_is_embeddings() {
        let tokens = batch(&[(0, 7, 0), (1, 8, 0)]);
        assert_eq!(find(&tokens, &[], &[7, 8], &[]), Some(vec![0, 1]));
        let embeddings = vec![Entry { position: Some(5), ..Entry::of(3) }];
        assert_eq!(find(&embeddings, &[], &[], &[5]), Some(vec![0]));
        let nothing = vec![Entry::of(3)];
        assert_eq!(find(&nothing, &[], &[], &[5]), None, "nothing to compare proves nothing");
    }
}
