// Distribution of the values of a tensor, read as they lie in the file: quantised blocks are turned into numbers on the way.
// Two passes: counts, sums and the upper halves of the values; then bins and the lower halves, which give exact quantiles.
// src/gpu/statistics.rs launches these. values.cuh stands before it.

#define THREADS 256
#define HALVES 65536
#define NONE 0xffffffffu
// Known to statistics.rs.
#define BINS 1024

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
