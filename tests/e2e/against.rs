//! The attention of two runs of one prompt beside each other, and the same from their rows, computed here.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::attention::{generate, numbers, walked};
use crate::ggscope::{ggscope, number, record, run};
use crate::support::vendored;

const CAPTURE: [&str; 4] = ["--capture", "attention", "--ring-size", "64M"];

fn recorded(trace: &Path, flash: &str, options: &[&str]) {
    run(record(trace, &CAPTURE, &generate(&vendored::demo_model(), 4, flash, options))).ok();
}

/// Rows by token and layer: for each head, weights by the keys' tokens.
fn rows(trace: &Path) -> HashMap<(u64, u64), Vec<HashMap<u64, f64>>> {
    let of = |row: &Value| {
        let tokens: Vec<u64> = row["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap()).collect();
        let heads = row["weights"].as_array().unwrap();
        heads.iter().map(|head| tokens.iter().copied().zip(numbers(head)).collect()).collect()
    };
    walked(trace).iter().map(|(key, row)| (*key, of(row))).collect()
}

fn jensen_shannon(p: &HashMap<u64, f64>, q: &HashMap<u64, f64>) -> f64 {
    let half = |p: &HashMap<u64, f64>, q: &HashMap<u64, f64>| -> f64 {
        let of =
            |(key, &p): (&u64, &f64)| if p > 0.0 { p * (2.0 * p / (p + q.get(key).unwrap_or(&0.0))).ln() } else { 0.0 };
        p.iter().map(of).sum()
    };
    0.5 * (half(p, q) + half(q, p))
}

#[test]
fn two_runs_of_one_prompt_are_compared_head_by_head() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, other) = (dir.path().join("a.ggtrace"), dir.path().join("b.ggtrace"), dir.path().join("c.ggtrace"));
    recorded(&a, "on", &[]);
    recorded(&b, "off", &[]);
    recorded(&other, "on", &["--seed-prompt", "7"]);
    let against = |reference: &Path| {
        run(ggscope(&["attention", a.to_str().unwrap(), "--against", reference.to_str().unwrap(), "--json"]))
    };
    let found: Value = serde_json::from_str(&against(&b).ok().stdout).unwrap();
    let (ours, theirs) = (rows(&a), rows(&b));
    let tokens = number(&found, "tokens");
    assert!(tokens > 4 && number(&found, "unpaired") == 0, "{found:#}");
    let heads = found["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 30 * 9);
    for head in heads {
        let (layer, h) = (number(head, "layer"), number(head, "head") as usize);
        let of = |token: u64| jensen_shannon(&ours[&(token, layer)][h], &theirs[&(token, layer)][h]);
        let mean = (0..tokens).map(of).sum::<f64>() / tokens as f64;
        let said = head["mean"].as_f64().unwrap();
        assert!((said - mean).abs() < 1e-5, "layer {layer}, head {h}: {said} is said, {mean} computed");
        assert!(said < 0.05, "flash attention computes the same but for rounding");
    }
    let same: Value = serde_json::from_str(&against(&a).ok().stdout).unwrap();
    assert!(same["heads"].as_array().unwrap().iter().all(|head| head["max"].as_f64().unwrap() < 1e-6));
    let refused = against(&other);
    assert!(!refused.status.success() && refused.stderr.contains("the texts differ: token "), "{}", refused.stderr);
}
