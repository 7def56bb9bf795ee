//! GEXF 1.3, the format of Gephi.

use super::{Attribute, GraphFile, Kind, given, xml_text};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, Event};
use std::io::{self, Write};

pub(super) fn write(graph: &GraphFile, out: &mut impl Write) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 1);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let root = [("xmlns", "http://gexf.net/1.3"), ("version", "1.3")];
    xml.create_element("gexf").with_attributes(root).write_inner_content(|xml| {
        let element = xml.create_element("graph").with_attribute(("defaultedgetype", "directed"));
        element.write_inner_content(|xml| {
            declare(xml, "node", &graph.of_nodes)?;
            declare(xml, "edge", &graph.of_edges)?;
            xml.create_element("nodes").write_inner_content(|xml| {
                for node in &graph.nodes {
                    let (id, label) = (xml_text(&node.id), xml_text(&node.label.join(" ")));
                    let of = [("id", id.as_str()), ("label", &label)];
                    let element = xml.create_element("node").with_attributes(of);
                    element.write_inner_content(|xml| values(xml, &graph.of_nodes, &node.values))?;
                }
                Ok(())
            })?;
            xml.create_element("edges").write_inner_content(|xml| {
                for (id, edge) in graph.edges.iter().enumerate() {
                    let (id, from, to) = (id.to_string(), xml_text(&edge.from), xml_text(&edge.to));
                    let of = [("id", id.as_str()), ("source", &from), ("target", &to)];
                    let element = xml.create_element("edge").with_attributes(of);
                    element.write_inner_content(|xml| values(xml, &graph.of_edges, &edge.values))?;
                }
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    })?;
    writeln!(out)
}

fn declare<W: Write>(xml: &mut Writer<W>, class: &str, attributes: &[Attribute]) -> io::Result<()> {
    let element = xml.create_element("attributes").with_attribute(("class", class));
    element.write_inner_content(|xml| {
        for attribute in attributes {
            let of = [("id", attribute.name), ("title", attribute.name), ("type", type_name(attribute.kind))];
            xml.create_element("attribute").with_attributes(of).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn values<W: Write>(xml: &mut Writer<W>, attributes: &[Attribute], all: &[Option<String>]) -> io::Result<()> {
    xml.create_element("attvalues").write_inner_content(|xml| {
        for (name, value) in given(attributes, all) {
            let value = xml_text(value);
            let of = [("for", name), ("value", value.as_str())];
            xml.create_element("attvalue").with_attributes(of).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "string",
        Kind::Int => "integer",
        Kind::Long => "long",
        Kind::Double => "double",
        Kind::Boolean => "boolean",
    }
}
