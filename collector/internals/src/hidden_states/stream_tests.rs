use super::super::head::Step;
use super::*;
use crate::hidden_states::part::Part;
use ggscope_trace::testing::{Builder, Shape, llama};

fn stream(stored: ggscope_trace::StoredGraph) -> (GraphView, Stream) {
    let view = GraphView::new(stored.into());
    let stream = Stream::of(&view);
    (view, stream)
}

fn name(view: &GraphView, id: TensorId) -> &str {
    &view.stored.graph.tensor(id).unwrap().name
}

/// Names of the points, how they came, and whether rows were chosen.
fn points<'a>(view: &'a GraphView, stream: &Stream) -> Vec<(&'a str, Vec<Part>, bool)> {
    let of = |p: &Point| {
        let parts =
            if let From::Added(parts) = &p.from { parts.iter().map(|p| p.origin.part).collect() } else { vec![] };
        (name(view, p.tensor), parts, p.selected)
    };
    stream.points.iter().map(of).collect()
}

#[test]
fn the_demo_models_stream_has_two_additions_a_layer_and_only_output_rows_in_the_last() {
    let (view, stream) = stream(llama(0, Shape { n_tokens: 5, ..Shape::default() }));
    let found = points(&view, &stream);
    assert_eq!(found.len(), 61);
    assert_eq!(found[0], ("embd", vec![], false));
    assert_eq!(found[1], ("ffn_inp-0", vec![Part::Attention], false));
    assert_eq!(found[2], ("l_out-0", vec![Part::FeedForward], false));
    assert_eq!(found[58], ("l_out-28", vec![Part::FeedForward], false));
    assert_eq!(found[59], ("ffn_inp-29", vec![Part::Attention], true));
    assert_eq!(found[60], ("l_out-29", vec![Part::FeedForward], true));
    let layers: Vec<_> = stream.layer_ends().iter().map(|&i| stream.points[i].layer).collect();
    assert_eq!(layers, [None].into_iter().chain((0..30).map(Some)).collect::<Vec<_>>());
}

#[test]
fn norms_units_and_the_head_are_found_with_their_weights() {
    let (view, stream) = stream(llama(0, Shape::default()));
    let norms: Vec<_> = stream.norms.iter().map(|n| (n.point, name(&view, n.output))).collect();
    assert_eq!(norms.len(), 61);
    assert_eq!(norms[..3], [(0, "attn_norm-0"), (1, "ffn_norm-0"), (2, "attn_norm-1")]);
    assert_eq!(norms[60], (60, "result_norm"));
    assert_eq!(stream.units.len(), 30);
    assert_eq!(name(&view, stream.units[7].activation), "ffn_swiglu-7");
    let (gate, kind) = stream.units[7].gate.unwrap();
    assert_eq!((name(&view, gate), kind), ("ffn_gate-7", Gate::Silu));
    let head = stream.head.unwrap();
    assert_eq!(name(&view, head.logits), "result_output");
    let [Step::RmsNorm(_), Step::Mul(norm), Step::Matrix(matrix)] = head.steps[..] else { panic!("{:?}", head.steps) };
    assert_eq!((name(&view, norm), name(&view, matrix)), ("output_norm.weight", "token_embd.weight"));
}

/// A block that reads the stream: a norm, and a matrix; with attention inside if wanted.
fn block(b: &mut Builder, stream: usize, name: &str, with_attention: bool) -> usize {
    let w = b.weight(&format!("blk.0.{name}.weight"), true, &[64, 64]);
    let norm = b.node("norm-0", "RMS_NORM", &[64, 4], &[stream]);
    let mut inner = b.node(&format!("{name}_in-0"), "MUL_MAT", &[64, 4], &[w, norm]);
    if with_attention {
        let mask = b.input("mask", None, &[4, 4]);
        inner = b.node("attn-0", "FLASH_ATTN_EXT", &[64, 4], &[inner, inner, inner, mask]);
    }
    b.node(&format!("{name}_out-0"), "MUL_MAT", &[64, 4], &[w, inner])
}

