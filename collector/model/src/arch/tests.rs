use super::*;
use crate::testing::{self as models, Fixture};
use std::collections::BTreeMap;

fn graph(fixture: &Fixture, schema: Schema) -> ArchGraph {
    let gguf = fixture.model();
    let (architecture, _) = Architecture::of(&gguf);
    ArchGraph::of(&gguf, &architecture, schema).unwrap()
}

fn standard(fixture: &Fixture) -> ArchGraph {
    graph(fixture, Schema::Standard)
}

fn count(graph: &ArchGraph, kind: EdgeKind) -> usize {
    graph.edges().filter(|e| e.kind == kind).count()
}

fn kinds(graph: &ArchGraph) -> BTreeMap<NodeKind, usize> {
    graph.nodes().fold(BTreeMap::new(), |mut kinds, node| {
        *kinds.entry(node.kind).or_default() += 1;
        kinds
    })
}

/// Ids of what a node feeds, with a star where the residual stream passes something by.
fn fed_by(graph: &ArchGraph, id: &str) -> Vec<String> {
    let of = graph.edges().filter(|e| e.kind == EdgeKind::FeedsInto && e.from == id);
    let mut to: Vec<String> = of.map(|e| format!("{}{}", e.to, if e.residual { "*" } else { "" })).collect();
    to.sort();
    to
}

fn all() -> Vec<(&'static str, Fixture)> {
    vec![
        ("llama", models::llama(models::LLAMA_8B, false)),
        ("tied llama", models::llama(models::TUTORIAL, true)),
        ("gemma3", models::gemma3()),
        ("gemma3n", models::gemma3n()),
        ("qwen3moe", models::qwen3moe()),
        ("gpt-oss", models::gpt_oss()),
        ("deepseek2", models::deepseek2()),
        ("mamba", models::mamba()),
        ("jamba", models::jamba()),
        ("rwkv6", models::rwkv6()),
        ("bert", models::bert()),
        ("gpt2", models::gpt2()),
        ("t5", models::t5()),
    ]
}

#[test]
fn the_tutorials_construction_has_its_929_nodes_and_981_edges() {
    let graph = graph(&models::llama(models::TUTORIAL, false), Schema::Tutorial);
    assert_eq!((graph.nodes().count(), graph.edges().count()), (929, 981));
    let of = EdgeKind::ALL.map(|kind| count(&graph, kind));
    assert_eq!(of, [896, 29, 56]);
    let layer = graph.layer(Stack::Model, 5).unwrap();
    assert_eq!((layer.nodes().count(), layer.edges().count()), (35, 34));
    assert!(graph.layer(Stack::Model, 28).is_none());
    assert_eq!(graph.edges().filter(|e| e.from == "embedding").count(), 0);
}

#[test]
fn the_standard_construction_has_what_that_one_misses() {
    let graph = standard(&models::llama(models::LLAMA_8B, true));
    let kinds = kinds(&graph);
    assert_eq!((kinds[&NodeKind::Head], kinds[&NodeKind::KvHead]), (32 * 32, 32 * 8));
    assert_eq!((kinds[&NodeKind::Norm], kinds[&NodeKind::FeedForward]), (2 * 32 + 1, 32));
    assert_eq!(fed_by(&graph, "embedding").first().map(String::as_str), Some("layer_0*"));
    assert_eq!(fed_by(&graph, "layer_4"), ["layer_5*", "layer_5_attn_norm", "layer_5_ffn_norm*"]);
    assert_eq!(fed_by(&graph, "layer_5_attention"), ["layer_5*", "layer_5_ffn_norm"]);
    assert_eq!(fed_by(&graph, "layer_5_feed_forward"), ["layer_5"]);
    assert_eq!(fed_by(&graph, "layer_31"), ["output_norm"]);
    // Four query heads to a key and value head.
    let heads = fed_by(&graph, "layer_5_kv_head_1");
    assert_eq!(heads, ["layer_5_head_4", "layer_5_head_5", "layer_5_head_6", "layer_5_head_7"]);
    let uses: Vec<_> = graph.edges().filter(|e| e.kind == EdgeKind::Uses && e.from == "output").collect();
    assert_eq!((uses.len(), uses[0].to), (1, "embedding"));
}

#[test]
fn every_parameter_and_byte_of_every_model_is_in_one_node() {
    for (name, fixture) in all() {
        let gguf = fixture.model();
        let tensors: Vec<_> = gguf.tensors().map(|(_, t)| t).collect();
        let parameters: u64 = tensors.iter().map(|t| t.elements()).sum();
        let bytes: u64 = tensors.iter().map(|t| t.nbytes().unwrap()).sum();
        for schema in [Schema::Standard, Schema::Tutorial] {
            let graph = graph(&fixture, schema);
            let own: Vec<&TensorShare> = graph.nodes().flat_map(|n| &n.tensors).collect();
            assert_eq!(own.iter().map(|t| t.parameters).sum::<u64>(), parameters, "{name} {schema:?}");
            assert_eq!(own.iter().map(|t| t.bytes).sum::<u64>(), bytes, "{name} {schema:?}");
            let contained: Vec<&str> = graph.edges().filter(|e| e.kind == EdgeKind::Contains).map(|e| e.to).collect();
            let outer = graph.nodes().filter(|n| !contained.contains(&n.id.as_str()));
            assert_eq!(outer.map(|n| n.parameters).sum::<u64>(), parameters, "{name} {schema:?}");
        }
    }
}

