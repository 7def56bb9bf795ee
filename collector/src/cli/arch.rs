//! `ggscope arch`: the architecture of a model as a graph, what graph analytics say of it, and both as files.

use super::analytics::{facts, top_tables};
use super::inspect::amounts::bar;
use super::say;
use super::terminal::{Form, stdout};
use super::text::printable;
use anyhow::{Context, bail};
use ggscope_compute::{Compute, Device, open_device};
use ggscope_export::arch::{graph_file, layers_csv, ranks_csv};
use ggscope_export::dashboard;
use ggscope_export::graph_file::GraphFileFormat;
use ggscope_model::arch::{ArchGraph, EdgeKind, NodeKind, Schema};
use ggscope_model::gguf::Gguf;
use ggscope_model::inspect::{Architecture, Stack};
use ggscope_model::verdict;
use ggscope_query::architecture::{ArchitectureGraph, EdgeWeight, architecture, named};
use ggscope_query::graph_report::{GraphReport, report};
use ggscope_query::roofline::{Reached, reached};
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_query::weights::{WeightCost, Whose, weights};
use ggscope_trace::Trace;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # What a model consists of, and which of its parts are central
  ggscope arch model.gguf

  # The same as files: a page for the browser, the graph (JSON, GraphML for Cytoscape, GEXF for Gephi), tables
  ggscope arch model.gguf -o model-graph

  # Edges weighed by the time that a run spent on what they lead to
  ggscope arch model.gguf --trace run.ggtrace --weight time

  # 929 nodes and 981 edges for a Llama of 28 layers with 32 heads, as a well-known tutorial has it
  ggscope arch model.gguf --schema tutorial --json | jq '.nodes | length'

docs/arch.md says what nodes, edges and numbers mean.
";

/// Options of `ggscope arch`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The model
    model: PathBuf,
    /// Write all files into this folder, which is made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace files that are in the folder already
    #[arg(long, requires = "output")]
    force: bool,
    /// How the graph is made: with norms, KV heads, experts and residual connections of every layer, or as the tutorial
    #[arg(long, default_value = "standard", value_parser = ["standard", "tutorial"])]
    schema: String,
    /// Only this layer, with what it uses
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// Edges that analytics go along, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "contains,feeds_into,uses",
        value_parser = ["contains", "feeds_into", "uses"])]
    edges: Vec<String>,
    /// What edges weigh: the same, or what they lead to; bytes are those that were read, if a trace is given
    #[arg(long, default_value = "none", value_parser = ["none", "parameters", "bytes", "time"])]
    weight: String,
    /// A run of the model, for what was measured
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Only what this context of the run did [default: all contexts that compute the model]
    #[arg(long, value_name = "N", requires = "trace")]
    context: Option<u32>,
    /// Nodes in each list of the largest
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Where to compute: on a GPU that no traced program uses if the work is worth the trip (auto), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Device,
    /// Print the graph and all numbers as JSON
    #[arg(long)]
    json: bool,
}

/// The whole answer: what `--json` prints and `architecture_graph.json` holds.
#[derive(Serialize)]
struct Answer<'a> {
    model: String,
    name: &'a str,
    architecture: &'a Architecture,
    #[serde(flatten)]
    graph: ArchitectureGraph<'a>,
    analytics: GraphReport,
}

