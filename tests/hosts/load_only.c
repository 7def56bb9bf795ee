// Loads a model and makes a context of the given size, computes nothing, and prints what llama.cpp says of both:
//   load_only MODEL N_CTX N_SEQ UNIFIED(0|1) N_UBATCH TYPE_K TYPE_V MMAP(0|1)
// Types are numbers of ggml. The log on stderr has the sizes of buffers.
#include "llama.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char ** argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: load_only MODEL N_CTX N_SEQ UNIFIED N_UBATCH TYPE_K TYPE_V MMAP\n");
        return 2;
    }
    struct llama_model_params model_params = llama_model_default_params();
    if (!atoi(argv[8])) {
        model_params.load_mode = LLAMA_LOAD_MODE_NONE;
    }
    struct llama_model * model = llama_model_load_from_file(argv[1], model_params);
    if (model == NULL) {
        return 3;
    }
    printf("parameters %" PRIu64 "\nbytes %" PRIu64 "\n", llama_model_n_params(model), llama_model_size(model));

    struct llama_context_params params = llama_context_default_params();
    params.n_ctx       = (uint32_t) atoi(argv[2]);
    params.n_seq_max   = (uint32_t) atoi(argv[3]);
    params.kv_unified  = atoi(argv[4]) != 0;
    params.n_ubatch    = (uint32_t) atoi(argv[5]);
    params.n_batch     = params.n_ubatch > 2048 ? params.n_ubatch : 2048;
    params.type_k      = (enum ggml_type) atoi(argv[6]);
    params.type_v      = (enum ggml_type) atoi(argv[7]);
    params.swa_full    = false;
    // As llama-server and llama-cli: logits of one token of each sequence.
    params.n_outputs_max = params.n_seq_max;
    struct llama_context * context = llama_init_from_model(model, params);
    if (context == NULL) {
        return 4;
    }
    printf("cells %u\n", llama_n_ctx_seq(context));
    llama_free(context);
    llama_model_free(model);
    return 0;
}
