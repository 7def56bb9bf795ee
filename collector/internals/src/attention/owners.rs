//! Which token is in which row of a cache. Where a row goes is said with every evaluation, also where the row itself is told
//! later or never.

use crate::attention::cache_rows::PAGE;
use crate::attention::row::KeyRef;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

const NOBODY: u64 = u64::MAX;

/// Tokens by the rows of a cache.
#[derive(Debug, Default)]
pub struct Owners {
    pages: HashMap<u64, [u64; PAGE as usize]>,
    /// Rows that were written and not told since.
    untold: HashSet<u64>,
    /// Whether it was said where rows went since [`Owners::begin`].
    is_placed: bool,
    /// Where rows went was not said, and what was told may be anybody's.
    is_behind: bool,
}

impl Owners {
    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.pages.len() * size_of::<(u64, [u64; PAGE as usize])>() + self.untold.len() * size_of::<u64>()
    }

    /// An evaluation begins that writes rows.
    pub fn begin(&mut self) {
        self.is_placed = false;
    }

    /// A token was written into a row; `None` if it is not known which.
    pub fn place(&mut self, row: u64, token: Option<u64>) {
        self.is_placed = true;
        self.untold.insert(row);
        self.set(row, token.unwrap_or(NOBODY));
    }

    fn set(&mut self, row: u64, token: u64) {
        self.pages.entry(row / PAGE).or_insert([NOBODY; PAGE as usize])[(row % PAGE) as usize] = token;
    }

    /// The evaluation is over, and these rows were told. Returns those that nobody has written since they were told
    /// before: the program changed them otherwise. They are the tokens' that they were, unless something was missed.
    pub fn end(&mut self, told: &[u64]) -> Vec<u64> {
        self.is_behind |= !self.is_placed;
        let changed: Vec<u64> = told.iter().copied().filter(|row| !self.untold.remove(row)).collect();
        if self.is_behind && !told.is_empty() {
            changed.iter().for_each(|&row| self.set(row, NOBODY));
            self.is_behind = !self.is_placed;
        }
        changed
    }

    /// Whether some rows are the same tokens' in both.
    pub fn are_alike(&self, other: &Owners, rows: Range<u64>) -> bool {
        let page = |page| self.pages.get(&page) == other.pages.get(&page);
        (rows.start / PAGE..rows.end.div_ceil(PAGE)).all(page)
    }

    /// Some rows as keys, with their tokens where they are known.
    pub fn keys(&self, rows: Range<u64>) -> Vec<KeyRef> {
        let mut keys = vec![];
        for page in rows.start / PAGE..rows.end.div_ceil(PAGE) {
            let cells = rows.start.max(page * PAGE)..rows.end.min((page * PAGE).saturating_add(PAGE));
            match self.pages.get(&page) {
                None => keys.extend(cells.map(|cell| KeyRef { cell, token: None })),
                Some(tokens) => keys.extend(cells.map(|cell| {
                    let token = tokens[(cell % PAGE) as usize];
                    KeyRef { cell, token: (token != NOBODY).then_some(token) }
                })),
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An evaluation that tells rows and says of which tokens some are.
    fn evaluation(owners: &mut Owners, told: &[u64], placed: &[(u64, u64)]) -> Vec<u64> {
        owners.begin();
        placed.iter().for_each(|&(row, token)| owners.place(row, Some(token)));
        owners.end(told)
    }

    fn token(owners: &Owners, row: u64) -> Option<u64> {
        owners.keys(row..row + 1)[0].token
    }

    #[test]
    fn a_row_that_the_program_changes_otherwise_keeps_its_token() {
        let mut owners = Owners::default();
        assert!(evaluation(&mut owners, &[5], &[(5, 100)]).is_empty());
        assert_eq!(evaluation(&mut owners, &[5, 6], &[(6, 101)]), [5]);
        assert_eq!([5, 6, 7].map(|row| token(&owners, row)), [Some(100), Some(101), None]);
    }

    #[test]
    fn rows_of_two_caches_are_alike_where_they_are_the_same_tokens() {
        let (mut a, mut b) = (Owners::default(), Owners::default());
        evaluation(&mut a, &[], &[(5, 100), (70, 101)]);
        evaluation(&mut b, &[], &[(5, 100), (70, 102)]);
        assert_eq!([0..64, 64..65, 128..200].map(|rows| a.are_alike(&b, rows)), [true, false, true]);
    }

    #[test]
    fn a_row_that_is_told_late_is_the_last_tokens_that_was_written_there() {
        let mut owners = Owners::default();
        evaluation(&mut owners, &[5], &[(5, 100)]);
        evaluation(&mut owners, &[], &[(5, 101), (70, 102)]);
        assert!(evaluation(&mut owners, &[5, 6, 70], &[(6, 103)]).is_empty());
        assert_eq!([5, 6, 70].map(|row| token(&owners, row)), [Some(101), Some(103), Some(102)]);
    }

    #[test]
    fn where_it_was_missed_whose_a_row_is_it_is_nobodys() {
        let mut owners = Owners::default();
        evaluation(&mut owners, &[5, 6], &[(5, 100), (6, 101)]);
        evaluation(&mut owners, &[], &[]);
        evaluation(&mut owners, &[5, 7], &[(7, 102)]);
        assert_eq!([5, 6, 7].map(|row| token(&owners, row)), [None, Some(101), Some(102)]);
        evaluation(&mut owners, &[7, 8], &[(8, 103)]);
        assert_eq!(token(&owners, 7), Some(102), "and from then on it is known again");
    }
}
