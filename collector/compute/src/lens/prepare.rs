//! What happens to a row before the matrix, as ggml's CPU backend does it: the final norm, and the rounding to the type that
//! the matrix is multiplied with. lens.cu does the same.

use super::{Rounding, Step};
use half::{bf16, f16};

/// Elements that share a scale.
const QK8_0: usize = 32;
const QK_K: usize = 256;

fn squares(x: &[f32]) -> f64 {
    x.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// Does one step.
pub(super) fn apply(step: &Step, x: &mut [f32]) {
    let n = x.len() as f64;
    match *step {
        Step::RmsNorm(eps) => {
            let scale = 1.0 / ((squares(x) / n) as f32 + eps).sqrt();
            x.iter_mut().for_each(|v| *v *= scale);
        }
        Step::LayerNorm(eps) => {
            let mean = (x.iter().map(|&v| f64::from(v)).sum::<f64>() / n) as f32;
            x.iter_mut().for_each(|v| *v -= mean);
            let scale = 1.0 / ((squares(x) / n) as f32 + eps).sqrt();
            x.iter_mut().for_each(|v| *v *= scale);
        }
        Step::Mul(by) => x.iter_mut().zip(by).for_each(|(v, w)| *v *= w),
        Step::Add(by) => x.iter_mut().zip(by).for_each(|(v, w)| *v += w),
        Step::Scale { by, add } => x.iter_mut().for_each(|v| *v = *v * by + add),
        Step::Tanh => x.iter_mut().for_each(|v| *v = v.tanh()),
    }
}

/// Rounds a row.
pub(super) fn round(rounding: Rounding, x: &mut [f32]) {
    match rounding {
        Rounding::Exact => {}
        Rounding::F16 => x.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32()),
        Rounding::BF16 => x.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32()),
        Rounding::Q8_0 if x.iter().all(|v| v.is_finite()) => x.chunks_exact_mut(QK8_0).for_each(to_q8_0),
        Rounding::Q8_0 => {}
        Rounding::Q8_K => x.chunks_exact_mut(QK_K).for_each(to_q8_k),
    }
}

/// `quantize_row_q8_0` and back.
fn to_q8_0(x: &mut [f32]) {
    let step = x.iter().fold(0.0_f32, |most, v| most.max(v.abs())) / 127.0;
    let kept = f16::from_f32(step).to_f32();
    let inverse = 1.0 / step;
    x.iter_mut().for_each(|v| *v = if kept == 0.0 { 0.0 } else { (*v * inverse).round() * kept });
}

/// `quantize_row_q8_K` and back: to 127 steps of the largest magnitude. NaN stays.
fn to_q8_k(x: &mut [f32]) {
    let largest = x.iter().copied().fold(0.0_f32, |max, v| if v.abs() > max.abs() { v } else { max });
    if largest == 0.0 || !largest.is_finite() {
        return;
    }
    let inverse = -127.0 / largest;
    x.iter_mut().for_each(|v| *v = (*v * inverse).round_ties_even().min(127.0) / inverse);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_are_those_of_ggml() {
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        let mut x = [3.0, 4.0];
        apply(&Step::RmsNorm(0.0), &mut x);
        assert!(close(&x, &[3.0 / 12.5_f32.sqrt(), 4.0 / 12.5_f32.sqrt()]), "{x:?}");
        let mut x = [1.0, 3.0];
        apply(&Step::LayerNorm(3.0), &mut x);
        assert!(close(&x, &[-0.5, 0.5]), "{x:?}");
        apply(&Step::Mul(&[2.0, 4.0]), &mut x);
        apply(&Step::Add(&[1.0, 1.0]), &mut x);
        assert!(close(&x, &[0.0, 3.0]), "{x:?}");
    }

    #[test]
    fn rounding_for_types_of_256_elements_keeps_127_steps() {
        let mut x: Vec<f32> = (0..256).map(|i| i as f32 / 3.0).collect();
        let exact = x.clone();
        round(Rounding::Q8_K, &mut x);
        let step = exact[255] / 127.0;
        assert!(x.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= step * 0.501));
        assert_ne!(x[1], exact[1]);
    }

    #[test]
    fn what_cannot_be_rounded_stays() {
        let mut x = vec![1.3_f32; 64];
        x[40] = f32::NAN;
        round(Rounding::Q8_0, &mut x);
        assert!(x[0] == 1.3 && x[40].is_nan());
        let mut tiny = vec![1e-42_f32; 32];
        round(Rounding::Q8_0, &mut tiny);
        assert_eq!(tiny, [0.0; 32], "the scale is 0 in half precision");
    }
}
