//! Values of tensors on their way to the ring, after an evaluation. They travel in pieces; of what attention is computed
//! from, all pieces of a tensor travel or none: half of it says nothing, and what is missing is counted.

use crate::abi::TensorRef;
use crate::capture;
use crate::graph::GraphInfo;
use crate::host::Tensor;
use crate::session::Session;
use ggscope_format::record::{Record, Value};
use ggscope_format::ring::Lease;
use ggscope_format::{Bytes, EvalId, TensorId};
use std::ops::Range;

/// Values travel in pieces of at most this many bytes.
const PIECE: usize = 256 << 10;
/// What a piece's record takes beside its bytes, at most.
const AROUND: usize = 64;
/// No evaluation writes more rows of a cache than it has tokens, and more of those are not believed.
const MAX_ROWS: i64 = 1 << 22;

/// Takes down which rows of K caches an evaluation has written, whether or not anything of it can be told.
///
/// # Safety
/// The evaluation has ended, and its graph is live.
pub unsafe fn note_written(session: &Session, info: &GraphInfo) {
    let taken = &info.attention;
    if taken.caches.is_empty() && taken.changed.is_empty() {
        return;
    }
    let mut caches = session.caches.lock();
    taken.changed.iter().for_each(|&key| caches.changed(key));
    for cache in &taken.caches {
        let rows = caches.rows(cache);
        for &places in &cache.places {
            // SAFETY: promised by the caller.
            unsafe { places_of(session, places) }.into_iter().for_each(|row| rows.wrote(row));
        }
    }
}

/// The rows that a tensor of `i64` or `i32` names.
///
/// # Safety
/// The tensor is live.
unsafe fn places_of(session: &Session, places: usize) -> Vec<u64> {
    // SAFETY: promised by the caller.
    let tensor = unsafe { TensorRef::new(places as *mut Tensor, session.layout) };
    let (n, width) = (tensor.ne()[0], tensor.nb()[0] as usize);
    if !(0..=MAX_ROWS).contains(&n) || !matches!(width, 4 | 8) {
        return vec![];
    }
    let mut bytes = vec![0; n as usize * width];
    // SAFETY: as above; the tensor has `n` elements of `width` bytes.
    if !unsafe { capture::read(session.host, session.layout, tensor.ptr(), 0, &mut bytes) } {
        return vec![];
    }
    let number = |b: &[u8]| match b.try_into() {
        Ok(eight) => i64::from_le_bytes(eight),
        Err(_) => b.try_into().map_or(-1, |four| i64::from(i32::from_le_bytes(four))),
    };
    bytes.chunks_exact(width).filter_map(|b| u64::try_from(number(b)).ok()).collect()
}

/// Where values of one evaluation go.
pub struct Writer<'a> {
    /// Who wants them.
    pub session: &'a Session,
    /// The evaluation.
    pub eval: EvalId,
    /// What is known of its graph.
    pub info: &'a GraphInfo,
    /// The ring's number, and the right to write to it.
    pub ring: u32,
    /// See `ring`.
    pub lease: &'a mut Lease,
    /// Memory for a record.
    pub encoded: &'a mut Vec<u8>,
    /// Memory for a piece.
    pub piece: &'a mut Vec<u8>,
}

/// A piece of a tensor, in bytes.
type Piece = Range<usize>;

impl Writer<'_> {
    /// Writes the values that are wanted by name.
    ///
    /// # Safety
    /// The graph and its scheduler are live.
    pub unsafe fn captured(&mut self) {
        for &(id, tensor) in &self.info.captured {
            // SAFETY: promised by the caller; the pieces end with the tensor.
            unsafe {
                let total = self.bytes_of(tensor);
                for piece in pieces(0..total) {
                    if !self.push(id, tensor, piece, total) {
                        break;
                    }
                }
            }
        }
    }

    /// Writes what attention is computed from: of each cache the rows that are to be told, and tensors as they are.
    ///
    /// # Safety
    /// As for [`Writer::captured`].
    pub unsafe fn attention(&mut self) {
        let taken = &self.info.attention;
        let session = self.session;
        if taken.whole.is_empty() {
            return;
        }
        let mut caches = session.caches.lock();
        for cache in &taken.caches {
            let rows = caches.rows(cache);
            let most = (PIECE / cache.row_bytes).max(1) as u64;
            let bytes = |rows: Range<u64>| rows.start as usize * cache.row_bytes..rows.end as usize * cache.row_bytes;
            let list: Vec<Piece> = rows.to_tell(most).into_iter().map(bytes).collect();
            // SAFETY: promised by the caller; the rows are rows of the cache.
            if unsafe { self.whole(cache.tensor, &list) } {
                rows.told();
            }
        }
        drop(caches);
        for &tensor in &taken.whole {
            // SAFETY: promised by the caller.
            unsafe {
                let total = self.bytes_of(tensor);
                self.whole(tensor, &pieces(0..total).collect::<Vec<_>>());
            }
        }
    }

    /// Writes all pieces, or none and counts them.
    unsafe fn whole(&mut self, tensor: usize, list: &[Piece]) -> bool {
        let Some(&id) = self.info.attention_ids.get(&tensor) else { return false };
        if !self.lease.producer.fits_all(list.iter().map(|piece| piece.len() + AROUND)) {
            let bytes = list.iter().map(|piece| piece.len() as u64).sum();
            self.session.count_all_lost(self.ring, list.len() as u64, bytes);
            return false;
        }
        // SAFETY: promised by the caller.
        unsafe {
            let total = self.bytes_of(tensor);
            list.iter().all(|piece| self.push(id, tensor, piece.clone(), total))
        }
    }

    unsafe fn bytes_of(&self, tensor: usize) -> usize {
        // SAFETY: a tensor of the live graph.
        unsafe { (self.session.host.ggml_nbytes)(tensor as *const Tensor) }
    }

    /// Writes one piece. `false` if there is nothing to read: what does not fit is the ring's to count.
    unsafe fn push(&mut self, id: TensorId, tensor: usize, piece: Piece, total: usize) -> bool {
        let Session { host, layout, .. } = *self.session;
        self.piece.clear();
        self.piece.resize(piece.len(), 0);
        // SAFETY: the piece ends before the tensor does.
        if !unsafe { capture::read(host, layout, tensor as *mut Tensor, piece.start, self.piece) } {
            return false;
        }
        let record = Record::Value(Value {
            eval: self.eval,
            graph: self.info.id,
            tensor: id,
            offset: piece.start as u64,
            total: Bytes(total as u64),
            bytes: std::mem::take(self.piece),
        });
        self.encoded.clear();
        record.encode(self.encoded);
        self.lease.producer.push(self.encoded);
        if let Record::Value(value) = record {
            *self.piece = value.bytes;
        }
        true
    }
}

fn pieces(all: Piece) -> impl Iterator<Item = Piece> {
    all.clone().step_by(PIECE).map(move |begin| begin..all.end.min(begin + PIECE))
}