#[test]
fn everything_leads_from_the_input_to_the_output() {
    use petgraph::visit::{Bfs, Reversed};
    for (name, fixture) in all() {
        let graph = standard(&fixture);
        let flow = graph
            .graph
            .filter_map(|_, node| Some(&node.id), |_, edge| (edge.kind == EdgeKind::FeedsInto).then_some(()));
        let reached = |mut bfs: Bfs<_, _>, reversed: bool| {
            let mut seen = vec![false; flow.node_count()];
            while let Some(node) = if reversed { bfs.next(Reversed(&flow)) } else { bfs.next(&flow) } {
                seen[node.index()] = true;
            }
            seen
        };
        let (input, output) = (graph.by_id["input"], graph.by_id["output"]);
        let from_input = reached(Bfs::new(&flow, input), false);
        let to_output = reached(Bfs::new(Reversed(&flow), output), true);
        let lost = graph.nodes().enumerate().filter(|(i, node)| {
            // Keys of a layer that uses those of another lead nowhere; factors of positions are no data.
            let aside = [NodeKind::Rope, NodeKind::Other, NodeKind::KvHead].contains(&node.kind);
            !(aside || from_input[*i] && to_output[*i])
        });
        let lost: Vec<&str> = lost.map(|(_, node)| node.id.as_str()).collect();
        assert!(lost.is_empty(), "{name}: {lost:?}");
        assert!(!petgraph::algo::is_cyclic_directed(&flow), "{name}");
    }
}

#[test]
fn experts_stand_by_themselves_between_router_and_stream() {
    let graph = standard(&models::qwen3moe());
    let layers = graph.layers(Stack::Model).len();
    assert_eq!(kinds(&graph)[&NodeKind::Expert], 128 * layers);
    assert_eq!(fed_by(&graph, "layer_3_expert_77"), ["layer_3"]);
    assert_eq!(fed_by(&graph, "layer_3_router").len(), 128);
    let [a, b] = [0, 127].map(|i| graph.nodes().find(|n| n.id == format!("layer_3_expert_{i}")).unwrap().clone());
    assert_eq!((a.parameters, a.bytes, a.tensors.len()), (b.parameters, b.bytes, 3));
}

#[test]
fn norms_stand_where_the_model_has_them() {
    let gemma = standard(&models::gemma3());
    assert_eq!(fed_by(&gemma, "layer_0_attention"), ["layer_0_post_attention_norm"]);
    assert_eq!(fed_by(&gemma, "layer_0_post_attention_norm"), ["layer_0*", "layer_0_ffn_norm"]);
    assert_eq!(fed_by(&gemma, "layer_0_feed_forward"), ["layer_0_post_ffw_norm"]);
    // A norm of the residual stream lets nothing pass by it.
    let bert = standard(&models::bert());
    assert_eq!(fed_by(&bert, "layer_0_attn_output_norm"), ["layer_0_feed_forward", "layer_0_layer_output_norm*"]);
    assert_eq!(fed_by(&bert, "layer_0_layer_output_norm"), ["layer_0"]);
    // In gpt-oss "post attention" is the norm of the experts' input.
    let oss = standard(&models::gpt_oss());
    assert!(fed_by(&oss, "layer_0_post_attention_norm").contains(&"layer_0_router".to_owned()));
}

#[test]
fn compressed_keys_are_one_node_and_a_model_without_attention_has_no_heads() {
    let deepseek = standard(&models::deepseek2());
    let kv = deepseek.nodes().filter(|n| n.kind == NodeKind::KvHead && n.layer == Some(1));
    assert_eq!(kv.map(|n| n.label.as_str()).collect::<Vec<_>>(), ["compressed keys and values"]);
    let mamba = kinds(&standard(&models::mamba()));
    assert_eq!((mamba.get(&NodeKind::Head), mamba.get(&NodeKind::Attention)), (None, None));
    assert!(mamba[&NodeKind::StateSpace] > 1);
}

#[test]
fn a_decoder_attends_to_the_encoders_output() {
    let graph = standard(&models::t5());
    let cross = fed_by(&graph, "encoder_output_norm");
    assert_eq!(cross.len(), graph.layers(Stack::Decoder).len());
    assert!(cross.iter().all(|to| to.ends_with("_cross_attention")), "{cross:?}");
}

#[test]
fn layers_that_share_a_cache_use_the_keys_of_another() {
    let graph = standard(&models::gemma3n());
    let last = *graph.layers(Stack::Model).last().unwrap();
    let head = format!("layer_{last}_head_0");
    let used: Vec<&str> = graph.edges().filter(|e| e.kind == EdgeKind::Uses && e.from == head).map(|e| e.to).collect();
    assert_eq!(used.len(), 1);
    assert!(used[0].ends_with("_kv_head_0") && !used[0].starts_with(&format!("layer_{last}_")), "{used:?}");
}

#[test]
fn a_vocabulary_has_no_graph_and_a_million_heads_are_refused() {
    let gguf = models::vocabulary_only().model();
    let (architecture, _) = Architecture::of(&gguf);
    let error = ArchGraph::of(&gguf, &architecture, Schema::Standard).unwrap_err();
    assert!(matches!(error, ArchError::Empty { .. }), "{error}");
    let many = models::Shape { layers: 1, hidden: 32, heads: 4_000_000, kv_heads: 1, head: 1, ..models::LLAMA_8B };
    let gguf = models::llama(many, true).model();
    let (architecture, _) = Architecture::of(&gguf);
    for schema in [Schema::Standard, Schema::Tutorial] {
        let error = ArchGraph::of(&gguf, &architecture, schema).unwrap_err();
        assert!(matches!(error, ArchError::TooLarge { .. }), "{error}");
    }
}
