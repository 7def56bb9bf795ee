//! The kinds of parts that add to the residual stream.

use ggscope_format::structure;
use serde::Serialize;
use utoipa::ToSchema;

/// What adds to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Attention and its output projection.
    Attention,
    /// The feed-forward network, experts included.
    FeedForward,
    /// A state-space or another recurrent block.
    State,
    /// A LoRA adapter on the last matrix of a part, or on the embeddings.
    Adapter,
    /// A control vector.
    ControlVector,
    /// What the program feeds besides tokens, such as features of an image.
    Input,
    /// An earlier state of the stream, added again.
    Earlier,
}

impl Part {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Part::Attention => "attention",
            Part::FeedForward => "feed-forward",
            Part::State => "state",
            Part::Adapter => "adapter",
            Part::ControlVector => "control vector",
            Part::Input => "input",
            Part::Earlier => "earlier state",
        }
    }

    /// Whether it is what mixes tokens in a layer: attention, or what stands in its place.
    pub fn mixes_tokens(self) -> bool {
        matches!(self, Part::Attention | Part::State)
    }

    /// Whether it is the feed-forward network.
    pub fn is_feed_forward(self) -> bool {
        self == Part::FeedForward
    }

    /// Whether it comes from outside of the model's own blocks.
    pub fn is_from_outside(self) -> bool {
        matches!(self, Part::Adapter | Part::ControlVector | Part::Input)
    }
}

impl std::convert::From<structure::Part> for Part {
    fn from(part: structure::Part) -> Part {
        match part {
            structure::Part::Attention => Part::Attention,
            structure::Part::FeedForward => Part::FeedForward,
            structure::Part::State => Part::State,
            structure::Part::Adapter => Part::Adapter,
            structure::Part::ControlVector => Part::ControlVector,
            structure::Part::Input => Part::Input,
            structure::Part::Earlier => Part::Earlier,
        }
    }
}
