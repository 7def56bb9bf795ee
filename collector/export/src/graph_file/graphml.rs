//! GraphML: yEd, Cytoscape and NetworkX read it.

use super::{Attribute, GraphFile, Kind, given, xml_text};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io::{self, Write};

/// The key of what is shown for a node; GraphML itself has no labels.
const LABEL: &str = "label";

pub(super) fn write(graph: &GraphFile, out: &mut impl Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 1);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let ns = ("xmlns", "http://graphml.graphdrawing.org/xmlns");
    xml.create_element("graphml").with_attribute(ns).write_inner_content(|xml| {
        let label = Attribute::new(LABEL, Kind::Text);
        let of_nodes = std::iter::once(&label).chain(&graph.of_nodes).map(|a| ("node", a));
        for (of, attribute) in of_nodes.chain(graph.of_edges.iter().map(|a| ("edge", a))) {
            let id = key(of, attribute.name);
            let key = [
                ("id", id.as_str()),
                ("for", of),
                ("attr.name", attribute.name),
                ("attr.type", type_name(attribute.kind)),
            ];
            xml.create_element("key").with_attributes(key).write_empty()?;
        }
        let name = xml_text(&graph.name);
        let attributes = [("id", name.as_str()), ("edgedefault", "directed")];
        xml.create_element("graph").with_attributes(attributes).write_inner_content(|xml| {
            let data = |xml: &mut Writer<_>, of: &str, name: &str, value: &str| -> io::Result<()> {
                let element = xml.create_element("data").with_attribute(("key", key(of, name).as_str()));
                element.write_text_content(BytesText::new(&xml_text(value))).map(|_| ())
            };
            for node in &graph.nodes {
                let element = xml.create_element("node").with_attribute(("id", xml_text(&node.id).as_str()));
                element.write_inner_content(|xml| {
                    data(xml, "node", LABEL, &node.label.join(" "))?;
                    given(&graph.of_nodes, &node.values).try_for_each(|(name, value)| data(xml, "node", name, value))
                })?;
            }
            for edge in &graph.edges {
                let (from, to) = (xml_text(&edge.from), xml_text(&edge.to));
                let element = xml.create_element("edge").with_attributes([("source", from.as_str()), ("target", &to)]);
                element.write_inner_content(|xml| {
                    given(&graph.of_edges, &edge.values).try_for_each(|(name, value)| data(xml, "edge", name, value))
                })?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    writeln!(out)
}

/// Nodes and edges may have attributes of the same name, but keys are of the whole file.
fn key(of: &str, name: &str) -> String {
    if of == "edge" { format!("edge_{name}") } else { name.to_owned() }
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "string",
        Kind::Int => "int",
        Kind::Long => "long",
        Kind::Double => "double",
        Kind::Boolean => "boolean",
    }
}
