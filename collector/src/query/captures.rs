//! What a recording is to capture: whether it makes sense, and afterwards what was found nothing of: globs and sets that no
//! tensor of its graphs has the name of, with the names that come nearest; and whether a tensor that is not there was asked for.

use crate::trace::Trace;
use ggscope_format::EvalId;
use ggscope_format::attention::Attention;
use ggscope_format::capture::{Capture, Ranges, Set, layer, stem};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Graphs that are looked at: those of one program hardly differ in their names.
const MAX_GRAPHS: usize = 16;
/// Names that are proposed.
const NEAREST: usize = 3;
/// Names that have less in common than this are no proposal.
const ALIKE: f64 = 0.6;

/// More names, and longer ones, do not fit into one message to a program that runs.
const MAX_NAMES: usize = 200;
const MAX_NAME_BYTES: usize = 200;

/// Checks what somebody wants to be captured.
///
/// # Errors
/// Says which glob is none, or what contradicts itself.
pub fn check(capture: &Capture) -> Result<(), String> {
    let none = |glob| GlobBuilder::new(glob).build().err().map(|error| error.to_string());
    if let Some(error) = capture.globs().find_map(none) {
        return Err(error);
    }
    if capture.names.len() > MAX_NAMES || capture.names.iter().any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(format!("at most {MAX_NAMES} names can be given, of at most {MAX_NAME_BYTES} bytes each"));
    }
    if !capture.heads.is_all() && !capture.has(Set::Attention) {
        return Err("heads choose among the queries of the set `attention`, which is not captured".to_owned());
    }
    capture.contradiction().map_or(Ok(()), Err)
}

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

    /// Why the tensor of this name is not there in an evaluation.
    pub fn left_out(&self, eval: EvalId, name: &str) -> LeftOut {
        let asked = self.0.iter().rfind(|asked| asked.0 <= eval);
        let by_name = |(_, capture, globs): &&(EvalId, Capture, GlobSet)| {
            capture.sets().any(|set| set.takes(name)) || globs.is_match(name)
        };
        match asked.filter(by_name) {
            None => LeftOut::Name,
            Some((_, capture, _)) if layer(name).is_some_and(|l| !capture.layers.has(l.into())) => LeftOut::Layer,
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

/// A set or a glob that nothing was found of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// As it was given.
    pub name: String,
    /// Whether it is a set.
    pub is_set: bool,
    /// Names of tensors that come nearest to a glob, with `*` for their layers; the nearest first.
    pub nearest: Vec<String>,
}

impl std::fmt::Display for Unmatched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_set {
            return write!(f, "nothing of the set `{}` was captured: the model has no such tensors", self.name);
        }
        write!(f, "nothing was captured of `{}`: no tensor that was computed is called so", self.name)?;
        match &self.nearest[..] {
            [] => f.write_str(" (inputs and weights are not computed)"),
            names => write!(f, "; the nearest names are {}", names.join(", ")),
        }
    }
}

/// The sets and globs of a recording that nothing was found of. Empty if nothing was computed.
pub fn unmatched(trace: &Trace) -> Vec<Unmatched> {
    unmatched_of(trace, trace.captures().into_iter().flat_map(|change| change.capture.names).collect())
}

/// Those of these sets and globs that nothing can be found of, by the graphs so far. Empty if nothing was computed.
pub fn unmatched_of(trace: &Trace, mut wanted: Vec<String>) -> Vec<Unmatched> {
    let (mut names, mut has_attention) = (BTreeSet::new(), false);
    for graph in trace.graphs().take(MAX_GRAPHS).filter_map(|id| trace.graph(id).ok()) {
        let graph = &graph.graph;
        names.extend(graph.nodes().map(|(_, t)| t.name.clone()));
        has_attention |= graph.nodes().any(|(id, _)| Attention::ending(graph, id).is_some());
    }
    if names.is_empty() {
        return vec![];
    }
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into_iter().filter_map(|name| of_name(name, &names, has_attention)).collect()
}

