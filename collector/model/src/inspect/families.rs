//! What llama.cpp decides by the name of an architecture alone: which are recurrent, which keep no cache, how they rotate
//! positions. Tests hold these lists against the vendored source, so that a new release cannot change them unseen.

/// Architectures that llama.cpp knows (`LLM_ARCH_NAMES`), sorted.
#[rustfmt::skip]
const KNOWN: [&str; 154] = [
    "afmoe", "apertus", "arcee", "arctic", "arwkv7", "baichuan", "bailingmoe", "bailingmoe2", "bailingmoe3", "bert",
    "bitnet", "bloom", "chameleon", "chatglm", "clef", "clip", "codeshell", "cogvlm", "cohere2", "cohere2moe",
    "command-r", "dbrx", "deci", "deepseek", "deepseek2", "deepseek2-ocr", "deepseek32", "deepseek4", "dflash",
    "dots1", "dots3note", "dream", "eagle3", "ernie4_5", "ernie4_5-moe", "eurobert", "exaone", "exaone-moe",
    "exaone4", "falcon", "falcon-h1", "gemma", "gemma-embedding", "gemma2", "gemma3", "gemma3n", "gemma4",
    "gemma4-assistant", "glm-dsa", "glm4", "glm4moe", "glm5-next", "gpt-oss", "gpt2", "gptj", "gptneox", "granite",
    "granite_swa", "granitehybrid", "granitemoe", "graniteswitch", "grok", "grovemoe", "hrm_text", "hunyuan-dense",
    "hunyuan-moe", "hunyuan_vl", "hy_v3", "hy_v4", "internlm2", "jais", "jais2", "jamba", "jina-bert-v2",
    "jina-bert-v3", "kimi-k3", "kimi-linear", "laguna", "lfm2", "lfm2moe", "llada", "llada-moe", "llama",
    "llama-embed", "llama4", "maincoder", "mamba", "mamba2", "maple", "mellum", "mimo2", "minicpm", "minicpm3",
    "minimax-01", "minimax-m2", "minimax-m3", "mistral3", "mistral4", "modern-bert", "mpt", "muse-glimmer",
    "nanbeige", "nemotron", "nemotron_h", "nemotron_h_moe", "neo-bert", "nomic-bert", "nomic-bert-moe", "olmo",
    "olmo2", "olmoe", "openelm", "orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plamo2",
    "plamo3", "plm", "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe",
    "qwen3next", "qwen3tts", "qwen3vl", "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "rwkv6", "rwkv6qwen2", "rwkv7",
    "seed_oss", "smallthinker", "smollm3", "spark2_5", "stablelm", "starcoder", "starcoder2", "step35", "t5",
    "t5encoder", "talkie", "wavtokenizer-dec", "xverse",
];

/// Whether llama.cpp knows the architecture.
pub fn is_known(arch: &str) -> bool {
    KNOWN.binary_search(&arch).is_ok()
}

/// Mixers with a state only, no attention (`llm_arch_is_recurrent`).
pub fn is_recurrent(arch: &str) -> bool {
    matches!(arch, "mamba" | "mamba2" | "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7")
}

/// Both attention and mixers with a state (`llm_arch_is_hybrid`).
pub fn is_hybrid(arch: &str) -> bool {
    matches!(
        arch,
        "jamba"
            | "falcon-h1"
            | "plamo2"
            | "granitehybrid"
            | "lfm2"
            | "lfm2moe"
            | "nemotron_h"
            | "nemotron_h_moe"
            | "qwen3next"
            | "kimi-linear"
            | "bailingmoe3"
            | "kimi-k3"
            | "glm5-next"
            | "qwen35"
            | "qwen35moe"
            | "qwen4exp"
            | "deepseek4"
            | "minimax-01"
    )
}

/// Fills in all tokens at once instead of one after the other (`llm_arch_is_diffusion`).
pub fn is_diffusion(arch: &str) -> bool {
    matches!(arch, "dream" | "llada" | "llada-moe" | "rnd1")
}

/// Runs without a KV cache (`llama_model::create_memory`).
pub fn has_no_cache(arch: &str) -> bool {
    is_diffusion(arch)
        || matches!(
            arch,
            "bert"
                | "jina-bert-v2"
                | "jina-bert-v3"
                | "nomic-bert"
                | "nomic-bert-moe"
                | "neo-bert"
                | "eurobert"
                | "wavtokenizer-dec"
                | "modern-bert"
                | "gemma-embedding"
                | "clef"
        )
}

