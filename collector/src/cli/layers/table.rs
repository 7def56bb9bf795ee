//! Hidden states as tables: by layer, of one layer token by token, and one measure of every token and layer.

use crate::cli::inspect::amounts::bar;
use crate::cli::say::thousands;
use crate::cli::text::printable;
use ggscope_internals::hidden_states::{Layers, Origin, Part, Run, Stack, StateSummary, TokenMatrix, UnitCounts};
use std::io::Write;

/// Width of bars of norms and of shares.
const NORM_BAR: usize = 8;
const SHARE_BAR: usize = 5;
/// Massive activations that are listed for a layer.
const MOST_MASSIVE: usize = 6;
/// Steps of a heatmap in a terminal.
const SHADES: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A number in about five characters.
pub(super) fn number(x: f32) -> String {
    match x.abs() {
        m if !m.is_finite() || m == 0.0 => format!("{x}"),
        m if m < 0.001 => format!("{x:.1e}"),
        m if m < 1.0 => format!("{x:.3}"),
        m if m < 10.0 => format!("{x:.2}"),
        m if m < 100.0 => format!("{x:.1}"),
        m if m < 1e6 => format!("{x:.0}"),
        _ => format!("{x:.1e}"),
    }
}

fn or_dash(x: Option<f32>) -> String {
    x.map_or("-".into(), number)
}

/// A value and where it is, if that is known.
fn element(value: f32, at: Option<u32>) -> String {
    at.map_or(number(value), |at| format!("{} @{at}", number(value)))
}

/// `embd` or the number of a layer.
pub(super) fn layer_name(layer: Option<u32>) -> String {
    layer.map_or("embd".into(), |l| l.to_string())
}

/// A token with its text.
pub(super) fn token_name(token: u64, text: Option<&str>) -> String {
    text.map_or(token.to_string(), |t| format!("{token} \u{201c}{}\u{201d}", printable(t)))
}

/// Cuts a text to a width and fills it up to that.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let n = text.chars().count();
    if n > width {
        text.chars().take(width - 1).chain(['…']).collect()
    } else {
        format!("{text}{}", " ".repeat(width - n))
    }
}

/// A share with a bar.
fn with_bar(share: Option<f32>) -> String {
    fitted(&format!("{:>5} {}", or_dash(share), share.map_or(String::new(), |s| bar(s.into(), SHARE_BAR))), 11)
}

/// The table by layer.
pub(super) fn text(out: &mut impl Write, all: &Layers) -> std::io::Result<()> {
    let tokens = if all.tokens == 1 { "1 token".to_owned() } else { format!("{} tokens", thousands(all.tokens)) };
    let some = match all.with_states {
        n if n == all.tokens => String::new(),
        n => format!("{} of them with ", thousands(n)),
    };
    writeln!(out, "{tokens}, {some}hidden states of {} elements", all.n_embd)?;
    writeln!(out, "medians over tokens; of largest the greatest, of outliers the mean, of massive the sum")?;
    let width = if all.layers.iter().any(|layer| layer.stack.is_some()) { 8 } else { 5 };
    writeln!(
        out,
        "  {:>width$}  tokens      norm           largest        cosine  attention    feed-forward  outliers  massive",
        "layer"
    )?;
    let most = all.layers.iter().filter_map(|l| l.norm).fold(0.0, |most: f32, n| most.max(n.median));
    for layer in &all.layers {
        let norm = layer.norm.map(|n| n.median);
        let largest = layer.largest.as_ref().map_or("-".into(), |l| element(l.largest, l.at));
        let per_token = layer.outliers.map(|n| format!("{:.1}", n as f32 / layer.tokens.max(1) as f32));
        let row = format!(
            "  {:>width$}  {:>6}  {:>8} {}  {:<13}  {:>6}  {}  {}  {:>8}  {:>7}",
            of_stack(layer),
            thousands(layer.tokens),
            or_dash(norm),
            fitted(&norm.map_or(String::new(), |n| bar(f64::from(n / most), NORM_BAR)), NORM_BAR),
            largest,
            layer.cosine.map_or("-".into(), |c| format!("{c:.3}")),
            with_bar(layer.share(Part::mixes_tokens)),
            with_bar(layer.share(Part::is_feed_forward)),
            per_token.unwrap_or("-".into()),
            match layer.massive_count {
                None => "-".into(),
                Some(0) => String::new(),
                Some(n) => thousands(n),
            },
        );
        writeln!(out, "{}", row.trim_end())?;
    }
    for layer in all.layers.iter().filter(|l| l.nan + l.inf > 0) {
        writeln!(out, "  layer {}: {}", of_stack(layer), nonfinite(layer))?;
    }
    for layer in &all.layers {
        for added in layer.added.iter().filter(|added| added.origin.part.is_from_outside()) {
            let (name, share) = (added.origin.part.name(), or_dash(added.share));
            let on = on_matrix(&added.origin).map_or(String::new(), |on| format!(" {on}"));
            let some = match added.tokens {
                n if n == layer.tokens => String::new(),
                n => format!(", for {} of {} tokens", thousands(n), thousands(layer.tokens)),
            };
            writeln!(out, "  layer {}: {name}{on} adds {share} of the stream{some}", of_stack(layer))?;
        }
    }
    notes(out, all)
}

