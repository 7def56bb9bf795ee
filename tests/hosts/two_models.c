/* Two models with a context each, which take turns: a prompt each, then a token each. A tracer must not show one in terms
 * of the other. Prints `ctx0: ids...` and `ctx1: ids...`; each line is the same on every run, alone or beside the other.
 *
 *   two_models MODEL_0 MODEL_1 N WHICH [nommap]      WHICH: 0, 1 or both */
#include "greedy.h"

struct one {
    struct llama_model * model;
    struct llama_context * ctx;
    struct llama_batch batch;
    llama_token tokens[MAX_PROMPT_TOKENS];
    llama_token ids[256];
};

int main(int argc, char ** argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: two_models MODEL_0 MODEL_1 N WHICH [nommap]\n");
        return 2;
    }
    const int n_predict = atoi(argv[3]) < 256 ? atoi(argv[3]) : 256;
    const char * prompts[2] = { DEFAULT_PROMPT, "Once upon a time there was a" };
    static struct one all[2];

    load_backends(NULL);
    for (int i = 0; i < 2; i++) {
        struct one * one = &all[i];
        if (strcmp(argv[4], "both") != 0 && atoi(argv[4]) != i) {
            continue;
        }
        struct llama_model_params of_model = llama_model_default_params();
        of_model.load_mode = argc < 6 ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
        one->model = load_model(argv[1 + i], of_model);
        struct llama_context_params params = llama_context_default_params();
        params.n_ctx = 256;
        params.n_threads = 2;
        params.n_threads_batch = 2;
        one->ctx = llama_init_from_model(one->model, params);
        if (!one->ctx) {
            die("cannot create a context for", argv[1 + i]);
        }
        one->batch = llama_batch_get_one(one->tokens, tokenize(one->model, prompts[i], one->tokens));
    }
    for (int k = 0; k < n_predict; k++) {
        for (int i = 0; i < 2; i++) {
            struct one * one = &all[i];
            if (!one->ctx) {
                continue;
            }
            if (llama_decode(one->ctx, one->batch) != 0) {
                die("llama_decode failed", argv[1 + i]);
            }
            one->ids[k] = one->tokens[0] = most_likely(one->ctx, one->model);
            one->batch = llama_batch_get_one(one->tokens, 1);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (!all[i].ctx) {
            continue;
        }
        printf("ctx%d:", i);
        for (int k = 0; k < n_predict; k++) {
            printf(" %d", all[i].ids[k]);
        }
        printf("\n");
        llama_free(all[i].ctx);
        llama_model_free(all[i].model);
    }
    return 0;
}
