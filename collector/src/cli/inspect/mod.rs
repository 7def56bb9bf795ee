//! `ggscope inspect`: what a model is and what it costs, from its GGUF file alone; several models side by side.

pub(super) mod amounts;
mod compare;
mod costs;
mod memory;
mod names;
mod report;

use super::terminal::{Form, stdout};
use anyhow::{Context as _, bail};
use ggscope_compute::machine::{self, ThisMachine};
use ggscope_model::ggml::GgmlType;
use ggscope_model::gguf::{Gguf, foreign};
use ggscope_model::inspect::memory::{CACHE_TYPES, Context};
use ggscope_model::inspect::{InspectOptions, Inspection, Limit, Machine};
use ggscope_query::roofline::{Reached, reached};
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_query::weights::Whose;
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  ggscope inspect model.gguf
  ggscope inspect model.gguf --all                          # every key and every tensor
  ggscope inspect small.gguf large.gguf                     # side by side

  # Will it fit, and how much of it?
  ggscope inspect model.gguf --ctx 32768 --parallel 4 --cache-type-k q8_0 --cache-type-v q8_0 --vram 8GiB

  # How fast can it be here, and how fast was it?
  ggscope inspect model.gguf --measure-host --trace run.ggtrace

  # For programs
  ggscope inspect model.gguf --json | jq '.models[0].parameters.active'

Ends with 1 if llama.cpp would refuse a file; what is wrong stands at the end, with offsets.
";

/// The context that is planned for if none is given: the model's own, up to this many tokens.
const DEFAULT_CONTEXT: u32 = 4096;

/// Options of `ggscope inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The models; any file of one that is split
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print every key of the metadata with all its elements, and every tensor
    #[arg(long)]
    all: bool,
    /// Tokens of the context to plan for [default: the model's, up to 4096]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    ctx: Option<u32>,
    /// Sequences that share the context
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    parallel: u32,
    /// Sequences share one pool of cells, as with llama-server's --kv-unified
    #[arg(long)]
    kv_unified: bool,
    /// Tokens that are computed at once
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    ubatch: u32,
    /// Type of keys in the cache
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = CACHE_TYPES)]
    cache_type_k: String,
    /// Type of values in the cache
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = CACHE_TYPES)]
    cache_type_v: String,
    /// Memory of a GPU, such as 8GiB: say how many layers fit, and the longest context
    #[arg(long, value_name = "SIZE", value_parser = amounts::parse_bytes)]
    vram: Option<u64>,
    /// Measure memory bandwidth and arithmetic of this machine, for about a second
    #[arg(long)]
    measure_host: bool,
    /// Memory bandwidth, in GB/s, instead of measuring it
    #[arg(long, value_name = "GB/S", conflicts_with = "measure_host", requires = "flops", value_parser = amounts::parse_rate)]
    bandwidth: Option<f64>,
    /// Arithmetic, in GFLOP/s, instead of measuring it
    #[arg(long, value_name = "GFLOP/S", conflicts_with = "measure_host", requires = "bandwidth", value_parser = amounts::parse_rate)]
    flops: Option<f64>,
    /// A trace of a run: what its operators reached of what is possible
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Only operators of this context of the trace
    #[arg(long, value_name = "N", requires = "trace")]
    context: Option<u32>,
}

/// Tokens a second that a machine can reach with a model.
#[derive(Debug, Serialize)]
struct Limits {
    /// Path of the model's first file.
    model: String,
    /// Prompts of several lengths.
    prompt: Vec<Limit>,
    /// Answers after sequences of several lengths.
    generate: Vec<Limit>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Output {
    models: Vec<Inspection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<Machine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<ThisMachine>,
    limits: Vec<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<Vec<Reached>>,
}

/// Inspects the models.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let kind = |name: &str| GgmlType::from_name(name).with_context(|| format!("ggml has no type {name}"));
    let context = Context {
        tokens: args.ctx.unwrap_or(DEFAULT_CONTEXT),
        sequences: args.parallel,
        unified: args.kv_unified,
        ubatch: args.ubatch,
        type_k: kind(&args.cache_type_k)?,
        type_v: kind(&args.cache_type_v)?,
    };
    // There is nothing else to say of it; JSON has it as a finding.
    if let Some((path, what)) = args.files.iter().filter(|_| !args.json).find_map(|path| Some((path, foreign(path)?))) {
        bail!("{} is {what}", path.display());
    }
    let context_of_model = args.ctx.is_none().then_some(DEFAULT_CONTEXT);
    let wanted = InspectOptions { context, context_of_model, vram: args.vram, all: args.all };
    let models: Vec<Inspection> =
        args.files.iter().map(|path| Inspection::of_path(path, &wanted)).collect::<Result<_, _>>()?;
    let output = output(models, &args)?;
    let valid = output.models.iter().all(|model| model.valid);
    let mut out = stdout(Form::of(args.json, false));
    if args.json {
        serde_json::to_writer_pretty(&mut out, &output)?;
        writeln!(out)?;
    } else {
        out.write_all(text(&output, args.all).as_bytes())?;
    }
    out.flush()?;
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn output(models: Vec<Inspection>, args: &Args) -> anyhow::Result<Output> {
    let host = args.measure_host.then(machine::measure);
    let given = args
        .bandwidth
        .zip(args.flops)
        .map(|(bandwidth, flops)| Machine { bytes_per_second: bandwidth * 1e9, flops_per_second: flops * 1e9 });
    let machine = host.as_ref().map(|host| host.machine).or(given);
    let limits = machine.iter().flat_map(|machine| models.iter().map(|model| limits(machine, model))).collect();
    let reached = args.trace.as_ref().map(|path| reached_by(path, args, machine.as_ref())).transpose()?;
    Ok(Output { models, machine, host, limits, reached })
}

/// What the operators of a recording reached, of the contexts that computed one of the models.
fn reached_by(path: &Path, args: &Args, machine: Option<&Machine>) -> anyhow::Result<Vec<Reached>> {
    let trace = Trace::open(path)?;
    let table = Table::new(&trace, DEFAULT_MEMORY);
    let of_file = |file: &PathBuf| Whose::of_file(&trace, &Gguf::open(file)?, args.context).map_err(anyhow::Error::msg);
    let whose: Vec<anyhow::Result<Whose>> = args.files.iter().map(of_file).collect();
    let mut list: Vec<Reached> = vec![];
    for whose in whose.iter().flatten() {
        let known: BTreeSet<u32> = list.iter().map(|r| r.context).collect();
        list.extend(reached(&trace, &table, *whose, machine).into_iter().filter(|r| !known.contains(&r.context)));
    }
    match whose.into_iter().find_map(Result::err) {
        Some(error) if list.is_empty() => Err(error),
        _ => Ok(list),
    }
}

fn limits(machine: &Machine, model: &Inspection) -> Limits {
    Limits {
        model: model.files.paths.first().cloned().unwrap_or_default(),
        prompt: model.costs.prompt.iter().map(|work| machine.limit(work, f64::from(work.tokens))).collect(),
        generate: model.costs.generate.iter().map(|work| machine.limit(work, 1.0)).collect(),
    }
}

fn text(output: &Output, all: bool) -> String {
    let mut text = match &output.models[..] {
        [model] => report::report(model, all),
        models => compare::table(models),
    };
    text.push_str(&costs::machine(output));
    for model in &output.models {
        let name = (output.models.len() > 1).then(|| names::name(model));
        text.push_str(&report::findings(model, name.as_deref()));
    }
    // Bars of nothing leave blanks behind.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
