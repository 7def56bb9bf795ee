//! `ggscope graph`: a computation graph, whole or one layer of it, for people's own tools.

use super::say;
use crate::export::graph::{GraphFormat, write};
use crate::export::graph_file::GraphFileFormat;
use crate::query::graph::{GraphQuery, most_evaluated};
use crate::query::table::{DEFAULT_MEMORY, Table};
use crate::trace::Trace;
use anyhow::bail;
use ggscope_format::GraphId;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "\
EXAMPLES
  # Layer 5 of the graph that was computed most, as a picture
  ggscope graph run.ggtrace --layer 5 --format dot | dot -Tsvg > layer5.svg

  # Everything about the session's first graph
  ggscope graph run.ggtrace --graph 0 --format json | jq '.tensors[] | select(.leaf)'

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
    /// What belongs to this layer or touches it
    #[arg(long, value_name = "N")]
    layer: Option<u32>,
    /// Format of the output
    #[arg(long, default_value = "json", value_parser = ["json", "dot", "graphml", "gexf"])]
    format: String,
}

/// Prints a graph.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let trace = Trace::open(&args.file)?;
    let file = args.file.display();
    let Some(id) = args.graph.map(GraphId).or_else(|| most_evaluated(&Table::new(&trace, DEFAULT_MEMORY))) else {
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
    let format = match args.format.as_str() {
        "dot" => GraphFormat::File(GraphFileFormat::Dot),
        "graphml" => GraphFormat::File(GraphFileFormat::Graphml),
        "gexf" => GraphFormat::File(GraphFileFormat::Gexf),
        _ => GraphFormat::Json,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    write(&part, format, &mut out)?;
    out.flush()?;
    for warning in trace.warnings() {
        say::line(format_args!("{file}: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn known_layers(layers: &[u32]) -> String {
    match (layers.first(), layers.last()) {
        (Some(first), Some(last)) => format!("it has layers {first} to {last}"),
        _ => "it has no layers".into(),
    }
}
