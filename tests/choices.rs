//! What is taken of a graph is found once for each graph that is built again and again, and is what looking through it anew
//! finds, whatever another graph at the same addresses was.

#[path = "support/decoder.rs"]
mod decoder;
#[path = "support/graphs.rs"]
mod graphs;

use std::sync::Arc;

use decoder::{Built, Decoder, Model, memory, rename};
use ggscope::capture::{self, CompiledCapture};
use ggscope::choices::Choices;
use ggscope::graph::describe;
use ggscope::structure::{Tensors, plain};
use ggscope_format::GraphId;
use ggscope_format::capture::{Capture, Set};
use ggscope_format::structure::Chosen;
use graphs::ggml;

fn fresh(built: &Built) -> Chosen {
    Chosen::of(&plain(built.read(), &Tensors::of(built.read())))
}

fn wanted() -> CompiledCapture {
    CompiledCapture::new(Capture::named(["layers", "logits"]), 0).0
}

#[test]
fn a_graph_that_is_built_for_every_token_is_looked_through_once() {
    let (model, wanted, mut memory) = (Model::new(3), wanted(), memory());
    for token in 0..20 {
        let built = Decoder::default().build(&model, &mut memory);
        // SAFETY: the graph is alive, and has no memory yet.
        unsafe { capture::pin(ggml().host, &ggml().layout, built.graph, &wanted) };
        describe(built.read(), GraphId(token), 0, &[], &wanted);
        assert_eq!(wanted.choices.looked_through(), 1, "token {token}");
        // SAFETY: as above.
        let is_output = |node| unsafe { ggscope::abi::TensorRef::new(node, &ggml().layout) }.flags() & 2 != 0;
        assert!(is_output(built.logits) && !is_output(built.ids));
    }
}

#[test]
fn graphs_of_two_contexts_and_of_several_shapes_stay_known_while_they_take_turns() {
    let (model, choices) = (Model::new(3), Choices::default());
    let (mut here, mut there) = (memory(), memory());
    let shapes = [1, 5, 7].map(|n_tokens| Decoder { n_tokens, ..Decoder::default() });
    for _ in 0..5 {
        for shape in &shapes {
            for memory in [&mut here, &mut there] {
                let built = shape.build(&model, memory);
                assert_eq!(*choices.of(built.read()), fresh(&built), "{shape:?}");
            }
        }
    }
    assert_eq!(choices.looked_through(), 6);
}

/// Of two graphs at the same addresses: whether the second is taken for the first.
fn is_taken_for(model: &Model, other: &Decoder, change: impl Fn(&Built)) -> bool {
    let (choices, mut memory) = (Choices::default(), memory());
    let first = Decoder::default().build(model, &mut memory);
    let (of_first, found) = (fresh(&first), choices.of(first.read()));
    assert_eq!(*found, of_first);
    assert!(!found.tensors(Set::Layers).is_empty() && !found.tensors(Set::Logits).is_empty());
    let second = other.build(model, &mut memory);
    change(&second);
    assert_eq!(*choices.of(second.read()), fresh(&second), "{other:?}");
    choices.looked_through() == 1
}

#[test]
fn whatever_the_structure_is_found_in_tells_graphs_at_the_same_addresses_apart() {
    let (model, usual) = (Model::new(3), Decoder::default());
    assert!(is_taken_for(&model, &usual, |_| ()));
    let in_memory = Decoder { offset: 16, ..usual.clone() };
    assert!(is_taken_for(&model, &in_memory, |_| ()), "where a view lies says nothing about what feeds what");
    for other in [
        Decoder { layers: 3, ..usual.clone() },
        Decoder { n_tokens: 1, ..usual.clone() },
        Decoder { names: false, ..usual.clone() },
        Decoder { outputs: false, ..usual.clone() },
        Decoder { swapped: true, ..usual.clone() },
        // Another function of the same operator.
        Decoder { function: 6, ..usual.clone() },
        Decoder { first: 2, ..usual.clone() },
    ] {
        assert!(!is_taken_for(&model, &other, |_| ()), "{other:?}");
    }
    assert!(!is_taken_for(&model, &usual, |built| rename(built.ids, "inp_out_ids")));
    assert!(!is_taken_for(&model, &usual, |_| rename(model.weight(1, 4), "blk.0.attn_output.weight")));
}

#[test]
fn threads_that_build_changing_graphs_find_what_looking_anew_finds() {
    let choices = Arc::new(Choices::default());
    let threads = (1..5_u64).map(|seed| {
        let choices = choices.clone();
        std::thread::spawn(move || {
            let (model, mut memory, mut state) = (Model::new(4), memory(), seed);
            let mut below = |n: u64| {
                // Knuth's generator; the high bits are the random ones.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % n
            };
            for _ in 0..150 {
                let decoder = Decoder {
                    layers: 1 + below(3) as usize,
                    n_tokens: 1 + below(2) as i64,
                    names: below(2) == 0,
                    outputs: below(2) == 0,
                    swapped: below(2) == 0,
                    function: [6, 10][below(2) as usize],
                    offset: 16 * below(2) as usize,
                    first: below(2) as usize,
                };
                let built = decoder.build(&model, &mut memory);
                if below(3) == 0 {
                    rename(model.weight(below(4) as usize, 4), &format!("blk.{}.attn_output.weight", below(4)));
                }
                assert_eq!(*choices.of(built.read()), fresh(&built), "{decoder:?}");
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn what_is_kept_is_bounded() {
    let (model, choices, mut memory) = (Model::new(48), Choices::default(), memory());
    let mut most = 0;
    for n_tokens in 1..200 {
        let decoder = Decoder { layers: 48, n_tokens, ..Decoder::default() };
        choices.of(decoder.build(&model, &mut memory).read());
        most = most.max(choices.bytes());
    }
    assert_eq!(choices.looked_through(), 199);
    assert!((1 << 20..=8 << 20).contains(&most), "{most} bytes");
}
