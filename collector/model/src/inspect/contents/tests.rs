//! Files of every kind, in order and not.

use super::*;
use crate::testing::{Dtype, Fixture, Put};

fn facts(f: &Fixture) -> (FileKind, Vec<(String, String)>) {
    let contents = Contents::of(&f.model()).expect("it is no model");
    (contents.kind, contents.facts.into_iter().map(|f| (f.name, f.value)).collect())
}

fn refused(f: &Fixture) -> Vec<String> {
    let model = f.model();
    check(&model, FileKind::of(&model).unwrap()).into_iter().map(|f| f.what).collect()
}

fn imatrix() -> Fixture {
    let mut f = Fixture::default();
    f.general("general.type", "imatrix")
        .general("imatrix.datasets", vec!["a.txt".to_owned()])
        .general("imatrix.chunk_count", 2_u32)
        .general("imatrix.chunk_size", 128_u32)
        .tensor("blk.0.attn_q.weight.in_sum2", Dtype::F32, &[64])
        .tensor("blk.0.attn_q.weight.counts", Dtype::F32, &[1]);
    f
}

fn control_vector() -> Fixture {
    let mut f = Fixture::new("controlvector");
    f.general("controlvector.model_hint", "llama").general("controlvector.layer_count", Put::I32(2));
    f.tensor("direction.1", Dtype::F32, &[64]).tensor("direction.2", Dtype::F32, &[64]);
    f
}

fn lora() -> Fixture {
    let mut f = Fixture::new("llama");
    f.general("general.type", "adapter").general("adapter.type", "lora").general("adapter.lora.alpha", 16_f32);
    f.tensor("blk.0.attn_q.weight.lora_a", Dtype::F32, &[64, 8]);
    f.tensor("blk.0.attn_q.weight.lora_b", Dtype::F32, &[8, 64]);
    f
}

fn has(facts: &[(String, String)], name: &str, value: &str) -> bool {
    facts.iter().any(|(n, v)| n == name && v == value)
}

#[test]
fn an_importance_matrix_says_what_it_was_made_of() {
    let (kind, facts) = facts(&imatrix());
    assert_eq!(kind, FileKind::ImportanceMatrix);
    assert!(has(&facts, "datasets", "a.txt") && has(&facts, "covers", "1 tensor with 64 columns"), "{facts:?}");
    assert_eq!(refused(&imatrix()), Vec::<String>::new());
    let mut f = imatrix();
    f.tensor("output.weight.in_sum2", Dtype::F32, &[64]);
    assert_eq!(refused(&f), ["output.weight has sums or counts, but not both"]);
    let mut f = Fixture::default();
    f.general("general.type", "imatrix").general("imatrix.chunk_count", Put::U64(2));
    assert_eq!(refused(&f), ["imatrix.chunk_count is of type u64, not u32"]);
}

#[test]
fn a_control_vector_says_for_which_layers_it_is() {
    let (kind, facts) = facts(&control_vector());
    assert_eq!(kind, FileKind::ControlVector);
    assert!(has(&facts, "directions", "2 vectors of 64 values, for layers 1 to 2"), "{facts:?}");
    assert_eq!(refused(&control_vector()), Vec::<String>::new());
    for (name, size, fault) in [
        ("direction.0", 64, "direction.0 is the direction of layer 0, which has none"),
        ("direction.x", 64, "direction.x is no direction of a layer"),
        ("direction.3", 32, "direction.3 has another size than those before it"),
    ] {
        let mut f = control_vector();
        f.tensor(name, Dtype::F32, &[size]);
        assert_eq!(refused(&f), [fault]);
    }
}

#[test]
fn an_adapter_says_what_it_changes() {
    let (kind, facts) = facts(&lora());
    assert_eq!(kind, FileKind::Adapter);
    assert!(has(&facts, "changes", "1 tensor of rank 8") && has(&facts, "alpha", "16"), "{facts:?}");
    assert_eq!(refused(&lora()), Vec::<String>::new());
    let mut f = lora();
    f.tensor("output.weight.lora_a", Dtype::F32, &[64, 8]);
    assert_eq!(refused(&f), ["output.weight has one matrix of two"]);
    let mut f = lora();
    f.tensor("output.weight", Dtype::F32, &[64, 8]);
    assert_eq!(refused(&f), ["output.weight is neither .lora_a nor .lora_b"]);
}

#[test]
fn projectors_vocabularies_and_others_are_what_they_are() {
    let mut f = Fixture::new("clip");
    f.general("clip.projector_type", "mlp").general("clip.vision.image_size", 336_u32);
    f.general("clip.vision.block_count", 24_u32).general("clip.vision.embedding_length", 1024_u32);
    f.tensor("v.patch_embd.weight", Dtype::F32, &[14, 14, 3, 8]);
    let (kind, facts) = facts(&f);
    assert_eq!(kind, FileKind::Projector);
    assert!(has(&facts, "image layers", "24 of hidden size 1024") && has(&facts, "image size", "336"), "{facts:?}");

    assert_eq!(FileKind::of(&crate::testing::vocabulary_only().model()), Some(FileKind::Vocabulary));

    let mut f = Fixture::default();
    f.general("general.type", "dataset").tensor("rows", Dtype::F32, &[4]);
    assert_eq!(FileKind::of(&f.model()), Some(FileKind::Other));
    assert_eq!(refused(&f).len(), 1);
    let mut f = crate::testing::llama(crate::testing::TUTORIAL, true).first_layers(1);
    assert_eq!(FileKind::of(&f.model()), None);
    f.general("general.type", "my model");
    assert_eq!(FileKind::of(&f.model()), None, "llama.cpp does not look at the word");
}
