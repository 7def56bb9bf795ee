/* A library with ggml's function names and a tensor layout that no ggml ever had: sizes are floating point, nothing
 * of the name lies inside the tensor, pointers are kept complemented. A tracer that proves the layout before it reads
 * a field refuses this host; one that trusts compiled-in offsets reads garbage. Built as libggml-base.so. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ggml_tensor {
    double dims[4];
    char * label;           /* a separate allocation */
    uintptr_t not_data;     /* ~data */
    uintptr_t not_src[4];   /* ~src[i] */
    short op, type, flags;
};
struct ggml_context { struct ggml_tensor * made[64]; int n_made; };
struct ggml_cgraph { struct ggml_tensor * nodes[8]; int n_nodes; };
struct ggml_backend_sched { void ** backends; int n_backends; };
struct ggml_init_params { size_t mem_size; void * mem_buffer; bool no_alloc; };

enum { TYPE_F32 = 0 };
enum { OP_NONE, OP_ADD, OP_MUL_MAT, OP_VIEW };

struct ggml_context * ggml_init(struct ggml_init_params params) {
    (void) params;
    return calloc(1, sizeof(struct ggml_context));
}

void ggml_free(struct ggml_context * ctx) {
    for (int i = 0; ctx && i < ctx->n_made; i++) {
        free(ctx->made[i]->label);
        free(ctx->made[i]);
    }
    free(ctx);
}

size_t ggml_tensor_overhead(void) { return sizeof(struct ggml_tensor); }
size_t ggml_graph_overhead(void) { return sizeof(struct ggml_cgraph); }
const char * ggml_version(void) { return "0.0.0-fake"; }
const char * ggml_commit(void) { return "fake"; }

struct ggml_tensor * ggml_new_tensor_4d(struct ggml_context * ctx, int type, int64_t a, int64_t b, int64_t c, int64_t d) {
    if (ctx->n_made == 64) {
        return NULL;
    }
    struct ggml_tensor * t = calloc(1, sizeof *t);
    t->dims[0] = (double) a;
    t->dims[1] = (double) b;
    t->dims[2] = (double) c;
    t->dims[3] = (double) d;
    t->label = strdup("");
    t->not_data = ~(uintptr_t) NULL;
    for (int i = 0; i < 4; i++) {
        t->not_src[i] = ~(uintptr_t) NULL;
    }
    t->op = OP_NONE;
    t->type = (short) type;
    ctx->made[ctx->n_made++] = t;
    return t;
}

struct ggml_tensor * ggml_new_tensor_1d(struct ggml_context * ctx, int type, int64_t a) {
    return ggml_new_tensor_4d(ctx, type, a, 1, 1, 1);
}

struct ggml_tensor * ggml_new_tensor_2d(struct ggml_context * ctx, int type, int64_t a, int64_t b) {
    return ggml_new_tensor_4d(ctx, type, a, b, 1, 1);
}

struct ggml_tensor * ggml_new_tensor_3d(struct ggml_context * ctx, int type, int64_t a, int64_t b, int64_t c) {
    return ggml_new_tensor_4d(ctx, type, a, b, c, 1);
}

struct ggml_tensor * ggml_new_tensor(struct ggml_context * ctx, int type, int n_dims, const int64_t * ne) {
    return ggml_new_tensor_4d(ctx, type, ne[0], n_dims > 1 ? ne[1] : 1, n_dims > 2 ? ne[2] : 1, n_dims > 3 ? ne[3] : 1);
}

struct ggml_tensor * ggml_set_name(struct ggml_tensor * t, const char * name) {
    free(t->label);
    t->label = strdup(name);
    return t;
}

