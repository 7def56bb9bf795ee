//! What was asked for of a recording, and so why a tensor is not there.

use ggscope_format::capture::{Capture, Ranges, Set, layer};
use ggscope_format::structure::Chosen;
use ggscope_format::{EvalId, TensorId};
use ggscope_trace::Trace;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Why a tensor was not captured, as far as what was asked for says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Nobody asked for its name.
    Name,
    /// Its name was asked for, in other layers.
    Layer,
    /// It was asked for: its evaluation was left out, or it has not come.
    Otherwise,
}

/// What was asked for of a recording, by sets and names.
#[derive(Default)]
pub struct Asked(Vec<(EvalId, Capture, GlobSet)>);

impl Asked {
    /// Of a trace. A glob that is none takes nothing.
    pub fn of(trace: &Trace) -> Asked {
        let compiled = |capture: &Capture| {
            let globs = capture.globs().filter_map(|glob| GlobBuilder::new(glob).literal_separator(false).build().ok());
            globs.fold(&mut GlobSetBuilder::new(), |all, glob| all.add(glob)).build().unwrap_or_default()
        };
        let changes = trace.captures().into_iter();
        Asked(changes.map(|change| (change.from, change.capture.clone(), compiled(&change.capture))).collect())
    }

    /// Why a tensor is not there in an evaluation: by its name, and by what sets take of its graph.
    pub fn left_out(&self, eval: EvalId, name: &str, tensor: TensorId, chosen: &Chosen) -> LeftOut {
        let asked = self.0.iter().rfind(|asked| asked.0 <= eval);
        let is_of = |set: Set| set.takes(name) || chosen.has(set, tensor.0);
        let by_name =
            |(_, capture, globs): &&(EvalId, Capture, GlobSet)| capture.sets().any(is_of) || globs.is_match(name);
        let layer = chosen.layer(tensor.0).or_else(|| layer(name));
        match asked.filter(by_name) {
            None => LeftOut::Name,
            Some((_, capture, _)) if layer.is_some_and(|l| !capture.layers.has(l.into())) => LeftOut::Layer,
            Some(_) => LeftOut::Otherwise,
        }
    }

    /// All layers that were asked for, if some were not.
    pub fn layers(&self) -> Option<Ranges> {
        let of: Vec<&Capture> = self.0.iter().map(|asked| &asked.1).filter(|capture| !capture.is_empty()).collect();
        let is_some = !of.is_empty() && of.iter().all(|capture| !capture.layers.is_all());
        let ranges = of.iter().flat_map(|capture| capture.layers.iter()).map(|r| (*r.start(), *r.end()));
        is_some.then(|| Ranges::of(ranges.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::structure::Plain;
    use ggscope_trace::testing::{Shape, llama, recording};
    use ggscope_trace::{Recording, TraceWriter};

    fn with_trace<T>(capture: Capture, f: impl FnOnce(&Trace) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let recording = Recording { capture, ..recording() };
        let mut writer = TraceWriter::create(&path, false, &recording).unwrap();
        writer.graph(llama(0, Shape { n_layer: 8, ..Shape::default() })).unwrap();
        writer.finish().unwrap();
        f(&Trace::open(&path).unwrap())
    }

    #[test]
    fn a_name_that_nobody_asked_for_is_told_from_a_layer_that_was_left_out() {
        let layers = Ranges::parse("5,7").unwrap();
        let capture = Capture { layers, ..Capture::named(["layers", "ffn_gat?-*"]) };
        with_trace(capture, |trace| {
            let asked = Asked::of(trace);
            let graph = &trace.graph(trace.graphs().next().unwrap()).unwrap().graph;
            let chosen = Chosen::of(&Plain::from(graph));
            let id = |name| graph.tensors.iter().position(|t| t.name == name).unwrap() as u32;
            let why = |name| asked.left_out(EvalId(3), name, TensorId(id(name)), &chosen);
            assert_eq!((why("ffn_up-5"), why("ffn_up-6")), (LeftOut::Name, LeftOut::Name));
            assert_eq!((why("l_out-6"), why("ffn_gate-6")), (LeftOut::Layer, LeftOut::Layer));
            assert_eq!((why("l_out-7"), why("result_norm")), (LeftOut::Otherwise, LeftOut::Otherwise));
            assert_eq!(asked.layers().map(|l| l.to_string()).as_deref(), Some("5,7"));
        });
        with_trace(Capture::named(["layers"]), |trace| assert_eq!(Asked::of(trace).layers(), None));
        with_trace(Capture::default(), |trace| {
            let left_out = Asked::of(trace).left_out(EvalId(0), "l_out-6", TensorId(0), &Chosen::default());
            assert_eq!(left_out, LeftOut::Name);
        });
    }
}
