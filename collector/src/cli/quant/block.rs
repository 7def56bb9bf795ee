//! One block, written out: its bytes, scales and minimums, and for each sub-block the quants `q` and the values `x`.

use super::super::say;
use super::super::text::printable;
use super::figures::number;
use ggscope_model::quant::{Block, GridPoint};

/// Bytes, quants and values in a line.
const BYTES: usize = 32;
const QUANTS: usize = 16;
const VALUES: usize = 8;

/// The report.
pub(super) fn report(block: &Block) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| out.push_str(&format!("{label:>12}  {}\n", printable(&text)));
    let scheme = &block.scheme;
    let last = block.at.iter().rposition(|&at| at > 0).unwrap_or(0).max(1);
    let at: Vec<String> = block.at[..=last].iter().map(u64::to_string).collect();
    line("block", format!("{} of {} in {}", say::thousands(block.index), say::thousands(block.of), block.tensor));
    line("type", format!("{}, {} elements from [{}]", block.type_name, scheme.elements, at.join(", ")));
    line("", scheme.formula.to_owned());
    line("file", format!("{} at byte {}", block.file, say::thousands(block.offset)));
    for (i, bytes) in block.bytes.as_bytes().chunks(2 * BYTES).enumerate() {
        let label = if i == 0 { format!("{} bytes", scheme.bytes) } else { String::new() };
        line(&label, String::from_utf8_lossy(bytes).into_owned());
    }
    for (label, value) in [("d", block.d), ("dmin", block.dmin)] {
        if let Some(value) = value {
            line(label, value.to_string());
        }
    }
    let each = scheme.elements as usize / block.sub_blocks.len();
    let quants = block.sub_blocks.iter().flat_map(|s| &s.quants);
    let width = quants.map(|q| q.to_string().len()).max().unwrap_or(1);
    let points = block.grid.len() / block.sub_blocks.len();
    for (i, sub_block) in block.sub_blocks.iter().enumerate() {
        let mut head = format!("\n    sub-block {i:<3}");
        let codes = [("s", sub_block.scale_code), ("m", sub_block.min_code)];
        for (name, code) in codes.iter().filter_map(|(name, code)| Some((name, (*code)?))) {
            head.push_str(&format!("  {name} {code:<4}"));
        }
        head.push_str(&format!("  scale {}", sub_block.scale));
        if let Some(min) = sub_block.min {
            head.push_str(&format!("  min {min}"));
        }
        out.push_str(&format!("{head}\n"));
        for (label, row) in labelled("grid", block.grid[i * points..(i + 1) * points].chunks(VALUES)) {
            let row: Vec<String> = row.iter().map(point).collect();
            out.push_str(&format!("    {label:<4} {}\n", row.join(" ")));
        }
        for (label, row) in labelled("q", sub_block.quants.chunks(QUANTS)) {
            let row: String = row.iter().map(|q| format!(" {q:>width$}")).collect();
            out.push_str(&format!("    {label:<4}{row}\n"));
        }
        let values = block.values.as_deref().unwrap_or_default().get(i * each..(i + 1) * each).unwrap_or_default();
        for (label, row) in labelled("x", values.chunks(VALUES)) {
            let row: String = row.iter().map(|&v| format!(" {:>8}", number(v.into()))).collect();
            out.push_str(&format!("    {label:<4}{row}\n"));
        }
    }
    out
}

/// Rows, the first one with its label.
fn labelled<'a, T>(label: &'a str, rows: impl Iterator<Item = T> + 'a) -> impl Iterator<Item = (&'a str, T)> {
    rows.enumerate().map(move |(i, row)| (if i == 0 { label } else { "" }, row))
}

/// `1203±b4` is point 1203 with the signs b4; `77+0.125` is point 77, moved up.
fn point(point: &GridPoint) -> String {
    let signs = point.signs.map_or(String::new(), |signs| format!("±{signs:02x}"));
    let shift = point.shift.map_or(String::new(), |shift| format!("{shift:+}"));
    format!("{}{signs}{shift}", point.index)
}
