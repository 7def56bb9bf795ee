//! What the leaves of a graph are for, told from their use: the operator that takes one, and as which source. Views,
//! copies and casts are looked through. A leaf that no known use explains is named after its name in llama.cpp.

use super::layers::{base_name, cache, copied_node};
use crate::StoredGraph;
use ggscope_format::TensorId;
use ggscope_format::record::{BufferUsage, Graph, Tensor, TensorFlags};
use std::collections::{BTreeSet, HashMap};

/// One use of a leaf by a node that is more than another look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The node.
    pub node: TensorId,
    /// As which source.
    pub source: usize,
}

fn source(tensor: &Tensor, i: usize) -> Option<TensorId> {
    tensor.src.get(i).copied().flatten()
}

fn is_passed_on(op: &str) -> bool {
    matches!(op, "VIEW" | "RESHAPE" | "PERMUTE" | "TRANSPOSE" | "CONT" | "CPY" | "CAST" | "DUP")
}

/// All uses of leaves, looking through views, copies and casts.
pub fn uses(graph: &Graph) -> HashMap<TensorId, Vec<Use>> {
    // The leaf that a tensor's bytes are another form of.
    let mut leaf_of: Vec<Option<TensorId>> = vec![None; graph.tensors.len()];
    for (id, _) in graph.leaves() {
        leaf_of[id.index()] = Some(id);
    }
    let mut uses: HashMap<TensorId, Vec<Use>> = HashMap::new();
    for (id, tensor) in graph.nodes() {
        let passed_on = is_passed_on(graph.op(tensor));
        if passed_on {
            leaf_of[id.index()] = source(tensor, 0).and_then(|s| leaf_of[s.index()]);
        }
        for (i, from) in tensor.src.iter().enumerate() {
            let Some(leaf) = from.and_then(|s| leaf_of[s.index()]) else { continue };
            if !(passed_on && i == 0) {
                uses.entry(leaf).or_default().push(Use { node: id, source: i });
            }
        }
    }
    uses
}

/// Whether a leaf is a weight: its bytes came from a model's file, or lie where a program keeps weights.
pub fn is_weight(stored: &StoredGraph, leaf: TensorId) -> bool {
    let buffer = stored.graph.tensor(leaf).and_then(|t| stored.graph.buffers.get(usize::from(t.buffer?)));
    stored.origin(leaf).is_some() || buffer.is_some_and(|buffer| buffer.usage == BufferUsage::Weights)
}

