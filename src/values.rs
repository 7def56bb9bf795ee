//! Values of tensors, or statistics of them, on their way to the ring, after an evaluation. They travel in pieces; of what attention is computed
//! from, all pieces of a tensor travel or none: half of it says nothing, and what is missing is counted.

use crate::abi::{Layout, TensorRef};
use crate::attention;
use crate::capture;
use crate::graph::GraphInfo;
use crate::host::Tensor;
use crate::session::Session;
use crate::statistics::{self, Element, Exponents};
use ggscope_format::capture::Capture;
use ggscope_format::record::Record;
use ggscope_format::ring::{Producer, ShmRing};
use ggscope_format::value::{Encoding, Statistics, Value};
use ggscope_format::{Bytes, EvalId, TensorId};
use half::f16;
use std::ops::Range;
use std::time::Instant;

/// Values travel in pieces of at most this many bytes.
const PIECE: usize = 256 << 10;
/// What a piece's record takes beside its bytes, at most.
const AROUND: usize = 64;
/// No evaluation writes more rows of a cache than it has tokens, and more of those are not believed.
const MAX_ROWS: i64 = 1 << 22;

/// Takes down which rows of K and V caches an evaluation has written, whether or not anything of it can be told.
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
    /// What is wanted.
    pub capture: &'a Capture,
    /// The evaluation.
    pub eval: EvalId,
    /// What is known of its graph.
    pub info: &'a GraphInfo,
    /// The ring's number, and the right to write to it.
    pub ring: u32,
    /// See `ring`.
    pub producer: &'a mut Producer<ShmRing>,
    /// Memory to work in.
    pub memory: &'a mut ValueMemory,
}

/// Memory that is kept from one evaluation to the next.
#[derive(Default)]
pub struct ValueMemory {
    /// A record, or the beginning of one.
    encoded: Vec<u8>,
    /// What was read from a device.
    piece: Vec<u8>,
    numbers: Vec<f32>,
    halves: Vec<f16>,
    exponents: Exponents,
}

/// A piece of a tensor, in bytes.
type Piece = Range<usize>;

