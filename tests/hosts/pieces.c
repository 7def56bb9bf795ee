// Loads the vocabulary of a model and prints what llama.cpp makes of each token, a line each, in hexadecimal:
//   pieces MODEL
#include "llama.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char ** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: pieces MODEL\n");
        return 2;
    }
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model * model = llama_model_load_from_file(argv[1], params);
    if (model == NULL) {
        return 3;
    }
    const struct llama_vocab * vocab = llama_model_get_vocab(model);
    static char piece[1 << 16];
    for (int id = 0; id < llama_vocab_n_tokens(vocab); ++id) {
        int n = llama_token_to_piece(vocab, id, piece, sizeof(piece), 0, true);
        if (n < 0) {
            return 4;
        }
        for (int i = 0; i < n; ++i) {
            printf("%02x", (unsigned char) piece[i]);
        }
        printf("\n");
    }
    llama_model_free(model);
    return 0;
}
