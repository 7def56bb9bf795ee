//! The contexts of a recording: what each computed, with which model. A process may have several (a draft model and its
//! target, a test after the other of llama-bench), and no number is ever made of the tokens of two of them.

use ggscope_format::GraphId;
use ggscope_format::columns::Row;
use ggscope_trace::{ModelId, Select, Totals, Trace};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use utoipa::ToSchema;

/// A context: for llama.cpp, a `llama_context`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Context {
    /// Its number within the session, in the order in which contexts first computed something.
    pub context: u32,
    /// Number of its model, as in `model` and `more_models`; null if it is not known.
    pub model: Option<u32>,
    /// Name of its model; null if it is not known.
    pub model_name: Option<String>,
    /// The context whose answers it drafts, if it is known to draft: none of its tokens is an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drafts_for: Option<u32>,
    /// Evaluations.
    pub evaluations: u64,
    /// Tokens.
    pub tokens: u64,
    /// Those of prompts.
    pub prompt_tokens: u64,
    /// Those of answers.
    pub generated_tokens: u64,
    /// Those of which it is not known what they are of.
    pub unknown_tokens: u64,
    /// The first of its tokens, counted from 0 through the session; null without any.
    pub first_token: Option<u64>,
    /// The last of its tokens; null without any.
    pub last_token: Option<u64>,
    /// Sum of the lengths of its evaluations, nanoseconds.
    pub compute_ns: u64,
    /// Tokens a second of these times.
    pub tokens_per_second: TokensPerSecond,
}

/// Tokens a second of compute time; null without tokens, and where they are of several contexts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TokensPerSecond {
    /// Of prompts.
    pub prompt: Option<f64>,
    /// Of answers.
    pub generate: Option<f64>,
}

impl TokensPerSecond {
    /// Of the tokens and times of one context.
    pub(super) fn of(totals: &Totals) -> TokensPerSecond {
        let rate = |tokens: u64, ns: u64| (tokens > 0 && ns > 0).then(|| tokens as f64 * 1e9 / ns as f64);
        TokensPerSecond {
            prompt: rate(totals.prompt_tokens, totals.prompt_ns),
            generate: rate(totals.generated_tokens, totals.generate_ns),
        }
    }
}

impl Context {
    /// Takes its numbers from what was counted.
    fn count(&mut self, sums: &Totals) {
        (self.evaluations, self.tokens, self.compute_ns) = (sums.evaluations, sums.tokens(), sums.compute_ns);
        (self.prompt_tokens, self.generated_tokens) = (sums.prompt_tokens, sums.generated_tokens);
        (self.unknown_tokens, self.tokens_per_second) = (sums.unknown_tokens, TokensPerSecond::of(sums));
    }
}

/// All contexts of a recording as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct Contexts {
    all: BTreeMap<u32, Context>,
    /// Their tokens and times.
    sums: BTreeMap<u32, Totals>,
    /// Number of the first evaluation that was not read.
    next: u64,
    /// How many contexts were known to draft: it corrects phases.
    drafting: usize,
    /// The recording's first model.
    first: Option<ModelId>,
    models: HashMap<GraphId, Option<ModelId>>,
}

impl Contexts {
    /// Of a trace.
    pub fn of(trace: &Trace) -> Contexts {
        let mut contexts = Contexts::default();
        contexts.update(trace);
        contexts
    }

    /// Of a trace, all evaluations of which are shown to `see`, so that they are read only once for both.
    pub fn seeing(trace: &Trace, see: impl FnMut(&Row)) -> Contexts {
        let mut contexts = Contexts::default();
        contexts.take(trace, see);
        contexts
    }

    /// Takes in what has come since the last time. It is to be the same recording.
    pub fn update(&mut self, trace: &Trace) {
        self.take(trace, |_| ());
    }

