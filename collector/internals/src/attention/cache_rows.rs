//! The rows of a cache as they are after an evaluation, in the form that is fast to multiply: of each head the same
//! element of [`LANES`] rows side by side, in the precision of the cache where that is a 16-bit float. Memory goes to pages of
//! rows that were told, whatever numbers they claim to have.

use ggscope_compute::attention::kernel::{LANES, Panel};
use ggscope_compute::attention::{Elements, LANES as THEIR_LANES, PAGE as THEIR_PAGE, Page as PageOfKeys};
use ggscope_model::ggml::GgmlType;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of a page: as many as a word has bits.
pub const PAGE: u64 = u64::BITS as u64;
/// Blocks of rows of a page.
const BLOCKS: usize = PAGE as usize / LANES;
// A GPU takes pages as they are.
const _: () = assert!(THEIR_PAGE == PAGE as usize && THEIR_LANES == LANES);

/// A number that was not there before.
fn next_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// How the heads lie in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Type of its elements.
    pub ty: GgmlType,
    /// Elements of a head.
    pub n_embd: usize,
    /// Heads.
    pub n_head: usize,
    /// Where in the row the first head begins, in bytes.
    pub first: usize,
    /// From the begin of one head to that of the next, in bytes.
    pub stride: usize,
}

impl Shape {
    /// Bytes of a head, if all heads lie within the row.
    pub fn head_bytes(&self) -> Option<usize> {
        let bytes = usize::try_from(self.ty.row_size(self.n_embd as u64)?).ok().filter(|&bytes| bytes > 0)?;
        let end = self.stride.checked_mul(self.n_head.checked_sub(1)?)?.checked_add(self.first)?.checked_add(bytes)?;
        (end <= self.row_bytes).then_some(bytes)
    }
}

/// Rows that lie together, and which of them are there.
#[derive(Clone, Debug)]
struct Page {
    told: u64,
    /// Another one after each row that was put.
    stamp: u64,
    /// `[LANES, n_embd, BLOCKS, n_head]`, in one of the two.
    halves: Vec<f16>,
    floats: Vec<f32>,
}

/// Rows of a cache.
#[derive(Clone, Debug)]
pub struct Rows {
    /// How they are laid out.
    pub shape: Shape,
    /// A number that no others have.
    pub id: u64,
    head_bytes: usize,
    pages: HashMap<u64, Page>,
    /// Rows that were told since [`Rows::begin`].
    told: Vec<u64>,
}

impl Rows {
    /// No rows. `None` if the shape contradicts itself.
    pub fn new(shape: Shape) -> Option<Rows> {
        let head_bytes = shape.head_bytes()?;
        Some(Rows { shape, id: next_number(), head_bytes, pages: HashMap::new(), told: vec![] })
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        let page = |page: &Page| size_of::<Page>() + page.halves.len() * 2 + page.floats.len() * 4;
        self.pages.values().map(page).sum()
    }

    /// An evaluation begins that writes rows.
    pub fn begin(&mut self) {
        self.told.clear();
    }

    /// The rows that were told since [`Rows::begin`]. Without any it is not known what was written.
    pub fn told(&self) -> &[u64] {
        &self.told
    }

    /// No row is known any more.
    pub fn clear(&mut self) {
        self.pages.clear();
    }

    /// A row is not known any more.
    pub fn forget(&mut self, row: u64) {
        if let Some(page) = self.pages.get_mut(&(row / PAGE)) {
            page.told &= !(1 << (row % PAGE));
        }
    }

    /// Takes whole rows from byte `offset` of the cache on.
    pub fn take(&mut self, offset: u64, bytes: &[u8]) {
        let row_bytes = self.shape.row_bytes as u64;
        let first = offset.div_ceil(row_bytes);
        let skipped = first.checked_mul(row_bytes).and_then(|begin| usize::try_from(begin - offset).ok());
        let skipped = skipped.unwrap_or(usize::MAX);
        for (row, bytes) in (first..).zip(bytes.get(skipped..).unwrap_or_default().chunks_exact(self.shape.row_bytes)) {
            let Shape { first, stride, .. } = self.shape;
            let n = self.head_bytes;
            self.put(row, |head| &bytes[first + head * stride..][..n]);
        }
    }

