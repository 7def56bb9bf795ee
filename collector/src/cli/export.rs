//! `ggscope export`: a trace in the format of another program, in a file that is there as a whole or not at all.

use super::say;
use crate::export::{Export, ExportError, Format, Wanted, Written};
use crate::live::{Blocked, die_by};
use crate::query::range::Numbers;
use crate::trace::Trace;
use anyhow::{Context, bail};
use ggscope_format::GraphId;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
    #[arg(long, value_name = "A[..B]")]
    token: Option<Numbers>,
    /// Operators of these layers; of a graph one layer with what touches it
    #[arg(long, value_name = "N[..M]")]
    layer: Option<Numbers>,
    /// For dot: this graph, by its number within the session; if not given, the one with the most evaluations
    #[arg(long, value_name = "G")]
    graph: Option<u32>,
}

/// Where an export goes.
enum Output {
    Stdout,
    /// A pipe or a device: written as it is.
    Device(PathBuf),
    /// Written under another name, and renamed when it is whole.
    File(PathBuf),
}

/// Writes the export.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let format: Format = args.format.parse().map_err(anyhow::Error::msg)?;
    let output = output(&args, format)?;
    let trace = Trace::open(&args.file)?;
    let wanted = Wanted { format, tokens: args.token, layers: args.layer, graph: args.graph.map(GraphId) };
    let export = Export::new(&trace, wanted).with_context(|| args.file.display().to_string())?;
    let written = match &output {
        Output::Stdout => export.write(&mut std::io::stdout()).context("cannot write to stdout")?,
        Output::Device(path) => {
            let file = OpenOptions::new().write(true).open(path).map_err(Into::into);
            file.and_then(|mut file| export.write(&mut file)).with_context(|| cannot_write(path))?
        }
        Output::File(path) => whole_file(&export, path, args.force).with_context(|| cannot_write(path))?,
    };
    if let Output::File(path) = &output {
        let bytes = path.metadata().map_or(0, |m| m.len());
        let (items, what) = (say::thousands(written.items), written.what);
        say::line(format_args!("{items} {what} → {} ({})", path.display(), say::bytes(bytes)));
    }
    if written.items == 0 {
        say::line(format_args!("{}: nothing matches", args.file.display()));
    }
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn output(args: &Args, format: Format) -> anyhow::Result<Output> {
    let path = match &args.output {
        Some(path) if path.as_os_str() == "-" => return Ok(Output::Stdout),
        Some(path) => path.clone(),
        None if format.is_text() && !std::io::stdout().is_terminal() => return Ok(Output::Stdout),
        None => {
            let stem = args.file.file_stem().unwrap_or(args.file.as_os_str()).to_string_lossy();
            PathBuf::from(format!("{stem}.{}", format.extension()))
        }
    };
    match path.metadata() {
        Ok(of) if of.is_dir() => bail!("cannot write {}: it is a directory", path.display()),
        Ok(of) if !of.is_file() => Ok(Output::Device(path)),
        Ok(_) if !args.force => bail!(exists(&path)),
        _ => Ok(Output::File(path)),
    }
}

fn exists(path: &Path) -> String {
    format!("{} exists already: choose another name with -o, or replace it with --force", path.display())
}

/// Writes a file beside the one that is wanted, and gives it that one's name when all of it is there.
fn whole_file(export: &Export<'_>, path: &Path, force: bool) -> Result<Written, ExportError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut builder = tempfile::Builder::new();
    // As any new file: what others may do with it is for the umask to say.
    builder.prefix(&*name).suffix(".part").permissions(Permissions::from_mode(0o666));
    // Before the file is there, so that none is left behind by whoever ends us.
    let signals = Blocked::block()?;
    let mut part = builder.tempfile_in(dir)?;
    let unfinished = part.path().to_owned();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let signal = signals.await_end();
        let _ = std::fs::remove_file(unfinished);
        die_by(signal.number)
    })?;
    let written = export.write(part.as_file_mut() as &mut (dyn Write + Send))?;
    let persisted: Result<File, _> = if force { part.persist(path) } else { part.persist_noclobber(path) };
    persisted.map_err(|error| error.error)?;
    Ok(written)
}
