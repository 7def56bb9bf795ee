/* A program on fake_ggml.c: computes one graph through the functions a tracer interposes, says so, exits with 7.
 * It must do exactly that under a tracer too. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct ggml_init_params { size_t mem_size; void * mem_buffer; bool no_alloc; };

extern void * ggml_init(struct ggml_init_params params);
extern void ggml_free(void * ctx);
extern void * ggml_new_tensor_2d(void * ctx, int type, int64_t a, int64_t b);
extern void * ggml_set_name(void * tensor, const char * name);
extern void * ggml_mul_mat(void * ctx, void * a, void * b);
extern void * ggml_new_graph(void * ctx);
extern void ggml_build_forward_expand(void * graph, void * tensor);
extern void * ggml_backend_sched_new(void ** backends, void ** bufts, int n_backends, size_t graph_size, bool parallel, bool op_offload);
extern bool ggml_backend_sched_alloc_graph(void * sched, void * graph);
extern int ggml_backend_sched_graph_compute_async(void * sched, void * graph);
extern void ggml_backend_sched_free(void * sched);

int main(void) {
    int backend = 0;
    void * backends[1] = { &backend };
    void * sched = ggml_backend_sched_new(backends, NULL, 1, 8, false, false);

    void * ctx = ggml_init((struct ggml_init_params) { 1 << 16, NULL, true });
    void * weight = ggml_set_name(ggml_new_tensor_2d(ctx, 0, 4, 4), "blk.0.attn_q.weight");
    void * input = ggml_set_name(ggml_new_tensor_2d(ctx, 0, 4, 1), "inp_embd");
    void * graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, ggml_set_name(ggml_mul_mat(ctx, weight, input), "Qcur-0"));

    if (!ggml_backend_sched_alloc_graph(sched, graph) || ggml_backend_sched_graph_compute_async(sched, graph) != 0) {
        fprintf(stderr, "fake host failed\n");
        return 1;
    }
    ggml_backend_sched_free(sched);
    ggml_free(ctx);
    puts("fake host ran");
    return 7;
}