const char * ggml_get_name(const struct ggml_tensor * t) { return t->label; }
void ggml_set_input(struct ggml_tensor * t) { t->flags |= 0x100; }
void ggml_set_output(struct ggml_tensor * t) { t->flags |= 0x200; }
void * ggml_get_data(const struct ggml_tensor * t) { return (void *) ~t->not_data; }
int64_t ggml_nelements(const struct ggml_tensor * t) { return (int64_t) (t->dims[0]*t->dims[1]*t->dims[2]*t->dims[3]); }
int64_t ggml_nrows(const struct ggml_tensor * t) { return (int64_t) (t->dims[1]*t->dims[2]*t->dims[3]); }
size_t ggml_nbytes(const struct ggml_tensor * t) { return (size_t) ggml_nelements(t) * sizeof(float); }
size_t ggml_element_size(const struct ggml_tensor * t) { (void) t; return sizeof(float); }
size_t ggml_type_size(int type) { (void) type; return sizeof(float); }
int64_t ggml_blck_size(int type) { (void) type; return 1; }
const char * ggml_type_name(int type) { return type == TYPE_F32 ? "f32" : "fake"; }

const char * ggml_op_name(int op) {
    static const char * names[] = { "NONE", "ADD", "MUL_MAT", "VIEW" };
    return op >= 0 && op < 4 ? names[op] : "FAKE";
}

const char * ggml_op_desc(const struct ggml_tensor * t) { return ggml_op_name(t->op); }
const char * ggml_op_symbol(int op) { return ggml_op_name(op); }

static struct ggml_tensor * operator(struct ggml_context * ctx, short op, struct ggml_tensor * a, struct ggml_tensor * b, double rows) {
    struct ggml_tensor * t = ggml_new_tensor_4d(ctx, a->type, (int64_t) a->dims[0], (int64_t) rows, 1, 1);
    t->op = op;
    t->not_src[0] = ~(uintptr_t) a;
    t->not_src[1] = ~(uintptr_t) b;
    return t;
}

struct ggml_tensor * ggml_add(struct ggml_context * ctx, struct ggml_tensor * a, struct ggml_tensor * b) {
    return operator(ctx, OP_ADD, a, b, a->dims[1]);
}

struct ggml_tensor * ggml_mul_mat(struct ggml_context * ctx, struct ggml_tensor * a, struct ggml_tensor * b) {
    return operator(ctx, OP_MUL_MAT, a, b, b->dims[1]);
}

struct ggml_tensor * ggml_view_1d(struct ggml_context * ctx, struct ggml_tensor * a, int64_t n, size_t offset) {
    (void) n;
    (void) offset;
    return operator(ctx, OP_VIEW, a, NULL, 1);
}

struct ggml_cgraph * ggml_new_graph(struct ggml_context * ctx) {
    (void) ctx;
    return calloc(1, sizeof(struct ggml_cgraph)); /* small, and the process is short-lived */
}

struct ggml_cgraph * ggml_new_graph_custom(struct ggml_context * ctx, size_t size, bool grads) {
    (void) size;
    (void) grads;
    return ggml_new_graph(ctx);
}

void ggml_build_forward_expand(struct ggml_cgraph * graph, struct ggml_tensor * t) {
    if (graph->n_nodes < 8) {
        graph->nodes[graph->n_nodes++] = t;
    }
}

int ggml_graph_n_nodes(struct ggml_cgraph * graph) { return graph->n_nodes; }
int ggml_graph_size(struct ggml_cgraph * graph) { (void) graph; return 8; }
struct ggml_tensor ** ggml_graph_nodes(struct ggml_cgraph * graph) { return graph->nodes; }
struct ggml_tensor * ggml_graph_node(struct ggml_cgraph * graph, int i) {
    return graph->nodes[i < 0 ? graph->n_nodes + i : i];
}

struct ggml_backend_sched * ggml_backend_sched_new(void ** backends, void ** bufts, int n_backends, size_t graph_size, bool parallel, bool op_offload) {
    (void) bufts;
    (void) graph_size;
    (void) parallel;
    (void) op_offload;
    struct ggml_backend_sched * sched = calloc(1, sizeof *sched);
    sched->backends = backends;
    sched->n_backends = n_backends;
    return sched;
}