fn start(b: &mut Builder) -> usize {
    let (table, ids) = (b.weight("token_embd.weight", true, &[64, 64]), b.input("inp_tokens", None, &[4]));
    b.node("inp_embd", "GET_ROWS", &[64, 4], &[table, ids])
}

fn finish(mut b: Builder, end: usize) -> (GraphView, Stream) {
    let w = b.weight("output.weight", true, &[64, 64]);
    let norm = b.node("norm", "RMS_NORM", &[64, 4], &[end]);
    let logits = b.node("result_output", "MUL_MAT", &[64, 4], &[w, norm]);
    let capped = b.node("node_9", "SCALE", &[64, 4], &[logits]);
    b.node("result_output", "TANH", &[64, 4], &[capped]);
    stream(b.finish(0, "m.gguf"))
}

#[test]
fn blocks_that_run_beside_each_other_are_two_parts_whichever_way_they_are_added() {
    let both = vec![Part::Attention, Part::FeedForward];
    // GPT-J: attention + feed-forward, then the stream.
    let mut b = Builder::default();
    let x = start(&mut b);
    let (attn, ffn) = (block(&mut b, x, "attn", true), block(&mut b, x, "ffn", false));
    let sum = b.node("node_1", "ADD", &[64, 4], &[attn, ffn]);
    let out = b.node("l_out-0", "ADD", &[64, 4], &[sum, x]);
    let (view, found) = finish(b, out);
    assert_eq!(points(&view, &found), [("inp_embd", vec![], false), ("l_out-0", both, false)]);
    // GPT-NeoX: feed-forward + the stream, then attention.
    let mut b = Builder::default();
    let x = start(&mut b);
    let (attn, ffn) = (block(&mut b, x, "attn", true), block(&mut b, x, "ffn", false));
    let sum = b.node("node_1", "ADD", &[64, 4], &[ffn, x]);
    let out = b.node("l_out-0", "ADD", &[64, 4], &[sum, attn]);
    let (view, found) = finish(b, out);
    let expected = [
        ("inp_embd", vec![], false),
        ("node_1", vec![Part::FeedForward], false),
        ("l_out-0", vec![Part::Attention], false),
    ];
    assert_eq!(points(&view, &found), expected);
}

#[test]
fn norms_behind_the_blocks_are_places_of_the_stream() {
    // BERT: norm(attention + stream) with weight and bias.
    let mut b = Builder::default();
    let mut x = start(&mut b);
    for (name, with_attention) in [("attn", true), ("ffn", false)] {
        let out = block(&mut b, x, name, with_attention);
        let sum = b.node(&format!("{name}_add-0"), "ADD", &[64, 4], &[out, x]);
        let norm = b.node("norm-0", "NORM", &[64, 4], &[sum]);
        let (w, bias) = (b.weight("blk.0.norm.weight", false, &[64]), b.weight("blk.0.norm.bias", false, &[64]));
        let scaled = b.node("norm_w-0", "MUL", &[64, 4], &[norm, w]);
        x = b.node(&format!("{name}_norm-0"), "ADD", &[64, 4], &[scaled, bias]);
    }
    let (view, found) = stream(b.finish(0, "m.gguf"));
    let names: Vec<&str> = found.points.iter().map(|p| name(&view, p.tensor)).collect();
    assert_eq!(names, ["inp_embd", "attn_add-0", "attn_norm-0", "ffn_add-0", "ffn_norm-0"]);
    assert_eq!(found.points[2].from, From::Normed);
    assert!(matches!(&found.points[3].from, From::Added(parts) if parts[0].origin.part == Part::FeedForward));
    assert_eq!(found.head, None, "an embedding model has no output matrix");
}

