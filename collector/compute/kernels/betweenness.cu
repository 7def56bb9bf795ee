// Brandes' algorithm for many sources at once: each block searches from one source after the other, level by level, in
// memory of its own. Within a level every node pulls, in the order of the edges: no sum depends on which thread was first.
// src/gpu/betweenness.rs launches these.

#define FAR 0xffffffffu

typedef unsigned int u32;
typedef unsigned long long u64;

// Sources number `first` to before `end`. Memory of a block, `nodes` entries each (`starts`: nodes + 2), one block's after the other's. Each block adds its sources'
// dependencies to its `sums`. `overflow` becomes 1 if a number of paths has no finite value.
extern "C" __global__ void brandes(u32 nodes, u32 first, u32 end, const u32 *sources, const u64 *out_offsets, const u32 *out_targets, const u64 *in_offsets, const u32 *in_sources, u32 endpoints, double *all_paths, double *all_depends, u32 *all_steps, u32 *all_order, u32 *all_starts, double *all_sums, u32 *overflow) {
    __shared__ u32 found;
    u64 mine = (u64)blockIdx.x * nodes;
    double *paths = all_paths + mine, *depends = all_depends + mine, *sums = all_sums + mine;
    u32 *steps = all_steps + mine, *order = all_order + mine;
    u32 *starts = all_starts + (u64)blockIdx.x * (nodes + 2);

    for (u32 at = first + blockIdx.x; at < end; at += gridDim.x) {
        u32 source = sources[at];
        for (u32 node = threadIdx.x; node < nodes; node += blockDim.x) steps[node] = FAR;
        __syncthreads();
        if (threadIdx.x == 0) {
            steps[source] = 0;
            paths[source] = 1.0;
            order[0] = source;
            starts[0] = 0;
            starts[1] = 1;
            found = 1;
        }
        __syncthreads();

        u32 level = 0;
        while (starts[level] < starts[level + 1]) {
            u32 begin = starts[level], after = starts[level + 1];
            for (u32 i = begin + threadIdx.x; i < after; i += blockDim.x) {
                u32 node = order[i];
                for (u64 edge = out_offsets[node]; edge < out_offsets[node + 1]; edge++) {
                    u32 to = out_targets[edge];
                    if (steps[to] == FAR && atomicCAS(&steps[to], FAR, level + 1) == FAR) order[atomicAdd(&found, 1)] = to;
                }
            }
            __syncthreads();
            if (threadIdx.x == 0) starts[level + 2] = found;
            __syncthreads();
            for (u32 i = after + threadIdx.x; i < starts[level + 2]; i += blockDim.x) {
                u32 node = order[i];
                double sum = 0.0;
                for (u64 edge = in_offsets[node]; edge < in_offsets[node + 1]; edge++) {
                    u32 from = in_sources[edge];
                    if (steps[from] == level) sum += paths[from];
                }
                paths[node] = sum;
                if (sum > 1.7976931348623157e308) atomicExch(overflow, 1u);
            }
            __syncthreads();
            level++;
        }

        u32 reached = starts[level];
        while (level > 0) {
            level--;
            for (u32 i = starts[level] + threadIdx.x; i < starts[level + 1]; i += blockDim.x) {
                u32 node = order[i];
                double sum = 0.0;
                for (u64 edge = out_offsets[node]; edge < out_offsets[node + 1]; edge++) {
                    u32 to = out_targets[edge];
                    if (steps[to] == level + 1) sum += paths[node] / paths[to] * (1.0 + depends[to]);
                }
                depends[node] = sum;
                if (node != source) sums[node] += sum + (endpoints ? 1.0 : 0.0);
                else if (endpoints) sums[node] += reached - 1;
            }
            __syncthreads();
        }
    }
}

// scores[node] = sum of all blocks' sums, in the order of the blocks.
extern "C" __global__ void brandes_total(u32 nodes, u32 blocks, const double *all_sums, double *scores) {
    u32 node = blockIdx.x * blockDim.x + threadIdx.x;
    if (node >= nodes) return;
    double sum = 0.0;
    for (u32 block = 0; block < blocks; block++) sum += all_sums[(u64)block * nodes + node];
    scores[node] = sum;
}
