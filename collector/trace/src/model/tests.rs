//! Which model is found for a graph, by what it maps and by what the command line names.

use super::*;
use ggscope_format::record::{Buffer, BufferUsage, TensorType};
use ggscope_format::{BufferId, Bytes};
use ggscope_model::mapped::FileId;
use ggscope_model::testing::{self, Dtype, Fixture};
use std::path::{Path, PathBuf};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");

fn model() -> PathBuf {
    Path::new(MODEL).canonicalize().unwrap_or_else(|_| panic!("{MODEL} is missing: run `make vendor`"))
}

fn hello(argv: &[&str]) -> Hello {
    let cwd = model().parent().unwrap().to_string_lossy().into_owned();
    Hello { argv: argv.iter().map(|&a| a.to_owned()).collect(), cwd, ..Hello::default() }
}

/// A graph with one weight, mapped or not.
fn graph(name: &str, ne: [i64; 4], mapped: Option<(u16, u64)>, files: &[&Path]) -> Graph {
    let weight = Tensor {
        name: name.into(),
        op: 0,
        dtype: 0,
        flags: Default::default(),
        ne,
        nb: [1; 4],
        bytes: Bytes(1),
        src: vec![],
        view: None,
        addr: 1,
        buffer: Some(0),
        mapped,
        op_params: vec![],
    };
    let buffer = Buffer {
        id: BufferId(0),
        name: "CPU_REPACK".into(),
        base: 1,
        size: Bytes(1),
        usage: BufferUsage::Weights,
        host: false,
    };
    Graph {
        tensors: vec![weight],
        ops: vec!["NONE".into()],
        types: vec![TensorType { name: "q4_1".into(), block_size: 32, type_size: 20 }],
        buffers: vec![buffer],
        files: files
            .iter()
            .map(|p| MappedFile { path: p.to_string_lossy().into_owned(), ..MappedFile::default() })
            .collect(),
        ..Graph::default()
    }
}

const Q: &str = "blk.5.attn_q.weight";

#[test]
fn the_model_is_the_file_that_weights_are_mapped_from() {
    let mut models = Models::new(&hello(&["llama-server"]));
    let completed = models.complete(graph(Q, [576, 576, 1, 1], Some((0, 4096)), &[&model()]));
    let found = completed.model.unwrap();
    assert_eq!((found.path.as_str(), found.n_layer), (model().to_str().unwrap(), 30));
    assert_eq!(completed.stored.origins, []);
    let again = models.complete(graph(Q, [576, 576, 1, 1], Some((0, 4096)), &[&model()]));
    assert_eq!(again.model, None);
}

#[test]
fn a_weight_that_is_not_mapped_is_found_by_its_name() {
    let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
    for argv in [&["x", "-m", name][..], &["x", &format!("--model={name}")], &["x", model().to_str().unwrap()]] {
        let completed = Models::new(&hello(argv)).complete(graph(Q, [576, 576, 1, 1], None, &[]));
        assert!(completed.model.is_some(), "{argv:?}");
        let [(TensorId(0), 0, offset)] = completed.stored.origins[..] else { panic!("{argv:?}") };
        assert_eq!(completed.stored.graph.files[0].path, model().to_str().unwrap());
        let gguf = Gguf::open(&model()).unwrap();
        assert_eq!(gguf.tensors().find(|(_, t)| t.name == Q).unwrap().1.offset, offset);
    }
}

#[test]
fn a_weight_of_another_shape_has_no_origin() {
    let completed = Models::new(&hello(&["x", MODEL])).complete(graph(Q, [576, 192, 1, 1], None, &[]));
    assert_eq!((completed.stored.origins, completed.notes), (vec![], vec![]));
}

#[test]
fn a_weight_that_two_models_could_have_has_no_origin() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("draft.gguf");
    std::fs::copy(model(), &copy).unwrap();
    let argv = ["x", MODEL, "-md", copy.to_str().unwrap()];
    let mut models = Models::new(&hello(&argv));
    let completed = models.complete(graph(Q, [576, 576, 1, 1], None, &[]));
    assert_eq!((completed.stored.origins, completed.stored.model), (vec![], None));
    // Whichever of them it is, its tokens have these texts.
    assert_eq!(completed.vocabulary, Some(ModelId(0)));
    assert_eq!(models.texts(GraphId(0), &[1]), [(ModelId(0), 1, b"<|im_start|>".to_vec())]);
}

#[test]
fn texts_are_given_once_and_only_for_tokens_that_exist() {
    let mut models = Models::new(&hello(&["x", MODEL]));
    models.complete(graph(Q, [576, 576, 1, 1], None, &[]));
    assert_eq!(models.texts(GraphId(0), &[1, 1, -5, i32::MAX]), [(ModelId(0), 1, b"<|im_start|>".to_vec())]);
    assert_eq!(models.texts(GraphId(0), &[1]), []);
    assert_eq!(models.texts(GraphId(1), &[2]), [], "a graph that is not known has no model");
}

#[test]
fn a_process_without_a_model_has_none() {
    let mut models = Models::new(&hello(&["x", "-m", "absent.gguf", "/dev/null", "/etc/passwd"]));
    let completed = models.complete(graph(Q, [1; 4], None, &[]));
    assert_eq!((completed.model, completed.notes), (None, vec![]));
}

/// A model with one weight of its own and a vocabulary of one token.
fn small(path: &Path, weight: &str, token: &str) {
    let mut fixture = Fixture::new("llama");
    fixture
        .general("general.name", token)
        .general("tokenizer.ggml.model", "llama")
        .general("tokenizer.ggml.tokens", vec![token.to_owned()])
        .tensor(weight, Dtype::F16, &[64, 2])
        .tensor("output_norm.weight", Dtype::F16, &[64])
        .write(path);
}