/// Of an adapter: the matrix that it is added to, and the buffer that its own are in, which tells adapters apart.
fn on_matrix(origin: &Origin) -> Option<String> {
    let (adapter, matrix) = (origin.adapter.as_ref()?, origin.matrix.as_ref()?);
    let buffer = adapter.buffer.map_or(String::new(), |buffer| format!(" (buffer {buffer})"));
    Some(format!("on {}{buffer}", printable(matrix)))
}

/// A layer's name with that of its stack, where the model has two.
fn of_stack(layer: &StateSummary) -> String {
    let stack = layer.stack.map_or("", |stack| match stack {
        Stack::Encoder => "enc ",
        Stack::Decoder => "dec ",
    });
    format!("{stack}{}", layer_name(layer.layer))
}

fn nonfinite(layer: &StateSummary) -> String {
    format!("{} NaN, {} infinite; they are left out of everything else", thousands(layer.nan), thousands(layer.inf))
}

fn notes(out: &mut impl Write, all: &Layers) -> std::io::Result<()> {
    for lost in &all.lost {
        writeln!(out, "  lost {}: {}", thousands(lost.times), printable(&lost.what))?;
    }
    if let Some(layers) = &all.captured_layers {
        writeln!(out, "  of layers {layers} only: --capture-layers left out the others")?;
    }
    if !all.missing.is_empty() {
        let names: Vec<&str> = all.missing.iter().map(String::as_str).collect();
        let globs = printable(&names.join(",")).into_owned();
        writeln!(out, "  more with --capture '{globs}'")?;
    }
    Ok(())
}

fn units(what: &str, counts: &UnitCounts) -> String {
    let of =
        |n: Option<u32>, what: &str| n.map_or(String::new(), |n| format!(", {} always {what}", thousands(n.into())));
    format!(
        "{} of {} {what} dead{}{} over {} tokens",
        thousands(counts.dead.into()),
        thousands(counts.units.into()),
        of(counts.always_open, "open"),
        of(counts.always_closed, "closed"),
        thousands(counts.tokens)
    )
}

/// One layer, token by token.
pub(super) fn one(out: &mut impl Write, run: &Run, all: &Layers, number_of: u32) -> std::io::Result<()> {
    let Some(place) = run.places.iter().position(|p| *p == Some(number_of)) else { return Ok(()) };
    let layer = &all.layers[place];
    writeln!(out, "layer {number_of}, {}: {} tokens", printable(&layer.tensor), thousands(layer.tokens))?;
    if let Some(norm) = layer.norm {
        let (low, mid, high) = (number(norm.min), number(norm.median), number(norm.max));
        writeln!(
            out,
            "         norm  {mid}, from {low} to {high}; rms {}, mean {}",
            or_dash(layer.rms),
            or_dash(layer.mean)
        )?;
    }
    for added in &layer.added {
        let (share, cosine) = (or_dash(added.share), or_dash(added.cosine));
        let on = on_matrix(&added.origin).map_or(String::new(), |on| format!("; {on}"));
        writeln!(out, "{:>13}  adds {share} of the stream, cosine {cosine} with it{on}", added.origin.part.name())?;
    }
    for norm in &layer.normed {
        let (from, to, cosine) = (or_dash(norm.rms_in), or_dash(norm.rms_out), or_dash(norm.cosine));
        writeln!(out, "{:>13}  rms {from} → {to}, cosine {cosine}", printable(&norm.tensor))?;
    }
    if let Some(counts) = &layer.elements {
        writeln!(out, "     elements  {}", units("elements", counts))?;
    }
    if let Some(counts) = &layer.units {
        writeln!(out, "        units  {}", units("units", counts))?;
    }
    for massive in layer.massive.iter().take(MOST_MASSIVE) {
        let (value, tokens) = (number(massive.largest), thousands(massive.tokens));
        let at = massive.at.map_or("?".into(), |at| at.to_string());
        writeln!(out, "      massive  element {at}: {value} at token {}, in {tokens} tokens", massive.token)?;
    }
    if layer.nan + layer.inf > 0 {
        writeln!(out, "    not finite  {}", nonfinite(layer))?;
    }
    if let Some(layers) = run.captured_layers.as_ref().filter(|l| !l.has(number_of.into())) {
        return writeln!(out, "  it was not captured: the recording has layers {layers}, as --capture-layers said");
    }
    writeln!(out, "\n  token                     norm  largest        cosine  attention    feed-forward  outliers")?;
    for token in &run.tokens {
        let Some(cell) = token.cells.get(place).and_then(Option::as_ref) else { continue };
        let h = &cell.hidden;
        let row = format!(
            "  {}  {:>8}  {:<13}  {:>6}  {}  {}  {:>8}",
            fitted(&token_name(token.token, token.text.as_deref()), 18),
            or_dash(h.norm),
            h.largest.map_or("-".into(), |l| element(l.value, l.at)),
            cell.cosine.map_or("-".into(), |c| format!("{c:.3}")),
            with_bar(cell.share(Part::mixes_tokens)),
            with_bar(cell.share(Part::is_feed_forward)),
            h.outliers.map_or("-".into(), |n| n.to_string()),
        );
        writeln!(out, "{}", row.trim_end())?;
    }
    notes(out, all)
}

