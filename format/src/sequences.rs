//! Sequences: where the ids of an evaluation's tokens come from, and what a program does to the memory of a context
//! between its evaluations.

use crate::ids::EvalId;
use serde::{Deserialize, Serialize};

/// Where the sequences of an evaluation's tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SequencesFrom {
    /// They are unknown.
    #[default]
    Nowhere,
    /// From the batch that the program passed to llama.cpp. The ids are the program's.
    Batch,
    /// From the cells of the cache that the graph lets each token see. The ids are ggscope's.
    Cells,
}

/// A change of a context's memory: what llama.cpp keeps of the tokens that it has evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryChange {
    /// The next evaluation of the session: the change comes after all earlier ones of the context.
    pub before: EvalId,
    /// The context, as in [`crate::record::Evaluation::context`].
    pub context: u32,
    /// What changes.
    pub op: MemoryOp,
}

/// What a program does to a context's memory. Positions are a range without its end; a negative begin is the first
/// position and a negative end is behind the last, as in llama.cpp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemoryOp {
    /// `llama_memory_clear`: all sequences are empty.
    Clear,
    /// `llama_memory_seq_rm`.
    Remove {
        /// The sequence; negative for all.
        sequence: i32,
        /// The positions.
        positions: (i32, i32),
    },
    /// `llama_memory_seq_cp`.
    Copy {
        /// Of this sequence.
        from: i32,
        /// To that sequence.
        to: i32,
        /// The positions.
        positions: (i32, i32),
    },
    /// `llama_memory_seq_keep`: every other sequence is empty.
    Keep {
        /// The sequence.
        sequence: i32,
    },
    /// `llama_memory_seq_add`.
    Shift {
        /// The sequence; negative for all.
        sequence: i32,
        /// The positions.
        positions: (i32, i32),
        /// What is added to them.
        by: i32,
    },
    /// `llama_memory_seq_div`.
    Divide {
        /// The sequence; negative for all.
        sequence: i32,
        /// The positions.
        positions: (i32, i32),
        /// What they are divided by.
        by: i32,
    },
    /// A saved state was restored: what the sequence holds is unknown.
    Restore {
        /// The sequence; negative for all.
        sequence: i32,
    },
}
