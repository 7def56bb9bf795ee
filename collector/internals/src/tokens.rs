//! What is known of the tokens that rows of attention are about: ids, positions, phases, and which of them are
//! punctuation; and what a key is to a token that sees it.

use crate::attention::KeyRef;
use ggscope_compute::attention::{self, DUPLICATE, INDUCTION, PUNCTUATION};
use ggscope_format::TokenPhase;
use ggscope_format::columns::Row;
use ggscope_trace::{ModelId, Select, TokenTexts, Trace};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Tokens of a session that something is known of at most; rows of later ones have keys without ids.
const MAX_TOKENS: usize = 1 << 22;

/// A token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// Its id in the vocabulary, unless ids were not recorded.
    pub id: Option<i32>,
    /// Whose vocabulary it is.
    pub model: Option<ModelId>,
    /// Its position in its sequence.
    pub pos: Option<i32>,
    /// What it is part of.
    pub phase: TokenPhase,
    /// Whether its text is punctuation.
    pub punctuation: bool,
}

/// The tokens of a session up to some number.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    all: Vec<Token>,
    /// Texts of their ids, as far as they are known.
    texts: TokenTexts,
}

/// A text without letters and digits that is more than white space.
pub fn is_punctuation(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    !text.is_empty()
        && text.chars().all(|c| !c.is_alphanumeric() && !c.is_control() && c != char::REPLACEMENT_CHARACTER)
}

impl Tokens {
    /// Reads the tokens before number `end`.
    pub fn read(trace: &Trace, end: u64) -> Tokens {
        let mut tokens = Tokens::default();
        let select = Select { tokens: Some(0..end), ..Select::default() };
        trace.for_each_evaluation(&select, false, |row| {
            tokens.add(&row, trace.vocabulary_of(row.evaluation.graph));
            ControlFlow::Continue(())
        });
        tokens.texts = trace.texts();
        let mut punctuation: HashMap<(Option<ModelId>, i32), bool> = HashMap::new();
        for token in &mut tokens.all {
            let Some(id) = token.id else { continue };
            let is_it = || tokens.texts.of(token.model).get(&id).is_some_and(|text| is_punctuation(text));
            token.punctuation = *punctuation.entry((token.model, id)).or_insert_with(is_it);
        }
        tokens
    }

    /// Tokens that are given one by one, for rows made by hand.
    #[cfg(test)]
    pub fn of(all: Vec<Token>) -> Tokens {
        Tokens { all, texts: TokenTexts::default() }
    }

    fn add(&mut self, row: &Row, model: Option<ModelId>) {
        let n = row.phases.len();
        let Some(first) = usize::try_from(row.first_token).ok().filter(|f| f.saturating_add(n) <= MAX_TOKENS) else {
            return;
        };
        if self.all.len() < first + n {
            self.all.resize(first + n, Token::default());
        }
        let e = &row.evaluation;
        for (i, token) in self.all[first..first + n].iter_mut().enumerate() {
            *token = Token {
                id: e.tokens.get(i).copied(),
                model,
                pos: e.positions.get(i).copied(),
                phase: row.phases[i],
                punctuation: false,
            };
        }
    }

    /// A token by its number; one of which nothing is known is [`Token::default`].
    pub fn get(&self, token: u64) -> Token {
        usize::try_from(token).ok().and_then(|i| self.all.get(i)).copied().unwrap_or_default()
    }

    /// The text of a token, if it is known.
    pub fn text(&self, token: u64) -> Option<String> {
        let token = self.get(token);
        let text = self.texts.of(token.model).get(&token.id?)?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// Whether ids were recorded.
    pub fn have_ids(&self) -> bool {
        self.all.iter().any(|t| t.id.is_some())
    }

    /// Whether any text is known.
    pub fn have_texts(&self) -> bool {
        self.all.iter().any(|t| t.id.is_some_and(|id| self.texts.of(t.model).contains_key(&id)))
            || self.all.iter().any(|t| t.punctuation)
    }
}

/// What the keys of a row are to its token: places in the row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// The token at position 0.
    pub first: Option<usize>,
    /// The token just before.
    pub previous: Option<usize>,
    /// The token itself.
    pub own: Option<usize>,
    /// Earlier tokens that follow an earlier occurrence of the same token.
    pub induction: Vec<usize>,
    /// Earlier occurrences of the same token.
    pub duplicate: Vec<usize>,
    /// Punctuation.
    pub punctuation: Vec<usize>,
    /// How many tokens away each key is.
    pub distance: Vec<f32>,
}