    fn take(&mut self, trace: &Trace, mut see: impl FnMut(&Row)) {
        let drafting = trace.drafting();
        if self.drafting != drafting.len() {
            *self = Contexts { drafting: drafting.len(), ..Contexts::default() };
        }
        trace.for_each_evaluation_from(self.next, false, |number, row| {
            self.add(trace, &row);
            see(&row);
            self.next = number + 1;
            ControlFlow::Continue(())
        });
        self.first = trace.model().map(|model| model.id);
        for context in self.all.values_mut() {
            let model = trace.models().iter().find(|model| Some(model.id.0) == context.model);
            context.model_name = model.map(|model| model.name.clone());
            if let Some(sums) = self.sums.get(&context.context) {
                context.count(sums);
            }
            context.drafts_for =
                drafting.iter().rev().find(|d| d.context == context.context).map(|drafting| drafting.drafts_for);
        }
    }

    /// An evaluation that was counted lasted until `end`, because a device went on after the host had come back.
    pub(super) fn lasted(&mut self, row: &Row, end: u64) {
        let number = row.evaluation.context;
        if let (Some(context), Some(sums)) = (self.all.get_mut(&number), self.sums.get_mut(&number)) {
            sums.lasted(row, end);
            context.count(sums);
        }
    }

    fn add(&mut self, trace: &Trace, row: &Row) {
        let e = &row.evaluation;
        let model = *self.models.entry(e.graph).or_insert_with(|| trace.graph(e.graph).ok().and_then(|g| g.model));
        let context = self.all.entry(e.context).or_insert_with(|| Context { context: e.context, ..Context::default() });
        context.model = context.model.or(model.map(|model| model.0));
        self.sums.entry(e.context).or_default().add_row(row);
        if let Some(last) = (row.phases.len() as u64).checked_sub(1) {
            let last = row.first_token.saturating_add(last);
            context.first_token = Some(context.first_token.map_or(row.first_token, |t| t.min(row.first_token)));
            context.last_token = Some(context.last_token.map_or(last, |t| t.max(last)));
        }
    }

    /// Each context, by its number.
    pub fn iter(&self) -> impl Iterator<Item = &Context> + Clone {
        self.all.values()
    }

    /// The context of this number.
    pub fn get(&self, number: u32) -> Option<&Context> {
        self.all.get(&number)
    }

    /// The contexts other than this one.
    pub fn others(&self, number: u32) -> Vec<u32> {
        self.all.keys().copied().filter(|&other| other != number).collect()
    }

