//! One row of attention: softmax(mask + what the graph does to q · k), with each stage kept. As ggml's CPU backend does
//! it (`ggml_compute_forward_soft_max_f32`, `ggml_compute_forward_flash_attn_ext`).

use super::Step;
use ggscope_model::ggml::GgmlType;
use half::{bf16, f16};

/// The stages of one row, each with one number for each key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stages {
    /// q · k.
    pub products: Vec<f32>,
    /// After the steps.
    pub scaled: Vec<f32>,
    /// With the mask, or the ALiBi bias, added.
    pub masked: Vec<f32>,
    /// The softmax. With a sink they sum up to less than 1.
    pub weights: Vec<f32>,
    /// What the sink took.
    pub sink: Option<f32>,
}

/// Computes a row from its products. The mask has a number for each key, and is multiplied with `slope`.
pub fn row(products: Vec<f32>, steps: &[Step], mask: Option<&[f32]>, slope: f32, sink: Option<f32>) -> Stages {
    let step = |x: f32, step: &Step| match *step {
        Step::Scale { by, add } => x * by + add,
        Step::Tanh => x.tanh(),
    };
    let scaled: Vec<f32> = products.iter().map(|&x| steps.iter().fold(x, step)).collect();
    // A key that is masked stays so whatever the product is, NaN included: flash attention does not compute it.
    let with_mask = |(i, &x): (usize, &f32)| match mask.and_then(|m| m.get(i)) {
        Some(&f32::NEG_INFINITY) => f32::NEG_INFINITY,
        Some(&m) => x + slope * m,
        None => x,
    };
    let masked: Vec<f32> = scaled.iter().enumerate().map(with_mask).collect();
    let max = masked.iter().chain(&sink).copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |x: f32| if x == f32::NEG_INFINITY { 0.0 } else { f64::from(x - max).exp() };
    let sum: f64 = masked.iter().chain(&sink).map(|&x| exp(x)).sum();
    let share = |x: f32| if sum == 0.0 { 0.0 } else { (exp(x) / sum) as f32 };
    let weights = masked.iter().map(|&x| share(x)).collect();
    Stages { weights, sink: sink.map(share), products, scaled, masked }
}

/// The slope of a head's ALiBi bias: what its mask is multiplied with. 1 without a bias.
pub fn slope(max_bias: f32, head: usize, n_head: usize) -> f32 {
    if max_bias <= 0.0 || n_head == 0 {
        return 1.0;
    }
    let whole = 1_usize << n_head.ilog2();
    if head < whole {
        (-max_bias / whole as f32).exp2().powi(head as i32 + 1)
    } else {
        (-max_bias / 2.0 / whole as f32).exp2().powi(2 * (head - whole) as i32 + 1)
    }
}

/// Rounds a query to the precision in which ggml's CPU backend multiplies it with keys of a type (`vec_dot_type`).
pub fn rounded(q: &mut [f32], keys: GgmlType) {
    match keys.name() {
        "f32" => {}
        "f16" => q.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
        "bf16" => q.iter_mut().for_each(|x| *x = bf16::from_f32(*x).to_f32()),
        _ => {
            // The 8-bit types that ggml takes here differ in nothing that a product shows. What cannot be rounded,
            // because a number is NaN or infinite, stays as it is.
            let eight = GgmlType::from_name("q8_0");
            let blocks = eight.and_then(|ty| Some((ty, ty.quantize(q, q.len()).ok()?)));
            let mut back = vec![0.0; q.len()];
            if blocks.is_some_and(|(ty, bytes)| ty.dequantize(&bytes, &mut back).is_ok()) {
                q.copy_from_slice(&back);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: [Step; 1] = [Step::Scale { by: 0.5, add: 0.0 }];

    fn close(a: &[f32], b: &[f32]) {
        assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} is not {b:?}");
    }

    #[test]
    fn each_stage_follows_from_the_one_before() {
        let stages = row(vec![2.0, 2.0, 3.0], &HALF, Some(&[0.0, -1.0, f32::NEG_INFINITY]), 1.0, None);
        assert_eq!(stages.products, [2.0, 2.0, 3.0]);
        assert_eq!(stages.scaled, [1.0, 1.0, 1.5]);
        assert_eq!(stages.masked, [1.0, 0.0, f32::NEG_INFINITY]);
        let e = std::f32::consts::E;
        close(&stages.weights, &[e / (e + 1.0), 1.0 / (e + 1.0), 0.0]);
    }

    #[test]
    fn a_soft_cap_bounds_what_comes_out() {
        let cap = [Step::Scale { by: 0.1, add: 0.0 }, Step::Tanh, Step::Scale { by: 10.0, add: 0.0 }];
        let stages = row(vec![1000.0, 2.0, 1001.0], &cap, None, 1.0, None);
        close(&stages.scaled, &[10.0, 10.0 * 0.2_f32.tanh(), 10.0]);
    }

    #[test]
    fn a_sink_takes_its_share() {
        let stages = row(vec![0.0; 3], &HALF, None, 1.0, Some(0.0));
        close(&stages.weights, &[0.25; 3]);
        assert_eq!(stages.sink, Some(0.25));
    }

    #[test]
    fn alibi_slopes_are_those_of_the_paper() {
        let of = |n: usize| (0..n).map(|h| slope(8.0, h, n)).collect::<Vec<_>>();
        close(&of(4), &[0.25, 0.0625, 0.015_625, 0.003_906_25]);
        close(&of(3), &[0.0625, 0.003_906_25, 0.25]);
        assert_eq!(slope(0.0, 3, 4), 1.0);
    }

    #[test]
    fn nan_shows_and_infinity_takes_all_and_nothing_visible_weighs_nothing() {
        let nan = row(vec![f32::NAN, 0.0, 1.0], &HALF, None, 1.0, None);
        assert!(nan.weights.iter().all(|w| w.is_nan()));
        let hidden = row(vec![f32::NAN; 3], &HALF, Some(&[f32::NEG_INFINITY; 3]), 1.0, None);
        assert_eq!(hidden.weights, [0.0; 3]);
        let least = row(vec![f32::NEG_INFINITY, f32::NAN], &[], Some(&[0.0, 0.0]), 1.0, None);
        assert!(least.weights.iter().all(|w| w.is_nan()), "ggml divides by a sum that one NaN spoils");
    }

    #[test]
    fn queries_are_rounded_as_they_are_multiplied() {
        let mut q: Vec<f32> = (0..32).map(|i| i as f32 / 3.0).collect();
        let exact = q.clone();
        rounded(&mut q, GgmlType::F32);
        assert_eq!(q, exact);
        rounded(&mut q, GgmlType::F16);
        assert_eq!(q[1], f16::from_f32(1.0 / 3.0).to_f32());
        q.clone_from(&exact);
        rounded(&mut q, GgmlType::from_name("q4_0").unwrap());
        let step = exact[31] / 127.0;
        // Half a step, and the scale is itself a 16-bit float.
        let most = step * 0.5 + exact[31] / 2048.0;
        assert!(q.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= most));
        assert_ne!(q[1], exact[1]);
    }
}
