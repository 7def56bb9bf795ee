//! Several models in one table: a row a fact, a column a model, and bars for what is a quantity.

use super::super::say;
use super::super::text::printable;
use super::amounts::{bar, short, tokens};
use super::names::{kind, name};
use ggscope_model::inspect::{Inspection, Work};

/// Widest column of a model.
const WIDEST: usize = 30;
/// Length of a bar.
const BAR: usize = 40;

/// A fact of a model, in words.
type Fact = (&'static str, fn(&Inspection) -> String);

/// A quantity of a model, with the way to write it.
type Quantity = (&'static str, fn(&Inspection) -> f64, fn(f64) -> String);

const FACTS: [Fact; 15] = [
    ("architecture", |m| m.contents.as_ref().map_or_else(|| kind(&m.architecture), |c| c.kind.name().to_owned())),
    ("layers", |m| m.architecture.main_layers().count().to_string()),
    ("hidden size", |m| say::thousands(m.architecture.hidden.into())),
    ("vocabulary", |m| say::thousands(m.architecture.vocabulary)),
    ("context", |m| say::thousands(m.architecture.context.into())),
    ("attention", |m| {
        m.architecture
            .attention_layers()
            .next()
            .map_or("none".into(), |a| format!("{} {}:{} × {}", a.kind.name(), a.heads, a.kv_heads, a.head_k))
    }),
    ("with a window", |m| {
        let with = m.architecture.attention_layers().filter(|a| a.window.is_some()).count();
        if with == 0 { "-".into() } else { format!("{with} of {}", m.architecture.attention_layers().count()) }
    }),
    ("experts", |m| {
        let of = m.architecture.main_layers().filter_map(|l| l.feed_forward.as_ref()?.experts.as_ref()).next();
        of.map_or("-".into(), |e| format!("{} of {}", e.used, e.count))
    }),
    ("parameters", |m| short(m.parameters.total as f64)),
    ("for a token", |m| short(m.parameters.active as f64)),
    ("bits a weight", |m| format!("{:.2}", m.memory.weights.bits_per_weight)),
    ("weights", |m| say::bytes(m.memory.weights.bytes)),
    ("context of", |m| tokens(m.memory.context)),
    ("its caches", |m| match (&m.memory.caches, &m.memory.cache_error) {
        (Some(caches), _) => say::bytes(caches.bytes),
        (None, Some(_)) => "impossible".into(),
        (None, None) => "unknown".into(),
    }),
    ("in all", |m| m.memory.total_bytes.map_or("unknown".into(), say::bytes)),
];

const QUANTITIES: [Quantity; 5] = [
    ("parameters of a token", |m| m.parameters.active as f64, short),
    ("weights", |m| m.memory.weights.bytes as f64, bytes),
    ("caches", |m| m.memory.caches.as_ref().map_or(0.0, |c| c.bytes as f64), bytes),
    ("FLOPs of a token at the end of the context", |m| last(&m.costs.generate, |w| w.flops), short),
    ("bytes of a token there", |m| last(&m.costs.generate, |w| w.bytes), bytes),
];

fn bytes(n: f64) -> String {
    say::bytes(n as u64)
}

/// The work at the context that was asked for is the one that all models have.
fn last(works: &[Work], of: fn(&Work) -> f64) -> f64 {
    works.last().map_or(0.0, of)
}

/// The table and the bars.
pub(super) fn table(models: &[Inspection]) -> String {
    let names: Vec<String> = models.iter().map(|m| printable(&name(m)).into_owned()).collect();
    let columns: Vec<Vec<String>> = models
        .iter()
        .zip(&names)
        .map(|(m, name)| {
            let cell = |text: String| printable(&text).chars().take(WIDEST).collect::<String>();
            std::iter::once(cell(name.clone())).chain(FACTS.iter().map(|(_, fact)| cell(fact(m)))).collect()
        })
        .collect();
    let widths: Vec<usize> =
        columns.iter().map(|c| c.iter().map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in 0..=FACTS.len() {
        out.push_str(&format!("{:>14}", if row == 0 { "" } else { FACTS[row - 1].0 }));
        for (column, width) in columns.iter().zip(&widths) {
            out.push_str(&format!("  {:>width$}", column[row]));
        }
        out.push('\n');
    }
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).min(WIDEST);
    for (what, of, write) in QUANTITIES {
        let values: Vec<f64> = models.iter().map(of).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        if most <= 0.0 {
            continue;
        }
        out.push_str(&format!("\n  {what}\n"));
        for (name, value) in names.iter().zip(values) {
            let name: String = name.chars().take(WIDEST).collect();
            out.push_str(&format!("    {name:<width$}  {:>9}  {}\n", write(value), bar(value / most, BAR)));
        }
    }
    out
}
