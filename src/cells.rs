//! Sequences without a batch: which tokens belong together, as the cells of the cache show it.
//!
//! A host whose calls of llama.cpp are not seen (a binding that asks `dlsym` for its functions, a static build) still
//! computes graphs that say, for each token, the cell that its key is written to and the cells that its mask lets it see.
//! A token continues a sequence if the last token of that sequence is the latest that it sees. If it sees an earlier one
//! last, the sequence was cut there, where the token takes one of its cells, or else copied. If it sees none, it begins a
//! sequence. The numbers are ggscope's own.

use crate::abi::TensorRef;
use crate::capture;
use crate::graph::GraphRef;
use crate::host::Tensor;
use crate::session::Session;
use ggscope_format::record::{Evaluation, MemoryOp, SequencesFrom};
use std::collections::HashMap;
use std::ffi::CStr;

/// Numbers of a mask that are read for one evaluation, at most: a prompt of 512 tokens in a cache of 65,536 cells.
const MAX_MASK: usize = 1 << 25;

/// The inputs of a graph that say which cells its tokens are written to and see. Addresses of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellInputs {
    /// `i64 [n_tokens]`: the row of the cache that each token's key is written to.
    rows: usize,
    /// `[n_cells, n_tokens of a stream, 1, n_streams]`: 0 or a bias where a token sees a cell, `-inf` where not.
    mask: usize,
    /// Cells of one stream of the cache.
    stream_cells: i64,
}

/// What is known of the cells of a context.
#[derive(Default)]
pub struct Cells {
    owners: HashMap<i64, Owner>,
    /// The cell of the last token of each sequence.
    last: HashMap<i32, i64>,
    next: i32,
    /// Tokens so far.
    order: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    sequence: i32,
    /// How many tokens were written before it.
    order: u64,
}

/// What the program has done to a sequence between two of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// It has removed the end.
    Cut,
    /// It has copied another one up to here.
    CopyOf(i32),
}

/// A token: the cell that it is written to, and the cells that it sees.
struct Token {
    cell: i64,
    sees: Vec<i64>,
}

/// Finds the inputs of the first attention of a graph. To be called before the scheduler replaces sources by copies.
pub fn inputs(graph: GraphRef<'_>) -> Option<CellInputs> {
    let (host, layout) = (graph.host(), graph.layout());
    // SAFETY: a node of the live graph; the name is a constant of the host.
    let op = |node: TensorRef<'_>| unsafe { CStr::from_ptr((host.ggml_op_desc)(node.ptr())) }.to_bytes();
    // SAFETY: the number is a tensor's type, so the host knows it; the name is a constant of the host.
    let dtype = |t: TensorRef<'_>| unsafe { CStr::from_ptr((host.ggml_type_name)(t.dtype())) }.to_bytes();
    // SAFETY: sources and viewed tensors of a node belong to the graph.
    let tensor = |t: *mut Tensor| (!t.is_null()).then(|| unsafe { TensorRef::new(t, layout) });
    let mut rows: Option<(usize, i64)> = None;
    for node in (0..graph.n_nodes).map(|i| graph.node(i)) {
        let mask = match op(node) {
            b"SET_ROWS" => {
                let (into, places) = (tensor(node.view_src()), tensor(node.src(1)));
                if let (Some(into), Some(places)) = (into, places)
                    // Operator 0 is NONE in every release: what the graph does not compute is a cache.
                    && into.op() == 0
                    && dtype(places) == b"i64"
                {
                    rows.get_or_insert((places.ptr() as usize, into.ne()[1]));
                }
                continue;
            }
            b"FLASH_ATTN_EXT" => node.src(3),
            b"SOFT_MAX" => node.src(1),
            _ => continue,
        };
        let (rows, stream_cells) = rows?;
        return (!mask.is_null()).then_some(CellInputs { rows, mask: mask as usize, stream_cells });
    }
    None
}

impl Cells {
    /// Notes in `record` which sequence each token belongs to. Returns how the program must have changed the context's
    /// memory before.
    ///
    /// # Safety
    /// The inputs are live tensors of the graph that is about to be computed.
    pub unsafe fn note(&mut self, session: &Session, inputs: CellInputs, record: &mut Evaluation) -> Vec<MemoryOp> {
        // SAFETY: promised by the caller.
        let Some(tokens) = (unsafe { read(session, inputs, record.n_tokens as usize) }) else { return vec![] };
        let mut changes = vec![];
        record.sequences_from = SequencesFrom::Cells;
        for (i, token) in tokens.iter().enumerate() {
            let (sequence, change) = self.place(token);
            record.sequences.push(sequence);
            let position = record.positions.get(i).copied();
            changes.extend(position.and_then(|position| match change? {
                Change::Cut => Some(MemoryOp::Remove { sequence, positions: (position, -1) }),
                Change::CopyOf(from) => Some(MemoryOp::Copy { from, to: sequence, positions: (0, position) }),
            }));
        }
        changes
    }

    /// The sequence of the next token, and what the program must have done to it.
    fn place(&mut self, token: &Token) -> (i32, Option<Change>) {
        let others = token.sees.iter().filter(|&&cell| cell != token.cell);
        let latest =
            others.filter_map(|&cell| Some((self.owners.get(&cell)?, cell))).max_by_key(|(owner, _)| owner.order);
        let before = self.owners.get(&token.cell).map(|owner| owner.sequence);
        let (sequence, change) = match latest.map(|(owner, cell)| (owner.sequence, cell)) {
            Some((sequence, cell)) if self.last.get(&sequence) == Some(&cell) => (sequence, None),
            Some((sequence, _)) if before == Some(sequence) => (sequence, Some(Change::Cut)),
            other => {
                self.next = self.next.wrapping_add(1);
                (self.next - 1, other.map(|(from, _)| Change::CopyOf(from)))
            }
        };
        self.order += 1;
        self.owners.insert(token.cell, Owner { sequence, order: self.order });
        self.last.insert(sequence, token.cell);
        (sequence, change)
    }
}

