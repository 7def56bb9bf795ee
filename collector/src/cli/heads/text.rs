//! What `ggscope heads` prints for people: the map of layers and heads, the clearest heads of each kind, who is like whom.

use crate::cli::analytics::computed;
use crate::cli::inspect::amounts::bar;
use crate::cli::say::thousands;
use crate::cli::text::printable;
use ggscope_internals::heads::{Flow, Head, Heads, Name, Near, Source};
use std::io::{Result, Write};

/// Heads of a kind in the table of the clearest ones.
const CLEAREST: usize = 3;
/// Heads up to which all are in the table.
const ALL: usize = 16;
/// Columns of a map; wider ones stand without spaces between heads.
const WIDTH: usize = 96;
/// Clusters and ranks that are listed.
const LISTED: usize = 5;
/// Twins that are listed, and on one line.
const TWINS: (usize, usize) = (6, 3);
const BAR: usize = 30;

/// A label in the margin and a text.
fn line(out: &mut impl Write, label: &str, text: &str) -> Result<()> {
    writeln!(out, "{label:>12}  {text}")
}

/// The whole report.
pub(super) fn heads(out: &mut impl Write, found: &Heads) -> Result<()> {
    let count = |n: usize| thousands(n as u64);
    let layers = found.heads.chunk_by(|a, b| a.layer == b.layer).count();
    let s = if layers == 1 { "" } else { "s" };
    let captured = found.heads.iter().filter(|h| h.rows + h.not_finite > 0).count();
    let of_them = if captured < found.heads.len() {
        format!(", {} of them captured (--capture-heads)", count(captured))
    } else {
        String::new()
    };
    line(out, "heads", &format!("{} in {layers} layer{s}{of_them}", count(found.heads.len())))?;
    if !found.other_contexts.is_empty() {
        line(out, "context", &found.context.to_string())?;
    }
    let rows = format!(
        "{} to {} of the session, {} rows with at least {} keys",
        thousands(found.first_token),
        thousands(found.last_token),
        thousands(found.rows),
        found.min_keys
    );
    line(out, "tokens", &rows)?;
    if found.uncaptured_rows > 0 {
        line(out, "not captured", &format!("{} rows of these tokens", thousands(found.uncaptured_rows)))?;
    }
    let not_finite: u64 = found.heads.iter().map(|h| h.not_finite).sum();
    if not_finite > 0 {
        line(out, "not finite", &format!("{} rows with NaN or infinite weights, left out", thousands(not_finite)))?;
    }
    if !found.ids {
        line(out, "unknown", "token ids were not recorded: no induction, duplicates or punctuation")?;
    } else if !found.texts {
        line(out, "unknown", "token texts were not recorded: no punctuation")?;
    }
    let named = found.kinds.iter().filter(|k| k.heads > 0);
    let kinds: Vec<String> =
        named.map(|k| format!("{} {} {}", k.name.letter(), count(k.heads), k.name.text())).collect();
    line(out, "kinds", &kinds.join(", "))?;
    line(out, "computed", &computed(&found.took))?;
    if found.heads.len() > ALL {
        writeln!(out)?;
        map(out, found)?;
    }
    writeln!(out)?;
    table(out, found)?;
    writeln!(out)?;
    alike(out, found)
}

/// Layers down, heads across, a letter each.
fn map(out: &mut impl Write, found: &Heads) -> Result<()> {
    let widest = found.heads.iter().map(|h| h.head + 1).max().unwrap_or(0);
    let step = if widest * 2 <= WIDTH { 2 } else { 1 };
    let digit = |h: usize, unit: usize| match (unit, h / unit % 10) {
        (10, _) if !h.is_multiple_of(10) || h == 0 => ' ',
        (_, digit) => char::from_digit(digit as u32, 10).unwrap_or(' '),
    };
    for unit in [10, 1].into_iter().filter(|&unit| unit == 1 || widest > 10) {
        let numbers: String = (0..widest).map(|h| format!("{:<step$}", digit(h, unit))).collect();
        line(out, if unit == 1 { "layer / head" } else { "" }, numbers.trim_end())?;
    }
    for row in found.heads.chunk_by(|a, b| a.layer == b.layer) {
        let letter = |head: usize| {
            let found = row.iter().find(|h| h.head == head);
            found.map_or(' ', |h| h.kind.map_or('?', |k| k.name.letter()))
        };
        let letters: String = (0..widest).map(|h| format!("{:<step$}", letter(h))).collect();
        line(out, &row[0].layer.to_string(), letters.trim_end())?;
    }
    Ok(())
}

