/* A llama.cpp program as users write them: generates exactly N tokens greedily from a fixed prompt (end-of-text
 * does not stop it) and prints their ids on stdout, one a line. Options make it use what a tracer must not break:
 * its own eval and abort callbacks, fork, pauses.
 *
 *   generate MODEL N [options]
 *     --seed-prompt TEXT          the prompt
 *     --threads T  --ctx N  --n-gpu-layers N  --no-mmap  --flash-attn on|off|auto
 *     --cache-type K V            types of the caches: f16, q8_0, …
 *     --ubatch N                  tokens of a prompt that are evaluated at once, at most
 *     --backends DIR              load a GGML_BACKEND_DL build's backends from DIR
 *     --rpc HOST:PORT             compute on the devices of an RPC server, too
 *     --repeat R                  R rounds in the same context, its memory cleared between them
 *     --edit HOW K                after K tokens, change the memory: take two tokens out and move the later ones up
 *                                 (shift), take the last two back (remove), copy the sequence and go on with the copy
 *                                 (copy), or save it, clear the memory and go on with what was saved (restore)
 *     --parallel                  a second sequence beside the first, of the same prompt without its first token, evaluated in
 *                                 the same batches
 *     --unified                   sequences share one buffer of the memory
 *     --delay-ms D                sleep after every token
 *     --pause-file PATH           after every token, wait while PATH exists
 *     --eval-callback GLOB FILE   append every tensor whose name matches to FILE (format: see dump_tensor)
 *     --abort-after K             count the abort callback's calls on stderr; K > 0: abort at the K-th
 *     --lora FILE                 add an adapter; of two, rounds behind the first (--repeat) have the second one alone
 *     --control VALUE             add VALUE to every element of the stream behind layer 1, as a control vector does
 *     --fork                      fork in mid-run a child that only sleeps and exits
 *     --fork-generate FILE        fork before the first llama call; the child's ids go to FILE
 *
 * Exit code: 0; 1 after a failure; 2 for wrong arguments; 3 when llama_decode was aborted. */
#include "greedy.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
    const char * model;
    int n_predict;
    const char * prompt;
    int threads;
    int ctx;
    int n_gpu_layers;
    bool mmap;
    enum llama_flash_attn_type flash_attn;
    enum ggml_type type_k;
    enum ggml_type type_v;
    int ubatch; /* 0: as llama.cpp has it */
    const char * backends;
    const char * rpc;
    int repeat;
    const char * edit;
    int edit_after;
    bool parallel;
    bool unified;
    int delay_ms;
    const char * pause_file;
    const char * dump_glob;
    const char * dump_file;
    long abort_after; /* -1: no abort callback */
    const char * lora[2];
    int n_lora;
    float control;
    bool fork_in_mid_run;
    const char * fork_generate;
};

static const char * value(int argc, char ** argv, int * i) {
    if (*i + 1 >= argc) {
        fprintf(stderr, "generate: %s needs a value\n", argv[*i]);
        exit(2);
    }
    return argv[++*i];
}

static enum ggml_type type_named(const char * name) {
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        const char * known = ggml_type_name((enum ggml_type) type);
        if (known && !strcmp(known, name)) {
            return (enum ggml_type) type;
        }
    }
    die("there is no type", name);
    return GGML_TYPE_COUNT;
}

