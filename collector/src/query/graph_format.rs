//! Graphs for other programs: DOT for Graphviz, GraphML for yEd and NetworkX, GEXF for Gephi. Names come from the traced
//! process and are escaped as each format demands.

use super::graph::{GraphPart, GraphTensor};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io::{self, Write};

/// A format that a graph can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFormat {
    /// JSON, as the server answers.
    Json,
    /// Graphviz.
    Dot,
    /// GraphML.
    Graphml,
    /// GEXF 1.3.
    Gexf,
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
        GraphFormat::Dot => dot(part, out),
        GraphFormat::Graphml => graphml(part, out),
        GraphFormat::Gexf => gexf(part, out),
    }
}

/// What is known of a tensor, for formats whose attributes are declared: name, type of the value, value.
fn attributes(t: &GraphTensor<'_>) -> Vec<(&'static str, &'static str, Option<String>)> {
    let dims: Vec<String> = t.ne.iter().map(i64::to_string).collect();
    vec![
        ("name", "string", Some(t.name.to_owned())),
        ("op", "string", Some(t.op.to_owned())),
        ("type", "string", Some(t.dtype.to_owned())),
        ("ne", "string", Some(dims.join("x"))),
        ("bytes", "long", Some(t.bytes.to_string())),
        ("layer", "int", t.layer.map(|l| l.to_string())),
        ("node_type", "string", Some(t.node_type.to_owned())),
        ("category", "string", t.category.map(|c| c.name().to_owned())),
        ("meaning", "string", t.meaning.clone()),
        ("memory", "string", Some(t.place.memory.to_owned())),
        ("offset", "long", t.place.offset.map(|o| o.to_string())),
    ]
}

const EDGE_ATTRIBUTES: [(&str, &str); 2] = [("src", "int"), ("cross_layer", "boolean")];

fn dot(part: &GraphPart<'_>, out: &mut impl Write) -> io::Result<()> {
    // Inside quotes only these two mean something to Graphviz; a control character would end or garble the line.
    let quoted = |text: &str| {
        let shown = text.replace('\\', "\\\\").replace('"', "\\\"");
        shown.replace(char::is_control, "\u{fffd}")
    };
    writeln!(out, "digraph \"graph {}\" {{", part.graph)?;
    for t in &part.tensors {
        let shape = if t.leaf { "box" } else { "ellipse" };
        let label = format!("{}\\n{} {}", quoted(t.name), quoted(t.op), quoted(t.dtype));
        let class = t.category.map_or(t.node_type, |c| c.name());
        writeln!(out, "  {} [label=\"{label}\", shape={shape}, class=\"{class}\"];", t.id)?;
    }
    for e in &part.edges {
        let style = if e.cross_layer { " [style=dashed]" } else { "" };
        writeln!(out, "  {} -> {}{style};", e.from, e.to)?;
    }
    writeln!(out, "}}")
}

/// XML has no way to write most control characters.
fn xml_text(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "\u{fffd}")
}

