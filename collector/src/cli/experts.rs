//! `ggscope experts`: which experts of a mixture-of-experts model the tokens of a run went to, how evenly, how much of
//! the file that needed, and what a cache of experts would have hit.

mod report;
mod tables;

use super::contexts::say_chosen;
use super::say;
use super::terminal::{Form, stdout};
use anyhow::Context;
use ggscope_internals::experts::{choices, experts};
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::{Filter, Phase};
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # All layers: load, balance, what goes together, caches
  ggscope experts run.ggtrace

  # Each expert of one layer; only in the answer
  ggscope experts run.ggtrace --layer 5 --phase generate

  # Where each of some tokens went, with weights if they were captured
  ggscope record --capture experts -o run.ggtrace -- llama-server -m moe.gguf
  ggscope experts run.ggtrace --tokens 40..50 --choices

  # What a cache of 16 or 32 experts a layer would have hit
  ggscope experts run.ggtrace --cache 16,32

  # For programs: the report; a line for each layer and expert; a line for each token, layer and expert
  ggscope experts run.ggtrace --json
  ggscope experts run.ggtrace --csv > load.csv
  ggscope experts run.ggtrace --choices --csv > experts.csv

Ranges include both ends: 3..5 is 3, 4 and 5; 3.. is 3 and all after it.
";

/// Options of `ggscope experts`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// These layers; with one, each of its experts is shown
    #[arg(long, value_name = "RANGE")]
    layer: Option<Numbers>,
    /// These tokens, counted from 0 through the session
    #[arg(long, visible_alias = "token", value_name = "RANGE")]
    tokens: Option<Numbers>,
    /// The context that computed the tokens, if the recording has several [default: that of the tokens; else the last one of
    /// the first model]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Tokens of the prompt or of the answer
    #[arg(long, value_parser = ["prompt", "generate", "unknown"])]
    phase: Option<String>,
    /// Try caches of so many experts a layer [default: what a token needs, and parts of all]
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with = "choices",
          value_parser = clap::value_parser!(u32).range(1..))]
    cache: Vec<u32>,
    /// Print what single tokens chose
    #[arg(long)]
    choices: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV: a line for each layer and expert; with --choices for each token, layer and chosen expert
    #[arg(long)]
    csv: bool,
}

/// Prints what the routers of a trace chose.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    let filter = Filter {
        context: args.context,
        tokens: args.tokens,
        layers: args.layer,
        phase: args.phase.as_deref().and_then(Phase::of_word),
        ..Filter::default()
    };
    let mut out = stdout(Form::of(args.json, args.csv));
    let found = match (args.choices, args.csv) {
        (true, true) => tables::choices(&mut out, &trace, &filter)?,
        (true, false) => {
            let found = choices(&trace, &filter).context(args.file.display().to_string())?;
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&found)?)?;
            } else {
                tables::lines(&mut out, &found)?;
            }
            !found.choices.is_empty()
        }
        (false, _) => {
            let found = experts(&trace, &filter, Some(&args.cache).filter(|_| !args.csv).map(Vec::as_slice))
                .context(args.file.display().to_string())?;
            say_chosen(&Contexts::of(&trace), args.context, found.context);
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&found)?)?;
            } else if args.csv {
                tables::loads(&mut out, &found)?;
            } else if !found.layers.is_empty() {
                report::text(&mut out, &found, args.layer.is_some())?;
            }
            !found.layers.is_empty()
        }
    };
    out.flush()?;
    if !found {
        let totals = trace.totals();
        let tokens = totals.tokens();
        say::line(format_args!("{}: no choice of experts matches, among {tokens} tokens", args.file.display()));
    }
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}
