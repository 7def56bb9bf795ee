// PageRank's power iteration: each node pulls from its predecessors. Sums are formed in an order that depends on the graph
// alone, so every device gives the same bits. src/gpu/pagerank.rs launches these.

// Rows from this length on are summed by a whole block; shorter ones by one thread. Known to pagerank.rs.
#define HEAVY 512
#define THREADS 256

typedef unsigned int u32;
typedef unsigned long long u64;

// The sum of one value of each of THREADS threads, for thread 0. `sums` is shared.
__device__ static double block_sum(double value, double *sums) {
    u32 t = threadIdx.x;
    sums[t] = value;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) sums[t] += sums[t + half];
        __syncthreads();
    }
    double all = sums[0];
    __syncthreads();
    return all;
}

__device__ static double pull(const u32 *sources, const double *weights, const double *gives, u64 from, u64 to, u32 step) {
    double sum = 0.0;
    for (u64 edge = from; edge < to; edge += step)
        sum += weights ? weights[edge] * gives[sources[edge]] : gives[sources[edge]];
    return sum;
}

// What each node gives at first, and its share of the dangling mass: partial[block].
extern "C" __global__ void pagerank_begin(u32 nodes, const double *scores, const double *inverse, double *gives, double *partial) {
    __shared__ double sums[THREADS];
    u32 node = blockIdx.x * THREADS + threadIdx.x;
    double dangling = 0.0;
    if (node < nodes) {
        gives[node] = scores[node] * inverse[node];
        if (inverse[node] == 0.0) dangling = scores[node];
    }
    double sum = block_sum(dangling, sums);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block for each node with a long row: what it gets, into next[node].
extern "C" __global__ void pagerank_heavy(const u32 *heavy, const u64 *offsets, const u32 *sources, const double *weights, const double *gives, double *next) {
    __shared__ double sums[THREADS];
    u32 node = heavy[blockIdx.x];
    double part = pull(sources, weights, gives, offsets[node] + threadIdx.x, offsets[node + 1], THREADS);
    double sum = block_sum(part, sums);
    if (threadIdx.x == 0) next[node] = sum;
}

// One iteration: new scores, what nodes give next, and each block's part of the change (partial[block]) and of the
// dangling mass (partial[blocks + block]). `sums` holds the change and the mass of the iteration before.
extern "C" __global__ void pagerank_step(u32 nodes, double damping, const u64 *offsets, const u32 *sources, const double *weights, const double *inverse, const double *jump, const double *dangling, const double *gives, const double *totals, double *scores, double *next, double *partial) {
    __shared__ double sums[THREADS];
    u32 node = blockIdx.x * THREADS + threadIdx.x;
    double change = 0.0, mass = 0.0;
    if (node < nodes) {
        u64 from = offsets[node], to = offsets[node + 1];
        double got = to - from >= HEAVY ? next[node] : pull(sources, weights, gives, from, to, 1);
        double even = 1.0 / nodes;
        double score = damping * (got + totals[1] * (dangling ? dangling[node] : even)) + (1.0 - damping) * (jump ? jump[node] : even);
        change = score - scores[node];
        if (change < 0.0) change = -change;
        scores[node] = score;
        next[node] = score * inverse[node];
        if (inverse[node] == 0.0) mass = score;
    }
    double all = block_sum(change, sums);
    if (threadIdx.x == 0) partial[blockIdx.x] = all;
    all = block_sum(mass, sums);
    if (threadIdx.x == 0) partial[gridDim.x + blockIdx.x] = all;
}

// totals[block] = sum of partial[block * count ..]; one block for each sum.
extern "C" __global__ void pagerank_total(u32 count, const double *partial, double *totals) {
    __shared__ double sums[THREADS];
    double part = 0.0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) part += partial[blockIdx.x * count + i];
    double sum = block_sum(part, sums);
    if (threadIdx.x == 0) totals[blockIdx.x] = sum;
}