fn graphml(part: &GraphPart<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 1);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let ns = ("xmlns", "http://graphml.graphdrawing.org/xmlns");
    xml.create_element("graphml").with_attribute(ns).write_inner_content(|xml| {
        let of_nodes = part.tensors.first().map(attributes).unwrap_or_default();
        let keys = of_nodes.iter().map(|a| ("node", a.0, a.1));
        for (of, name, kind) in keys.chain(EDGE_ATTRIBUTES.map(|(name, kind)| ("edge", name, kind))) {
            let key = [("id", name), ("for", of), ("attr.name", name), ("attr.type", kind)];
            xml.create_element("key").with_attributes(key).write_empty()?;
        }
        let id = part.graph.to_string();
        let graph = [("id", id.as_str()), ("edgedefault", "directed")];
        xml.create_element("graph").with_attributes(graph).write_inner_content(|xml| {
            let data = |xml: &mut Writer<_>, key: &str, value: &str| -> io::Result<()> {
                let element = xml.create_element("data").with_attribute(("key", key));
                element.write_text_content(BytesText::new(&xml_text(value))).map(|_| ())
            };
            for t in &part.tensors {
                let node = xml.create_element("node").with_attribute(("id", t.id.to_string().as_str()));
                node.write_inner_content(|xml| {
                    attributes(t)
                        .iter()
                        .filter_map(|a| Some((a.0, a.2.as_deref()?)))
                        .try_for_each(|(k, v)| data(xml, k, v))
                })?;
            }
            for e in &part.edges {
                let (from, to) = (e.from.to_string(), e.to.to_string());
                let edge = xml.create_element("edge").with_attributes([("source", from.as_str()), ("target", &to)]);
                edge.write_inner_content(|xml| {
                    data(xml, "src", &e.src.to_string())?;
                    data(xml, "cross_layer", &e.cross_layer.to_string())
                })?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    writeln!(out)
}

fn gexf(part: &GraphPart<'_>, out: &mut impl Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 1);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = [("xmlns", "http://gexf.net/1.3"), ("version", "1.3")];
    xml.create_element("gexf").with_attributes(root).write_inner_content(|xml| {
        let graph = xml.create_element("graph").with_attribute(("defaultedgetype", "directed"));
        graph.write_inner_content(|xml| {
            let of_nodes = part.tensors.first().map(attributes).unwrap_or_default();
            let declare = |xml: &mut Writer<_>, class: &str, all: &[(&str, &str)]| -> io::Result<()> {
                let element = xml.create_element("attributes").with_attribute(("class", class));
                element.write_inner_content(|xml| {
                    for (name, kind) in all {
                        let of =
                            [("id", *name), ("title", *name), ("type", if *kind == "int" { "integer" } else { *kind })];
                        xml.create_element("attribute").with_attributes(of).write_empty()?;
                    }
                    Ok(())
                })?;
                Ok(())
            };
            declare(xml, "node", &of_nodes.iter().map(|a| (a.0, a.1)).collect::<Vec<_>>())?;
            declare(xml, "edge", &EDGE_ATTRIBUTES)?;
            let values = |xml: &mut Writer<_>, all: &[(&str, String)]| -> io::Result<()> {
                xml.create_element("attvalues").write_inner_content(|xml| {
                    for (name, value) in all {
                        let value = xml_text(value);
                        let of = [("for", *name), ("value", value.as_str())];
                        xml.create_element("attvalue").with_attributes(of).write_empty()?;
                    }
                    Ok(())
                })?;
                Ok(())
            };
            xml.create_element("nodes").write_inner_content(|xml| {
                for t in &part.tensors {
                    let (id, label) = (t.id.to_string(), xml_text(t.name));
                    let node = xml.create_element("node").with_attributes([("id", id.as_str()), ("label", &label)]);
                    let all: Vec<_> = attributes(t).into_iter().filter_map(|a| Some((a.0, a.2?))).collect();
                    node.write_inner_content(|xml| values(xml, &all))?;
                }
                Ok(())
            })?;
            xml.create_element("edges").write_inner_content(|xml| {
                for (id, e) in part.edges.iter().enumerate() {
                    let (id, from, to) = (id.to_string(), e.from.to_string(), e.to.to_string());
                    let of = [("id", id.as_str()), ("source", &from), ("target", &to)];
                    let all = [("src", e.src.to_string()), ("cross_layer", e.cross_layer.to_string())];
                    xml.create_element("edge").with_attributes(of).write_inner_content(|xml| values(xml, &all))?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    })?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::graph::GraphQuery;
    use crate::trace::testing::{Builder, recording};
    use crate::trace::{Trace, TraceWriter};
    use ggscope_format::GraphId;
    use quick_xml::Reader;

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
    fn xml_is_well_formed_and_gives_hostile_names_back_as_text() {
        for format in [GraphFormat::Graphml, GraphFormat::Gexf] {
            let text = written(format);
            assert!(!text.contains("<img") && text.contains("&lt;img"), "{text}");
            let mut reader = Reader::from_str(&text);
            let (mut nodes, mut edges) = (0, 0);
            loop {
                match reader.read_event().unwrap() {
                    Event::Start(e) if e.name().as_ref() == b"node" => nodes += 1,
                    Event::Start(e) if e.name().as_ref() == b"edge" => edges += 1,
                    Event::Eof => break,
                    _ => {}
                }
            }
            assert_eq!((nodes, edges), (4, 4), "{format:?}: {text}");
        }
    }

    #[test]
    fn dot_escapes_names_and_dashes_edges_between_layers() {
        let text = written(GraphFormat::Dot);
        assert!(text.contains(r#"[label="<img src=x onerror=\"x\">\\"#) && !text.contains('\u{1}'), "{text}");
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
