//! The graphs that a writer has put down, to check evaluations against. A server that runs for days computes thousands
//! of them, so only those that were used lately are kept decoded.

use super::StoredGraph;
use super::graph_columns::decode_graph;
use ggscope_format::GraphId;
use ggscope_format::record::Graph;
use std::collections::HashMap;
use std::sync::Arc;

/// Graphs that are kept decoded.
const DECODED: usize = 32;
/// For what is only there to be read again.
const LEVEL: i32 = 1;

/// Graphs by number.
#[derive(Default)]
pub struct KnownGraphs {
    /// Columns and their length, packed.
    packed: HashMap<GraphId, (Vec<u8>, usize)>,
    decoded: HashMap<GraphId, Arc<Graph>>,
}

impl KnownGraphs {
    /// Whether a graph has been put down.
    pub fn contains(&self, id: GraphId) -> bool {
        self.packed.contains_key(&id)
    }

    /// Remembers a graph and its columns.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn insert(&mut self, stored: StoredGraph, columns: &[u8]) -> std::io::Result<()> {
        let id = stored.graph.graph;
        self.packed.insert(id, (zstd::bulk::compress(columns, LEVEL)?, columns.len()));
        self.keep(id, Arc::new(stored.graph));
        Ok(())
    }

    /// A graph that has been put down.
    pub fn get(&mut self, id: GraphId) -> Option<Arc<Graph>> {
        if let Some(graph) = self.decoded.get(&id) {
            return Some(graph.clone());
        }
        let (packed, len) = self.packed.get(&id)?;
        let columns = zstd::bulk::decompress(packed, *len).ok()?;
        let graph = Arc::new(decode_graph(&columns).ok()?.graph);
        self.keep(id, graph.clone());
        Some(graph)
    }

    fn keep(&mut self, id: GraphId, graph: Arc<Graph>) {
        if self.decoded.len() >= DECODED {
            self.decoded.clear();
        }
        self.decoded.insert(id, graph);
    }
}
