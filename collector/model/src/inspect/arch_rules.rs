//! What single architectures add to the hyperparameters: the functions `load_arch_hparams` in llama.cpp's src/models.
//! Only what sizes, caches and costs depend on is kept: windows and their pattern, layers with a state, shared caches.

use super::hparams::{HParams, Ssm, Swa, at};
use super::keys::{Keys, MAX_LAYERS};

/// Adds to `hp` what its architecture decides. `has` says whether a tensor is there.
pub fn apply(hp: &mut HParams, keys: &Keys, has: &dyn Fn(&str) -> bool) {
    if !has_next_token_blocks(hp, keys.arch(), has) {
        hp.n_layer_nextn = 0;
    }
    extra_layers(hp, keys);
    states(hp, keys);
    windows(hp, keys);
    latent_attention(hp, keys);
    match keys.arch() {
        "gemma3n" => hp.n_layer_kv_from_start = Some(20),
        "gemma4" => {
            let shared = keys.count("attention.shared_kv_layers").unwrap_or(0);
            hp.n_layer_kv_from_start = Some(hp.n_layer_all.saturating_sub(shared));
        }
        "gemma-embedding" | "dream" | "llada" | "llada-moe" | "rnd1" => hp.causal = false,
        "step35" => hp.n_rot /= 2,
        "t5" => hp.n_layer_dec = Some(keys.count("decoder_block_count").unwrap_or(hp.n_layer()).min(MAX_LAYERS)),
        "wavtokenizer-dec" => hp.n_embd = keys.count("features_length").unwrap_or(hp.n_embd),
        "hunyuan_vl" | "hunyuan-dense" if hp.n_expert <= 1 => {
            hp.n_expert = 0;
            hp.n_expert_used.fill(0);
        }
        _ => {}
    }
}

/// DeepSeek 4 counts its blocks for further tokens even where the file was written without them.
fn has_next_token_blocks(hp: &HParams, arch: &str, has: &dyn Fn(&str) -> bool) -> bool {
    arch != "deepseek4" || has(&format!("blk.{}.nextn.eh_proj.weight", hp.n_layer()))
}

/// Architectures that run more layers than the file has.
fn extra_layers(hp: &mut HParams, keys: &Keys) {
    match keys.arch() {
        "nanbeige" => {
            let loops = keys.count("num_loops").unwrap_or(1).max(1);
            let layers = hp.n_layer_all;
            if loops > 1 && u64::from(layers) * u64::from(loops) <= u64::from(MAX_LAYERS) {
                for list in [&mut hp.n_head, &mut hp.n_head_kv, &mut hp.n_ff] {
                    *list = list.repeat(loops as usize);
                }
                for list in [&mut hp.is_swa, &mut hp.is_recr] {
                    *list = list.repeat(loops as usize);
                }
                hp.n_layer_all *= loops;
                hp.n_loops = loops;
            }
        }
        "graniteswitch" if hp.n_layer_all < MAX_LAYERS => {
            hp.router_layer = Some(hp.n_layer_all);
            hp.n_layer_all += 1;
            hp.n_layer_nextn = 1;
            hp.n_head.push(1);
            hp.n_head_kv.push(1);
            hp.n_ff.push(0);
            hp.is_swa.push(false);
            hp.is_recr.push(false);
        }
        _ => {}
    }
}

