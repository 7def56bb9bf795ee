//! The logit lens as a table: the most likely tokens behind each layer of one token, or a line for each of several.

use super::table::{fitted, layer_name, token_name};
use crate::cli::inspect::amounts::bar;
use crate::cli::text::printable;
use crate::inside::layers::{Candidate, Lens};
use std::io::Write;

/// Width of a candidate and of the bar of the answer's probability.
const CANDIDATE: usize = 18;
const BAR: usize = 8;

fn name(candidate: &Candidate) -> String {
    candidate.text.as_deref().map_or(format!("#{}", candidate.id), |t| format!("\u{201c}{}\u{201d}", printable(t)))
}

/// One table, or a line for each token.
pub(super) fn text(out: &mut impl Write, lenses: &[Lens]) -> std::io::Result<()> {
    match lenses {
        [one] => table(out, one)?,
        _ => lines(out, lenses)?,
    }
    lenses.first().map_or(Ok(()), |lens| writeln!(out, "computed on {}", lens.computed))
}

fn table(out: &mut impl Write, lens: &Lens) -> std::io::Result<()> {
    let end = lens.rows.last();
    let at_end = if lens.complete { "" } else { ", behind the last layer that was computed for it" };
    writeln!(
        out,
        "token {}: the answer is {} with {:.1} %{at_end}",
        token_name(lens.token, lens.text.as_deref()),
        name(&lens.answer),
        100.0 * lens.answer.p
    )?;
    if let Some(next) = lens.next.as_ref().filter(|next| next.id != lens.answer.id) {
        let rank = end.and_then(|r| r.next).map_or(0, |n| n.rank + 1);
        writeln!(out, "what came next is {} with {:.1} %, number {rank}", name(next), 100.0 * next.p)?;
    }
    writeln!(
        out,
        "it is first on top behind layer {}, and stays there from layer {} on",
        layer_name(lens.rows.get(lens.first_on_top).and_then(|r| r.layer)),
        layer_name(lens.rows.get(lens.settled).and_then(|r| r.layer))
    )?;
    writeln!(out, "\n  layer  entropy    answer                  rank  most likely")?;
    for (i, row) in lens.rows.iter().enumerate() {
        let candidates: Vec<String> =
            row.top.iter().map(|c| fitted(&format!("{:>3.0} % {}", 100.0 * c.p, name(c)), CANDIDATE)).collect();
        let line = format!(
            "{} {:>5}  {:>7.2}  {:>8} {}  {:>6}  {}",
            if i == lens.first_on_top { '▸' } else { ' ' },
            layer_name(row.layer),
            row.entropy,
            format!("{:.2} %", 100.0 * row.answer.p),
            fitted(&bar(row.answer.p.into(), BAR), BAR),
            row.answer.rank + 1,
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
        None if lens.complete => {
            writeln!(out, "\ncapture result_output, too, to see how close llama.cpp's own logits are")
        }
        None => Ok(()),
    }
}

fn lines(out: &mut impl Write, lenses: &[Lens]) -> std::io::Result<()> {
    writeln!(out, "  token                   answer              p  on top from  stays from  entropy")?;
    for lens in lenses {
        let at = |i: usize| layer_name(lens.rows.get(i).and_then(|r| r.layer));
        writeln!(
            out,
            "  {}  {} {:>5.1} %  {:>11}  {:>10}  {:>7.2}{}",
            fitted(&token_name(lens.token, lens.text.as_deref()), 22),
            fitted(&name(&lens.answer), 14),
            100.0 * lens.answer.p,
            at(lens.first_on_top),
            at(lens.settled),
            lens.rows.last().map_or(f32::NAN, |r| r.entropy),
            if lens.complete { "" } else { "  without the last layer" }
        )?;
    }
    Ok(())
}

/// A line for each token, layer and candidate.
pub(super) fn csv(out: &mut impl Write, lenses: &[Lens]) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["token", "layer", "place", "id", "text", "p", "logit", "entropy", "answer_p", "answer_rank"])?;
    for lens in lenses {
        for row in &lens.rows {
            for (place, c) in row.top.iter().enumerate() {
                csv.serialize((
                    (lens.token, row.layer, place, c.id, &c.text, c.p, c.logit),
                    (row.entropy, row.answer.p, row.answer.rank),
                ))?;
            }
        }
    }
    Ok(csv.flush()?)
}
