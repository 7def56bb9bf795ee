/* Frees a backend. While that call is still under way, another thread is given a backend at the same address, sets its own
 * abort callback, and computes; it computes again when the call has returned. Prints how often its callback was called.
 *
 *   reused_address */
#include "small_graph.h"

#include <pthread.h>

static struct ggml_backend place; /* where both backends lie */
static ggml_backend_t inner;      /* what computes for the one that lies there */
static pthread_barrier_t computed, freed;
static int calls;

static bool count_call(void * data) {
    ++*(int *) data;
    return false;
}

static void free_and_let_the_address_be_used(ggml_backend_t backend);

static void make_backend_in_place(void) {
    inner = make_cpu();
    place = *inner;
    place.iface.free = free_and_let_the_address_be_used;
}

static void * second_owner(void * unused) {
    (void) unused;
    struct small_graph g = make_graph();
    make_backend_in_place();
    ((ggml_backend_set_abort_callback_t) of_cpu(&place, "ggml_backend_set_abort_callback"))(&place, count_call, &calls);
    compute(&place, g);
    pthread_barrier_wait(&computed);
    pthread_barrier_wait(&freed);
    compute(&place, g);
    return NULL;
}

static void free_and_let_the_address_be_used(ggml_backend_t backend) {
    (void) backend;
    ggml_backend_t old = inner;
    old->iface.free(old);
    pthread_t thread;
    pthread_create(&thread, NULL, second_owner, NULL);
    pthread_barrier_wait(&computed);
    pthread_detach(thread);
}

int main(void) {
    pthread_barrier_init(&computed, NULL, 2);
    pthread_barrier_init(&freed, NULL, 2);
    make_backend_in_place();
    compute(&place, make_graph());
    ggml_backend_free(&place);
    calls = 0;
    pthread_barrier_wait(&freed);
    while (__atomic_load_n(&calls, __ATOMIC_RELAXED) < N_NODES) {
    }
    printf("%d\n", calls);
    return 0;
}