    /// Those in words: `1, 2`.
    pub fn others_in_words(&self, number: u32) -> String {
        self.others(number).iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The context that a question is about which names neither a context nor tokens: of those that compute the first model,
    /// the one that computed a token last. A draft model's is none of them.
    pub fn usual(&self) -> Option<&Context> {
        self.usual_of(|_| true)
    }

    /// The same among some of the contexts.
    pub fn usual_of(&self, is_one: impl Fn(u32) -> bool) -> Option<&Context> {
        let first = self.first.map(|model| model.0);
        let of_first = |c: &Context| c.model.is_some() && c.model == first;
        let all = self.all.values().filter(|c| is_one(c.context));
        all.max_by_key(|c| (c.last_token.is_some(), of_first(c), c.last_token))
    }

    /// The context that a question is about: the one that is named; else the one of the tokens that are asked for (the usual
    /// one if it has some of them, else that of the last); else the usual one. `None` if nothing was evaluated.
    ///
    /// # Errors
    /// Says which contexts there are if there is no such context, and whose the tokens are if they are of others.
    pub fn choose(
        &self,
        trace: &Trace,
        named: Option<u32>,
        tokens: Option<&Range<u64>>,
    ) -> Result<Option<u32>, String> {
        if let Some(named) = named {
            self.check(named)?;
        }
        if self.all.len() < 2 {
            return Ok(self.all.keys().next().copied());
        }
        let usual = self.usual().map(|c| c.context);
        let Some(tokens) = tokens else { return Ok(named.or(usual)) };
        let of = of_tokens(trace, tokens);
        let Some(&last) = of.last() else { return Ok(named.or(usual)) };
        match named {
            Some(named) if of.contains(&named) => Ok(Some(named)),
            Some(named) => Err(self.elsewhere(named, tokens, &of)),
            None => Ok(Some(usual.filter(|usual| of.contains(usual)).unwrap_or(last))),
        }
    }

    /// The contexts of this recording and of a reference that are compared with each other: those that are named; of the
    /// reference, if none is, the one of the same number as the one that is named here; else the usual ones. `None` where
    /// nothing was evaluated.
    ///
    /// # Errors
    /// Says which of both has no such context, by its place in `named`, and which it has.
    pub fn pair(
        &self,
        reference: &Contexts,
        named: (Option<u32>, Option<u32>),
    ) -> Result<(Option<u32>, Option<u32>), (usize, String)> {
        named.0.map_or(Ok(()), |here| self.check(here)).map_err(|why| (0, why))?;
        named.1.map_or(Ok(()), |there| reference.check(there)).map_err(|why| (1, why))?;
        let usual = |of: &Contexts| of.usual().map(|c| c.context);
        let same_number = named.0.filter(|&here| reference.get(here).is_some());
        Ok((named.0.or(usual(self)), named.1.or(same_number).or(usual(reference))))
    }

    /// Whether there is such a context.
    ///
    /// # Errors
    /// Says which there are.
    pub fn check(&self, number: u32) -> Result<(), String> {
        if self.all.contains_key(&number) {
            return Ok(());
        }
        let known: Vec<String> = self.all.keys().map(u32::to_string).collect();
        Err(match &known[..] {
            [] => format!("there is no context {number}: nothing was evaluated"),
            [one] => format!("there is no context {number}: the recording has only context {one}"),
            _ => format!("there is no context {number}: the recording has {}", known.join(", ")),
        })
    }

    /// All of them in words: `0 (target), 1 (draft)`. Empty if nothing was evaluated.
    pub fn in_words(&self) -> String {
        let word = |c: &Context| match &c.model_name {
            Some(name) => format!("{} ({name})", c.context),
            None => c.context.to_string(),
        };
        self.all.values().map(word).collect::<Vec<_>>().join(", ")
    }

    fn elsewhere(&self, named: u32, tokens: &Range<u64>, of: &[u32]) -> String {
        let last = tokens.end.saturating_sub(1);
        let what = if tokens.start == last { format!("token {last} is") } else { "these tokens are".to_owned() };
        let whose: Vec<String> = of.iter().map(u32::to_string).collect();
        let s = if whose.len() > 1 { "s" } else { "" };
        let own = self.get(named).and_then(|c| Some((c.first_token?, c.last_token?)));
        let own = own.map_or("which computed no token".to_owned(), |(first, last)| {
            format!("whose tokens are among {first} to {last}")
        });
        format!("{what} of context{s} {}, not of context {named}, {own}", whose.join(", "))
    }
}

/// The contexts that computed some tokens, each once, in the order of its last token among them.
pub fn of_tokens(trace: &Trace, tokens: &Range<u64>) -> Vec<u32> {
    let mut found: Vec<u32> = vec![];
    let select = Select { tokens: Some(tokens.clone()), ..Select::default() };
    trace.for_each_evaluation(&select, false, |row| {
        found.retain(|&context| context != row.evaluation.context);
        found.push(row.evaluation.context);
        ControlFlow::Continue(())
    });
    found
}

/// The context that computed a token, if there is such a token.
pub fn of_token(trace: &Trace, token: u64) -> Option<u32> {
    of_tokens(trace, &(token..token.saturating_add(1))).last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn contexts_are_counted_apart_and_the_usual_one_is_of_the_first_model() {
        // The target takes three tokens and one, its draft two between them and two after.
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (1, 1, 2)]);
        let found = Contexts::of(&recorded.trace);
        let of = |c: &Context| (c.context, c.model, c.tokens, c.first_token, c.last_token, c.evaluations);
        let all: Vec<_> = found.iter().map(of).collect();
        assert_eq!(all, [(0, Some(0), 4, Some(0), Some(5), 2), (1, Some(1), 4, Some(3), Some(7), 2)]);
        assert_eq!(found.usual().map(|c| c.context), Some(0), "the draft's came last");
        assert_eq!(found.others(0), [1]);
        let names: Vec<_> = found.iter().map(|c| c.model_name.clone().unwrap()).collect();
        assert_eq!(names, ["SmolLM2 135M Instruct", "model 1"]);
        assert_eq!((of_token(&recorded.trace, 4), of_token(&recorded.trace, 5)), (Some(1), Some(0)));
        assert_eq!(of_token(&recorded.trace, 8), None);
    }

    #[test]
    fn of_contexts_of_one_model_the_usual_one_is_the_last() {
        let recorded = contexts(&[(0, 0, 3), (1, 0, 2)]);
        assert_eq!(Contexts::of(&recorded.trace).usual().map(|c| c.context), Some(1));
    }

    #[test]
    fn a_question_is_about_the_context_that_it_names_or_whose_tokens_it_names() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (1, 1, 2)]);
        let found = Contexts::of(&recorded.trace);
        let choose = |named, tokens: Option<Range<u64>>| found.choose(&recorded.trace, named, tokens.as_ref());
        assert_eq!(choose(None, None), Ok(Some(0)));
        assert_eq!(choose(Some(1), None), Ok(Some(1)));
        assert_eq!(choose(None, Some(4..5)), Ok(Some(1)));
        assert_eq!(choose(None, Some(4..7)), Ok(Some(0)), "it has one of them");
        assert_eq!(choose(Some(1), Some(0..4)), Ok(Some(1)));
        let error = choose(Some(0), Some(4..5)).unwrap_err();
        assert_eq!(error, "token 4 is of context 1, not of context 0, whose tokens are among 0 to 5");
        let error = choose(Some(0), Some(3..5)).unwrap_err();
        assert_eq!(error, "these tokens are of context 1, not of context 0, whose tokens are among 0 to 5");
        assert_eq!(choose(Some(7), None).unwrap_err(), "there is no context 7: the recording has 0, 1");
        assert_eq!(choose(Some(1), Some(99..100)), Ok(Some(1)), "that there is no such token is said elsewhere");
    }

    #[test]
    fn of_two_recordings_the_contexts_that_are_named_are_compared_or_those_of_one_number_or_the_usual_ones() {
        let both = contexts(&[(0, 0, 3), (1, 1, 2)]);
        let (here, there) = (Contexts::of(&both.trace), Contexts::of(&contexts(&[(0, 0, 3)]).trace));
        let pair = |named| here.pair(&there, named);
        assert_eq!(pair((None, None)), Ok((Some(0), Some(0))));
        assert_eq!(pair((Some(1), None)), Ok((Some(1), Some(0))), "the other has no such context");
        assert_eq!(here.pair(&here, (Some(1), None)), Ok((Some(1), Some(1))));
        assert_eq!(here.pair(&here, (None, Some(1))), Ok((Some(0), Some(1))));
        assert_eq!(pair((Some(7), None)).unwrap_err().0, 0);
        let (which, why) = pair((Some(1), Some(1))).unwrap_err();
        assert_eq!((which, why.as_str()), (1, "there is no context 1: the recording has only context 0"));
        assert_eq!(Contexts::default().pair(&there, (None, None)), Ok((None, Some(0))));
    }

    #[test]
    fn what_comes_later_is_taken_in() {
        let recorded = contexts(&[(0, 0, 3), (1, 0, 2)]);
        let mut found = Contexts::of(&recorded.trace);
        found.update(&recorded.trace);
        assert_eq!(found.iter().map(|c| c.tokens).collect::<Vec<_>>(), [3, 2], "nothing is counted twice");
        assert_eq!(Contexts::default().usual(), None);
        let one = contexts(&[(0, 0, 3)]);
        let error = Contexts::of(&one.trace).choose(&one.trace, Some(1), None).unwrap_err();
        assert_eq!(error, "there is no context 1: the recording has only context 0");
    }
}
