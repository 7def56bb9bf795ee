//! The most multiply-adds of 32-bit floats a second. The chains are as wide and as many as registers allow, so that neither
//! memory nor the wait for a result limits them.

use super::best_rate;

/// Rounds of one pass: some tens of milliseconds.
const ROUNDS: u64 = 12_000_000;
/// Chains that do not wait for each other: two multiply-adds a cycle with a latency of four or five.
const CHAINS: usize = 12;

/// Name of the instructions that were used, and operations a second of all threads together.
pub(super) fn measure(threads: usize) -> (&'static str, f64) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F.
            return ("AVX-512", rate(threads, || unsafe { avx512() }, 16));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has AVX2 and FMA.
            return ("AVX2", rate(threads, || unsafe { avx2() }, 8));
        }
    }
    ("4 floats at once", rate(threads, plain, 4))
}

fn rate(threads: usize, chains: impl Fn() -> f32 + Sync, width: u64) -> f64 {
    let pass = |(): &mut ()| {
        std::hint::black_box(chains());
        (ROUNDS * CHAINS as u64 * width * 2) as f64
    };
    best_rate(threads, || (), pass)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() -> f32 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, more) = (_mm512_set1_ps(0.999), _mm512_set1_ps(std::hint::black_box(0.001)));
    let mut chains = [_mm512_set1_ps(1.0); CHAINS];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, more);
        }
    }
    chains.iter().map(|&chain| _mm512_reduce_add_ps(chain)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() -> f32 {
    use std::arch::x86_64::{_mm_cvtss_f32, _mm256_castps256_ps128, _mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, more) = (_mm256_set1_ps(0.999), _mm256_set1_ps(std::hint::black_box(0.001)));
    let mut chains = [_mm256_set1_ps(1.0); CHAINS];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, more);
        }
    }
    chains.iter().map(|&chain| _mm_cvtss_f32(_mm256_castps256_ps128(chain))).sum()
}

/// What the compiler makes of it for any processor.
fn plain() -> f32 {
    let more = std::hint::black_box(0.001);
    let mut chains = [[1.0_f32; 4]; CHAINS];
    for _ in 0..ROUNDS {
        for value in chains.iter_mut().flatten() {
            *value = *value * 0.999 + more;
        }
    }
    chains.iter().flatten().sum()
}
