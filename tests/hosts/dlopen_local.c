/* Reaches llama.cpp as language bindings do (Python's ctypes, a Node addon): dlopen with RTLD_LOCAL, every function
 * by dlsym, linked with nothing of llama or ggml. llama.h is read for its struct types only. Prints the same ids as
 * `generate MODEL N`.
 *
 *   dlopen_local LIBLLAMA MODEL N [THREADS] [BACKENDS_DIR] */
#include "llama.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void * symbol(void * library, const char * name) {
    void * found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "dlopen_local: no symbol %s: %s\n", name, dlerror());
        exit(1);
    }
    return found;
}

static void log_errors_only(enum ggml_log_level level, const char * text, void * user_data) {
    (void) user_data;
    if (level == GGML_LOG_LEVEL_ERROR) {
        fputs(text, stderr);
    }
}

/* Declares a local variable of the function's own type and name, so that the calls below read like linked code. */
#define TAKE(function) __typeof__(&function) function##_ = (__typeof__(&function)) symbol(library, #function)

int main(int argc, char ** argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: dlopen_local LIBLLAMA MODEL N [THREADS] [BACKENDS_DIR]\n");
        return 2;
    }
    const int n_predict = atoi(argv[3]);
    const int threads = argc > 4 ? atoi(argv[4]) : 2;
    const char * prompt = "The capital of France is";

    void * library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "dlopen_local: %s\n", dlerror());
        return 1;
    }
    TAKE(ggml_backend_load_all);
    TAKE(ggml_backend_load_all_from_path);
    TAKE(llama_log_set);
    TAKE(llama_model_default_params);
    TAKE(llama_model_load_from_file);
    TAKE(llama_context_default_params);
    TAKE(llama_init_from_model);
    TAKE(llama_model_get_vocab);
    TAKE(llama_vocab_n_tokens);
    TAKE(llama_tokenize);
    TAKE(llama_batch_get_one);
    TAKE(llama_decode);
    TAKE(llama_get_logits_ith);
    TAKE(llama_free);
    TAKE(llama_model_free);

    llama_log_set_(log_errors_only, NULL);
    if (argc > 5) {
        ggml_backend_load_all_from_path_(argv[5]);
    } else {
        ggml_backend_load_all_();
    }
    struct llama_model_params model_params = llama_model_default_params_();
    model_params.n_gpu_layers = 0;
    struct llama_model * model = llama_model_load_from_file_(argv[2], model_params);
    if (!model) {
        fprintf(stderr, "dlopen_local: cannot load %s\n", argv[2]);
        return 1;
    }
    struct llama_context_params params = llama_context_default_params_();
    params.n_ctx = 512;
    params.n_threads = threads;
    params.n_threads_batch = threads;
    struct llama_context * ctx = llama_init_from_model_(model, params);
    const struct llama_vocab * vocab = llama_model_get_vocab_(model);
    const int32_t n_vocab = llama_vocab_n_tokens_(vocab);

    llama_token tokens[64];
    const int32_t n_prompt = llama_tokenize_(vocab, prompt, (int32_t) strlen(prompt), tokens, 64, true, true);
    if (!ctx || n_prompt <= 0) {
        fprintf(stderr, "dlopen_local: no context or no prompt tokens\n");
        return 1;
    }
    struct llama_batch batch = llama_batch_get_one_(tokens, n_prompt);
    for (int i = 0; i < n_predict; i++) {
        if (llama_decode_(ctx, batch) != 0) {
            fprintf(stderr, "dlopen_local: llama_decode failed\n");
            return 1;
        }
        const float * logits = llama_get_logits_ith_(ctx, -1);
        llama_token best = 0;
        for (llama_token id = 1; id < n_vocab; id++) {
            if (logits[id] > logits[best]) {
                best = id;
            }
        }
        printf("%d\n", best);
        fflush(stdout);
        tokens[0] = best;
        batch = llama_batch_get_one_(tokens, 1);
    }
    llama_free_(ctx);
    llama_model_free_(model);
    return 0;
}
