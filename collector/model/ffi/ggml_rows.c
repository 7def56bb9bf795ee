// What ggml.c and ggml-quants.c need to be linked without the rest of ggml, and ggml's own tables where Rust finds them.
#define GGML_COMMON_IMPL_C
#include "ggml-common.h"

#include "ggml_rows.h"

#include "ggml-backend.h"
#include "ggml-impl.h"
#include "ggml-threading.h"

#include <pthread.h>
#include <stdlib.h>

// ggml's tables are static in whatever includes them. That their sizes are those in our header is checked here.
#define TABLE(type, name, size) \
    _Static_assert(sizeof(name) == size * sizeof(type), "the size of " #name); \
    const type (* const ggscope_##name)[size] = &name
TABLE(uint64_t, iq1s_grid, 2048);
TABLE(uint64_t, iq2xxs_grid, 256);
TABLE(uint64_t, iq2xs_grid, 512);
TABLE(uint64_t, iq2s_grid, 1024);
TABLE(uint32_t, iq3xxs_grid, 256);
TABLE(uint32_t, iq3s_grid, 512);
TABLE(uint8_t, ksigns_iq2xs, 128);
TABLE(int8_t, kvalues_iq4nl, 16);
TABLE(int8_t, kvalues_fp4, 16);

float ggscope_e8m0_half(uint8_t e) {
    return ggml_e8m0_to_fp32_half(e);
}

float ggscope_ue4m3_half(uint8_t d) {
    return ggml_ue4m3_to_fp32(d);
}

// ggml's own is a std::mutex, which would bring the C++ library with it.
static pthread_mutex_t critical_section = PTHREAD_MUTEX_INITIALIZER;

void ggml_critical_section_start(void) {
    pthread_mutex_lock(&critical_section);
}

void ggml_critical_section_end(void) {
    pthread_mutex_unlock(&critical_section);
}

// ggml.c calls these for tensors in a backend's buffer. There are no tensors here, only rows of bytes.
enum ggml_backend_buffer_usage ggml_backend_buffer_get_usage(ggml_backend_buffer_t buffer) {
    (void) buffer;
    abort();
}

void ggml_backend_tensor_memset(struct ggml_tensor * tensor, uint8_t value, size_t offset, size_t size) {
    (void) tensor, (void) value, (void) offset, (void) size;
    abort();
}

void ggml_backend_tensor_set(struct ggml_tensor * tensor, const void * data, size_t offset, size_t size) {
    (void) tensor, (void) data, (void) offset, (void) size;
    abort();
}
