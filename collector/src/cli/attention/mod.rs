//! `ggscope attention`: what a token looked at, head by head, computed again from the run's own queries and keys.

mod against;
mod picture;

use super::contexts::{say_chosen, whose};
use super::inspect::amounts::bar;
use super::say;
use super::terminal::{Form, stdout};
use super::text::printable;
use ggscope_compute::open_device;
use ggscope_compute::{Compute, Device, Ran};
use ggscope_internals::attention::{Attention, HeadRow, Key, Span, add_contributions, attention, for_each_row_on};
use ggscope_model::gguf::Gguf;
use ggscope_query::contexts::Contexts;
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope record --capture attention -o run.ggtrace -- llama-server -m model.gguf

  # What the last token looked at in layer 5, by each head
  ggscope attention run.ggtrace --layer 5

  # One head, with a bar for each key; all four stages of it
  ggscope attention run.ggtrace --layer 5 --head 3 --token 12
  ggscope attention run.ggtrace --layer 5 --head 3 --token 12 --json

  # How much each head adds to the residual stream
  ggscope record --capture attention,values -o run.ggtrace -- llama-server -m model.gguf
  ggscope attention run.ggtrace --layer 5 --model model.gguf

  # Where the heads of one quantisation look elsewhere than those of another, on the same prompt
  ggscope attention q4.ggtrace --against f16.ggtrace

  # Tokens × keys as a picture: of a head, or of all heads of the layer
  ggscope attention run.ggtrace --layer 5 --head 3 --png head.png
  ggscope attention run.ggtrace --layer 5 --tokens 0..99 --png > layer.png

  # Many tokens, in all layers: a line of JSON for each token and layer
  ggscope attention run.ggtrace --tokens 0..99 > rows.ndjson

Ranges include both ends: 3..5 is 3, 4 and 5; 3.. is 3 and all after it.
";

/// Keys of a head that are shown on one line.
const TOP: usize = 4;
/// Keys that are shown with a bar each.
const BARS: usize = 24;
const BAR: usize = 40;

/// Options of `ggscope attention`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace, recorded with --capture attention
    file: PathBuf,
    /// The token, counted from 0 through the session [default: the last]
    #[arg(long, value_name = "N")]
    token: Option<u64>,
    /// These tokens: the weights of each, a line of JSON for a token and a layer; with --png, its rows
    /// [default there: the last 1,024]
    #[arg(long, value_name = "RANGE", conflicts_with = "token")]
    tokens: Option<Numbers>,
    /// The context that computed the tokens, if the recording has several [default: that of the tokens; else the last one of
    /// the first model]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// The layer [default: the first that was captured; all of them with --tokens]
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// The head [default: all of the layer]
    #[arg(long, value_name = "N")]
    head: Option<usize>,
    /// Another recording of the same prompt, by another quantisation or model: how far each head is off
    #[arg(long, value_name = "TRACE", conflicts_with_all = ["token", "head", "vectors", "model"])]
    against: Option<PathBuf>,
    /// The context of the other recording [default: the one of the same number, else as of --context]
    #[arg(long, value_name = "N", requires = "against")]
    against_context: Option<u32>,
    /// Where --tokens and --against compute: on a GPU that no traced program uses if the work is worth the trip (auto), cpu,
    /// or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Device,
    /// Print JSON: keys and, for each head, q·k, scaled, masked and softmax
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV: a line for each head and key
    #[arg(long)]
    csv: bool,
    /// Draw tokens × keys as a PNG; without FILE to stdout, or on a terminal to a file that is named after the trace
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with_all = ["json", "csv", "token", "against", "model"])]
    png: Option<Option<PathBuf>>,
    /// Where the picture goes; - is stdout
    #[arg(short, long, value_name = "FILE", requires = "png")]
    output: Option<PathBuf>,
    /// Replace the picture if it is there already
    #[arg(long, requires = "png")]
    force: bool,
    /// In JSON also the vectors that the numbers come from: queries, keys, and values where they were captured
    #[arg(long, requires = "json", conflicts_with_all = ["csv", "png", "tokens"])]
    vectors: bool,
    /// The model's GGUF file: says how much each head adds to the residual stream, if --capture had `values`
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    model: Option<PathBuf>,
}

