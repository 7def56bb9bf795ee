// Distribution of the values of a tensor, read as they lie in the file: quantised blocks are turned into numbers on the way.
// Two passes: counts, sums and the upper halves of the values; then bins and the lower halves, which give exact quantiles.
// src/gpu/statistics.rs launches these.

#define THREADS 256
#define HALVES 65536
#define NONE 0xffffffffu
// Known to statistics.rs.
#define BINS 1024

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// As in ggml.h, the values of ggml_type.
enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, Q4_K = 12, Q6_K = 14, BF16 = 30 };

__device__ static float float_of(u32 bits) {
    union { u32 bits; float value; } both;
    both.bits = bits;
    return both.value;
}

__device__ static u32 bits_of(float value) {
    union { float value; u32 bits; } both;
    both.value = value;
    return both.bits;
}

__device__ static u32 read16(const u8 *at) { return at[0] | (u32)at[1] << 8; }

__device__ static float half_of(const u8 *at) {
    u32 half = read16(at), sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, mantissa = half & 1023;
    if (exponent == 31) return float_of(sign | 0x7f800000u | mantissa << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    // Below 2^-14: mantissa * 2^-24, exact.
    float value = (float)mantissa * 5.9604644775390625e-08f;
    return sign ? -value : value;
}

// Scale and minimum number j of the eight of a Q4_K block, 6 bits each.
__device__ static void scale_of(const u8 *packed, u32 j, u32 *scale, u32 *minimum) {
    if (j < 4) {
        *scale = packed[j] & 63;
        *minimum = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        *minimum = (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
    }
}

// Value number i, rounded as ggml's dequantize_row_* does without fused multiply-add.
__device__ static float value_of(u32 type, const u8 *bytes, u64 i) {
    switch (type) {
    case F32: {
        const u8 *at = bytes + 4 * i;
        return float_of(read16(at) | read16(at + 2) << 16);
    }
    case F16: return half_of(bytes + 2 * i);
    case BF16: return float_of(read16(bytes + 2 * i) << 16);
    case Q4_0: {
        const u8 *block = bytes + i / 32 * 18;
        u32 j = i % 32, packed = block[2 + j % 16];
        int quant = (int)(j < 16 ? packed & 15 : packed >> 4) - 8;
        return (float)quant * half_of(block);
    }
    case Q4_1: {
        const u8 *block = bytes + i / 32 * 20;
        u32 j = i % 32, packed = block[4 + j % 16];
        float scaled = (float)(j < 16 ? packed & 15 : packed >> 4) * half_of(block);
        return scaled + half_of(block + 2);
    }
    case Q8_0: {
        const u8 *block = bytes + i / 32 * 34;
        return (float)(signed char)block[2 + i % 32] * half_of(block);
    }
    case Q4_K: {
        const u8 *block = bytes + i / 256 * 144;
        u32 j = i % 256, packed = block[16 + j / 64 * 32 + j % 32], scale, minimum;
        scale_of(block + 4, j / 32, &scale, &minimum);
        float scaled = half_of(block) * (float)scale * (float)(j / 32 % 2 ? packed >> 4 : packed & 15);
        return scaled - half_of(block + 2) * (float)minimum;
    }
    case Q6_K: {
        const u8 *block = bytes + i / 256 * 210;
        u32 j = i % 256, part = j / 128, k = j % 128;
        u32 low = block[part * 64 + k % 64], high = block[128 + part * 32 + k % 32];
        int quant = (int)((k < 64 ? low & 15 : low >> 4) | (high >> 2 * (k / 32) & 3) << 4) - 32;
        return half_of(block + 208) * (float)(signed char)block[192 + j / 16] * (float)quant;
    }
    }
    return 0.0f;
}

// A number that is ordered as the values are.
__device__ static u32 key_of(float value) {
    u32 bits = bits_of(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ static bool is_finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }

// First pass. counts: finite, NaN, -infinity, +infinity. limits: least and greatest key. partial[block] is the block's sum,
// partial[blocks + block] its sum of squares.
extern "C" __global__ void survey(u32 type, const u8 *bytes, u64 count, u64 *counts, u32 *limits, double *partial, u32 *upper) {
    __shared__ double sums[THREADS];
    __shared__ double squares[THREADS];
    u32 t = threadIdx.x, least = NONE, greatest = 0, nan = 0, low = 0, high = 0, finite = 0;
    double sum = 0.0, square = 0.0;
    for (u64 i = (u64)blockIdx.x * THREADS + t; i < count; i += (u64)gridDim.x * THREADS) {
        float value = value_of(type, bytes, i);
        if (!is_finite(value)) {
            if (value != value) nan++;
            else if (value < 0.0f) low++;
            else high++;
            continue;
        }
        u32 key = key_of(value);
        finite++;
        if (key < least) least = key;
        if (key > greatest) greatest = key;
        sum += value;
        square += (double)value * value;
        atomicAdd(&upper[key >> 16], 1u);
    }
    if (finite) {
        atomicAdd(&counts[0], (u64)finite);
        atomicMin(&limits[0], least);
        atomicMax(&limits[1], greatest);
    }
    if (nan) atomicAdd(&counts[1], (u64)nan);
    if (low) atomicAdd(&counts[2], (u64)low);
    if (high) atomicAdd(&counts[3], (u64)high);
    sums[t] = sum;
    squares[t] = square;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) {
            sums[t] += sums[t + half];
            squares[t] += squares[t + half];
        }
        __syncthreads();
    }
    if (t == 0) {
        partial[blockIdx.x] = sums[0];
        partial[gridDim.x + blockIdx.x] = squares[0];
    }
}

// Second pass. bins[i]: finite values from lowest + i * width on. For the upper halves that slots names, the lower halves:
// lower[slot * HALVES + half].
extern "C" __global__ void detail(u32 type, const u8 *bytes, u64 count, double lowest, double width, u32 bins, u64 *histogram, const u32 *slots, u32 *lower) {
    __shared__ u32 mine[BINS];
    for (u32 bin = threadIdx.x; bin < bins; bin += THREADS) mine[bin] = 0;
    __syncthreads();
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < count; i += (u64)gridDim.x * THREADS) {
        float value = value_of(type, bytes, i);
        if (!is_finite(value)) continue;
        double place = width > 0.0 ? ((double)value - lowest) / width : 0.0;
        u32 bin = place < (double)bins ? (u32)place : bins - 1;
        atomicAdd(&mine[bin], 1u);
        u32 key = key_of(value), slot = slots[key >> 16];
        if (slot != NONE) atomicAdd(&lower[slot * HALVES + (key & 65535)], 1u);
    }
    __syncthreads();
    for (u32 bin = threadIdx.x; bin < bins; bin += THREADS)
        if (mine[bin]) atomicAdd(&histogram[bin], (u64)mine[bin]);
}
