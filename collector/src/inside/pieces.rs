//! The bytes of a tensor as far as they were captured: all of it, or the parts that were wanted.

use ggscope_format::record::Value;

/// Pieces of one tensor.
#[derive(Debug)]
pub struct Pieces {
    total: u64,
    /// Where each begins; ascending, and none touches the next.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Pieces {
    /// No piece of a tensor of `total` bytes.
    pub fn new(total: u64) -> Pieces {
        Pieces { total, pieces: vec![] }
    }

    /// Adds a piece. One that does not follow the others is left out: pieces come in order.
    pub fn add(&mut self, value: Value) {
        match self.pieces.last_mut() {
            Some(last) if last.0 + last.1.len() as u64 == value.offset => last.1.extend_from_slice(&value.bytes),
            Some(last) if last.0 + last.1.len() as u64 > value.offset => {}
            _ => self.pieces.push((value.offset, value.bytes)),
        }
    }

    /// `n` bytes from `offset` on, if they are there.
    pub fn get(&self, offset: u64, n: usize) -> Option<&[u8]> {
        let at = self.pieces.partition_point(|piece| piece.0 <= offset).checked_sub(1)?;
        let (begin, bytes) = &self.pieces[at];
        let from = usize::try_from(offset - begin).ok()?;
        bytes.get(from..from.checked_add(n)?)
    }

    /// All of the tensor, if it is there.
    pub fn whole(&self) -> Option<&[u8]> {
        self.get(0, usize::try_from(self.total).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::Bytes;

    #[test]
    fn pieces_are_one_where_they_touch_and_what_is_missing_is_not_there() {
        let mut pieces = Pieces::new(10);
        for (offset, bytes) in [(0, vec![0, 1]), (2, vec![2]), (6, vec![6, 7]), (7, vec![9])] {
            pieces.add(Value { offset, total: Bytes(10), bytes, ..Value::default() });
        }
        assert_eq!(pieces.get(1, 2), Some(&[1, 2][..]));
        assert_eq!(pieces.get(6, 2), Some(&[6, 7][..]));
        assert_eq!((pieces.get(2, 2), pieces.get(3, 1), pieces.get(7, 2), pieces.whole()), (None, None, None, None));
        assert_eq!(pieces.get(u64::MAX, 1), None);
        let mut whole = Pieces::new(2);
        whole.add(Value { total: Bytes(2), bytes: vec![3, 4], ..Value::default() });
        assert_eq!(whole.whole(), Some(&[3, 4][..]));
    }
}
