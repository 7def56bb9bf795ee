//! What is captured: which tensors' values travel to the collector, of which layers, heads and tokens, and in what form.
//! One description serves the command line, the handshake, a change while the process runs, and the trace.

use crate::Bytes;
use crate::names::number;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A named set of tensors. Its name is no glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Set {
    /// What attention is computed from: see [`crate::attention`].
    Attention,
    /// What attention weighs: the rows of the V cache.
    Values,
    /// The residual stream in and out of every block and sub-block, with what norms take and give.
    Layers,
    /// The output matrix's results.
    Logits,
    /// What routers found of experts, and the weights of those that were chosen.
    Experts,
}

/// Names of what routers compute.
const EXPERTS: &[&str] = &[
    "ffn_moe_logits",
    "ffn_moe_logits_biased",
    "ffn_moe_probs",
    "ffn_moe_probs_biased",
    "ffn_moe_topk",
    "ffn_moe_weights",
    "ffn_moe_weights_softmax",
    "ffn_moe_weights_norm",
    "ffn_moe_weights_scaled",
];

impl Set {
    /// All that there are.
    pub const ALL: [Set; 5] = [Set::Attention, Set::Values, Set::Layers, Set::Logits, Set::Experts];

    /// Its name on the command line and in traces.
    pub fn name(self) -> &'static str {
        match self {
            Set::Attention => "attention",
            Set::Values => "values",
            Set::Layers => "layers",
            Set::Logits => "logits",
            Set::Experts => "experts",
        }
    }

    /// The set of this name.
    pub fn named(name: &str) -> Option<Set> {
        Set::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Whether it takes the tensor of this name. All sets but `experts` are found by what feeds what: `attention` and
    /// `values` by [`crate::attention`], `layers` and `logits` by [`crate::structure`].
    pub fn takes(self, name: &str) -> bool {
        self == Set::Experts && EXPERTS.contains(&stem(name))
    }

    /// Whether it is found by [`crate::structure`].
    pub fn is_of_structure(self) -> bool {
        matches!(self, Set::Layers | Set::Logits)
    }
}

/// A tensor's name and its layer, if it has one behind a dash: `l_out` and 7 for `l_out-7`.
fn parts(name: &str) -> (&str, Option<u32>) {
    let numbered = name.rsplit_once('-').and_then(|(stem, digits)| Some((stem, number(digits)?)));
    numbered.map_or((name, None), |(stem, layer)| (stem, Some(layer)))
}

/// A tensor's name without its layer: `l_out` for `l_out-7`.
pub fn stem(name: &str) -> &str {
    parts(name).0
}

/// The layer that a tensor's name says: 7 for `Qcur-7`, `Qcur-7 (view)` and `cache_k_l7`.
pub fn layer(name: &str) -> Option<u32> {
    let name = name.split_once(" (").map_or(name, |(name, _)| name);
    let of_cache = || number(name.strip_prefix("cache_")?.rsplit_once("_l")?.1);
    parts(name).1.or_else(of_cache)
}

/// Numbers by ranges that include both ends, ascending and apart from each other. Without any, all numbers are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Reads numbers and ranges with commas between them, each as [`span`] does.
    ///
    /// # Errors
    /// Says which part is no number or range.
    pub fn parse(text: &str) -> Result<Ranges, String> {
        Ok(Ranges::of(text.split(',').map(|part| span(part.trim())).collect::<Result<_, _>>()?))
    }

    /// These ranges, put in order.
    pub fn of(mut ranges: Vec<(u64, u64)>) -> Ranges {
        ranges.retain(|(from, to)| from <= to);
        ranges.sort_unstable();
        let mut apart: Vec<(u64, u64)> = vec![];
        for (from, to) in ranges {
            match apart.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => apart.push((from, to)),
            }
        }
        Ranges(apart)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.0.iter().map(|&(from, to)| from..=to)
    }

    /// Whether all numbers are meant.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the number is meant.
    pub fn has(&self, n: u64) -> bool {
        self.has_any(n..=n)
    }

    /// Whether any of these numbers is meant.
    pub fn has_any(&self, numbers: RangeInclusive<u64>) -> bool {
        self.is_all() || self.0.iter().any(|&(from, to)| from <= *numbers.end() && *numbers.start() <= to)
    }
}

/// Reads a number or a range, the first and the last number of it: `7`, `3..9` or the same as `3-9` or `3..=9`, `3..` for
/// all from 3 on, `..9` for all up to 9. All options and parameters that take ranges take these.
///
/// # Errors
/// Says what is no number or range, in words for the user.
pub fn span(text: &str) -> Result<(u64, u64), String> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
    let number = |part: &str, open: Option<u64>| if part.is_empty() { open } else { digits(part) };
    let read = match text.split_once("..") {
        Some(("", "")) => None,
        Some((from, to)) => number(from, Some(0)).zip(number(to.strip_prefix('=').unwrap_or(to), Some(u64::MAX))),
        None => match text.split_once('-') {
            Some((from, to)) => number(from, None).zip(number(to, Some(u64::MAX))),
            None => number(text, None).map(|n| (n, n)),
        },
    };
    match read {
        Some((from, to)) if from <= to => Ok((from, to)),
        Some((from, to)) => Err(format!("`{text}` ends before it begins: give {to}..{from}")),
        None => Err(format!("`{text}` is neither a number nor a range: give for example 7, 3..9, 3-9, or 3..")),
    }
}

impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, &(from, to)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match to {
                u64::MAX => write!(f, "{comma}{from}..")?,
                _ if from == to => write!(f, "{comma}{from}")?,
                _ => write!(f, "{comma}{from}-{to}")?,
            }
        }
        Ok(())
    }
}

/// What is captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Names of sets, and globs of tensors' names. Without any, nothing is captured.
    pub names: Vec<String>,
    /// Of these layers; what belongs to no layer is taken all the same.
    pub layers: Ranges,
    /// Queries of these heads; whatever is not of one head is taken whole.
    pub heads: Ranges,
    /// In evaluations that have one of these tokens of the session.
    pub tokens: Ranges,
    /// And, while an answer is generated, in every n-th evaluation; 0 and 1 are every one.
    pub every: u64,
    /// Statistics of the values instead of the values.
    pub statistics: bool,
    /// `f32` values travel as `f16` where all of a piece fit.
    pub as_f16: bool,
    /// Bytes a second that may travel: an evaluation beyond is left out whole, and counted.
    pub budget: Option<Bytes>,
}

impl Capture {
    /// A capture of these sets and globs, without limits.
    pub fn named<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Capture {
        Capture { names: names.into_iter().map(Into::into).collect(), ..Capture::default() }
    }

    /// Whether anything is captured.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the set is captured.
    pub fn has(&self, set: Set) -> bool {
        self.names.iter().any(|name| name == set.name())
    }

    /// The sets that are captured.
    pub fn sets(&self) -> impl Iterator<Item = Set> {
        Set::ALL.into_iter().filter(|&set| self.has(set))
    }

    /// The names that are globs.
    pub fn globs(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| Set::named(name).is_none())
    }

    /// What contradicts itself, in words for the user.
    pub fn contradiction(&self) -> Option<String> {
        let set = [Set::Attention, Set::Values].into_iter().find(|&set| self.statistics && self.has(set))?;
        Some(format!(
            "`{}` is what attention is computed from, and statistics of it would not do: name tensors instead, for \
             example 'Qcur-*', or leave statistics out",
            set.name()
        ))
    }
}

/// As it would stand on a command line.
impl std::fmt::Display for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names.join(","))?;
        for (what, ranges) in [("layers", &self.layers), ("heads", &self.heads), ("tokens", &self.tokens)] {
            if !ranges.is_all() {
                write!(f, ", {what} {ranges}")?;
            }
        }
        if self.every > 1 {
            write!(f, ", every {}", self.every)?;
        }
        if self.statistics {
            f.write_str(", statistics")?;
        }
        if self.as_f16 {
            f.write_str(", as f16")?;
        }
        self.budget.map_or(Ok(()), |budget| write!(f, ", at most {budget} bytes/s"))
    }
}

/// What is captured from an evaluation on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureChange {
    /// The first evaluation of which it is so.
    pub from: crate::EvalId,
    /// What is captured.
    pub capture: Capture,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_people_write_them_and_written_back() {
        let ranges = Ranges::parse("7, 0-3,4").unwrap();
        assert_eq!(ranges.to_string(), "0-4,7");
        assert_eq!(Ranges::parse("0..3,7,4").unwrap(), ranges, "as other options take them");
        assert!(ranges.has(0) && ranges.has(4) && ranges.has(7) && !ranges.has(5) && !ranges.has(8));
        assert!(ranges.has_any(5..=7) && !ranges.has_any(5..=6));
        assert!(Ranges::default().has(u64::MAX));
        let open = Ranges::parse("9..,..2").unwrap();
        assert!(open.to_string() == "0-2,9.." && open.has(u64::MAX) && Ranges::parse("0-2,9..").unwrap() == open);
        for wrong in
            ["", "3-1", "a", "-1", "..", "3..1", "1...3", "1,,2", "99999999999999999999", "+1", "1-2-3", "1..2..3"]
        {
            assert!(Ranges::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_is_written_in_any_of_the_usual_ways() {
        assert_eq!(
            ["7", "3..9", "3-9", "3..=9", "..9"].map(|text| span(text).unwrap()),
            [(7, 7), (3, 9), (3, 9), (3, 9), (0, 9)]
        );
        assert_eq!(["3..", "3-", "0.."].map(|text| span(text).unwrap()), [(3, u64::MAX), (3, u64::MAX), (0, u64::MAX)]);
        assert!(span("9..3").unwrap_err().contains("3..9"));
    }

    #[test]
    fn experts_are_names_of_any_layer_and_other_sets_are_not_names() {
        assert!(Set::Experts.takes("ffn_moe_probs-0") && !Set::Experts.takes("ffn_moe_down-0"));
        assert!(
            !Set::Layers.takes("l_out-29") && !Set::Logits.takes("result_output") && !Set::Attention.takes("Qcur-0")
        );
        assert!(Set::ALL.map(Set::is_of_structure) == [false, false, true, true, false]);
        assert_eq!(Set::named("values"), Some(Set::Values));
        assert_eq!(Set::named("Values"), None);
    }

    #[test]
    fn the_layer_is_what_the_name_says() {
        assert_eq!(layer("Qcur-12 (view) (permuted)"), Some(12));
        assert_eq!(layer("cache_k_l7"), Some(7));
        assert_eq!(layer("cache_k_l7 (view)"), Some(7));
        assert_eq!(layer("result_norm"), None);
        assert_eq!(layer("node_24"), None);
    }

    #[test]
    fn statistics_of_what_attention_needs_are_refused() {
        let mut capture = Capture::named(["layers", "attention"]);
        assert_eq!(capture.contradiction(), None);
        capture.statistics = true;
        assert!(capture.contradiction().unwrap().contains("`attention`"));
    }
}
