//! The logit lens on a device beside the CPU's: all that is kept of logits, in every encoding and rounding, in tiles that the
//! vocabulary is no multiple of, with ties and with numbers that are not finite.

use super::backend::Backend;
use super::lens::{Sizes, reduce};
use super::tests::{OnDevice, on_every_device};
use crate::lens::{Beside, Head, Reduced, Rounding, Row, Step, on_cpu};
use crate::statistics::{Encoding, Values};
use half::{bf16, f16};

/// Several tiles and blocks of rows.
const SMALL: Sizes = Sizes { tile: 30_000, logits: 2_000, rows: 3 };
/// How far a logit may be off, by the largest one: products are summed up in another order.
const TOLERANCE: f32 = 1e-4;

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..n).map(|_| random.f32() * 2.0 - 1.0).collect()
}

/// Ranks and tokens are the same where logits are not as near to each other as the tolerance.
fn assert_same(what: &str, ours: &[Reduced], cpu: &[Reduced]) {
    assert_eq!(ours.len(), cpu.len(), "{what}");
    for (row, (a, b)) in ours.iter().zip(cpu).enumerate() {
        let what = format!("{what}, row {row}: {a:?} is not {b:?}");
        let scale = b.top.iter().map(|t| t.1.abs()).fold(1.0, f32::max);
        let near = |a: f32, b: f32| (a - b).abs() <= TOLERANCE * scale || (a.is_nan() && b.is_nan()) || a == b;
        assert_eq!((a.top.len(), a.not_finite), (b.top.len(), b.not_finite), "{what}");
        for (x, y) in a.top.iter().zip(&b.top) {
            assert!(near(x.1, y.1), "{what}");
            let tie = |t: &&(u32, f32)| (t.1 - y.1).abs() <= TOLERANCE * scale;
            assert!(x.0 == y.0 || b.top.iter().filter(tie).count() > 1, "{what}");
        }
        assert!((a.log_sum - b.log_sum).abs() <= f64::from(TOLERANCE * scale) || a.log_sum == b.log_sum, "{what}");
        assert!((a.entropy - b.entropy).abs() <= f64::from(20.0 * TOLERANCE * scale), "{what}");
        assert_eq!(a.asked.len(), b.asked.len(), "{what}");
        for (x, y) in a.asked.iter().zip(&b.asked) {
            assert!(near(x.0, y.0) && x.1.abs_diff(y.1) <= 1, "{what}");
        }
        match (a.beside, b.beside) {
            (Some(Beside { largest_difference: x, .. }), Some(Beside { largest_difference: y, .. })) => {
                assert!(near(x, y), "{what}");
                assert!(near(a.beside.unwrap().relative_error.unwrap(), b.beside.unwrap().relative_error.unwrap()));
            }
            (a, b) => assert!(a.is_none() && b.is_none(), "{what}"),
        }
    }
}

struct Lenses;

impl OnDevice for Lenses {
    fn run<B: Backend>(&self, device: &B) {
        let (n_in, n_out) = (256, 1003);
        let weights = numbers(n_in * n_out, 3);
        let states: Vec<Vec<f32>> = (0..7).map(|i| numbers(n_in, 40 + i)).collect();
        let theirs: Vec<Vec<f32>> = (0..7).map(|i| numbers(n_out, 80 + i)).collect();
        let asked: Vec<Vec<u32>> =
            (0..7_u32).map(|i| (0..i % 3).map(|a| (i * 140 + a * 17) % 1003).collect()).collect();
        let rows: Vec<Row> = (0..7)
            .map(|i| Row { state: &states[i], asked: &asked[i], theirs: (i % 2 == 0).then_some(&theirs[i][..]) })
            .collect();
        let (gain, shift, bias) = (numbers(n_in, 5), numbers(n_in, 6), numbers(n_out, 7));
        let norms = [
            vec![],
            vec![Step::RmsNorm(1e-5), Step::Mul(&gain)],
            vec![
                Step::LayerNorm(1e-5),
                Step::Mul(&gain),
                Step::Add(&shift),
                Step::Scale { by: 0.5, add: 0.1 },
                Step::Tanh,
            ],
        ];
        let cap = [Step::Scale { by: 0.1, add: 0.0 }, Step::Tanh, Step::Scale { by: 10.0, add: 0.0 }];
        let roundings = [Rounding::Exact, Rounding::F16, Rounding::BF16, Rounding::Q8_0, Rounding::Q8_K];
        for (i, rounding) in roundings.into_iter().enumerate() {
            let (before, capped) = (norms[i % norms.len()].clone(), i % 2 == 1);
            let head = Head {
                before,
                rounding,
                matrix: Values::F32(&weights),
                n_in,
                n_out,
                adapters: vec![],
                bias: capped.then_some(&bias[..]),
                after: if capped { cap.to_vec() } else { vec![] },
            };
            for (keep, sizes) in [(1, SMALL), (6, SMALL), (40, super::SIZES)] {
                let ours = reduce(device, &head, &rows, keep, sizes).unwrap();
                assert_same(&format!("{rounding:?}, {keep} kept"), &ours, &on_cpu(&head, &rows, keep));
            }
        }
    }
}

#[test]
fn the_lens_on_a_device_is_that_of_the_cpu() {
    on_every_device(Lenses);
}

struct Encoded;