/// What a leaf is for.
pub fn meaning(stored: &StoredGraph, leaf: TensorId, uses: &[Use]) -> String {
    let graph = &stored.graph;
    let Some(tensor) = graph.tensor(leaf) else { return "unknown".into() };
    let base = base_name(&tensor.name);
    if let Some((kind, _)) = cache(base) {
        return match kind {
            "k" => "K cache".into(),
            "v" => "V cache".into(),
            "r" | "s" => "recurrent state".into(),
            other => format!("cache ({other})"),
        };
    }
    if is_weight(stored, leaf) {
        return if base.starts_with("rope_freqs") || base.starts_with("rope_factors") {
            "weight (RoPE frequencies)".into()
        } else {
            "weight".into()
        };
    }
    if copied_node(graph, leaf).is_some() {
        return "copy of a node, for a device".into();
    }
    let by_use: BTreeSet<String> = uses.iter().filter_map(|&u| by_use(graph, u)).collect();
    if !by_use.is_empty() {
        return by_use.into_iter().collect::<Vec<_>>().join(", ");
    }
    let is_input = tensor.flags.has(TensorFlags::INPUT);
    if let Some(known) = by_name(base) {
        return known.into();
    }
    if !is_input && graph.nodes().any(|(_, node)| is_write(graph, node, leaf)) {
        return "recurrent state".into();
    }
    let ops: BTreeSet<&str> = uses.iter().filter_map(|u| Some(graph.op(graph.tensor(u.node)?))).collect();
    match (ops.is_empty(), is_input) {
        (true, _) => "unknown".into(),
        (false, true) => format!("input of {}", ops.into_iter().collect::<Vec<_>>().join(", ")),
        (false, false) => format!("operand of {}", ops.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

/// Whether a node changes a leaf in place: what it holds goes on to the next evaluation.
fn is_write(graph: &Graph, node: &Tensor, leaf: TensorId) -> bool {
    let is_look = matches!(graph.op(node), "VIEW" | "RESHAPE" | "PERMUTE" | "TRANSPOSE" | "NONE");
    node.view.is_some_and(|(root, _)| root == leaf) && !is_look
}

fn by_use(graph: &Graph, Use { node, source: i }: Use) -> Option<String> {
    let tensor = graph.tensor(node)?;
    let op = graph.op(tensor);
    let first = source(tensor, 0);
    let is_leaf = |id: TensorId| id.0 >= graph.n_nodes;
    let meaning = match (op, i) {
        ("GET_ROWS", 1) => {
            let rows = first?;
            let rows_of = base_name(graph.tensor(root(graph, rows)).map_or("", |t| &t.name)).to_owned();
            if rows_of.starts_with("token_embd") || rows_of.starts_with("per_layer_token_embd") {
                "token ids"
            } else if rows_of.starts_with("position_embd") {
                "positions"
            } else if rows_of.starts_with("token_types") {
                "token types"
            } else if rows_of.contains("attn_rel_b") {
                "relative position buckets"
            } else if matches!(cache(&rows_of), Some(("r" | "s", _))) {
                "which recurrent state each sequence continues"
            } else if cache(&rows_of).is_some() {
                "which cache rows are read"
            } else if !is_leaf(rows) {
                "output rows"
            } else {
                "row numbers"
            }
        }
        ("ROPE", 1) => "positions for RoPE",
        ("ROPE", 2) => "RoPE frequencies",
        ("SET_ROWS", 1) => match root_cache(graph, node) {
            Some("k") => "KV write positions (K)",
            Some("v") => "KV write positions (V)",
            Some(_) => "cache write positions",
            None => "write positions",
        },
        ("SOFT_MAX", 1) | ("FLASH_ATTN_EXT", 3) => "attention mask",
        ("SOFT_MAX", 2) | ("FLASH_ATTN_EXT", 4) => "attention sinks",
        ("SSM_SCAN", 6) => "which recurrent state each sequence continues",
        ("MUL_MAT_ID", 2) => "expert ids",
        ("FILL", 0) => "memory that the graph fills",
        ("LIGHTNING_INDEXER", 3) => "indexer mask",
        _ => return by_name(base_name(&graph.tensor(leaf_under(graph, tensor, i)?)?.name)).map(str::to_owned),
    };
    Some(meaning.to_owned())
}

fn leaf_under(graph: &Graph, tensor: &Tensor, i: usize) -> Option<TensorId> {
    let mut id = source(tensor, i)?;
    // Nodes only look back, so this ends.
    while id.0 < graph.n_nodes {
        let next = source(graph.tensor(id)?, 0)?;
        if next.0 >= id.0 && next.0 < graph.n_nodes {
            return None;
        }
        id = next;
    }
    Some(id)
}

/// The tensor at the bottom of views.
fn root(graph: &Graph, id: TensorId) -> TensorId {
    graph.tensor(id).and_then(|t| t.view).map_or(id, |(root, _)| root)
}

fn root_cache(graph: &Graph, id: TensorId) -> Option<&str> {
    cache(base_name(&graph.tensor(root(graph, id))?.name)).map(|(kind, _)| kind)
}

/// The inputs that llama.cpp names and that operators of many kinds take.
fn by_name(base: &str) -> Option<&'static str> {
    Some(match base {
        "inp_tokens" | "inp_mixed_tokens" => "token ids",
        "inp_embd" | "inp_mixed_embd" => "input embeddings",
        "inp_mixed_slots" => "which tokens come as ids",
        "inp_scale_rows" => "embedding scale of each token",
        "inp_pos" => "positions",
        "inp_attn_scale" => "attention temperature of each token",
        "out_ids" => "output rows",
        "mean" => "mean pooling weights",
        "cls" => "pooled rows",
        "cross_embd" => "encoder output",
        "pos_bucket_enc" | "pos_bucket_dec" => "relative position buckets",
        "slopes" => "decay slopes",
        "q_decay_exp" | "k_decay_exp" | "diag_decay_exp" => "decay",
        "rs_s_copy" => "which recurrent state each sequence continues",
        "attn_inp_k_idxs" => "KV write positions (K)",
        "attn_inp_v_idxs" => "KV write positions (V)",
        "attn_inp_k_rot" | "attn_inp_v_rot" => "cache rotation",
        "logit_bias" => "logit bias",
        "logit_idxs" => "which logits are biased",
        "penalties_token_ids" => "token ids with penalties",
        "penalties_counts" => "counts for penalties",
        name if name.contains("kq_mask") => "attention mask",
        name if name.starts_with("uniform_") => "random numbers for sampling",
        name if name.ends_with("mtp_h_input") => "hidden state for the next-token head",
        name if name.contains(".lora_") => "LoRA weight",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, Shape, llama};

    fn meanings(stored: &StoredGraph) -> HashMap<String, String> {
        let uses = uses(&stored.graph);
        let of = |id| uses.get(&id).map_or(&[][..], Vec::as_slice);
        stored.graph.leaves().map(|(id, t)| (t.name.clone(), meaning(stored, id, of(id)))).collect()
    }

    #[test]
    fn the_demo_models_leaves_are_told_from_their_use() {
        let mut stored = llama(0, Shape::default());
        // Names do not help: the shim of another release may see none.
        for tensor in stored.graph.tensors.iter_mut().filter(|t| t.name.contains("inp_") || t.name == "out_ids") {
            tensor.name = tensor.name.replace("inp_", "x_").replace("out_", "y_");
        }
        let meanings = meanings(&stored);
        for (name, meaning) in [
            ("x_tokens", "token ids"),
            ("x_pos", "positions for RoPE"),
            ("attn_x_k_idxs", "KV write positions (K)"),
            ("attn_x_v_idxs", "KV write positions (V)"),
            ("attn_x_kq_mask", "attention mask"),
            ("y_ids", "output rows"),
            ("token_embd.weight", "weight"),
            ("blk.3.attn_q.weight", "weight"),
            ("cache_k_l3", "K cache"),
            ("cache_v_l3", "V cache"),
        ] {
            assert_eq!(meanings[name], meaning, "{name}");
        }
        assert_eq!(stored.graph.leaves().count(), meanings.len());
    }

    #[test]
    fn states_and_inputs_without_a_known_use_have_a_meaning_all_the_same() {
        let mut b = Builder::default();
        let state = b.cache("mamba_conv1d_state-1", &[64, 2]);
        let x = b.input("leaf_7", Some(0), &[64, 2]);
        let decay = b.input("q_decay_exp", Some(0), &[64, 2]);
        let shape = b.cache("leaf_9", &[64, 2]);
        let look = b.look("mamba_conv1d_state-1 (view)", "VIEW", &[64, 2], state);
        b.node("conv", "CONCAT", &[64, 4], &[look, x]);
        b.node("decay", "EXP", &[64, 2], &[decay]);
        b.node("zeros", "FILL", &[64, 2], &[shape]);
        let written = b.look("mamba_conv1d_state-1 (view)", "CPY", &[64, 2], state);
        b.node("after", "SQR", &[64, 2], &[written]);
        let meanings = meanings(&b.finish(0, "m.gguf"));
        assert_eq!(meanings["mamba_conv1d_state-1"], "recurrent state");
        assert_eq!(meanings["leaf_7"], "input of CONCAT");
        assert_eq!(meanings["q_decay_exp"], "decay");
        assert_eq!(meanings["leaf_9"], "memory that the graph fills");
    }

    #[test]
    fn a_leaf_is_followed_through_views_and_copies() {
        let mut b = Builder::default();
        let mask = b.input("m", None, &[64]);
        let q = b.input("q", None, &[64]);
        let factors = b.input("leaf_3", None, &[64]);
        let copied = b.node("m (copy)", "CPY", &[64], &[mask]);
        let view = b.look("m (copy) (view)", "VIEW", &[64], copied);
        b.node("s", "SOFT_MAX", &[64], &[q, view]);
        b.node("r", "ROPE", &[64], &[q, q, factors]);
        let meanings = meanings(&b.finish(0, "m.gguf"));
        assert_eq!(meanings["m"], "attention mask");
        assert_eq!(meanings["leaf_3"], "RoPE frequencies");
    }
}
