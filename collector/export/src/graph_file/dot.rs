//! DOT, the language of Graphviz.

use super::GraphFile;
use std::io::{self, Write};

pub(super) fn write(graph: &GraphFile, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "digraph \"{}\" {{", quoted(&graph.name))?;
    for node in &graph.nodes {
        let shape = if node.boxed { "box" } else { "ellipse" };
        let label = node.label.iter().map(|line| quoted(line)).collect::<Vec<_>>().join("\\n");
        let class = quoted(&node.class);
        writeln!(out, "  {} [label=\"{label}\", shape={shape}, class=\"{class}\"];", id(&node.id))?;
    }
    for edge in &graph.edges {
        let style = if edge.dashed { " [style=dashed]" } else { "" };
        writeln!(out, "  {} -> {}{style};", id(&edge.from), id(&edge.to))?;
    }
    writeln!(out, "}}")
}

/// Inside quotes only these two mean something to Graphviz; a control character would end or garble the line.
fn quoted(text: &str) -> String {
    let shown = text.replace('\\', "\\\\").replace('"', "\\\"");
    shown.replace(char::is_control, "\u{fffd}")
}

/// Numbers and plain words need no quotes.
fn id(text: &str) -> String {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !["node", "edge", "graph", "digraph", "subgraph", "strict"].contains(&text.to_ascii_lowercase().as_str());
    if number || word { text.to_owned() } else { format!("\"{}\"", quoted(text)) }
}