impl Marks {
    /// What `keys` are to `token`. All of them are of its sequence, as the mask hides others: a key's predecessor is
    /// the key one position before it.
    pub fn new(tokens: &Tokens, token: u64, keys: &[KeyRef]) -> Marks {
        let own = tokens.get(token);
        let here = place(tokens, token);
        let places = places(tokens, token, keys);
        let mut marks = Marks { distance: Vec::with_capacity(keys.len()), ..Marks::default() };
        let mut order: Vec<(i64, usize, Option<i32>)> = Vec::with_capacity(keys.len());
        for (i, (key, at)) in keys.iter().zip(places).enumerate() {
            let (Some(number), Some(at)) = (key.token, at) else {
                marks.distance.push(0.0);
                continue;
            };
            let t = tokens.get(number);
            marks.distance.push((here - at).unsigned_abs() as f32);
            if number == token {
                marks.own = Some(i);
            } else if at == here - 1 {
                marks.previous = Some(i);
            }
            if at == 0 {
                marks.first = Some(i);
            }
            if t.punctuation {
                marks.punctuation.push(i);
            }
            if t.id.is_some() && t.id == own.id && at < here {
                marks.duplicate.push(i);
            }
            if at < here {
                order.push((at, i, t.id));
            }
        }
        order.sort_unstable();
        for pair in order.windows(2) {
            let ((before, _, id), (at, i, _)) = (pair[0], pair[1]);
            if before + 1 == at && id.is_some() && id == own.id {
                marks.induction.push(i);
            }
        }
        marks
    }

    /// The same key by key, as a GPU takes it.
    pub fn of_keys(&self) -> attention::Marks {
        let mut kinds = vec![0; self.distance.len()];
        for (places, kind) in
            [(&self.induction, INDUCTION), (&self.duplicate, DUPLICATE), (&self.punctuation, PUNCTUATION)]
        {
            places.iter().for_each(|&place| kinds[place] |= kind);
        }
        let places = [self.first, self.previous, self.own];
        attention::Marks { distance: self.distance.clone(), kinds, places }
    }
}

/// The position that a token came with; where that is not known, its number.
fn place(tokens: &Tokens, number: u64) -> i64 {
    tokens.get(number).pos.map_or(number as i64, i64::from)
}

