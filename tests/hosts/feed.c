// Evaluates token ids without a vocabulary: six tokens at once, then N one by one. For models whose weights are a hole in a
// file, and for encoders, which keep nothing from one evaluation to the next.
//   feed MODEL N
#include "greedy.h"

int main(int argc, char ** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: feed MODEL N\n");
        return 2;
    }
    load_backends(NULL);
    struct llama_model * model = load_model(argv[1], llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 256;
    params.n_threads = params.n_threads_batch = 2;
    char arch[32] = "";
    llama_model_meta_val_str(model, "general.architecture", arch, sizeof arch);
    // Encoders have embeddings and no logits.
    params.embeddings = strcmp(arch, "bert") == 0;
    struct llama_context * context = llama_init_from_model(model, params);
    if (context == NULL) {
        die("cannot make a context for", argv[1]);
    }
    llama_token prompt[] = {1, 2, 3, 4, 5, 6};
    for (int i = -1; i < atoi(argv[2]); i++) {
        llama_token next = 7 + i;
        struct llama_batch batch = i < 0 ? llama_batch_get_one(prompt, 6) : llama_batch_get_one(&next, 1);
        if (llama_decode(context, batch) != 0) {
            die("cannot evaluate", argv[1]);
        }
    }
    llama_free(context);
    llama_model_free(model);
    return 0;
}
