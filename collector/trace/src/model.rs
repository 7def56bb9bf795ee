//! Which model each graph of a session runs: found among the files that the process maps or names on its command line, and
//! used to say what graphs cannot: layers, texts of tokens, and where in the file a weight came from that is not mapped.
//! A process may have several models, and a graph has the one that most of its weights are of. A guess is never made: two
//! files that could both be the origin of a tensor are none, and neither is a file that was replaced after it was mapped.

mod find;

use crate::{Model, ModelId, StoredGraph};
use find::Found;
use ggscope_format::record::{Graph, MappedFile, Tensor};
use ggscope_format::session::Hello;
use ggscope_format::{GraphId, TensorId};
use ggscope_model::gguf::{Gguf, GgufFile, TensorInfo, Vocab};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The models of one session, opened when a graph asks for them.
#[derive(Debug)]
pub struct Models {
    found: Found,
    opened: Vec<Opened>,
    /// Those of `opened` that the trace has, by their ids.
    announced: Vec<usize>,
    of_graph: HashMap<GraphId, ModelId>,
    texts: HashSet<(ModelId, i32)>,
    /// Of models that a graph may be of, one if all of them have the same vocabulary.
    alike: HashMap<Vec<usize>, Option<usize>>,
}

#[derive(Debug)]
struct Opened {
    gguf: Gguf,
    /// Path of its first file, as the process names it.
    path: String,
    vocab: Option<Vocab>,
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

impl Opened {
    /// `name` says how the process names a file.
    fn new(gguf: Gguf, name: impl Fn(&Path) -> String) -> Opened {
        let place = |(file, t): (&GgufFile, &TensorInfo)| {
            let file = name(file.path());
            (t.name.to_string(), Place { file, offset: t.offset, ne: t.ne, type_name: t.type_name() })
        };
        let (tensors, path) = (gguf.tensors().map(place).collect(), name(gguf.first().path()));
        Opened { tensors, path, vocab: gguf.vocab(), gguf }
    }

    /// Where the tensor lies, if the model has it.
    fn place(&self, graph: &Graph, tensor: &Tensor) -> Option<&Place> {
        let type_name = graph.types[usize::from(tensor.dtype)].name.as_str();
        self.tensors.get(&tensor.name).filter(|p| p.ne == tensor.ne && p.type_name == Some(type_name))
    }

    fn describe(&self, id: ModelId) -> Model {
        let gguf = &self.gguf;
        Model {
            id,
            path: self.path.clone(),
            name: gguf.name().to_string(),
            arch: gguf.architecture().to_string(),
            n_layer: gguf.block_count(),
            file_bytes: gguf.bytes(),
            n_tokens: self.vocab.as_ref().map_or(0, |vocab| vocab.len() as u64),
        }
    }
}

/// What a graph becomes with the help of models.
#[derive(Debug, Default)]
pub struct Completed {
    /// The graph with its model and the origins of its weights.
    pub stored: StoredGraph,
    /// Its model, the first time that it is known; of a graph whose model is not, one that has its vocabulary.
    pub model: Option<Model>,
    /// The model whose vocabulary its tokens are of, if its own is not known.
    pub vocabulary: Option<ModelId>,
    /// What the user should know, in one line each.
    pub notes: Vec<String>,
}

impl Models {
    /// Looks at the command line; opens nothing yet. `hello.pid` is the process as this one sees it.
    pub fn new(hello: &Hello) -> Models {
        Models {
            found: Found::new(hello),
            opened: vec![],
            announced: vec![],
            of_graph: HashMap::new(),
            texts: HashSet::new(),
            alike: HashMap::new(),
        }
    }

    /// Adds to `graph` what its models know.
    pub fn complete(&mut self, mut graph: Graph) -> Completed {
        let mut notes = vec![];
        let named = self.found.named(&mut self.opened, &mut notes);
        let of_files: Vec<Option<usize>> = (0..graph.files.len())
            .map(|file| {
                let is_used = graph.tensors.iter().any(|t| t.mapped.is_some_and(|(f, _)| usize::from(f) == file));
                if is_used { self.found.mapped(&mut graph.files[file], &mut self.opened, &mut notes) } else { None }
            })
            .collect();
        let mut mapped: Vec<usize> = of_files.iter().flatten().copied().collect();
        mapped.sort_unstable();
        mapped.dedup();
        let (own, alike) = match self.own(&graph, &of_files, &mapped, &named) {
            Ok(own) => (Some(own), vec![]),
            Err(alike) => (None, alike),
        };
        let (id, mut model) = own.map_or((None, None), |own| self.announce(own));
        let mut vocabulary = None;
        if let Some(one) = self.of_one_vocabulary(alike) {
            (vocabulary, model) = self.announce(one);
        }
        if let Some(id) = id.or(vocabulary) {
            self.of_graph.insert(graph.graph, id);
        }
        let origins = self.origins(&mut graph, own, &mapped, &named);
        Completed { stored: StoredGraph { graph, model: id, origins }, model, vocabulary, notes }
    }

