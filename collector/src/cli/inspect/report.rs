//! The report on one model: file, architecture, tokenizer, parameters; the rest is in `memory` and `costs`.

use super::super::say;
use super::super::text::printable;
use super::amounts::bar;
use super::names::kind;
use super::{costs, memory};
use ggscope_model::gguf::Severity;
use ggscope_model::inspect::contents::Contents;
use ggscope_model::inspect::{
    Architecture, Attention, Inspection, Metadata, ModelKind, Parameters, StateKind, Tokenizer, WindowKind,
};
use std::collections::BTreeMap;

/// Longest value of the metadata that is shown.
const MOST_TEXT: usize = 60;

/// Lines of a label and a text.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn add(&mut self, label: &str, text: impl AsRef<str>) {
        self.0.push_str(&format!("{label:>12}  {}\n", printable(text.as_ref())));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// Everything on one screen or two.
pub(super) fn report(model: &Inspection, all: bool) -> String {
    let mut lines = Lines::default();
    if let Some(contents) = &model.contents {
        let mut out = of_contents(lines, model, contents);
        if all {
            out.push_str(&metadata(&model.metadata));
            out.push_str(&tensors(model));
        }
        return out;
    }
    let name = if model.name.is_empty() { "unnamed" } else { &model.name };
    lines.add("model", format!("{name}, {}", kind(&model.architecture)));
    file(&mut lines, model);
    architecture(&mut lines, &model.architecture);
    if let Some(t) = &model.tokenizer {
        tokenizer(&mut lines, t);
    }
    let mut out = lines.finish();
    if model.files.tensors > 0 {
        out.push_str(&parameters(&model.parameters));
        out.push_str(&memory::sections(model));
        out.push_str(&costs::section(&model.costs));
    }
    if all {
        out.push_str(&metadata(&model.metadata));
        out.push_str(&tensors(model));
    }
    out
}

/// What is in a file that is no model.
fn of_contents(mut lines: Lines, model: &Inspection, contents: &Contents) -> String {
    let said = contents.general_type.as_deref().map_or(String::new(), |t| format!(" (general.type {t})"));
    let name = if model.name.is_empty() { String::new() } else { format!("{}, ", model.name) };
    lines.add("kind", format!("{name}{}{said}", contents.kind.name()));
    file(&mut lines, model);
    for fact in &contents.facts {
        lines.add(&fact.name, &fact.value);
    }
    if let Some(t) = &model.tokenizer {
        tokenizer(&mut lines, t);
    }
    lines.finish()
}

fn file(lines: &mut Lines, model: &Inspection) {
    let files = &model.files;
    let path = files.paths.first().map_or("", String::as_str);
    let more = if files.paths.len() > 1 { format!(" and {} more files", files.paths.len() - 1) } else { String::new() };
    lines.add("file", format!("{path}{more}, {}", say::bytes(files.bytes)));
    lines.add(
        "",
        format!(
            "GGUF {}, {} keys, {} tensors, header of {}",
            files.version,
            say::thousands(files.keys),
            say::thousands(files.tensors),
            say::bytes(files.header_bytes)
        ),
    );
}

fn architecture(lines: &mut Lines, a: &Architecture) {
    if a.layers.is_empty() {
        return;
    }
    let number = |n: u64| say::thousands(n);
    let main = a.main_layers().count();
    let next = a.layers.len() - main;
    let next = if next > 0 { format!(" and {next} for further tokens") } else { String::new() };
    let loops = if a.loops > 1 { format!(" ({} times {})", a.loops, main as u32 / a.loops) } else { String::new() };
    lines.add("layers", format!("{main}{loops}{next}, hidden size {}", number(a.hidden.into())));
    lines.add("vocabulary", format!("{} tokens, context of {}", number(a.vocabulary), number(a.context.into())));
    lines.add("attention", attention(a));
    if let Some(window) = window(a) {
        lines.add("", window);
    }
    let states = states(a);
    if !states.is_empty() {
        lines.add("states", states);
    }
    for (label, text) in ["feed-forward", "", ""].iter().zip(feed_forward(a)) {
        lines.add(label, text);
    }
    lines.add("positions", positions(a));
    let pooling = a.pooling.as_deref().filter(|p| *p != "none").map_or(String::new(), |p| format!(", pooling {p}"));
    let tied = if a.tied_embeddings { "tied to the embedding" } else { "a matrix of its own" };
    let causal = if a.causal { "causal" } else { "not causal" };
    lines.add("norms", format!("{} ({})", a.norms.join(" and "), a.layer_norms.join(", ")));
    match a.kind {
        ModelKind::Encoder => lines.add("output", format!("vectors{pooling}, {causal}")),
        _ => lines.add("output", format!("{tied}{pooling}, {causal}")),
    }
}

