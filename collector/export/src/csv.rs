//! CSV with a header: the columns of a row, then as many groups of `src*` columns as an operator of the trace has
//! sources at most. What is not known is an empty field.

use super::rows::{self, Row, Src};
use csv::{Writer, WriterBuilder};
use ggscope_query::dump::Filter;
use ggscope_trace::Trace;
use std::fmt::Display;
use std::io::{self, Write};

const COLUMNS: [&str; 30] = [
    "eval",
    "seq",
    "graph",
    "context",
    "thread",
    "token",
    "token_id",
    "token_text",
    "pos",
    "n_tokens",
    "phase",
    "request",
    "node",
    "op",
    "name",
    "layer",
    "node_type",
    "device",
    "t_ns",
    "dur_ns",
    "fused_into",
    "run",
    "run_dur_ns",
    "dst_type",
    "dst_shape",
    "dst_bytes",
    "dst_buffer",
    "dst_addr",
    "experts",
    "n_src",
];
const OF_SOURCE: [&str; 8] = ["name", "type", "shape", "bytes", "layer", "memory", "place", "start"];

/// Writes the rows that the filter lets through, and returns how many there are.
pub fn write(trace: &Trace, filter: &Filter, out: &mut (dyn Write + Send)) -> io::Result<u64> {
    let sources = most_sources(trace);
    let mut out = Record { csv: WriterBuilder::new().buffer_capacity(1 << 16).from_writer(out), text: String::new() };
    for column in COLUMNS {
        out.field(column)?;
    }
    for i in 0..sources {
        for column in OF_SOURCE {
            out.field(format_args!("src{i}_{column}"))?;
        }
    }
    out.end()?;
    let rows = rows::for_each(trace, filter, |row| out.row(row, sources))?;
    out.csv.flush()?;
    Ok(rows)
}

fn most_sources(trace: &Trace) -> usize {
    let of_graph = |id| {
        let stored = trace.graph(id).map_err(|error| trace.warn(error.to_string())).ok()?;
        stored.graph.nodes().map(|(_, node)| node.src.iter().flatten().count()).max()
    };
    trace.graphs().filter_map(of_graph).max().unwrap_or(0)
}

/// Writes field after field.
struct Record<W: Write> {
    csv: Writer<W>,
    text: String,
}

impl<W: Write> Record<W> {
    fn field(&mut self, value: impl Display) -> io::Result<()> {
        use std::fmt::Write;
        self.text.clear();
        write!(self.text, "{value}").map_err(io::Error::other)?;
        Ok(self.csv.write_field(&self.text)?)
    }

    fn text(&mut self, text: Option<&str>) -> io::Result<()> {
        Ok(self.csv.write_field(text.unwrap_or_default())?)
    }

    fn known(&mut self, value: Option<impl Display>) -> io::Result<()> {
        match value {
            Some(value) => self.field(value),
            None => self.text(None),
        }
    }

    fn numbers<T: Display>(&mut self, numbers: &[T], between: &str) -> io::Result<()> {
        let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
        self.text(Some(&numbers.join(between)))
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(self.csv.write_record(None::<&[u8]>)?)
    }

    fn row(&mut self, row: &Row<'_>, sources: usize) -> io::Result<()> {
        self.field(row.eval)?;
        self.field(row.seq)?;
        self.field(row.graph)?;
        self.field(row.context)?;
        self.field(row.thread)?;
        self.known(row.token)?;
        self.known(row.token_id)?;
        self.text(row.token_text)?;
        self.known(row.pos)?;
        self.field(row.n_tokens)?;
        self.text(row.phase)?;
        self.known(row.request)?;
        self.field(row.node)?;
        self.text(Some(row.op))?;
        self.text(Some(row.name))?;
        self.known(row.layer)?;
        self.text(Some(row.node_type))?;
        self.text(row.device)?;
        self.field(row.t_ns)?;
        self.known(row.dur_ns)?;
        self.known(row.fused_into)?;
        self.known(row.run)?;
        self.known(row.run_dur_ns)?;
        self.text(Some(row.dst_type))?;
        self.numbers(&row.dst_shape, "x")?;
        self.field(row.dst_bytes)?;
        self.text(row.dst_buffer)?;
        self.field(row.dst_addr)?;
        self.numbers(row.experts.unwrap_or_default(), " ")?;
        self.field(row.src.len())?;
        for i in 0..sources {
            self.source(row.src.get(i))?;
        }
        self.end()
    }

