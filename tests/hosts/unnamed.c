/* A program on ggml alone: two products on a scheduler, again and again, and no tensor has a name.
 *
 *   unnamed N [ignored…] */
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char ** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: unnamed N [ignored...]\n");
        return 2;
    }
    ggml_backend_load_all();
    ggml_backend_t cpu = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, NULL);
    struct ggml_init_params params = { 16 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL, true };
    ggml_backend_sched_t sched = ggml_backend_sched_new(&cpu, NULL, 1, GGML_DEFAULT_GRAPH_SIZE, false, true);
    float sum = 0;
    for (int i = 0; i < atoi(argv[1]); i++) {
        struct ggml_context * ctx = ggml_init(params);
        struct ggml_cgraph * graph = ggml_new_graph(ctx);
        struct ggml_tensor * a = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 8, 4);
        struct ggml_tensor * b = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, 8, 2);
        ggml_set_input(a);
        ggml_set_input(b);
        struct ggml_tensor * out = ggml_scale(ctx, ggml_mul_mat(ctx, a, b), 0.5f);
        ggml_set_output(out);
        ggml_build_forward_expand(graph, out);
        ggml_backend_sched_reset(sched);
        if (!ggml_backend_sched_alloc_graph(sched, graph)) {
            return 1;
        }
        float ones[32];
        for (int j = 0; j < 32; j++) {
            ones[j] = 1.0f;
        }
        ggml_backend_tensor_set(a, ones, 0, 32 * sizeof(float));
        ggml_backend_tensor_set(b, ones, 0, 16 * sizeof(float));
        if (ggml_backend_sched_graph_compute(sched, graph) != GGML_STATUS_SUCCESS) {
            return 1;
        }
        float first;
        ggml_backend_tensor_get(out, &first, 0, sizeof first);
        sum += first;
        ggml_free(ctx);
    }
    printf("%g\n", sum);
    ggml_backend_sched_free(sched);
    ggml_backend_free(cpu);
    return 0;
}
