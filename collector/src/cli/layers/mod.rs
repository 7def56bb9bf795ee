//! `ggscope layers`: hidden states through all layers, what the model would answer at each, and where two runs part.

mod against;
mod lens;
mod table;

use super::say;
use super::terminal::{Form, stdout};
use crate::compute;
use crate::inside::layers::{self, Grinding, Lens, Measure};
use crate::query::range::Numbers;
use crate::trace::Trace;
use anyhow::{Context, bail};
use ggscope_analytics::Device;
use ggscope_model::gguf::Gguf;
use serde::Serialize;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope record --capture layers,logits -o run.ggtrace -- llama-server -m model.gguf

  # Norms, outliers, and what attention and feed-forward add, layer by layer; then one token, then one layer
  ggscope layers run.ggtrace
  ggscope layers run.ggtrace --token 12
  ggscope layers run.ggtrace --layer 5

  # Every token in every layer
  ggscope layers run.ggtrace --measure attention

  # At which layer the answer appears: the final norm and output matrix applied to every layer
  ggscope layers run.ggtrace --lens --model model.gguf --token 12

  # Where a quantised model's hidden states leave those of the reference
  ggscope layers q4.ggtrace --against f16.ggtrace
";

/// Options of `ggscope layers`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace, recorded with the residual stream captured
    file: PathBuf,
    /// Only this token, counted from 0 through the session; of the lens [default: the last]
    #[arg(long, value_name = "N", conflicts_with = "tokens")]
    token: Option<u64>,
    /// Only these tokens
    #[arg(long, value_name = "RANGE")]
    tokens: Option<Numbers>,
    /// Say more of one layer, token by token
    #[arg(long, value_name = "N", conflicts_with_all = ["lens", "against", "measure"])]
    layer: Option<u32>,
    /// One number of every token and layer: norm, mean, rms, largest, outliers, massive, cosine, attention, feed_forward,
    /// nonfinite, or, of the lens, entropy and answer
    #[arg(long, value_name = "NAME", conflicts_with_all = ["lens", "against"], value_parser = measure)]
    measure: Option<Measure>,
    /// What the model would answer behind each layer
    #[arg(long, conflicts_with = "against")]
    lens: bool,
    /// The model that ran, for the lens
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Candidates of each layer
    #[arg(long, value_name = "N", default_value_t = 3, requires = "lens", value_parser = clap::value_parser!(u16).range(1..=100))]
    top: u16,
    /// Where the lens is computed: on a GPU that no traced program uses if the work is worth the trip (auto), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Device,
    /// Compare with the hidden states of another run of the same text
    #[arg(long, value_name = "TRACE")]
    against: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV: a line for each token and layer
    #[arg(long)]
    csv: bool,
}

fn measure(name: &str) -> Result<Measure, String> {
    let found = Measure::ALL.iter().find(|m| m.0 == name);
    let names = || Measure::ALL.map(|m| m.0).join(", ");
    found.map(|m| m.1).ok_or_else(|| format!("there are {}", names()))
}

/// Prints what was asked of the hidden states.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    let tokens = args.token.map(|t| t..t.saturating_add(1)).or(args.tokens.map(|t| t.range()));
    let mut out = stdout(Form::of(args.json, args.csv));
    if let Some(path) = &args.against {
        let reference = Trace::open(path)?;
        let found = layers::against(&trace, &reference, tokens)?;
        print(&args, &mut out, &found, against::text, against::csv)?;
    } else if args.lens {
        let found = lenses(&args, &trace, tokens, args.top.into())?;
        print(&args, &mut out, &found[..], lens::text, lens::csv)?;
    } else if let Some(measure) = args.measure {
        let found = match measure.is_of_lens() {
            true => layers::of_lenses(&lenses(&args, &trace, Some(tokens.unwrap_or(0..u64::MAX)), 1)?, measure),
            false => layers::of_run(&trace, &layers::run(&trace, tokens)?, measure)?,
        };
        print(&args, &mut out, &found, table::matrix, table::matrix_csv)?;
    } else {
        let run = layers::run(&trace, tokens)?;
        let all = layers::layers(&run);
        match args.layer {
            Some(layer) if !run.places.contains(&Some(layer)) => {
                let last = run.places.iter().flatten().max();
                bail!("there is no layer {layer}: the last one is {}", last.map_or("?".into(), u32::to_string));
            }
            _ if args.json => writeln!(out, "{}", serde_json::to_string(&all)?)?,
            layer if args.csv => table::csv(&mut out, &run, layer)?,
            Some(layer) => table::one(&mut out, &run, &all, layer)?,
            None => table::text(&mut out, &all)?,
        }
    }
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints an answer in the form that was asked for.
fn print<T: Serialize + ?Sized, W: Write>(
    args: &Args,
    out: &mut W,
    found: &T,
    text: impl FnOnce(&mut W, &T) -> std::io::Result<()>,
    csv: impl FnOnce(&mut W, &T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if args.json {
        writeln!(out, "{}", serde_json::to_string(found)?)?;
    } else if args.csv {
        csv(out, found)?;
    } else {
        text(out, found)?;
    }
    Ok(())
}

/// The lens of some tokens, or of the last.
fn lenses(args: &Args, trace: &Trace, tokens: Option<Range<u64>>, keep: usize) -> anyhow::Result<Vec<Lens>> {
    let compute = compute::open(args.device, &[])?;
    let how = Grinding { keep, most: u64::MAX, compute: &compute, kept: None };
    Ok(layers::lens(trace, &model(args, trace)?, tokens, &how)?)
}

/// The model that was named. What a trace says is not opened: it may come from anybody.
fn model(args: &Args, trace: &Trace) -> anyhow::Result<Gguf> {
    let of_trace = trace.model().map_or("model.gguf", |m| m.path.as_str());
    let path: &Path = args.model.as_deref().with_context(|| {
        format!("the lens needs the model that ran: name it with --model {}", super::text::printable(of_trace))
    })?;
    Ok(Gguf::open(path)?)
}
