//! Memory of one model: weights by type and in other types, caches against context, the total, what fits.

use super::super::say;
use super::super::text::printable;
use super::amounts::{bar, tokens};
use ggscope_model::inspect::Inspection;
use ggscope_model::inspect::memory::{Memory, Offload};

/// Contexts of the table of caches, at most.
const COLUMNS: usize = 6;

pub(super) fn sections(model: &Inspection) -> String {
    let m = &model.memory;
    let mut out = weights(m);
    if !m.as_types.is_empty() {
        out.push_str(&as_types(m));
    }
    if !m.cache_types.iter().all(|t| t.bytes.as_ref().is_none_or(|b| b.iter().all(|&b| b == 0))) {
        out.push_str(&caches(m));
    }
    if let (Some(all), Some(computing)) = (m.total_bytes, m.compute_bytes) {
        out.push_str(&total(m, all, computing));
    }
    if let Some(offload) = &m.offload {
        out.push_str(&fits(offload, m));
    }
    out
}

fn weights(m: &Memory) -> String {
    let w = &m.weights;
    let mut out = format!("\n    {:<18} {:>12} {:>12} {:>7}\n", "weights", "tensors", "bytes", "share");
    let all = w.bytes.max(1) as f64;
    for t in &w.by_type {
        let share = t.bytes as f64 / all;
        out.push_str(&format!(
            "    {:<18} {:>12} {:>12} {:>6.1}%  {}\n",
            t.type_name,
            say::thousands(t.tensors),
            say::bytes(t.bytes),
            share * 100.0,
            bar(share, 26)
        ));
    }
    let tensors: u64 = w.by_type.iter().map(|t| t.tensors).sum();
    out.push_str(&format!(
        "    {:<18} {:>12} {:>12}          {:.2} bits a weight\n",
        "together",
        say::thousands(tensors),
        say::bytes(w.bytes),
        w.bits_per_weight
    ));
    out
}

/// As `llama-quantize --pure` would make it.
fn as_types(m: &Memory) -> String {
    let mut out = format!("\n    {:<18} {:>12}\n", "in another type", "bytes");
    let most = m.as_types.iter().map(|t| t.bytes).max().unwrap_or(1).max(1) as f64;
    for t in &m.as_types {
        let instead: Vec<String> =
            t.fallbacks.iter().map(|f| format!("{} {}", say::thousands(f.tensors), f.type_name)).collect();
        let instead = if instead.is_empty() { String::new() } else { format!("  ({} instead)", instead.join(", ")) };
        let matrix = if t.needs_imatrix { "  (needs an importance matrix)" } else { "" };
        let bar = bar(t.bytes as f64 / most, 26);
        out.push_str(&format!("    {:<18} {:>12}  {bar}{instead}{matrix}\n", t.type_name, say::bytes(t.bytes)));
    }
    out
}

fn caches(m: &Memory) -> String {
    // The longest contexts are the ones that matter.
    let skip = m.contexts.len().saturating_sub(COLUMNS);
    let mut out = format!("\n    {:<12}", "cache");
    m.contexts[skip..].iter().for_each(|&n| out.push_str(&format!(" {:>11}", tokens(n))));
    out.push('\n');
    for t in &m.cache_types {
        out.push_str(&format!("    {:<12}", t.type_name));
        match &t.bytes {
            Some(bytes) => bytes[skip..].iter().for_each(|&b| out.push_str(&format!(" {:>11}", say::bytes(b)))),
            None => out.push_str("  heads fill no whole blocks"),
        }
        out.push('\n');
    }
    out
}

fn total(m: &Memory, all: u64, computing: u64) -> String {
    let sequences = if m.sequences > 1 { format!(", {} sequences", m.sequences) } else { String::new() };
    let mut out = format!("\n    {:<18} {:>12}\n", format!("context of {}", tokens(m.context)), say::bytes(all));
    let mut line = |what: &str, bytes: u64, note: String| {
        let share = bytes as f64 / all.max(1) as f64;
        out.push_str(&format!(
            "    {what:<18} {:>12}  {:<26}  {}\n",
            say::bytes(bytes),
            bar(share, 26),
            printable(&note)
        ));
    };
    line("  weights", m.weights.bytes, String::new());
    match (&m.caches, &m.cache_error) {
        (Some(caches), _) => {
            for part in &caches.parts {
                let kinds = match part.what.as_str() {
                    "state" => format!("{} layers", part.layers),
                    _ => {
                        let (k, v) = &m.cache_type;
                        let types = if k == v { k.clone() } else { format!("{k} and {v}") };
                        format!("{} layers of {} cells, {types}{sequences}", part.layers, say::thousands(part.cells))
                    }
                };
                line(&format!("  {} cache", part.what), part.k_bytes + part.v_bytes, kinds);
            }
            if let Some(why) = &caches.inexact {
                line("", 0, format!("not exact: {why}"));
            }
        }
        (None, Some(error)) => line("  cache", 0, format!("impossible: {error}")),
        (None, None) => {}
    }
    line("  computing", computing, "estimated".to_owned());
    out
}

fn fits(offload: &Offload, m: &Memory) -> String {
    let size = say::bytes(offload.vram_bytes);
    let mut out = format!("\n    {:<18} ", format!("into {size}"));
    let layers = match offload.layers {
        0 => "no layer fits".to_owned(),
        n if n == offload.of => format!("all {n} layers fit (-ngl {n})"),
        n => format!("{n} of {} layers fit (-ngl {n})", offload.of),
    };
    out.push_str(&format!("{layers} with {} tokens of context: {}\n", tokens(m.context), say::bytes(offload.bytes)));
    let longest = match offload.longest_context {
        None => "all layers do not fit with any context".to_owned(),
        Some(n) if n >= 1 << 31 => "with all layers the context is not limited by memory".to_owned(),
        Some(n) => format!("with all layers up to {} tokens of context", say::thousands(n)),
    };
    out.push_str(&format!("    {:<18} {longest}\n", ""));
    out
}
