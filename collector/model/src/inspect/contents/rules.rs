//! What llama.cpp wants of files that are no models, as the functions do that read them: `common_imatrix_load`,
//! `common_control_vector_load_one` and `llama_adapter_lora_init_impl`. Each rule gives the first fault, with its place.

use crate::gguf::{Gguf, Header, Scalar, TensorInfo, Value};
use crate::inspect::families;
use std::collections::BTreeMap;

/// A fault: the offset and what is wrong there.
type Fault = Option<(u64, String)>;

/// A key that is there, but is not of the type that llama.cpp reads without asking.
fn wrong_type(header: &Header, key: &str, scalar: Scalar) -> Fault {
    let pair = header.pair(key).filter(|pair| pair.kind != scalar as u32)?;
    Some((pair.value_at, format!("{key} is of type {}, not {}", pair.type_name(), scalar.name())))
}

/// A key that has to be a text, or to be missing.
fn no_text(header: &Header, key: &str) -> Fault {
    let pair = header.pair(key).filter(|pair| pair.value.text().is_none())?;
    Some((pair.value_at, format!("{key} is of type {}, not string", pair.type_name())))
}

/// A key that has to be this text.
fn not(header: &Header, key: &str, wanted: &str) -> Fault {
    if let Some(fault) = no_text(header, key) {
        return Some(fault);
    }
    let said = header.get(key).and_then(Value::text).unwrap_or_default();
    let at = header.pair(key).map_or(0, |pair| pair.value_at);
    (said != wanted).then(|| (at, format!("{key} is '{said}', not '{wanted}'")))
}

fn is_f32(t: &TensorInfo) -> bool {
    t.type_name() == Some("f32")
}

/// Sums and counts of an importance matrix belong together.
pub(super) fn importance_matrix(model: &Gguf) -> Fault {
    let header = model.first().header();
    for key in ["imatrix.chunk_count", "imatrix.chunk_size", "imatrix.n_layer_nextn"] {
        if let Some(fault) = wrong_type(header, key, Scalar::U32) {
            return Some(fault);
        }
    }
    if header.tensors.is_empty() {
        return Some((0, "there is not one tensor in it".into()));
    }
    let mut entries: BTreeMap<&str, [Option<&TensorInfo>; 3]> = BTreeMap::new();
    for t in &header.tensors {
        let part = |suffix: &str| t.name.strip_suffix(suffix);
        let parts = [part(".in_sum"), part(".in_sum2"), part(".counts")];
        for (i, name) in parts.into_iter().enumerate().filter_map(|(i, name)| Some((i, name?))) {
            entries.entry(name).or_default()[i] = Some(t);
        }
    }
    for (name, [sum, squares, counts]) in entries {
        let at = sum.or(squares).or(counts).map_or(0, |t| t.at);
        let (Some(squares), Some(counts)) = (squares, counts) else {
            return Some((at, format!("{name} has sums or counts, but not both")));
        };
        if let Some(sum) = sum.filter(|sum| sum.elements() != squares.elements()) {
            return Some((sum.at, format!("{name} has {} sums and {} of squares", sum.elements(), squares.elements())));
        }
        if let Some(t) = [squares, counts].into_iter().find(|t| !is_f32(t)) {
            return Some((t.at, format!("{} is not of type f32", t.name)));
        }
    }
    None
}

/// The layer of a direction, as `std::stoi` reads what follows `direction.`
pub(super) fn direction(name: &[u8]) -> Option<i64> {
    let digits = name.strip_prefix(b"direction.")?.trim_ascii_start();
    let (sign, digits) = match digits.split_first()? {
        (b'-', rest) => (-1, rest),
        (b'+', rest) => (1, rest),
        _ => (1, digits),
    };
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let number: i32 = std::str::from_utf8(&digits[..end]).ok()?.parse().ok()?;
    Some(sign * i64::from(number))
}

/// Directions are vectors of one size for layers from 1 on.
pub(super) fn control_vector(model: &Gguf) -> Fault {
    let tensors = &model.first().header().tensors;
    let Some(first) = tensors.first() else { return Some((0, "there is not one direction in it".into())) };
    for t in tensors {
        let dimensions = t.ne.iter().rposition(|&n| n > 1).map_or(1, |last| last + 1);
        let fault = match direction(t.name.bytes()) {
            None | Some(i64::MIN..=-1) => "is no direction of a layer",
            Some(0) => "is the direction of layer 0, which has none",
            _ if !is_f32(t) => "is not of type f32",
            _ if dimensions != 1 => "is no vector",
            _ if t.elements() != first.elements() => "has another size than those before it",
            _ => continue,
        };
        return Some((t.at, format!("{} {fault}", t.name)));
    }
    None
}

/// Every changed tensor has both matrices, and they multiply.
pub(super) fn adapter(model: &Gguf) -> Fault {
    let header = model.first().header();
    let keys = not(header, "general.type", "adapter").or_else(|| no_text(header, "general.architecture"));
    if let Some(fault) = keys {
        return Some(fault);
    }
    let arch = model.architecture();
    if !families::is_known(arch) {
        let at = header.pair("general.architecture").map_or(0, |pair| pair.value_at);
        return Some((at, format!("it is for models of the architecture '{arch}', which llama.cpp does not know")));
    }
    let keys = not(header, "adapter.type", "lora").or_else(|| wrong_type(header, "adapter.lora.alpha", Scalar::F32));
    if let Some(fault) = keys {
        return Some(fault);
    }
    let key = "adapter.alora.invocation_tokens";
    if let Some(pair) = header.pair(key).filter(|p| !matches!(p.value, Value::Scalars { kind: Scalar::U32, .. })) {
        return Some((pair.value_at, format!("{key} is no list of u32")));
    }
    let mut pairs: BTreeMap<&str, [Option<&TensorInfo>; 2]> = BTreeMap::new();
    for t in &header.tensors {
        match (t.name.strip_suffix(".lora_a"), t.name.strip_suffix(".lora_b")) {
            (Some(name), _) => pairs.entry(name).or_default()[0] = Some(t),
            (_, Some(name)) => pairs.entry(name).or_default()[1] = Some(t),
            _ if t.name.ends_with("_norm.weight") => {}
            _ => return Some((t.at, format!("{} is neither .lora_a nor .lora_b", t.name))),
        }
    }
    for (name, pair) in pairs {
        let [Some(a), Some(b)] = pair else {
            let at = pair.iter().flatten().next().map_or(0, |t| t.at);
            return Some((at, format!("{name} has one matrix of two")));
        };
        if !name.ends_with("token_embd.weight") && a.ne[1] != b.ne[0] {
            return Some((a.at, format!("{name} has matrices of rank {} and {}", a.ne[1], b.ne[0])));
        }
    }
    None
}
