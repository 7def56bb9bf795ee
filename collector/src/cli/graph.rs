//! `ggscope graph`: a computation graph, whole or one layer of it, for people's own tools.

use super::analytics::{facts, top_tables};
use super::contexts::named as named_context;
use super::say;
use super::terminal::{Form, stdout};
use super::text::printable;
use anyhow::bail;
use ggscope_compute::Device;
use ggscope_compute::open_device;
use ggscope_export::graph::{GraphFormat, write};
use ggscope_export::graph_file::GraphFileFormat;
use ggscope_format::GraphId;
use ggscope_query::architecture::EdgeWeight;
use ggscope_query::contexts::Contexts;
use ggscope_query::cost::node_costs;
use ggscope_query::dump::Filter;
use ggscope_query::graph::{GraphPart, GraphQuery, most_evaluated};
use ggscope_query::graph_named::named;
use ggscope_query::graph_report::{GraphReport, report};
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_trace::Trace;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # Layer 5 of the graph that was computed most, as a picture
  ggscope graph run.ggtrace --layer 5 --format dot | dot -Tsvg > layer5.svg

  # Everything about the session's first graph
  ggscope graph run.ggtrace --graph 0 --format json | jq '.tensors[] | select(.leaf)'

  # Which operators are central, where the time goes along
  ggscope graph run.ggtrace --analytics --weight time

With --layer, the layer's own nodes and leaves are printed with the shared leaves that it uses, what it takes directly
from elsewhere, what takes directly from it, and all edges among these.
";

/// Options of `ggscope graph`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The trace
    file: PathBuf,
    /// This graph, by its number within the session; if not given, the one with the most evaluations
    #[arg(long, value_name = "G")]
    graph: Option<u32>,
    /// Of the graphs of this context the one with the most evaluations, if the recording has several
    #[arg(long, value_name = "N", conflicts_with = "graph")]
    context: Option<u32>,
    /// What belongs to this layer or touches it
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// Format of the output [default: json]
    #[arg(long, value_parser = ["json", "dot", "graphml", "gexf"])]
    format: Option<String>,
    /// Print what graph analytics say of it instead: PageRank, betweenness, communities, cores, components, degrees; with
    /// `--format json` all numbers
    #[arg(long)]
    analytics: bool,
    /// What edges weigh in analytics: the same, the bytes of the tensor that they lead from, or the time of the operator
    /// that they lead to
    #[arg(long, default_value = "none", value_parser = ["none", "bytes", "time"], requires = "analytics")]
    weight: String,
    /// Nodes in each list of the largest
    #[arg(long, value_name = "K", default_value_t = 10, requires = "analytics")]
    top: usize,
    /// Where to compute: on a GPU that no traced program uses if the work is worth the trip (auto), cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "analytics")]
    device: Device,
}

/// Prints a graph.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    let file = args.file.display();
    let table = Table::new(&trace, DEFAULT_MEMORY);
    let contexts = Contexts::of(&trace);
    if let Some(context) = args.context {
        contexts.check(context).map_err(anyhow::Error::msg)?;
    }
    let Some(id) = args.graph.map(GraphId).or_else(|| most_evaluated(&table, args.context)) else {
        bail!("{file} has no graph: nothing was computed while it was recorded");
    };
    let query = GraphQuery::open(&trace, id)?;
    let part = match args.layer {
        None => query.whole(),
        Some(layer) => match query.layer(layer) {
            Some(part) => part,
            None => bail!("graph {id} of {file} has no layer {layer}: {}", known_layers(&query.layers())),
        },
    };
    let mut out = stdout(match (args.analytics, args.format.as_deref()) {
        (true, None) => Form::Text,
        (_, None | Some("json")) => Form::Json,
        _ => Form::Data,
    });
    if args.analytics {
        let weight: EdgeWeight = args.weight.parse().map_err(anyhow::Error::msg)?;
        let costs = node_costs(&trace, &table, id, &Filter::default());
        let found = report(named(&part, weight, &costs), args.top, &open_device(args.device, &[])?)?;
        match args.format.as_deref() {
            None => out.write_all(text(&part, &found).as_bytes())?,
            Some("json") => {
                serde_json::to_writer_pretty(&mut out, &found)?;
                writeln!(out)?;
            }
            Some(other) => bail!("--analytics prints a table or JSON, not {other}: give --format json, or none"),
        }
    } else {
        let format = match args.format.as_deref() {
            Some("dot") => GraphFormat::File(GraphFileFormat::Dot),
            Some("graphml") => GraphFormat::File(GraphFileFormat::Graphml),
            Some("gexf") => GraphFormat::File(GraphFileFormat::Gexf),
            _ => GraphFormat::Json,
        };
        write(&part, format, &mut out)?;
    }
    out.flush()?;
    say_whose(&contexts, &args, &part);
    for warning in trace.warnings() {
        say::line(format_args!("{file}: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says whose graph it is, if there are several contexts.
fn say_whose(contexts: &Contexts, args: &Args, part: &GraphPart<'_>) {
    if args.context.is_some() || contexts.others(part.context).is_empty() {
        return;
    }
    let whose = contexts.get(part.context).map_or(format!("context {}", part.context), named_context);
    let others = match args.graph {
        Some(_) => String::new(),
        None => format!("; --context chooses another: {}", contexts.others_in_words(part.context)),
    };
    say::line(format_args!("this is graph {} of {whose}{others}", part.graph));
}

fn text(part: &GraphPart<'_>, found: &GraphReport) -> String {
    let (nodes, edges) = (say::thousands(found.nodes.len() as u64), say::thousands(found.edges as u64));
    let mut lines =
        vec![("graph", format!("{} of context {}: {nodes} tensors, {edges} edges", part.graph, part.context))];
    lines.extend(facts(found));
    let mut out: String = lines.iter().map(|(what, text)| format!("{what:>12}  {}\n", printable(text))).collect();
    out.push_str(&top_tables(found));
    out
}

fn known_layers(layers: &[u32]) -> String {
    match (layers.first(), layers.last()) {
        (Some(first), Some(last)) => format!("it has layers {first} to {last}"),
        _ => "it has no layers".into(),
    }
}