/// Where keys are now, as `token` sees them; `None` of those whose token is not known. A program may have moved tokens up
/// since they came, as a context shift does. That shows where positions do not rise in the order in which tokens came; then
/// those of keys follow from the token's own, which is of now, as what a token sees lies side by side.
fn places(tokens: &Tokens, token: u64, keys: &[KeyRef]) -> Vec<Option<i64>> {
    let mut places: Vec<Option<i64>> = keys.iter().map(|key| Some(place(tokens, key.token?))).collect();
    let mut came: Vec<(u64, usize)> = keys.iter().enumerate().filter_map(|(i, key)| Some((key.token?, i))).collect();
    came.sort_unstable();
    let rises = came.windows(2).all(|two| places[two[0].1] < places[two[1].1]);
    if let Some(own) = came.iter().position(|&(number, _)| number == token).filter(|_| !rises) {
        let here = place(tokens, token);
        for (rank, &(_, i)) in came.iter().enumerate() {
            places[i] = Some(here + rank as i64 - own as i64);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ids: &[i32], positions: &[i32]) -> Tokens {
        let token = |(&id, &pos): (&i32, &i32)| Token { id: Some(id), pos: Some(pos), ..Token::default() };
        Tokens::of(ids.iter().zip(positions).map(token).collect())
    }

    fn keys(tokens: &[u64]) -> Vec<KeyRef> {
        tokens.iter().map(|&t| KeyRef { cell: t, token: Some(t) }).collect()
    }

    #[test]
    fn what_follows_an_earlier_occurrence_is_found_in_any_order_of_the_cache() {
        // a b c a: the last sees b behind the first a.
        let all = tokens(&[7, 8, 9, 7], &[0, 1, 2, 3]);
        let marks = Marks::new(&all, 3, &keys(&[0, 1, 2, 3]));
        assert_eq!((marks.induction, marks.duplicate), (vec![1], vec![0]));
        assert_eq!((marks.first, marks.previous, marks.own), (Some(0), Some(2), Some(3)));
        assert_eq!(marks.distance, [3.0, 2.0, 1.0, 0.0]);
        let turned = Marks::new(&all, 3, &keys(&[3, 2, 1, 0]));
        assert_eq!((turned.induction, turned.duplicate, turned.first), (vec![2], vec![3], Some(3)));
    }

    #[test]
    fn a_token_is_not_what_follows_its_own_earlier_occurrence() {
        let all = tokens(&[5, 5], &[0, 1]);
        let marks = Marks::new(&all, 1, &keys(&[0, 1]));
        assert!(marks.induction.is_empty(), "it stands there itself");
        assert_eq!(marks.duplicate, [0]);
    }

    #[test]
    fn sequences_of_one_batch_are_kept_apart_by_what_the_mask_lets_through() {
        // Tokens 0, 2, 4 are one sequence, 1, 3, 5 another with the same positions.
        let all = tokens(&[7, 1, 8, 2, 7, 3], &[0, 0, 1, 1, 2, 2]);
        let marks = Marks::new(&all, 4, &keys(&[0, 2, 4]));
        assert_eq!((marks.first, marks.previous, marks.own), (Some(0), Some(1), Some(2)));
        assert_eq!((marks.induction, marks.duplicate), (vec![1], vec![0]));
        assert_eq!(marks.distance, [2.0, 1.0, 0.0]);
    }

    #[test]
    fn a_key_whose_predecessor_is_out_of_the_window_follows_nothing() {
        let all = tokens(&[7, 8, 9, 7], &[0, 1, 2, 3]);
        let marks = Marks::new(&all, 3, &keys(&[1, 2, 3]));
        assert!(marks.induction.is_empty() && marks.first.is_none());
    }

    #[test]
    fn after_a_context_shift_tokens_are_where_they_were_moved_to() {
        // a b c d a b: then b and c were taken out, the later ones moved up by two, and the next token came to place 4.
        let all = tokens(&[7, 8, 9, 6, 7, 8, 7], &[0, 1, 2, 3, 4, 5, 4]);
        let marks = Marks::new(&all, 6, &keys(&[0, 3, 4, 5, 6]));
        assert_eq!((marks.first, marks.previous, marks.own), (Some(0), Some(3), Some(4)));
        assert_eq!(marks.distance, [4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!((marks.duplicate, marks.induction), (vec![0, 2], vec![1, 3]), "what follows an a now");
        // The first one is gone, and the next is at position 0 now.
        let marks = Marks::new(&all, 6, &keys(&[2, 3, 4, 5, 6]));
        assert_eq!((marks.first, marks.previous), (Some(0), Some(3)));
        // Under a window nobody is at position 0.
        let marks = Marks::new(&all, 6, &keys(&[4, 5, 6]));
        assert_eq!((marks.first, marks.previous), (None, Some(1)));
    }

    #[test]
    fn punctuation_is_told_by_its_text() {
        for yes in [".", " ,", "...", "\u{201c}", " (", "—"] {
            assert!(is_punctuation(yes.as_bytes()), "{yes}");
        }
        for no in ["", " ", "\n", "a.", "7", "<|im_end|>", "é"] {
            assert!(!is_punctuation(no.as_bytes()), "{no}");
        }
        assert!(!is_punctuation(&[0xe2, 0x80]), "a piece of a character");
    }
}