/// Prints the attention of a token.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    if args.png.is_some() {
        return picture::run(&trace, &args);
    }
    let tokens = args.tokens.map(|tokens| tokens.range());
    let n_tokens = trace.totals().tokens();
    if let Some(first) = tokens.as_ref().map(|tokens| tokens.start).filter(|&first| first >= n_tokens && n_tokens > 0) {
        anyhow::bail!(ggscope_internals::no_token(first, n_tokens));
    }
    let mut out = stdout(Form::of(args.json, args.csv));
    let device = Arc::new(open_device(args.device, &[])?);
    if let Some(path) = &args.against {
        let reference = Trace::open(path)?;
        let layers = args.layer.map(|layer| layer..=layer);
        let contexts = (args.context, args.against_context);
        let found = ggscope_internals::attention::against(&trace, &reference, contexts, tokens, layers, &device)?;
        say_chosen(&Contexts::of(&trace), args.context, found.context);
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&found)?)?;
        } else if args.csv {
            against::csv(&mut out, &found)?;
        } else {
            against::text(&mut out, &found)?;
        }
        return Ok(out.flush().map(|()| ExitCode::SUCCESS)?);
    }
    if let Some(tokens) = tokens {
        anyhow::ensure!(args.head.is_none(), "--tokens prints all heads; --head goes with --token, or with --png");
        anyhow::ensure!(!args.csv, "--tokens prints a line of JSON for each token and layer, and no CSV");
        let layers = args.layer.map(|layer| layer..=layer);
        Contexts::of(&trace).choose(&trace, args.context, Some(&tokens)).map_err(anyhow::Error::msg)?;
        rows(&mut out, &trace, &Span { tokens, layers, context: args.context }, &device)?;
        return Ok(ExitCode::SUCCESS);
    }
    let layer = args.layer.unwrap_or_else(|| ggscope_internals::attention::first_layer(&trace));
    let mut found = attention(&trace, args.context, args.token, layer, args.head, args.vectors)?;
    if let Some(path) = &args.model {
        if let Some(why) = &found.no_values {
            anyhow::bail!("what the heads add is not known: {why}; record with --capture attention,values");
        }
        add_contributions(&mut found, &trace, &Gguf::open(path)?)
            .map_err(|why| anyhow::anyhow!("what the heads add is not known: {why}"))?;
    }
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&found)?)?;
    } else if args.csv {
        table(&mut out, &found)?;
    } else {
        text(&mut out, &found, &whose(&Contexts::of(&trace), found.context))?;
    }
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// One line: a token in a layer.
#[derive(Serialize)]
struct Line<'a> {
    context: u32,
    token: u64,
    eval: u64,
    layer: u32,
    n_head: usize,
    /// Rows of the cache.
    cells: Vec<u64>,
    /// The tokens in them.
    tokens: Vec<Option<u64>>,
    /// One list for each head.
    weights: Vec<&'a [f32]>,
    #[serde(skip_serializing_if = "<[f32]>::is_empty")]
    sinks: &'a [f32],
}

