//! Batches of newer releases (`llama_batch_ext`), which a program fills through C functions: a copy of each, kept up to
//! date with every call.

use crate::llama::entry::Entry;
use parking_lot::Mutex;
use std::collections::HashMap;

/// More tokens than these are not copied: no context takes so many at once.
const MAX_ENTRIES: usize = 1 << 20;

/// Fork handlers take the lock, so that a child finds the batches in order.
pub static BATCHES: Mutex<Option<HashMap<usize, Vec<Entry>>>> = Mutex::new(None);

/// The program has made a batch.
pub fn made(batch: usize) {
    BATCHES.lock().get_or_insert_default().insert(batch, vec![]);
}

/// The program frees a batch.
pub fn freed(batch: usize) {
    if let Some(batches) = BATCHES.lock().as_mut() {
        batches.remove(&batch);
    }
}

/// The program has emptied a batch.
pub fn cleared(batch: usize) {
    with(batch, Vec::clear);
}

/// The program has added a token, at `place` if llama.cpp says where. Without a place it is the next one, unless a later
/// call says otherwise.
pub fn added(batch: usize, place: Option<i32>, entry: Entry) {
    with(batch, |entries| {
        let place = place.and_then(|place| usize::try_from(place).ok()).unwrap_or(entries.len());
        if place < MAX_ENTRIES {
            // What was added in between without being seen is unknown; what was thought to be there was refused.
            entries.resize(place, Entry::default());
            entries.push(entry);
        }
    });
}

/// The program has changed a token.
pub fn changed(batch: usize, place: i32, change: impl FnOnce(&mut Entry)) {
    with(batch, |entries| {
        if let Some(entry) = usize::try_from(place).ok().and_then(|place| entries.get_mut(place)) {
            change(entry);
        }
    });
}

/// The tokens of a batch; `None` if it is not known.
pub fn entries(batch: usize) -> Option<Vec<Entry>> {
    BATCHES.lock().as_ref()?.get(&batch).cloned()
}

fn with(batch: usize, f: impl FnOnce(&mut Vec<Entry>)) {
    if let Some(entries) = BATCHES.lock().as_mut().and_then(|batches| batches.get_mut(&batch)) {
        f(entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: i32) -> Entry {
        Entry { id: Some(id), ..Entry::of(0) }
    }

    #[test]
    fn a_batch_has_what_was_added_and_not_what_was_refused() {
        made(1);
        added(1, Some(0), token(7));
        added(1, None, Entry::of(3));
        changed(1, 1, |e| e.position = Some(9));
        added(1, Some(2), token(8));
        let ids = |batch| entries(batch).unwrap().iter().map(|e| e.id).collect::<Vec<_>>();
        assert_eq!(ids(1), [Some(7), None, Some(8)]);
        assert_eq!(entries(1).unwrap()[1].position, Some(9));
        added(1, None, Entry::of(4));
        added(1, Some(3), token(9));
        assert_eq!(ids(1), [Some(7), None, Some(8), Some(9)], "the embedding before it was refused");
        cleared(1);
        assert_eq!(ids(1), []);
        freed(1);
        assert_eq!(entries(1), None);
        added(1, Some(0), token(7));
        assert_eq!(entries(1), None, "a batch that was not seen being made stays unknown");
    }
}
