//! What a recording is to capture: whether it makes sense, and afterwards what nothing was captured of: globs and sets that no
//! tensor of its graphs has the name of, with the names that come nearest, and those that limits leave nothing of.

use ggscope_format::attention::{Attention, root};
use ggscope_format::capture::{Capture, Ranges, Set, layer, stem};
use ggscope_format::structure::{Chosen, Plain};
use ggscope_trace::Trace;
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
    if let Some((name, set)) = capture.globs().find_map(misspelt) {
        let set = set.name();
        return Err(format!(
            "`{name}` is no set: did you mean `{set}`? A tensor of that name is `[{}]{}`",
            &name[..1],
            &name[1..]
        ));
    }
    capture.contradiction().map_or(Ok(()), Err)
}

/// A name without wildcards that is almost a set's: no tensor is called so, and a run would be over before this is noticed.
fn misspelt(name: &str) -> Option<(&str, Set)> {
    if name.contains(['*', '?', '[', '{', '\\']) || !name.is_ascii() || name.is_empty() {
        return None;
    }
    let written = name.to_ascii_lowercase();
    let distance = |set: &Set| strsim::damerau_levenshtein(&written, set.name());
    let set = Set::ALL.into_iter().min_by_key(distance)?;
    (distance(&set) <= 2 && written.len() > 3).then_some((name, set))
}

/// A set or a glob that nothing was captured of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// As it was given.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why nothing was captured of a set or a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The model has no tensors of the set.
    NotInModel,
    /// No tensor that was computed has a name that fits. Sets and names of tensors that come nearest, with `*` for their
    /// layers; the nearest first.
    NotCalledSo(Vec<String>),
    /// A limit of the capture leaves all of it out, in words.
    LeftOut(String),
}

impl std::fmt::Display for Unmatched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.name;
        match &self.why {
            Why::NotInModel => write!(f, "nothing of the set `{name}` was captured: the model has no such tensors"),
            Why::LeftOut(why) => write!(f, "nothing was captured of `{name}`: {why}"),
            Why::NotCalledSo(nearest) => {
                write!(f, "nothing was captured of `{name}`: no tensor that was computed is called so")?;
                match &nearest[..] {
                    [] => f.write_str(" (inputs and weights are not computed)"),
                    names => write!(f, "; the nearest names are {}", names.join(", ")),
                }
            }
        }
    }
}

/// The sets and globs of a recording that nothing was captured of: there is no such thing, or limits left it out whenever it
/// was wanted. Empty if nothing was computed.
pub fn unmatched(trace: &Trace) -> Vec<Unmatched> {
    let captures = trace.captures();
    let names: BTreeSet<&String> = captures.iter().flat_map(|change| &change.capture.names).collect();
    if names.is_empty() {
        return vec![];
    }
    let computed = Computed::of(trace);
    let last_token = trace.totals().tokens().checked_sub(1);
    let why = |name: &str, capture: &Capture| {
        computed.why_nothing(name, capture).or_else(|| {
            let last = last_token.filter(|&last| !capture.tokens.has_any(0..=last))?;
            let tokens = &capture.tokens;
            Some(Why::LeftOut(format!("it is limited to tokens {tokens}, and the session has tokens 0-{last}")))
        })
    };
    let of_name = |name: &String| {
        let wanted = captures.iter().filter(|change| change.capture.names.contains(name));
        let whys: Option<Vec<Why>> = wanted.map(|change| why(name, &change.capture)).collect();
        Some(Unmatched { name: name.clone(), why: whys?.pop()? })
    };
    names.into_iter().filter_map(of_name).collect()
}

/// The sets and globs of a capture that nothing can be found of, by the graphs so far. Empty if nothing was computed.
pub fn unmatched_of(trace: &Trace, capture: &Capture) -> Vec<Unmatched> {
    let computed = Computed::of(trace);
    let names: BTreeSet<&String> = capture.names.iter().collect();
    let of_name = |name: &String| Some(Unmatched { name: name.clone(), why: computed.why_nothing(name, capture)? });
    names.into_iter().filter_map(of_name).collect()
}

