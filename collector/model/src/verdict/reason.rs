//! Why llama.cpp refuses a model, in its own words, and the place in the file that they are about.

use super::loader::Report;
use crate::gguf::{Finding, Gguf, Severity};

/// Tensors that llama.cpp does not use are named up to here.
const NAMED: usize = 3;

/// Whether it is a model that only runs next to the one that it drafts for.
pub(super) fn is_draft(report: &Report) -> bool {
    report.loaded && report.errors.iter().any(|line| line.contains("requires ctx_other"))
}

/// The finding for a load that did not come to its end.
pub(super) fn finding(model: &Gguf, report: &Report, memory: u64) -> Option<Finding> {
    if report.ready {
        return None;
    }
    if is_draft(report) {
        let what = "a draft: llama.cpp runs it only next to the model that it drafts for (--model-draft)".to_owned();
        return Some(Finding { severity: Severity::Notice, file: None, at: 0, what });
    }
    let why = why(report, memory);
    let step =
        if report.loaded { "llama.cpp loads the model, but makes no context for it" } else { "llama.cpp refuses it" };
    let (about, what) = match (why.contains("wrong number of tensors"), report.unused.first()) {
        (true, Some(first)) => {
            (first.clone(), format!("{step}: it has tensors that are not used: {}", names(&report.unused)))
        }
        _ => (why.clone(), format!("{step}: {why}")),
    };
    let (file, at) = place(model, &about);
    Some(Finding { severity: Severity::Refused, file, at, what })
}

fn names(unused: &[String]) -> String {
    let named = unused.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if unused.len() > NAMED { format!("{named} and others") } else { named }
}

/// What the log says, without the names of functions.
fn why(report: &Report, memory: u64) -> String {
    let errors = &report.errors;
    let assertion = errors.iter().find_map(|line| assertion(line));
    let loading = errors.iter().find_map(|line| line.rsplit_once("error loading model").map(|(_, rest)| rest));
    // llama.cpp reports the file that it did not read after the reason.
    let loading = loading.filter(|rest| !rest.contains("failed to load model from"));
    let loading = loading.map(|rest| {
        let rest = rest.trim_start_matches(" hyperparameters").trim_start_matches(" vocabulary");
        rest.trim_start_matches(": ").to_owned()
    });
    let why = assertion.or(loading).or_else(|| errors.first().cloned()).map(|why| without_function(&why).to_owned());
    match why {
        Some(why) if why.contains("bad_alloc") || why.contains("out of memory") => {
            format!("it takes more memory than {} MiB, which is far more than its header has", memory >> 20)
        }
        Some(why) => why,
        None => match report.signal {
            Some(libc::SIGXCPU | libc::SIGKILL) => "its loader does not come to an end".into(),
            Some(signal) => format!("its loader ends with signal {signal}"),
            None => "its loader gives no reason".into(),
        },
    }
}

/// `../src/llama-model.cpp:1366: GGML_ASSERT(n > 0) failed` in fewer words.
fn assertion(line: &str) -> Option<String> {
    let (place, rest) = line.split_once(": GGML_ASSERT(")?;
    let file = place.rsplit('/').next()?;
    Some(format!("it asserts {} ({file})", rest.trim_end().strip_suffix(") failed")?))
}

/// `check_tensor_dims: tensor …` without the name of the function.
fn without_function(text: &str) -> &str {
    match text.split_once(": ") {
        Some((name, rest)) if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.contains('_') => {
            rest
        }
        _ => text,
    }
}

/// The file and the offset of the key or the tensor that `text` names; the start of the first file if it names none.
fn place(model: &Gguf, text: &str) -> (Option<String>, u64) {
    let several = model.files().len() > 1;
    let mut best: Option<(usize, String, u64)> = None;
    for file in model.files() {
        let header = file.header();
        let keys = header.pairs.iter().map(|pair| (pair.key.as_str(), pair.value_at));
        for (name, at) in keys.chain(header.tensors.iter().map(|t| (t.name.as_str(), t.at))) {
            if best.as_ref().is_none_or(|(len, ..)| name.len() > *len) && names_it(text, name) {
                best = Some((name.len(), file.path().display().to_string(), at));
            }
        }
    }
    best.map_or((None, 0), |(_, file, at)| (several.then_some(file), at))
}

/// Whether `name` stands in `text` as a whole word.
fn names_it(text: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    !name.is_empty()
        && text
            .match_indices(name)
            .any(|(at, _)| !text[..at].ends_with(part_of_name) && !text[at + name.len()..].starts_with(part_of_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[&str]) -> String {
        why(&Report { errors: errors.iter().map(|&e| e.to_owned()).collect(), ..Report::default() }, 1 << 30)
    }

    #[test]
    fn reasons_are_the_logs_without_functions() {
        let load = "llama_model_load: error loading model: ";
        let key = "error loading model hyperparameters: key llama.x has wrong type i32 but expected type u32";
        assert_eq!(said(&[&format!("{load}{key}"), "failed"]), "key llama.x has wrong type i32 but expected type u32");
        assert_eq!(said(&[&format!("{load}check_tensor_dims: tensor 'a' not found")]), "tensor 'a' not found");
        assert_eq!(
            said(&["gguf_init_from_reader: key 0 is empty", &format!("{load}x: failed to load model from m.gguf")]),
            "key 0 is empty"
        );
        assert_eq!(said(&["../src/src/a.cpp:7: GGML_ASSERT(n > 0) failed"]), "it asserts n > 0 (a.cpp:7)");
        assert_eq!(said(&[]), "its loader gives no reason");
    }

    #[test]
    fn a_draft_is_not_refused() {
        let error = "llama_init_from_model: failed to initialize the context: eagle3 requires ctx_other to be set";
        let report = Report { errors: vec![error.into()], loaded: true, ..Report::default() };
        assert!(is_draft(&report) && !is_draft(&Report { loaded: false, ..report }));
    }

    #[test]
    fn names_are_whole_words() {
        assert!(names_it("key llama.a has", "llama.a") && names_it("tensor 'blk.0.x' not", "blk.0.x"));
        assert!(!names_it("key llama.ab has", "llama.a") && !names_it("x", ""));
    }
}
