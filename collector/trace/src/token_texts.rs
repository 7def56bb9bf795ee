//! Texts of tokens: each belongs to the vocabulary of one model, and a graph says which model it is of.

use super::{Model, ModelId, Remark, Texts, Trace};
use ggscope_format::GraphId;
use ggscope_format::chunk::ChunkKind;
use std::collections::HashMap;

/// Texts of token ids, by model.
#[derive(Clone, Debug, Default)]
pub struct TokenTexts {
    of: HashMap<ModelId, HashMap<i32, Vec<u8>>>,
    none: HashMap<i32, Vec<u8>>,
}

impl TokenTexts {
    /// Texts of a model's tokens; none if the model is not known.
    pub fn of(&self, model: Option<ModelId>) -> &HashMap<i32, Vec<u8>> {
        model.and_then(|model| self.of.get(&model)).unwrap_or(&self.none)
    }
}

/// Texts of the Texts chunks before `end`.
#[derive(Default)]
pub(super) struct KnownTexts {
    end: u64,
    of: HashMap<(ModelId, i32), Vec<u8>>,
    /// Graphs without a model whose vocabulary is known, as far as somebody has asked.
    vocabularies: HashMap<GraphId, Option<ModelId>>,
}

impl Trace {
    /// Texts of all models' token ids, as far as they are known.
    pub fn texts(&self) -> TokenTexts {
        let mut texts = TokenTexts::default();
        let pending = self.contents.pending.texts.iter().cloned();
        for (model, id, text) in self.all::<Texts>(ChunkKind::Texts).flatten().chain(pending) {
            texts.of.entry(model).or_default().insert(id, text);
        }
        texts
    }

    /// The model that a graph is of, if that is known.
    pub fn model_of(&self, graph: GraphId) -> Option<&Model> {
        let id = self.graph(graph).ok()?.model?;
        self.contents.models.iter().find(|model| model.id == id)
    }

    /// The model whose vocabulary the tokens of a graph are of, if that is known: that of the graph, or one that has the same.
    pub fn vocabulary_of(&self, graph: GraphId) -> Option<ModelId> {
        if let Some(model) = self.graph(graph).ok()?.model {
            return Some(model);
        }
        if let Some(known) = self.shared.texts.lock().vocabularies.get(&graph) {
            return *known;
        }
        let of_graph = |remark| match remark {
            Remark::Vocabulary { graph: of, model } if of == graph => Some(model),
            _ => None,
        };
        // It stands before the graph, so it does not come later.
        let found = self.remarks().find_map(of_graph);
        self.shared.texts.lock().vocabularies.insert(graph, found);
        found
    }

    /// Texts of some token ids of the model that a graph is of, as far as they are known. What was read for it is kept for the
    /// states to come.
    pub fn texts_of(&self, graph: GraphId, ids: &[i32]) -> HashMap<i32, Vec<u8>> {
        let model = if ids.is_empty() { None } else { self.vocabulary_of(graph) };
        let Some(model) = model else { return HashMap::new() };
        let mut known = self.shared.texts.lock();
        let end = known.end;
        for entry in self.contents.chunks.iter().rev().take_while(|e| e.offset >= end) {
            if entry.kind == ChunkKind::Texts {
                let texts: Texts = self.content(entry.offset, ChunkKind::Texts).unwrap_or_default();
                known.of.extend(texts.into_iter().map(|(model, id, text)| ((model, id), text)));
            }
            known.end = known.end.max(entry.offset + 1);
        }
        let pending = &self.contents.pending.texts;
        let waiting = |id: i32| pending.iter().find(|t| (t.0, t.1) == (model, id)).map(|t| &t.2);
        let text = |id: &i32| known.of.get(&(model, *id)).or_else(|| waiting(*id)).cloned();
        ids.iter().filter_map(|id| Some((*id, text(id)?))).collect()
    }

    /// Text of one token id of the model that a graph is of, if it is known.
    pub fn text_of(&self, graph: GraphId, id: i32) -> Option<String> {
        let texts = self.texts_of(graph, &[id]);
        Some(String::from_utf8_lossy(texts.get(&id)?).into_owned())
    }
}
