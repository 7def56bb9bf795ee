//! For tests: tables of the vendored llama.cpp, read from its source, to hold ours against.

use crate::ggml::GgmlType;
use std::collections::BTreeMap;

fn source(file: &str) -> String {
    let path = format!("{}/../../vendor/llama.cpp/src/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path}: {e}; run `make vendor`"))
}

/// Strings of the table `name` in llama-arch.cpp, by the constant that each stands beside.
fn table(name: &str) -> Vec<(String, String)> {
    let source = source("llama-arch.cpp");
    let start = source.find(&format!("{name} = {{")).unwrap_or_else(|| panic!("no table {name}"));
    let lines = source[start..].lines().skip(1).take_while(|line| !line.starts_with("};"));
    let entry = |line: &str| {
        let (constant, rest) = line.trim().strip_prefix('{')?.split_once(',')?;
        let text = rest.split('"').nth(1)?;
        Some((constant.trim().to_owned(), text.to_owned()))
    };
    lines.filter_map(entry).collect()
}

/// `LLM_TENSOR_NAMES`.
pub(crate) fn tensor_names() -> Vec<String> {
    table("LLM_TENSOR_NAMES").into_iter().map(|(_, name)| name).collect()
}

/// `LLM_ARCH_NAMES`: the name by its constant.
pub(crate) fn architectures() -> BTreeMap<String, String> {
    table("LLM_ARCH_NAMES").into_iter().filter(|(constant, _)| constant != "LLM_ARCH_UNKNOWN").collect()
}

/// Types that llama-quantize makes: `llama_ftype_get_default_type`.
pub(crate) fn default_types() -> Vec<GgmlType> {
    let source = source("llama-quant.cpp");
    let start = source.find("llama_ftype_get_default_type(").expect("the function is there");
    let lines = source[start..].lines().take_while(|line| *line != "}");
    let constant = |line: &str| Some(line.split_once("return GGML_TYPE_")?.1.split_once(';')?.0.to_owned());
    lines.filter_map(|line| GgmlType::from_name(&constant(line)?)).collect()
}

/// Names of the architectures that the function whose signature contains `signature` returns `value` for.
pub(crate) fn cases(file: &str, signature: &str, value: &str) -> Vec<String> {
    let source = source(file);
    let names = architectures();
    let start = source.find(signature).unwrap_or_else(|| panic!("no function {signature} in {file}"));
    let mut waiting = vec![];
    let mut found = vec![];
    for line in source[start..].lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some(constant) = line.strip_prefix("case ").and_then(|l| l.split(':').next()) {
            waiting.extend(names.get(constant).cloned());
        } else if line.contains(value) {
            found.append(&mut waiting);
        } else if line.starts_with("return") || line.starts_with("res =") || line.contains("break;") {
            waiting.clear();
        }
    }
    found.sort();
    found
}