/// A graph with one weight of such a model.
fn of_small(number: u32, name: &str, ne: [i64; 4], mapped: Option<(u16, u64)>, files: &[&Path]) -> Graph {
    let types = vec![TensorType { name: "f16".into(), block_size: 1, type_size: 2 }];
    Graph { graph: GraphId(number), types, ..graph(name, ne, mapped, files) }
}

#[test]
fn each_graph_has_its_own_model_and_its_vocabulary() {
    let dir = tempfile::tempdir().unwrap();
    let (target, draft) = (dir.path().join("target.gguf"), dir.path().join("draft.gguf"));
    small(&target, "token_embd.weight", "of the target");
    small(&draft, "draft.weight", "of the draft");
    for is_mapped in [true, false] {
        let argv = ["x", "-m", target.to_str().unwrap(), "-md", draft.to_str().unwrap()];
        let mut models = Models::new(&hello(&argv));
        let mut of = |number, weight: &str, file: &Path| {
            let mapped = is_mapped.then_some((0, 4096));
            models.complete(of_small(number, weight, [64, 2, 1, 1], mapped, &[file]))
        };
        // The draft computes first.
        let (a, b) = (of(0, "draft.weight", &draft), of(1, "token_embd.weight", &target));
        let (again, both) =
            (of(2, "draft.weight", &draft), of_small(3, "output_norm.weight", [64, 1, 1, 1], None, &[]));
        let named = |completed: &Completed| completed.model.as_ref().map(|m| (m.id, m.name.clone(), m.n_tokens));
        assert_eq!(named(&a), Some((ModelId(0), "of the draft".into(), 1)));
        assert_eq!(named(&b), Some((ModelId(1), "of the target".into(), 1)));
        assert_eq!((named(&again), again.stored.model), (None, Some(ModelId(0))));
        let both = models.complete(both);
        assert_eq!((both.stored.model, both.stored.origins), (None, vec![]), "two models have this weight");
        assert_eq!(models.texts(GraphId(0), &[0]), [(ModelId(0), 0, b"of the draft".to_vec())]);
        assert_eq!(models.texts(GraphId(1), &[0]), [(ModelId(1), 0, b"of the target".to_vec())]);
        assert_eq!(models.texts(GraphId(3), &[0]), []);
    }
}

#[test]
fn a_split_model_in_a_hubs_cache_is_found_by_the_links_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let (blobs, snapshot) = (dir.path().join("models--a/blobs"), dir.path().join("models--a/snapshots/1"));
    for folder in [&blobs, &snapshot] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let mut fixture = testing::llama(testing::LLAMA_8B, false);
    fixture.general("tokenizer.ggml.model", "llama").general("tokenizer.ggml.tokens", vec!["a".to_owned()]);
    let parts = testing::split(&fixture, dir.path(), 3);
    let mut links = vec![];
    for (i, part) in parts.iter().enumerate() {
        let (blob, link) = (blobs.join(format!("{i}{i}")), snapshot.join(part.file_name().unwrap()));
        std::fs::rename(part, &blob).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{i}{i}"), &link).unwrap();
        links.push((blob, link));
    }
    let named = links[0].1.to_str().unwrap();
    // Named on the command line, relative to the working directory, or only mapped, as the kernel names it.
    let relative = Hello { cwd: snapshot.to_string_lossy().into_owned(), ..hello(&["x", "model-00001-of-00003.gguf"]) };
    for hello in [hello(&["x", "-m", named]), relative, hello(&["x", "-hf", "a/b"])] {
        let completed = Models::new(&hello).complete(graph(Q, [576, 576, 1, 1], Some((0, 4096)), &[&links[1].0]));
        assert_eq!(completed.notes, Vec::<String>::new());
        let model = completed.model.unwrap();
        assert_eq!((model.path.as_str(), model.n_layer, model.n_tokens), (named, 32, 1));
        assert_eq!(completed.stored.graph.files[0].path, links[1].1.to_str().unwrap());
    }
}

#[test]
fn a_model_has_one_number_by_whatever_names() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("a.gguf"), dir.path().join("b.gguf"));
    small(&path, "a.weight", "a");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let argv = ["x", "-m", link.to_str().unwrap(), "-md", path.to_str().unwrap()];
    let completed = Models::new(&hello(&argv)).complete(of_small(0, "a.weight", [64, 2, 1, 1], None, &[]));
    assert_eq!(completed.model.unwrap().path, link.to_str().unwrap(), "the name that came first");
    assert_eq!(completed.stored.origins.len(), 1);
}

#[test]
fn a_model_that_was_replaced_or_deleted_is_not_taken_for_the_one_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (path, new) = (dir.path().join("a.gguf"), dir.path().join("new.gguf"));
    small(&path, "a.weight", "old");
    small(&new, "a.weight", "new");
    let (device, inode) = FileId::as_mapped(&path).unwrap();
    let with_identity = || {
        let mut graph = of_small(0, "a.weight", [64, 2, 1, 1], Some((0, 4096)), &[&path]);
        graph.files[0] = MappedFile { device, inode, ..graph.files[0].clone() };
        graph
    };
    let complete = || Models::new(&hello(&["x"])).complete(with_identity());
    assert_eq!(complete().model.unwrap().name, "old");
    std::fs::rename(&new, &path).unwrap();
    let replaced = complete();
    assert!(replaced.model.is_none() && replaced.notes[0].contains("was replaced"), "{:?}", replaced.notes);
    std::fs::remove_file(&path).unwrap();
    let deleted = complete();
    assert!(deleted.model.is_none() && deleted.notes[0].contains("cannot be opened any more"), "{:?}", deleted.notes);
}
