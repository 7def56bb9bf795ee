//! What a recording is to capture: whether it makes sense, and afterwards what was found nothing of: globs and sets that no
//! tensor of its graphs has the name of, with the names that come nearest.

use crate::trace::Trace;
use ggscope_format::attention::Attention;
use ggscope_format::capture::{Capture, Set, layer, stem};
use globset::GlobBuilder;
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
    use crate::trace::TraceWriter;
    use crate::trace::testing::{Shape, llama, recording};

    fn of(names: &[&str]) -> Vec<Unmatched> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut recording = recording();
        recording.capture = Capture::named(names.iter().copied());
        let mut writer = TraceWriter::create(&path, false, &recording).unwrap();
        writer.graph(llama(0, Shape { n_layer: 2, ..Shape::default() })).unwrap();
        writer.finish().unwrap();
        unmatched(&Trace::open(&path).unwrap())
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
}
