//! One token of a batch, as the program described it.

/// A token that the program passed to llama.cpp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its id; `None` if it is an embedding, or unknown.
    pub id: Option<i32>,
    /// Its position; `None` if llama.cpp is to find it.
    pub position: Option<i32>,
    /// Whether the program asked for its logits or embedding.
    pub is_output: bool,
    /// The first of its sequences, and the others: a token is rarely in more than one. `None` if unknown.
    pub(super) sequence: Option<i32>,
    pub(super) others: Vec<i32>,
}

impl Entry {
    /// A token of one sequence.
    pub fn of(sequence: i32) -> Entry {
        Entry { sequence: Some(sequence), ..Entry::default() }
    }

    /// Adds it to another sequence.
    pub fn add_sequence(&mut self, sequence: i32) {
        if self.sequence.is_none() {
            self.sequence = Some(sequence);
        } else if !self.sequences().any(|s| s == sequence) {
            self.others.push(sequence);
        }
    }

    /// Its sequences; none if they are unknown.
    pub fn sequences(&self) -> impl Iterator<Item = i32> {
        self.sequence.into_iter().chain(self.others.iter().copied())
    }

    /// Whether it may be the token that the graph has with this id and this position, and whether anything of the two
    /// was there to be compared.
    pub fn agrees(&self, id: Option<i32>, position: Option<i32>) -> Option<bool> {
        let equal = |a: Option<i32>, b: Option<i32>| Some(a? == b?);
        match (equal(self.id, id), equal(self.position, position)) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(true) && b.unwrap_or(true)),
        }
    }
}
