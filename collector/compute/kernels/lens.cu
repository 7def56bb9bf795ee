// The logit lens: rows through a norm, rounded as the matrix is multiplied with them; the matrix turned into numbers, a tile at
// a time; and what is kept of a tile's logits: the sums of a softmax, the largest ones, ranks. The product itself is cuBLAS's.
// src/gpu/lens.rs launches these. values.cuh and curves.cuh stand before it.

#define THREADS 256
#define NOBODY 0xffffffffu

// Known to lens.rs.
enum { RMS_NORM = 0, LAYER_NORM = 1, MUL = 2, ADD = 3, SCALE = 4, TANH = 5 };
enum { EXACT = 0, TO_F16 = 1, TO_BF16 = 2, TO_Q8_0 = 3, TO_Q8_K = 4 };

__device__ static bool finite(float value) { return (bits_of(value) & 0x7f800000u) != 0x7f800000u; }
__device__ static float size_of(float value) { return value < 0.0f ? -value : value; }

// What the threads of a block have, added up in the same order everywhere; all of them get it.
__device__ static double sum_of(double mine, double *shared) {
    u32 t = threadIdx.x;
    shared[t] = mine;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) shared[t] += shared[t + half];
        __syncthreads();
    }
    double all = shared[0];
    __syncthreads();
    return all;
}

__device__ static float greatest_of(float mine, float *shared) {
    u32 t = threadIdx.x;
    shared[t] = mine;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (t < half && shared[t + half] > shared[t]) shared[t] = shared[t + half];
        __syncthreads();
    }
    float all = shared[0];
    __syncthreads();
    return all;
}

// To the nearest half-precision number, ties to even, as hardware does.
__device__ static float to_half(float value) {
    u32 bits = bits_of(value), sign = bits & 0x80000000u, rest = bits & 0x7fffffffu;
    if (rest >= 0x7f800000u) return value;
    // From 65520 on it is infinity.
    if (rest >= 0x477ff000u) return float_of(sign | 0x7f800000u);
    if (rest < 0x38800000u) {
        // Below 2^-14 numbers are 2^-24 apart: as far as those of 32 bits from 0.5 on.
        float shifted = float_of(rest) + 0.5f;
        return float_of(bits_of(shifted - 0.5f) | sign);
    }
    u32 rounded = rest + 0xfffu + (rest >> 13 & 1);
    return float_of(sign | (rounded & ~0x1fffu));
}

