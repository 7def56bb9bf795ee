//! Writes tiny models of the `llama` architecture that llama.cpp really loads and runs: random weights, but real
//! attention, real routing, real text (every generated token is a readable piece, none ends the generation).
//! Some tests need what the demo model lacks: experts, repacked weights, a path of our choice.

use std::path::Path;

use super::gguf_writer::{GgufWriter, TensorType, Value, Weights};

/// Layers of every tiny model.
pub const N_LAYER: u64 = 3;
pub(super) const N_EMBD: u64 = 64;
pub(super) const N_HEAD: u64 = 4;
pub(super) const N_HEAD_KV: u64 = 2;
pub(super) const N_FF: u64 = 128;
pub(super) const N_EMBD_KV: u64 = N_EMBD / N_HEAD * N_HEAD_KV;

/// Tokens of the vocabulary that are not text: `<unk>`, `<s>`, `</s>` and 256 bytes.
pub(super) const N_NOT_TEXT: usize = 3 + 256;

/// Writes a mixture-of-experts model with F16 weights: each token goes to `n_used` of `n_expert` experts in each layer.
pub fn write_moe_gguf(path: &Path, n_expert: u32, n_used: u32) {
    assert!(n_used <= n_expert && n_expert > 1, "llama.cpp wants n_used <= n_expert, and several experts");
    let experts = Experts { count: n_expert, used: n_used };
    write_model(path, TensorType::F16, Some(&experts));
}

/// Writes a dense model whose matrices have the given type. llama.cpp repacks Q4_0 into a CPU_REPACK buffer.
pub fn write_dense_gguf(path: &Path, tensor_type: TensorType) {
    write_model(path, tensor_type, None);
}

/// Window of the layers 0 and 2 of [`write_gemma2_gguf`]'s model: fewer tokens than a prompt has.
pub const WINDOW: u32 = 4;

/// Writes a model of the `gemma2` architecture: every other layer looks back only so far, and products are capped.
pub fn write_gemma2_gguf(path: &Path) {
    let pieces = text_pieces();
    let n_vocab = (N_NOT_TEXT + pieces.len()) as u64;
    let mut gguf = GgufWriter::default();
    put_sizes(&mut gguf, "gemma2");
    gguf.set("gemma2.attention.key_length", Value::U32((N_EMBD / N_HEAD) as u32))
        .set("gemma2.attention.value_length", Value::U32((N_EMBD / N_HEAD) as u32))
        .set("gemma2.attention.sliding_window", Value::U32(WINDOW))
        .set("gemma2.attn_logit_softcapping", Value::F32(1.5))
        .set("gemma2.final_logit_softcapping", Value::F32(30.0));
    put_vocabulary(&mut gguf, &pieces);
    let mut weights = Weights::new(0x6767_7363_6f70_6522);
    // The output matrix, too.
    let embeddings = output_rows(&mut weights, n_vocab);
    gguf.tensor("token_embd.weight", TensorType::F16, &[N_EMBD, n_vocab], &embeddings);
    gguf.tensor("output_norm.weight", TensorType::F32, &[N_EMBD], &ones());
    for layer in 0..N_LAYER {
        put_layer(&mut gguf, &mut weights, layer, TensorType::F16, None);
        for norm in ["post_attention_norm", "post_ffw_norm"] {
            gguf.tensor(&format!("blk.{layer}.{norm}.weight"), TensorType::F32, &[N_EMBD], &ones());
        }
    }
    gguf.write(path);
}

