//! Two runs of one text beside each other: how far the rows of each head are off, layer by layer.

use crate::cli::analytics::computed;
use crate::cli::inspect::amounts::bar;
use crate::cli::say::thousands;
use crate::cli::text::printable;
use ggscope_internals::attention::{AttentionAgainst, HeadDifference};
use std::io::Write;

const BAR: usize = 24;
/// Heads that are listed one by one.
const LISTED: usize = 10;

fn token(found: &AttentionAgainst, token: Option<u64>) -> String {
    let Some(token) = token else { return String::new() };
    let text = found.by_token.iter().find(|t| t.token == token).and_then(|t| t.text.as_deref());
    text.map_or(token.to_string(), |text| format!("{token} \u{201c}{}\u{201d}", printable(text)))
}

/// The mean of a layer's heads, of those that have one.
fn mean(heads: &[HeadDifference]) -> Option<f64> {
    let means: Vec<f64> = heads.iter().filter_map(|h| h.mean).collect();
    (!means.is_empty()).then(|| means.iter().sum::<f64>() / means.len() as f64)
}

/// A line for each layer, then the heads that are farthest off.
pub(super) fn text(out: &mut impl Write, found: &AttentionAgainst) -> std::io::Result<()> {
    writeln!(
        out,
        "{} tokens beside {}; Jensen-Shannon divergence of each head's rows, nats (ln 2 = 0.693 at most)",
        thousands(found.tokens),
        printable(&found.reference)
    )?;
    if let Some(parts) = &found.parted {
        let said = |text: &Option<String>| {
            text.as_deref().map_or("the end".into(), |t| format!("\u{201c}{}\u{201d}", printable(t)))
        };
        let (here, there) = (said(&parts.text), said(&parts.reference));
        writeln!(out, "the answers part at token {}: {here} here, {there} in the reference", parts.token)?;
    }
    if found.unpaired > 0 {
        let rows = thousands(found.unpaired);
        writeln!(
            out,
            "{rows} rows could not be compared: only one of both runs has them, or their tokens are not known"
        )?;
    }
    writeln!(out, "computed: {}", printable(&computed(&found.took)))?;
    let layers: Vec<&[HeadDifference]> = found.heads.chunk_by(|a, b| a.layer == b.layer).collect();
    let most = layers.iter().filter_map(|heads| mean(heads)).fold(f64::MIN_POSITIVE, f64::max);
    writeln!(out, "\n  layer    mean")?;
    for heads in layers {
        let layer = heads.first().map_or(0, |h| h.layer);
        match mean(heads) {
            Some(mean) => {
                writeln!(out, "{}", format!("  {layer:>5}  {mean:.4}  {}", bar(mean / most, BAR)).trim_end())?;
            }
            None => writeln!(out, "  {layer:>5}  {:>6}", "–")?,
        }
    }
    let mut farthest: Vec<&HeadDifference> = found.heads.iter().filter(|h| h.mean.is_some()).collect();
    farthest.sort_by(|a, b| b.mean.unwrap_or(0.0).total_cmp(&a.mean.unwrap_or(0.0)));
    writeln!(out, "\n  farthest off   mean  largest  at token")?;
    for head in farthest.into_iter().take(LISTED) {
        let name = format!("layer {} head {}", head.layer, head.head);
        let (mean, max) = (head.mean.unwrap_or(0.0), head.max.unwrap_or(0.0));
        writeln!(out, "  {name:<15} {mean:.4}  {max:>7.4}  {}", token(found, head.worst))?;
    }
    let nans: u64 = found.heads.iter().map(|h| h.nans).sum();
    if nans > 0 {
        writeln!(out, "{} rows with NaN are in no mean", thousands(nans))?;
    }
    Ok(())
}

/// A line for each head.
pub(super) fn csv(out: impl Write, found: &AttentionAgainst) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    for head in &found.heads {
        csv.serialize(head)?;
    }
    Ok(csv.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_whose_rows_all_have_nan_has_no_mean_which_is_not_the_same_as_no_difference() {
        let head = |layer, mean: Option<f64>| HeadDifference {
            layer,
            head: 0,
            tokens: mean.map_or(0, |_| 5),
            mean,
            max: mean.map(|mean| mean as f32),
            worst: mean.map(|_| 3),
            nans: mean.map_or(5, |_| 0),
        };
        let heads = vec![head(0, Some(0.0)), head(1, Some(0.5)), head(2, None)];
        let (by_token, took) = (vec![], vec![]);
        let found = AttentionAgainst {
            context: 0,
            reference_context: 0,
            reference: "b".into(),
            tokens: 5,
            parted: None,
            unpaired: 0,
            heads,
            by_token,
            took,
        };
        let mut out = vec![];
        text(&mut out, &found).unwrap();
        let out = String::from_utf8(out).unwrap();
        let layers: Vec<&str> = out.lines().skip_while(|line| !line.contains("layer")).skip(1).take(3).collect();
        assert_eq!(layers[0], "      0  0.0000");
        assert!(layers[1].starts_with("      1  0.5000  █"), "{out}");
        assert_eq!(layers[2], "      2       –");
        assert!(out.contains("5 rows with NaN are in no mean"), "{out}");
        assert!(serde_json::to_value(&found).unwrap()["heads"][2]["mean"].is_null());
    }
}
