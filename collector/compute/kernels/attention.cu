// Attention, fused: products of queries with keys, what the graph does to them, the mask, and the softmax with its sink, one
// block for some rows that share their keys. No scores are anywhere but in the rows of weights that are wanted. And what a
// row puts where. src/gpu/attention.rs launches these. values.cuh and curves.cuh stand before it.

#define THREADS 256
#define NONE 0xffffffffu
// Known to attention.rs: rows of a block.
#define ROWS 8
// Elements of queries that are in shared memory.
#define CHUNK 256
// As the collector keeps keys (rows.rs): [LANES, n_embd, PAGE / LANES, heads] for each page of rows.
#define PAGE 64
#define LANES 16

// Rows whose keys are numbered alike, from `begin` to `end`: as they are, or as places in `lists`.
struct Group {
    u32 row, rows, begin, end, list;
    // Entry in `pages` of the page that has key 0, and where in it that key lies.
    u32 page, origin;
    u32 head, n_embd, half;
    // The first of `step_count` steps: kind, factor, summand.
    u32 step, step_count;
};

// A query: sees `begin` to `end` of its group. `bias`: place of what is added to each key; `sink`: place of its sink's share.
struct Row {
    u32 begin, end, query, bias, sink, weights;
    float slope, logit;
};

// The rows of a token: `n` keys each, the rows of its heads one behind the other. What a key is to it is at `marks`; places of
// the first token, the one before and itself, if it sees them.
struct Look {
    u32 weights, n, marks, first, previous, own;
};

// Known to attention.rs.
enum { INDUCTION = 1, DUPLICATE = 2, PUNCTUATION = 4 };
#define MEASURES 9

__device__ static float stepped(float x, const float *steps, u32 count) {
    for (u32 i = 0; i < count; i++) x = steps[3 * i] == 0.0f ? x * steps[3 * i + 1] + steps[3 * i + 2] : tanh_of(x);
    return x;
}

// Adds up what the threads have, in an order that only their number decides.
__device__ static void add_up(double (*sums)[THREADS], u32 rows) {
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        for (u32 r = 0; r < rows; r++)
            if (threadIdx.x < half) sums[r][threadIdx.x] += sums[r][threadIdx.x + half];
    }
    __syncthreads();
}

