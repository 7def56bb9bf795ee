//! `ggscope export`: a trace in the format of another program, in a file that is there as a whole or not at all.

use super::contexts::named;
use super::output::{Output, Replace};
use super::say;
use anyhow::Context;
use ggscope_export::{Export, ExportOptions, Format};
use ggscope_format::GraphId;
use ggscope_query::contexts::Contexts;
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # Open the timeline at ui.perfetto.dev
  ggscope export run.ggtrace --format perfetto

  # Ask questions with DuckDB, pandas or Polars
  ggscope export run.ggtrace --format parquet -o run.parquet
  duckdb -c \"SELECT op, sum(dur_ns) / 1e6 AS ms FROM 'run.parquet' GROUP BY op ORDER BY ms DESC\"

  # Token 12 in layer 5, for a spreadsheet
  ggscope export run.ggtrace --format csv --token 12 --layer 5 > layer5.csv

  # A layer of the graph as a picture
  ggscope export run.ggtrace --format dot --layer 5 | dot -Tsvg > layer5.svg

Without -o, text goes to stdout if that is no terminal; everything else goes to a file in the working directory that is
named after the trace. docs/export.md describes the columns and tracks of every format.
";

/// Options of `ggscope export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// perfetto, chrome (also for Speedscope), csv, json, parquet, or dot (a graph)
    #[arg(short, long, value_parser = ["perfetto", "chrome", "csv", "json", "parquet", "dot"])]
    format: String,
    /// Where it goes; - is stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it is there already
    #[arg(long)]
    force: bool,
    /// Evaluations of these tokens, counted from 0 through the session
    #[arg(long, visible_alias = "token", value_name = "RANGE")]
    tokens: Option<Numbers>,
    /// Operators of these layers; of a graph one layer with what touches it
    #[arg(long, value_name = "RANGE")]
    layer: Option<Numbers>,
    /// For dot: this graph, by its number within the session; if not given, the one with the most evaluations
    #[arg(long, value_name = "G")]
    graph: Option<u32>,
    /// Evaluations of this context, if the recording has several; for dot, one of its graphs
    #[arg(long, value_name = "N")]
    context: Option<u32>,
}

/// Writes the export.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let format: Format = args.format.parse().map_err(anyhow::Error::msg)?;
    let output = output(&args, format)?;
    let trace = Trace::open(&args.file)?;
    let graph = args.graph.map(GraphId);
    let wanted = ExportOptions { format, tokens: args.tokens, layers: args.layer, graph, context: args.context };
    let export = Export::new(&trace, wanted).with_context(|| args.file.display().to_string())?;
    let written = output.write(|to| export.write(to))?;
    if let Some((path, bytes)) = output.file() {
        let (items, what) = (say::thousands(written.items), written.what);
        say::line(format_args!("{items} {what} → {} ({})", path.display(), say::bytes(bytes)));
    }
    if written.items == 0 {
        say::line(format_args!("{}: nothing matches", args.file.display()));
    }
    if let Some((graph, context)) = export.graph().filter(|_| args.graph.is_none()) {
        let all = Contexts::of(&trace);
        let others = all.others_in_words(context);
        if args.context.is_none() && !others.is_empty() {
            let whose = all.get(context).map_or(format!("context {context}"), named);
            say::line(format_args!("this is graph {graph} of {whose}; --context chooses another: {others}"));
        }
    }
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn output(args: &Args, format: Format) -> anyhow::Result<Output> {
    let path = match &args.output {
        Some(path) => path.clone(),
        None if format.is_text() && !std::io::stdout().is_terminal() => return Ok(Output::Stdout),
        None => {
            let stem = args.file.file_stem().unwrap_or(args.file.as_os_str()).to_string_lossy();
            PathBuf::from(format!("{stem}.{}", format.extension()))
        }
    };
    Output::at(&path, Replace::forced(args.force))?.beside(&args.file)
}