/// Columns of [`csv`].
const COLUMNS: [&str; 19] = [
    "token",
    "id",
    "text",
    "phase",
    "layer",
    "norm",
    "mean",
    "rms",
    "largest",
    "largest_at",
    "median",
    "outliers",
    "massive",
    "nan",
    "inf",
    "cosine",
    "attention",
    "feed_forward",
    "context",
];

/// Every token and layer, or those of one layer.
pub(super) fn csv(out: impl Write, run: &Run, layer: Option<u32>, names: bool) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    if names {
        csv.write_record(COLUMNS)?;
    }
    for token in &run.tokens {
        for (place, cell) in run.places.iter().zip(&token.cells) {
            let Some(cell) = cell.as_ref().filter(|_| layer.is_none() || *place == layer) else { continue };
            let h = &cell.hidden;
            let (largest, massive) = (h.largest, h.massive.as_ref().map(Vec::len));
            csv.serialize((
                (token.token, token.id, &token.text, token.phase.name(), place, h.norm, h.mean, h.rms),
                (largest.map(|l| l.value), largest.and_then(|l| l.at)),
                (h.median, h.outliers, massive, h.nan, h.inf, cell.cosine),
                (cell.share(Part::mixes_tokens), cell.share(Part::is_feed_forward)),
                run.context,
            ))?;
        }
    }
    Ok(csv.flush()?)
}

/// A heatmap in characters: a line a token, a character a layer.
pub(super) fn matrix(out: &mut impl Write, found: &TokenMatrix) -> std::io::Result<()> {
    let all = || found.rows.iter().flat_map(|r| r.values.iter().flatten().copied()).filter(|v| v.is_finite());
    let (least, most) = all().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    // Norms of one run lie orders of magnitude apart: those are told apart by their logarithms.
    let log = least > 0.0 && most / least > 100.0;
    let scale = |v: f32| if log { v.ln() } else { v };
    let shade = |v: &Option<f32>| match v.filter(|v| v.is_finite()) {
        Some(v) if most > least => {
            let at = (scale(v) - scale(least)) / (scale(most) - scale(least)) * (SHADES.len() - 1) as f32;
            SHADES[(at.round().max(0.0) as usize).min(SHADES.len() - 1)]
        }
        Some(_) => SHADES[0],
        None => '·',
    };
    let range = match (least <= most, log) {
        (true, true) => format!("{} to {}, logarithmic", number(least), number(most)),
        (true, false) => format!("{} to {}", number(least), number(most)),
        (false, _) => "of which there is none".into(),
    };
    let (first, last) = (found.layers.first().copied().flatten(), found.layers.last().copied().flatten());
    writeln!(
        out,
        "{} of each token, {range}; a character a layer, {} to {}",
        found.measure,
        layer_name(first),
        layer_name(last)
    )?;
    for row in &found.rows {
        let cells: String = row.values.iter().map(shade).collect();
        writeln!(out, "  {}  {cells}", fitted(&token_name(row.token, row.text.as_deref()), 22))?;
    }
    Ok(())
}

/// The same as numbers.
pub(super) fn matrix_csv(out: &mut impl Write, found: &TokenMatrix, names: bool) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    if names {
        csv.write_record(["token", "text", "layer", found.measure, "context"])?;
    }
    for row in &found.rows {
        for (layer, value) in found.layers.iter().zip(&row.values) {
            csv.serialize((row.token, &row.text, layer, value, found.context))?;
        }
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_fit_their_column() {
        let said = [0.0, 0.000_04, 0.25, 7.125, 42.0, 31_337.0, 1.2e9, -0.5].map(number);
        assert_eq!(said, ["0", "4.0e-5", "0.250", "7.12", "42.0", "31337", "1.2e9", "-0.500"]);
        assert_eq!([fitted("abc", 5), fitted("abcdef", 4)], ["abc  ", "abc…"]);
    }
}