static struct options parse(int argc, char ** argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: generate MODEL N [options]\n");
        exit(2);
    }
    struct options o = {
        .model = argv[1], .n_predict = atoi(argv[2]), .prompt = DEFAULT_PROMPT, .threads = 2, .ctx = 512,
        .n_gpu_layers = 0, .mmap = true, .flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO, .repeat = 1, .abort_after = -1,
        .type_k = GGML_TYPE_F16, .type_v = GGML_TYPE_F16,
    };
    for (int i = 3; i < argc; i++) {
        const char * name = argv[i];
        if (!strcmp(name, "--seed-prompt")) {
            o.prompt = value(argc, argv, &i);
        } else if (!strcmp(name, "--threads")) {
            o.threads = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--ctx")) {
            o.ctx = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--n-gpu-layers")) {
            o.n_gpu_layers = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--no-mmap")) {
            o.mmap = false;
        } else if (!strcmp(name, "--flash-attn")) {
            const char * v = value(argc, argv, &i);
            o.flash_attn = !strcmp(v, "on")  ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                         : !strcmp(v, "off") ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                             : LLAMA_FLASH_ATTN_TYPE_AUTO;
        } else if (!strcmp(name, "--cache-type")) {
            o.type_k = type_named(value(argc, argv, &i));
            o.type_v = type_named(value(argc, argv, &i));
        } else if (!strcmp(name, "--ubatch")) {
            o.ubatch = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--backends")) {
            o.backends = value(argc, argv, &i);
        } else if (!strcmp(name, "--rpc")) {
            o.rpc = value(argc, argv, &i);
        } else if (!strcmp(name, "--repeat")) {
            o.repeat = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--edit")) {
            o.edit = value(argc, argv, &i);
            o.edit_after = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--parallel")) {
            o.parallel = true;
        } else if (!strcmp(name, "--unified")) {
            o.unified = true;
        } else if (!strcmp(name, "--delay-ms")) {
            o.delay_ms = atoi(value(argc, argv, &i));
        } else if (!strcmp(name, "--pause-file")) {
            o.pause_file = value(argc, argv, &i);
        } else if (!strcmp(name, "--eval-callback")) {
            o.dump_glob = value(argc, argv, &i);
            o.dump_file = value(argc, argv, &i);
        } else if (!strcmp(name, "--abort-after")) {
            o.abort_after = atol(value(argc, argv, &i));
        } else if (!strcmp(name, "--lora")) {
            if (o.n_lora == 2) {
                die("more than two adapters", argv[i]);
            }
            o.lora[o.n_lora++] = value(argc, argv, &i);
        } else if (!strcmp(name, "--control")) {
            o.control = strtof(value(argc, argv, &i), NULL);
        } else if (!strcmp(name, "--fork")) {
            o.fork_in_mid_run = true;
        } else if (!strcmp(name, "--fork-generate")) {
            o.fork_generate = value(argc, argv, &i);
        } else {
            fprintf(stderr, "generate: unknown option %s\n", name);
            exit(2);
        }
    }
    return o;
}

/* ---- the program's own eval callback ---- */

struct dump {
    const char * glob;
    FILE * file;
};

/* The bytes of `t` in row order, whatever its strides; the caller frees them. */
static char * read_tensor(const struct ggml_tensor * t, uint64_t n_bytes) {
    char * bytes = malloc(n_bytes ? n_bytes : 1);
    if (!bytes) {
        die("out of memory for", t->name);
    }
    if (ggml_is_contiguous(t)) {
        ggml_backend_tensor_get(t, bytes, 0, n_bytes);
        return bytes;
    }
    const bool whole_rows = t->nb[0] == ggml_type_size(t->type);
    if (!whole_rows && ggml_blck_size(t->type) != 1) {
        die("cannot read rows of blocks with gaps", t->name);
    }
    const size_t piece = whole_rows ? ggml_row_size(t->type, t->ne[0]) : ggml_type_size(t->type);
    const int64_t pieces_a_row = whole_rows ? 1 : t->ne[0];
    char * to = bytes;
    for (int64_t i3 = 0; i3 < t->ne[3]; i3++) {
        for (int64_t i2 = 0; i2 < t->ne[2]; i2++) {
            for (int64_t i1 = 0; i1 < t->ne[1]; i1++) {
                for (int64_t i0 = 0; i0 < pieces_a_row; i0++, to += piece) {
                    ggml_backend_tensor_get(t, to, i0*t->nb[0] + i1*t->nb[1] + i2*t->nb[2] + i3*t->nb[3], piece);
                }
            }
        }
    }
    return bytes;
}

/* u32 length of the name, the name, u32 ggml_type, 4 x i64 ne, u64 number of bytes, the bytes in row order. */
static void dump_tensor(FILE * file, const struct ggml_tensor * t) {
    const uint32_t name_length = (uint32_t) strlen(t->name);
    const uint32_t type = (uint32_t) t->type;
    const uint64_t n_bytes = (uint64_t) ggml_row_size(t->type, t->ne[0]) * (uint64_t) ggml_nrows(t);
    char * bytes = read_tensor(t, n_bytes);
    fwrite(&name_length, sizeof name_length, 1, file);
    fwrite(t->name, 1, name_length, file);
    fwrite(&type, sizeof type, 1, file);
    fwrite(t->ne, sizeof t->ne[0], 4, file);
    fwrite(&n_bytes, sizeof n_bytes, 1, file);
    fwrite(bytes, 1, n_bytes, file);
    free(bytes);
}

static bool on_eval(struct ggml_tensor * t, bool ask, void * user_data) {
    const struct dump * dump = user_data;
    if (ask) {
        return fnmatch(dump->glob, t->name, 0) == 0;
    }
    dump_tensor(dump->file, t);
    return true;
}

/* ---- the program's own abort callback ---- */

struct abort_counter {
    long calls;
    long abort_at; /* 0: never */
};