/// Prints the architecture, or writes it to files.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let schema: Schema = args.schema.parse().map_err(anyhow::Error::msg)?;
    let weight: EdgeWeight = args.weight.parse().map_err(anyhow::Error::msg)?;
    if weight == EdgeWeight::Time && args.trace.is_none() {
        bail!("--weight time needs a run of the model: give one with --trace FILE");
    }
    if let Some(dir) = args.output.as_deref().filter(|_| !args.force) {
        nothing_is_replaced(dir)?;
    }
    let gguf = Gguf::open(&args.model)?;
    let (facts, _) = Architecture::of(&gguf);
    let mut graph = ArchGraph::of(&gguf, &facts, schema)?;
    if let Some(layer) = args.layer {
        graph = one_layer(&graph, layer)
            .with_context(|| format!("{} has no layer {layer}: {}", args.model.display(), known_layers(&graph)))?;
    }
    let run = args.trace.as_deref().map(|path| Measured::of(path, &gguf, args.context)).transpose()?;
    let weights = run.as_ref().map(|run| run.weights.as_slice());
    let kinds: Vec<EdgeKind> =
        EdgeKind::ALL.into_iter().filter(|kind| args.edges.iter().any(|name| name == kind.name())).collect();
    let compute = open_device(args.device, &[])?;
    let analytics = report(named(&graph, &kinds, weight, weights), args.top, &compute)?;
    let answer = Answer {
        model: args.model.display().to_string(),
        name: gguf.name(),
        architecture: &facts,
        graph: architecture(&graph, weights),
        analytics,
    };
    if let Some(dir) = &args.output {
        write_files(dir, &answer, weights)?;
        write_dashboard(dir, &args.model, run.as_ref(), &compute)?;
    }
    let mut out = stdout(Form::of(args.json, false));
    if args.json {
        serde_json::to_writer_pretty(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        out.write_all(summary(&answer).as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn one_layer(graph: &ArchGraph, layer: u32) -> Option<ArchGraph> {
    [Stack::Model, Stack::Encoder, Stack::Decoder, Stack::Vision, Stack::Audio]
        .into_iter()
        .find_map(|stack| graph.layer(stack, layer))
}

fn known_layers(graph: &ArchGraph) -> String {
    match graph.nodes().filter(|n| n.kind == NodeKind::Layer).filter_map(|n| n.layer).max() {
        Some(last) => format!("it has layers 0 to {last}"),
        None => "it has no layers".into(),
    }
}

/// What was measured in a run of the model.
struct Measured {
    trace: String,
    weights: Vec<WeightCost>,
    reached: Vec<Reached>,
}

impl Measured {
    /// Reads a run. A trace of another model says nothing of this one.
    fn of(path: &Path, gguf: &Gguf, context: Option<u32>) -> anyhow::Result<Measured> {
        let trace = Trace::open(path)?;
        let table = Table::new(&trace, DEFAULT_MEMORY);
        let whose = Whose::of_file(&trace, gguf, context).map_err(anyhow::Error::msg)?;
        let found = weights(&trace, &table, whose)?;
        for warning in trace.warnings() {
            say::line(format_args!("{}: {warning}", path.display()));
        }
        let is_there = |w: &WeightCost| gguf.tensors().any(|(_, t)| t.name == w.name);
        if !found.iter().any(is_there) {
            bail!("{} is no run of {}: no weight of it was read", path.display(), gguf.first().path().display());
        }
        Ok(Measured {
            trace: path.display().to_string(),
            weights: found,
            reached: reached(&trace, &table, whose, None),
        })
    }
}

/// Files of the folder that `-o` names.
const FILES: [&str; 7] = [
    "architecture_graph.json",
    "architecture_graph.graphml",
    "architecture_graph.gexf",
    "architecture_graph.dot",
    "pagerank_results.csv",
    "layer_statistics.csv",
    "complete_dashboard.html",
];

/// Refuses a folder that has one of the files already.
fn nothing_is_replaced(dir: &Path) -> anyhow::Result<()> {
    match FILES.iter().map(|name| dir.join(name)).find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => {
            bail!("{} exists already: choose another folder with -o, or replace it with --force", path.display())
        }
        None => Ok(()),
    }
}

/// Writes one file into the folder.
fn file(dir: &Path, name: &str, write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let path = dir.join(name);
    let written = || -> anyhow::Result<()> {
        let mut out = BufWriter::new(File::create(&path)?);
        write(&mut out)?;
        Ok(out.flush()?)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

fn write_files(dir: &Path, answer: &Answer<'_>, run: Option<&[WeightCost]>) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    file(dir, "architecture_graph.json", |out| Ok(serde_json::to_writer(out, answer)?))?;
    let graph = graph_file(&answer.model, &answer.graph, &answer.analytics);
    file(dir, "architecture_graph.graphml", |out| Ok(graph.write(GraphFileFormat::Graphml, out)?))?;
    file(dir, "architecture_graph.gexf", |out| Ok(graph.write(GraphFileFormat::Gexf, out)?))?;
    file(dir, "architecture_graph.dot", |out| Ok(graph.write(GraphFileFormat::Dot, out)?))?;
    file(dir, "pagerank_results.csv", |out| Ok(ranks_csv(&answer.graph, &answer.analytics, out)?))?;
    file(dir, "layer_statistics.csv", |out| Ok(layers_csv(answer.architecture, &answer.graph, run, out)?))
}

/// The page with everything in it; it is of the whole model, whatever part the other files are of.
fn write_dashboard(dir: &Path, model: &Path, run: Option<&Measured>, compute: &Compute) -> anyhow::Result<()> {
    let Some(template) = dashboard::template() else {
        say::line(format_args!(
            "complete_dashboard.html is not written: this ggscope was built without its page; `make` puts it in"
        ));
        return Ok(());
    };
    let (gguf, findings) = verdict::examine(model)?;
    let run = run.map(|Measured { trace, weights, reached }| dashboard::Run { trace, weights, reached });
    file(dir, "complete_dashboard.html", |out| Ok(dashboard::write(&template, &gguf, findings, run, compute, out)?))
}

fn summary(answer: &Answer<'_>) -> String {
    let number = say::thousands;
    let (graph, found) = (&answer.graph, &answer.analytics);
    let mut out = String::new();
    let of_kind = |kind: EdgeKind| graph.edges.iter().filter(|e| e.kind == kind).count() as u64;
    let edges = EdgeKind::ALL.map(|kind| format!("{} {kind}", number(of_kind(kind))));
    let name = if answer.name.is_empty() { "unnamed" } else { answer.name };
    let mut line = |what: &str, text: String| {
        let _ = writeln!(out, "{what:>12}  {}", printable(&text));
    };
    line("model", format!("{name}, {}", answer.architecture.name));
    line("graph", format!("{} nodes, {} edges", number(graph.nodes.len() as u64), number(graph.edges.len() as u64)));
    line("", edges.join(", "));
    for (what, text) in facts(found) {
        line(what, text);
    }
    out.push_str(&kinds(graph));
    out.push_str(&top_tables(found));
    out
}

/// What there is how often, and what it holds.
fn kinds(graph: &ArchitectureGraph<'_>) -> String {
    let mut of: BTreeMap<NodeKind, (u64, u64, u64)> = BTreeMap::new();
    let mut all = 0_u64;
    for m in &graph.nodes {
        let sum = of.entry(m.node.kind).or_default();
        let own = m.node.tensors.iter().fold((0_u64, 0_u64), |s, t| (s.0 + t.parameters, s.1 + t.bytes));
        (sum.0, sum.1, sum.2) = (sum.0 + 1, sum.1.saturating_add(own.0), sum.2.saturating_add(own.1));
        all = all.saturating_add(own.0);
    }
    let mut out = String::from("\n    kind               nodes        parameters   share       bytes\n");
    for (kind, (nodes, parameters, bytes)) in of {
        let share = if all == 0 { 0.0 } else { parameters as f64 / all as f64 };
        let bar = bar(share, 20);
        let line = format!(
            "    {:<15} {:>8}  {:>16}  {:>5.1}%  {:>10}  {bar}",
            kind.name(),
            say::thousands(nodes),
            say::thousands(parameters),
            share * 100.0,
            say::bytes(bytes)
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}
