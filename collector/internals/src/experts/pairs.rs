//! Which experts go together: chosen for the same token in one layer, in one layer and the next, or for one token and
//! the next.

use serde::Serialize;
use std::cmp::Reverse;
use utoipa::ToSchema;

/// Bytes of all matrices of pairs together. Qwen3 (48 layers of 128 experts) takes 9 MiB, DeepSeek (58 of 256) 44.
const MOST_BYTES: usize = 512 << 20;

/// Two experts that were chosen together.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Pair {
    /// The one; of a transition the earlier.
    pub a: u32,
    /// The other; of a transition the later.
    pub b: u32,
    /// How often.
    pub count: u64,
    /// The count as a multiple of what the loads of the two alone would give.
    pub lift: f64,
}

/// Room that is left for matrices.
pub(super) struct Room {
    left: usize,
    /// Whether something was not counted for want of room.
    pub is_short: bool,
}

impl Default for Room {
    fn default() -> Room {
        Room { left: MOST_BYTES, is_short: false }
    }
}

/// How often which expert of one set came with which of another.
#[derive(Default)]
pub(super) struct Matrix {
    columns: usize,
    cells: Vec<u32>,
    /// Tokens that were counted.
    pub tokens: u64,
}

impl Matrix {
    /// Counts each expert of `a` with each of `b`, of sets of `rows` and `columns` experts.
    pub fn add(&mut self, room: &mut Room, (rows, columns): (usize, usize), a: &[i32], b: &[i32]) {
        if self.cells.is_empty() {
            let bytes = 4 * rows * columns;
            if bytes > room.left {
                room.is_short = true;
                return;
            }
            room.left -= bytes;
            (self.columns, self.cells) = (columns, vec![0; rows * columns]);
        }
        self.tokens += 1;
        for &a in a {
            let row = &mut self.cells[a as usize * self.columns..][..self.columns];
            for &b in b {
                row[b as usize] = row[b as usize].saturating_add(1);
            }
        }
    }

    /// The counts, row by row.
    pub fn counts(&self) -> Vec<Vec<u32>> {
        self.rows().map(<[u32]>::to_vec).collect()
    }

    fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.cells.chunks_exact(self.columns.max(1))
    }

    /// The sums of the rows, of the columns, and of all.
    fn sums(&self) -> (Vec<u64>, Vec<u64>, u64) {
        let rows: Vec<u64> = self.rows().map(|row| row.iter().map(|&c| u64::from(c)).sum()).collect();
        let mut columns = vec![0_u64; self.columns];
        self.rows().for_each(|row| columns.iter_mut().zip(row).for_each(|(sum, &c)| *sum += u64::from(c)));
        let all = rows.iter().sum();
        (rows, columns, all)
    }

    /// The most frequent pairs, at most `most`. Of a set with itself each pair once, and no expert with itself.
    pub fn top(&self, most: usize, with_itself: bool) -> Vec<Pair> {
        let (rows, columns, all) = self.sums();
        let mut found: Vec<(Reverse<u32>, usize, usize)> = vec![];
        for (a, row) in self.rows().enumerate() {
            let first = if with_itself { a + 1 } else { 0 };
            found.extend((first..row.len()).filter(|&b| row[b] > 0).map(|b| (Reverse(row[b]), a, b)));
            if found.len() > 64 * most.max(1) {
                found.sort_unstable();
                found.truncate(most);
            }
        }
        found.sort_unstable();
        found.truncate(most);
        let pair = |(Reverse(count), a, b): (Reverse<u32>, usize, usize)| {
            let by_chance = rows[a] as f64 * columns[b] as f64 / all as f64;
            Pair { a: a as u32, b: b as u32, count: u64::from(count), lift: f64::from(count) / by_chance }
        };
        found.into_iter().map(pair).collect()
    }

    /// Of a set with itself: how many of the later token's experts were the earlier's too, and how many of them would be
    /// if the later token did not care for the earlier.
    pub fn kept(&self) -> Option<(f64, f64)> {
        let (rows, columns, all) = self.sums();
        if all == 0 {
            return None;
        }
        // A token adds (experts a token)² to the sum and has (experts a token) choices.
        let choices = (all as f64 * self.tokens as f64).sqrt();
        let same: u64 = self.rows().enumerate().map(|(i, row)| row.get(i).map_or(0, |&c| u64::from(c))).sum();
        let chance: f64 = rows.iter().zip(&columns).map(|(&r, &c)| r as f64 * c as f64 / all as f64).sum();
        Some((same as f64 / choices, chance / choices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(size: (usize, usize), pairs: &[([i32; 2], [i32; 2])]) -> Matrix {
        let mut matrix = Matrix::default();
        pairs.iter().for_each(|(a, b)| matrix.add(&mut Room::default(), size, a, b));
        matrix
    }

    #[test]
    fn pairs_that_were_chosen_together_are_counted_once_a_token() {
        let of = |a| (a, a);
        let together = matrix((4, 4), &[of([0, 1]), of([1, 0]), of([1, 2]), of([3, 0])]);
        let top = together.top(2, true);
        // Expert 0 in 3 of 4 tokens, 1 in 3, both in 2; by chance 3·3/4 = 2.25 tokens.
        assert_eq!(top[0], Pair { a: 0, b: 1, count: 2, lift: 2.0 / 2.25 });
        // 0 in 3, 3 in 1, both in 1: by chance ¾.
        assert_eq!(top[1], Pair { a: 0, b: 3, count: 1, lift: 1.0 / 0.75 });
        assert_eq!(together.top(99, true).len(), 3, "each pair once, none with itself");
    }

    #[test]
    fn transitions_have_a_direction_and_a_lift() {
        let moved = matrix((3, 5), &[([0, 1], [4, 2]), ([0, 2], [4, 3]), ([1, 2], [0, 1])]);
        let top = moved.top(1, false);
        // 0 was there in 2 of 3 tokens, 4 in 2, both in 2; by chance 2·2/3.
        assert_eq!((top[0].a, top[0].b, top[0].count), (0, 4, 2));
        assert!((top[0].lift - 1.5).abs() < 1e-12);
    }

    #[test]
    fn what_is_kept_from_token_to_token_is_told_from_chance() {
        let of = |pairs: &[_]| matrix((4, 4), pairs).kept().unwrap();
        assert_eq!(of(&[([0, 1], [1, 0]), ([2, 3], [3, 2])]), (1.0, 0.5));
        assert_eq!(of(&[([0, 1], [1, 2]), ([2, 3], [3, 0])]).0, 0.5);
        assert_eq!(of(&[([0, 1], [2, 3])]), (0.0, 0.0));
        assert_eq!(Matrix::default().kept(), None);
    }

    #[test]
    fn there_is_an_end_to_the_room() {
        let mut room = Room { left: 4 * 9, is_short: false };
        let (mut a, mut b) = (Matrix::default(), Matrix::default());
        a.add(&mut room, (3, 3), &[1], &[2]);
        b.add(&mut room, (1, 1), &[0], &[0]);
        a.add(&mut room, (3, 3), &[1], &[2]);
        assert_eq!((a.top(9, false).len(), b.top(9, false).len(), room.is_short), (1, 0, true));
    }
}
