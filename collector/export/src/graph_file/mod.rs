//! Any graph as a file for other programs: DOT for Graphviz, GraphML for yEd, Cytoscape and NetworkX, GEXF for Gephi.
//! What the nodes and edges are is the caller's business; here names are escaped as each format demands.

mod dot;
mod gexf;
mod graphml;

use std::io::{self, Write};

/// A format of graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphFileFormat {
    /// Graphviz.
    Dot,
    /// GraphML.
    Graphml,
    /// GEXF 1.3.
    Gexf,
}

/// What the values of an attribute are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of up to 32 bits.
    Int,
    /// A whole number of up to 64 bits.
    Long,
    /// A number.
    Double,
    /// `true` or `false`.
    Boolean,
}

/// An attribute that nodes or edges can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name, the same in each format.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
}

impl Attribute {
    /// An attribute.
    pub const fn new(name: &'static str, kind: Kind) -> Attribute {
        Attribute { name, kind }
    }
}

/// A node.
#[derive(Clone, Debug, Default)]
pub struct FileNode {
    /// Its id; no two nodes have the same.
    pub id: String,
    /// Lines that are shown for it.
    pub label: Vec<String>,
    /// What sort of node it is: DOT has it as `class`.
    pub class: String,
    /// Whether DOT draws it as a box, not as an ellipse.
    pub boxed: bool,
    /// A value or none for each attribute of nodes.
    pub values: Vec<Option<String>>,
}

/// An edge.
#[derive(Clone, Debug, Default)]
pub struct FileEdge {
    /// Id of a node.
    pub from: String,
    /// Id of a node.
    pub to: String,
    /// Whether DOT dashes it.
    pub dashed: bool,
    /// A value or none for each attribute of edges.
    pub values: Vec<Option<String>>,
}

/// A directed graph that can be written.
#[derive(Clone, Debug, Default)]
pub struct GraphFile {
    /// Its name.
    pub name: String,
    /// Attributes of nodes.
    pub of_nodes: Vec<Attribute>,
    /// Attributes of edges.
    pub of_edges: Vec<Attribute>,
    /// The nodes.
    pub nodes: Vec<FileNode>,
    /// The edges.
    pub edges: Vec<FileEdge>,
}

impl GraphFile {
    /// Writes it.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn write(&self, format: GraphFileFormat, out: &mut impl Write) -> io::Result<()> {
        match format {
            GraphFileFormat::Dot => dot::write(self, out),
            GraphFileFormat::Graphml => graphml::write(self, out),
            GraphFileFormat::Gexf => gexf::write(self, out),
        }
    }
}

/// The attributes that have a value, with it.
fn given<'a>(
    attributes: &'a [Attribute],
    values: &'a [Option<String>],
) -> impl Iterator<Item = (&'static str, &'a str)> {
    attributes.iter().zip(values).filter_map(|(attribute, value)| Some((attribute.name, value.as_deref()?)))
}

/// XML has no way to write most control characters.
fn xml_text(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    const HOSTILE: &str = "<img src=x onerror=\"x\">\\\u{1}-0";

    fn written(format: GraphFileFormat) -> String {
        let node = |id: &str, bytes: Option<&str>| FileNode {
            id: id.into(),
            label: vec![HOSTILE.into(), "f32".into()],
            class: "layer".into(),
            values: vec![bytes.map(str::to_owned)],
            ..FileNode::default()
        };
        let edge = |dashed| FileEdge { from: "a\"".into(), to: "b".into(), dashed, values: vec![Some("1".into())] };
        let graph = GraphFile {
            name: "a graph".into(),
            of_nodes: vec![Attribute::new("bytes", Kind::Long)],
            of_edges: vec![Attribute::new("src", Kind::Int)],
            nodes: vec![node("a\"", Some("7")), node("b", None)],
            edges: vec![edge(true), edge(false)],
        };
        let mut out = vec![];
        graph.write(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn xml_is_well_formed_and_gives_hostile_names_back_as_text() {
        for format in [GraphFileFormat::Graphml, GraphFileFormat::Gexf] {
            let text = written(format);
            assert!(!text.contains("<img"), "{text}");
            let mut reader = Reader::from_str(&text);
            let (mut nodes, mut edges, mut values) = (0, 0, 0);
            loop {
                match reader.read_event().unwrap() {
                    Event::Start(e) if e.name().as_ref() == b"node" => nodes += 1,
                    Event::Start(e) if e.name().as_ref() == b"edge" => edges += 1,
                    Event::Start(e) if e.name().as_ref() == b"data" => values += 1,
                    Event::Empty(e) if e.name().as_ref() == b"attvalue" => values += 1,
                    Event::Eof => break,
                    _ => {}
                }
            }
            // GraphML has the label as one value more of each node.
            let labels = if format == GraphFileFormat::Graphml { 2 } else { 0 };
            assert_eq!((nodes, edges, values), (2, 2, 3 + labels), "{format:?}: {text}");
        }
    }

    #[test]
    fn dot_escapes_names_and_dashes_edges() {
        let text = written(GraphFileFormat::Dot);
        assert!(text.contains(r#"[label="<img src=x onerror=\"x\">\\"#) && !text.contains('\u{1}'), "{text}");
        assert_eq!(text.matches(r#""a\"" -> b [style=dashed];"#).count(), 1, "{text}");
        assert_eq!(text.matches(" -> ").count(), 2);
    }
}
