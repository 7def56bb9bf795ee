//! JSON: an array of rows, one a line.

use super::rows;
use ggscope_query::dump::Filter;
use ggscope_trace::Trace;
use std::io::{self, BufWriter, Write};

/// Writes the rows that the filter lets through, and returns how many there are.
pub fn write(trace: &Trace, filter: &Filter, out: &mut (dyn Write + Send)) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let mut before = "[\n";
    let rows = rows::for_each(trace, filter, |row| {
        out.write_all(std::mem::replace(&mut before, ",\n").as_bytes())?;
        Ok(serde_json::to_writer(&mut out, row)?)
    })?;
    out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
    out.flush()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOSTILE, answer, dumped, exported, hostile};
    use super::super::{ExportOptions, Format};
    use super::*;
    use serde_json::Value as Json;

    fn read(trace: &Trace, tokens: Option<&str>) -> Vec<Json> {
        let tokens = tokens.map(|text| text.parse().unwrap());
        let wanted = ExportOptions { format: Format::Json, tokens, layers: None, graph: None, context: None };
        serde_json::from_slice(&exported(trace, wanted)).unwrap()
    }

    #[test]
    fn every_row_says_what_dump_says() {
        let (_dir, trace) = answer();
        let (rows, all) = (read(&trace, None), dumped(&trace, &Filter::default()));
        assert_eq!(rows.len(), all.len());
        for (row, operator) in rows.iter().zip(&all) {
            for same in [
                "eval", "seq", "graph", "token", "pos", "phase", "request", "node", "op", "name", "layer", "t_ns",
                "dur_ns", "thread",
            ] {
                assert_eq!(row[same], operator[same], "{same} of {operator}");
            }
            assert_eq!((&row["dst_shape"], &row["dst_bytes"]), (&operator["dst"]["ne"], &operator["dst"]["bytes"]));
            let sources = row["src"].as_array().unwrap().iter().zip(operator["src"].as_array().unwrap());
            for (src, source) in sources {
                let (place, start) = if source["memory"] == "DISK" { ("file", "offset") } else { ("buffer", "addr") };
                assert_eq!((&src["place"], &src["start"]), (&source[place], &source[start]), "{operator}");
                assert_eq!((&src["name"], &src["bytes"]), (&source["name"], &source["bytes"]));
            }
        }
    }

    #[test]
    fn nothing_is_an_empty_array_and_one_token_is_its_rows() {
        let (_dir, trace) = answer();
        assert_eq!(read(&trace, Some("999")), [] as [Json; 0]);
        assert_eq!(read(&trace, Some("7")).len(), 44);
    }

    #[test]
    fn hostile_names_come_back_as_they_were() {
        let (_dir, trace) = hostile();
        let rows = read(&trace, None);
        assert_eq!(rows.iter().map(|r| r["name"].as_str().unwrap()).collect::<Vec<_>>(), HOSTILE);
        assert_eq!((&rows[0]["src"][1]["place"], &rows[0]["token_text"]), (&HOSTILE[2].into(), &HOSTILE[3].into()));
    }
}