/// `GQA, 9 query heads on 3 key heads of 64`, each kind with its layers where there are several.
pub(super) fn attention(a: &Architecture) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for layer in a.attention_layers() {
        *kinds.entry(heads(layer)).or_default() += 1;
    }
    let all = a.main_layers().count();
    let latent = a.latent.map_or(String::new(), |(q, kv)| {
        let q = if q > 0 { format!("{q} values for queries, ") } else { String::new() };
        format!(", compressed to {q}{kv} for keys and values")
    });
    match kinds.len() {
        0 => "none".to_owned(),
        1 => {
            let (heads, layers) = kinds.into_iter().next().expect("there is one");
            let some = if layers < all { format!(" in {layers} of {all} layers") } else { String::new() };
            format!("{heads}{latent}{some}")
        }
        _ => {
            let mut kinds: Vec<_> = kinds.into_iter().collect();
            kinds.sort_by_key(|(_, layers)| std::cmp::Reverse(*layers));
            let more = if kinds.len() > 3 { format!(", {} more kinds", kinds.len() - 3) } else { String::new() };
            let of: Vec<String> =
                kinds.iter().take(3).map(|(heads, layers)| format!("{heads} in {layers} layers")).collect();
            format!("{}{latent}{more}", of.join("; "))
        }
    }
}

fn heads(layer: &Attention) -> String {
    let size = if layer.head_k == layer.head_v {
        format!("{}", layer.head_k)
    } else {
        format!("{} for keys, {} for values", layer.head_k, layer.head_v)
    };
    let sinks = if layer.sinks { ", with sinks" } else { "" };
    let shared = if layer.kv_heads == layer.heads {
        format!("{} heads", layer.heads)
    } else {
        format!("{} query heads on {} key heads", layer.heads, layer.kv_heads)
    };
    format!("{}, {shared} of {size}{sinks}", layer.kind.name())
}

/// `22 of 26 layers see 512 tokens`, with the pattern where there is one.
pub(super) fn window(a: &Architecture) -> Option<String> {
    let windows: Vec<Option<u32>> = a.attention_layers().map(|layer| layer.window).collect();
    let size = windows.iter().flatten().next()?;
    let with = windows.iter().flatten().count();
    let kind = match a.window_kind? {
        WindowKind::Standard => "the last",
        WindowKind::Chunked => "chunks of",
        WindowKind::Symmetric => "in both directions half of",
    };
    let letters: String = windows.iter().take(12).map(|w| if w.is_some() { 'w' } else { 'F' }).collect();
    let more = if windows.len() > 12 { "…" } else { "" };
    let size = say::thousands((*size).into());
    Some(format!("{with} of {} layers see {kind} {size} tokens: {letters}{more}", windows.len()))
}

fn states(a: &Architecture) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for state in a.main_layers().filter_map(|layer| layer.state) {
        let name = match state {
            StateKind::Mamba => "Mamba",
            StateKind::Mamba2 => "Mamba 2",
            StateKind::DeltaNet => "gated delta net",
            StateKind::Kda => "Kimi delta attention",
            StateKind::Lightning => "lightning attention",
            StateKind::Rwkv => "RWKV time mix",
            StateKind::ShortConv => "short convolution",
        };
        *kinds.entry(name).or_default() += 1;
    }
    kinds.iter().map(|(name, layers)| format!("{name} in {layers} layers")).collect::<Vec<_>>().join(", ")
}

fn feed_forward(a: &Architecture) -> Vec<String> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let number = |n: u64| say::thousands(n);
    for ff in a.main_layers().filter_map(|layer| layer.feed_forward.as_ref()) {
        let gate = if ff.gated { "gated" } else { "no gate" };
        let dense = (ff.size > 0).then(|| format!("{}, {gate}", number(ff.size)));
        let experts = ff.experts.as_ref().map(|e| {
            let shared = if e.shared_size > 0 { format!(", shared {}", number(e.shared_size)) } else { String::new() };
            format!("{} of {} experts of {}, {gate}{shared}", e.used, e.count, number(e.size))
        });
        *kinds.entry([dense, experts].into_iter().flatten().collect::<Vec<_>>().join("; beside ")).or_default() += 1;
    }
    let one = kinds.len() == 1;
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, layers)| std::cmp::Reverse(*layers));
    let mut texts: Vec<String> = kinds
        .iter()
        .map(|(what, layers)| if one { what.clone() } else { format!("{what}, in {layers} layers") })
        .collect();
    if texts.len() > 3 {
        let more = texts.len() - 2;
        texts.truncate(2);
        texts.push(format!("and {more} more kinds"));
    }
    texts
}

fn positions(a: &Architecture) -> String {
    let Some(rope) = &a.rope else { return "not rotated".to_owned() };
    let window = rope.base_window.map_or(String::new(), |base| format!(" ({base} in layers with a window)"));
    let scaling = match (rope.scaling.as_str(), rope.factor) {
        ("none", _) => String::new(),
        (kind, Some(factor)) => format!(", {kind} scaling by {factor}"),
        (kind, None) => format!(", {kind} scaling"),
    };
    let before = rope.original_context.map_or(String::new(), |n| format!(" from {}", say::thousands(n.into())));
    format!("RoPE on {} values ({}), base {}{window}{scaling}{before}", rope.dimensions, rope.style, rope.base)
}