    /// Texts of those of a graph's tokens that were not asked for before, and whose they are.
    pub fn texts(&mut self, graph: GraphId, tokens: &[i32]) -> Vec<(ModelId, i32, Vec<u8>)> {
        let Some(&id) = self.of_graph.get(&graph) else { return vec![] };
        let Some(vocab) = &self.opened[self.announced[id.index()]].vocab else { return vec![] };
        let mut new = vec![];
        for &token in tokens {
            if self.texts.contains(&(id, token)) {
                continue;
            }
            if let Some(text) = vocab.text(token) {
                self.texts.insert((id, token));
                new.push((id, token, text));
            }
        }
        new
    }

    /// The model of a graph: that of the files that most of its weights are mapped from. If none is mapped, the one that has
    /// most of its weights.
    ///
    /// # Errors
    /// If several have as many, it is none of them: which, or nothing if none has any.
    fn own(
        &self,
        graph: &Graph,
        of_files: &[Option<usize>],
        mapped: &[usize],
        named: &[usize],
    ) -> Result<usize, Vec<usize>> {
        let from_file = |model: usize| {
            let files = graph.tensors.iter().filter_map(|t| of_files[usize::from(t.mapped?.0)]);
            files.filter(|&of| of == model).count()
        };
        let fitting = |model: usize| {
            let weights = graph.tensors.iter().filter(|t| t.mapped.is_none() && is_weight(graph, t));
            weights.filter(|t| self.opened[model].place(graph, t).is_some()).count()
        };
        let most = |models: &[usize], votes: &dyn Fn(usize) -> usize| {
            let mut counted: Vec<(usize, usize)> = models.iter().map(|&m| (votes(m), m)).filter(|v| v.0 > 0).collect();
            counted.sort_unstable_by(|a, b| b.cmp(a));
            let most = counted.first().map_or(0, |first| first.0);
            let best: Vec<usize> = counted.iter().filter(|of| of.0 == most).map(|of| of.1).collect();
            if let [model] = best[..] { Ok(model) } else { Err(best) }
        };
        if mapped.is_empty() { most(named, &fitting) } else { most(mapped, &from_file) }
    }

    /// One of some models, if all of them have the same vocabulary.
    fn with_one_vocabulary(&self, models: &[usize]) -> Option<usize> {
        let vocab = |model: &usize| self.opened[*model].vocab.as_ref();
        let (first, rest) = models.split_first()?;
        let own = vocab(first)?;
        let is_same = |other: &Vocab| {
            let text = |vocab: &Vocab, id: usize| vocab.text(i32::try_from(id).ok()?);
            other.len() == own.len() && (0..own.len()).all(|id| text(own, id) == text(other, id))
        };
        rest.iter().all(|model| vocab(model).is_some_and(is_same)).then_some(*first)
    }

    /// The same, found once.
    fn of_one_vocabulary(&mut self, models: Vec<usize>) -> Option<usize> {
        if let Some(known) = self.alike.get(&models) {
            return *known;
        }
        let found = self.with_one_vocabulary(&models);
        self.alike.insert(models, found);
        found
    }

    /// The id of a model, and what the trace is to say of it if it does not have it yet.
    fn announce(&mut self, model: usize) -> (Option<ModelId>, Option<Model>) {
        if let Some(known) = self.announced.iter().position(|&m| m == model) {
            return (Some(ModelId(known as u32)), None);
        }
        let id = ModelId(self.announced.len() as u32);
        self.announced.push(model);
        (Some(id), Some(self.opened[model].describe(id)))
    }

    /// Where the weights came from that are not mapped: from the graph's own model, or from the only other one that has them.
    fn origins(
        &self,
        graph: &mut Graph,
        own: Option<usize>,
        mapped: &[usize],
        named: &[usize],
    ) -> Vec<(TensorId, u16, u64)> {
        let own: Vec<usize> = own.into_iter().collect();
        let mut origins = vec![];
        for i in 0..graph.tensors.len() {
            let tensor = &graph.tensors[i];
            if !is_weight(graph, tensor) || tensor.mapped.is_some() {
                continue;
            }
            let only = |models: &[usize]| {
                let mut places = models.iter().filter_map(|&m| self.opened[m].place(graph, tensor));
                places.next().filter(|_| places.next().is_none())
            };
            let Some(place) = only(&own).or_else(|| only(mapped)).or_else(|| only(named)) else { continue };
            let (path, offset) = (place.file.clone(), place.offset);
            if let Some(file) = file_index(&mut graph.files, &path) {
                origins.push((TensorId(i as u32), file, offset));
            }
        }
        origins
    }
}

/// Whether the tensor is data that was there before the graph ran.
fn is_weight(graph: &Graph, tensor: &Tensor) -> bool {
    tensor.view.is_none() && graph.op(tensor) == "NONE"
}

fn file_index(files: &mut Vec<MappedFile>, path: &str) -> Option<u16> {
    let at = files.iter().position(|f| f.path == path).unwrap_or_else(|| {
        files.push(MappedFile { path: path.to_owned(), ..MappedFile::default() });
        files.len() - 1
    });
    u16::try_from(at).ok()
}

#[cfg(test)]
#[path = "model/tests.rs"]
mod tests;