/// Layers with a state, and its sizes.
fn states(hp: &mut HParams, keys: &Keys) {
    let count = |suffix| keys.count(suffix).unwrap_or(0);
    let ssm = Ssm {
        conv: count("ssm.conv_kernel"),
        inner: count("ssm.inner_size"),
        state: count("ssm.state_size"),
        dt_rank: count("ssm.time_step_rank"),
        groups: count("ssm.group_count"),
    };
    let layers = hp.n_layer() as usize;
    let without_kv: Vec<bool> = (0..layers).map(|i| hp.n_head_kv[i] == 0).collect();
    match keys.arch() {
        "mamba" => hp.ssm = Ssm { groups: 0, ..ssm },
        "mamba2" => hp.ssm = ssm,
        "jamba" => {
            hp.ssm = Ssm { groups: 0, ..ssm };
            set(&mut hp.is_recr, without_kv);
        }
        "granitehybrid" => {
            hp.ssm = ssm;
            set(&mut hp.is_recr, without_kv);
        }
        "plamo2" => {
            hp.ssm = ssm;
            hp.head_k = keys.count("attention.key_length").unwrap_or(hp.head_k);
            hp.head_v = keys.count("attention.value_length").unwrap_or(hp.head_v);
            set(&mut hp.is_recr, without_kv);
        }
        "falcon-h1" => {
            hp.ssm = ssm;
            hp.is_recr.fill(true);
        }
        "nemotron_h" | "nemotron_h_moe" => {
            hp.ssm = ssm;
            let recr = (0..layers).map(|i| hp.n_head_kv[i] == 0 && hp.n_ff[i] == 0).collect();
            set(&mut hp.is_recr, recr);
        }
        "lfm2" | "lfm2moe" => {
            hp.shortconv_l_cache = count("shortconv.l_cache");
            set(&mut hp.is_recr, without_kv);
        }
        "kimi-linear" | "kimi-k3" | "glm5-next" | "bailingmoe3" => {
            hp.ssm.conv = ssm.conv;
            hp.head_kda = count("kda.head_dim");
            set(&mut hp.is_recr, without_kv);
            if matches!(keys.arch(), "kimi-k3" | "glm5-next") {
                hp.head_v = hp.n_lora_kv;
            }
        }
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" | "clef" => {
            hp.ssm = ssm;
            every_nth_attends(hp, keys, 4);
        }
        "minimax-01" => {
            hp.head_la = hp.head_k;
            every_nth_attends(hp, keys, 8);
        }
        "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => {
            hp.wkv_head_size = count("wkv.head_size");
            hp.token_shift_count = keys.count("token_shift_count").unwrap_or(hp.token_shift_count);
        }
        _ => {}
    }
}

/// Sets the first entries; what is after them is left.
fn set(list: &mut [bool], values: Vec<bool>) {
    for (entry, value) in list.iter_mut().zip(values) {
        *entry = value;
    }
}

/// All layers but every nth have a state, unless the file lists them.
fn every_nth_attends(hp: &mut HParams, keys: &Keys, default: u32) {
    hp.is_recr = match keys.per_layer("attention.recurrent_layers", hp.n_layer_all) {
        Some(layers) => layers.iter().map(|&n| n != 0).collect(),
        None => {
            let n = keys.count("full_attention_interval").unwrap_or(default).max(1);
            (0..hp.n_layer_all).map(|i| i < hp.n_layer() && (i + 1) % n != 0).collect()
        }
    };
}

