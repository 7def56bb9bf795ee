//! The logit lens as a table: the most likely tokens behind each layer of one token, or a line for each of several.

use super::table::{fitted, layer_name, token_name};
use crate::cli::contexts::whose;
use crate::cli::inspect::amounts::bar;
use crate::cli::text::printable;
use ggscope_internals::hidden_states::{Candidate, Incomplete, Lens, LensRow};
use ggscope_query::contexts::Contexts;
use std::io::Write;

/// Width of a candidate and of the bar of the answer's probability.
const CANDIDATE: usize = 18;
const BAR: usize = 8;

fn name(candidate: &Candidate) -> String {
    candidate.text.as_deref().map_or(format!("#{}", candidate.id), |t| format!("\u{201c}{}\u{201d}", printable(t)))
}

/// One table, or a line for each token.
pub(super) fn text(out: &mut impl Write, lenses: &[Lens], contexts: &Contexts) -> std::io::Result<()> {
    match lenses {
        [one] => table(out, one, &whose(contexts, one.context))?,
        _ => lines(out, lenses, contexts)?,
    }
    lenses.first().map_or(Ok(()), |lens| writeln!(out, "computed on {}", lens.computed))
}

/// What the answer is, or would be, or why there is none.
fn answer(lens: &Lens) -> String {
    let end = layer_name(lens.rows.last().and_then(|r| r.layer));
    let certain = |c: &Candidate| format!("{} with {:.1} %", name(c), 100.0 * c.p);
    let said = match (&lens.answer, lens.complete) {
        (Some(answer), true) => format!("the answer is {}", certain(answer)),
        (Some(answer), false) => format!("behind layer {end} the answer would be {}", certain(answer)),
        (None, _) => format!("there is no answer: every logit behind layer {end} is NaN or infinite"),
    };
    let why = match lens.incomplete {
        None => "",
        Some(Incomplete::NotComputed) => "; llama.cpp did not compute the last layer for this token",
        Some(Incomplete::NotCaptured) => "; the last layer was not captured",
        Some(Incomplete::Lost) => "; what was captured of the last layer is lost",
    };
    format!("{said}{why}")
}

/// The layer of a row.
fn layer_at(lens: &Lens, row: Option<usize>) -> String {
    row.map_or("-".into(), |i| layer_name(lens.rows.get(i).and_then(|r| r.layer)))
}

fn entropy(row: Option<&LensRow>) -> String {
    row.and_then(|r| r.entropy).map_or("-".into(), |entropy| format!("{entropy:.2}"))
}

fn table(out: &mut impl Write, lens: &Lens, whose: &str) -> std::io::Result<()> {
    let end = lens.rows.last();
    writeln!(out, "token {}{whose}: {}", token_name(lens.token, lens.text.as_deref()), answer(lens))?;
    if let Some(next) = lens.next.as_ref().filter(|next| lens.answer.as_ref().is_none_or(|a| a.id != next.id)) {
        let rank = end.and_then(|r| r.next).map_or(0, |n| n.rank + 1);
        writeln!(out, "what came next is {} with {:.1} %, number {rank}", name(next), 100.0 * next.p)?;
    }
    if lens.answer.is_some() {
        let (first, settled) = (layer_at(lens, lens.first_on_top), layer_at(lens, lens.settled));
        writeln!(out, "it is first on top behind layer {first}, and stays there from layer {settled} on")?;
    }
    writeln!(out, "\n  layer  entropy    answer                  rank  most likely")?;
    for (i, row) in lens.rows.iter().enumerate() {
        let candidates: Vec<String> =
            row.top.iter().map(|c| fitted(&format!("{:>3.0} % {}", 100.0 * c.p, name(c)), CANDIDATE)).collect();
        let line = format!(
            "{} {:>5}  {:>7}  {:>8} {}  {:>6}  {}",
            if lens.first_on_top == Some(i) { '▸' } else { ' ' },
            layer_name(row.layer),
            entropy(Some(row)),
            row.answer.map_or("-".into(), |a| format!("{:.2} %", 100.0 * a.p)),
            fitted(&row.answer.map_or(String::new(), |a| bar(a.p.into(), BAR)), BAR),
            row.answer.map_or("-".into(), |a| (a.rank + 1).to_string()),
            candidates.join(" ")
        );
        writeln!(out, "{}", line.trim_end())?;
        if row.nan > 0 {
            writeln!(out, "         {} logits are NaN or infinite", row.nan)?;
        }
    }
    match &lens.check {
        Some(check) => writeln!(
            out,
            "\nllama.cpp's own logits: {} on top, ours are off by {:.3} at most, {:.2} % in all",
            if check.same_top { "the same token" } else { "another token" },
            check.largest_difference,
            100.0 * check.relative_error
        ),
        None if lens.complete && lens.answer.is_some() => {
            writeln!(out, "\ncapture result_output, too, to see how close llama.cpp's own logits are")
        }
        None => Ok(()),
    }
}

