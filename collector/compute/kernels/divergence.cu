// How much each two heads differ: the Jensen-Shannon divergence of their rows, summed up over tokens. One block for 16 x 16
// pairs of heads, one thread for each pair. src/gpu/divergence.rs launches these. values.cuh and curves.cuh stand before it.

#define THREADS 256
// Heads on each side of a tile, and outcomes of their rows that are in shared memory.
#define TILE 16
#define OUTCOMES 64

// A token: place of its rows, [n, heads], and n.
struct Token {
    u64 rows;
    u64 n;
};

// sums[token * heads + head] is the sum of x ln x of a row; one block for each row.
extern "C" __global__ void entropies(const Token *tokens, u32 heads, const float *weights, float *sums) {
    __shared__ double partial[THREADS];
    Token token = tokens[blockIdx.x / heads];
    const float *row = weights + token.rows + token.n * (blockIdx.x % heads);
    double sum = 0.0;
    for (u64 i = threadIdx.x; i < token.n; i += THREADS) sum += x_ln_x(row[i]);
    partial[threadIdx.x] = sum;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = (float)partial[0];
}

// tiles: the first head on each side, two a block. sums and counts: [THREADS, tiles], added to.
extern "C" __global__ void diverge(const Token *tokens, u32 token_count, u32 heads, const float *weights, const float *entropies, const u32 *tiles, double *sums, u32 *counts) {
    __shared__ float rows[2][TILE][OUTCOMES + 1];
    u32 t = threadIdx.x;
    u32 first[2] = {tiles[2 * blockIdx.x], tiles[2 * blockIdx.x + 1]};
    u32 a = first[0] + t / TILE, b = first[1] + t % TILE;
    bool is_pair = a < b && b < heads;
    u64 mine = (u64)blockIdx.x * THREADS + t;
    double sum = sums[mine];
    u32 count = counts[mine];
    for (u32 i = 0; i < token_count; i++) {
        Token token = tokens[i];
        double middle = 0.0;
        for (u64 from = 0; from < token.n; from += OUTCOMES) {
            u32 n = token.n - from < OUTCOMES ? (u32)(token.n - from) : OUTCOMES;
            __syncthreads();
            for (u32 k = t; k < 2 * TILE * OUTCOMES; k += THREADS) {
                u32 side = k / (TILE * OUTCOMES), row = k / OUTCOMES % TILE, outcome = k % OUTCOMES;
                u32 head = first[side] + row;
                bool is_there = head < heads && outcome < n;
                rows[side][row][outcome] = is_there ? weights[token.rows + token.n * head + from + outcome] : 0.0f;
            }
            __syncthreads();
            float some = 0.0f;
            if (is_pair)
                for (u32 k = 0; k < n; k++) some += x_ln_x(0.5f * (rows[0][t / TILE][k] + rows[1][t % TILE][k]));
            middle += some;
        }
        if (!is_pair || token.n == 0) continue;
        const float *of = entropies + (u64)i * heads;
        float js = 0.5f * (of[a] + of[b]) - (float)middle;
        // Not a number where one of both has no row.
        if (js != js) continue;
        sum += js < 0.0f ? 0.0f : js > 0.693147180559945309f ? 0.693147180559945309f : js;
        count++;
    }
    sums[mine] = sum;
    counts[mine] = count;
}
