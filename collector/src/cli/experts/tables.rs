//! The choices and loads as lines: for people one line a token and layer, and as CSV for programs.

use super::super::text::printable;
use ggscope_internals::experts::{ExpertChoices, ExpertReport, TokenChoice, for_each_choice};
use ggscope_query::dump::Filter;
use ggscope_trace::Trace;
use std::io::Write;
use std::ops::ControlFlow;

/// A line for each token and layer.
pub(super) fn lines(out: &mut impl Write, found: &ExpertChoices) -> std::io::Result<()> {
    writeln!(out, "   token  phase     text          layer  experts, the router's first choice first")?;
    let mut before = None;
    for c in &found.choices {
        let is_new = before.replace((c.token, c.eval)) != Some((c.token, c.eval));
        if is_new {
            let text = c.token_text.as_deref().map_or("?".into(), |t| format!("\u{201c}{}\u{201d}", printable(t)));
            write!(out, "{:>8}  {:<8}  {text:<12}", c.token, c.phase.name())?;
        } else {
            write!(out, "{:32}", "")?;
        }
        writeln!(out, "  {:>5}  {}", c.layer, chosen(c))?;
    }
    if found.left_out > 0 {
        writeln!(out, "and {} more: choose --tokens or --layer, or print them with --csv", found.left_out)?;
    }
    Ok(())
}

/// `6 0.54  2 0.46`, or the ids alone.
fn chosen(c: &TokenChoice) -> String {
    let weight = |i: usize| c.weights.as_ref().and_then(|w| w.get(i)).map_or(String::new(), |w| format!(" {w:.3}"));
    let each = c.experts.iter().enumerate().map(|(i, id)| format!("{id:>3}{}", weight(i)));
    each.collect::<Vec<_>>().join("  ")
}

/// CSV of each token, layer and expert that it went to, however many: nothing of them is kept in memory. Says whether
/// there were any.
pub(super) fn choices(out: impl Write, trace: &Trace, filter: &Filter) -> anyhow::Result<bool> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "token", "eval", "pos", "token_id", "text", "phase", "layer", "rank", "expert", "weight", "context",
    ])?;
    let (mut written, mut any) = (Ok(()), false);
    for_each_choice(trace, filter, |c| {
        any = true;
        written = c.experts.iter().enumerate().try_for_each(|(rank, expert)| {
            let weight = c.weights.as_ref().and_then(|w| w.get(rank));
            let of_token = (c.token, c.eval, c.pos, c.token_id, &c.token_text, c.phase.name());
            csv.serialize((of_token, c.layer, rank, expert, weight, c.context))
        });
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    csv.flush()?;
    Ok(any)
}

/// CSV of each layer and expert.
pub(super) fn loads(out: impl Write, found: &ExpertReport) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["layer", "expert", "tokens", "share", "prompt", "generate", "weight"])?;
    for layer in &found.layers {
        let all: u64 = layer.all.load.iter().sum();
        for (expert, &load) in layer.all.load.iter().enumerate() {
            let weight = layer.all.weight.as_ref().and_then(|w| w[expert]);
            let share = load as f64 / all.max(1) as f64;
            let of = (layer.prompt.load[expert], layer.generate.load[expert]);
            csv.serialize((layer.layer, expert, load, share, of, weight))?;
        }
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_query::dump::Phase;

    fn choice(token: u64, layer: u32, weights: Option<Vec<f32>>) -> TokenChoice {
        TokenChoice {
            context: 0,
            eval: 1,
            token,
            token_id: Some(7),
            token_text: Some("a\x1b".into()),
            pos: Some(3),
            phase: Phase::Prompt,
            layer,
            experts: vec![6, 12],
            weights,
        }
    }

    #[test]
    fn a_token_is_named_once_and_has_a_line_a_layer() {
        let choices = vec![choice(3, 0, Some(vec![0.75, 0.25])), choice(3, 1, None), choice(4, 0, None)];
        let mut out = vec![];
        lines(&mut out, &ExpertChoices { choices, left_out: 2 }).unwrap();
        let out = String::from_utf8(out).unwrap();
        let rows: Vec<&str> = out.lines().skip(1).map(str::trim_end).collect();
        assert_eq!(rows[0], "       3  PROMPT    \u{201c}a\\u{1b}\u{201d}         0    6 0.750   12 0.250");
        assert_eq!(rows[1].trim_start(), "1    6   12");
        assert!(rows[2].trim_start().starts_with("4  PROMPT") && rows[3].starts_with("and 2 more"), "{out}");
    }
}
