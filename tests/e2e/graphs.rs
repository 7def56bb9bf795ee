//! Attention of graphs that the demo model does not have, beside what the same runs computed: norms of queries and keys,
//! windows in a cache that turns round, biases by distance, sinks, caches of other types.

use std::path::Path;

use serde_json::Value;

use crate::attention::{assert_as_computed, generate, numbers, walked};
use crate::ggscope::{dump, ggscope, info, number, record, run, text};
use crate::inside::assert_weighs_as_computed;
use crate::support::{tiny_attention, tiny_model, vendored};

const CAPTURE: [&str; 4] =
    ["--capture", "attention,values,layers,logits,kq_soft_max-*,kqv_out-*", "--ring-size", "128M"];

/// More tokens than the window's part of the cache has room for.
fn long_prompt() -> String {
    "the owl on the stone heard an answer in the rain. ".repeat(11)
}

fn names(trace: &Path) -> Vec<String> {
    let rows = dump(trace, &["--values"]);
    rows.iter().filter(|row| row["value"].is_object()).map(|row| text(row, "name").to_owned()).collect()
}

#[test]
fn gemma_3_is_as_computed_where_the_prompt_is_longer_than_windows_and_than_their_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("gemma3.gguf"), dir.path().join("run.ggtrace"));
    tiny_attention::write_gemma3_gguf(&model);
    let prompt = long_prompt();
    let options = ["--seed-prompt", &prompt, "--ctx", "1024", "--ubatch", "32"];
    let host = || generate(&model, 4, "off", &options);
    let traced = run(record(&trace, &CAPTURE, &host())).ok();
    assert_eq!(traced.stdout, run(host()).ok().stdout, "the same tokens, with and without");
    assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
    let rows = walked(&trace);
    let last = rows.keys().map(|&(token, _)| token).max().unwrap();
    assert!(last > 300, "{last} tokens do not turn a cache of 256 rows round");
    let seen = |layer: u64| numbers(&rows[&(last, layer)]["tokens"]);
    let window = u64::from(tiny_model::WINDOW);
    let mut near = seen(0);
    near.sort_by(f64::total_cmp);
    assert_eq!(near, (last + 1 - window..=last).map(|t| t as f64).collect::<Vec<_>>());
    assert_eq!(seen(1), (0..=last).map(|t| t as f64).collect::<Vec<_>>());
    assert_eq!(seen(2).len() as u64, window);
}

#[test]
fn gemma_3_is_as_computed_with_flash_attention_on_whatever_the_type_of_its_cache() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("gemma3.gguf");
    tiny_attention::write_gemma3_gguf(&model);
    let off = dir.path().join("off.ggtrace");
    run(record(&off, &CAPTURE, &generate(&model, 6, "off", &[]))).ok();
    assert!(assert_as_computed(&off, tiny_model::N_LAYER) > 0);
    assert_weighs_as_computed(&off, 2e-3);
    for name in ["l_out-2", "attn_post_norm-0", "sa_out-1", "ffn_post_norm-2", "result_norm", "result_output"] {
        assert!(names(&off).iter().any(|n| n == name), "{name}: {:?}", names(&off));
    }
    let reference = walked(&off);
    for (types, tolerance) in [(["f16", "f16"], 1e-3), (["q8_0", "q8_0"], 2e-2)] {
        let trace = dir.path().join(format!("{}.ggtrace", types[0]));
        let options = ["--cache-type", types[0], types[1]];
        run(record(&trace, &CAPTURE, &generate(&model, 6, "on", &options))).ok();
        assert_eq!(info(&trace)["dropped"]["records"], 0);
        assert_weighs_as_computed(&trace, 4e-3);
        // The same text, but for what the type of the cache does to keys.
        let mut compared = 0;
        for (place, row) in walked(&trace) {
            let Some(other) = reference.get(&place) else { continue };
            let pairs = row["weights"].as_array().unwrap().iter().zip(other["weights"].as_array().unwrap());
            let apart = |(a, b): (&Value, &Value)| {
                numbers(a).iter().zip(numbers(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let worst = pairs.map(apart).fold(0.0, f64::max);
            assert!(worst < tolerance, "{types:?} {place:?}: off by {worst}");
            compared += 1;
        }
        assert!(compared > 0);
    }
}

#[test]
fn quantised_keys_are_those_of_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let gemma = dir.path().join("gemma3.gguf");
    tiny_attention::write_gemma3_gguf(&gemma);
    // The demo model's heads are as long as llama.cpp wants them to turn keys before it rounds them.
    for (model, n_layer) in [(gemma, tiny_model::N_LAYER), (vendored::demo_model(), 30)] {
        for ty in ["q8_0", "q4_0"] {
            let trace = dir.path().join(format!("{n_layer}-{ty}.ggtrace"));
            run(record(&trace, &CAPTURE, &generate(&model, 3, "off", &["--cache-type", ty, "f16"]))).ok();
            assert!(assert_as_computed(&trace, n_layer) > 0, "{ty}");
            let found = run(ggscope(&["attention", trace.to_str().unwrap(), "--json"])).ok().stdout;
            assert_eq!(text(&serde_json::from_str(&found).unwrap(), "k_type"), ty);
        }
    }
}

#[test]
fn a_bias_that_grows_with_the_distance_is_added_head_by_head() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("mpt.gguf"), dir.path().join("run.ggtrace"));
    tiny_attention::write_mpt_gguf(&model);
    run(record(&trace, &CAPTURE, &generate(&model, 6, "off", &[]))).ok();
    assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
    // Only the bias tells heads of one group apart: `masked` is less than `scaled`, the more the farther.
    let args = ["attention", trace.to_str().unwrap(), "--json", "--layer", "1"];
    let found: Value = serde_json::from_str(&run(ggscope(&args)).ok().stdout).unwrap();
    for head in found["heads"].as_array().unwrap() {
        let (scaled, masked) = (numbers(&head["scaled"]), numbers(&head["masked"]));
        let bias: Vec<f64> = masked.iter().zip(&scaled).map(|(m, s)| m - s).collect();
        assert!(bias.windows(2).all(|two| two[0] < two[1]), "{bias:?}");
        assert!(bias.last().unwrap().abs() < 1e-6, "none on itself");
    }
    let flash = dir.path().join("flash.ggtrace");
    run(record(&flash, &CAPTURE, &generate(&model, 6, "on", &[]))).ok();
    assert_weighs_as_computed(&flash, 4e-3);
}

