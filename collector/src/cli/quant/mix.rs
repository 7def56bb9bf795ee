//! Types and bits of a model: by part, by layer, by tensor. What is alike in many layers is one line.

use super::super::inspect::amounts::{bar, short};
use super::super::say;
use super::super::text::{printable, shape, stretches};
use ggscope_model::gguf::Gguf;
use ggscope_model::quant::{LayerMix, Mix, Share, TensorMix};
use std::collections::HashMap;

/// The report.
pub(super) fn report(model: &Gguf, mix: &Mix) -> String {
    let name = if model.name().is_empty() { "unnamed" } else { model.name() };
    let total = &mix.total;
    let mut out = String::new();
    let mut line = |label: &str, text: String| out.push_str(&format!("{label:>12}  {}\n", printable(&text)));
    line("model", format!("{name}, {}", model.architecture()));
    line("file", format!("{}, {}", mix.file, say::bytes(model.bytes())));
    line(
        "weights",
        format!(
            "{} in {} tensors, {}, {} bits each",
            short(total.elements as f64),
            say::thousands(total.tensors),
            say::bytes(total.bytes),
            bits(total)
        ),
    );
    line("types", types(total));
    out.push_str(&parts(mix));
    out.push_str(&layers(&mix.layers));
    out.push_str(&tensors(&mix.tensors));
    out
}

fn bits(share: &Share) -> String {
    share.bits_per_weight.map_or("?".to_owned(), |bits| format!("{bits:.2}"))
}

/// `q4_1 97.3%, f32 2.7%`: parts of the bytes, where there are several types.
fn types(share: &Share) -> String {
    let said = share.types.iter().map(|t| match t.bytes as f64 * 100.0 / share.bytes.max(1) as f64 {
        _ if share.types.len() == 1 => t.type_name.clone(),
        ..0.05 => format!("{} <0.1%", t.type_name),
        99.95.. => format!("{} >99.9%", t.type_name),
        percent => format!("{} {percent:.1}%", t.type_name),
    });
    said.collect::<Vec<String>>().join(", ")
}

fn row(out: &mut String, name: &str, share: &Share, more: &str) {
    out.push_str(&format!(
        "    {name:<18} {:>9} {:>9} {:>6}  {}{more}\n",
        short(share.elements as f64),
        say::bytes(share.bytes),
        bits(share),
        printable(&types(share))
    ));
}

fn head(out: &mut String, name: &str) {
    out.push_str(&format!("\n    {name:<18} {:>9} {:>9} {:>6}  types\n", "weights", "size", "bits"));
}

fn parts(mix: &Mix) -> String {
    let mut out = String::new();
    head(&mut out, "part");
    for part in &mix.parts {
        let share = part.share.bytes as f64 / mix.total.bytes.max(1) as f64;
        let bar = bar(share, 20);
        let gap = if bar.is_empty() { "" } else { "  " };
        row(&mut out, part.component.name(), &part.share, &format!("{gap}{bar}"));
    }
    out
}

/// Layers that follow each other and are alike are one line, with the figures of one of them.
fn layers(layers: &[LayerMix]) -> String {
    let mut out = String::new();
    head(&mut out, "layer");
    let mut rest = layers;
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|l| l.stack == first.stack && l.share == first.share).count();
        let (these, others) = rest.split_at(alike);
        rest = others;
        let numbers: Vec<u32> = these.iter().filter_map(|l| l.layer).collect();
        let stack = if first.stack == Default::default() { String::new() } else { format!(" {:?}", first.stack) };
        let name = if numbers.is_empty() { "outside of layers".to_owned() } else { stretches(&numbers) + &stack };
        let each = if alike > 1 { "  each" } else { "" };
        row(&mut out, &name, &first.share, each);
    }
    out
}

/// Tensors of equal name, but for the layer, type and shape.
struct Alike<'a> {
    name: String,
    tensor: &'a TensorMix,
    layers: Vec<u32>,
}

fn tensors(tensors: &[TensorMix]) -> String {
    let mut rows: Vec<Alike> = vec![];
    let mut known: HashMap<(String, &str, [i64; 4]), usize> = HashMap::new();
    for tensor in tensors {
        let name = match tensor.role.layer {
            Some(layer) => tensor.name.replacen(&format!(".{layer}."), ".*.", 1),
            None => tensor.name.clone(),
        };
        let i = *known.entry((name.clone(), &tensor.type_name, tensor.ne)).or_insert(rows.len());
        if i == rows.len() {
            rows.push(Alike { name, tensor, layers: vec![] });
        }
        rows[i].layers.extend(tensor.role.layer);
    }
    rows.iter_mut().for_each(|row| row.layers.sort_unstable());
    let width = |text: fn(&Alike) -> usize| rows.iter().map(text).max().unwrap_or(0);
    let name_width = width(|r| printable(&r.name).chars().count()).max(6);
    let shape_width = width(|r| shape(&r.tensor.ne).chars().count()).max(5);
    let type_width = width(|r| r.tensor.type_name.chars().count()).max(4);
    let mut out = format!(
        "\n    {:<name_width$}  {:<shape_width$}  {:<type_width$} {:>6} {:>9}  layers\n",
        "tensor", "shape", "type", "bits", "size"
    );
    for Alike { name, tensor, layers } in &rows {
        let line = format!(
            "    {:<name_width$}  {:<shape_width$}  {:<type_width$} {:>6} {:>9}  {}",
            printable(name),
            shape(&tensor.ne),
            tensor.type_name,
            tensor.bits_per_weight.map_or("?".to_owned(), |bits| format!("{bits:.2}")),
            tensor.bytes.map_or("?".to_owned(), say::bytes),
            stretches(layers)
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