// pages: addresses of pages, 0 where none is there.
extern "C" __global__ void attend(const Group *groups, const Row *rows, const u64 *pages, const u32 *lists, const float *queries, const float *biases, const float *steps, float *weights, float *sinks) {
    __shared__ float query[ROWS][CHUNK];
    __shared__ float most[ROWS][THREADS];
    __shared__ double sums[ROWS][THREADS];
    const Group group = groups[blockIdx.x];
    const Row *mine = rows + group.row;
    u32 t = threadIdx.x;
    float best[ROWS];
    for (u32 r = 0; r < ROWS; r++) best[r] = -INFINITE;
    for (u32 i = t; i < ROWS * CHUNK; i += THREADS) query[i / CHUNK][i % CHUNK] = 0.0f;
    for (u32 from = group.begin; from < group.end; from += THREADS) {
        u32 key = from + t;
        bool in = key < group.end;
        u32 place = group.origin + (in ? group.list == NONE ? key : lists[group.list + key] : 0);
        u64 page = in ? pages[group.page + place / PAGE] : 0;
        u32 at = place % PAGE;
        u64 first = ((u64)(group.head * (PAGE / LANES) + at / LANES) * group.n_embd) * LANES + at % LANES;
        float products[ROWS];
        for (u32 r = 0; r < ROWS; r++) products[r] = 0.0f;
        for (u32 d = 0; d < group.n_embd; d += CHUNK) {
            u32 n = group.n_embd - d < CHUNK ? group.n_embd - d : CHUNK;
            // Short queries stay for all keys.
            if (from == group.begin || group.n_embd > CHUNK) {
                __syncthreads();
                for (u32 i = t; i < group.rows * n; i += THREADS) query[i / n][i % n] = queries[mine[i / n].query + d + i % n];
                __syncthreads();
            }
            if (page == 0) continue;
            if (group.half) {
                const u16 *keys = (const u16 *)page + first + (u64)d * LANES;
                for (u32 i = 0; i < n; i++) {
                    float k = half_of_bits(keys[i * LANES]);
                    for (u32 r = 0; r < ROWS; r++) products[r] += query[r][i] * k;
                }
            } else {
                const float *keys = (const float *)page + first + (u64)d * LANES;
                for (u32 i = 0; i < n; i++) {
                    float k = keys[i * LANES];
                    for (u32 r = 0; r < ROWS; r++) products[r] += query[r][i] * k;
                }
            }
        }
        for (u32 r = 0; r < ROWS; r++) {
            if (r >= group.rows || !in || key < mine[r].begin || key >= mine[r].end) continue;
            u32 i = key - mine[r].begin;
            float x = stepped(products[r], steps + 3 * group.step, group.step_count);
            if (mine[r].bias != NONE) {
                // A key that is masked stays so whatever the product is, NaN included.
                float bias = biases[mine[r].bias + i];
                x = bias == -INFINITE ? bias : x + mine[r].slope * bias;
            }
            weights[mine[r].weights + i] = x;
            if (x > best[r]) best[r] = x;
        }
    }
    for (u32 r = 0; r < ROWS; r++) most[r][t] = best[r];
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        for (u32 r = 0; r < group.rows; r++)
            if (t < half && most[r][t + half] > most[r][t]) most[r][t] = most[r][t + half];
    }
    __syncthreads();
    for (u32 r = 0; r < group.rows; r++) {
        float limit = most[r][0], sum = 0.0f;
        if (mine[r].sink != NONE && mine[r].logit > limit) limit = mine[r].logit;
        // The threads that wrote these.
        for (u32 key = group.begin + t; key < group.end; key += THREADS) {
            if (key < mine[r].begin || key >= mine[r].end) continue;
            float *weight = weights + mine[r].weights + (key - mine[r].begin);
            *weight = exp_below(*weight, limit);
            sum += *weight;
        }
        sums[r][t] = sum;
    }
    add_up(sums, group.rows);
    for (u32 r = 0; r < group.rows; r++) {
        float limit = most[r][0], sink = 0.0f;
        if (mine[r].sink != NONE) {
            if (mine[r].logit > limit) limit = mine[r].logit;
            sink = exp_below(mine[r].logit, limit);
        }
        double sum = sums[r][0] + sink;
        // Nothing that it may see: no weights.
        float share = sum == 0.0 ? 1.0f : (float)(1.0 / sum);
        for (u32 key = group.begin + t; key < group.end; key += THREADS)
            if (key >= mine[r].begin && key < mine[r].end) weights[mine[r].weights + (key - mine[r].begin)] *= share;
        if (t == 0 && mine[r].sink != NONE) sinks[mine[r].sink] = sink * share;
    }
}

// blocks: token and head of each block. measures: [MEASURES, blocks], the sums of the weights, of x ln x, of weight times
// distance, of what goes to the first token, the one before, itself, and to keys that are something to it.
extern "C" __global__ void measure(const Look *looks, const u32 *blocks, const float *weights, const float *distances, const u8 *marks, double *measures) {
    __shared__ double sums[6][THREADS];
    const Look look = looks[blocks[2 * blockIdx.x]];
    const float *row = weights + look.weights + (u64)blocks[2 * blockIdx.x + 1] * look.n;
    u32 t = threadIdx.x;
    for (u32 i = 0; i < 6; i++) sums[i][t] = 0.0;
    for (u32 k = t; k < look.n; k += THREADS) {
        double weight = row[k];
        u32 mark = marks[look.marks + k];
        sums[0][t] += weight;
        sums[1][t] += x_ln_x(row[k]);
        sums[2][t] += weight * distances[look.marks + k];
        if (mark & INDUCTION) sums[3][t] += weight;
        if (mark & DUPLICATE) sums[4][t] += weight;
        if (mark & PUNCTUATION) sums[5][t] += weight;
    }
    add_up(sums, 6);
    double *out = measures + (u64)MEASURES * blockIdx.x;
    if (t < 3) {
        u32 place = t == 0 ? look.first : t == 1 ? look.previous : look.own;
        out[t] = sums[t][0];
        out[3 + t] = place < look.n ? row[place] : 0.0;
        out[6 + t] = sums[3 + t][0];
    }
}
