//! Small recordings of hidden states for tests: a prompt of three tokens through a Llama of three layers, the last of which has
//! only the last token. No use outside of tests.

use ggscope_format::capture::Capture;
use ggscope_format::record::Tensor;
use ggscope_format::value::{RowStatistics, Statistics, Value};
use ggscope_format::{Bytes, EvalId, GraphId, TensorId};
use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
use ggscope_trace::{Recording, Trace, TraceWriter};

/// A recording, in a folder that goes with it.
pub(super) struct Recorded {
    pub trace: Trace,
    _folder: tempfile::TempDir,
}

fn written(capture: Capture, write: impl FnOnce(&mut TraceWriter, &dyn Fn(&str) -> (TensorId, Tensor))) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.ggtrace");
    let graph = llama(0, Shape { n_layer: 3, n_tokens: 3, ..Shape::default() });
    let named = |name: &str| {
        let (id, tensor) = graph.graph.nodes().find(|(_, t)| t.name == name).unwrap();
        (id, tensor.clone())
    };
    let recording = Recording { capture, ..recording() };
    let mut writer = TraceWriter::create(&path, false, &recording).unwrap();
    writer.graph(graph.clone()).unwrap();
    writer.evaluation(evaluation(&graph, 0, 0, &mut Random(7))).unwrap();
    write(&mut writer, &named);
    writer.finish().unwrap();
    Recorded { trace: Trace::open(&path).unwrap(), _folder: folder }
}

/// Tensors with what all their elements are.
pub(super) fn values(capture: Capture, of: &[(&str, f32)]) -> Recorded {
    written(capture, |writer, named| {
        for &(name, value) in of {
            let (tensor, info) = named(name);
            let bytes = value.to_le_bytes().repeat(info.bytes.0 as usize / 4);
            let total = Bytes(bytes.len() as u64);
            let (eval, graph) = (EvalId(0), GraphId(0));
            writer.value(Value { eval, graph, tensor, total, bytes, ..Value::default() }).unwrap();
        }
    })
}

/// The same, of which only statistics were recorded.
pub(super) fn statistics(of: &[(&str, f32)]) -> Recorded {
    let capture = Capture { statistics: true, ..Capture::named(["layers"]) };
    written(capture, |writer, named| {
        for &(name, value) in of {
            let (tensor, info) = named(name);
            let nans = if value.is_nan() { info.ne[0] as u32 } else { 0 };
            let row = RowStatistics { min: value, max: value, mean: value, rms: value.abs(), zeros: 0, nans, infs: 0 };
            let rows = vec![row; info.ne[1] as usize];
            let (eval, graph) = (EvalId(0), GraphId(0));
            writer.statistics(&Statistics { eval, graph, tensor, rows, ..Statistics::default() }).unwrap();
        }
    })
}
