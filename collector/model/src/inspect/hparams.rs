//! Hyperparameters of a model with the defaults that llama.cpp fills in: `llama_model_base::load_hparams` of
//! src/llama-model.cpp and `llama_hparams`. What single architectures do on top of it is in `arch_rules`.

use super::arch_rules;
use super::keys::{Keys, MAX_LAYERS};

/// Which tokens a layer with a window sees (`llama_swa_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swa {
    /// All before it.
    #[default]
    None,
    /// The last ones.
    Standard,
    /// Those since the last multiple of the window.
    Chunked,
    /// Half a window on each side.
    Symmetric,
}

/// Sizes of state space layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssm {
    /// Width of the convolution.
    pub conv: u32,
    /// Inner size.
    pub inner: u32,
    /// State of each inner value.
    pub state: u32,
    /// Rank of the time step; heads in Mamba 2.
    pub dt_rank: u32,
    /// Groups.
    pub groups: u32,
}

/// What `llama_hparams` holds, as far as sizes and costs depend on it. Lists have one entry a layer.
#[derive(Clone, Debug, Default)]
pub struct HParams {
    /// Context that the model was trained on, in tokens.
    pub n_ctx_train: u32,
    /// Hidden size.
    pub n_embd: u32,
    /// Size of an output embedding, if it is another.
    pub n_embd_out: Option<u32>,
    /// Layers, with those at the end that predict further tokens.
    pub n_layer_all: u32,
    /// Layers at the end that only predict further tokens.
    pub n_layer_nextn: u32,
    /// Layers of the decoder of an encoder-decoder model.
    pub n_layer_dec: Option<u32>,
    /// Times that the layers in the file run, one after the other.
    pub n_loops: u32,
    /// The file says more layers than llama.cpp takes.
    pub too_many_layers: bool,
    /// Experts.
    pub n_expert: u32,
    /// Experts that a token uses.
    pub n_expert_used: Vec<u32>,
    /// Experts that every token uses.
    pub n_expert_shared: u32,
    /// Feed-forward size.
    pub n_ff: Vec<u32>,
    /// Feed-forward size of one expert.
    pub n_ff_exp: Vec<u32>,
    /// Query heads.
    pub n_head: Vec<u32>,
    /// Key and value heads.
    pub n_head_kv: Vec<u32>,
    /// Size of a key head.
    pub head_k: u32,
    /// Size of a value head.
    pub head_v: u32,
    /// Size of a key head in layers with a window.
    pub head_k_swa: u32,
    /// Size of a value head in layers with a window.
    pub head_v_swa: u32,
    /// Sizes of key and value heads before compression, where attention is multi-head latent (MLA).
    pub mla: Option<(u32, u32)>,
    /// Rank of the compressed queries.
    pub n_lora_q: u32,
    /// Rank of the compressed keys and values.
    pub n_lora_kv: u32,
    /// How windows slide.
    pub swa: Swa,
    /// Tokens of the window.
    pub n_swa: u32,
    /// Layers with the window.
    pub is_swa: Vec<bool>,
    /// Layers with a state.
    pub is_recr: Vec<bool>,
    /// Only so many layers from the start keep keys and values; later ones use theirs.
    pub n_layer_kv_from_start: Option<u32>,
    /// An extra attention layer that chooses adapters.
    pub router_layer: Option<u32>,
    /// State space sizes.
    pub ssm: Ssm,
    /// Size of an RWKV head.
    pub wkv_head_size: u32,
    /// Tokens that RWKV looks back.
    pub token_shift_count: u32,
    /// Width of a short convolution.
    pub shortconv_l_cache: u32,
    /// Head size of Kimi's delta attention.
    pub head_kda: u32,
    /// Head size of lightning attention.
    pub head_la: u32,
    /// Size of an indexer's key.
    pub indexer_head: u32,
    /// Most tokens that sparse attention looks at.
    pub indexer_top_k: u32,
    /// Layers that have an indexer of their own.
    pub indexer_full: Vec<bool>,
    /// Later tokens are hidden.
    pub causal: bool,
    /// `pooling_type` as the file says it.
    pub pooling: Option<u32>,
    /// Values of a head that are rotated.
    pub n_rot: u32,
    /// The same in layers with a window.
    pub n_rot_swa: u32,
    /// Base frequency of the rotation.
    pub rope_base: f64,
    /// The same in layers with a window.
    pub rope_base_swa: f64,
    /// Sections of the rotation.
    pub rope_sections: Vec<u32>,
}