fn lines(out: &mut impl Write, lenses: &[Lens], contexts: &Contexts) -> std::io::Result<()> {
    writeln!(out, "  token                   answer              p  on top from  stays from  entropy")?;
    for lens in lenses {
        let answer = lens.answer.as_ref();
        writeln!(
            out,
            "  {}  {} {:>7}  {:>11}  {:>10}  {:>7}{}{}",
            fitted(&token_name(lens.token, lens.text.as_deref()), 22),
            fitted(&answer.map_or("-".into(), name), 14),
            answer.map_or("-".into(), |a| format!("{:.1} %", 100.0 * a.p)),
            layer_at(lens, lens.first_on_top),
            layer_at(lens, lens.settled),
            entropy(lens.rows.last()),
            if lens.complete { "" } else { "  without the last layer" },
            Some(whose(contexts, lens.context)).filter(|w| !w.is_empty()).map_or(String::new(), |w| format!(" {w}"))
        )?;
    }
    Ok(())
}

/// A line for each token, layer and candidate.
pub(super) fn csv(out: &mut impl Write, lenses: &[Lens]) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "token",
        "layer",
        "place",
        "id",
        "text",
        "p",
        "logit",
        "entropy",
        "answer_p",
        "answer_rank",
        "context",
    ])?;
    for lens in lenses {
        for row in &lens.rows {
            for (place, c) in row.top.iter().enumerate() {
                csv.serialize((
                    (lens.token, row.layer, place, c.id, &c.text, c.p, c.logit),
                    (row.entropy, row.answer.map(|a| a.p), row.answer.map(|a| a.rank), lens.context),
                ))?;
            }
        }
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(answer: Option<Candidate>, incomplete: Option<Incomplete>) -> Lens {
        let row = |layer| LensRow { layer: Some(layer), top: vec![], entropy: None, answer: None, next: None, nan: 9 };
        Lens {
            context: 0,
            token: 66,
            text: None,
            complete: incomplete.is_none(),
            incomplete,
            next: None,
            first_on_top: answer.as_ref().map(|_| 1),
            settled: answer.as_ref().map(|_| 1),
            answer,
            rows: vec![row(5), row(7)],
            check: None,
            computed: "cpu".into(),
        }
    }

    fn said(lens: Lens) -> String {
        let mut out = vec![];
        text(&mut out, &[lens], &Contexts::default()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_is_told_from_what_would_be_one_and_from_none() {
        let of = || Some(Candidate { id: 3, text: Some(" I".into()), logit: 1.0, p: 0.534 });
        let first = |lens| said(lens).lines().next().unwrap().to_owned();
        assert_eq!(first(lens(of(), None)), "token 66: the answer is “ I” with 53.4 %");
        let would = "token 66: behind layer 7 the answer would be “ I” with 53.4 %; ";
        let not_captured = first(lens(of(), Some(Incomplete::NotCaptured)));
        assert_eq!(not_captured, format!("{would}the last layer was not captured"));
        let not_computed = first(lens(of(), Some(Incomplete::NotComputed)));
        assert_eq!(not_computed, format!("{would}llama.cpp did not compute the last layer for this token"));
        assert_eq!(
            said(lens(None, None)),
            "token 66: there is no answer: every logit behind layer 7 is NaN or infinite\n\n  \
             layer  entropy    answer                  rank  most likely\n      \
             5        -         -                -\n         9 logits are NaN or infinite\n      \
             7        -         -                -\n         9 logits are NaN or infinite\n\
             computed on cpu\n"
        );
    }
}
