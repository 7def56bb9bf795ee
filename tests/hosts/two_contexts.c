/* One model, two contexts on two threads that compute at the same time, each with its own prompt: a tracer must
 * keep their records apart. Prints `ctx0: ids...` and `ctx1: ids...`; each line is the same on every run.
 *
 *   two_contexts MODEL N [THREADS_PER_CONTEXT] */
#include "greedy.h"

#include <pthread.h>

struct worker {
    const char * prompt;
    struct llama_model * model;
    int n_predict;
    int threads;
    pthread_barrier_t * start;
    llama_token * ids; /* n_predict of them */
};

static void * work(void * argument) {
    struct worker * w = argument;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_threads = w->threads;
    params.n_threads_batch = w->threads;
    struct llama_context * ctx = llama_init_from_model(w->model, params);
    if (!ctx) {
        die("cannot create a context for", w->prompt);
    }
    llama_token tokens[MAX_PROMPT_TOKENS];
    struct llama_batch batch = llama_batch_get_one(tokens, tokenize(w->model, w->prompt, tokens));

    pthread_barrier_wait(w->start);
    for (int i = 0; i < w->n_predict; i++) {
        if (llama_decode(ctx, batch) != 0) {
            die("llama_decode failed", w->prompt);
        }
        w->ids[i] = tokens[0] = most_likely(ctx, w->model);
        batch = llama_batch_get_one(tokens, 1);
    }
    llama_free(ctx);
    return NULL;
}

int main(int argc, char ** argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: two_contexts MODEL N [THREADS_PER_CONTEXT]\n");
        return 2;
    }
    const int n_predict = atoi(argv[2]);
    const int threads = argc > 3 ? atoi(argv[3]) : 1;
    const char * prompts[2] = { DEFAULT_PROMPT, "Once upon a time there was a" };

    load_backends(NULL);
    struct llama_model * model = load_model(argv[1], llama_model_default_params());
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);

    struct worker workers[2];
    pthread_t thread_ids[2];
    for (int i = 0; i < 2; i++) {
        llama_token * ids = calloc((size_t) n_predict + 1, sizeof *ids);
        workers[i] = (struct worker) { prompts[i], model, n_predict, threads, &start, ids };
        if (!ids || pthread_create(&thread_ids[i], NULL, work, &workers[i]) != 0) {
            die("cannot start a thread for", prompts[i]);
        }
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(thread_ids[i], NULL);
        printf("ctx%d:", i);
        for (int k = 0; k < n_predict; k++) {
            printf(" %d", workers[i].ids[k]);
        }
        printf("\n");
        free(workers[i].ids);
    }
    pthread_barrier_destroy(&start);
    llama_model_free(model);
    return 0;
}
