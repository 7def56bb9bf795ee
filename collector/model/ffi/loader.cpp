// Loads a model with llama.cpp's own code and says how far it comes. A program of its own, because llama.cpp ends the
// process when an assertion fails, and because the file may be hostile: it runs in a child with limits.
//
//   loader MODEL BYTES SECONDS ALIGNMENT model|vocabulary|header
//
// BYTES is the memory that loading may take; for the graph there is more. ALIGNMENT is the smallest of the model's files.
// A vocabulary is loaded without its weights, and of a header only the format is read.
//
// Nothing is read but the header: `no_alloc` makes the model and the graph without memory for weights and caches. What a
// load with memory checks beyond that (alignment of mapped weights, a model without a byte) is checked here.
//
// Prints lines of a word and a text:
//   error TEXT    an error that llama.cpp logged, or the assertion that failed
//   unused NAME   a tensor of the file that llama.cpp did not ask for, if it refused the model because of that
//   loaded        the model is loaded
//   ready         a context for it is made: the graph is built and the caches are planned
#include "ggml-backend.h"
#include "ggml.h"
#include "gguf.h"
#include "llama.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

// Of src/llama-model.h, which needs all of llama.cpp's own headers.
const std::vector<std::pair<std::string, ggml_tensor *>> & llama_internal_get_tensor_map(const llama_model * model);

namespace {

// ggml's buffers begin at multiples of this many bytes; it has a constant for it, but not in a header.
constexpr size_t BUFFER_ALIGNMENT = 32;
constexpr uint32_t CONTEXT = 512;
// llama.cpp reserves room for the largest graph that it may build, and fills little of it.
constexpr rlim_t GRAPH_BYTES = 4ull << 30;
constexpr size_t MOST_UNUSED = 20;
constexpr size_t MOST_TEXT = 4096;

std::set<std::string> asked_for;
bool after_error = false;
bool wrong_number = false;

void say(const char * word, const std::string & text) {
    std::string line = word;
    line += ' ';
    line += text.substr(0, MOST_TEXT);
    std::replace(line.begin(), line.end(), '\n', ' ');
    line += '\n';
    fputs(line.c_str(), stdout);
    fflush(stdout);
}

void say_lines(const std::string & text) {
    for (size_t start = 0; start < text.size();) {
        const size_t end = std::min(text.find('\n', start), text.size());
        if (end > start) {
            say("error", text.substr(start, end - start));
        }
        start = end + 1;
    }
}

void on_log(ggml_log_level level, const char * text, void *) {
    static const char LOADING[] = "create_tensor: loading tensor ";
    if (level == GGML_LOG_LEVEL_DEBUG && strncmp(text, LOADING, sizeof(LOADING) - 1) == 0) {
        std::string name = text + sizeof(LOADING) - 1;
        if (!name.empty() && name.back() == '\n') {
            name.pop_back();
        }
        asked_for.insert(name);
        return;
    }
    after_error = level == GGML_LOG_LEVEL_ERROR || (level == GGML_LOG_LEVEL_CONT && after_error);
    if (after_error) {
        wrong_number = wrong_number || strstr(text, "wrong number of tensors") != nullptr;
        say_lines(text);
    }
}

void on_abort(const char * message) {
    say("error", message);
}

void limit(int resource, rlim_t now, rlim_t later) {
    const rlimit limits = { now, later };
    setrlimit(static_cast<__rlimit_resource_t>(resource), &limits);
}

struct Place {
    size_t file;
    size_t offset;
};

// Where the tensors of all files of the model lie.
bool read_places(const std::vector<std::string> & paths, std::map<std::string, Place> & places) {
    for (size_t i = 0; i < paths.size(); i++) {
        gguf_context * gguf = gguf_init_from_file(paths[i].c_str(), { /*.no_alloc =*/ true, /*.ctx =*/ nullptr });
        if (gguf == nullptr) {
            return false;
        }
        for (int64_t t = 0; t < gguf_get_n_tensors(gguf); t++) {
            const size_t offset = gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, t);
            places[gguf_get_tensor_name(gguf, t)] = { i, offset };
        }
        gguf_free(gguf);
    }
    return true;
}

// The files of a model that `path` is the first of, as llama.cpp finds them.
std::vector<std::string> files_of(const std::string & path) {
    gguf_context * gguf = gguf_init_from_file(path.c_str(), { /*.no_alloc =*/ true, /*.ctx =*/ nullptr });
    std::vector<std::string> paths = { path };
    if (gguf == nullptr) {
        return paths;
    }
    const int64_t key = gguf_find_key(gguf, "split.count");
    const int count = key >= 0 && gguf_get_kv_type(gguf, key) == GGUF_TYPE_UINT16 ? gguf_get_val_u16(gguf, key) : 1;
    gguf_free(gguf);
    std::vector<char> prefix(path.size() + 1), part(path.size() + 64);
    if (count > 1 && llama_split_prefix(prefix.data(), prefix.size(), path.c_str(), 0, count) > 0) {
        for (int i = 1; i < count; i++) {
            llama_split_path(part.data(), part.size(), prefix.data(), i, count);
            paths.emplace_back(part.data());
        }
    }
    return paths;
}