#[test]
fn the_head_keeps_what_the_architecture_does_behind_the_matrix() {
    let mut b = Builder::default();
    let x = start(&mut b);
    let attn = block(&mut b, x, "attn", true);
    let out = b.node("l_out-0", "ADD", &[64, 4], &[attn, x]);
    let (_, found) = finish(b, out);
    let steps = found.head.unwrap().steps;
    assert!(matches!(steps[..], [Step::RmsNorm(_), Step::Matrix(_), Step::Scale { .. }, Step::Tanh]), "{steps:?}");
}

#[test]
fn a_recurrent_block_adds_a_state() {
    let mut b = Builder::default();
    let x = start(&mut b);
    let w = b.weight("blk.0.ssm_out.weight", true, &[64, 64]);
    let norm = b.node("norm-0", "RMS_NORM", &[64, 4], &[x]);
    let scan = b.node("scan-0", "SSM_SCAN", &[64, 4], &[norm]);
    let part = b.node("ssm_out-0", "MUL_MAT", &[64, 4], &[w, scan]);
    let out = b.node("l_out-0", "ADD", &[64, 4], &[part, x]);
    let (view, found) = finish(b, out);
    assert_eq!(points(&view, &found)[1], ("l_out-0", vec![Part::State], false));
}

#[test]
fn a_graph_without_layers_has_no_stream() {
    let mut b = Builder::default();
    let x = start(&mut b);
    b.node("node_1", "SQR", &[64, 4], &[x]);
    assert_eq!(stream(b.finish(0, "m.gguf")).1.points, []);
}

/// A product with a weight of layer 0, and an adapter on it if wanted.
fn product(b: &mut Builder, name: &str, input: usize, adapted: bool) -> usize {
    let w = b.weight(&format!("blk.0.{name}.weight"), true, &[64, 64]);
    let product = b.node("node_1", "MUL_MAT", &[64, 4], &[w, input]);
    if adapted { lora(b, name, input, product) } else { product }
}

/// What a product with a weight of layer 0 gives, and an adapter on the weight.
fn lora(b: &mut Builder, name: &str, input: usize, product: usize) -> usize {
    let down = b.weight(&format!("blk.0.{name}.weight.lora_a"), false, &[64, 2]);
    let up = b.weight(&format!("blk.0.{name}.weight.lora_b"), false, &[2, 64]);
    let narrow = b.node("node_2", "MUL_MAT", &[2, 4], &[down, input]);
    let wide = b.node("node_3", "MUL_MAT", &[64, 4], &[up, narrow]);
    let scaled = b.node(&format!("{name}_adapter"), "SCALE", &[64, 4], &[wide]);
    b.node(&format!("{name}_sum"), "ADD", &[64, 4], &[product, scaled])
}

#[test]
fn adapters_and_control_vectors_are_parts_of_their_own() {
    let mut b = Builder::default();
    let x = start(&mut b);
    let norm = b.node("norm-0", "RMS_NORM", &[64, 4], &[x]);
    let mask = b.input("mask", None, &[4, 4]);
    let q = product(&mut b, "attn_q", norm, true);
    let heads = b.node("attn-0", "FLASH_ATTN_EXT", &[64, 4], &[q, q, q, mask]);
    let out = product(&mut b, "attn_output", heads, true);
    let inp = b.node("ffn_inp-0", "ADD", &[64, 4], &[out, x]);
    let norm = b.node("norm-0", "RMS_NORM", &[64, 4], &[inp]);
    let ffn = product(&mut b, "ffn_down", norm, false);
    let sum = b.node("node_4", "ADD", &[64, 4], &[ffn, inp]);
    let vector = b.weight("leaf_5", false, &[64]);
    let steered = b.node("l_out-0", "ADD", &[64, 4], &[sum, vector]);
    let (view, found) = finish(b, steered);
    let expected = [
        ("inp_embd", vec![], false),
        ("ffn_inp-0", vec![Part::Attention, Part::Adapter], false),
        ("node_4", vec![Part::FeedForward], false),
        ("l_out-0", vec![Part::ControlVector], false),
    ];
    assert_eq!(points(&view, &found), expected);
    let From::Added(parts) = &found.points[1].from else { panic!("{:?}", found.points[1]) };
    assert_eq!(
        parts.iter().map(|p| (name(&view, p.tensor), p.rest)).collect::<Vec<_>>(),
        [("attn_output_sum", true), ("attn_output_adapter", false)]
    );
    assert_eq!(found.points.iter().map(|p| p.layer).collect::<Vec<_>>(), [None, Some(0), Some(0), Some(0)]);
    let [attention, adapter] = [0, 1].map(|i| parts[i].origin.clone());
    assert_eq!((attention.matrix.as_deref(), &attention.adapter), (Some("blk.0.attn_output.weight"), &None));
    assert_eq!(adapter.matrix, attention.matrix);
    assert_eq!(adapter.adapter.as_ref().unwrap().tensor, "blk.0.attn_output.weight.lora_a");
    let From::Added(parts) = &found.points[2].from else { panic!("{:?}", found.points[2]) };
    assert_eq!(parts[0].origin.matrix.as_deref(), Some("blk.0.ffn_down.weight"));
    let chosen: Vec<&str> = found.chosen.adapters().map(|id| name(&view, TensorId(id))).collect();
    assert_eq!(chosen, ["blk.0.attn_output.weight.lora_a", "blk.0.attn_output.weight.lora_b"]);
}

