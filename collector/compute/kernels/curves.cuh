// Curves that rows of attention go through, as the collector's kernel.rs and entropy.rs compute them on the CPU: the same
// polynomials in the same order, so that both differ by the last bits only. Stands behind values.cuh.

#define INFINITE float_of(0x7f800000u)

// e to the power of x - most, which is not positive; 0 for minus infinity whatever `most` is. Range reduction and polynomial
// as in Cephes (expf.c).
__device__ static inline float exp_below(float x, float most) {
    // 1.5 * 2^23: adding it rounds to a whole number, which is then in the lowest bits.
    const float round = 12582912.0f;
    float minus = x - most;
    float shifted = round + minus * 1.44269504088896341f;
    float n = shifted - round;
    float r = minus + n * -0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = 1.3981999507e-3f + p * r;
    p = 8.3334519073e-3f + p * r;
    p = 4.1665795894e-2f + p * r;
    p = 1.6666665459e-1f + p * r;
    p = 5.0000001201e-1f + p * r;
    p = 1.0f + p * r;
    p = 1.0f + p * r;
    float power = float_of((bits_of(shifted) - bits_of(round) + 127u) << 23);
    bool none = x == -INFINITE || minus < -86.0f;
    return none ? 0.0f : p * power;
}

// As in Cephes (tanhf.c).
__device__ static inline float tanh_of(float x) {
    float z = x < 0.0f ? -x : x;
    if (z >= 0.625f) {
        float e = exp_below(-2.0f * z, 0.0f);
        float tanh = (1.0f - e) / (1.0f + e);
        return x < 0.0f ? -tanh : tanh;
    }
    float s = x * x;
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    return p * s * x + x;
}

// x ln x for x >= 0, and 0 for 0. NaN gives NaN. Range reduction as in Cephes (logf.c), then the series of
// 2 artanh((m - 1) / (m + 1)) = ln m.
__device__ static inline float x_ln_x(float x) {
    u32 shifted = bits_of(x) - 0x3f3504f3u;
    float e = (float)((int)shifted >> 23);
    float m = float_of((shifted & 0x007fffffu) + 0x3f3504f3u);
    float t = (m - 1.0f) / (m + 1.0f), s = t * t;
    float ln_m = 2.0f * t * (1.0f + s * (1.0f / 3.0f + s * (1.0f / 5.0f + s * (1.0f / 7.0f + s * (1.0f / 9.0f)))));
    float ln = e * 0.693147180559945309f + ln_m;
    // Below the normal numbers the exponent is wrong, and the product is nothing.
    return x < 1.17549435e-38f ? 0.0f : x * ln;
}