impl HParams {
    /// Reads the metadata of an architecture. `has` says whether a tensor is there. Without `block_count` there are no
    /// layers.
    pub fn read(keys: &Keys, has: &dyn Fn(&str) -> bool) -> HParams {
        let count = |suffix| keys.count(suffix).unwrap_or(0);
        let said = count("block_count");
        let layers = said.min(MAX_LAYERS);
        let zeros = || vec![0; layers as usize];
        let n_head = keys.per_layer("attention.head_count", layers).unwrap_or_else(zeros);
        let mut hp = HParams {
            n_ctx_train: count("context_length"),
            n_embd: count("embedding_length"),
            n_embd_out: keys.count("embedding_length_out"),
            n_layer_all: layers,
            n_layer_nextn: count("nextn_predict_layers").min(layers),
            n_loops: 1,
            too_many_layers: said > MAX_LAYERS,
            n_expert: count("expert_count"),
            n_expert_used: keys.per_layer("expert_used_count", layers).unwrap_or_else(zeros),
            n_expert_shared: count("expert_shared_count"),
            n_ff: keys.per_layer("feed_forward_length", layers).unwrap_or_else(zeros),
            n_ff_exp: keys.per_layer("expert_feed_forward_length", layers).unwrap_or_else(zeros),
            n_head_kv: keys.per_layer("attention.head_count_kv", layers).unwrap_or_else(|| n_head.clone()),
            n_head,
            n_lora_q: count("attention.q_lora_rank"),
            n_lora_kv: count("attention.kv_lora_rank"),
            is_swa: vec![false; layers as usize],
            is_recr: vec![super::families::is_recurrent(keys.arch()); layers as usize],
            indexer_full: vec![false; layers as usize],
            token_shift_count: 2,
            causal: keys.flag("attention.causal").unwrap_or(true),
            pooling: keys.count("pooling_type"),
            rope_base: keys.float("rope.freq_base").unwrap_or(10_000.0),
            rope_base_swa: 10_000.0,
            rope_sections: keys.list("rope.dimension_sections").unwrap_or_default(),
            ..HParams::default()
        };
        hp.read_heads(keys);
        arch_rules::apply(&mut hp, keys, has);
        hp
    }

    /// Layers that a token passes through.
    pub fn n_layer(&self) -> u32 {
        self.n_layer_all.saturating_sub(self.n_layer_nextn)
    }

    fn read_heads(&mut self, keys: &Keys) {
        // As llama.cpp has it, the first layer decides; models without attention there have no head size.
        if let Some(even) = self.n_embd.checked_div(at(&self.n_head, 0)) {
            self.head_k = keys.count("attention.key_length").unwrap_or(even);
            self.head_v = keys.count("attention.value_length").unwrap_or(even);
            self.n_rot = keys.count("rope.dimension_count").unwrap_or(self.head_k);
        }
        self.head_k_swa = keys.count("attention.key_length_swa").unwrap_or(self.head_k);
        self.head_v_swa = keys.count("attention.value_length_swa").unwrap_or(self.head_v);
        self.n_rot_swa = keys.count("rope.dimension_count_swa").unwrap_or(self.n_rot);
    }

    /// Sizes of a key and a value head of a layer.
    pub fn heads(&self, layer: u32) -> (u32, u32) {
        match self.is_swa.get(layer as usize) {
            Some(true) => (self.head_k_swa, self.head_v_swa),
            _ => (self.head_k, self.head_v),
        }
    }

    /// Values of all keys of a token in a layer (`n_embd_k_gqa`).
    pub fn n_embd_k_gqa(&self, layer: u32) -> u64 {
        u64::from(self.heads(layer).0) * u64::from(at(&self.n_head_kv, layer))
    }

    /// Values of all values of a token in a layer (`n_embd_v_gqa`).
    pub fn n_embd_v_gqa(&self, layer: u32) -> u64 {
        u64::from(self.heads(layer).1) * u64::from(at(&self.n_head_kv, layer))
    }

    /// Whether the layer keeps keys and values of its own (`has_kv`).
    pub fn has_kv(&self, layer: u32) -> bool {
        self.n_layer_kv_from_start.is_none_or(|n| layer < n)
    }

    /// Values of the rolling state of a sequence in a layer (`n_embd_r`).
    pub fn n_embd_r(&self) -> u64 {
        let wide = u64::from;
        let heads = wide(at(&self.n_head, 0));
        let conv = wide(self.ssm.conv);
        if self.wkv_head_size != 0 {
            return wide(self.token_shift_count) * wide(self.n_embd);
        }
        if self.shortconv_l_cache != 0 {
            return wide(self.n_embd) * wide(self.shortconv_l_cache - 1);
        }
        if self.head_kda != 0 {
            let inner = heads * wide(self.head_kda);
            return inner.saturating_mul(3 * if conv > 0 { conv - 1 } else { 3 });
        }
        let width =
            wide(self.ssm.inner).saturating_add((2 * wide(self.ssm.groups)).saturating_mul(wide(self.ssm.state)));
        conv.saturating_sub(1).saturating_mul(width)
    }

    /// Values of the recurrent state of a sequence in a layer (`n_embd_s`).
    pub fn n_embd_s(&self) -> u64 {
        let wide = u64::from;
        let heads = wide(at(&self.n_head, 0));
        let square = |size: u32| wide(size).saturating_mul(wide(size)).saturating_mul(heads);
        if self.wkv_head_size != 0 {
            return wide(self.n_embd) * wide(self.wkv_head_size);
        }
        if self.head_kda != 0 {
            return square(self.head_kda);
        }
        if self.head_la != 0 {
            return square(self.head_la);
        }
        wide(self.ssm.state) * wide(self.ssm.inner)
    }
}

/// The entry of a layer, 0 if there is none.
pub fn at(list: &[u32], layer: u32) -> u32 {
    list.get(layer as usize).copied().unwrap_or(0)
}