/// # Safety
/// The inputs are live tensors.
unsafe fn read(session: &Session, inputs: CellInputs, n_tokens: usize) -> Option<Vec<Token>> {
    let (host, layout) = (session.host, session.layout);
    // SAFETY: promised by the caller.
    let (rows, mask) = unsafe {
        (TensorRef::new(inputs.rows as *mut Tensor, layout), TensorRef::new(inputs.mask as *mut Tensor, layout))
    };
    let [n_cells, per_stream, _, n_streams] = mask.ne().map(|n| usize::try_from(n).unwrap_or(0));
    let numbers = n_cells.checked_mul(per_stream)?.checked_mul(n_streams)?;
    let own = n_tokens.checked_div(n_streams)?;
    if rows.ne()[0] != n_tokens as i64 || own > per_stream || numbers > MAX_MASK || inputs.stream_cells <= 0 {
        return None;
    }
    let mut places = vec![0_i64; n_tokens];
    // SAFETY: the tensor has so many `i64`, which are so many bytes.
    let there = unsafe {
        let bytes = std::slice::from_raw_parts_mut(places.as_mut_ptr().cast::<u8>(), n_tokens * 8);
        capture::read(host, layout, rows.ptr(), 0, bytes)
    };
    // SAFETY: the number is a tensor's type, so the host knows it; the name is a constant of the host.
    let dtype = unsafe { CStr::from_ptr((host.ggml_type_name)(mask.dtype())) };
    let bytes_each = match dtype.to_bytes() {
        b"f16" => 2,
        b"f32" => 4,
        _ => return None,
    };
    let mut bytes = vec![0; numbers * bytes_each];
    // SAFETY: a mask is contiguous, and has so many numbers.
    if !there || !unsafe { capture::read(host, layout, mask.ptr(), 0, &mut bytes) } {
        return None;
    }
    let hidden: &[u8] = if bytes_each == 2 { &[0x00, 0xfc] } else { &[0x00, 0x00, 0x80, 0xff] };
    let token = |(i, &cell): (usize, &i64)| {
        let (stream, row) = (i / own, i % own);
        let begin = (stream * per_stream + row) * n_cells * bytes_each;
        let base = cell - cell.rem_euclid(inputs.stream_cells);
        let numbers = bytes[begin..begin + n_cells * bytes_each].chunks_exact(bytes_each);
        let sees = numbers.enumerate().filter(|(_, number)| *number != hidden).map(|(cell, _)| base + cell as i64);
        Token { cell, sees: sees.collect() }
    };
    Some(places.iter().enumerate().map(token).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens, each as the cell that it is written to and the cells that it sees.
    fn sequences(cells: &mut Cells, tokens: &[(i64, &[i64])]) -> Vec<i32> {
        tokens.iter().map(|&(cell, sees)| cells.place(&Token { cell, sees: sees.to_vec() }).0).collect()
    }

    #[test]
    fn a_token_that_sees_the_last_of_a_sequence_continues_it() {
        let mut cells = Cells::default();
        assert_eq!(sequences(&mut cells, &[(0, &[0]), (1, &[0, 1]), (2, &[0, 1, 2])]), [0, 0, 0]);
        assert_eq!(sequences(&mut cells, &[(3, &[3]), (4, &[3, 4])]), [1, 1], "another slot");
        assert_eq!(sequences(&mut cells, &[(5, &[0, 1, 2, 5]), (6, &[3, 4, 6])]), [0, 1], "both answer");
        assert_eq!(sequences(&mut cells, &[(7, &[4, 6, 7])]), [1], "a window hides the beginning");
    }

    #[test]
    fn a_token_that_sees_less_than_all_of_a_sequence_is_a_fork_of_it() {
        let mut cells = Cells::default();
        sequences(&mut cells, &[(0, &[0]), (1, &[0, 1])]);
        let both = sequences(&mut cells, &[(2, &[0, 1, 2]), (3, &[0, 1, 3])]);
        assert_eq!(both, [0, 1]);
        assert_eq!(sequences(&mut cells, &[(4, &[0, 1, 2, 4]), (5, &[0, 1, 3, 5])]), [0, 1]);
    }

    #[test]
    fn a_sequence_that_goes_on_in_one_of_its_own_cells_was_cut() {
        let mut cells = Cells::default();
        sequences(&mut cells, &[(0, &[0]), (1, &[0, 1]), (2, &[0, 1, 2])]);
        let cut = cells.place(&Token { cell: 1, sees: vec![0, 1] });
        assert_eq!(cut, (0, Some(Change::Cut)));
        let copy = cells.place(&Token { cell: 7, sees: vec![0, 7] });
        assert_eq!(copy, (1, Some(Change::CopyOf(0))));
    }

    #[test]
    fn a_cell_that_is_written_again_belongs_to_the_new_sequence() {
        let mut cells = Cells::default();
        sequences(&mut cells, &[(0, &[0]), (1, &[0, 1])]);
        assert_eq!(sequences(&mut cells, &[(0, &[0]), (1, &[0, 1]), (2, &[0, 1, 2])]), [1, 1, 1]);
    }
}