/// What graphs compute, as far as captures choose by it.
#[derive(Default)]
struct Computed {
    names: BTreeSet<String>,
    /// Layers and heads of attention; no layer if its tensors' names say none.
    attention: BTreeSet<(Option<u32>, u64)>,
    /// Layers of what the sets take that are found by what feeds what.
    layers: BTreeSet<Option<u32>>,
    logits: BTreeSet<Option<u32>>,
}

impl Computed {
    fn of(trace: &Trace) -> Computed {
        let mut computed = Computed::default();
        for stored in trace.graphs().take(MAX_GRAPHS).filter_map(|id| trace.graph(id).ok()) {
            let graph = &stored.graph;
            let layer_of = |id| layer(&graph.tensor(root(graph, id))?.name);
            let chosen = Chosen::of(&Plain::from(graph));
            computed.layers.extend(chosen.tensors(Set::Layers).into_iter().map(|(_, layer)| layer));
            computed.logits.extend(chosen.tensors(Set::Logits).into_iter().map(|(_, layer)| layer));
            for (id, tensor) in graph.nodes() {
                computed.names.insert(tensor.name.clone());
                if let Some(found) = Attention::ending(graph, id) {
                    let heads = graph.tensor(found.q).map_or(0, |q| q.ne[2].unsigned_abs());
                    computed.attention.insert((layer_of(found.k).or_else(|| layer_of(found.q)), heads));
                }
            }
        }
        computed
    }

    /// Why nothing of the set or glob is captured, whatever the token; `None` if something is, or nothing was computed.
    fn why_nothing(&self, name: &str, capture: &Capture) -> Option<Why> {
        if self.names.is_empty() {
            return None;
        }
        let set = Set::named(name);
        let glob = GlobBuilder::new(name).literal_separator(false).build().ok()?.compile_matcher();
        let takes = |name: &&String| set.map_or_else(|| glob.is_match(name), |set| set.takes(name));
        let layers: BTreeSet<Option<u32>> = match set {
            Some(Set::Attention | Set::Values) => self.attention.iter().map(|of| of.0).collect(),
            Some(Set::Layers) => self.layers.clone(),
            Some(Set::Logits) => self.logits.clone(),
            _ => self.names.iter().filter(takes).map(|name| layer(name)).collect(),
        };
        let is_wanted = |layer: Option<u32>| layer.is_none_or(|layer| capture.layers.has(layer.into()));
        if layers.is_empty() {
            return Some(set.map_or_else(|| Why::NotCalledSo(nearest(name, &self.names)), |_| Why::NotInModel));
        }
        if !layers.iter().any(|&layer| is_wanted(layer)) {
            let there = Ranges::of(layers.into_iter().flatten().map(|n| (n.into(), n.into())).collect());
            let wanted = &capture.layers;
            return Some(Why::LeftOut(format!(
                "it is limited to layers {wanted}, and the model has it in layers {there}"
            )));
        }
        let most = self.attention.iter().filter(|of| is_wanted(of.0)).map(|of| of.1).max();
        let last = most.filter(|_| set == Some(Set::Attention))?.checked_sub(1)?;
        (!capture.heads.has_any(0..=last)).then(|| {
            let wanted = &capture.heads;
            Why::LeftOut(format!("it is limited to heads {wanted}, and layers have heads 0-{last}"))
        })
    }
}