__device__ static float to_bfloat(float value) {
    u32 bits = bits_of(value);
    if (value != value) return value;
    return float_of((bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u);
}

// To the nearest whole number: ties away from 0, or to even. Numbers here are below 2^22.
__device__ static float away(float value) {
    float whole = (float)(int)value, rest = value - whole;
    return rest >= 0.5f ? whole + 1.0f : rest <= -0.5f ? whole - 1.0f : whole;
}
__device__ static float even(float value) { return value + 12582912.0f - 12582912.0f; }

// As quantize_row_q8_0 and back.
__device__ static void to_q8_0(float *x) {
    float most = 0.0f;
    for (u32 i = 0; i < 32; i++) most = size_of(x[i]) > most ? size_of(x[i]) : most;
    float step = most / 127.0f, kept = to_half(step);
    for (u32 i = 0; i < 32; i++) x[i] = kept != 0.0f ? away(x[i] * (1.0f / step)) * kept : 0.0f;
}

// As quantize_row_q8_K and back. What is not finite stays.
__device__ static void to_q8_k(float *x) {
    float most = 0.0f;
    for (u32 i = 0; i < 256; i++) most = size_of(x[i]) > size_of(most) ? x[i] : most;
    if (most == 0.0f || !finite(most)) return;
    float inverse = -127.0f / most;
    for (u32 i = 0; i < 256; i++) {
        float q = even(x[i] * inverse);
        x[i] = (q > 127.0f ? 127.0f : q) / inverse;
    }
}

// Does to a row of n elements what comes before the matrix. A block is a row. kinds[s] is what step s does, numbers[2 * s] and
// the next are its numbers, weights[s * n] on its weights.
extern "C" __global__ void lens_prepare(u32 n, u32 steps, const u32 *kinds, const float *numbers, const float *weights, u32 rounding, float *rows) {
    __shared__ double sums[THREADS];
    u32 t = threadIdx.x;
    float *x = rows + (u64)blockIdx.x * n;
    for (u32 s = 0; s < steps; s++) {
        u32 kind = kinds[s];
        float first = numbers[2 * s], second = numbers[2 * s + 1];
        const float *by = weights + (u64)s * n;
        if (kind == LAYER_NORM) {
            double sum = 0.0;
            for (u32 i = t; i < n; i += THREADS) sum += x[i];
            float mean = (float)(sum_of(sum, sums) / n);
            for (u32 i = t; i < n; i += THREADS) x[i] -= mean;
        }
        float scale = 1.0f;
        if (kind == RMS_NORM || kind == LAYER_NORM) {
            double squares = 0.0;
            for (u32 i = t; i < n; i += THREADS) squares += (double)x[i] * x[i];
            scale = 1.0f / sqrtf((float)(sum_of(squares, sums) / n) + first);
        }
        for (u32 i = t; i < n; i += THREADS) {
            switch (kind) {
            case MUL: x[i] *= by[i]; break;
            case ADD: x[i] += by[i]; break;
            case SCALE: x[i] = x[i] * first + second; break;
            case TANH: x[i] = tanh_of(x[i]); break;
            default: x[i] *= scale;
            }
        }
        __syncthreads();
    }
    if (rounding == TO_F16)
        for (u32 i = t; i < n; i += THREADS) x[i] = to_half(x[i]);
    if (rounding == TO_BF16)
        for (u32 i = t; i < n; i += THREADS) x[i] = to_bfloat(x[i]);
    if (rounding == TO_Q8_0) {
        // A row with a number that is not finite cannot be rounded, and stays as it is.
        double odd = 0.0;
        for (u32 i = t; i < n; i += THREADS) odd += finite(x[i]) ? 0.0 : 1.0;
        if (sum_of(odd, sums) == 0.0)
            for (u32 block = t; block < n / 32; block += THREADS) to_q8_0(x + 32 * block);
    }
    if (rounding == TO_Q8_K)
        for (u32 block = t; block < n / 256; block += THREADS) to_q8_k(x + 256 * block);
}

// The numbers of a tile of the matrix.
extern "C" __global__ void lens_numbers(u32 type, const u8 *bytes, u64 count, float *out) {
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < count; i += (u64)gridDim.x * THREADS) out[i] = value_of(type, bytes, i);
}

__device__ static float behind(float logit, u32 steps, const u32 *kinds, const float *numbers) {
    for (u32 s = 0; s < steps; s++)
        logit = kinds[s] == TANH ? tanh_of(logit) : logit * numbers[2 * s] + numbers[2 * s + 1];
    return logit;
}

// The logits of single tokens, a block for each: the product of row rows[b] with row b of the weights.
extern "C" __global__ void lens_single(u32 n, const u32 *rows, const float *x, const float *weights, const float *bias, u32 steps, const u32 *kinds, const float *numbers, float *logits) {
    __shared__ double sums[THREADS];
    u32 b = blockIdx.x, t = threadIdx.x;
    const float *row = x + (u64)rows[b] * n, *by = weights + (u64)b * n;
    double sum = 0.0;
    for (u32 i = t; i < n; i += THREADS) sum += (double)row[i] * by[i];
    sum = sum_of(sum, sums);
    if (t == 0) logits[b] = behind((float)sum + bias[b], steps, kinds, numbers);
}

