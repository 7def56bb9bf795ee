//! One tensor: what it is, how its values, scales and quants are distributed, and how far it is or would be off.

use super::super::inspect::amounts::bar;
use super::super::say;
use super::super::text::{printable, shape};
use super::TensorAnswer;
use super::errors::{difference, every_type};
use super::figures::{heights, maybe};
use ggscope_model::quant::{BlockDistributions, Distribution, Levels};

/// Levels that are listed one by one; more are drawn.
const LISTED: usize = 16;
/// Width of a drawing in characters.
const WIDTH: usize = 64;

/// The report.
pub(super) fn report(answer: &TensorAnswer) -> String {
    let report = &answer.report;
    let tensor = &report.tensor;
    let mut out = String::new();
    let mut line = |label: &str, text: String| out.push_str(&format!("{label:>12}  {}\n", printable(&text)));
    let layer = tensor.role.layer.map_or(String::new(), |layer| format!(", layer {layer}"));
    line("tensor", format!("{}, {}{layer}", tensor.name, tensor.role.component.name()));
    line("file", format!("{} at byte {}", report.file, say::thousands(tensor.offset)));
    let bytes = tensor.bytes.map_or("?".to_owned(), say::thousands);
    line("shape", format!("{}, {} elements, {bytes} bytes", shape(&tensor.ne), say::thousands(tensor.elements)));
    let bits = tensor.bits_per_weight.map_or("?".to_owned(), |bits| bits.to_string());
    line("type", format!("{}, {bits} bits a weight", tensor.type_name));
    if let Some(blocks) = &report.blocks {
        let scheme = &blocks.scheme;
        let parts = match scheme.sub_blocks {
            1 => String::new(),
            n => format!(", {n} sub-blocks of {}", scheme.elements / n),
        };
        let count = say::thousands(blocks.count);
        line("blocks", format!("{count} of {} elements in {} bytes{parts}", scheme.elements, scheme.bytes));
        line("", scheme.formula.to_owned());
        if blocks.without_scale > 0 {
            line(
                "",
                format!("{} have no scale but 0: all their elements are equal", say::thousands(blocks.without_scale)),
            );
        }
    }
    if let Some(error) = &answer.error {
        line("error", difference(&error.error));
        line("", format!("against {} of the reference", error.reference_type));
    }
    out.push_str(&distributions(&report.values, report.blocks.as_ref()));
    if let Some(blocks) = &report.blocks {
        out.push_str(&levels("quant", &blocks.quants));
        for (name, codes) in [("stored scale", &blocks.scale_codes), ("stored minimum", &blocks.min_codes)] {
            if let Some(codes) = codes {
                out.push_str(&levels(name, codes));
            }
        }
    }
    if let Some(types) = &answer.every_type {
        out.push_str(&every_type(types));
    }
    out
}

fn distributions(values: &Distribution, blocks: Option<&BlockDistributions>) -> String {
    let mut rows = vec![("values", values)];
    if let Some(blocks) = blocks {
        let one_scale = blocks.scheme.sub_blocks == 1;
        rows.extend(blocks.d.as_ref().map(|d| ("d", d)));
        rows.extend(blocks.dmin.as_ref().map(|dmin| ("dmin", dmin)));
        if !one_scale {
            rows.push(("scales", &blocks.scales));
            rows.extend(blocks.mins.as_ref().map(|mins| ("mins", mins)));
        }
    }
    let mut out = format!(
        "\n    {:<6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "", "least", "1%", "25%", "median", "75%", "99%", "largest"
    );
    for (name, d) in &rows {
        let at = |p: f64| maybe(d.quantiles.iter().find(|q| q.p == p).map(|q| f64::from(q.value)));
        let [least, most] = [d.min, d.max].map(|v| maybe(v.map(f64::from)));
        let [a, b, c, e, f] = [0.01, 0.25, 0.5, 0.75, 0.99].map(at);
        out.push_str(&format!("    {name:<6} {least:>9} {a:>9} {b:>9} {c:>9} {e:>9} {f:>9} {most:>9}\n"));
    }
    out.push_str(&format!(
        "\n    {:<6} {:>9} {:>9} {:>9} {:>13} {:>13} {:>9}\n",
        "", "mean", "rms", "deviation", "count", "zeros", "NaN, inf"
    ));
    for (name, d) in &rows {
        out.push_str(&format!(
            "    {name:<6} {:>9} {:>9} {:>9} {:>13} {:>13} {:>9}\n",
            maybe(d.mean),
            maybe(d.rms),
            maybe(d.std),
            say::thousands(d.count),
            say::thousands(d.zeros),
            say::thousands(d.nan + d.infinite)
        ));
    }
    out.push('\n');
    for (name, histogram) in rows.iter().filter_map(|(name, d)| Some((name, d.histogram.as_ref()?))) {
        let drawn = heights(&histogram.counts, WIDTH);
        out.push_str(&format!("    {name:<6} {drawn}\n"));
    }
    out
}

/// How often each level occurs.
fn levels(name: &str, levels: &Levels) -> String {
    let all: u64 = levels.counts.iter().map(|l| l.count).sum();
    let possible = levels.counts.len();
    let said = format!(
        "{} of {possible} levels, {:.2} of {:.2} bits of entropy",
        levels.used,
        levels.entropy_bits,
        (possible as f64).log2()
    );
    let mut out = format!("\n    {name}: {said}\n");
    if possible > LISTED {
        let (least, most) = (levels.counts[0].level, levels.counts[possible - 1].level);
        let counts: Vec<u64> = levels.counts.iter().map(|l| l.count).collect();
        out.push_str(&format!("    {least:>8} {} {most}\n", heights(&counts, WIDTH)));
        return out;
    }
    for level in &levels.counts {
        let share = level.count as f64 / all.max(1) as f64;
        let line = format!(
            "    {:>8} {:>13}  {:>5.1}%  {}",
            level.level,
            say::thousands(level.count),
            share * 100.0,
            bar(share * possible as f64 / 4.0, 40)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
