//! Functions of one number that loops over many are written with, so that the compiler makes vector instructions of them.

/// `sum + a * b`, in one instruction where there is one: without it, a correct `mul_add` is a slow function.
#[inline(always)]
pub fn add_product(fma: bool, sum: f32, a: f32, b: f32) -> f32 {
    if fma { a.mul_add(b, sum) } else { sum + a * b }
}

/// e to the power of `x - most`, which is not positive; 0 for minus infinity whatever `most` is. Range reduction and
/// polynomial as in Cephes (`expf.c`), with an error of 2 units in the last place; what is below 1e-37 is 0.
#[inline(always)]
pub fn exp_below(fma: bool, x: f32, most: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LEAST: f32 = -86.0;
    let minus = x - most;
    let shifted = add_product(fma, ROUND, minus, std::f32::consts::LOG2_E);
    let n = shifted - ROUND;
    let r = add_product(fma, add_product(fma, minus, n, -0.693_359_4), n, 2.121_944_4e-4);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1, 1.0, 1.0] {
        p = add_product(fma, c, p, r);
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let none = x == f32::NEG_INFINITY || minus < LEAST;
    if none { 0.0 } else { p * power }
}