    /// Puts a row, whose heads have these bytes.
    pub fn put<'b>(&mut self, row: u64, head: impl Fn(usize) -> &'b [u8]) {
        let Shape { ty, n_embd, n_head, .. } = self.shape;
        let n = n_embd * n_head * PAGE as usize;
        let page = self.pages.entry(row / PAGE).or_insert_with(|| {
            let of = |is: bool| if is { n } else { 0 };
            let halves = ty == GgmlType::F16;
            Page { told: 0, stamp: 0, halves: vec![f16::ZERO; of(halves)], floats: vec![0.0; of(!halves)] }
        });
        let at = (row % PAGE) as usize;
        let mut floats = vec![0.0; if ty == GgmlType::F16 { 0 } else { n_embd }];
        for h in 0..n_head {
            let begin = (h * BLOCKS + at / LANES) * n_embd * LANES + at % LANES;
            let bytes = head(h);
            if ty == GgmlType::F16 {
                let places = page.halves[begin..].iter_mut().step_by(LANES);
                places.zip(bytes.as_chunks().0).for_each(|(to, &two)| *to = f16::from_le_bytes(two));
            } else if ty.dequantize(bytes, &mut floats).is_ok() {
                page.floats[begin..].iter_mut().step_by(LANES).zip(&floats).for_each(|(to, &x)| *to = x);
            } else {
                return;
            }
        }
        page.told |= 1 << at;
        page.stamp = next_number();
        self.told.push(row);
    }

    /// Whether a row is there.
    pub fn has(&self, row: u64) -> bool {
        self.pages.get(&(row / PAGE)).is_some_and(|page| page.told >> (row % PAGE) & 1 == 1)
    }

    /// The first of the rows that is not there.
    pub fn first_missing(&self, rows: Range<u64>) -> Option<u64> {
        let mut at = rows.start;
        while at < rows.end {
            let known = self.pages.get(&(at / PAGE)).map_or(0, |page| page.told) >> (at % PAGE);
            let n = u64::from(known.trailing_ones()).min(PAGE - at % PAGE);
            at += n;
            if !at.is_multiple_of(PAGE) || n == 0 {
                return Some(at).filter(|&at| at < rows.end);
            }
        }
        None
    }

    /// The elements of a head in all rows of a page, `[LANES, n_embd, BLOCKS]`. `None` if none of the rows is there.
    pub fn panel(&self, page: u64, head: usize) -> Option<Panel<'_>> {
        let n = self.shape.n_embd * PAGE as usize;
        let page = self.pages.get(&page)?;
        let of_head = head * n..(head + 1) * n;
        match page.halves.is_empty() {
            true => page.floats.get(of_head).map(Panel::Floats),
            false => page.halves.get(of_head).map(Panel::Halves),
        }
    }

    /// The elements of all heads in all rows of a page, as a GPU takes them. `None` if none of the rows is there.
    pub fn page(&self, page: u64) -> Option<PageOfKeys<'_>> {
        let page = self.pages.get(&page)?;
        let elements = match page.halves.as_slice() {
            [] => Elements::F32(&page.floats),
            halves => Elements::F16(halves.reinterpret_cast()),
        };
        Some(PageOfKeys { stamp: page.stamp, elements })
    }

    /// The elements of a head in one row, if it is there.
    pub fn row(&self, row: u64, head: usize) -> Option<Vec<f32>> {
        let page = self.pages.get(&(row / PAGE)).filter(|_| self.has(row) && head < self.shape.n_head)?;
        let (at, n_embd) = ((row % PAGE) as usize, self.shape.n_embd);
        let begin = (head * BLOCKS + at / LANES) * n_embd * LANES + at % LANES;
        let element = |d: usize| match page.halves.get(begin + d * LANES) {
            Some(half) => half.to_f32(),
            None => page.floats[begin + d * LANES],
        };
        Some((0..n_embd).map(element).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(ty: GgmlType, n_embd: usize, n_head: usize) -> Shape {
        let head = ty.row_size(n_embd as u64).unwrap() as usize;
        Shape { row_bytes: head * n_head + 4, ty, n_embd, n_head, first: 4, stride: head }
    }

    fn bytes(ty: GgmlType, shape: Shape, rows: Range<u64>) -> Vec<u8> {
        let row = |row: u64| {
            let values: Vec<f32> = (0..shape.n_embd * shape.n_head).map(|i| row as f32 + i as f32 / 128.0).collect();
            let own = match ty {
                GgmlType::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                _ => ty.quantize(&values, shape.n_embd).unwrap(),
            };
            [vec![0; 4], own].concat()
        };
        rows.flat_map(row).collect()
    }

    #[test]
    fn rows_come_back_as_they_were_in_whatever_type() {
        for ty in ["f32", "f16", "bf16", "q8_0", "q4_0"].map(|name| GgmlType::from_name(name).unwrap()) {
            let shape = shape(ty, 64, 3);
            let mut rows = Rows::new(shape).unwrap();
            rows.begin();
            rows.take(60 * shape.row_bytes as u64, &bytes(ty, shape, 60..70));
            assert_eq!(rows.told().len(), 10);
            let all = bytes(ty, shape, 0..70);
            for (row, head) in (60..70).flat_map(|row| (0..3).map(move |head| (row, head))) {
                let mut wanted = vec![0.0; 64];
                let at = row as usize * shape.row_bytes + 4 + head * shape.stride;
                ty.dequantize(&all[at..at + shape.stride], &mut wanted).unwrap();
                let panel = rows.panel(row / PAGE, head).unwrap();
                let place = (row % PAGE) as usize;
                let element = |d: usize| {
                    let at = (place / LANES * 64 + d) * LANES + place % LANES;
                    match panel {
                        Panel::Halves(halves) => halves[at].to_f32(),
                        Panel::Floats(floats) => floats[at],
                    }
                };
                let found: Vec<f32> = (0..64).map(element).collect();
                assert_eq!(found, wanted, "{ty:?}");
                assert_eq!(rows.row(row, head), Some(wanted), "{ty:?}");
            }
            assert_eq!([59, 60, 69, 70].map(|row| rows.has(row)), [false, true, true, false]);
            assert_eq!((rows.first_missing(60..70), rows.first_missing(60..71)), (None, Some(70)));
            assert_eq!((rows.first_missing(0..4), rows.first_missing(4..4)), (Some(0), None));
            rows.forget(65);
            assert_eq!((rows.first_missing(60..70), rows.row(65, 0), rows.row(66, 3)), (Some(65), None, None));
        }
    }

    #[test]
    fn a_number_of_a_row_costs_no_memory_and_a_shape_that_cannot_be_is_refused() {
        let fits = shape(GgmlType::F16, 64, 1);
        let mut rows = Rows::new(fits).unwrap();
        rows.take((u64::MAX / fits.row_bytes as u64 - 9) * fits.row_bytes as u64, &bytes(GgmlType::F16, fits, 0..2));
        assert_eq!(rows.pages.len(), 1);
        for bad in [
            Shape { n_head: 0, ..fits },
            Shape { n_head: 2, ..fits },
            Shape { stride: usize::MAX, n_head: 2, ..fits },
            Shape { n_embd: 0, ..fits },
            Shape { first: 5, ..fits },
        ] {
            assert!(Rows::new(bad).is_none(), "{bad:?}");
        }
    }
}
