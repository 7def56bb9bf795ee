//! Two runs beside each other: how far hidden states are off, layer by layer.

use super::table::{fitted, layer_name, number, token_name};
use crate::cli::inspect::amounts::bar;
use crate::cli::say::thousands;
use crate::cli::text::printable;
use ggscope_internals::hidden_states::Against;
use std::io::Write;

const BAR: usize = 24;

/// The table by layer.
pub(super) fn text(out: &mut impl Write, found: &Against) -> std::io::Result<()> {
    writeln!(out, "{} tokens beside {}; ‖h − r‖ / ‖r‖", thousands(found.tokens), printable(&found.reference))?;
    if let Some(parts) = &found.diverges {
        let said = |text: &Option<String>| {
            text.as_deref().map_or("the end".into(), |t| format!("\u{201c}{}\u{201d}", printable(t)))
        };
        let (here, there) = (said(&parts.text), said(&parts.reference));
        writeln!(out, "the answers part at token {}: {here} here, {there} in the reference", parts.token)?;
    }
    writeln!(out, "  layer  tokens    median                              largest  cosine  farthest off")?;
    let most = found.layers.iter().filter_map(|l| l.error).fold(0.0, |most: f32, e| most.max(e.median));
    for layer in &found.layers {
        let Some(error) = layer.error else {
            writeln!(out, "  {:>5}       0  {:>8}", layer_name(layer.layer), "-")?;
            continue;
        };
        let worst = layer.worst.and_then(|w| found.by_token.iter().find(|t| t.token == w));
        let row = format!(
            "  {:>5}  {:>6}  {:>8} {}  {:>8}  {:>6}  {}",
            layer_name(layer.layer),
            thousands(layer.tokens),
            number(error.median),
            fitted(&bar(f64::from(error.median / most.max(f32::MIN_POSITIVE)), BAR), BAR),
            number(error.max),
            layer.cosine.map_or("-".into(), |c| format!("{c:.4}")),
            worst.map_or(String::new(), |t| token_name(t.token, t.text.as_deref()))
        );
        writeln!(out, "{}", row.trim_end())?;
    }
    for layer in found.layers.iter().filter(|l| l.not_finite > 0) {
        let (name, n) = (layer_name(layer.layer), thousands(layer.not_finite));
        writeln!(out, "  layer {name}: {n} elements are NaN or infinite in one of both; they are left out")?;
    }
    if let Some(layer) = found.steepest {
        writeln!(out, "it grows most in layer {layer}")?;
    }
    Ok(())
}

/// A line for each token and layer.
pub(super) fn csv(out: &mut impl Write, found: &Against) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["token", "id", "text", "layer", "error"])?;
    for token in &found.by_token {
        for (layer, error) in found.layers.iter().zip(&token.errors) {
            csv.serialize((token.token, token.id, &token.text, layer.layer, error))?;
        }
    }
    Ok(csv.flush()?)
}
