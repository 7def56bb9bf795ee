/* Batches of several sequences, as a server with slots feeds them. Says on stdout what it feeds, one line per token and in
 * the order of the batches:
 *
 *   CALL SEQUENCE[,SEQUENCE...] POSITION ID OUTPUT PHASE         PHASE: P or G, as the program means it
 *
 *   sequences MODEL old|ext|hidden UNIFIED N_UBATCH SCENARIO
 *
 * `hidden` calls llama_decode as a language binding does, by an address that it asked libllama itself for.
 *
 * SCENARIO: slots     two prompts of unequal length in one batch, the second ends in the next call; then both answer
 *           shared    one prompt for three sequences at once; then each answers
 *           fork      a prompt, copied to two sequences that answer
 *           reuse     a second request in the same slot keeps the beginning of the first
 *           single    a prompt that is fed token by token, then an answer
 *           verify    an answer with drafts that are verified and partly refused
 *           verified  the same, and the answer ends with the last of them
 *           long      two prompts that are longer than a ubatch */
#define _GNU_SOURCE
#include "greedy.h"

#include <dlfcn.h>
#include <stdbool.h>

static struct llama_context * ctx;
static struct llama_batch old;
static struct llama_batch_ext * ext;
static bool use_ext;
static int32_t (*decode)(struct llama_context *, struct llama_batch);
static int call;

static void say(int sequences, const int * ids, int pos, int id, bool output, char phase) {
    printf("%d ", call);
    for (int s = 0; s < sequences; s++) {
        printf("%s%d", s ? "," : "", ids[s]);
    }
    printf(" %d %d %d %c\n", pos, id, output, phase);
}

static void add_to(int sequences, const int * ids, int id, int pos, bool output, char phase) {
    say(sequences, ids, pos, id, output, phase);
    if (use_ext) {
        int32_t i = llama_batch_ext_add_token(ext, ids[0], id);
        for (int s = 1; s < sequences; s++) {
            llama_batch_ext_add_seq(ext, i, ids[s]);
        }
        llama_batch_ext_set_pos(ext, i, &pos);
        if (output) {
            llama_batch_ext_set_output_logits(ext, i, true);
        }
        return;
    }
    int i = old.n_tokens++;
    old.token[i] = id;
    old.pos[i] = pos;
    old.n_seq_id[i] = sequences;
    for (int s = 0; s < sequences; s++) {
        old.seq_id[i][s] = ids[s];
    }
    old.logits[i] = output;
}

static void add(int sequence, int id, int pos, bool output, char phase) {
    add_to(1, &sequence, id, pos, output, phase);
}

static void go(void) {
    int status = use_ext ? llama_process(ctx, LLAMA_PROCESS_TYPE_DECODE, ext) : decode(ctx, old);
    if (status != 0) {
        die("decoding failed", "sequences");
    }
    old.n_tokens = 0;
    if (use_ext) {
        llama_batch_ext_clear(ext);
    }
    call++;
}

static void prompt(int sequence, int first, int n) {
    for (int i = 0; i < n; i++) {
        add(sequence, first + i, i, i + 1 == n, 'P');
    }
}

int main(int argc, char ** argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: sequences MODEL old|ext|hidden UNIFIED N_UBATCH SCENARIO\n");
        return 2;
    }
    load_backends(NULL);
    struct llama_model * model = load_model(argv[1], llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 768;
    params.n_batch = 256;
    params.n_ubatch = (uint32_t) atoi(argv[4]);
    params.n_seq_max = 3;
    params.kv_unified = atoi(argv[3]);
    params.n_threads = params.n_threads_batch = 1;
    ctx = llama_init_from_model(model, params);
    if (!ctx) {
        die("cannot create a context", argv[1]);
    }
    use_ext = !strcmp(argv[2], "ext");
    decode = llama_decode;
    if (!strcmp(argv[2], "hidden")) {
        void * library = dlopen("libllama.so.0", RTLD_NOW | RTLD_NOLOAD);
        library = library ? library : dlopen("libllama.so", RTLD_NOW | RTLD_NOLOAD);
        *(void **) &decode = library ? dlsym(library, "llama_decode") : NULL;
        if (!decode) {
            die("cannot find llama_decode in", "libllama.so");
        }
    }
    old = llama_batch_init(256, 0, 3);
    ext = use_ext ? llama_batch_ext_init(ctx) : NULL;
    llama_memory_t memory = llama_get_memory(ctx);
    const char * scenario = argv[5];
    const int all[3] = { 0, 1, 2 };

    if (!strcmp(scenario, "slots")) {
        prompt(0, 100, 4);
        for (int i = 0; i < 4; i++) {
            add(1, 120 + i, i, false, 'P');
        }
        go();
        add(1, 124, 4, true, 'P');
        go();
        for (int i = 0; i < 3; i++) {
            add(0, 200 + i, 4 + i, true, 'G');
            add(1, 210 + i, 5 + i, true, 'G');
            go();
        }
    } else if (!strcmp(scenario, "shared")) {
        for (int i = 0; i < 5; i++) {
            add_to(3, all, 100 + i, i, i == 4, 'P');
        }
        go();
        for (int i = 0; i < 3; i++) {
            for (int s = 0; s < 3; s++) {
                add(s, 200 + s, 5 + i, true, 'G');
            }
            go();
        }
    } else if (!strcmp(scenario, "fork")) {
        prompt(0, 100, 5);
        go();
        llama_memory_seq_cp(memory, 0, 1, -1, -1);
        llama_memory_seq_cp(memory, 0, 2, -1, -1);
        for (int i = 0; i < 3; i++) {
            for (int s = 0; s < 3; s++) {
                add(s, 200 + s, 5 + i, true, 'G');
            }
            go();
        }
    } else if (!strcmp(scenario, "reuse")) {
        prompt(1, 100, 6);
        go();
        for (int i = 0; i < 3; i++) {
            add(1, 200 + i, 6 + i, true, 'G');
            go();
        }
        llama_memory_seq_rm(memory, 1, 4, -1);
        for (int i = 0; i < 3; i++) {
            add(1, 140 + i, 4 + i, i == 2, 'P');
        }
        go();
        for (int i = 0; i < 2; i++) {
            add(1, 220 + i, 7 + i, true, 'G');
            go();
        }
    } else if (!strcmp(scenario, "single")) {
        for (int i = 0; i < 4; i++) {
            add(2, 100 + i, i, i == 3, 'P');
            go();
        }
        for (int i = 0; i < 3; i++) {
            add(2, 200 + i, 4 + i, true, 'G');
            go();
        }
    } else if (!strcmp(scenario, "verify") || !strcmp(scenario, "verified")) {
        prompt(0, 100, 4);
        go();
        int pos = 4;
        for (int round = 0; round < 3; round++) {
            add(0, 200 + round, pos, true, 'G');
            for (int d = 1; d < 4; d++) {
                add(0, 210 + d, pos + d, true, 'P');
            }
            go();
            pos += 1 + round; /* so many drafts were accepted */
            llama_memory_seq_rm(memory, 0, pos, -1);
        }
        if (!strcmp(scenario, "verify")) {
            add(0, 230, pos, true, 'G');
            go();
        }
    } else if (!strcmp(scenario, "long")) {
        prompt(0, 100, 40);
        prompt(1, 100, 33);
        go();
        add(0, 200, 40, true, 'G');
        add(1, 201, 33, true, 'G');
        go();
    } else {
        die("unknown scenario", scenario);
    }
    if (ext) {
        llama_batch_ext_free(ext);
    }
    llama_batch_free(old);
    llama_free(ctx);
    llama_model_free(model);
    return 0;
}