static bool on_abort_check(void * user_data) {
    struct abort_counter * counter = user_data;
    counter->calls++;
    return counter->abort_at > 0 && counter->calls >= counter->abort_at;
}

/* ---- generating ---- */

static void after_token(const struct options * o) {
    if (o->delay_ms > 0) {
        usleep((useconds_t) o->delay_ms * 1000);
    }
    while (o->pause_file && access(o->pause_file, F_OK) == 0) {
        usleep(5000);
    }
}

static pid_t fork_sleeper(void) {
    const pid_t pid = fork();
    if (pid < 0) {
        die("cannot fork", "--fork");
    }
    if (pid == 0) {
        usleep(200 * 1000);
        _exit(0);
    }
    return pid;
}

static int wait_for(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
        return 1;
    }
    return WEXITSTATUS(status);
}

/* Changes the memory as a program may between two tokens. Returns the sequence to go on with. */
static llama_seq_id edit_memory(const struct options * o, struct llama_context * ctx) {
    const llama_memory_t memory = llama_get_memory(ctx);
    const llama_pos end = llama_memory_seq_pos_max(memory, 0) + 1;
    if (!strcmp(o->edit, "copy")) {
        llama_memory_seq_cp(memory, 0, 1, -1, -1);
        return 1;
    }
    if (!strcmp(o->edit, "restore")) {
        const size_t size = llama_state_seq_get_size(ctx, 0);
        uint8_t * saved = malloc(size);
        if (!saved || llama_state_seq_get_data(ctx, saved, size, 0) == 0) {
            die("cannot save the memory", o->edit);
        }
        llama_memory_clear(memory, true);
        if (llama_state_seq_set_data(ctx, saved, size, 1) == 0) {
            die("cannot restore the memory", o->edit);
        }
        free(saved);
        return 1;
    }
    const bool shifts = !strcmp(o->edit, "shift");
    if (!llama_memory_seq_rm(memory, 0, shifts ? 1 : end - 2, shifts ? 3 : -1)) {
        die("cannot change the memory", o->edit);
    }
    if (shifts) {
        llama_memory_seq_add(memory, 0, 3, -1, -2);
    }
    return 0;
}

/* One round: the prompt, then n_predict tokens. Returns false when llama_decode was aborted. */
static bool generate_round(const struct options * o, struct llama_model * model, struct llama_context * ctx) {
    static llama_token tokens[MAX_PROMPT_TOKENS];
    struct llama_batch batch = llama_batch_get_one(tokens, tokenize(model, o->prompt, tokens));
    pid_t sleeper = 0;
    llama_seq_id seq = 0;
    llama_seq_id * seqs[] = { &seq };
    int32_t n_seqs[] = { 1 };
    for (int i = 0; i < o->n_predict; i++) {
        if (o->fork_in_mid_run && i == o->n_predict / 2) {
            sleeper = fork_sleeper();
        }
        if (o->edit && i == o->edit_after) {
            seq = edit_memory(o, ctx);
            batch.n_seq_id = n_seqs;
            batch.seq_id = seqs;
        }
        const int status = llama_decode(ctx, batch);
        if (status == 2) {
            fprintf(stderr, "aborted\n");
            return false;
        }
        if (status != 0) {
            die("llama_decode failed", o->model);
        }
        tokens[0] = most_likely(ctx, model);
        printf("%d\n", tokens[0]);
        fflush(stdout);
        batch = llama_batch_get_one(tokens, 1);
        if (seq != 0) {
            batch.n_seq_id = n_seqs;
            batch.seq_id = seqs;
        }
        after_token(o);
    }
    if (sleeper && wait_for(sleeper) != 0) {
        die("the forked child failed", "--fork");
    }
    return true;
}

/* Two sequences in every batch. */
static bool generate_two(const struct options * o, struct llama_model * model, struct llama_context * ctx) {
    static llama_token tokens[MAX_PROMPT_TOKENS];
    const int n = tokenize(model, o->prompt, tokens);
    struct llama_batch batch = llama_batch_init(2 * n, 0, 1);
    llama_token next[2];
    for (int step = 0; step < o->n_predict; step++) {
        batch.n_tokens = 0;
        for (int seq = 0; seq < 2; seq++) {
            for (int i = step == 0 ? seq : n + step - 1; i < n + step; i++) {
                const int at = batch.n_tokens++;
                batch.token[at] = step == 0 ? tokens[i] : next[seq];
                batch.pos[at] = i - seq;
                batch.n_seq_id[at] = 1;
                batch.seq_id[at][0] = seq;
                batch.logits[at] = i == n + step - 1;
            }
        }
        if (llama_decode(ctx, batch) != 0) {
            die("llama_decode failed", o->model);
        }
        for (int seq = 0, at = -1; seq < 2; seq++) {
            at += step > 0 ? 1 : n - seq;
            next[seq] = most_likely_at(ctx, model, at);
            printf("%d\n", next[seq]);
        }
        fflush(stdout);
        after_token(o);
    }
    llama_batch_free(batch);
    return true;
}

