/* A graph of three products, on a backend of the program's own. */
#ifndef GGSCOPE_TEST_SMALL_GRAPH_H
#define GGSCOPE_TEST_SMALL_GRAPH_H

#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <stdio.h>
#include <stdlib.h>

#define N_NODES 3

static inline void * of_cpu(ggml_backend_t cpu, const char * function) {
    return ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(ggml_backend_get_device(cpu)), function);
}

static inline ggml_backend_t make_cpu(void) {
    ggml_backend_load_all();
    ggml_backend_t cpu = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
    ((ggml_backend_set_n_threads_t) of_cpu(cpu, "ggml_backend_set_n_threads"))(cpu, 1);
    return cpu;
}

struct small_graph {
    struct ggml_context * ctx;
    struct ggml_cgraph * graph;
    ggml_backend_buffer_t buffer;
};

static inline struct small_graph make_graph(void) {
    struct ggml_init_params params = { 16 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL, true };
    struct small_graph g = { ggml_init(params), NULL, NULL };
    struct ggml_tensor * a = ggml_new_tensor_2d(g.ctx, GGML_TYPE_F32, 8, 8);
    struct ggml_tensor * x = ggml_new_tensor_2d(g.ctx, GGML_TYPE_F32, 8, 2);
    for (int i = 0; i < N_NODES; i++) {
        x = ggml_mul_mat(g.ctx, a, x);
    }
    g.graph = ggml_new_graph(g.ctx);
    ggml_build_forward_expand(g.graph, x);
    g.buffer = ggml_backend_alloc_ctx_tensors_from_buft(g.ctx, ggml_backend_cpu_buffer_type());
    ggml_backend_buffer_clear(g.buffer, 0);
    return g;
}

static inline void compute(ggml_backend_t backend, struct small_graph g) {
    if (ggml_backend_graph_compute_async(backend, g.graph) != GGML_STATUS_SUCCESS) {
        fprintf(stderr, "host: cannot compute\n");
        exit(1);
    }
}

#endif
