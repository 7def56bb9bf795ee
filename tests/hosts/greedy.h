/* What every linked host does alike: load a model, tokenize a prompt, take the most likely token.
 * Greedy and single-threaded in its choices, so that a host's output is the same on every run. */
#ifndef GGSCOPE_TEST_GREEDY_H
#define GGSCOPE_TEST_GREEDY_H

#include "llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PROMPT "The capital of France is"
#define MAX_PROMPT_TOKENS 4096

static inline void die(const char * what, const char * which) {
    fprintf(stderr, "host: %s: %s\n", what, which);
    exit(1);
}

/* llama.cpp's own chatter would drown the line that a test looks for. */
static inline void log_errors_only(enum ggml_log_level level, const char * text, void * user_data) {
    (void) user_data;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

/* `backends` is the folder of a GGML_BACKEND_DL build's backends, or NULL for the places ggml looks by itself. */
static inline void load_backends(const char * backends) {
    llama_log_set(log_errors_only, NULL);
    if (backends) {
        ggml_backend_load_all_from_path(backends);
    } else {
        ggml_backend_load_all();
    }
}

static inline struct llama_model * load_model(const char * path, struct llama_model_params params) {
    struct llama_model * model = llama_model_load_from_file(path, params);
    if (!model) {
        die("cannot load the model", path);
    }
    return model;
}

/* Returns the number of tokens written to `tokens`, which holds MAX_PROMPT_TOKENS. */
static inline int32_t tokenize(const struct llama_model * model, const char * text, llama_token * tokens) {
    const struct llama_vocab * vocab = llama_model_get_vocab(model);
    int32_t n = llama_tokenize(vocab, text, (int32_t) strlen(text), tokens, MAX_PROMPT_TOKENS, true, true);
    if (n <= 0) {
        die("cannot tokenize the prompt", text);
    }
    return n;
}

/* The most likely next token after a token of the last llama_decode's batch; the lowest id wins a tie. */
static inline llama_token most_likely_at(struct llama_context * ctx, const struct llama_model * model, int32_t at) {
    const float * logits = llama_get_logits_ith(ctx, at);
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_token best = 0;
    for (llama_token id = 1; id < n_vocab; id++) {
        if (logits[id] > logits[best]) {
            best = id;
        }
    }
    return best;
}

/* The same after its last token. */
static inline llama_token most_likely(struct llama_context * ctx, const struct llama_model * model) {
    return most_likely_at(ctx, model, -1);
}

#endif
