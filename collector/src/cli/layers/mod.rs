//! `ggscope layers`: hidden states through all layers, what the model would answer at each, and where two runs part.

mod against;
mod lens;
mod table;

use super::contexts::{named, say_chosen};
use super::say;
use super::terminal::{Form, stdout};
use anyhow::{Context, bail};
use ggscope_compute::Device;
use ggscope_compute::open_device;
use ggscope_internals::hidden_states::{self, Lens, LensOptions, Measure, WithoutLens};
use ggscope_model::gguf::Gguf;
use ggscope_query::contexts::{Contexts, of_tokens};
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
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
    /// The context that computed the tokens, if the recording has several [default: each of them, one after the
    /// other; with --json, --layer, --lens or --against that of the tokens, else the last one of the first model]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
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
    /// The context of the other recording [default: the one of the same number, else as of --context]
    #[arg(long, value_name = "N", requires = "against")]
    against_context: Option<u32>,
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
    let all = Contexts::of(&trace);
    if let Some(path) = &args.against {
        let reference = Trace::open(path)?;
        let found = hidden_states::against(&trace, &reference, (args.context, args.against_context), tokens)?;
        say_chosen(&all, args.context, found.context);
        print(&args, &mut out, &found, against::text, against::csv)?;
    } else if args.lens {
        let found = lenses(&args, &trace, tokens, args.top.into())?;
        print(&args, &mut out, &found[..], |out, found| lens::text(out, found, &all), lens::csv)?;
    } else {
        by_context(&args, &trace, &all, tokens, &mut out)?;
    }
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a table for each context, one after the other, or of the one that is meant where there is only room for one.
fn by_context(
    args: &Args,
    trace: &Trace,
    all: &Contexts,
    tokens: Option<Range<u64>>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let contexts = match args.context {
        None if !args.json && args.layer.is_none() => hidden_states::contexts(trace, tokens.as_ref())?,
        _ => vec![],
    };
    if contexts.len() < 2 {
        let chosen = of_context(args, trace, args.context, tokens.clone(), (out, true))?;
        let is_clear = tokens.filter(|t| of_tokens(trace, t).len() < 2).map(|_| chosen);
        say_chosen(all, args.context.or(is_clear), chosen);
        return Ok(());
    }
    if !args.csv {
        let n = contexts.iter().filter_map(|&c| all.get(c)).map(|c| c.tokens).sum();
        let what =
            if tokens.is_some() { "these tokens are".to_owned() } else { format!("{} tokens", say::thousands(n)) };
        writeln!(out, "{what} of {} contexts, each on its own below; --context N shows one", contexts.len())?;
    }
    let (mut failed, mut any) = (None, false);
    for context in contexts {
        if let Some(context) = all.get(context).filter(|_| !args.csv) {
            writeln!(out, "\n{}", named(context))?;
        }
        match of_context(args, trace, Some(context), tokens.clone(), (out, !any)) {
            Ok(_) => any = true,
            Err(error) => {
                // A context without states is no reason to keep those of the others back.
                if !args.csv {
                    writeln!(out, "  {error}")?;
                }
                failed = failed.or(Some(error));
            }
        }
    }
    failed.filter(|_| !any).map_or(Ok(()), Err)
}

/// Prints the table of one context, as CSV with a line of names or without, and returns which context that is.
fn of_context(
    args: &Args,
    trace: &Trace,
    context: Option<u32>,
    tokens: Option<Range<u64>>,
    (out, names): (&mut impl Write, bool),
) -> anyhow::Result<u32> {
    if let Some(measure) = args.measure {
        let found = if measure.is_of_lens() {
            let chosen = hidden_states::context(trace, context, tokens.as_ref())?;
            let found = lenses_of(args, trace, Some(chosen), Some(tokens.unwrap_or(0..u64::MAX)), 1)?;
            hidden_states::of_lenses(&found, measure)
        } else {
            hidden_states::of_run(trace, &hidden_states::run(trace, context, tokens)?, measure)?
        };
        print(args, out, &found, table::matrix, |out, found| table::matrix_csv(out, found, names))?;
        return Ok(found.context);
    }
    let run = hidden_states::run(trace, context, tokens)?;
    let all = hidden_states::layers(&run);
    match args.layer {
        Some(layer) if !run.places.contains(&Some(layer)) => {
            let last = run.places.iter().flatten().max();
            bail!("there is no layer {layer}: the last one is {}", last.map_or("?".into(), u32::to_string));
        }
        _ if args.json => writeln!(out, "{}", serde_json::to_string(&all)?)?,
        layer if args.csv => table::csv(&mut *out, &run, layer, names)?,
        Some(layer) => table::one(out, &run, &all, layer)?,
        None => table::text(out, &all)?,
    }
    Ok(run.context)
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
    lenses_of(args, trace, args.context, tokens, keep)
}

/// The same of a context, or of each that has some of the tokens.
fn lenses_of(
    args: &Args,
    trace: &Trace,
    context: Option<u32>,
    tokens: Option<Range<u64>>,
    keep: usize,
) -> anyhow::Result<Vec<Lens>> {
    let compute = open_device(args.device, &[])?;
    let how = LensOptions { keep, most: u64::MAX, compute: &compute, kept: None };
    let (found, without) = hidden_states::lens(trace, &model(args, trace)?, context, tokens, &how)?;
    for WithoutLens { context, tokens, why } in without {
        say::line(format_args!("{} tokens of context {context} have no lens: {why}", say::thousands(tokens)));
    }
    Ok(found)
}

/// The model that was named. What a trace says is not opened: it may come from anybody.
fn model(args: &Args, trace: &Trace) -> anyhow::Result<Gguf> {
    let of_trace = trace.model().map_or("model.gguf", |m| m.path.as_str());
    let path: &Path = args.model.as_deref().with_context(|| {
        format!("the lens needs the model that ran: name it with --model {}", super::text::printable(of_trace))
    })?;
    Ok(Gguf::open(path)?)
}