/// The names that come nearest to a glob, as globs: `*` stands for the layers. A glob that is plain text may be meant for a
/// set.
fn nearest(glob: &str, names: &BTreeSet<String>) -> Vec<String> {
    let plain: String = glob.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')).collect();
    let plain = stem(&plain).trim_end_matches('-').to_lowercase();
    let names = names.iter().filter(|name| !name.contains(' '));
    let stems: BTreeMap<&str, bool> = names.map(|name| (stem(name), layer(name).is_some())).collect();
    let alike = |name: &str| (strsim::jaro_winkler(&plain, &name.to_lowercase()) * 1e6) as u64;
    let sets = Set::ALL.into_iter().filter(|_| !glob.contains(['*', '?', '[', '{'])).map(|set| (set.name(), false));
    let mut stems: Vec<(u64, &str, bool)> =
        stems.into_iter().chain(sets).map(|(name, of)| (alike(name), name, of)).collect();
    stems.retain(|&(alike, name, _)| alike as f64 > ALIKE * 1e6 && !name.is_empty());
    stems.sort_by_key(|&(alike, name, _)| (Reverse(alike), name));
    let glob = |(_, name, has_layer): (u64, &str, bool)| if has_layer { format!("{name}-*") } else { name.to_owned() };
    stems.into_iter().take(NEAREST).map(glob).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_trace::testing::{Random, Shape, evaluation, llama, recording};
    use ggscope_trace::{Recording, TraceWriter};

    /// What is said of a recording of two layers of 9 heads and a prompt of 4 tokens.
    fn of(capture: Capture) -> Vec<Unmatched> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ggtrace");
        let mut writer = TraceWriter::create(&path, false, &Recording { capture, ..recording() }).unwrap();
        let graph = llama(0, Shape { n_layer: 2, n_tokens: 4, ..Shape::default() });
        writer.graph(graph.clone()).unwrap();
        writer.evaluation(evaluation(&graph, 0, 0, &mut Random(1))).unwrap();
        writer.finish().unwrap();
        unmatched(&Trace::open(&path).unwrap())
    }

    #[test]
    fn what_nothing_was_found_of_is_told_with_the_nearest_names() {
        let found = of(Capture::named(["l_out-*", "lout-*", "attn_normm-1", "zzz", "layers", "experts", "Layers"]));
        let names: Vec<&str> = found.iter().map(|u| u.name.as_str()).collect();
        assert_eq!(names, ["Layers", "attn_normm-1", "experts", "lout-*", "zzz"]);
        let nearest = |i: usize| match &found[i].why {
            Why::NotCalledSo(nearest) => nearest.first().map(String::as_str),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 3, 4].map(nearest), [Some("layers"), Some("attn_norm-*"), Some("l_out-*"), None]);
        assert!(found[2].why == Why::NotInModel && found[2].to_string().contains("`experts`"));
    }

    #[test]
    fn what_limits_leave_nothing_of_is_told_with_the_limit() {
        let ranges = |text: &str| Ranges::parse(text).unwrap();
        let said = |capture: Capture| of(capture).iter().map(ToString::to_string).collect::<Vec<_>>();
        let attention = || Capture::named(["attention"]);
        assert_eq!(
            said(Capture { layers: ranges("99"), ..Capture::named(["attention", "l_out-*", "layers"]) }),
            [
                "nothing was captured of `attention`: it is limited to layers 99, and the model has it in layers 0-1",
                "nothing was captured of `l_out-*`: it is limited to layers 99, and the model has it in layers 0-1",
            ],
            "`layers` has tensors of no layer"
        );
        let heads = said(Capture { heads: ranges("99"), ..attention() });
        assert_eq!(
            heads,
            ["nothing was captured of `attention`: it is limited to heads 99, and layers have heads 0-8"]
        );
        let tokens = said(Capture { tokens: ranges("50-60"), ..attention() });
        assert_eq!(
            tokens,
            ["nothing was captured of `attention`: it is limited to tokens 50-60, and the session has tokens 0-3"]
        );
        let some = Capture { layers: ranges("1-7"), heads: ranges("8-9"), tokens: ranges("3-9"), ..attention() };
        assert!(said(some).is_empty());
    }

    #[test]
    fn what_was_found_is_not_told() {
        assert_eq!(of(Capture::named(["attention", "values", "logits", "l_out-1"])), []);
    }
}
