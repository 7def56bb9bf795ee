//! `ggscope diff`: what a token costs in one trace and in another.

use super::contexts::say_chosen;
use super::say;
use super::terminal::{Form, stdout};
use super::text::printable;
use ggscope_query::compare::{By, Comparison, Difference, Side, Spent, compare};
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::Phase;
use ggscope_trace::Trace;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # What a generated token costs more or less after a change
  ggscope diff before.ggtrace after.ggtrace --phase generate

  # The tensors that differ most
  ggscope diff before.ggtrace after.ggtrace --by tensor | head -20

  # For programs
  ggscope diff before.ggtrace after.ggtrace --json | jq '.rows[] | select(.ratio > 1.1) | .key'

Times are an operator's own, a token of the trace; difference and ratio are the second trace's against the first's.
Tensors are matched by name and operator, and those without a name of their own by operator and layer.
diff compares one context of each trace: --context and --against-context choose it. Without them it is the one of the
first model that computed a token last.
";

/// Keys of unmatched rows that are listed below the table.
const LISTED: usize = 12;

/// Options of `ggscope diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The first trace
    a: PathBuf,
    /// The second trace
    b: PathBuf,
    /// What is a row: a kind of operator, a layer, or a computed tensor
    #[arg(long, default_value = "op", value_parser = ["op", "layer", "tensor"])]
    by: String,
    /// Tokens of the prompt, of the answer, or of unknown phase; all if not given
    #[arg(long, value_parser = ["prompt", "generate", "unknown"])]
    phase: Option<String>,
    /// The context of the first trace, if it has several [default: of its first model's the one that computed a token last]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// The context of the second trace [default: the one of the same number, else as of --context]
    #[arg(long, value_name = "N")]
    against_context: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the comparison.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let by: By = args.by.parse().map_err(anyhow::Error::msg)?;
    let phase = args.phase.as_deref().and_then(Phase::of_word);
    let (a, b) = (Trace::open(&args.a)?, Trace::open(&args.b)?);
    let files = [&args.a, &args.b];
    let compared = compare(&a, &b, (args.context, args.against_context), by, phase)
        .map_err(|(which, why)| anyhow::anyhow!("{}: {why}", files[which].display()))?;
    let mut out = stdout(Form::of(args.json, false));
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&compared)?)?;
    } else {
        out.write_all(table(&compared).as_bytes())?;
    }
    out.flush()?;
    if let Some(context) = compared.a.context {
        say_chosen(&Contexts::of(&a), args.context, context);
    }
    for (path, trace) in [(&args.a, &a), (&args.b, &b)] {
        for warning in trace.warnings() {
            say::line(format_args!("{}: {warning}", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(compared: &Comparison) -> String {
    let mut out = String::new();
    for (letter, side) in [("a", &compared.a), ("b", &compared.b)] {
        out.push_str(&format!("{letter}  {}\n", summary(side)));
    }
    let keys: Vec<_> = compared.rows.iter().map(|row| printable(&row.key)).collect();
    let width = keys.iter().map(|key| key.chars().count()).max().unwrap_or(0).clamp(8, 48);
    let what = match compared.by {
        By::Op => "operator",
        By::Layer => "layer",
        By::Tensor => "tensor",
    };
    out.push_str(&format!(
        "\n{what:<width$}  {:>11}  {:>11}  {:>13}  {:>13}  {:>13}  {:>7}\n",
        "count a", "count b", "µs/token a", "µs/token b", "difference", "ratio"
    ));
    for (row, key) in compared.rows.iter().zip(&keys) {
        out.push_str(&line(row, key, width));
    }
    for (letter, keys) in [("a", &compared.unmatched_a), ("b", &compared.unmatched_b)] {
        if !keys.is_empty() {
            let listed: Vec<_> = keys.iter().take(LISTED).map(|key| printable(key)).collect();
            let more = if keys.len() > LISTED { ", …" } else { "" };
            out.push_str(&format!("only in {letter}: {} ({}{more})\n", keys.len(), listed.join(", ")));
        }
    }
    out
}

fn summary(side: &Side) -> String {
    let number = say::thousands;
    let per_token = side.ns_per_token.map_or("no tokens".into(), |ns| format!("{:.3} ms a token", ns / 1e6));
    let attributed = if side.ns == 0 { 0.0 } else { side.operator_ns as f64 * 100.0 / side.ns as f64 };
    let context = match side.context {
        Some(context) if !side.other_contexts.is_empty() => format!(", context {context}"),
        _ => String::new(),
    };
    format!(
        "{}{context}: {} tokens in {} evaluations, {per_token}, {attributed:.1}% of it attributed to operators",
        printable(&side.trace),
        number(side.tokens),
        number(side.evaluations)
    )
}

fn line(row: &Difference, key: &str, width: usize) -> String {
    let count = |spent: Option<Spent>| spent.map_or("-".into(), |s| say::thousands(s.count));
    let micros = |ns: Option<f64>| ns.map_or("-".into(), |ns| format!("{:.3}", ns / 1e3));
    let time = |spent: Option<Spent>| micros(spent.and_then(|s| s.ns_per_token));
    let difference = row.difference_ns_per_token.map_or("-".into(), |ns| format!("{:+.3}", ns / 1e3));
    let ratio = row.ratio.map_or("-".into(), |r| format!("{r:.3}"));
    format!(
        "{key:<width$}  {:>11}  {:>11}  {:>13}  {:>13}  {difference:>13}  {ratio:>7}\n",
        count(row.a),
        count(row.b),
        time(row.a),
        time(row.b)
    )
}