/* As llama.cpp's own programs do it: the backend is found by name, because it may be loaded at run time. */
static void add_rpc_server(const char * endpoint) {
    ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
    ggml_backend_reg_t (*add_server)(const char *) = NULL;
    if (rpc) {
        *(void **) &add_server = ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server");
    }
    ggml_backend_reg_t server = add_server ? add_server(endpoint) : NULL;
    if (!server) {
        die("cannot use the RPC server", endpoint);
    }
    ggml_backend_register(server);
}

static int generate(const struct options * o) {
    struct llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = o->n_gpu_layers;
    model_params.load_mode = o->mmap ? LLAMA_LOAD_MODE_AUTO : LLAMA_LOAD_MODE_NONE;
    load_backends(o->backends);
    if (o->rpc) {
        add_rpc_server(o->rpc);
    }
    struct llama_model * model = load_model(o->model, model_params);

    struct dump dump = { o->dump_glob, NULL };
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t) o->ctx;
    params.n_threads = o->threads;
    params.n_threads_batch = o->threads;
    params.flash_attn_type = o->flash_attn;
    params.type_k = o->type_k;
    params.type_v = o->type_v;
    if (o->ubatch > 0) {
        params.n_ubatch = (uint32_t) o->ubatch;
    }
    params.n_seq_max = o->edit || o->parallel ? 2 : 1;
    params.kv_unified = o->unified;
    if (o->dump_glob) {
        dump.file = fopen(o->dump_file, "ab");
        if (!dump.file) {
            die("cannot open for appending", o->dump_file);
        }
        params.cb_eval = on_eval;
        params.cb_eval_user_data = &dump;
    }
    struct llama_context * ctx = llama_init_from_model(model, params);
    if (!ctx) {
        die("cannot create a context for", o->model);
    }
    struct llama_adapter_lora * adapters[2] = { NULL, NULL };
    float scales[2] = { 1.0f, 1.0f };
    for (int i = 0; i < o->n_lora; i++) {
        adapters[i] = llama_adapter_lora_init(model, o->lora[i]);
        if (!adapters[i]) {
            die("cannot read the adapter", o->lora[i]);
        }
    }
    if (o->n_lora && llama_set_adapters_lora(ctx, adapters, o->n_lora, scales) != 0) {
        die("cannot add the adapter", o->lora[0]);
    }
    if (o->control != 0.0f) {
        const int32_t n_embd = llama_model_n_embd(model), n_layer = llama_model_n_layer(model);
        const size_t n = (size_t) n_embd * (n_layer - 1);
        float * data = malloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) {
            data[i] = o->control;
        }
        if (llama_set_adapter_cvec(ctx, data, n, n_embd, 1, 1) != 0) {
            die("cannot add a control vector to", o->model);
        }
        free(data);
    }
    struct abort_counter counter = { 0, o->abort_after };
    if (o->abort_after >= 0) {
        llama_set_abort_callback(ctx, on_abort_check, &counter);
    }

    bool finished = true;
    for (int round = 0; round < o->repeat && finished; round++) {
        llama_memory_clear(llama_get_memory(ctx), true);
        if (round == 1 && o->n_lora == 2 && llama_set_adapters_lora(ctx, adapters + 1, 1, scales) != 0) {
            die("cannot leave only the adapter", o->lora[1]);
        }
        finished = o->parallel ? generate_two(o, model, ctx) : generate_round(o, model, ctx);
    }

    llama_free(ctx);
    llama_model_free(model);
    if (dump.file && fclose(dump.file) != 0) {
        die("cannot write", o->dump_file);
    }
    if (o->abort_after >= 0) {
        fprintf(stderr, "abort calls: %ld\n", counter.calls);
    }
    return finished ? 0 : 3;
}

int main(int argc, char ** argv) {
    const struct options o = parse(argc, argv);
    if (!o.fork_generate) {
        return generate(&o);
    }
    const pid_t child = fork();
    if (child < 0) {
        die("cannot fork", "--fork-generate");
    }
    if (child == 0) {
        if (!freopen(o.fork_generate, "w", stdout)) {
            die("cannot write", o.fork_generate);
        }
        return generate(&o);
    }
    const int parent_code = generate(&o);
    const int child_code = wait_for(child);
    return parent_code ? parent_code : child_code;
}
