// Small models of every architecture that llama.cpp's own test generator makes, with random weights, and a program that
// computes with one of them:
//   archs list                                  one line for each: NAME dense|moe
//   archs save NAME dense|moe MODEL             writes the model; exit status 3 if llama.cpp cannot save the architecture
//   archs run MODEL NAME dense|moe FLASH        two prompts in one batch, then single tokens of both; FLASH is 0 or 1
// `run` makes the model in memory if MODEL is `-`. An encoder only encodes; an encoder-decoder encodes, then decodes. It prints
// a line `layers N`, and one for each batch before it is computed: `encode|decode SEQUENCE:POSITION:ID:P|G …`, P for a prompt.
// The generator is included, not linked: what it makes models of is local to its source.
#define main generator_main
#include "tests/test-llama-archs.cpp"
#undef main

#include <functional>

static const size_t SEED = 1234;

static void be_quiet() {
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level == GGML_LOG_LEVEL_ERROR) {
            fputs(text, stderr);
        }
    }, nullptr);
}

// What `arch_supported` leaves out only because of its own checks, and what it needs besides.
static bool extra(const llm_arch arch) {
    switch (arch) {
        case LLM_ARCH_BERT:
        case LLM_ARCH_NOMIC_BERT:
        case LLM_ARCH_NOMIC_BERT_MOE:
        case LLM_ARCH_NEO_BERT:
        case LLM_ARCH_JINA_BERT_V2:
        case LLM_ARCH_JINA_BERT_V3:
        case LLM_ARCH_MODERN_BERT:
        case LLM_ARCH_EUROBERT:
        case LLM_ARCH_GEMMA_EMBEDDING:
        case LLM_ARCH_LLAMA_EMBED:
        case LLM_ARCH_T5ENCODER:
        case LLM_ARCH_RWKV6:
        case LLM_ARCH_RWKV7:
        case LLM_ARCH_ARWKV7:
            return true;
        default:
            return false;
    }
}

static void each(const std::function<void(llm_arch, bool)> & f) {
    for (const llm_arch & arch : llm_arch_all()) {
        // As `save_models` of the generator leaves out what it cannot make.
        const bool unmade = arch == LLM_ARCH_UNKNOWN || arch == LLM_ARCH_GEMMA4 || arch == LLM_ARCH_GEMMA4_ASSISTANT ||
                            arch == LLM_ARCH_EAGLE3 || arch == LLM_ARCH_DFLASH;
        if (unmade || !(arch_supported(arch) || extra(arch))) {
            continue;
        }
        for (const bool moe : { false, true }) {
            if (moe ? moe_implemented(arch) : !moe_mandatory(arch)) {
                f(arch, moe);
            }
        }
    }
}

static llama_model_ptr load(const std::string & path, const llm_arch arch, const bool moe) {
    llama_model_params params = llama_model_default_params();
    params.progress_callback = silent_model_load_progress;
    ggml_backend_dev_t none = nullptr;
    params.devices = &none;
    if (path != "-") {
        return llama_model_ptr(llama_model_load_from_file(path.c_str(), params));
    }
    gguf_context_ptr wanted = get_gguf_ctx(arch, moe);
    // What the generator's own list lacks.
    gguf_set_val_u32(wanted.get(), "tokenizer.ggml.token_type_count", 2);
    const std::string name = llm_arch_name(arch);
    for (const char * rank : { "decay", "iclr", "value_residual_mix", "gate" }) {
        gguf_set_val_u32(wanted.get(), (name + ".attention." + rank + "_lora_rank").c_str(), 16);
    }
    if (arch == LLM_ARCH_ARWKV7) {
        gguf_set_val_u32(wanted.get(), (name + ".token_shift_count").c_str(), 1);
    }
    gguf_set_val_bool(wanted.get(), (name + ".attention.causal").c_str(), !(extra(arch) && name.find("rwkv") == std::string::npos));
    tensor_data_params data = { SEED, 0.1f };
    return llama_model_ptr(llama_model_init_from_user(wanted.get(), set_tensor_data, &data, params));
}

static int save(const std::string & path, const llm_arch arch, const bool moe) {
    if (!llama_model_saver_supports_arch(arch)) {
        return 3;
    }
    llama_model_ptr model = load("-", arch, moe);
    if (!model) {
        return 1;
    }
    llama_model_save_to_file(model.get(), path.c_str());
    return 0;
}

