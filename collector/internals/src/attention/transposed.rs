//! A V cache that is transposed, as llama.cpp keeps it where flash attention is off: a token has no row in it, but an element
//! in each of its rows. Here its tokens become rows all the same: from what evaluations wrote, and, where the program
//! changed the cache itself, from the cache.

use crate::attention::cache_rows::{Rows, Shape};
use crate::attention::plan::Look;
use ggscope_model::ggml::GgmlType;
use ggscope_query::values::Stretches;
use half::f16;

/// Puts the part of a transposed cache that attention looks at, row by row. If not all of it is there, nothing is known.
pub(super) fn put_told(rows: &mut Rows, look: &Look, stretches: &Stretches) {
    let ([n_kv, n_embd, n_head, n_stream], [element, of_row, of_head, of_stream]) = (look.ne, look.nb);
    let size = usize::try_from(element).unwrap_or(0);
    let n_rows = n_embd.saturating_mul(n_head) as u64;
    // So that no byte is looked at twice, whatever the strides of a damaged trace are.
    let fits = size > 0
        && (n_kv as u64).saturating_mul(element) <= of_row
        && of_row.checked_mul(n_embd as u64) == Some(of_head)
        && of_row.checked_mul(n_rows).is_some_and(|n| n > 0 && n <= of_stream);
    if !fits {
        rows.clear();
        return;
    }
    let (per_stream, first) = (of_row / element, look.offset / of_stream);
    for stream in 0..n_stream as u64 {
        let element_of_all = |(h, d): (usize, usize)| {
            let at = look.offset.checked_add(of_stream.checked_mul(stream)?)?;
            let at = at.checked_add(of_head.checked_mul(h as u64)?)?.checked_add(of_row.checked_mul(d as u64)?)?;
            stretches.get(at, n_kv.checked_mul(size)?)
        };
        let all = (0..n_head).flat_map(|h| (0..n_embd).map(move |d| (h, d))).map(element_of_all);
        let Some(all) = all.collect::<Option<Vec<&[u8]>>>() else {
            rows.clear();
            return;
        };
        let mut row = vec![0; all.len() * size];
        for cell in 0..n_kv {
            for (to, from) in row.chunks_exact_mut(size).zip(&all) {
                to.copy_from_slice(&from[cell * size..][..size]);
            }
            let place = (first + stream).saturating_mul(per_stream).saturating_add(cell as u64);
            rows.put(place, |head| &row[head * n_embd * size..][..n_embd * size]);
        }
    }
}

/// Puts rows of 32-bit floats that were written into a cache of their own type; without them, the rows are not known.
pub(super) fn put_written(rows: &mut Rows, bytes: &[u8], placed: &[u64]) {
    let Shape { ty, n_embd, n_head, .. } = rows.shape;
    let mut each = bytes.chunks_exact(n_embd * n_head * 4);
    for &row in placed {
        let Some(floats) = each.next() else {
            rows.forget(row);
            continue;
        };
        if ty == GgmlType::F16 {
            let half = |&b: &[u8; 4]| f16::from_f32(f32::from_le_bytes(b)).to_le_bytes();
            let halves: Vec<u8> = floats.as_chunks().0.iter().flat_map(half).collect();
            rows.put(row, |head| &halves[head * n_embd * 2..][..n_embd * 2]);
        } else {
            rows.put(row, |head| &floats[head * n_embd * 4..][..n_embd * 4]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggscope_format::value::{Encoding, Value};
    use ggscope_format::{Bytes, EvalId, GraphId, TensorId};

    /// Two heads of three elements, eight places a stream, the second of two streams, of which five places are looked at.
    const LOOK: Look = Look { root: TensorId(0), offset: 6 * 16, ne: [5, 3, 2, 1], nb: [2, 16, 48, 96] };

    fn rows() -> Rows {
        let shape = Shape { row_bytes: 12, ty: GgmlType::F16, n_embd: 3, n_head: 2, first: 0, stride: 6 };
        Rows::new(shape).unwrap()
    }

    /// The number of an element, in the row of its place.
    fn told(elements: std::ops::Range<u64>) -> Stretches {
        let mut stretches = Stretches::default();
        for element in elements {
            let halves = (0..5).flat_map(|cell| f16::from_f32((element * 10 + cell) as f32).to_le_bytes());
            stretches.add(Value {
                eval: EvalId(0),
                graph: GraphId(0),
                tensor: TensorId(0),
                offset: 96 + element * 16,
                total: Bytes(192),
                encoding: Encoding::Host,
                bytes: halves.collect(),
            });
        }
        stretches
    }

    #[test]
    fn a_token_is_an_element_of_each_row_of_its_stream() {
        let mut rows = rows();
        put_told(&mut rows, &LOOK, &told(0..6));
        for cell in 0..5 {
            let of = |head: u64| (0..3).map(|d| ((head * 3 + d) * 10 + cell) as f32).collect::<Vec<_>>();
            assert_eq!([0, 1].map(|head| rows.row(8 + cell, head)), [0, 1].map(|head| Some(of(head))), "place {cell}");
        }
        assert!(!rows.has(7) && !rows.has(13), "nothing beside them");
    }

    #[test]
    fn where_not_all_of_it_was_told_nothing_is_known() {
        let mut rows = rows();
        put_told(&mut rows, &LOOK, &told(0..6));
        put_told(&mut rows, &LOOK, &told(0..5));
        assert!((0..16).all(|row| !rows.has(row)));
        let huge = Look { ne: [usize::MAX, 3, 2, usize::MAX], ..LOOK };
        put_told(&mut rows, &huge, &told(0..6));
        assert!((0..16).all(|row| !rows.has(row)), "a shape that the bytes contradict");
    }

    #[test]
    fn what_was_written_is_rounded_as_the_cache_rounds_it_and_what_was_lost_is_not_known() {
        let mut rows = rows();
        let floats: Vec<u8> = (0..6).flat_map(|i| (i as f32 + 1e-5).to_le_bytes()).collect();
        put_written(&mut rows, &floats, &[3, 4]);
        assert_eq!(rows.row(3, 1), Some(vec![3.0, 4.0, 5.0]));
        assert!(!rows.has(4));
    }
}
