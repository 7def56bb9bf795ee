//! How much one question may ask for, how many questions run at a time, and the words of shared parameters. The handlers check
//! these, and the document states them.

use ggscope_query::dump::{Memory, Phase};

/// The largest answer in bytes; a larger one has to be asked for in pages.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Queries that run at the same time.
pub(super) const MAX_QUERIES: usize = 4;
/// Connections that are told what happens.
pub(super) const MAX_VIEWERS: usize = 64;

pub(super) const MAX_SPAN: u64 = 256;

/// Items of the largest page.
pub(super) const MAX_LIMIT: usize = 1000;

/// Blocks of the largest page.
pub(super) const MAX_BLOCKS: usize = 256;

/// Regions of memory in a page at most: a map of all of them is drawn from one.
pub(super) const MAX_REGIONS: usize = 10_000;

pub(super) const PHASES: [(&str, Phase); 3] = Phase::WORDS;

pub(super) const MEMORIES: [(&str, Memory); 2] = [("disk", Memory::Disk), ("buffer", Memory::Buffer)];