/// Gives vectors or scores instead of logits: it has no output matrix, so none is missing.
pub fn has_no_logits(arch: &str) -> bool {
    (has_no_cache(arch) && !is_diffusion(arch)) || matches!(arch, "t5encoder" | "clip" | "llama-embed")
}

/// How positions are rotated (`llama_model_rope_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Not at all.
    None,
    /// Pairs of neighbouring values.
    Norm,
    /// The first half of a head with the second.
    Neox,
    /// Sections for time, height and width.
    Multi,
}

/// How an architecture rotates positions; `multi` says that the file has two sections or more.
pub fn rope_style(arch: &str, multi: bool) -> RopeStyle {
    match arch {
        "clip" | "gpt2" | "gptj" | "mpt" | "refact" | "bloom" | "mamba" | "mamba2" | "jamba" | "jina-bert-v2"
        | "t5" | "t5encoder" | "jais" | "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" | "wavtokenizer-dec"
        | "nemotron_h" | "nemotron_h_moe" | "kimi-linear" | "kimi-k3" | "glm5-next" => RopeStyle::None,
        "qwen2vl" | "paddleocr" | "qwen3vl" | "qwen3vlmoe" | "qwen35" | "qwen35moe" | "clef" | "qwen4exp"
        | "qwen3tts" => RopeStyle::Multi,
        "glm4" | "glm4moe" | "hunyuan_vl" | "bailingmoe3" | "dflash" if multi => RopeStyle::Multi,
        "llama" | "llada" | "llama4" | "deci" | "baichuan" | "starcoder" | "internlm2" | "minicpm" | "xverse"
        | "command-r" | "cohere2" | "cohere2moe" | "olmo" | "arctic" | "deepseek" | "deepseek2" | "deepseek2-ocr"
        | "deepseek32" | "deepseek4" | "muse-glimmer" | "plm" | "chatglm" | "granite" | "granitemoe"
        | "granitehybrid" | "graniteswitch" | "granite_swa" | "chameleon" | "bailingmoe" | "neo-bert" | "smollm3"
        | "arcee" | "ernie4_5" | "ernie4_5-moe" | "mistral3" | "eagle3" | "mistral4" | "llama-embed" | "maincoder"
        | "glm-dsa" | "dots3note" | "nanbeige" | "pockettts" | "hy_v4" | "bailingmoe3" | "glm4" => RopeStyle::Norm,
        _ => RopeStyle::Neox,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::vendored;

    fn ours(is: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names: Vec<String> = vendored::architectures().into_values().filter(|name| is(name)).collect();
        names.sort();
        names
    }

    #[test]
    fn the_architectures_known_are_those_of_the_vendored_llama_cpp() {
        let mut theirs: Vec<String> = vendored::architectures().into_values().collect();
        theirs.sort();
        assert_eq!(KNOWN.to_vec(), theirs);
        assert!(is_known("llama") && !is_known("(unknown)") && !is_known(""));
    }

    #[test]
    fn families_are_those_of_the_vendored_llama_cpp() {
        let arch = |signature| vendored::cases("llama-arch.cpp", signature, "return true");
        assert_eq!(ours(is_recurrent), arch("bool llm_arch_is_recurrent("));
        assert_eq!(ours(is_hybrid), arch("bool llm_arch_is_hybrid("));
        assert_eq!(ours(is_diffusion), arch("bool llm_arch_is_diffusion("));
        let no_cache = vendored::cases("llama-model.cpp", "llama_model::create_memory(", "res = nullptr");
        assert_eq!(ours(has_no_cache), no_cache);
    }

    #[test]
    fn positions_are_rotated_as_in_the_vendored_llama_cpp() {
        let theirs = |value| vendored::cases("llama-model.cpp", "llama_rope_type llama_model_rope_type(", value);
        let ours = |style| ours(|name| rope_style(name, false) == style);
        assert_eq!(ours(RopeStyle::None), theirs("return LLAMA_ROPE_TYPE_NONE"));
        // Those that depend on the file's sections are told apart by it.
        let by_sections = ["bailingmoe3", "glm4"].map(String::from);
        let norm: Vec<String> = ours(RopeStyle::Norm).into_iter().filter(|n| !by_sections.contains(n)).collect();
        assert_eq!(norm, theirs("return LLAMA_ROPE_TYPE_NORM;"));
        let multi: Vec<String> =
            [theirs("return LLAMA_ROPE_TYPE_MROPE;"), theirs("return LLAMA_ROPE_TYPE_IMROPE;")].concat();
        assert!(multi.iter().filter(|n| *n != "dflash").all(|n| ours(RopeStyle::Multi).contains(n)), "{multi:?}");
    }
}
