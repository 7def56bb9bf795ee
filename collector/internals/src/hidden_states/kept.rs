//! What the logit lens found, kept by what it was found of: the hidden states of a token, the model, and what was asked. A page
//! that goes along with a run asks about almost the same tokens again and again.

use ggscope_compute::Reduced;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that may be kept, about: some ten thousand tokens with a few candidates in each layer.
const MOST: usize = 64 << 20;

/// What was found of a token: of its last state, and of each.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub end: Reduced,
    pub rows: Vec<Reduced>,
    /// Whether llama.cpp's logits have the same token on top, if both have one.
    pub same_top: Option<bool>,
    pub computed: String,
}

impl Answer {
    /// Bytes in memory, about.
    pub fn bytes(&self) -> usize {
        let of = |r: &Reduced| {
            size_of::<Reduced>() + r.top.len() * size_of::<(u32, f32)>() + r.asked.len() * size_of::<(f32, u64)>()
        };
        size_of::<Answer>() + self.computed.len() + of(&self.end) + self.rows.iter().map(of).sum::<usize>()
    }
}

/// What was found of each token, by a hash of all that it follows from.
#[derive(Default)]
pub struct KeptLenses(Mutex<(usize, HashMap<u128, Arc<Answer>>)>);

impl KeptLenses {
    pub(super) fn get(&self, key: u128) -> Option<Arc<Answer>> {
        self.0.lock().1.get(&key).cloned()
    }

    /// Keeps an answer. Where there is no room all others go: what is asked again comes again soon.
    pub(super) fn put(&self, key: u128, answer: Arc<Answer>) {
        let mut kept = self.0.lock();
        let bytes = answer.bytes();
        if kept.0 + bytes > MOST {
            *kept = Default::default();
        }
        if kept.1.insert(key, answer).is_none() {
            kept.0 += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_by_what_it_follows_from_until_there_is_no_more_room() {
        let kept = KeptLenses::default();
        let answer = Arc::new(Answer::default());
        kept.put(1, answer.clone());
        assert!(kept.get(1).is_some_and(|found| Arc::ptr_eq(&found, &answer)) && kept.get(2).is_none());
        let room = MOST / answer.bytes();
        for key in 0..room as u128 + 2 {
            kept.put(key, answer.clone());
        }
        assert!(kept.get(room as u128 + 1).is_some() && kept.get(1).is_none(), "the old ones went");
        let held = kept.0.lock();
        assert!(held.0 <= MOST && held.0 == held.1.len() * answer.bytes());
    }
}
