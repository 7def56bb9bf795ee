//! Which model a session runs: found among the files that the process maps or names on its command line, and used to
//! say what its graphs cannot: layers, texts of tokens, and where in the file a weight came from that is not mapped.
//! A guess is never made: two files that could both be the origin of a tensor are none.

use crate::trace::{Model, StoredGraph};
use ggscope_format::TensorId;
use ggscope_format::record::{Graph, MappedFile, Tensor};
use ggscope_format::session::Hello;
use ggscope_model::gguf::{Gguf, GgufFile, TensorInfo, Vocab, is_gguf};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// No more arguments of a command line than these are tried as paths.
const MAX_ARGUMENTS: usize = 4096;

/// The models of one session, opened when a graph asks for them.
#[derive(Debug)]
pub struct Models {
    /// Paths that the command line names and that may be models.
    named: Vec<PathBuf>,
    opened: Vec<Opened>,
    /// Which of `opened` a path led to; `None` if it cannot be read.
    by_path: HashMap<PathBuf, Option<usize>>,
    chosen: Option<Vocab>,
    announced: bool,
    texts: HashSet<i32>,
}

#[derive(Debug)]
struct Opened {
    gguf: Gguf,
    /// Path of a file and offset in it of each tensor, with what it must agree on.
    tensors: HashMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    file: String,
    offset: u64,
    ne: [i64; 4],
    type_name: Option<&'static str>,
}

/// What a graph becomes with the help of models.
#[derive(Debug, Default)]
pub struct Completed {
    /// The graph with the origins of its weights.
    pub stored: StoredGraph,
    /// The session's model, the first time that it is known.
    pub model: Option<Model>,
    /// What the user should know, in one line each.
    pub notes: Vec<String>,
}

impl Models {
    /// Looks at the command line; opens nothing yet.
    pub fn new(hello: &Hello) -> Models {
        let values = hello.argv.iter().skip(1).take(MAX_ARGUMENTS).map(|arg| match arg.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => value,
            _ => arg,
        });
        let named = values.filter(|v| !v.is_empty()).map(|v| Path::new(&hello.cwd).join(v)).collect();
        Models { named, opened: vec![], by_path: HashMap::new(), chosen: None, announced: false, texts: HashSet::new() }
    }

    /// Adds to `graph` what its models know.
    pub fn complete(&mut self, mut graph: Graph) -> Completed {
        let mut notes = vec![];
        let mapped = self.mapped_models(&graph, &mut notes);
        let named =
            if mapped.is_empty() || has_unmapped_weights(&graph) { self.named_models(&mut notes) } else { vec![] };
        let model = self.announce(if mapped.is_empty() { &named } else { &mapped });
        let origins = self.origins(&mut graph, &mapped, &named);
        Completed { stored: StoredGraph { graph, origins }, model, notes }
    }

    /// The session's model if none was announced: one without a vocabulary is better than none.
    pub fn finish(&mut self) -> Option<Model> {
        if self.announced { None } else { self.opened.first().map(|o| describe(&o.gguf)) }
    }

    /// Texts of those of the tokens that were not asked for before.
    pub fn texts(&mut self, tokens: &[i32]) -> Vec<(i32, Vec<u8>)> {
        let Some(vocab) = &self.chosen else { return vec![] };
        let mut new = vec![];
        for &id in tokens {
            if self.texts.contains(&id) {
                continue;
            }
            if let Some(text) = vocab.text(id) {
                self.texts.insert(id);
                new.push((id, text));
            }
        }
        new
    }

    /// Models among the files that the graph's tensors are mapped from, most tensors first.
    fn mapped_models(&mut self, graph: &Graph, notes: &mut Vec<String>) -> Vec<usize> {
        let mut uses = vec![0_usize; graph.files.len()];
        for (file, _) in graph.tensors.iter().filter_map(|t| t.mapped) {
            uses[usize::from(file)] += 1;
        }
        let mut files: Vec<usize> = (0..uses.len()).filter(|&f| uses[f] > 0).collect();
        files.sort_by_key(|&f| std::cmp::Reverse(uses[f]));
        let mut models = vec![];
        for file in files {
            if let Some(model) = self.open(Path::new(&graph.files[file].path), true, notes)
                && !models.contains(&model)
            {
                models.push(model);
            }
        }
        models
    }

    fn named_models(&mut self, notes: &mut Vec<String>) -> Vec<usize> {
        let mut models = vec![];
        for path in self.named.clone() {
            if let Some(model) = self.open(&path, false, notes)
                && !models.contains(&model)
            {
                models.push(model);
            }
        }
        models
    }

    /// Opens the model that `path` belongs to, once. A file that is mapped and not there any more is worth a note; an
    /// argument that is no path is not.
    fn open(&mut self, path: &Path, mapped: bool, notes: &mut Vec<String>) -> Option<usize> {
        if let Some(known) = self.by_path.get(path) {
            return *known;
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let model = match self.by_path.get(&real) {
            Some(known) => *known,
            None if is_gguf(&real) => match Gguf::open(&real) {
                Ok(gguf) => {
                    self.by_path.extend(gguf.files().iter().map(|f| (f.path().to_owned(), Some(self.opened.len()))));
                    self.opened.push(Opened { tensors: places(&gguf), gguf });
                    Some(self.opened.len() - 1)
                }
                Err(error) => {
                    notes.push(format!("{error}; token texts and origins of weights are missing"));
                    None
                }
            },
            None => {
                if mapped && !real.exists() {
                    notes.push(format!("the model {} is mapped but cannot be opened any more", real.display()));
                }
                None
            }
        };
        self.by_path.insert(path.to_owned(), model);
        self.by_path.insert(real, model);
        model
    }

    /// Chooses the session's model: the first that has a vocabulary (a projector or an adapter has none).
    fn announce(&mut self, candidates: &[usize]) -> Option<Model> {
        if self.announced {
            return None;
        }
        let (model, vocab) = candidates.iter().find_map(|&m| Some((m, self.opened[m].gguf.vocab()?)))?;
        self.chosen = Some(vocab);
        self.announced = true;
        Some(describe(&self.opened[model].gguf))
    }

    /// Where the weights came from that are not mapped.
    fn origins(&self, graph: &mut Graph, mapped: &[usize], named: &[usize]) -> Vec<(TensorId, u16, u64)> {
        let mut origins = vec![];
        for i in 0..graph.tensors.len() {
            let tensor = &graph.tensors[i];
            if !is_weight(graph, tensor) || tensor.mapped.is_some() {
                continue;
            }
            let type_name = graph.types[usize::from(tensor.dtype)].name.as_str();
            let fits = |model: &&usize| {
                let place = self.opened[**model].tensors.get(&tensor.name);
                place.is_some_and(|p| p.ne == tensor.ne && p.type_name == Some(type_name))
            };
            let only = |models: &[usize]| {
                let mut fitting = models.iter().filter(fits);
                fitting.next().copied().filter(|_| fitting.next().is_none())
            };
            let Some(model) = only(mapped).or_else(|| only(named)) else { continue };
            let place = &self.opened[model].tensors[&tensor.name];
            if let Some(file) = file_index(&mut graph.files, &place.file) {
                origins.push((TensorId(i as u32), file, place.offset));
            }
        }
        origins
    }
}

