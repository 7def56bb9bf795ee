//! The report on experts as text: a picture of each layer's load, then what the file and caches have to do with it.

use super::super::inspect::amounts::bar;
use super::super::say::{bytes, thousands};
use ggscope_internals::experts::{CacheSize, CacheStudy, ExpertReport, LayerExperts, Load, Pair, WeightSource};
use std::io::{Result, Write};

/// Characters of the picture of a layer.
const PICTURE: usize = 64;
/// Experts that are named on a line.
const NAMED: usize = 4;
/// Experts of a single layer that have a line each.
const LINES: usize = 64;
const BAR: usize = 32;

/// Prints the report; of each expert if it is of a single layer.
pub(super) fn text(out: &mut impl Write, r: &ExpertReport, is_chosen: bool) -> Result<()> {
    head(out, r)?;
    match &r.layers[..] {
        [layer] if is_chosen => single(out, layer)?,
        layers => pictures(out, layers)?,
    }
    file(out, r)?;
    r.caches.as_ref().map_or(Ok(()), |study| caches(out, study))
}

fn head(out: &mut impl Write, r: &ExpertReport) -> Result<()> {
    let span = |of: &dyn Fn(&LayerExperts) -> u32| {
        let (least, most) = r.layers.iter().map(of).fold((u32::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    };
    writeln!(
        out,
        "{} layer{} with {} experts, {} of them a token; {} tokens of prompts and {} of answers in {} evaluations",
        r.layers.len(),
        if r.layers.len() == 1 { "" } else { "s" },
        span(&|l| l.experts),
        span(&|l| l.per_token),
        thousands(r.prompt_tokens),
        thousands(r.generated_tokens),
        thousands(r.evaluations)
    )?;
    if r.without_choice > 0 {
        writeln!(out, "{} more used every expert (a warm-up) and are not counted", thousands(r.without_choice))?;
    }
    writeln!(out, "weights: {}", weights(r.weights.as_ref(), r.only_statistics))
}

/// Where weights come from, or what to do to have them.
fn weights(of: Option<&WeightSource>, only_statistics: bool) -> String {
    match of {
        Some(of) if of.is_final => format!("{}, which outputs are multiplied with", of.tensor),
        Some(of) => format!("{}, before the last step", of.tensor),
        None if only_statistics => "recorded as statistics only; leave out --capture-stats".into(),
        None => "not recorded; record with --capture experts".into(),
    }
}

/// Load as a picture of blocks: full is `most`. Of many experts some share a character, with their mean.
fn picture(load: &[u64], most: f64) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let together = load.len().div_ceil(PICTURE).max(1);
    let level = |part: &[u64]| {
        let mean = part.iter().sum::<u64>() as f64 / part.len() as f64;
        // Nothing is blank, and little is not nothing.
        if mean > 0.0 { LEVELS[((mean / most * 8.0).ceil() as usize).clamp(1, 8)] } else { LEVELS[0] }
    };
    load.chunks(together).map(level).collect()
}

fn most(load: &Load) -> f64 {
    load.load.iter().copied().max().unwrap_or(0).max(1) as f64
}

fn named(experts: &[u32]) -> String {
    match experts {
        [] => "–".into(),
        _ => {
            let first: Vec<String> = experts.iter().take(NAMED).map(u32::to_string).collect();
            format!("{}{}", first.join(" "), if experts.len() > NAMED { " …" } else { "" })
        }
    }
}

fn pictures(out: &mut impl Write, layers: &[LayerExperts]) -> Result<()> {
    let experts = layers.iter().map(|l| l.experts as usize).max().unwrap_or(0);
    let together = experts.div_ceil(PICTURE).max(1);
    let width = experts.div_ceil(together).max("load".len());
    let each = if together == 1 { "an expert".into() } else { format!("{together} experts") };
    writeln!(out, "\nload: a character is {each}, full is the busiest of the layer")?;
    writeln!(
        out,
        "layer  {:<width$}     used  entropy  balance   peak  P≠G    kept (chance)  hot           cold          never",
        "load"
    )?;
    for l in layers {
        let kept = match (l.from_token.kept, l.from_token.by_chance) {
            (Some(kept), Some(chance)) => format!("{:.0}% ({:.0}%)", 100.0 * kept, 100.0 * chance),
            _ => "–".into(),
        };
        writeln!(
            out,
            "{:>5}  {:<width$}  {:>7}  {:>7.3}  {:>7.3}  {:>5.2}  {:>5}  {kept:>13}  {:<12}  {:<12}  {}",
            l.layer,
            picture(&l.all.load, most(&l.all)),
            format!("{}/{}", l.all.used, l.experts),
            l.all.entropy,
            l.all.balance,
            l.all.peak,
            l.divergence.map_or("–".into(), |d| format!("{d:.3}")),
            named(&l.all.hot),
            named(&l.all.cold),
            named(&l.all.unused)
        )?;
    }
    if let Some(heaviest) = mean(layers.iter().filter_map(|l| l.heaviest)) {
        writeln!(out, "a token's first expert has {:.1}% of its weight", 100.0 * heaviest)?;
    }
    Ok(())
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn single(out: &mut impl Write, l: &LayerExperts) -> Result<()> {
    let of = &l.all;
    writeln!(
        out,
        "\nlayer {}: {} of {} experts used; entropy {:.3} bits, as {:.1} experts that are used alike; balance {:.3}; \
         the busiest has {:.2} times the mean",
        l.layer, of.used, l.experts, of.entropy, of.effective, of.balance, of.peak
    )?;
    writeln!(out, "expert    tokens   share   PROMPT  GENERATE  weight")?;
    let mut order: Vec<usize> = (0..of.load.len()).collect();
    if order.len() > LINES {
        order.sort_by_key(|&e| (std::cmp::Reverse(of.load[e]), e));
    }
    let (all, most) = (of.load.iter().sum::<u64>().max(1) as f64, most(of));
    for &e in order.iter().take(LINES) {
        let weight = of.weight.as_ref().and_then(|w| w[e]).map_or("–".into(), |w| format!("{w:.3}"));
        let note = match () {
            () if of.hot.contains(&(e as u32)) => " hot",
            () if of.cold.contains(&(e as u32)) => " cold",
            () => "",
        };
        writeln!(
            out,
            "{e:>6}  {:>8}  {:>5.1}%  {:>7}  {:>8}  {weight:>6}  {}{note}",
            thousands(of.load[e]),
            100.0 * of.load[e] as f64 / all,
            thousands(l.prompt.load[e]),
            thousands(l.generate.load[e]),
            bar(of.load[e] as f64 / most, BAR)
        )?;
    }
    if order.len() > LINES {
        let rest: u64 = order[LINES..].iter().map(|&e| of.load[e]).sum();
        writeln!(out, "{} less busy ones have {} more", order.len() - LINES, thousands(rest))?;
    }
    if let Some(divergence) = l.divergence {
        writeln!(
            out,
            "PROMPT against GENERATE: {divergence:.3} bits of Jensen-Shannon divergence (0 the same, 1 nothing)"
        )?;
    }
    if let Some(heaviest) = l.heaviest {
        writeln!(out, "a token's first expert has {:.1}% of its weight", 100.0 * heaviest)?;
    }
    pairs(out, "together for one token", " and ", &l.together)?;
    if let Some(from) = &l.from_layer {
        pairs(out, &format!("from layer {} to this", from.layer), " → ", &from.top)?;
    }
    if let (Some(kept), Some(chance)) = (l.from_token.kept, l.from_token.by_chance) {
        let tokens = thousands(l.from_token.tokens);
        writeln!(
            out,
            "from one token to the next, of {tokens}: {:.1}% of the experts stay, {:.1}% by chance",
            100.0 * kept,
            100.0 * chance
        )?;
    }
    pairs(out, "from one token to the next", " → ", &l.from_token.top)
}

fn pairs(out: &mut impl Write, what: &str, between: &str, pairs: &[Pair]) -> Result<()> {
    if pairs.is_empty() {
        return Ok(());
    }
    let each = pairs.iter().map(|p| format!("{}{between}{} ×{} ({:.1})", p.a, p.b, thousands(p.count), p.lift));
    writeln!(out, "{what}: {}", each.collect::<Vec<_>>().join(", "))
}

fn file(out: &mut impl Write, r: &ExpertReport) -> Result<()> {
    let b = &r.bytes;
    let share = |part: u64, all: u64| format!("{} ({:.1}%)", bytes(part), 100.0 * part as f64 / all.max(1) as f64);
    writeln!(out, "\nexperts have {}; read {}", bytes(b.all), share(b.used, b.all))?;
    writeln!(out, "  by prompts {}, by answers {}", share(b.prompt, b.all), share(b.generate, b.all))?;
    writeln!(out, "  each once an evaluation: {} in all", bytes(b.read))?;
    if let (Some(file), Some(needed)) = (b.file, b.needed) {
        writeln!(
            out,
            "the run needed {} of the file's {}, not the experts that were never chosen",
            share(needed, file),
            bytes(file)
        )?;
    }
    Ok(())
}

fn caches(out: &mut impl Write, c: &CacheStudy) -> Result<()> {
    let rate = |hits: u64| format!("{:.1}%", 100.0 * hits as f64 / c.accesses.max(1) as f64);
    let at_most = rate(c.accesses - c.distinct);
    let reads = thousands(c.accesses);
    writeln!(out, "\na cache would have hit, of {reads} reads of an expert ({at_most} are not the first of theirs):")?;
    writeln!(out, "  experts       size   one for all layers     one a layer")?;
    writeln!(out, "  a layer               LRU       best       LRU       best")?;
    for CacheSize { per_layer, bytes: size, lru, best, layer_lru, layer_best, .. } in &c.sizes {
        writeln!(
            out,
            "  {per_layer:>7}  {:>9}  {:>7}    {:>7}   {:>7}    {:>7}",
            bytes(*size),
            rate(*lru),
            rate(*best),
            rate(*layer_lru),
            rate(*layer_best)
        )?;
    }
    if c.left_out > 0 {
        writeln!(out, "  {} later reads are not looked at", thousands(c.left_out))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_nothing_little_and_most_and_has_room_for_any_layer() {
        assert_eq!(picture(&[0, 1, 50, 100], 100.0), " ▁▄█");
        let many: Vec<u64> = (0..256).collect();
        assert_eq!(picture(&many, 255.0).chars().count(), PICTURE);
        assert_eq!(picture(&[0; 3], 1.0), "   ");
        assert_eq!(
            (named(&[]), named(&[1, 2]), named(&[1, 2, 3, 4, 5])),
            ("–".into(), "1 2".into(), "1 2 3 4 …".into())
        );
    }

    #[test]
    fn weights_that_are_missing_come_with_what_to_change() {
        assert_eq!(weights(None, false), "not recorded; record with --capture experts");
        assert_eq!(weights(None, true), "recorded as statistics only; leave out --capture-stats");
        let of = WeightSource { tensor: "ffn_moe_weights".into(), is_final: false };
        assert_eq!(weights(Some(&of), false), "ffn_moe_weights, before the last step");
    }
}