fn tokenizer(lines: &mut Lines, t: &Tokenizer) {
    let pre = t.pre.as_deref().map_or(String::new(), |pre| format!(" ({pre})"));
    let merges = if t.merges > 0 { format!(", {} merges", say::thousands(t.merges)) } else { String::new() };
    let sorts: Vec<String> = t
        .sorts
        .iter()
        .filter(|s| s.name != "normal")
        .map(|s| format!("{} {}", say::thousands(s.tokens), s.name))
        .collect();
    let sorts = if sorts.is_empty() { String::new() } else { format!(" ({})", sorts.join(", ")) };
    lines.add("tokenizer", format!("{}{pre}, {} tokens{sorts}{merges}", t.model, say::thousands(t.tokens)));
    let named = ["bos", "eos", "eot", "unknown", "padding"];
    let special: Vec<String> = t
        .special
        .iter()
        .filter(|s| named.contains(&s.name.as_str()))
        .map(|s| format!("{} {}", s.name, s.text.clone().unwrap_or_else(|| s.id.to_string())))
        .collect();
    if !special.is_empty() {
        lines.add("", special.join(", "));
    }
}

fn parameters(p: &Parameters) -> String {
    let mut out = format!("\n    {:<18} {:>15} {:>15} {:>7}\n", "parameters", "all", "a token", "share");
    let total = p.total.max(1) as f64;
    for c in &p.by_component {
        let share = c.total as f64 / total;
        out.push_str(&format!(
            "    {:<18} {:>15} {:>15} {:>6.1}%  {}\n",
            c.component.name(),
            say::thousands(c.total),
            say::thousands(c.active),
            share * 100.0,
            bar(share, 26)
        ));
    }
    out.push_str(&format!("    {:<18} {:>15} {:>15}\n", "together", say::thousands(p.total), say::thousands(p.active)));
    if let Some(book) = &p.textbook {
        let off = book.difference as f64 / total * 100.0;
        let text = format!("4·d² + 3·d·d_ff a layer gives {}, off by {off:+.1}%", say::thousands(book.parameters));
        out.push_str(&format!("    {:<18} {text}\n", "textbook"));
        for reason in &book.reasons {
            let sign = if reason.parameters < 0 { "−" } else { "+" };
            let amount = say::thousands(reason.parameters.unsigned_abs());
            out.push_str(&format!("    {:<18} {:>15} {}\n", "", format!("{sign}{amount}"), printable(&reason.what)));
        }
    }
    out
}

fn metadata(pairs: &[Metadata]) -> String {
    let mut out = format!("\n    {:>10}  {:<44} {:<16} value\n", "offset", "key", "type");
    for pair in pairs {
        let value = match &pair.value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let count = pair.count.map_or(String::new(), |n| format!("{} × ", say::thousands(n)));
        let cut: String = value.chars().take(MOST_TEXT).collect();
        let more = if value.chars().count() > MOST_TEXT { "…" } else { "" };
        out.push_str(&format!(
            "    {:>10}  {:<44} {:<16} {count}{}{more}\n",
            pair.offset,
            printable(&pair.key),
            pair.type_name,
            printable(&cut)
        ));
    }
    out
}

fn tensors(model: &Inspection) -> String {
    let mut out =
        format!("\n    {:>14}  {:>12}  {:<8} {:<22} {:<18} name\n", "offset", "bytes", "type", "shape", "role");
    for t in &model.tensors {
        let shape: Vec<String> = t.shape.iter().map(i64::to_string).collect();
        let bytes = t.bytes.map_or("?".to_owned(), say::thousands);
        out.push_str(&format!(
            "    {:>14}  {bytes:>12}  {:<8} {:<22} {:<18} {}\n",
            t.offset,
            t.type_name,
            shape.join("×"),
            t.role.component.name(),
            printable(&t.name)
        ));
    }
    out
}

/// What is wrong, last, so that it stands above the next prompt.
pub(super) fn findings(model: &Inspection, name: Option<&str>) -> String {
    let mut out = String::new();
    let place = |at: u64| format!("byte {}", say::thousands(at));
    if let Some(name) = name.filter(|_| !model.findings.is_empty()) {
        out.push_str(&format!("\n{:>12}  {}\n", "", printable(name)));
    } else if !model.findings.is_empty() {
        out.push('\n');
    }
    for f in &model.findings {
        let label = match f.severity {
            Severity::Notice => "notice",
            Severity::Refused => "refused",
            Severity::Damaged => "damaged",
        };
        let file = f.file.as_deref().map_or(String::new(), |file| format!("{file}, "));
        out.push_str(&format!("{label:>12}  {}{}: {}\n", printable(&file), place(f.at), printable(&f.what)));
    }
    out
}