/// Prints the attention of many tokens, and what there is none of.
fn rows(out: &mut impl Write, trace: &Trace, span: &Span, device: &Arc<Compute>) -> anyhow::Result<()> {
    let mut wrote = Ok(());
    let walked = for_each_row_on(trace, span, device, |row| {
        let n = row.keys.len();
        let line = Line {
            context: row.context,
            token: row.token,
            eval: row.eval.0,
            layer: row.layer,
            n_head: row.n_head,
            cells: row.keys.iter().map(|key| key.cell).collect(),
            tokens: row.keys.iter().map(|key| key.token).collect(),
            weights: (0..row.n_head).map(|head| &row.weights[head * n..(head + 1) * n]).collect(),
            sinks: row.sinks,
        };
        wrote = serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from).and_then(|()| writeln!(out));
        if wrote.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    wrote?;
    out.flush()?;
    for (ran, took) in walked.ran.iter().filter(|(ran, _)| matches!(ran, Ran::Cuda(_))) {
        say::line(format_args!("attention was computed on {ran}, {:.1} ms", took.as_secs_f64() * 1e3));
    }
    if walked.uncaptured > 0 {
        let (rows, capture) = (say::thousands(walked.uncaptured), ggscope_internals::attention::captures_said(trace));
        say::line(format_args!("{rows} rows (a token in a layer) were not captured, as the capture was {capture}"));
    }
    for (layer, why, n) in walked.refused {
        say::line(format_args!("layer {layer}: the attention of {n} tokens cannot be computed: {why}"));
    }
    Ok(())
}

fn table(out: impl Write, a: &Attention) -> anyhow::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "token",
        "layer",
        "head",
        "cell",
        "key_token",
        "pos",
        "text",
        "product",
        "scaled",
        "masked",
        "weight",
    ])?;
    for (h, i, key) in a.heads.iter().flat_map(|h| a.keys.iter().enumerate().map(move |(i, key)| (h, i, key))) {
        csv.serialize((
            (a.token, a.layer, h.head, key.cell, key.token, key.pos, &key.text),
            (h.products[i], h.scaled[i], h.masked[i], h.weights[i]),
        ))?;
    }
    Ok(csv.flush()?)
}

fn name(key: &Key) -> String {
    let text = key.text.as_deref().map_or("?".into(), |t| format!("\u{201c}{}\u{201d}", printable(t)));
    key.token.map_or(text.clone(), |token| format!("{token} {text}"))
}

/// Keys by their weight, heaviest first; NaN before all.
fn heaviest(head: &HeadRow) -> Vec<usize> {
    let mut order: Vec<usize> = (0..head.weights.len()).collect();
    order.sort_by(|&a, &b| head.weights[b].total_cmp(&head.weights[a]));
    order
}

fn text(out: &mut impl Write, a: &Attention, whose: &str) -> std::io::Result<()> {
    let of = a.text.as_deref().map_or(String::new(), |t| format!(" \u{201c}{}\u{201d}", printable(t)));
    writeln!(
        out,
        "token {}{of}{whose} in layer {}: {} keys of {}, {} heads on {} of the keys, {}",
        a.token,
        a.layer,
        a.keys.len(),
        printable(&a.k_type),
        a.n_head,
        a.n_head_kv,
        printable(&a.op)
    )?;
    for head in &a.heads {
        let order = heaviest(head);
        let sink = head.sink.map_or(String::new(), |share| format!("  sink {share:.3}"));
        let sink = head.contribution.map_or(sink.clone(), |norm| format!("{sink}  adds {norm:.3}"));
        if a.heads.len() > 1 {
            let top: Vec<String> =
                order.iter().take(TOP).map(|&i| format!("{:.3} {}", head.weights[i], name(&a.keys[i]))).collect();
            writeln!(out, "  head {:>3}  {}{sink}", head.head, top.join("   "))?;
            continue;
        }
        writeln!(out, "  head {}, with head {} of the keys{sink}", head.head, head.kv_head)?;
        let mut shown: Vec<usize> = order.iter().copied().take(BARS).collect();
        shown.sort_unstable();
        for i in shown {
            let weight = head.weights[i];
            writeln!(out, "  {weight:>7.4}  {:<24} {}", name(&a.keys[i]), bar(weight.into(), BAR))?;
        }
        if let Some(rest) = order.len().checked_sub(BARS).filter(|&rest| rest > 0) {
            let weight: f32 = order[BARS..].iter().map(|&i| head.weights[i]).sum();
            writeln!(out, "  {weight:>7.4}  the other {rest}")?;
        }
    }
    Ok(())
}