/// How clearly a head is of its kind: how far it is from the threshold.
fn clarity(h: &Head) -> f64 {
    h.kind.map_or(0.0, |k| if k.name == Name::Local { -k.value } else { k.value })
}

fn table(out: &mut impl Write, found: &Heads) -> Result<()> {
    writeln!(out, "     head kind           entropy of ln n distance first  prev  self induc dupli punct  decided by")?;
    let mut shown: Vec<&Head> = vec![];
    if found.heads.len() <= ALL {
        shown.extend(&found.heads);
    } else {
        for kind in &found.kinds {
            let mut of: Vec<&Head> =
                found.heads.iter().filter(|h| h.kind.is_some_and(|k| k.name == kind.name)).collect();
            of.sort_by(|a, b| clarity(b).total_cmp(&clarity(a)));
            shown.extend(of.iter().take(CLEAREST));
        }
    }
    let number = |x: Option<f64>, digits: usize| x.map_or("-".to_owned(), |x| format!("{x:.digits$}"));
    for h in shown {
        let m = h.measures;
        let kind = h.kind.map_or("?", |k| k.name.text());
        let decided = h.kind.map_or(String::new(), |k| {
            let measure = if k.measure == "entropy_normalized" { "of ln n" } else { k.measure };
            match k.name {
                Name::Mixed => format!("nearest: {measure} {:.2}", k.value),
                Name::Local => format!("{measure} {:.2} ≤ {} of uniform", k.value, k.threshold),
                _ => format!("{measure} {:.2} ≥ {}", k.value, k.threshold),
            }
        });
        writeln!(
            out,
            "  {:>7} {kind:<14} {:>7} {:>7} {:>8} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5}  {decided}",
            format!("{}.{}", h.layer, h.head),
            number(m.entropy, 2),
            number(m.entropy_normalized, 2),
            number(m.distance, 1),
            number(m.first, 2),
            number(m.previous, 2),
            number(m.own, 2),
            number(m.induction, 2),
            number(m.duplicate, 2),
            number(m.punctuation, 2),
        )?;
    }
    Ok(())
}

fn near(near: &Near) -> String {
    format!("{}.{} ({:.3})", near.layer, near.head, near.divergence)
}

/// Clusters, twins, ranks; or, of one head, what it is like.
fn alike(out: &mut impl Write, found: &Heads) -> Result<()> {
    if let [head] = &found.heads[..] {
        let said = |n: Option<Near>| n.map_or("nobody".to_owned(), |n| near(&n));
        line(out, "like", &format!("{}; in its layer {}", said(head.nearest), said(head.twin)))?;
        if let Some(rank) = head.pagerank {
            line(
                out,
                "PageRank",
                &format!("{rank:.5}, {:.2} times the mean of its layer", head.pagerank_in_layer.unwrap_or(0.0)),
            )?;
        }
        return Ok(());
    }
    let of = &found.divergence;
    let sampled =
        if (of.tokens as u64) < of.of_tokens { format!(" of {}", thousands(of.of_tokens)) } else { String::new() };
    line(
        out,
        "compared",
        &format!("by Jensen-Shannon divergence in nats, over {}{sampled} tokens", thousands(of.tokens as u64)),
    )?;
    if let Some(clusters) = &found.clusters {
        let each = clusters.clusters.iter().take(LISTED);
        let each: Vec<String> =
            each.map(|c| format!("{} like {}.{}", c.heads, c.medoid.layer, c.medoid.head)).collect();
        let more = if clusters.clusters.len() > LISTED { ", …" } else { "" };
        let (n, silhouette) = (clusters.clusters.len(), clusters.silhouette);
        line(out, "clusters", &format!("{n}, silhouette {silhouette:.3}: {}{more}", each.join(", ")))?;
    }
    let twins: Vec<String> = found
        .twins
        .iter()
        .take(TWINS.0)
        .map(|t| format!("{}.{} and {}.{} ({:.3})", t.layer, t.heads[0], t.layer, t.heads[1], t.divergence))
        .collect();
    for (i, two) in twins.chunks(TWINS.1).enumerate() {
        line(out, if i == 0 { "twins" } else { "" }, &two.join(", "))?;
    }
    let rank = |h: &Head| h.pagerank_in_layer.unwrap_or(0.0);
    let mut ranked: Vec<&Head> = found.heads.iter().filter(|h| rank(h) > 1.0).collect();
    ranked.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
    let ranks: Vec<String> =
        ranked.iter().take(LISTED).map(|h| format!("{}.{} ({:.2})", h.layer, h.head, rank(h))).collect();
    if !ranks.is_empty() {
        line(out, "read from", &format!("{} times their layer's mean (PageRank)", ranks.join(", ")))?;
    }
    Ok(())
}