void ggml_backend_sched_free(struct ggml_backend_sched * sched) { free(sched); }
void ggml_backend_sched_reset(struct ggml_backend_sched * sched) { (void) sched; }
void ggml_backend_sched_synchronize(struct ggml_backend_sched * sched) { (void) sched; }
int ggml_backend_sched_get_n_backends(struct ggml_backend_sched * sched) { return sched->n_backends; }
void * ggml_backend_sched_get_backend(struct ggml_backend_sched * sched, int i) { return sched->backends[i]; }

void * ggml_backend_sched_get_tensor_backend(struct ggml_backend_sched * sched, struct ggml_tensor * t) {
    (void) t;
    return sched->backends[0];
}

bool ggml_backend_sched_alloc_graph(struct ggml_backend_sched * sched, struct ggml_cgraph * graph) {
    (void) sched;
    (void) graph;
    return true;
}

bool ggml_backend_sched_reserve(struct ggml_backend_sched * sched, struct ggml_cgraph * graph) {
    return ggml_backend_sched_alloc_graph(sched, graph);
}

int ggml_backend_graph_compute_async(void * backend, struct ggml_cgraph * graph) {
    (void) backend;
    return graph->n_nodes > 0 ? 0 : -1;
}

int ggml_backend_sched_graph_compute_async(struct ggml_backend_sched * sched, struct ggml_cgraph * graph) {
    return ggml_backend_graph_compute_async(sched->backends[0], graph);
}

int ggml_backend_sched_graph_compute(struct ggml_backend_sched * sched, struct ggml_cgraph * graph) {
    return ggml_backend_sched_graph_compute_async(sched, graph);
}

const char * ggml_backend_name(void * backend) { (void) backend; return "FAKE"; }

#ifndef LACKS_FUNCTIONS
/* What a tracer may look for and this program has no use for. */
void * ggml_scale(void * ctx, struct ggml_tensor * a, float s) { (void) s; return operator(ctx, OP_ADD, a, a, 1); }
bool ggml_is_contiguous(void * t) { (void) t; return true; }
void ggml_backend_free(void * backend) { (void) backend; }
void * ggml_backend_get_device(void * backend) { (void) backend; return NULL; }
int ggml_backend_dev_type(void * device) { (void) device; return 0; }
void * ggml_backend_dev_backend_reg(void * device) { (void) device; return NULL; }
void * ggml_backend_dev_buffer_from_host_ptr(void * device, void * p, size_t n, size_t max) {
    (void) device; (void) p; (void) n; (void) max;
    return NULL;
}
void * ggml_backend_reg_get_proc_address(void * reg, const char * name) { (void) reg; (void) name; return NULL; }
int ggml_backend_graph_compute(void * backend, void * graph) { (void) backend; (void) graph; return 0; }
void ggml_backend_synchronize(void * backend) { (void) backend; }
void ggml_backend_tensor_copy(void * src, void * dst) { (void) src; (void) dst; }
void ggml_backend_tensor_set(void * t, const void * data, size_t offset, size_t size) { (void) t; (void) data; (void) offset; (void) size; }
int ggml_backend_sched_get_n_splits(void * sched) { (void) sched; return 1; }
void ggml_backend_tensor_get(void * t, void * to, size_t offset, size_t n) { (void) t; (void) to; (void) offset; (void) n; }
int ggml_backend_tensor_alloc(void * buffer, void * t, void * addr) { (void) buffer; (void) t; (void) addr; return -1; }
void * ggml_backend_cpu_buffer_type(void) { return NULL; }
void * ggml_backend_buft_alloc_buffer(void * type, size_t n) { (void) type; (void) n; return NULL; }
void ggml_backend_buffer_free(void * buffer) { (void) buffer; }
const char * ggml_backend_buffer_name(void * buffer) { (void) buffer; return "fake"; }
void * ggml_backend_buffer_get_base(void * buffer) { (void) buffer; return NULL; }
size_t ggml_backend_buffer_get_size(void * buffer) { (void) buffer; return 0; }
int ggml_backend_buffer_get_usage(void * buffer) { (void) buffer; return 0; }
bool ggml_backend_buffer_is_host(void * buffer) { (void) buffer; return false; }
#endif