#[test]
fn sinks_take_the_share_that_they_took() {
    let dir = tempfile::tempdir().unwrap();
    let (model, trace) = (dir.path().join("oss.gguf"), dir.path().join("run.ggtrace"));
    tiny_attention::write_gpt_oss_gguf(&model);
    run(record(&trace, &CAPTURE, &generate(&model, 6, "off", &[]))).ok();
    assert!(assert_as_computed(&trace, tiny_model::N_LAYER) > 0);
    for row in walked(&trace).values() {
        let sinks = numbers(&row["sinks"]);
        for (weights, sink) in row["weights"].as_array().unwrap().iter().zip(&sinks) {
            let sum = numbers(weights).iter().sum::<f64>() + sink;
            assert!((sum - 1.0).abs() < 1e-5 && *sink > 0.0, "{sum} with a sink of {sink}");
        }
    }
    let flash = dir.path().join("flash.ggtrace");
    run(record(&flash, &CAPTURE, &generate(&model, 6, "on", &[]))).ok();
    assert_weighs_as_computed(&flash, 4e-3);
    let tokens = number(&info(&flash)["tokens"], "prompt") + number(&info(&flash)["tokens"], "generate");
    assert_eq!(walked(&flash).len() as u64, tokens * tiny_model::N_LAYER);
}

#[test]
fn what_heads_add_is_the_same_where_values_are_turned_before_they_are_quantised() {
    let dir = tempfile::tempdir().unwrap();
    let model = vendored::demo_model();
    let added = |ty: &str| -> Vec<f64> {
        let trace = dir.path().join(format!("{ty}.ggtrace"));
        run(record(&trace, &CAPTURE, &generate(&model, 1, "on", &["--cache-type", ty, ty]))).ok();
        let args = ["attention", trace.to_str().unwrap(), "--json", "--token", "4", "--layer", "17", "--model"];
        let found: Value =
            serde_json::from_str(&run(ggscope(&[&args[..], &[model.to_str().unwrap()]].concat())).ok().stdout).unwrap();
        assert_eq!(found["turned"], if ty == "f16" { Value::Null } else { Value::from(64) });
        found["heads"].as_array().unwrap().iter().map(|h| h["contribution"].as_f64().unwrap()).collect()
    };
    let (exact, rounded) = (added("f16"), added("q8_0"));
    assert!(exact.iter().zip(&rounded).all(|(a, b)| (a - b).abs() < 0.03 * a), "{exact:?} {rounded:?}");
}
