//! Small recordings of several contexts, for tests.

use super::testing::{Random, Shape, evaluation, llama, model, recording};
use super::{Model, ModelId, Recording, Trace, TraceWriter};
use ggscope_format::capture::Capture;
use ggscope_format::value::Value;
use ggscope_format::{Bytes, EvalId, GraphId};
use std::collections::HashMap;

/// A recording, in a folder that goes with it.
pub struct Recorded {
    /// The recording.
    pub trace: Trace,
    _folder: tempfile::TempDir,
}

/// A recording of evaluations by several contexts: for each the context, its model and how many tokens. Model 0 has two
/// layers, others have one. Of the residual stream everything is captured, and all of its elements are the context's
/// number plus 1 in the first state, and one more in each that follows.
pub fn contexts(of: &[(u32, u32, i64)]) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ggtrace");
    let capture = Capture::named(["layers"]);
    let mut writer = TraceWriter::create(&path, false, &Recording { capture, ..recording() }).unwrap();
    let mut models: Vec<u32> = of.iter().map(|e| e.1).collect();
    models.sort_unstable();
    models.dedup();
    for id in models {
        let name = if id == 0 { model().name } else { format!("model {id}") };
        writer.model(Model { id: ModelId(id), name, n_layer: if id == 0 { 2 } else { 1 }, ..model() }).unwrap();
    }
    let mut positions: HashMap<u32, i32> = HashMap::new();
    for (number, &(context, model, n_tokens)) in (0..).zip(of) {
        let n_layer = if model == 0 { 2 } else { 1 };
        let mut stored = llama(number, Shape { n_layer, n_tokens, n_outputs: n_tokens, ..Shape::default() });
        (stored.graph.context, stored.model) = (context, Some(ModelId(model)));
        let position = positions.entry(context).or_default();
        let mut e = evaluation(&stored, u64::from(number), *position, &mut Random(7));
        (e.context, e.outputs) = (context, None);
        *position += n_tokens as i32;
        let graph = stored.graph.clone();
        writer.graph(stored).unwrap();
        writer.evaluation(e).unwrap();
        let states =
            graph.nodes().filter(|(_, t)| ["embd", "ffn_inp-", "l_out-"].iter().any(|n| t.name.starts_with(n)));
        for (i, (tensor, t)) in states.enumerate() {
            let bytes = (context as f32 + 1.0 + i as f32).to_le_bytes().repeat(t.bytes.0 as usize / 4);
            let (eval, graph, total) = (EvalId(number.into()), GraphId(number), Bytes(bytes.len() as u64));
            writer.value(Value { eval, graph, tensor, total, bytes, ..Value::default() }).unwrap();
        }
    }
    writer.finish().unwrap();
    Recorded { trace: Trace::open(&path).unwrap(), _folder: folder }
}
