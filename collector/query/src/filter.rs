//! Which executions of operators are wanted: the filter that `dump`, the trace table and everything that sums over
//! executions share.

use super::range::Numbers;
use ggscope_format::columns::Row;
use ggscope_format::record::Tensor;
use ggscope_format::{TensorId, TokenPhase};
use ggscope_trace::Select;
use ggscope_trace::view::GraphView;
use globset::GlobMatcher;
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What a token is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The prompt.
    Prompt,
    /// The answer.
    Generate,
    /// It is not known: in JSON null.
    Unknown,
}

impl Phase {
    /// The name in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prompt => "PROMPT",
            Phase::Generate => "GENERATE",
            Phase::Unknown => "UNKNOWN",
        }
    }

    /// The words for them in options and parameters.
    pub const WORDS: [(&'static str, Phase); 3] =
        [("prompt", Phase::Prompt), ("generate", Phase::Generate), ("unknown", Phase::Unknown)];

    /// The phase of a word that an option takes.
    pub fn of_word(word: &str) -> Option<Phase> {
        Phase::WORDS.iter().find(|known| known.0 == word).map(|known| known.1)
    }

    /// How many there are.
    pub const COUNT: usize = 3;

    /// The phase of a token, as it is filtered and shown.
    pub fn of(phase: TokenPhase) -> Phase {
        match phase {
            TokenPhase::Prompt => Phase::Prompt,
            TokenPhase::Generate => Phase::Generate,
            TokenPhase::Unknown => Phase::Unknown,
        }
    }
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if *self == Phase::Unknown { s.serialize_none() } else { s.serialize_str(self.name()) }
    }
}

impl PartialSchema for Phase {
    fn schema() -> RefOr<Schema> {
        let kinds = SchemaType::from_iter([Type::String, Type::Null]);
        let values = [Some("PROMPT"), Some("GENERATE"), None];
        let description = "What a token is part of: the prompt or the answer; null if it is not known.";
        ObjectBuilder::new().schema_type(kinds).enum_values(Some(values)).description(Some(description)).into()
    }
}

impl ToSchema for Phase {}

/// Where an operator's source may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In a mapped file.
    Disk,
    /// In a buffer.
    Buffer,
}

/// Which executions are wanted; `None` lets all through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Numbers of tokens within the session.
    pub tokens: Option<Numbers>,
    /// Numbers of evaluations.
    pub evals: Option<Numbers>,
    /// Number of the context that computed it.
    pub context: Option<u32>,
    /// Layers.
    pub layers: Option<Numbers>,
    /// Kinds of operators.
    pub op: Option<GlobMatcher>,
    /// Names of nodes.
    pub name: Option<GlobMatcher>,
    /// Phase of a token of the evaluation.
    pub phase: Option<Phase>,
    /// Memory that one of the sources lies in.
    pub source: Option<Memory>,
    /// Number of the node within its graph.
    pub node: Option<u32>,
    /// Name of the node or of one of its sources, exactly.
    pub tensor: Option<String>,
    /// Nanoseconds that it took; lets through no execution without a time of its own.
    pub durations: Option<Numbers>,
    /// Whether captured values are wanted.
    pub values: bool,
}

/// The parts of an evaluation that the filter lets through.
pub struct Chosen {
    /// Indices of its tokens.
    pub tokens: Vec<usize>,
    /// Phase of the first of them; `Prompt` for an evaluation without tokens.
    pub phase: Phase,
    /// Number of the first of them in the recording.
    pub token: Option<u64>,
    /// Its id in the vocabulary, if recorded.
    pub id: Option<i32>,
    /// Its position, if recorded.
    pub pos: Option<i32>,
    /// Its sequences, if known.
    pub seq_ids: Option<Vec<i32>>,
    /// Its request, if known.
    pub request: Option<u32>,
}

impl Filter {
    /// The evaluations and tokens that a reader must look at.
    pub fn select(&self) -> Select {
        Select { evals: self.evals.map(|n| n.range()), tokens: self.tokens.map(|n| n.range()) }
    }

    pub(super) fn takes_node(&self, view: &GraphView, id: TensorId, tensor: &Tensor) -> bool {
        let graph = &view.stored.graph;
        let memory = |s: TensorId| if view.is_on_disk(s) { Memory::Disk } else { Memory::Buffer };
        let layer = view.layers.layer(id);
        let source_is = |s: &TensorId, name: &str| graph.tensor(*s).is_some_and(|s| s.name == name);
        let is_of = |name: &String| tensor.name == *name || tensor.src.iter().flatten().any(|s| source_is(s, name));
        self.layers.is_none_or(|n| layer.is_some_and(|layer| n.contains(u64::from(layer))))
            && self.op.as_ref().is_none_or(|glob| glob.is_match(graph.op(tensor)))
            && self.name.as_ref().is_none_or(|glob| glob.is_match(&tensor.name))
            && self.source.is_none_or(|wanted| tensor.src.iter().flatten().any(|&s| memory(s) == wanted))
            && self.node.is_none_or(|node| node == id.0)
            && self.tensor.as_ref().is_none_or(is_of)
    }

    pub(super) fn takes_duration(&self, duration: Option<u64>) -> bool {
        self.durations.is_none_or(|n| duration.is_some_and(|ns| n.contains(ns)))
    }

    /// Whether it lets evaluations of a context through.
    pub(super) fn takes_context(&self, context: u32) -> bool {
        self.context.is_none_or(|wanted| wanted == context)
    }

    /// The tokens of an evaluation that the filter takes; `None` if it takes nothing of it.
    pub fn choose(&self, row: &Row) -> Option<Chosen> {
        if !self.takes_context(row.evaluation.context) {
            return None;
        }
        let takes = |&i: &usize| {
            let number = row.first_token.saturating_add(i as u64);
            self.tokens.is_none_or(|n| n.contains(number))
                && self.phase.is_none_or(|phase| phase == Phase::of(row.phases[i]))
        };
        let tokens: Vec<usize> = (0..row.phases.len()).filter(takes).collect();
        let Some(&first) = tokens.first() else {
            // Without tokens it is no part of an answer, but it was computed.
            let unasked = self.tokens.is_none() && self.phase.is_none_or(|phase| phase == Phase::Prompt);
            return (row.phases.is_empty() && unasked).then_some(Chosen {
                tokens,
                phase: Phase::Prompt,
                token: None,
                id: None,
                pos: None,
                seq_ids: None,
                request: None,
            });
        };
        Some(Chosen {
            phase: Phase::of(row.phases[first]),
            token: Some(row.first_token.saturating_add(first as u64)),
            id: row.evaluation.tokens.get(first).copied(),
            pos: row.evaluation.positions.get(first).copied(),
            seq_ids: row.evaluation.sequences_of_tokens().nth(first).map(<[i32]>::to_vec),
            request: row.requests.get(first).copied().flatten().map(|r| r.0),
            tokens,
        })
    }
}
