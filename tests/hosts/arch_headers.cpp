// Writes the header of a model of every architecture that llama.cpp's own test generator makes, without weights:
//   arch_headers FOLDER
// The generator is included, not linked: what it makes models of is local to its source. It fills weights with random
// numbers, which takes a minute; a header takes none.
#define main generator_main
#include "tests/test-llama-archs.cpp"
#undef main

static void leave_empty(ggml_tensor *, void *) {}

static bool write_header(const llm_arch arch, const bool moe, const std::string & folder) {
    gguf_context_ptr wanted = get_gguf_ctx(arch, moe);
    llama_model_params params = llama_model_default_params();
    params.progress_callback = silent_model_load_progress;
    llama_model_ptr model(llama_model_init_from_user(wanted.get(), leave_empty, nullptr, params));
    if (!model) {
        return false;
    }
    llama_model_saver saver(model.get());
    saver.add_kv_from_model();
    saver.add_tensors_from_model();
    const std::string path = folder + "/" + llm_arch_name(arch) + (moe ? "-moe.gguf" : "-dense.gguf");
    return gguf_write_to_file(saver.gguf_ctx, path.c_str(), /*only_meta =*/ true);
}

int main(int argc, char ** argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: arch_headers FOLDER\n");
        return 2;
    }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    for (const llm_arch & arch : llm_arch_all()) {
        // As `save_models` of the generator leaves out what it cannot make.
        const bool unmade = arch == LLM_ARCH_UNKNOWN || arch == LLM_ARCH_GEMMA4 || arch == LLM_ARCH_GEMMA4_ASSISTANT ||
                            arch == LLM_ARCH_EAGLE3 || arch == LLM_ARCH_DFLASH;
        if (unmade || !llama_model_saver_supports_arch(arch) || !arch_supported(arch)) {
            continue;
        }
        for (const bool moe : { false, true }) {
            if (moe ? !moe_implemented(arch) : moe_mandatory(arch)) {
                continue;
            }
            if (!write_header(arch, moe, argv[1])) {
                fprintf(stderr, "cannot make a model of the architecture %s\n", llm_arch_name(arch));
                return 1;
            }
        }
    }
    return 0;
}