#[test]
fn two_adapters_on_one_matrix_are_told_apart_whichever_of_them_a_graph_has() {
    // The adapters in use: their matrices lie where they lie in all graphs.
    let origins = |used: [bool; 2]| {
        let mut b = Builder::default();
        let x = start(&mut b);
        let norm = b.node("norm-0", "RMS_NORM", &[64, 4], &[x]);
        let mut out = product(&mut b, "ffn_down", norm, false);
        for used in used {
            let adapted = lora(&mut b, "ffn_down", norm, out);
            out = if used { adapted } else { out };
        }
        let out = b.node("l_out-0", "ADD", &[64, 4], &[out, x]);
        let (_, found) = finish(b, out);
        let From::Added(parts) = &found.points[1].from else { panic!("{:?}", found.points[1]) };
        parts.iter().map(|part| part.origin.clone()).collect::<Vec<_>>()
    };
    let (both, first, second) = (origins([true, true]), origins([true, false]), origins([false, true]));
    assert_eq!((both.len(), first.len(), second.len()), (3, 2, 2));
    assert_eq!((&first[0], &second[0]), (&both[0], &both[0]), "the block");
    assert_ne!(first[1], second[1]);
    assert!(both.contains(&first[1]) && both.contains(&second[1]));
}

#[test]
fn an_adapter_on_the_output_matrix_is_a_step_of_the_head() {
    let mut b = Builder::default();
    let x = start(&mut b);
    let attn = block(&mut b, x, "attn", true);
    let out = b.node("l_out-0", "ADD", &[64, 4], &[attn, x]);
    let (norm, w) = (b.node("result_norm", "RMS_NORM", &[64, 4], &[out]), b.weight("output.weight", true, &[64, 64]));
    let logits = b.node("node_7", "MUL_MAT", &[64, 4], &[w, norm]);
    let (a, c) = (b.weight("output.weight.lora_a", false, &[64, 2]), b.weight("output.weight.lora_b", false, &[2, 64]));
    let narrow = b.node("node_8", "MUL_MAT", &[2, 4], &[a, norm]);
    let wide = b.node("node_9", "MUL_MAT", &[64, 4], &[c, narrow]);
    let scaled = b.node("node_10", "SCALE", &[64, 4], &[wide]);
    b.node("node_11", "ADD", &[64, 4], &[logits, scaled]);
    let (view, found) = stream(b.finish(0, "m.gguf"));
    assert_eq!(points(&view, &found)[1], ("l_out-0", vec![Part::Attention], false));
    let head = found.head.unwrap();
    assert_eq!(name(&view, head.logits), "node_11", "found without a name");
    assert!(matches!(head.steps[..], [Step::RmsNorm(_), Step::Matrix(_), Step::Adapter(_)]), "{:?}", head.steps);
}

