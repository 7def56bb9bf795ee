//! `ggscope leaves`: what a graph begins with: inputs, caches and weights, and who uses them.

use super::say;
use super::text::{place, printable, shape};
use crate::query::leaves::{Leaf, UsedBy, leaves};
use crate::trace::Trace;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope leaves run.ggtrace
  ggscope leaves run.ggtrace --json | jq '.[] | select(.memory == \"BUFFER\")'
";

/// Options of `ggscope leaves`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// Print JSON: an array of leaves
    #[arg(long)]
    json: bool,
}

/// Prints the leaves of a trace.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    let leaves = leaves(&trace);
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&leaves)?)?;
    } else {
        table(&mut out, &leaves)?;
    }
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(out: &mut impl Write, leaves: &[Leaf]) -> std::io::Result<()> {
    let rows: Vec<[String; 7]> = leaves
        .iter()
        .map(|leaf| {
            let used_by: Vec<String> = leaf.used_by.iter().map(used_by).collect();
            [
                printable(&leaf.name).into_owned(),
                printable(&leaf.meaning).into_owned(),
                format!("{}{}", printable(&leaf.dtype), shape(&leaf.ne)),
                say::bytes(leaf.bytes),
                place(leaf.memory, leaf.file.as_deref(), leaf.offset, leaf.buffer.as_deref()),
                say::thousands(leaf.accesses),
                printable(&used_by.join(", ")).into_owned(),
            ]
        })
        .collect();
    let head = ["leaf", "meaning", "shape", "size", "where", "accesses", "used by"].map(str::to_owned);
    let width = |i: usize| rows.iter().chain([&head]).map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for [name, meaning, shape, size, place, accesses, used_by] in [&head].into_iter().chain(&rows) {
        let [a, b, c, d, e, f, _] = widths;
        writeln!(out, "{name:<a$}  {meaning:<b$}  {shape:<c$}  {size:>d$}  {place:<e$}  {accesses:>f$}  {used_by}")?;
    }
    Ok(())
}

/// `ROPE ×60 in layers 0-29`.
fn used_by(used: &UsedBy) -> String {
    let mut stretches: Vec<(u32, u32)> = vec![];
    for &layer in &used.layers {
        match stretches.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(layer) => *last = layer,
            _ => stretches.push((layer, layer)),
        }
    }
    let times = if used.operators > 1 { format!(" ×{}", used.operators) } else { String::new() };
    let layers: Vec<String> =
        stretches.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    match used.layers.len() {
        0 => format!("{}{times}", used.op),
        1 => format!("{}{times} in layer {}", used.op, layers[0]),
        _ => format!("{}{times} in layers {}", used.op, layers.join(",")),
    }
}