/// Where a token's state comes from: the tokens with the most, in the order of the text.
pub(super) fn flow(out: &mut impl Write, found: &Flow, whose: &str) -> Result<()> {
    const SHOWN: usize = 40;
    let quoted =
        |text: &Option<String>| text.as_deref().map_or("?".to_owned(), |t| format!("\u{201c}{}\u{201d}", printable(t)));
    let layers = found.layers.len();
    writeln!(
        out,
        "token {} {}{whose} through {layers} layers, by attention rollout and attention flow",
        found.token,
        quoted(&found.text)
    )?;
    if found.uncaptured_layers > 0 {
        let left_out = thousands(found.uncaptured_layers);
        writeln!(out, "  not through {left_out} more layers: of them its attention was not captured")?;
    }
    if found.captured_heads < found.heads {
        let (captured, all) = (thousands(found.captured_heads as u64), thousands(found.heads as u64));
        writeln!(out, "  means are of the {captured} of {all} heads that were captured")?;
    }
    if let Some(why) = &found.flow_refused {
        writeln!(out, "  {why}")?;
    }
    if found.missing_rows > 0 {
        writeln!(
            out,
            "  {} rows of attention are missing: there tokens keep their own state",
            thousands(found.missing_rows)
        )?;
    }
    let mut order: Vec<_> = found.sources.iter().collect();
    order.sort_by(|a, b| b.rollout.total_cmp(&a.rollout));
    let rest = order.split_off(SHOWN.min(order.len()));
    order.sort_by_key(|s| s.token);
    // Deep models draw nearly all on the first token, the sink; how the rest is divided is what tells tokens apart.
    let others: f64 = found.sources.iter().filter(|s| s.pos != Some(0)).map(|s| s.rollout).sum();
    let of_rest = |s: &Source| if s.pos == Some(0) || others <= 0.0 { None } else { Some(s.rollout / others) };
    let most = order.iter().filter_map(|s| of_rest(s)).fold(0.0, f64::max);
    writeln!(out, "  rollout  of rest    flow   token  phase     text")?;
    for s in order {
        let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.4}"));
        let share = of_rest(s).map_or(0.0, |share| if most > 0.0 { share / most } else { 0.0 });
        writeln!(
            out,
            "  {:>7.4}  {:>7}  {:>6}  {:>6}  {:<8}  {:<16} {}",
            s.rollout,
            number(of_rest(s)),
            number(s.flow),
            s.token,
            s.phase.name(),
            quoted(&s.text),
            bar(share, BAR)
        )?;
    }
    if !rest.is_empty() {
        writeln!(
            out,
            "  {:>7.4}  the other {}",
            rest.iter().map(|s| s.rollout).sum::<f64>(),
            thousands(rest.len() as u64)
        )?;
    }
    if found.unknown > 0.0 {
        writeln!(out, "  {:>7.4}  keys whose token is not known", found.unknown)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrowed_capture_says_of_how_many_heads_and_layers_a_flow_is() {
        let said = |uncaptured_layers: u64, captured_heads: usize| {
            let found = Flow {
                context: 0,
                token: 67,
                text: None,
                layers: vec![5, 7],
                uncaptured_layers,
                heads: 18,
                captured_heads,
                sources: vec![],
                unknown: 0.0,
                missing_rows: 0,
                flow_refused: None,
            };
            let mut out = vec![];
            flow(&mut out, &found, "").unwrap();
            String::from_utf8(out).unwrap()
        };
        let narrowed = said(28, 4);
        assert!(narrowed.contains("not through 28 more layers"), "{narrowed}");
        assert!(narrowed.contains("means are of the 4 of 18 heads that were captured"), "{narrowed}");
        assert!(!said(0, 18).contains("captured"));
    }
}