/// Sliding windows: their size, and which layers have one.
fn windows(hp: &mut HParams, keys: &Keys) {
    let said = keys.count("attention.sliding_window");
    let given = said.unwrap_or(0);
    let some = given > 0;
    let (swa, window, pattern) = match keys.arch() {
        "afmoe" | "mellum" | "olmo2" if some => (Swa::Standard, given, Some((4, false))),
        "gemma3" if some => (Swa::Standard, given, Some((6, false))),
        "plamo3" if some => (Swa::Standard, given, Some((8, false))),
        "laguna" if some => (Swa::Standard, given, Some((4, true))),
        "smallthinker" if some => (Swa::Standard, 4096, Some((4, true))),
        "modern-bert" if some => (Swa::Symmetric, given, Some((3, true))),
        "cohere2" | "muse-glimmer" => (Swa::Standard, given, Some((4, false))),
        "cohere2moe" => (Swa::Standard, given, Some((4, true))),
        "exaone-moe" => (Swa::Standard, said.unwrap_or(128), Some((4, false))),
        "exaone4" if hp.n_layer() == 64 => (Swa::Standard, said.unwrap_or(4096), Some((4, false))),
        "gemma2" => (Swa::Standard, said.unwrap_or(4096), Some((2, false))),
        "gemma-embedding" => (Swa::Symmetric, given, Some((6, false))),
        "gemma3n" => (Swa::Standard, given, Some((5, false))),
        "gpt-oss" => (Swa::Standard, given, Some((2, false))),
        "llama4" if said != Some(0) => (Swa::Chunked, 8192, Some((4, false))),
        "gemma4" | "gemma4-assistant" | "dots3note" | "granite_swa" | "maple" | "mimo2" | "spark2_5" | "step35" => {
            (Swa::Standard, given, None)
        }
        "dflash" if some => (Swa::Standard, given, None),
        "deepseek4" => (Swa::Standard, given, Some((0, false))),
        "lfm2" if some => (Swa::Standard, given, Some((0, false))),
        _ => return,
    };
    hp.swa = swa;
    hp.n_swa = window;
    let listed = keys.list("attention.sliding_window_pattern");
    hp.is_swa = match (keys.arch(), listed, pattern) {
        ("lfm2", ..) => hp.is_recr.iter().map(|recr| !recr).collect(),
        ("deepseek4", ..) => vec![true; hp.n_layer_all as usize],
        ("dflash", ..) if keys.count("hyper_connection.count").is_some_and(|n| n > 0) => {
            vec![true; hp.n_layer_all as usize]
        }
        (_, Some(list), _) => (0..hp.n_layer_all).map(|i| at(&list, i) != 0).collect(),
        (_, None, Some((n, dense_first))) => {
            let n = keys.count("attention.sliding_window_pattern").unwrap_or(n);
            let has_window = |i: u32| match n {
                0 => true,
                n if dense_first => !i.is_multiple_of(n),
                n => i % n < n - 1,
            };
            (0..hp.n_layer_all).map(|i| i < hp.n_layer() && has_window(i)).collect()
        }
        (_, None, None) => return,
    };
    if keys.arch() == "modern-bert" {
        let heads = keys.count("decision.block_count").unwrap_or(0);
        let first = hp.n_layer().saturating_sub(heads) as usize;
        hp.is_swa[first..].fill(false);
    }
    // Gemma keeps its own short-range base; the others rotate alike everywhere unless the file says otherwise.
    let own_base =
        ["gemma3", "gemma3n", "gemma4", "gemma4-assistant", "gemma-embedding", "modern-bert", "step35", "mimo2"];
    let default = if own_base.contains(&keys.arch()) { hp.rope_base_swa } else { hp.rope_base };
    hp.rope_base_swa = keys.float("rope.freq_base_swa").unwrap_or(default);
}

/// Multi-head latent attention, and the indexers of sparse attention.
fn latent_attention(hp: &mut HParams, keys: &Keys) {
    let count = |suffix| keys.count(suffix).unwrap_or(0);
    let arch = keys.arch();
    if matches!(
        arch,
        "bailingmoe3"
            | "deepseek2"
            | "mistral4"
            | "deepseek32"
            | "dots3note"
            | "glm-dsa"
            | "glm5-next"
            | "hy_v4"
            | "kimi-k3"
            | "kimi-linear"
    ) {
        let (k, v) = (count("attention.key_length_mla"), count("attention.value_length_mla"));
        hp.mla = (k != 0 && v != 0).then_some((k, v));
    }
    if !matches!(
        arch,
        "deepseek32" | "deepseek4" | "glm-dsa" | "hy_v4" | "dots3note" | "glm5-next" | "qwen4exp" | "minimax-m3"
    ) {
        return;
    }
    hp.indexer_head = count("attention.indexer.key_length");
    hp.indexer_top_k = count("attention.indexer.top_k");
    let layers = hp.n_layer_all;
    // The others have one in every layer, whatever a file says (`load_arch_hparams` does not read the key).
    let reads_types = matches!(arch, "dots3note" | "glm-dsa" | "glm5-next" | "hy_v4");
    let listed = if reads_types { keys.per_layer("attention.indexer.types", layers) } else { None };
    hp.indexer_full = match listed {
        Some(list) => list.iter().map(|&n| n != 0).collect(),
        // Where the file does not list them all have one; only in sparse layers in MiniMax M3.
        None if arch == "minimax-m3" => (0..layers).map(|i| i >= count("leading_dense_block_count")).collect(),
        None => vec![arch != "hy_v4"; layers as usize],
    };
}
