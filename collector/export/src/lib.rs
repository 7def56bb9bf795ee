//! A trace in the formats of other programs: timelines for Perfetto and the Chrome trace viewer, tables for pandas,
//! Polars and DuckDB, pictures. `docs/export.md` documents the columns and tracks. All but pictures are
//! written as the trace is read, so that memory does not grow with it.

pub mod arch;
mod chrome;
mod csv;
pub mod dashboard;
pub mod graph;
pub mod graph_file;
pub mod heatmap;
mod json;
mod labels;
mod lanes;
mod parquet;
mod perfetto;
mod rows;
#[cfg(test)]
mod testing;

use ggscope_format::GraphId;
use ggscope_query::contexts::Contexts;
use ggscope_query::dump::Filter;
use ggscope_query::graph::{GraphQuery, most_evaluated};
use ggscope_query::range::Numbers;
use ggscope_query::table::{DEFAULT_MEMORY, Table};
use ggscope_trace::{Trace, TraceError};
use graph::GraphFormat;
use graph_file::GraphFileFormat;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::str::FromStr;

const DOT: GraphFormat = GraphFormat::File(GraphFileFormat::Dot);

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Perfetto's own: protobuf TracePackets.
    Perfetto,
    /// The JSON of the Chrome trace viewer.
    Chrome,
    /// Comma-separated values.
    Csv,
    /// A JSON array.
    Json,
    /// Apache Parquet.
    Parquet,
    /// A graph for Graphviz.
    Dot,
}

/// All formats.
pub const FORMATS: [Format; 6] =
    [Format::Perfetto, Format::Chrome, Format::Csv, Format::Json, Format::Parquet, Format::Dot];

impl Format {
    /// Its name on the command line and in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Format::Perfetto => "perfetto",
            Format::Chrome => "chrome",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Parquet => "parquet",
            Format::Dot => "dot",
        }
    }

    /// How names of its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Perfetto => "pftrace",
            Format::Chrome => "chrome.json",
            other => other.name(),
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Perfetto => "application/octet-stream",
            Format::Chrome | Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Parquet => "application/vnd.apache.parquet",
            Format::Dot => "text/vnd.graphviz; charset=utf-8",
        }
    }

    /// Whether it is text.
    pub fn is_text(self) -> bool {
        !matches!(self, Format::Perfetto | Format::Parquet)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let unknown = || format!("not one of {}", FORMATS.map(Format::name).join(", "));
        FORMATS.into_iter().find(|format| format.name() == text).ok_or_else(unknown)
    }
}

/// What is exported.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// In which format.
    pub format: Format,
    /// Evaluations of these tokens; not for a graph.
    pub tokens: Option<Numbers>,
    /// Operators of these layers; of a graph one layer with what touches it.
    pub layers: Option<Numbers>,
    /// The graph, for a graph; if not given, the one with the most evaluations.
    pub graph: Option<GraphId>,
    /// Evaluations of this context; of graphs, one of its graphs.
    pub context: Option<u32>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many.
    pub items: u64,
    /// Of what.
    pub what: &'static str,
}

/// What of [`ExportOptions`] cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The tokens.
    Tokens,
    /// The layers.
    Layers,
    /// The graph.
    Graph,
    /// The context.
    Context,
}

/// Why nothing, or not all, was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The output does not take it.
    #[error(transparent)]
    Write(#[from] io::Error),
    /// The trace is damaged.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The question contradicts itself or asks for what is not there.
    #[error("{reason}")]
    Refused {
        /// What of the question is wrong.
        part: Part,
        /// Whether it could be, but the trace does not have it.
        missing: bool,
        /// Why, and what to do.
        reason: String,
    },
}

/// What an export begins with: a question that was checked.
pub struct Export<'t> {
    trace: &'t Trace,
    wanted: ExportOptions,
    graph: Option<GraphQuery>,
}

