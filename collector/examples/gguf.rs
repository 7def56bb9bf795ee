//! Writes GGUF files for browser tests and for looking at the page: models of many architectures with all that a header
//! says, whose weights are a hole in the file; and one whose every name is meant to do harm.
//!
//! `cargo run --release --example gguf -- OUT KIND`

use ggscope_model::testing::{self, Dtype, Fixture, LLAMA_8B, TUTORIAL};
use std::path::Path;

/// What a page that takes names for markup would run.
const MARKUP: &str = "<img src=x onerror=\"document.title='harmed'\"></script><script>document.title='harmed'</script>";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(out), Some(kind)) = (args.first(), args.get(1)) else {
        panic!("usage: gguf OUT KIND");
    };
    let fixture = match kind.as_str() {
        "llama" => testing::llama(LLAMA_8B, false),
        "tutorial" => testing::llama(TUTORIAL, true),
        "gemma3" => testing::gemma3(),
        "qwen3moe" => testing::qwen3moe(),
        "gpt-oss" => testing::gpt_oss(),
        "deepseek2" => testing::deepseek2(),
        "mamba" => testing::mamba(),
        "jamba" => testing::jamba(),
        "bert" => testing::bert(),
        "t5" => testing::t5(),
        "vocabulary" => testing::vocabulary_only(),
        "hostile" => hostile(),
        kind => panic!("{kind} is none of the kinds in collector/examples/gguf.rs"),
    };
    fixture.write(Path::new(out));
}

/// Two layers whose tensors, keys and texts are markup.
fn hostile() -> Fixture {
    let mut f = Fixture::new("llama");
    f.general("general.name", MARKUP).general(MARKUP, MARKUP);
    f.set("block_count", 2_u32).set("context_length", 512_u32).set("embedding_length", 256_u32);
    f.set("feed_forward_length", 256_u32).set("attention.head_count", 4_u32).set("attention.head_count_kv", 2_u32);
    f.tensor("token_embd.weight", Dtype::Q4_0, &[256, 64]).tensor("output_norm.weight", Dtype::F32, &[256]);
    for layer in 0..2 {
        for part in ["attn_q", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::Q4_0, &[256, 256]);
        }
        for part in ["attn_k", "attn_v"] {
            f.tensor(&format!("blk.{layer}.{part}.weight"), Dtype::Q4_0, &[256, 128]);
        }
        f.tensor(&format!("blk.{layer}.{MARKUP}.weight"), Dtype::Q4_0, &[256, 4]);
    }
    f.tensor(MARKUP, Dtype::Q4_0, &[256, 2]);
    f
}
