//! `ggscope leaves`: what a graph begins with: inputs, caches and weights, and who uses them.

use super::contexts::named;
use super::say;
use super::terminal::{Form, stdout};
use super::text::{place, printable, shape, stretches};
use ggscope_format::record::MAX_DIMS;
use ggscope_query::contexts::Contexts;
use ggscope_query::leaves::{Leaf, UsedBy, leaves};
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_trace::Trace;
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope leaves run.ggtrace
  ggscope leaves run.ggtrace --json | jq '.[] | select(.memory == \"BUFFER\")'
  ggscope leaves run.ggtrace --context 1                # of one of several contexts

Each context has its own inputs and caches. Weights are those of a model: contexts that share them are named in one row.
";

/// Options of `ggscope leaves`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// Leaves of this context alone, if the recording has several
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Print JSON: an array of leaves
    #[arg(long)]
    json: bool,
}

/// Prints the leaves of a trace.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    let contexts = Contexts::of(&trace);
    if let Some(context) = args.context {
        contexts.check(context).map_err(anyhow::Error::msg)?;
    }
    let leaves = leaves(&trace, &Table::new(&trace, DEFAULT_MEMORY), args.context);
    let mut out = stdout(Form::of(args.json, false));
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&leaves)?)?;
    } else {
        let several = args.context.is_none() && contexts.iter().count() > 1;
        if several {
            contexts.iter().try_for_each(|context| writeln!(out, "{}", named(context)))?;
            writeln!(out)?;
        }
        table(&mut out, &leaves, several)?;
    }
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The columns, and which of them are numbers.
const COLUMNS: [(&str, bool); 8] = [
    ("leaf", false),
    (CONTEXT, false),
    ("meaning", false),
    ("shape", false),
    ("size", true),
    ("where", false),
    ("accesses", true),
    ("used by", false),
];

/// The column that is there if there are several contexts.
const CONTEXT: &str = "context";

fn table(out: &mut impl Write, leaves: &[Leaf], several_contexts: bool) -> std::io::Result<()> {
    let head = COLUMNS.map(|column| column.0.to_owned());
    let rows: Vec<[String; 8]> = [head].into_iter().chain(by_name(leaves).iter().map(row)).collect();
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    for row in &rows {
        let cells =
            row.iter().zip(COLUMNS).zip(widths).filter(|((_, column), _)| several_contexts || column.0 != CONTEXT);
        let cells = cells.map(|((cell, (_, number)), width)| match number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn row(Shapes { leaf, least, most, bytes }: &Shapes) -> [String; 8] {
    let used_by: Vec<String> = leaf.used_by.iter().map(used_by).collect();
    let contexts: Vec<String> = leaf.context.iter().chain(&leaf.contexts).map(u32::to_string).collect();
    [
        printable(&leaf.name).into_owned(),
        contexts.join(", "),
        printable(&leaf.meaning).into_owned(),
        format!("{}{}", printable(&leaf.dtype), shapes(least, most)),
        if bytes.0 == bytes.1 {
            say::bytes(bytes.0)
        } else {
            format!("{} to {}", say::bytes(bytes.0), say::bytes(bytes.1))
        },
        place(leaf.memory, leaf.file.as_deref(), leaf.offset, leaf.buffer.as_deref()),
        say::thousands(leaf.accesses),
        printable(&used_by.join(", ")).into_owned(),
    ]
}

/// A leaf in all the shapes that it has, for example for prompts of different lengths.
struct Shapes {
    /// With the uses of all of them.
    leaf: Leaf,
    least: [i64; MAX_DIMS],
    most: [i64; MAX_DIMS],
    bytes: (u64, u64),
}

/// One row for each name, type, meaning, place and context; JSON has one for each shape.
fn by_name(leaves: &[Leaf]) -> Vec<Shapes> {
    let mut rows: Vec<Shapes> = vec![];
    let mut known = HashMap::new();
    for leaf in leaves {
        let place = (&leaf.file, leaf.offset, &leaf.buffer);
        let key = (&leaf.name, &leaf.dtype, &leaf.meaning, place, leaf.context, &leaf.contexts);
        let i = *known.entry(key).or_insert(rows.len());
        let Some(row) = rows.get_mut(i) else {
            rows.push(Shapes { leaf: leaf.clone(), least: leaf.ne, most: leaf.ne, bytes: (leaf.bytes, leaf.bytes) });
            continue;
        };
        row.least = std::array::from_fn(|d| row.least[d].min(leaf.ne[d]));
        row.most = std::array::from_fn(|d| row.most[d].max(leaf.ne[d]));
        row.bytes = (row.bytes.0.min(leaf.bytes), row.bytes.1.max(leaf.bytes));
        row.leaf.accesses += leaf.accesses;
        for used in &leaf.used_by {
            match row.leaf.used_by.iter_mut().find(|known| known.op == used.op) {
                Some(known) => {
                    known.operators = known.operators.max(used.operators);
                    known.layers.extend(&used.layers);
                    known.layers.sort_unstable();
                    known.layers.dedup();
                }
                None => row.leaf.used_by.push(used.clone()),
            }
        }
    }
    rows
}

/// `[256×1]` to `[256×41]` is `[256×1-41]`.
fn shapes(least: &[i64; MAX_DIMS], most: &[i64; MAX_DIMS]) -> String {
    if least == most {
        return shape(least);
    }
    let shown = most.iter().rposition(|&n| n != 1).map_or(1, |d| d + 1);
    let dim = |(a, b): (&i64, &i64)| if a == b { a.to_string() } else { format!("{a}-{b}") };
    let dims: Vec<String> = least.iter().zip(most).take(shown).map(dim).collect();
    format!("[{}]", dims.join("×"))
}

/// `ROPE ×60 in layers 0-29`.
fn used_by(used: &UsedBy) -> String {
    let times = if used.operators > 1 { format!(" ×{}", used.operators) } else { String::new() };
    match used.layers.len() {
        0 => format!("{}{times}", used.op),
        1 => format!("{}{times} in layer {}", used.op, used.layers[0]),
        _ => format!("{}{times} in layers {}", used.op, stretches(&used.layers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_of_prompts_of_several_lengths_is_one_row_with_all_its_uses() {
        let input = |n, operators, layer| Leaf {
            name: "inp_pos".into(),
            dtype: "i32".into(),
            context: Some(0),
            contexts: vec![],
            ne: [n, 1, 1, 1],
            bytes: n as u64 * 4,
            meaning: "positions for RoPE".into(),
            memory: "BUFFER",
            file: None,
            offset: None,
            buffer: Some("CPU".into()),
            used_by: vec![UsedBy { op: "ROPE".into(), layers: vec![layer], operators }],
            accesses: 10,
        };
        let other = Leaf { context: Some(1), ..input(7, 60, 1) };
        assert_eq!(by_name(&[input(41, 60, 1), other]).len(), 2, "of two contexts");
        let rows = by_name(&[input(41, 60, 1), input(1, 58, 0), input(5, 60, 1)]);
        assert_eq!(rows.len(), 1);
        assert_eq!(shapes(&rows[0].least, &rows[0].most), "[1-41]");
        assert_eq!((rows[0].bytes, rows[0].leaf.accesses), ((4, 164), 30));
        assert_eq!(used_by(&rows[0].leaf.used_by[0]), "ROPE ×60 in layers 0-1");
    }
}