impl<'t> Export<'t> {
    /// Checks whether there is something to write.
    ///
    /// # Errors
    /// When the question contradicts itself, or asks for a context, a graph or a layer that the trace does not have.
    pub fn new(trace: &'t Trace, wanted: ExportOptions) -> Result<Export<'t>, ExportError> {
        let refuse = |part, missing, reason: String| Err(ExportError::Refused { part, missing, reason });
        if let Some(Err(why)) = wanted.context.map(|context| Contexts::of(trace).check(context)) {
            return refuse(Part::Context, true, why);
        }
        if wanted.format != Format::Dot {
            if wanted.graph.is_some() {
                return refuse(Part::Graph, false, "only the format dot is of one graph".into());
            }
            return Ok(Export { trace, wanted, graph: None });
        }
        if wanted.tokens.is_some() {
            return refuse(Part::Tokens, false, "a graph is the same for all tokens: the format dot takes none".into());
        }
        if wanted.layers.is_some_and(|n| n.first != n.last) {
            return refuse(Part::Layers, false, "the format dot takes one layer, or all of the graph".into());
        }
        let Some(id) = wanted.graph.or_else(|| most_evaluated(&Table::new(trace, DEFAULT_MEMORY), wanted.context))
        else {
            return refuse(Part::Graph, true, "the trace has no graph that was computed".into());
        };
        if !trace.graphs().any(|graph| graph == id) {
            return refuse(Part::Graph, true, format!("the trace has no graph {id}"));
        }
        let graph = GraphQuery::open(trace, id)?;
        if let Some(context) = wanted.context.filter(|&context| context != graph.context()) {
            let reason = format!("graph {id} is of context {}, not of context {context}", graph.context());
            return refuse(Part::Graph, true, reason);
        }
        let layers = graph.layers();
        if let Some(layer) = wanted.layers.filter(|n| !layers.iter().any(|&l| n.contains(u64::from(l)))) {
            let known = layers.first().zip(layers.last());
            let known = known.map_or("no layers".into(), |(first, last)| format!("layers {first} to {last}"));
            return refuse(Part::Layers, true, format!("graph {id} has no layer {}: it has {known}", layer.first));
        }
        Ok(Export { trace, wanted, graph: Some(graph) })
    }

    /// Number and context of the graph, for a graph.
    pub fn graph(&self) -> Option<(GraphId, u32)> {
        self.graph.as_ref().map(|graph| (graph.id(), graph.context()))
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn write(&self, out: &mut (dyn Write + Send)) -> Result<Written, ExportError> {
        let ExportOptions { tokens, layers, context, .. } = self.wanted;
        let filter = Filter { tokens, layers, context, ..Filter::default() };
        let (items, what) = match self.wanted.format {
            Format::Perfetto => (perfetto::write(self.trace, &filter, out)?, "operators"),
            Format::Chrome => (chrome::write(self.trace, &filter, out)?, "operators"),
            Format::Csv => (csv::write(self.trace, &filter, out)?, "rows"),
            Format::Json => (json::write(self.trace, &filter, out)?, "rows"),
            Format::Parquet => (parquet::write(self.trace, &filter, out)?, "rows"),
            Format::Dot => (self.dot(out)?, "tensors"),
        };
        out.flush()?;
        Ok(Written { items, what })
    }

    fn dot(&self, mut out: &mut (dyn Write + Send)) -> io::Result<u64> {
        let Some(graph) = &self.graph else { return Ok(0) };
        let layer = self.wanted.layers.and_then(|n| u32::try_from(n.first).ok());
        let Some(part) = (match layer {
            None => Some(graph.whole()),
            Some(layer) => graph.layer(layer),
        }) else {
            return Ok(0);
        };
        graph::write(&part, DOT, &mut out)?;
        Ok(part.tensors.len() as u64)
    }
}

impl Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.items, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{answer, exported, hostile};
    use super::*;
    use ggscope_trace::testing_contexts::contexts;

    fn wanted(format: Format) -> ExportOptions {
        ExportOptions { format, tokens: None, layers: None, graph: None, context: None }
    }

    #[test]
    fn formats_are_known_by_their_names() {
        for format in FORMATS {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let refused = "xml".parse::<Format>().unwrap_err();
        assert_eq!(refused, "not one of perfetto, chrome, csv, json, parquet, dot");
    }

    #[test]
    fn what_is_not_there_is_refused_before_anything_is_written() {
        let (_dir, trace) = answer();
        let refused = |wanted: ExportOptions| match Export::new(&trace, wanted).map(|_| ()) {
            Err(ExportError::Refused { part, missing, .. }) => (part, missing),
            other => panic!("{other:?}"),
        };
        let numbers = |text: &str| Some(text.parse().unwrap());
        let dot = wanted(Format::Dot);
        assert_eq!(refused(ExportOptions { tokens: numbers("1"), ..dot.clone() }), (Part::Tokens, false));
        assert_eq!(refused(ExportOptions { layers: numbers("0..1"), ..dot.clone() }), (Part::Layers, false));
        assert_eq!(refused(ExportOptions { layers: numbers("9"), ..dot.clone() }), (Part::Layers, true));
        assert_eq!(refused(ExportOptions { graph: Some(GraphId(9)), ..dot }), (Part::Graph, true));
        assert_eq!(refused(ExportOptions { graph: Some(GraphId(1)), ..wanted(Format::Csv) }), (Part::Graph, false));
    }

    #[test]
    fn an_export_is_of_the_context_that_is_named() {
        let recorded = contexts(&[(0, 0, 3), (1, 1, 2), (0, 0, 1), (1, 1, 2)]);
        let rows = |context| -> Vec<u64> {
            let bytes = exported(&recorded.trace, ExportOptions { context, ..wanted(Format::Json) });
            let rows: Vec<serde_json::Value> = serde_json::from_slice(&bytes).unwrap();
            rows.iter().map(|row| row["context"].as_u64().unwrap()).collect()
        };
        let (all, first, second) = (rows(None), rows(Some(0)), rows(Some(1)));
        assert!(first.iter().all(|&c| c == 0) && second.iter().all(|&c| c == 1) && !second.is_empty());
        assert_eq!(first.len() + second.len(), all.len());
        for context in [0, 1] {
            let wanted = ExportOptions { context: Some(context), ..wanted(Format::Dot) };
            assert_eq!(Export::new(&recorded.trace, wanted).unwrap().graph().unwrap().1, context);
        }
        let refused = |wanted: ExportOptions| match Export::new(&recorded.trace, wanted).map(|_| ()) {
            Err(ExportError::Refused { part, missing: true, reason }) => (part, reason),
            other => panic!("{other:?}"),
        };
        for format in FORMATS {
            let (part, why) = refused(ExportOptions { context: Some(7), ..wanted(format) });
            assert_eq!((part, why.as_str()), (Part::Context, "there is no context 7: the recording has 0, 1"));
        }
        let other = ExportOptions { context: Some(1), graph: Some(GraphId(0)), ..wanted(Format::Dot) };
        assert_eq!(refused(other), (Part::Graph, "graph 0 is of context 0, not of context 1".to_owned()));
    }

    #[test]
    fn the_picture_is_the_graphs_own() {
        let (_dir, trace) = answer();
        let text = String::from_utf8(exported(&trace, wanted(Format::Dot))).unwrap();
        let mut expected = vec![];
        let query = GraphQuery::open(&trace, GraphId(1)).unwrap();
        graph::write(&query.whole(), DOT, &mut expected).unwrap();
        assert_eq!(text.as_bytes(), expected, "of the graph that was computed most");
        let layer = exported(&trace, ExportOptions { layers: Some("1".parse().unwrap()), ..wanted(Format::Dot) });
        assert!(layer.len() < expected.len() && layer.starts_with(b"digraph \"graph 1\""));
    }

    #[test]
    fn an_output_that_takes_no_more_ends_the_export() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (_dir, trace) in [answer(), hostile()] {
            for format in FORMATS {
                let export = Export::new(&trace, wanted(format)).unwrap();
                assert!(matches!(export.write(&mut Full(0)), Err(ExportError::Write(_))), "{format:?}");
            }
        }
    }
}
