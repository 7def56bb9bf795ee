//! What the limits of a capture left out of the attention of a run, in words.

use ggscope_format::EvalId;
use ggscope_format::capture::{Capture, Ranges, Set};
use ggscope_format::columns::Row;
use ggscope_trace::Trace;

/// What was to be captured of an evaluation, as far as the trace knows.
pub fn capture_of(trace: &Trace, eval: EvalId) -> Option<Capture> {
    trace.captures().into_iter().rfind(|change| change.from <= eval).map(|change| change.capture)
}

/// All that was captured of a session, as it would stand on command lines.
pub fn said(trace: &Trace) -> String {
    let all: Vec<String> = trace.captures().iter().map(|change| format!("`{}`", change.capture)).collect();
    all.join(", then ")
}

/// The first layer whose attention was captured, as far as that can be told; else 0.
pub fn first_layer(trace: &Trace) -> u32 {
    let n_layer = trace.model().map_or(u32::MAX, |model| model.n_layer);
    let first = |layers: &Ranges| layers.iter().next().map_or(0, |range| *range.start());
    let captures = trace.captures();
    let firsts = captures.iter().filter(|c| c.capture.has(Set::Attention)).map(|c| first(&c.capture.layers));
    firsts.filter_map(|layer| u32::try_from(layer).ok()).filter(|&layer| layer < n_layer).min().unwrap_or(0)
}

/// The limit that left a layer of so many heads out of an evaluation, in words; `None` if the capture let it through, or may
/// have (`every` and a budget choose evaluations that cannot be told afterwards).
pub fn left_out(capture: &Capture, row: &Row, layer: u32, n_head: usize) -> Option<String> {
    let last = row.first_token + u64::from(row.evaluation.n_tokens).saturating_sub(1);
    let limits = [
        ("layers", &capture.layers, u64::from(layer)..=layer.into()),
        ("heads", &capture.heads, 0..=(n_head as u64).saturating_sub(1)),
        ("tokens", &capture.tokens, row.first_token..=last),
    ];
    if !capture.has(Set::Attention) {
        return Some("attention was not captured then".into());
    }
    let (name, ranges, _) = limits.into_iter().find(|(_, ranges, numbers)| !ranges.has_any(numbers.clone()))?;
    Some(format!("it was not captured: --capture-{name} was {ranges}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::record::Evaluation;
    use ggscope_trace::testing::{model, recording};
    use ggscope_trace::{Model, Recording, TraceWriter};

    fn ranges(text: &str) -> Ranges {
        Ranges::parse(text).unwrap()
    }

    #[test]
    fn the_limit_that_left_something_out_is_named() {
        let evaluation = Evaluation { n_tokens: 4, ..Evaluation::default() };
        let row = Row { first_token: 10, evaluation, ..Row::default() };
        let attention = || Capture::named(["attention"]);
        let of = |capture: Capture| left_out(&capture, &row, 6, 9);
        let limits = || Capture { layers: ranges("5-6"), heads: ranges("8-99"), tokens: ranges("13"), ..attention() };
        assert_eq!(of(limits()), None);
        let says = |capture: Capture, says: &str| assert_eq!(of(capture).unwrap(), says);
        let none = Capture { layers: ranges("5,7"), ..limits() };
        says(none, "it was not captured: --capture-layers was 5,7");
        says(Capture { heads: ranges("9"), ..limits() }, "it was not captured: --capture-heads was 9");
        says(Capture { tokens: ranges("0-9"), ..limits() }, "it was not captured: --capture-tokens was 0-9");
        says(Capture::named(["layers"]), "attention was not captured then");
    }

    #[test]
    fn the_first_layer_is_one_that_was_captured_and_that_the_model_has() {
        let of = |layers: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.ggtrace");
            let capture = Capture { layers: ranges(layers), ..Capture::named(["attention"]) };
            let mut writer = TraceWriter::create(&path, false, &Recording { capture, ..recording() }).unwrap();
            writer.model(Model { n_layer: 30, ..model() }).unwrap();
            writer.finish().unwrap();
            let trace = Trace::open(&path).unwrap();
            (first_layer(&trace), said(&trace))
        };
        assert_eq!(of("7,5"), (5, "`attention, layers 5,7`".into()));
        assert_eq!(of("99").0, 0);
    }
}