/// Whether the tensor is data that was there before the graph ran.
fn is_weight(graph: &Graph, tensor: &Tensor) -> bool {
    tensor.view.is_none() && graph.op(tensor) == "NONE"
}

fn has_unmapped_weights(graph: &Graph) -> bool {
    use ggscope_format::record::BufferUsage::Weights;
    let in_weights = |t: &Tensor| t.buffer.is_some_and(|b| graph.buffers[usize::from(b)].usage == Weights);
    graph.tensors.iter().any(|t| t.mapped.is_none() && is_weight(graph, t) && in_weights(t))
}

fn file_index(files: &mut Vec<MappedFile>, path: &str) -> Option<u16> {
    let at = files.iter().position(|f| f.path == path).unwrap_or_else(|| {
        files.push(MappedFile { path: path.to_owned() });
        files.len() - 1
    });
    u16::try_from(at).ok()
}

fn places(gguf: &Gguf) -> HashMap<String, Place> {
    let place = |(file, t): (&GgufFile, &TensorInfo)| {
        let file = file.path().to_string_lossy().into_owned();
        (t.name.clone(), Place { file, offset: t.offset, ne: t.ne, type_name: t.type_name() })
    };
    gguf.tensors().map(place).collect()
}

fn describe(gguf: &Gguf) -> Model {
    Model {
        path: gguf.first().path().to_string_lossy().into_owned(),
        name: gguf.name().to_owned(),
        arch: gguf.architecture().to_owned(),
        n_layer: gguf.block_count(),
        file_bytes: gguf.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::record::{Buffer, BufferUsage, TensorType};
    use ggscope_format::{BufferId, Bytes};

    const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vendor/models/SmolLM2-135M-Instruct.Q4_1.gguf");

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
            files: files.iter().map(|p| MappedFile { path: p.to_string_lossy().into_owned() }).collect(),
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
        assert_eq!((again.model, models.finish()), (None, None));
    }

    #[test]
    fn a_weight_that_is_not_mapped_is_found_by_its_name() {
        let name = "SmolLM2-135M-Instruct.Q4_1.gguf";
        for argv in [&["x", "-m", name][..], &["x", &format!("--model={name}")], &["x", MODEL]] {
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
        let completed = Models::new(&hello(&argv)).complete(graph(Q, [576, 576, 1, 1], None, &[]));
        assert_eq!(completed.stored.origins, []);
    }

    #[test]
    fn texts_are_given_once_and_only_for_tokens_that_exist() {
        let mut models = Models::new(&hello(&["x", MODEL]));
        models.complete(graph(Q, [576, 576, 1, 1], None, &[]));
        assert_eq!(models.texts(&[1, 1, -5, i32::MAX]), [(1, b"<|im_start|>".to_vec())]);
        assert_eq!(models.texts(&[1]), []);
    }

    #[test]
    fn a_process_without_a_model_has_none() {
        let mut models = Models::new(&hello(&["x", "-m", "absent.gguf", "/dev/null", "/etc/passwd"]));
        let completed = models.complete(graph(Q, [1; 4], None, &[]));
        assert_eq!((completed.model, completed.notes, models.finish()), (None, vec![], None));
    }
}