/// Writes an encoder of the `bert` architecture: every token sees every other, and nothing is kept in a cache.
pub fn write_bert_gguf(path: &Path) {
    let pieces = text_pieces();
    let n_vocab = (N_NOT_TEXT + pieces.len()) as u64;
    let mut gguf = GgufWriter::default();
    put_sizes(&mut gguf, "bert");
    gguf.set("bert.attention.layer_norm_epsilon", Value::F32(1e-5))
        .set("bert.attention.causal", Value::Bool(false))
        .set("tokenizer.ggml.token_type_count", Value::U32(2));
    put_vocabulary(&mut gguf, &pieces);
    let mut weights = Weights::new(0x6767_7363_6f70_6523);
    for (name, rows) in [("token_embd", n_vocab), ("position_embd", 2048), ("token_types", 2)] {
        let values = weights.uniform((N_EMBD * rows) as usize, 1.0);
        gguf.tensor(&format!("{name}.weight"), TensorType::F32, &[N_EMBD, rows], &values);
    }
    let norm = |gguf: &mut GgufWriter, name: &str| {
        gguf.tensor(&format!("{name}.weight"), TensorType::F32, &[N_EMBD], &ones());
        gguf.tensor(&format!("{name}.bias"), TensorType::F32, &[N_EMBD], &[0.0; N_EMBD as usize]);
    };
    norm(&mut gguf, "token_embd_norm");
    let square = [N_EMBD, N_EMBD];
    let matrices = [
        ("attn_q", square),
        ("attn_k", [N_EMBD, N_EMBD_KV]),
        ("attn_v", [N_EMBD, N_EMBD_KV]),
        ("attn_output", square),
        ("ffn_up", [N_EMBD, N_FF]),
        ("ffn_down", [N_FF, N_EMBD]),
    ];
    for layer in 0..N_LAYER {
        for (part, ne) in &matrices {
            let values = weights.matrix(ne[0], ne[1]);
            gguf.tensor(&format!("blk.{layer}.{part}.weight"), TensorType::F16, ne, &values);
        }
        norm(&mut gguf, &format!("blk.{layer}.attn_output_norm"));
        norm(&mut gguf, &format!("blk.{layer}.layer_output_norm"));
    }
    gguf.write(path);
}

struct Experts {
    count: u32,
    used: u32,
}

fn write_model(path: &Path, matrices: TensorType, experts: Option<&Experts>) {
    let pieces = text_pieces();
    let n_vocab = (N_NOT_TEXT + pieces.len()) as u64;
    let mut gguf = GgufWriter::default();
    put_hyperparameters(&mut gguf, experts);
    put_vocabulary(&mut gguf, &pieces);

    let mut weights = Weights::new(0x6767_7363_6f70_6521);
    let embeddings = weights.uniform((N_EMBD * n_vocab) as usize, 1.0);
    gguf.tensor("token_embd.weight", matrices, &[N_EMBD, n_vocab], &embeddings);
    gguf.tensor("output_norm.weight", TensorType::F32, &[N_EMBD], &ones());
    let output = output_rows(&mut weights, n_vocab);
    gguf.tensor("output.weight", matrices, &[N_EMBD, n_vocab], &output);
    for layer in 0..N_LAYER {
        put_layer(&mut gguf, &mut weights, layer, matrices, experts);
    }
    gguf.write(path);
}

pub(super) fn put_sizes(gguf: &mut GgufWriter, arch: &str) {
    let key = |name: &str| format!("{arch}.{name}");
    gguf.set("general.architecture", Value::Text(arch.into()))
        .set("general.name", Value::Text("ggscope test fixture".into()))
        .set(&key("context_length"), Value::U32(2048))
        .set(&key("block_count"), Value::U32(N_LAYER as u32))
        .set(&key("embedding_length"), Value::U32(N_EMBD as u32))
        .set(&key("feed_forward_length"), Value::U32(N_FF as u32))
        .set(&key("attention.head_count"), Value::U32(N_HEAD as u32))
        .set(&key("attention.head_count_kv"), Value::U32(N_HEAD_KV as u32))
        .set(&key("attention.layer_norm_rms_epsilon"), Value::F32(1e-5))
        .set(&key("rope.dimension_count"), Value::U32((N_EMBD / N_HEAD) as u32))
        .set(&key("rope.freq_base"), Value::F32(10_000.0));
}

fn put_hyperparameters(gguf: &mut GgufWriter, experts: Option<&Experts>) {
    put_sizes(gguf, "llama");
    if let Some(experts) = experts {
        gguf.set("llama.expert_count", Value::U32(experts.count))
            .set("llama.expert_used_count", Value::U32(experts.used));
    }
}

