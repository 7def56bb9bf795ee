// Types and values as ggml lays them out: what several files of kernels read. Put in front of them.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// As in ggml.h, the values of ggml_type.
enum { F32 = 0, F16 = 1, Q4_0 = 2, Q4_1 = 3, Q8_0 = 8, Q4_K = 12, Q6_K = 14, BF16 = 30 };

__device__ static inline float float_of(u32 bits) {
    union { u32 bits; float value; } both;
    both.bits = bits;
    return both.value;
}

__device__ static inline u32 bits_of(float value) {
    union { float value; u32 bits; } both;
    both.value = value;
    return both.bits;
}

__device__ static inline u32 read16(const u8 *at) { return at[0] | (u32)at[1] << 8; }

__device__ static inline float half_of_bits(u32 half) {
    u32 sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, mantissa = half & 1023;
    if (exponent == 31) return float_of(sign | 0x7f800000u | mantissa << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    // Below 2^-14: mantissa * 2^-24, exact.
    float value = (float)mantissa * 5.9604644775390625e-08f;
    return sign ? -value : value;
}

__device__ static inline float half_of(const u8 *at) { return half_of_bits(read16(at)); }

// Scale and minimum number j of the eight of a Q4_K block, 6 bits each.
__device__ static inline void scale_of(const u8 *packed, u32 j, u32 *scale, u32 *minimum) {
    if (j < 4) {
        *scale = packed[j] & 63;
        *minimum = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        *minimum = (packed[j + 4] >> 4) | (packed[j] >> 6) << 4;
    }
}

// Value number i, rounded as ggml's dequantize_row_* does without fused multiply-add.
__device__ static inline float value_of(u32 type, const u8 *bytes, u64 i) {
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