fn of_name(name: String, names: &BTreeSet<String>, has_attention: bool) -> Option<Unmatched> {
    match Set::named(&name) {
        Some(Set::Attention | Set::Values) if has_attention => None,
        Some(set) if names.iter().any(|name| set.takes(name)) => None,
        Some(_) => Some(Unmatched { name, is_set: true, nearest: vec![] }),
        None => {
            let glob = GlobBuilder::new(&name).literal_separator(false).build().ok()?.compile_matcher();
            let matches = names.iter().any(|name| glob.is_match(name));
            (!matches).then(|| Unmatched { nearest: nearest(&name, names), name, is_set: false })
        }
    }
}

/// The names that come nearest to a glob, as globs: `*` stands for the layers.
fn nearest(glob: &str, names: &BTreeSet<String>) -> Vec<String> {
    let plain: String = glob.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')).collect();
    let plain = stem(&plain).trim_end_matches('-').to_lowercase();
    let names = names.iter().filter(|name| !name.contains(' '));
    let stems: BTreeMap<&str, bool> = names.map(|name| (stem(name), layer(name).is_some())).collect();
    let alike = |name: &str| (strsim::jaro_winkler(&plain, &name.to_lowercase()) * 1e6) as u64;
    let mut stems: Vec<(u64, &str, bool)> = stems.into_iter().map(|(name, of)| (alike(name), name, of)).collect();
    stems.retain(|&(alike, name, _)| alike as f64 > ALIKE * 1e6 && !name.is_empty());
    stems.sort_by_key(|&(alike, name, _)| (Reverse(alike), name));
    let glob = |(_, name, has_layer): (u64, &str, bool)| if has_layer { format!("{name}-*") } else { name.to_owned() };
    stems.into_iter().take(NEAREST).map(glob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::{Shape, llama, recording};
    use crate::trace::{Recording, TraceWriter};

    fn with_trace<T>(capture: Capture, f: impl FnOnce(&Trace) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let recording = Recording { capture, ..recording() };
        let mut writer = TraceWriter::create(&path, false, &recording).unwrap();
        writer.graph(llama(0, Shape { n_layer: 2, ..Shape::default() })).unwrap();
        writer.finish().unwrap();
        f(&Trace::open(&path).unwrap())
    }

    fn of(names: &[&str]) -> Vec<Unmatched> {
        with_trace(Capture::named(names.iter().copied()), unmatched)
    }

    #[test]
    fn what_nothing_was_found_of_is_told_with_the_nearest_names() {
        let found = of(&["l_out-*", "lout-*", "attn_normm-1", "zzz", "layers", "experts"]);
        let names: Vec<&str> = found.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["attn_normm-1", "experts", "lout-*", "zzz"]);
        assert_eq!(found[0].nearest[0], "attn_norm-*");
        assert!(found[1].is_set && found[1].to_string().contains("`experts`"));
        assert_eq!(found[2].nearest[0], "l_out-*");
        assert!(found[3].nearest.is_empty());
    }

    #[test]
    fn what_was_found_is_not_told() {
        assert_eq!(of(&["attention", "values", "logits", "l_out-1"]), []);
    }

    #[test]
    fn a_name_that_nobody_asked_for_is_told_from_a_layer_that_was_left_out() {
        let layers = Ranges::parse("5,7").unwrap();
        let capture = Capture { layers, ..Capture::named(["layers", "ffn_gat?-*"]) };
        with_trace(capture, |trace| {
            let asked = Asked::of(trace);
            let why = |name| asked.left_out(EvalId(3), name);
            assert_eq!((why("ffn_up-5"), why("ffn_up-6")), (LeftOut::Name, LeftOut::Name));
            assert_eq!((why("l_out-6"), why("ffn_gate-6")), (LeftOut::Layer, LeftOut::Layer));
            assert_eq!((why("l_out-7"), why("result_norm")), (LeftOut::Otherwise, LeftOut::Otherwise));
            assert_eq!(asked.layers().map(|l| l.to_string()).as_deref(), Some("5,7"));
        });
        with_trace(Capture::named(["layers"]), |trace| assert_eq!(Asked::of(trace).layers(), None));
        with_trace(Capture::default(), |trace| {
            assert_eq!(Asked::of(trace).left_out(EvalId(0), "l_out-6"), LeftOut::Name);
        });
    }
}