/// A SentencePiece vocabulary: the special tokens, one token a byte, then the pieces.
pub(super) fn put_vocabulary(gguf: &mut GgufWriter, pieces: &[String]) {
    const NORMAL: i32 = 1;
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;

    let special = ["<unk>", "<s>", "</s>"].map(String::from);
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let tokens: Vec<String> = special.into_iter().chain(bytes).chain(pieces.iter().cloned()).collect();
    let mut types = vec![UNKNOWN, CONTROL, CONTROL];
    types.resize(N_NOT_TEXT, BYTE);
    types.resize(tokens.len(), NORMAL);
    // A longer piece wins over the two that it is made of, an earlier one over a later one.
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();

    gguf.set("tokenizer.ggml.model", Value::Text("llama".into()))
        .set("tokenizer.ggml.tokens", Value::TextArray(tokens))
        .set("tokenizer.ggml.scores", Value::F32Array(scores))
        .set("tokenizer.ggml.token_type", Value::I32Array(types))
        .set("tokenizer.ggml.bos_token_id", Value::U32(1))
        .set("tokenizer.ggml.eos_token_id", Value::U32(2))
        .set("tokenizer.ggml.unknown_token_id", Value::U32(0))
        .set("tokenizer.ggml.add_bos_token", Value::Bool(true));
}

/// Pairs first, then single letters; `▁` is SentencePiece's space.
pub(super) fn text_pieces() -> Vec<String> {
    let pairs = "▁t th he in er an re on at en nd ▁a ▁o ou ll lo";
    let letters = "▁abcdefghijklmnopqrstuvwxyz.,!?";
    pairs.split(' ').map(String::from).chain(letters.chars().map(String::from)).collect()
}

/// Rows of tokens that are not text are zero: their logit is 0 and some piece always beats it.
pub(super) fn output_rows(weights: &mut Weights, n_vocab: u64) -> Vec<f32> {
    let mut rows = weights.matrix(N_EMBD, n_vocab);
    rows[..N_NOT_TEXT * N_EMBD as usize].fill(0.0);
    rows
}

fn put_layer(
    gguf: &mut GgufWriter,
    weights: &mut Weights,
    layer: u64,
    matrices: TensorType,
    experts: Option<&Experts>,
) {
    let name = |part: &str| format!("blk.{layer}.{part}.weight");
    gguf.tensor(&name("attn_norm"), TensorType::F32, &[N_EMBD], &ones());
    gguf.tensor(&name("ffn_norm"), TensorType::F32, &[N_EMBD], &ones());

    let mut matrix = |part: &str, tensor_type: TensorType, ne: &[u64]| {
        let values = weights.matrix(ne[0], ne[1..].iter().product());
        gguf.tensor(&name(part), tensor_type, ne, &values);
    };
    matrix("attn_q", matrices, &[N_EMBD, N_EMBD]);
    matrix("attn_k", matrices, &[N_EMBD, N_EMBD_KV]);
    matrix("attn_v", matrices, &[N_EMBD, N_EMBD_KV]);
    matrix("attn_output", matrices, &[N_EMBD, N_EMBD]);
    match experts.map(|experts| u64::from(experts.count)) {
        None => {
            matrix("ffn_gate", matrices, &[N_EMBD, N_FF]);
            matrix("ffn_up", matrices, &[N_EMBD, N_FF]);
            matrix("ffn_down", matrices, &[N_FF, N_EMBD]);
        }
        Some(count) => {
            matrix("ffn_gate_inp", TensorType::F32, &[N_EMBD, count]);
            matrix("ffn_gate_exps", matrices, &[N_EMBD, N_FF, count]);
            matrix("ffn_up_exps", matrices, &[N_EMBD, N_FF, count]);
            matrix("ffn_down_exps", matrices, &[N_FF, N_EMBD, count]);
        }
    }
}

pub(super) fn ones() -> [f32; N_EMBD as usize] {
    [1.0; N_EMBD as usize]
}
