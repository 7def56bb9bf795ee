//! How far a model's tensors are from a reference, worst first; and how far one would be in every type.

use super::super::say;
use super::super::text::printable;
use super::figures::number;
use ggscope_model::quant::{Difference, ErrorReport, TensorError, TypeError, Unmatched};
use std::collections::BTreeMap;

/// Tensors that are listed unless all are asked for.
const LISTED: usize = 24;
/// Names of tensors that were not compared for the same reason.
const NAMES: usize = 3;

/// The report.
pub(super) fn report(errors: &ErrorReport, all: bool) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| out.push_str(&format!("{label:>12}  {}\n", printable(&text)));
    line("model", errors.file.clone());
    line("reference", errors.reference.clone());
    line("together", difference(&errors.total));
    line("compared", format!("{} tensors, {} elements", errors.tensors.len(), say::thousands(errors.total.elements)));
    let (same, differ): (Vec<&TensorError>, Vec<&TensorError>) =
        errors.tensors.iter().partition(|t| t.error.equal == t.error.elements);
    if !same.is_empty() {
        line("", format!("{} of them are equal, element by element", same.len()));
    }
    let listed = if all { differ.len() } else { LISTED.min(differ.len()) };
    if listed > 0 {
        out.push_str(&table(&differ[..listed]));
    }
    if listed < differ.len() {
        out.push_str(&format!("    {} more differ less: --all\n", differ.len() - listed));
    }
    out.push_str(&unmatched(&errors.unmatched));
    out
}

/// `relative error 0.0712, 22.95 dB, cosine 0.997462, largest 0.4102`.
pub(super) fn difference(error: &Difference) -> String {
    let [relative, decibels, cosine] = measures(error);
    let lost = match error.not_finite {
        0 => String::new(),
        n => format!(", {} not finite and left out", say::thousands(n)),
    };
    let largest = number(error.max.into());
    format!("relative error {relative}, {decibels} dB, cosine {cosine}, largest {largest}{lost}")
}

fn measures(error: &Difference) -> [String; 3] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        or_dash(error.relative.map(number)),
        or_dash(error.sqnr_db.map(|db| format!("{db:.2}"))),
        or_dash(error.cosine.map(|cosine| format!("{cosine:.6}"))),
    ]
}

fn table(tensors: &[&TensorError]) -> String {
    let width = tensors.iter().map(|t| printable(&t.name).chars().count()).max().unwrap_or(0).max(6);
    let mut out = format!(
        "\n    {:<width$}  {:<8} {:<8} {:>9} {:>7} {:>9} {:>9}\n",
        "tensor", "type", "of", "relative", "dB", "cosine", "largest"
    );
    for t in tensors {
        let [relative, decibels, cosine] = measures(&t.error);
        out.push_str(&format!(
            "    {:<width$}  {:<8} {:<8} {relative:>9} {decibels:>7} {cosine:>9} {:>9}\n",
            printable(&t.name),
            t.type_name,
            t.reference_type,
            number(t.error.max.into())
        ));
    }
    out
}

fn unmatched(tensors: &[Unmatched]) -> String {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for t in tensors {
        reasons.entry(&t.reason).or_default().push(&t.name);
    }
    let mut out = String::new();
    if !reasons.is_empty() {
        out.push_str(&format!("\n    {} tensors were not compared\n", tensors.len()));
    }
    for (reason, names) in reasons {
        let more = if names.len() > NAMES { format!(" and {} more", names.len() - NAMES) } else { String::new() };
        let names = names.iter().take(NAMES).copied().collect::<Vec<&str>>().join(", ");
        out.push_str(&format!("    {}{more}: {}\n", printable(&names), printable(reason)));
    }
    out
}

/// How far a tensor would be off in every type.
pub(super) fn every_type(types: &[TypeError]) -> String {
    let mut out = format!(
        "\n    {:<8} {:>6} {:>9} {:>7} {:>9} {:>9}\n",
        "in type", "bits", "relative", "dB", "cosine", "largest"
    );
    let mut impossible: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for t in types {
        let Some(error) = &t.error else {
            impossible.entry(t.reason.as_deref().unwrap_or_default()).or_default().push(t.type_name);
            continue;
        };
        let [relative, decibels, cosine] = measures(error);
        out.push_str(&format!(
            "    {:<8} {:>6.2} {relative:>9} {decibels:>7} {cosine:>9} {:>9}\n",
            t.type_name,
            t.bits_per_weight,
            number(error.max.into())
        ));
    }
    for (reason, types) in impossible {
        out.push_str(&format!("\n    {}\n    cannot be made: {}\n", types.join(" "), printable(reason)));
    }
    out
}