void say_unused(const std::map<std::string, Place> & places) {
    size_t said = 0;
    for (const auto & place : places) {
        if (asked_for.count(place.first) == 0 && said++ < MOST_UNUSED) {
            say("unused", place.first);
        }
    }
}

// Weights that stay in the mapped file are one buffer for each file. It begins at the first of them, wherever that is.
bool mapped_buffers_are_aligned(const llama_model * model, const std::map<std::string, Place> & places) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    std::map<size_t, std::pair<size_t, size_t>> ranges;
    for (const auto & entry : llama_internal_get_tensor_map(model)) {
        const ggml_tensor * tensor = entry.second;
        const auto place = places.find(entry.first);
        if (tensor->buffer == nullptr || place == places.end() ||
            ggml_backend_buffer_get_type(tensor->buffer) != ggml_backend_dev_buffer_type(cpu)) {
            continue;
        }
        const size_t first = place->second.offset, last = first + ggml_nbytes(tensor);
        auto range = ranges.emplace(place->second.file, std::make_pair(first, last)).first;
        range->second.first  = std::min(range->second.first, first);
        range->second.second = std::max(range->second.second, last);
    }
    for (const auto & range : ranges) {
        const size_t first = range.second.first;
        if (first < range.second.second && first % BUFFER_ALIGNMENT != 0) {
            say("error", "the first weights that llama.cpp maps are at byte " + std::to_string(first) +
                         " of the file, which is no multiple of " + std::to_string(BUFFER_ALIGNMENT));
            return false;
        }
    }
    return true;
}

int read_header(const std::string & path) {
    ggml_context * tensors = nullptr;
    if (gguf_init_from_file(path.c_str(), { /*.no_alloc =*/ true, /*.ctx =*/ &tensors }) == nullptr) {
        return 1;
    }
    say("loaded", "");
    say("ready", "");
    return 0;
}

int load_vocabulary(const std::string & path) {
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    params.load_mode  = LLAMA_LOAD_MODE_NONE;
    if (llama_model_load_from_file(path.c_str(), params) == nullptr) {
        return 1;
    }
    say("loaded", "");
    say("ready", "");
    return 0;
}

int load_model(const std::string & path, const size_t alignment) {
    llama_model_params params = llama_model_default_params();
    params.no_alloc  = true;
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    llama_model * model = llama_model_load_from_file(path.c_str(), params);
    std::map<std::string, Place> places;
    if (model == nullptr) {
        if (wrong_number && read_places(files_of(path), places)) {
            say_unused(places);
        }
        return 1;
    }
    if (llama_model_size(model) == 0) {
        say("error", "there is not one byte of weights");
        return 1;
    }
    const bool everywhere = alignment % BUFFER_ALIGNMENT == 0;
    if (!everywhere && read_places(files_of(path), places) && !mapped_buffers_are_aligned(model, places)) {
        return 1;
    }
    say("loaded", "");
    rlimit limits = {};
    getrlimit(RLIMIT_DATA, &limits);
    limit(RLIMIT_DATA, limits.rlim_max, limits.rlim_max);
    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx   = CONTEXT;
    context_params.n_batch = CONTEXT;
    if (llama_init_from_model(model, context_params) == nullptr) {
        return 2;
    }
    say("ready", "");
    return 0;
}

} // namespace

int main(int argc, char ** argv) {
    if (argc != 6) {
        fputs("usage: loader MODEL BYTES SECONDS ALIGNMENT model|vocabulary|header\n", stderr);
        return 64;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const rlim_t bytes = strtoull(argv[2], nullptr, 10), seconds = strtoull(argv[3], nullptr, 10);
    limit(RLIMIT_DATA, bytes, bytes + GRAPH_BYTES);
    limit(RLIMIT_CPU, seconds, seconds);
    limit(RLIMIT_CORE, 0, 0);
    ggml_set_abort_callback(on_abort);
    llama_log_set(on_log, nullptr);
    int result = 1;
    const std::string path = argv[1], what = argv[5];
    const size_t alignment = strtoull(argv[4], nullptr, 10);
    try {
        llama_backend_init();
        result = what == "header"     ? read_header(path) :
                 what == "vocabulary" ? load_vocabulary(path) :
                                        load_model(path, alignment);
    } catch (const std::exception & error) {
        say("error", error.what());
    }
    // Without destructors: the kernel is faster at it, and they have nothing to say.
    _exit(result);
}