impl Writer<'_> {
    /// Writes all that is wanted of the evaluation; if nothing of it is (`taken` is false) or the budget does not allow
    /// it, what no later evaluation could tell.
    ///
    /// # Safety
    /// The graph and its scheduler are live, and the computation has ended.
    pub unsafe fn write(&mut self, taken: bool) {
        // SAFETY: promised by the caller, for all of these.
        unsafe {
            self.always();
            if !taken || (self.capture.budget.is_some() && !self.affords()) {
                return;
            }
            if self.capture.statistics {
                self.statistics();
            } else {
                self.once();
                self.attention();
                self.captured();
            }
        }
    }

    /// Whether the budget allows what is to be written. If not, the collector is told.
    ///
    /// # Safety
    /// As of [`Writer::write`].
    unsafe fn affords(&mut self) -> bool {
        let (info, attention) = (self.info, &self.info.attention);
        // SAFETY: promised by the caller.
        let bytes = |tensor: usize| unsafe { self.bytes_of(tensor) } as u64;
        let captured = info.captured.iter().map(|c| match c.element {
            // SAFETY: as above.
            _ if self.capture.statistics => unsafe { rows_of(self.session.layout, c.tensor) * Statistics::ROW_BYTES },
            Some(Element::F32) if self.capture.as_f16 => bytes(c.tensor) / 2,
            _ => bytes(c.tensor),
        });
        let of_part = |&tensor: &usize| match attention.parts.get(&tensor) {
            Some(parts) => parts.iter().map(|part| part.len() as u64).sum(),
            None => bytes(tensor),
        };
        let mut caches = self.session.caches.lock();
        let rows = attention
            .caches
            .iter()
            .map(|cache| caches.rows(cache).n_to_tell() * cache.part.unwrap_or(cache.row_bytes) as u64);
        let all = captured.sum::<u64>() + attention.whole.iter().map(of_part).sum::<u64>() + rows.sum::<u64>();
        drop(caches);
        let mut pace = self.session.pace.lock();
        let affords = pace.affords(self.capture.budget, all, Instant::now());
        if !affords {
            self.memory.encoded.clear();
            Record::LeftOut(pace.left_out()).encode(&mut self.memory.encoded);
            self.producer.push(&self.memory.encoded);
        }
        affords
    }

    /// Writes the values that are wanted by name.
    ///
    /// # Safety
    /// As of [`Writer::write`].
    unsafe fn captured(&mut self) {
        for captured in &self.info.captured {
            // SAFETY: promised by the caller; the pieces end with the tensor.
            unsafe {
                let total = self.bytes_of(captured.tensor);
                for piece in pieces(0..total) {
                    if !self.push(captured.id, captured.tensor, captured.element, piece, total) {
                        break;
                    }
                }
            }
        }
    }

    /// Writes the matrices of adapters that no evaluation has told yet.
    ///
    /// # Safety
    /// As of [`Writer::write`].
    unsafe fn once(&mut self) {
        for matrix in &self.info.once {
            // SAFETY: promised by the caller: a tensor of the live graph.
            let tensor = unsafe { TensorRef::new(matrix.tensor as *mut Tensor, self.session.layout) };
            let Some(key) = attention::key(tensor).filter(|key| !self.session.told.lock().contains(key)) else {
                continue;
            };
            // SAFETY: as above; the pieces end with the tensor.
            unsafe {
                let total = self.bytes_of(matrix.tensor);
                let list: Vec<Piece> = pieces(0..total).collect();
                // What does not fit now fits after another evaluation.
                let fits = self.producer.fits_all_aside(list.iter().map(|piece| piece.len() + AROUND));
                if fits && list.into_iter().all(|piece| self.push(matrix.id, matrix.tensor, None, piece, total)) {
                    self.session.told.lock().insert(key);
                }
            }
        }
    }

    /// Writes statistics of the tensors that are wanted by name.
    ///
    /// # Safety
    /// As of [`Writer::write`].
    unsafe fn statistics(&mut self) {
        let Session { host, layout, .. } = *self.session;
        for (i, captured) in self.info.captured.iter().enumerate() {
            if let Some(next) = self.info.captured.get(i + 1) {
                let next = next.tensor as *mut Tensor;
                // SAFETY: promised by the caller: a tensor of the live graph, all of it.
                unsafe { capture::in_place(host, layout, next, 0, (host.ggml_nbytes)(next)) }.map(statistics::prefetch);
            }
            let Some(element) = captured.element else { continue };
            let memory = &mut *self.memory;
            // SAFETY: promised by the caller.
            let (tensor, bytes) = unsafe {
                let tensor = TensorRef::new(captured.tensor as *mut Tensor, layout);
                let total = (host.ggml_nbytes)(tensor.ptr());
                let bytes = match capture::in_place(host, layout, tensor.ptr(), 0, total) {
                    Some(bytes) => bytes,
                    None => {
                        memory.piece.resize(total, 0);
                        if !capture::read(host, layout, tensor.ptr(), 0, &mut memory.piece) {
                            continue;
                        }
                        &memory.piece
                    }
                };
                (tensor, bytes)
            };
            let ([n0, n1, n2, n3], nb) = (tensor.ne().map(|n| n.max(0) as usize), tensor.nb().map(|b| b as usize));
            let mut rows = vec![];
            let places = (0..n3).flat_map(|c| (0..n2).flat_map(move |b| (0..n1).map(move |a| [a, b, c])));
            for [a, b, c] in places.filter(|_| nb[0] == element.bytes()) {
                let begin = a * nb[1] + b * nb[2] + c * nb[3];
                let row = bytes.get(begin..begin + n0 * nb[0]);
                if let Some(row) = row.and_then(|row| element.numbers(row, &mut memory.numbers)) {
                    rows.push(statistics::of_row(row, &mut memory.exponents));
                }
            }
            if rows.is_empty() {
                continue;
            }
            let zeros = rows.iter().map(|row| u64::from(row.zeros)).sum();
            let (eval, graph, tensor) = (self.eval, self.info.id, captured.id);
            let record = Statistics { eval, graph, tensor, rows, histogram: memory.exponents.take(zeros) };
            memory.encoded.clear();
            Record::Statistics(record).encode(&mut memory.encoded);
            self.producer.push_aside(&memory.encoded, &[]);
        }
    }

    /// Writes what no later evaluation could tell.
    ///
    /// # Safety
    /// As of [`Writer::write`].
    unsafe fn always(&mut self) {
        let attention = &self.info.attention;
        for &tensor in &attention.always {
            // SAFETY: promised by the caller.
            unsafe {
                let total = self.bytes_of(tensor);
                self.whole(tensor, &pieces(0..total).collect::<Vec<_>>());
            }
        }
    }

    /// Writes what attention is computed from: of each cache the rows that are to be told, and tensors as they are.
    ///
    /// # Safety
    /// As of [`Writer::write`].
    unsafe fn attention(&mut self) {
        let taken = &self.info.attention;
        let session = self.session;
        if taken.whole.is_empty() && taken.caches.is_empty() {
            return;
        }
        let mut caches = session.caches.lock();
        for cache in &taken.caches {
            let rows = caches.rows(cache);
            let list: Vec<Piece> = cache.pieces(rows, PIECE);
            // SAFETY: promised by the caller; the rows are rows of the cache.
            if unsafe { self.whole(cache.tensor, &list) } {
                rows.told();
            } else if cache.part.is_some() {
                // Without what changed in it, its tokens would be weighed with what they were. The next evaluation has it.
                return;
            }
        }
        drop(caches);
        for &tensor in &taken.whole {
            // SAFETY: promised by the caller; parts are views of the tensor.
            unsafe {
                let total = self.bytes_of(tensor);
                let list: Vec<Piece> = match taken.parts.get(&tensor) {
                    Some(parts) => parts.iter().filter(|p| p.end <= total).cloned().flat_map(pieces).collect(),
                    None => pieces(0..total).collect(),
                };
                self.whole(tensor, &list);
            }
        }
    }

    /// Writes all pieces, or none and counts them.
    ///
    /// # Safety
    /// As of [`Writer::write`]; `tensor` is a tensor of the graph.
    unsafe fn whole(&mut self, tensor: usize, list: &[Piece]) -> bool {
        let Some(&id) = self.info.attention_ids.get(&tensor) else { return false };
        if !self.producer.fits_all_aside(list.iter().map(|piece| piece.len() + AROUND)) {
            let bytes = list.iter().map(|piece| piece.len() as u64).sum();
            self.session.count_all_lost(self.ring, list.len() as u64, bytes);
            return false;
        }
        // SAFETY: promised by the caller.
        unsafe {
            let total = self.bytes_of(tensor);
            let layout = self.session.layout;
            // Queries may be rounded. Caches are told in their own type, whatever that is.
            let is_query = self.info.attention.whole.contains(&tensor);
            let dtype = TensorRef::new(tensor as *mut Tensor, layout).dtype();
            let name = std::ffi::CStr::from_ptr((self.session.host.ggml_type_name)(dtype)).to_bytes();
            let element = Element::named(name).filter(|_| is_query);
            list.iter().all(|piece| self.push(id, tensor, element, piece.clone(), total))
        }
    }

    /// Bytes of a tensor.
    ///
    /// # Safety
    /// `tensor` is a live tensor of the graph.
    unsafe fn bytes_of(&self, tensor: usize) -> usize {
        // SAFETY: a tensor of the live graph.
        unsafe { (self.session.host.ggml_nbytes)(tensor as *const Tensor) }
    }

    /// Writes one piece. `false` if there is nothing to read: what does not fit is the ring's to count.
    ///
    /// # Safety
    /// As of [`Writer::write`]; `tensor` is a tensor of the graph, and the piece ends with it.
    unsafe fn push(
        &mut self,
        id: TensorId,
        tensor: usize,
        element: Option<Element>,
        piece: Piece,
        total: usize,
    ) -> bool {
        let Session { host, layout, .. } = *self.session;
        let ValueMemory { encoded, piece: read, halves, numbers, .. } = &mut *self.memory;
        let tensor = tensor as *mut Tensor;
        // SAFETY: the piece ends before the tensor does, whose computation has ended.
        let bytes = match unsafe { capture::in_place(host, layout, tensor, piece.start, piece.len()) } {
            Some(bytes) => bytes,
            None => {
                read.resize(piece.len(), 0);
                // SAFETY: as above.
                if !unsafe { capture::read(host, layout, tensor, piece.start, read) } {
                    return false;
                }
                read
            }
        };
        let may_round = self.capture.as_f16 && element == Some(Element::F32);
        let numbers = may_round.then(|| Element::F32.numbers(bytes, numbers)).flatten();
        let (encoding, bytes) = match numbers.and_then(|numbers| statistics::as_f16(numbers, halves)) {
            Some(halves) => (Encoding::F16, halves),
            None => (Encoding::Host, bytes),
        };
        let head = Value {
            eval: self.eval,
            graph: self.info.id,
            tensor: id,
            offset: piece.start as u64,
            total: Bytes(total as u64),
            encoding,
            bytes: vec![],
        };
        encoded.clear();
        head.encode_head(bytes.len(), encoded);
        // The bytes go from where they lie to the ring: nothing is copied twice.
        self.producer.push_aside(encoded, bytes);
        true
    }
}

/// Rows of a tensor.
///
/// # Safety
/// The tensor is live.
unsafe fn rows_of(layout: &Layout, tensor: usize) -> u64 {
    // SAFETY: promised by the caller.
    let ne = unsafe { TensorRef::new(tensor as *mut Tensor, layout) }.ne();
    ne[1..].iter().map(|&n| n.max(0) as u64).product()
}

fn pieces(all: Piece) -> impl Iterator<Item = Piece> {
    all.clone().step_by(PIECE).map(move |begin| begin..all.end.min(begin + PIECE))
}