impl OnDevice for Encoded {
    fn run<B: Backend>(&self, device: &B) {
        let (n_in, n_out) = (256, 32);
        for (encoding, mut bytes, mut values) in super::tests::blocks() {
            // Random bits are no numbers to multiply: others in their place.
            let halves = |bits: fn(f32) -> u16| numbers(n_in * n_out, 8).into_iter().map(bits).collect::<Vec<u16>>();
            let halves = match encoding {
                Encoding::F32 => continue,
                Encoding::F16 => halves(|v| f16::from_f32(v).to_bits()),
                Encoding::BF16 => halves(|v| bf16::from_f32(v).to_bits()),
                _ => vec![],
            };
            if !halves.is_empty() {
                let number = |&bits: &u16| match encoding {
                    Encoding::F16 => f16::from_bits(bits).to_f32(),
                    _ => bf16::from_bits(bits).to_f32(),
                };
                values = halves.iter().map(number).collect();
                bytes = bytemuck::cast_slice(&halves).to_vec();
            }
            let dequantize = |range: std::ops::Range<usize>, out: &mut [f32]| out.copy_from_slice(&values[range]);
            let matrix = Values::Encoded {
                count: n_in * n_out,
                bytes: &bytes,
                encoding: Some(encoding),
                dequantize: &dequantize,
            };
            let unknown =
                Values::Encoded { count: n_in * n_out, bytes: &bytes, encoding: None, dequantize: &dequantize };
            let state = numbers(n_in, 9);
            let rows = [Row { state: &state, asked: &[3, 31], theirs: None }];
            for matrix in [matrix, unknown] {
                let head = Head {
                    before: vec![],
                    rounding: Rounding::Q8_0,
                    matrix,
                    n_in,
                    n_out,
                    adapters: vec![],
                    bias: None,
                    after: vec![],
                };
                let ours = reduce(device, &head, &rows, 5, SMALL).unwrap();
                assert_same(&format!("{encoding:?}"), &ours, &on_cpu(&head, &rows, 5));
            }
        }
    }
}

#[test]
fn a_matrix_is_read_as_it_lies_in_the_file_or_as_numbers_where_no_kernel_knows_it() {
    on_every_device(Encoded);
}

struct Odd;

impl OnDevice for Odd {
    fn run<B: Backend>(&self, device: &B) {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        let n_out = 2500;
        let mut weights = vec![1.0; n_out];
        (weights[0], weights[700], weights[701], weights[2499]) = (nan, inf, -inf, 3.0);
        let states = [[1.0], [nan], [inf], [-1.0], [0.0]];
        let rows: Vec<Row> =
            states.iter().map(|state| Row { state, asked: &[2, 700, 2499], theirs: Some(&weights) }).collect();
        for rounding in [Rounding::Exact, Rounding::Q8_0, Rounding::Q8_K, Rounding::F16, Rounding::BF16] {
            let head = Head {
                before: vec![],
                rounding,
                matrix: Values::F32(&weights),
                n_in: 1,
                n_out,
                adapters: vec![],
                bias: None,
                after: vec![],
            };
            let sizes = Sizes { tile: 999, ..SMALL };
            let (ours, cpu) = (reduce(device, &head, &rows, 4, sizes).unwrap(), on_cpu(&head, &rows, 4));
            assert_same(&format!("{rounding:?}"), &ours, &cpu);
            // Of equal logits the first tokens, whatever the tiles.
            let tokens = |r: &Reduced| r.top.iter().map(|t| t.0).collect::<Vec<_>>();
            assert_eq!(tokens(&ours[0]), [2499, 1, 2, 3]);
            assert_eq!(ours[0].not_finite, 3);
            assert!(ours[1].top.is_empty() && ours[1].entropy == 0.0 && ours[1].not_finite == n_out as u64);
            assert_eq!(tokens(&ours[3]), [1, 2, 3, 4]);
        }
    }
}

#[test]
fn ties_nan_and_infinities_are_treated_as_on_the_cpu() {
    on_every_device(Odd);
}

struct Halves;

impl OnDevice for Halves {
    fn run<B: Backend>(&self, device: &B) {
        // With a matrix of ones and one element a row, a logit is the rounded element, to the last bit.
        let odd =
            [1.0, 65504.0, 65519.9, 65520.0, 1e9, 6e-8, 2.9e-8, 3.1e-8, 6.1e-5, 0.33333, -1.0009766, 1e-42, 2049.0];
        let states: Vec<f32> = odd.into_iter().chain(numbers(500, 4)).collect();
        for rounding in [Rounding::F16, Rounding::BF16] {
            let head = Head {
                before: vec![],
                rounding,
                matrix: Values::F32(&[1.0]),
                n_in: 1,
                n_out: 1,
                adapters: vec![],
                bias: None,
                after: vec![],
            };
            let rows: Vec<Row> = states.chunks(1).map(|state| Row { state, asked: &[0], theirs: None }).collect();
            let (ours, cpu) = (reduce(device, &head, &rows, 1, super::SIZES).unwrap(), on_cpu(&head, &rows, 1));
            for ((ours, cpu), state) in ours.iter().zip(&cpu).zip(&states) {
                assert_eq!(ours.asked[0].0.to_bits(), cpu.asked[0].0.to_bits(), "{rounding:?} of {state:e}");
            }
        }
    }
}

#[test]
fn half_precision_is_rounded_to_the_last_bit_as_on_the_cpu() {
    on_every_device(Halves);
}
