//! `ggscope dump`: every operator that was executed, one line each.

use super::say;
use super::suggest::nearest;
use super::terminal::{Form, stdout};
use super::text::{duration, place, printable, shape};
use anyhow::{Context, bail};
use ggscope_query::Place;
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::{Filter, Memory, Operator, Phase, Source, dump};
use ggscope_query::range::Numbers;
use ggscope_trace::Trace;
use globset::{GlobBuilder, GlobMatcher};
use std::collections::BTreeSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # Every matrix multiplication of layer 5 for the session's token 12
  ggscope dump run.ggtrace --token 12 --layer 5 --op MUL_MAT

  # What attention cost in the answer, as JSON
  ggscope dump run.ggtrace --phase generate --op 'FLASH_ATTN*' --jsonl | jq .dur_ns

  # What the first evaluation read from the model's file
  ggscope dump run.ggtrace --eval 0 --source disk

  # Hidden states that were recorded with --capture 'l_out-*'
  ggscope dump run.ggtrace --token 12 --name 'l_out-*' --values

Ranges include both ends: 3..5 and 3-5 are 3, 4 and 5; 3.. is 3 and all after it.
";

/// Options of `ggscope dump`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// Evaluations of these tokens, counted from 0 through the session
    #[arg(long, visible_alias = "token", value_name = "RANGE")]
    tokens: Option<Numbers>,
    /// These evaluations
    #[arg(long, value_name = "RANGE")]
    eval: Option<Numbers>,
    /// Evaluations of this context
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Nodes of these layers
    #[arg(long, value_name = "RANGE")]
    layer: Option<Numbers>,
    /// Operators of this kind; upper and lower case are the same
    #[arg(long, value_name = "GLOB")]
    op: Option<String>,
    /// Nodes of this name
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// Tokens of the prompt or of the answer
    #[arg(long, value_parser = ["prompt", "generate", "unknown"])]
    phase: Option<String>,
    /// Operators that read something from a file (disk) or from memory (buffer)
    #[arg(long, value_parser = ["disk", "buffer"])]
    source: Option<String>,
    /// At most so many lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print JSON, one object a line
    #[arg(long)]
    jsonl: bool,
    /// Print captured values, or statistics of them, in full
    #[arg(long)]
    values: bool,
}

fn glob(option: &str, text: Option<&str>, ignore_case: bool) -> anyhow::Result<Option<GlobMatcher>> {
    let compiled = |text| {
        let built = GlobBuilder::new(text).case_insensitive(ignore_case).build();
        built.map(|glob| glob.compile_matcher()).with_context(|| format!("{option} {text}"))
    };
    text.map(compiled).transpose()
}

impl Args {
    fn filter(&self) -> anyhow::Result<Filter> {
        Ok(Filter {
            tokens: self.tokens,
            evals: self.eval,
            context: self.context,
            layers: self.layer,
            op: glob("--op", self.op.as_deref(), true)?,
            name: glob("--name", self.name.as_deref(), false)?,
            phase: self.phase.as_deref().and_then(Phase::of_word),
            source: self.source.as_deref().map(|s| if s == "disk" { Memory::Disk } else { Memory::Buffer }),
            // A line for people shows a few elements of a value.
            values: self.values || !self.jsonl,
            ..Filter::default()
        })
    }
}

/// Prints the executions that the options ask for.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let filter = args.filter()?;
    let trace = Trace::open(&args.file)?;
    known_operator(&args, &filter, &trace)?;
    if let Some(context) = args.context {
        Contexts::of(&trace).check(context).map_err(anyhow::Error::msg)?;
    }
    let mut out = stdout(Form::of(args.jsonl, false));
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut left = limit;
    let mut written = Ok(());
    if !args.jsonl {
        written = writeln!(out, "{HEADER}");
    }
    if left > 0 && written.is_ok() {
        dump(&trace, &filter, |operator| {
            written =
                if args.jsonl { json_line(&mut out, &operator) } else { text_line(&mut out, &operator, args.values) };
            left -= 1;
            if written.is_err() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    written.and_then(|()| out.flush()).context("cannot write to stdout")?;
    if left == limit && limit > 0 {
        let last = trace.totals().tokens();
        say::line(format_args!("{}: nothing matches, among {last} tokens", args.file.display()));
    }
    for warning in trace.warnings() {
        say::line(format_args!("{}: {warning}", args.file.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses an operator that no graph has and that is almost the name of one: the whole trace would be read in vain.
fn known_operator(args: &Args, filter: &Filter, trace: &Trace) -> anyhow::Result<()> {
    let (Some(given), Some(glob)) = (&args.op, &filter.op) else { return Ok(()) };
    let mut names = BTreeSet::new();
    for stored in trace.graphs().filter_map(|id| trace.graph(id).ok()) {
        names.extend(stored.graph.ops.iter().cloned());
    }
    if names.iter().any(|name| glob.is_match(name)) {
        return Ok(());
    }
    match nearest(given, names.iter().map(String::as_str)) {
        Some(name) => bail!("{} has no operator {given}; did you mean {name}?", args.file.display()),
        None => Ok(()),
    }
}

fn json_line(out: &mut impl Write, operator: &Operator) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, operator)?;
    out.write_all(b"\n")
}

const HEADER: &str = "  eval   token  phase      node  layer  operator           time µs  name                 wrote \
                      ← read";

fn text_line(out: &mut impl Write, o: &Operator, in_full: bool) -> std::io::Result<()> {
    let token = o.token.map_or("-".into(), |t| t.to_string());
    let layer = o.layer.map_or(o.node_type[..3].to_owned(), |layer| layer.to_string());
    let time = match (o.dur_ns, o.fused_into) {
        (Some(ns), _) => format!("{:.3}", ns as f64 / 1e3),
        (None, Some(node)) => format!("in {node}"),
        (None, None) => "?".into(),
    };
    write!(
        out,
        "{:>6}  {token:>6}  {:<8} {:>6}  {layer:>5}  {:<15} {time:>10}  {:<20} {}{}",
        o.eval,
        o.phase.map_or("-", |phase| phase.name()),
        o.node,
        printable(o.op),
        printable(o.name),
        printable(o.dst.dtype),
        shape(&o.dst.ne)
    )?;
    // What it wrote stands before what it read.
    if let Some(value) = &o.value {
        write!(out, " = {}", if in_full { value.in_full() } else { value.preview() })?;
    }
    if let Some(statistics) = &o.statistics {
        write!(out, " = {}", if in_full { statistics.in_full() } else { statistics.preview() })?;
    }
    for (i, source) in o.src.iter().enumerate() {
        write!(out, "{}{}", if i == 0 { " ← " } else { ", " }, read(source))?;
    }
    if let Some(run) = &o.run {
        let device = printable(o.device.unwrap_or("a device"));
        write!(out, "; {device} computed run {} in {}", run.number, duration(run.dur_ns))?;
    }
    writeln!(out)
}

fn read(source: &Source) -> String {
    let name = if source.name.is_empty() { "unnamed".into() } else { printable(source.name) };
    let Place { memory, file, offset, buffer, .. } = &source.place;
    let place = place(memory, *file, *offset, *buffer);
    let experts = match &source.experts[..] {
        [] => String::new(),
        slices => {
            let ids: Vec<String> = slices.iter().map(|s| s.id.to_string()).collect();
            format!(" experts {}", ids.join(" "))
        }
    };
    format!("{name} {}{} {place}{experts}", printable(source.dtype), shape(&source.ne))
}
