//! A computation graph for other programs. Names come from the traced process; [`super::graph_file`] escapes them.

use super::graph_file::{Attribute, FileEdge, FileNode, GraphFile, GraphFileFormat, Kind};
use ggscope_query::graph::{GraphEdge, GraphPart, GraphTensor};
use std::io::{self, Write};

/// A format that a graph can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// JSON, as the server answers.
    Json,
    /// For other programs.
    File(GraphFileFormat),
}

/// Writes a graph.
///
/// # Errors
/// When `out` does not take it.
pub fn write(part: &GraphPart<'_>, format: GraphFormat, out: &mut impl Write) -> io::Result<()> {
    match format {
        GraphFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, part)?;
            writeln!(out)
        }
        GraphFormat::File(format) => file(part).write(format, out),
    }
}

const OF_NODES: [Attribute; 11] = [
    Attribute::new("name", Kind::Text),
    Attribute::new("op", Kind::Text),
    Attribute::new("type", Kind::Text),
    Attribute::new("ne", Kind::Text),
    Attribute::new("bytes", Kind::Long),
    Attribute::new("layer", Kind::Int),
    Attribute::new("node_type", Kind::Text),
    Attribute::new("category", Kind::Text),
    Attribute::new("meaning", Kind::Text),
    Attribute::new("memory", Kind::Text),
    Attribute::new("offset", Kind::Long),
];

const OF_EDGES: [Attribute; 2] = [Attribute::new("src", Kind::Int), Attribute::new("cross_layer", Kind::Boolean)];

fn file(part: &GraphPart<'_>) -> GraphFile {
    GraphFile {
        name: format!("graph {}", part.graph),
        of_nodes: OF_NODES.to_vec(),
        of_edges: OF_EDGES.to_vec(),
        nodes: part.tensors.iter().map(node).collect(),
        edges: part.edges.iter().map(edge).collect(),
    }
}

fn node(t: &GraphTensor<'_>) -> FileNode {
    let dims: Vec<String> = t.ne.iter().map(i64::to_string).collect();
    FileNode {
        id: t.id.to_string(),
        label: vec![t.name.to_owned(), format!("{} {}", t.op, t.dtype)],
        class: t.category.map_or(t.node_type, |c| c.name()).to_owned(),
        boxed: t.leaf,
        values: vec![
            Some(t.name.to_owned()),
            Some(t.op.to_owned()),
            Some(t.dtype.to_owned()),
            Some(dims.join("x")),
            Some(t.bytes.to_string()),
            t.layer.map(|l| l.to_string()),
            Some(t.node_type.to_owned()),
            t.category.map(|c| c.name().to_owned()),
            t.meaning.clone(),
            Some(t.place.memory.to_owned()),
            t.place.offset.map(|o| o.to_string()),
        ],
    }
}

fn edge(e: &GraphEdge) -> FileEdge {
    FileEdge {
        from: e.from.to_string(),
        to: e.to.to_string(),
        dashed: e.cross_layer,
        values: vec![Some(e.src.to_string()), Some(e.cross_layer.to_string())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::GraphId;
    use ggscope_query::graph::GraphQuery;
    use ggscope_trace::testing::{Builder, recording};
    use ggscope_trace::{Trace, TraceWriter};

    const HOSTILE: &str = "<img src=x onerror=\"x\">\\\u{1}-0";

    fn written(format: GraphFormat) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut b = Builder::default();
        let weight = b.weight("blk.0.w.weight", true, &[64, 64]);
        let input = b.input("inp_pos", None, &[64]);
        let a = b.node(HOSTILE, "MUL_MAT", &[64], &[weight, input]);
        b.node("l_out-1", "MUL", &[64], &[a, a]);
        let mut writer = TraceWriter::create(&path, false, &recording()).unwrap();
        writer.graph(b.finish(0, "m.gguf")).unwrap();
        writer.finish().unwrap();
        let query = GraphQuery::open(&Trace::open(&path).unwrap(), GraphId(0)).unwrap();
        let mut out = vec![];
        write(&query.whole(), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn files_have_every_node_edge_and_attribute() {
        for format in [GraphFileFormat::Graphml, GraphFileFormat::Gexf] {
            let text = written(GraphFormat::File(format));
            assert_eq!((text.matches("<node ").count(), text.matches("<edge ").count()), (4, 4), "{text}");
            for attribute in OF_NODES.iter().chain(&OF_EDGES) {
                assert!(text.contains(&format!("\"{}\"", attribute.name)), "{}: {text}", attribute.name);
            }
            assert!(!text.contains("<img") && text.contains("&lt;img"), "{text}");
        }
    }

    #[test]
    fn dot_dashes_edges_between_layers() {
        let text = written(GraphFormat::File(GraphFileFormat::Dot));
        assert_eq!(text.matches("0 -> 1 [style=dashed];").count(), 2, "{text}");
        assert_eq!(text.matches(" -> ").count(), 4);
    }

    #[test]
    fn json_is_the_servers() {
        let json: serde_json::Value = serde_json::from_str(&written(GraphFormat::Json)).unwrap();
        assert_eq!(json["tensors"][0]["name"], HOSTILE);
        assert_eq!(json["edges"][3], serde_json::json!({"from": 0, "to": 1, "src": 1, "cross_layer": true}));
    }
}
