/* Contexts that are decoded by pools of threads: every token by another worker, as a Node addon or a server with workers
 * does it. All contexts run at the same time. Prints `CONTEXT: ids...` for each context; a line is the same on every run.
 *
 *   pool MODEL N_PREDICT N_THREADS N_CONTEXTS [new]      new: each token on a new thread that ends after it */
#include "greedy.h"

#include <pthread.h>
#include <stdbool.h>

struct worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job * job; /* NULL while it waits */
    bool stop;
};

struct job {
    struct llama_context * ctx;
    struct llama_batch batch;
    bool done;
};

static void decode(struct job * job) {
    if (llama_decode(job->ctx, job->batch) != 0) {
        die("llama_decode failed", "pool");
    }
}

static void * work(void * argument) {
    struct worker * w = argument;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        while (!w->job && !w->stop) {
            pthread_cond_wait(&w->changed, &w->mutex);
        }
        if (w->stop) {
            break;
        }
        decode(w->job);
        w->job->done = true;
        w->job = NULL;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

static void run(struct worker * w, struct job * job) {
    pthread_mutex_lock(&w->mutex);
    w->job = job;
    pthread_cond_broadcast(&w->changed);
    while (!job->done) {
        pthread_cond_wait(&w->changed, &w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
}

static void * once(void * argument) {
    decode(argument);
    return NULL;
}

struct context {
    struct llama_model * model;
    int number;
    int n_predict;
    int n_threads;
    bool new_threads;
    llama_token * ids;
};

static void * generate(void * argument) {
    struct context * c = argument;
    static const char * const prompts[] = { DEFAULT_PROMPT, "Once upon a time there was a", "The first man on the moon was" };
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 256;
    params.n_threads = params.n_threads_batch = 1;
    struct llama_context * ctx = llama_init_from_model(c->model, params);
    if (!ctx) {
        die("cannot create a context", "pool");
    }
    struct worker * pool = calloc((size_t) c->n_threads, sizeof *pool);
    for (int i = 0; i < c->n_threads; i++) {
        pthread_mutex_init(&pool[i].mutex, NULL);
        pthread_cond_init(&pool[i].changed, NULL);
        pthread_create(&pool[i].thread, NULL, work, &pool[i]);
    }
    llama_token * tokens = calloc(MAX_PROMPT_TOKENS, sizeof *tokens);
    int n = tokenize(c->model, prompts[c->number % 3], tokens);
    for (int i = 0; i < c->n_predict; i++) {
        struct job job = { ctx, llama_batch_get_one(tokens, n), false };
        if (c->new_threads) {
            pthread_t thread;
            pthread_create(&thread, NULL, once, &job);
            pthread_join(thread, NULL);
        } else {
            run(&pool[i % c->n_threads], &job);
        }
        c->ids[i] = tokens[0] = most_likely(ctx, c->model);
        n = 1;
    }
    for (int i = 0; i < c->n_threads; i++) {
        pthread_mutex_lock(&pool[i].mutex);
        pool[i].stop = true;
        pthread_cond_broadcast(&pool[i].changed);
        pthread_mutex_unlock(&pool[i].mutex);
        pthread_join(pool[i].thread, NULL);
    }
    free(pool);
    free(tokens);
    llama_free(ctx);
    return NULL;
}

int main(int argc, char ** argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: pool MODEL N_PREDICT N_THREADS N_CONTEXTS [new]\n");
        return 2;
    }
    const int n_predict = atoi(argv[2]), n_threads = atoi(argv[3]), n_contexts = atoi(argv[4]);
    load_backends(NULL);
    struct llama_model * model = load_model(argv[1], llama_model_default_params());
    struct context * contexts = calloc((size_t) n_contexts, sizeof *contexts);
    pthread_t * threads = calloc((size_t) n_contexts, sizeof *threads);
    for (int i = 0; i < n_contexts; i++) {
        llama_token * ids = calloc((size_t) n_predict + 1, sizeof *ids);
        contexts[i] = (struct context) { model, i, n_predict, n_threads, argc > 5, ids };
        pthread_create(&threads[i], NULL, generate, &contexts[i]);
    }
    for (int i = 0; i < n_contexts; i++) {
        pthread_join(threads[i], NULL);
        printf("%d:", i);
        for (int j = 0; j < n_predict; j++) {
            printf(" %d", contexts[i].ids[j]);
        }
        printf("\n");
        free(contexts[i].ids);
    }
    free(contexts);
    free(threads);
    llama_model_free(model);
    return 0;
}