static bool process(llama_context * ctx, const llama_process_type type, llama_batch_ext * batch, const std::string & tokens) {
    printf("%s%s\n", type == LLAMA_PROCESS_TYPE_ENCODE ? "encode" : "decode", tokens.c_str());
    fflush(stdout);
    const int32_t status = llama_process(ctx, type, batch);
    if (status != 0) {
        fprintf(stderr, "llama_process returned %d\n", status);
    }
    return status == 0;
}

static int run(const std::string & path, const llm_arch arch, const bool moe, const bool flash) {
    llama_model_ptr model = load(path, arch, moe);
    if (!model) {
        return 1;
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 256;
    params.n_seq_max = 2;
    params.n_threads = params.n_threads_batch = 2;
    params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.kv_unified = true;
    const bool decodes = llama_model_has_decoder(model.get());
    const bool encodes = llama_model_has_encoder(model.get());
    // A model without a memory computes each batch on its own.
    params.embeddings = extra(arch) && !std::strstr(llm_arch_name(arch), "rwkv");
    params.pooling_type = LLAMA_POOLING_TYPE_NONE;
    llama_context_ptr ctx(llama_init_from_model(model.get(), params));
    if (!ctx) {
        return 1;
    }
    printf("layers %d\n", llama_model_n_layer(model.get()));
    llama_batch_ext_ptr batch(llama_batch_ext_init(ctx.get()));
    std::string tokens;
    const int32_t n_vocab = std::min(llama_vocab_n_tokens(llama_model_get_vocab(model.get())), 128);
    int32_t seed = 17;
    auto clear = [&]() {
        llama_batch_ext_clear(batch.get());
        tokens.clear();
    };
    auto add = [&](const llama_seq_id seq, const llama_pos at, const bool output, const char phase) {
        seed = (seed * 7 + 11) % n_vocab;
        const int32_t idx = llama_batch_ext_add_token(batch.get(), seq, seed);
        const llama_pos pos[4] = { at, at, at, 0 };
        llama_batch_ext_set_pos(batch.get(), idx, pos);
        llama_batch_ext_set_output_logits(batch.get(), idx, output);
        if (params.embeddings) {
            llama_batch_ext_set_output_embd(batch.get(), idx, output);
        }
        char text[64];
        snprintf(text, sizeof(text), " %d:%d:%d:%c", seq, at, seed, phase);
        tokens += text;
    };
    const bool has_memory = llama_get_memory(ctx.get()) != nullptr;
    const bool all = params.embeddings || !has_memory;
    auto prompts = [&](const int first, const int second) {
        clear();
        for (int i = 0; i < first; i++) {
            add(0, i, all || i + 1 == first, 'P');
        }
        for (int i = 0; i < second; i++) {
            add(1, i, all || i + 1 == second, 'P');
        }
    };
    prompts(5, 4);
    if (encodes && !process(ctx.get(), LLAMA_PROCESS_TYPE_ENCODE, batch.get(), tokens)) {
        return 1;
    }
    if (!decodes) {
        return 0;
    }
    if (encodes) {
        prompts(3, 2);
    }
    if (!process(ctx.get(), LLAMA_PROCESS_TYPE_DECODE, batch.get(), tokens)) {
        return 1;
    }
    if (!has_memory) {
        return 0;
    }
    const int first = encodes ? 3 : 5;
    for (int i = 0; i < 2; i++) {
        clear();
        add(0, first + i, true, 'G');
        add(1, first - 1 + i, true, 'G');
        if (!process(ctx.get(), LLAMA_PROCESS_TYPE_DECODE, batch.get(), tokens)) {
            return 1;
        }
    }
    clear();
    add(0, first + 2, true, 'G');
    return process(ctx.get(), LLAMA_PROCESS_TYPE_DECODE, batch.get(), tokens) ? 0 : 1;
}

int main(int argc, char ** argv) {
    be_quiet();
    const std::vector<std::string> args(argv + 1, argv + argc);
    if (args.size() == 1 && args[0] == "list") {
        each([](const llm_arch arch, const bool moe) { printf("%s %s\n", llm_arch_name(arch), moe ? "moe" : "dense"); });
        return 0;
    }
    if (args.size() == 4 && args[0] == "save") {
        return save(args[3], llm_arch_from_string(args[1]), args[2] == "moe");
    }
    if (args.size() == 5 && args[0] == "run") {
        return run(args[1], llm_arch_from_string(args[2]), args[3] == "moe", args[4] == "1");
    }
    fprintf(stderr, "usage: archs list | save NAME dense|moe MODEL | run MODEL NAME dense|moe FLASH\n");
    return 2;
}
