// Louvain's moving of nodes to the community where they add most modularity. Nodes move in classes: those of one class
// choose at the same time, by what the others have done so far. Strengths of communities are sums of whole numbers, which do
// not depend on the order of additions, so every device gives the same communities. src/gpu/communities.rs launches these.

#define NONE 0xffffffffu
// One, as a whole number: strengths are shares of the whole.
#define UNIT 1152921504606846976.0

typedef unsigned int u32;
typedef unsigned long long u64;

// A number that looks drawn.
__device__ static u32 mix(u32 x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

__device__ static double share(u64 strength) { return (double)strength / UNIT; }

// For each node of the class the best community: choice[node]. `keys` and `values` are hash tables of twice the node's
// degree each: weight of the node's edges by community.
extern "C" __global__ void choose_community(u32 nodes, u32 seed, u32 classes, u32 turn, double resolution, const u64 *offsets, const u32 *targets, const double *weights, const double *out, const double *into, const u32 *community, const u64 *sum_out, const u64 *sum_into, const u64 *fixed_out, const u64 *fixed_into, const u32 *members, u32 *keys, double *values, u32 *choice) {
    u32 node = blockIdx.x * blockDim.x + threadIdx.x;
    if (node >= nodes) return;
    u32 home = community[node];
    choice[node] = home;
    u64 first = offsets[node], degree = offsets[node + 1] - first;
    if (degree == 0 || mix(node ^ seed) % classes != turn) return;

    u32 *key = keys + 2 * first;
    double *value = values + 2 * first;
    u64 slots = 2 * degree;
    for (u64 slot = 0; slot < slots; slot++) key[slot] = NONE;
    for (u64 edge = first; edge < first + degree; edge++) {
        u32 near = community[targets[edge]];
        u64 slot = mix(near) % slots;
        while (key[slot] != NONE && key[slot] != near) slot = slot + 1 == slots ? 0 : slot + 1;
        if (key[slot] == NONE) {
            key[slot] = near;
            value[slot] = 0.0;
        }
        value[slot] += weights[edge];
    }

    double home_weight = 0.0;
    for (u64 slot = 0; slot < slots; slot++)
        if (key[slot] == home) home_weight = value[slot];
    double stay_out = share(sum_out[home] - fixed_out[node]), stay_into = share(sum_into[home] - fixed_into[node]);
    double best = home_weight - resolution * (out[node] * stay_into + into[node] * stay_out) / 2.0 + 1e-14;
    u32 where = home;
    for (u64 slot = 0; slot < slots; slot++) {
        u32 to = key[slot];
        if (to == NONE || to == home) continue;
        // Two nodes that are alone would change places for ever.
        if (members[home] == 1 && members[to] == 1 && to > home) continue;
        double gain = value[slot] - resolution * (out[node] * share(sum_into[to]) + into[node] * share(sum_out[to])) / 2.0;
        if (gain > best || (gain == best && to < where)) {
            best = gain;
            where = to;
        }
    }
    choice[node] = where;
}

// Carries the choices out, and counts them.
extern "C" __global__ void move_to_community(u32 nodes, const u32 *choice, const u64 *fixed_out, const u64 *fixed_into, u32 *community, u64 *sum_out, u64 *sum_into, u32 *members, u32 *moved) {
    u32 node = blockIdx.x * blockDim.x + threadIdx.x;
    if (node >= nodes || choice[node] == community[node]) return;
    u32 from = community[node], to = choice[node];
    community[node] = to;
    // Less is more, modulo 2^64.
    atomicAdd(&sum_out[from], 0 - fixed_out[node]);
    atomicAdd(&sum_into[from], 0 - fixed_into[node]);
    atomicAdd(&sum_out[to], fixed_out[node]);
    atomicAdd(&sum_into[to], fixed_into[node]);
    atomicAdd(&members[from], 0 - 1u);
    atomicAdd(&members[to], 1u);
    atomicAdd(moved, 1u);
}