    fn source(&mut self, source: Option<&Src<'_>>) -> io::Result<()> {
        let Some(source) = source else {
            return OF_SOURCE.iter().try_for_each(|_| self.text(None));
        };
        self.text(Some(source.name))?;
        self.text(Some(source.dtype))?;
        self.numbers(&source.shape, "x")?;
        self.field(source.bytes)?;
        self.known(source.layer)?;
        self.text(Some(source.memory))?;
        self.text(Some(source.place))?;
        self.field(source.start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOSTILE, answer, dumped, exported, hostile};
    use super::super::{ExportOptions, Format};
    use super::*;
    use std::collections::HashMap;

    fn read(trace: &Trace, layers: Option<&str>) -> Vec<HashMap<String, String>> {
        let layers = layers.map(|text| text.parse().unwrap());
        let bytes =
            exported(trace, ExportOptions { format: Format::Csv, tokens: None, layers, graph: None, context: None });
        csv::Reader::from_reader(&bytes[..]).deserialize().map(Result::unwrap).collect()
    }

    #[test]
    fn every_row_says_what_dump_says() {
        let (_dir, trace) = answer();
        let (rows, all) = (read(&trace, None), dumped(&trace, &Filter::default()));
        assert_eq!(rows.len(), all.len());
        for (row, operator) in rows.iter().zip(&all) {
            let sources = operator["src"].as_array().unwrap();
            assert!(operator["request"].is_u64(), "its sequence is known: {operator}");
            for same in [
                "eval",
                "seq",
                "graph",
                "token",
                "token_text",
                "phase",
                "request",
                "node",
                "op",
                "name",
                "layer",
                "t_ns",
                "dur_ns",
                "fused_into",
            ] {
                let expected = operator.get(same).filter(|v| !v.is_null()).map(|v| match v.as_str() {
                    Some(text) => text.to_owned(),
                    None => v.to_string(),
                });
                assert_eq!(row[same], expected.unwrap_or_default(), "{same} of {operator}");
            }
            assert_eq!(row["n_src"], sources.len().to_string());
            for (i, source) in sources.iter().enumerate() {
                assert_eq!(row[&format!("src{i}_name")], source["name"], "{operator}");
                assert_eq!(row[&format!("src{i}_bytes")], source["bytes"].to_string());
                let start = source.get("offset").unwrap_or(&source["addr"]);
                assert_eq!(row[&format!("src{i}_start")], start.to_string());
            }
        }
        assert_eq!(rows[0]["dst_shape"], "576x5x1x1");
        assert!(rows[0].contains_key("src3_name") && !rows[0].contains_key("src4_name"), "attention has 4 sources");
    }

    #[test]
    fn a_layer_is_its_rows_only() {
        let (_dir, trace) = answer();
        let rows = read(&trace, Some("1"));
        assert!(!rows.is_empty() && rows.iter().all(|row| row["layer"] == "1"));
    }

    #[test]
    fn hostile_names_come_back_as_they_were() {
        let (_dir, trace) = hostile();
        let rows = read(&trace, None);
        assert_eq!(rows.iter().map(|row| row["name"].as_str()).collect::<Vec<_>>(), HOSTILE);
        assert_eq!((&*rows[0]["src1_place"], &*rows[0]["token_text"]), (HOSTILE[2], HOSTILE[3]));
    }
}
