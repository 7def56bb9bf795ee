//! What a tensor's name says in llama.cpp: which layer it is of (`Qcur-7`, `blk.7.attn_q.weight`, `cache_k_l7 (view)`), which
//! cache it is, and which node a device's copy is of. A name breaks ties; what feeds what decides.

/// What a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It names a layer.
    Layer(u32),
    /// It is a name, but of no layer.
    Other,
    /// ggml made it up, or it is empty.
    Nothing,
}

/// The name of the tensor that the scheduler copied to a device: `Qcur-0 (view)` for `CUDA0#Qcur-0 (view)#0`.
pub fn copied_name(name: &str) -> Option<&str> {
    let (device_and_name, copy) = name.rsplit_once('#')?;
    copy.parse::<u32>().ok()?;
    Some(device_and_name.split_once('#')?.1)
}

/// The name of the tensor at the bottom of views and copies: `cache_k_l0` for `cache_k_l0 (view) (permuted)` and for
/// `CUDA0#cache_k_l0 (view)#0`, the scheduler's copy.
pub fn base_name(name: &str) -> &str {
    let base = copied_name(name).unwrap_or(name);
    base.split_once(" (").map_or(base, |(base, _)| base)
}

/// A number without a sign.
pub(crate) fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Layer and kind (`k`, `v`, `r`, `s`, …) of a cache by its name (`cache_k_l7`).
pub fn cache(base: &str) -> Option<(&str, u32)> {
    let (kind, layer) = base.strip_prefix("cache_")?.rsplit_once("_l")?;
    Some((kind.rsplit('_').next().unwrap_or(kind), number(layer)?))
}

/// The layer of a weight by its name in the file: 7 for `blk.7.attn_q.weight` and `dec.blk.7.cross_attn_q.weight`.
pub fn weight_layer(name: &str) -> Option<u32> {
    let base = base_name(name);
    let at = base.find("blk.").filter(|&at| at == 0 || base.as_bytes()[at - 1] == b'.')?;
    base[at + 4..].split('.').next().and_then(number)
}

/// What a tensor's name says.
pub fn named(name: &str) -> Named {
    let base = base_name(name);
    let made_up = |prefix: &str| base.strip_prefix(prefix).and_then(number).is_some();
    if base.is_empty() || made_up("leaf_") || made_up("node_") {
        return Named::Nothing;
    }
    let of_cache = || cache(base).map(|(_, layer)| layer);
    let of_state = || base.strip_prefix("dsv4_").and_then(|s| number(s.rsplit_once("_l")?.1));
    let of_suffix = || number(base.rsplit_once('-')?.1);
    weight_layer(base).or_else(of_cache).or_else(of_state).or_else(of_suffix).map_or(Named::Other, Named::Layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_layer_through_views_and_copies() {
        let layer = |name| match named(name) {
            Named::Layer(layer) => Some(layer),
            _ => None,
        };
        for name in [
            "Qcur-7",
            "Qcur-7 (reshaped)",
            "blk.7.attn_q.weight",
            "cache_k_l7",
            "cache_v_l7 (view) (permuted)",
            "cache_k_l7 (copy of Kcur-7)",
            "cache_r_l7",
            "CUDA0#Qcur-7 (view)#0",
            "dec.blk.7.cross_attn_q.weight",
            "ffn_sqr(relu)-7",
        ] {
            assert_eq!(layer(name), Some(7), "{name}");
        }
        for name in ["leaf_7", "node_7", "node_7 (view)", "", " (view)", "#", "##", "a#b#c"] {
            assert_eq!(layer(name), None, "{name}");
        }
        for name in ["result_norm", "token_embd.weight", "inp_pos", "x-", "blk.x.y", "cache_k_l", "-99999999999"] {
            assert_eq!(named(name), Named::Other, "{name}");
        }
        assert_eq!(named("node_7 (view)"), Named::Nothing);
        assert_eq!((weight_layer("enc.blk.3.attn_q.weight"), weight_layer("Qcur-3")), (Some(3), None));
    }
}