#[test]
fn a_bias_behind_a_norm_and_one_of_the_model_are_no_control_vectors() {
    let mut b = Builder::default();
    let x = start(&mut b);
    let attn = block(&mut b, x, "attn", true);
    let sum = b.node("node_1", "ADD", &[64, 4], &[attn, x]);
    let bias = b.weight("blk.0.attn_output.bias", false, &[64]);
    let biased = b.node("ffn_inp-0", "ADD", &[64, 4], &[sum, bias]);
    let norm = b.node("norm-0", "NORM", &[64, 4], &[biased]);
    let unnamed = b.weight("leaf_9", false, &[64]);
    let normed = b.node("normed-0", "ADD", &[64, 4], &[norm, unnamed]);
    let ffn = product(&mut b, "ffn_down", normed, false);
    let out = b.node("l_out-0", "ADD", &[64, 4], &[ffn, normed]);
    let (view, found) = finish(b, out);
    let kinds: Vec<_> = points(&view, &found).into_iter().map(|(name, parts, _)| (name, parts)).collect();
    let ffn = ("l_out-0", vec![Part::FeedForward]);
    assert_eq!(kinds, [("inp_embd", vec![]), ("ffn_inp-0", vec![Part::Attention]), ("normed-0", vec![]), ffn]);
}

#[test]
fn layers_that_share_weights_are_told_apart_by_their_names() {
    let mut b = Builder::default();
    let mut x = start(&mut b);
    for (layer, of_weights) in [(0, 0), (1, 1), (2, 0)] {
        let w = b.weight(&format!("blk.{of_weights}.ffn_down.weight"), true, &[64, 64]);
        let norm = b.node(&format!("norm-{layer}"), "RMS_NORM", &[64, 4], &[x]);
        let ffn = b.node(&format!("ffn_out-{layer}"), "MUL_MAT", &[64, 4], &[w, norm]);
        x = b.node(&format!("l_out-{layer}"), "ADD", &[64, 4], &[ffn, x]);
    }
    let (_, found) = finish(b, x);
    let layers: Vec<_> = found.points.iter().map(|p| p.layer).collect();
    assert_eq!(layers, [None, Some(0), Some(1), Some(2)]);
}

#[test]
fn the_stack_is_that_of_the_weights() {
    for (prefix, stack) in [("enc.", Some(Stack::Encoder)), ("dec.", Some(Stack::Decoder)), ("", None)] {
        let mut b = Builder::default();
        let x = start(&mut b);
        let w = b.weight(&format!("{prefix}blk.0.ffn_down.weight"), true, &[64, 64]);
        let norm = b.node("norm-0", "RMS_NORM", &[64, 4], &[x]);
        let ffn = b.node("ffn_out-0", "MUL_MAT", &[64, 4], &[w, norm]);
        let out = b.node("l_out-0", "ADD", &[64, 4], &[ffn, x]);
        assert_eq!(finish(b, out).1.stack, stack, "{prefix}");
    }
}

#[test]
fn a_norm_behind_the_last_block_is_a_place_of_its_layer_and_no_step_of_the_head() {
    let mut b = Builder::default();
    let x = start(&mut b);
    let attn = block(&mut b, x, "attn", true);
    let sum = b.node("node_1", "ADD", &[64, 4], &[attn, x]);
    let norm = b.node("norm", "NORM", &[64, 4], &[sum]);
    let weight = b.weight("blk.0.layer_out_norm.weight", false, &[64]);
    let out = b.node("node_2", "MUL", &[64, 4], &[norm, weight]);
    let (view, found) = finish(b, out);
    let last = found.points.last().unwrap();
    assert_eq!((name(&view, last.tensor), last.layer, &last.from), ("node_2", Some(0), &From::Normed));
    assert!(matches!(found.head.unwrap().steps[..2], [Step::RmsNorm(_), Step::Matrix(_)]));
}