// Takes in the logits of a tile, of the tokens from `first` on, a block for each row. Kept of row r: the greatest logit most[r];
// sums[2 * r], the sum of exp(logit - most), and sums[2 * r + 1], that of exp(logit - most) * (logit - most); left[r], logits
// that are not finite; the tops[r] largest logits of `keep` with their tokens, largest first, of equal ones the first token;
// above[r * asked + a], how many logits are above that of token ids[r * asked + a]. Where row r has a place theirs[r] among
// `other`, logits that somebody else computed, beside[3 * r] is the largest difference, then come the sums of the squares of
// differences and of theirs.
extern "C" __global__ void lens_reduce(u32 first, u32 columns, float *logits, const float *bias, u32 steps, const u32 *kinds, const float *numbers,
                                       u32 keep, u32 asked, const u32 *ids, const float *known, float *most, double *sums, u64 *left, u32 *tops,
                                       u32 *tokens, float *largest, u64 *above, const u32 *theirs, const float *other, double *beside) {
    __shared__ double shared[THREADS];
    __shared__ float greatest[THREADS];
    __shared__ u32 places[THREADS];
    u32 r = blockIdx.x, t = threadIdx.x;
    float *row = logits + (u64)r * columns;
    double odd = 0.0;
    float mine = -INFINITE;
    for (u32 i = t; i < columns; i += THREADS) {
        float logit = behind(row[i] + (bias ? bias[first + i] : 0.0f), steps, kinds, numbers);
        row[i] = logit;
        if (!finite(logit)) odd += 1.0;
        else if (logit > mine) mine = logit;
    }
    odd = sum_of(odd, shared);
    float here = greatest_of(mine, greatest), before = most[r];
    float now = here > before ? here : before;
    double exps = 0.0, weighted = 0.0;
    for (u32 i = t; i < columns; i += THREADS) {
        if (!finite(row[i])) continue;
        float minus = row[i] - now, e = exp_below(row[i], now);
        exps += e;
        weighted += (double)e * minus;
    }
    exps = sum_of(exps, shared);
    weighted = sum_of(weighted, shared);
    for (u32 a = 0; a < asked; a++) {
        u32 id = ids[(u64)r * asked + a];
        float least = known[(u64)r * asked + a];
        double more = 0.0;
        for (u32 i = t; i < columns; i += THREADS) more += finite(row[i]) && row[i] > least && first + i != id ? 1.0 : 0.0;
        more = sum_of(more, shared);
        if (t == 0) above[(u64)r * asked + a] += (u64)more;
    }
    if (theirs[r] != NOBODY) {
        const float *same = other + (u64)theirs[r] * columns;
        float apart = 0.0f;
        double squares = 0.0, lengths = 0.0;
        for (u32 i = t; i < columns; i += THREADS) {
            float difference = row[i] - same[i];
            if (finite(difference)) {
                apart = size_of(difference) > apart ? size_of(difference) : apart;
                squares += (double)difference * difference;
            }
            if (finite(same[i])) lengths += (double)same[i] * same[i];
        }
        apart = greatest_of(apart, greatest);
        squares = sum_of(squares, shared);
        lengths = sum_of(lengths, shared);
        if (t == 0) {
            if (apart > beside[3 * r]) beside[3 * r] = apart;
            beside[3 * r + 1] += squares;
            beside[3 * r + 2] += lengths;
        }
    }
    if (t == 0) {
        left[r] += (u64)odd;
        if (here > -INFINITE) {
            double old = before > -INFINITE ? sums[2 * r] : 0.0, factor = before > -INFINITE ? exp_below(before, now) : 0.0;
            double moved = before > -INFINITE ? sums[2 * r + 1] + old * ((double)before - now) : 0.0;
            sums[2 * r] = old * factor + exps;
            sums[2 * r + 1] = moved * factor + weighted;
            most[r] = now;
        }
    }
    // The largest of the tile, one after the other, until one is not among the largest of all.
    u32 *ranked = tokens + (u64)r * keep;
    float *values = largest + (u64)r * keep;
    float last = INFINITE;
    u32 last_place = NOBODY;
    for (u32 taken = 0; taken < keep; taken++) {
        float best = -INFINITE;
        u32 place = NOBODY;
        for (u32 i = t; i < columns; i += THREADS) {
            bool later = row[i] < last || (row[i] == last && i > last_place);
            if (finite(row[i]) && (taken == 0 || later) && row[i] > best) {
                best = row[i];
                place = i;
            }
        }
        greatest[t] = best;
        places[t] = place;
        __syncthreads();
        for (u32 half = THREADS / 2; half > 0; half /= 2) {
            if (t < half) {
                float theirs_best = greatest[t + half];
                bool better = theirs_best > greatest[t] || (theirs_best == greatest[t] && places[t + half] < places[t]);
                if (better) {
                    greatest[t] = theirs_best;
                    places[t] = places[t + half];
                }
            }
            __syncthreads();
        }
        last = greatest[0];
        last_place = places[0];
        u32 count = tops[r];
        bool enters = last_place != NOBODY && (count < keep || last > values[keep - 1]);
        __syncthreads();
        if (!enters) break;
        if (t == 0) {
            u32 at = count < keep ? count : keep - 1;
            // Those that are there have smaller tokens: of equal ones they stay ahead.
            for (; at > 0 && values[at - 1] < last; at--) {
                values[at] = values[at - 1];
                ranked[at] = ranked[at - 1];
            }
            values[at] = last;
            ranked[at] = first + last_place;
            tops[r] = count < keep ? count + 1 : keep;
        }
        __syncthreads();
    }
}
