//! Messages about contexts, for recordings that have several.

use super::say;
use super::text::printable;
use ggscope_query::contexts::{Context, Contexts};

/// A context with its model and its tokens, on one line.
pub(super) fn named(context: &Context) -> String {
    let model = context.model_name.as_deref().filter(|name| !name.is_empty());
    let model = model.map_or(String::new(), |name| format!(", {}", printable(name)));
    let n = say::thousands(context.tokens);
    let tokens = match (context.first_token, context.last_token) {
        (Some(first), Some(last)) if first == last => format!("token {first}"),
        (Some(first), Some(last)) if last - first + 1 == context.tokens => format!("tokens {first} to {last}"),
        (Some(first), Some(last)) => format!("{n} tokens among {first} to {last}"),
        _ => "no tokens".to_owned(),
    };
    format!("context {}{model}: {tokens}", context.context)
}

/// Whose a token is, if the recording has several contexts: ` of context 1`, or nothing.
pub(super) fn whose(all: &Contexts, context: u32) -> String {
    if all.others(context).is_empty() { String::new() } else { format!(" of context {context}") }
}

/// Names the context of an answer if the recording has others and the command line names none.
pub(super) fn say_chosen(all: &Contexts, asked: Option<u32>, chosen: u32) {
    let others = all.others_in_words(chosen);
    if asked.is_none() && !others.is_empty() {
        let name = all.get(chosen).map_or(format!("context {chosen}"), named);
        say::line(format_args!("this is of {name}; --context chooses another: {others}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing_contexts::contexts;

    #[test]
    fn a_context_is_named_with_its_model_and_tokens() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (2, 0, 1)]);
        let all = Contexts::of(&recorded.trace);
        let names: Vec<String> = all.iter().map(named).collect();
        let expected = [
            "context 0, SmolLM2 135M Instruct: 4 tokens among 0 to 5",
            "context 1, model 1: tokens 3 to 4",
            "context 2, SmolLM2 135M Instruct: token 6",
        ];
        assert_eq!(names, expected);
        assert_eq!(whose(&all, 1), " of context 1");
        assert_eq!(whose(&Contexts::of(&contexts(&[(0, 0, 1)]).trace), 0), "", "there is no other");
        assert_eq!(named(&Context { context: 7, ..Context::default() }), "context 7: no tokens");
    }
}
