//! The name of what a head does, and the measure that decided it. The first rule that holds gives the name; the
//! thresholds are ours, and each kind says which one it passed.

use super::measures::Measures;
use serde::Serialize;
use utoipa::ToSchema;

/// What a head mostly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// Looks at what followed an earlier occurrence of the same token.
    Induction,
    /// Looks at the token just before.
    PreviousToken,
    /// Parks its attention on the first token.
    Sink,
    /// Looks close by.
    Local,
    /// Looks everywhere.
    Global,
    /// None of these.
    Mixed,
}

/// All names, in the order in which they are tried.
pub const NAMES: [Name; 6] = [Name::Induction, Name::PreviousToken, Name::Sink, Name::Local, Name::Global, Name::Mixed];

impl Name {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Name::Induction => "induction",
            Name::PreviousToken => "previous-token",
            Name::Sink => "sink",
            Name::Local => "local",
            Name::Global => "global",
            Name::Mixed => "mixed",
        }
    }

    /// One letter for a map.
    pub fn letter(self) -> char {
        match self {
            Name::Induction => 'I',
            Name::PreviousToken => 'P',
            Name::Sink => 'S',
            Name::Local => 'L',
            Name::Global => 'G',
            Name::Mixed => '\u{b7}',
        }
    }
}

/// A head's kind and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = heads::Kind)]
pub struct Kind {
    /// Its name.
    pub name: Name,
    /// The measure that decided; of a mixed head the one that came closest.
    pub measure: &'static str,
    /// The measure's value; `distance` is as a share of the distance of a head that looks everywhere alike.
    pub value: f64,
    /// What it was compared with: at least this, for `distance` at most this.
    pub threshold: f64,
}

/// At least so many rows must have had something to copy, or a repeated word makes a head an induction head.
pub const INDUCTION_ROWS: u64 = 8;
/// An induction head puts so much weight there, and so many times what looking everywhere alike would.
pub const INDUCTION: f64 = 0.3;
/// See [`INDUCTION`].
pub const INDUCTION_OVER_CHANCE: f64 = 3.0;
/// Weight of a previous-token head on the token before.
pub const PREVIOUS: f64 = 0.4;
/// Weight of a sink head on the first token, or of its learned sink, or both.
pub const SINK: f64 = 0.5;
/// A local head looks so far at most, as a share of what looking everywhere alike would be.
pub const LOCAL: f64 = 0.25;
/// Normalised entropy of a global head.
pub const GLOBAL: f64 = 0.7;

/// Names a head from its measures, those of a head that looks everywhere alike in the same rows, and the rows that had
/// something to copy. `None` if nothing was measured.
pub fn kind(head: &Measures, uniform: &Measures, induction_rows: u64) -> Option<Kind> {
    let entropy = head.entropy_normalized?;
    let induction = head.induction.unwrap_or(0.0);
    let chance = uniform.induction.unwrap_or(0.0);
    let is_induction =
        induction_rows >= INDUCTION_ROWS && induction >= INDUCTION && induction >= INDUCTION_OVER_CHANCE * chance;
    let previous = head.previous.unwrap_or(0.0);
    let sink = head.first.unwrap_or(0.0) + head.sink.unwrap_or(0.0);
    let far = uniform.distance.filter(|&d| d > 0.0);
    let distance = head.distance.zip(far).map_or(1.0, |(d, uniform)| d / uniform);
    let rules = [
        (Name::Induction, "induction", induction, INDUCTION, is_induction),
        (Name::PreviousToken, "previous", previous, PREVIOUS, previous >= PREVIOUS),
        (Name::Sink, "first", sink, SINK, sink >= SINK),
        (Name::Local, "distance", distance, LOCAL, distance <= LOCAL),
        (Name::Global, "entropy_normalized", entropy, GLOBAL, entropy >= GLOBAL),
    ];
    if let Some(&(name, measure, value, threshold, _)) = rules.iter().find(|rule| rule.4) {
        return Some(Kind { name, measure, value, threshold });
    }
    let closeness = |name: Name, value: f64, threshold: f64| match name {
        Name::Local => threshold / value.max(threshold),
        _ => value / threshold,
    };
    let (_, measure, value, threshold) = rules
        .iter()
        // An induction score from too few rows is no near miss.
        .filter(|rule| rule.0 != Name::Induction || (induction_rows >= INDUCTION_ROWS && induction < INDUCTION))
        .map(|&(name, measure, value, threshold, _)| (closeness(name, value, threshold), measure, value, threshold))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Kind { name: Name::Mixed, measure, value, threshold })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFORM: Measures = Measures {
        entropy: Some(3.0),
        entropy_normalized: Some(1.0),
        distance: Some(20.0),
        first: Some(0.05),
        previous: Some(0.05),
        own: Some(0.05),
        induction: Some(0.05),
        duplicate: Some(0.05),
        punctuation: None,
        sink: None,
    };

    fn named(change: impl Fn(&mut Measures)) -> (Name, &'static str) {
        let mut head = Measures { entropy_normalized: Some(0.5), ..UNIFORM };
        change(&mut head);
        let kind = kind(&head, &UNIFORM, INDUCTION_ROWS).unwrap();
        (kind.name, kind.measure)
    }

    #[test]
    fn each_kind_is_named_by_the_measure_that_makes_it() {
        assert_eq!(named(|h| h.induction = Some(0.35)), (Name::Induction, "induction"));
        assert_eq!(named(|h| h.previous = Some(0.9)), (Name::PreviousToken, "previous"));
        assert_eq!(named(|h| h.first = Some(0.6)), (Name::Sink, "first"));
        assert_eq!(named(|h| h.sink = Some(0.6)), (Name::Sink, "first"), "a learned sink is one too");
        assert_eq!(named(|h| h.distance = Some(3.0)), (Name::Local, "distance"));
        assert_eq!(named(|h| h.entropy_normalized = Some(0.8)), (Name::Global, "entropy_normalized"));
    }

    #[test]
    fn a_mixed_head_says_what_it_is_nearest_to() {
        assert_eq!(named(|h| h.first = Some(0.45)), (Name::Mixed, "first"));
        assert_eq!(named(|h| h.distance = Some(6.0)), (Name::Mixed, "distance"));
        assert_eq!(named(|h| h.previous = Some(0.39)), (Name::Mixed, "previous"));
    }

    #[test]
    fn few_repetitions_make_no_induction_head() {
        let head = Measures { induction: Some(0.9), entropy_normalized: Some(0.5), ..UNIFORM };
        assert_ne!(kind(&head, &UNIFORM, INDUCTION_ROWS - 1).unwrap().name, Name::Induction);
        let likely = Measures { induction: Some(0.2), ..UNIFORM };
        let head = Measures { induction: Some(0.5), ..head };
        assert_ne!(kind(&head, &likely, 100).unwrap().name, Name::Induction, "chance alone gives it 0.2");
        assert_eq!(kind(&Measures::default(), &UNIFORM, 0), None);
    }
}
