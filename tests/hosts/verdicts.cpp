// Says of every file named on stdin, one a line, whether llama.cpp loads it as programs do, with its weights mapped, and
// makes a context of 512 tokens for it. One line each on stdout: `loads` and the bytes of its caches, or `refuses` and the
// reason that was logged last.
// Each file has a child of its own, because llama.cpp ends the process when an assertion fails.
#include "ggml.h"
#include "llama-ext.h"
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int reasons;

static void on_log(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) {
        dprintf(reasons, "%s", text);
    }
}

static void on_abort(const char * message) {
    dprintf(reasons, "%s\n", message);
}

static int load(const char * path) {
    const rlimit memory = { 4ul << 30, 4ul << 30 }, seconds = { 60, 60 }, none = { 0, 0 };
    setrlimit(RLIMIT_DATA, &memory);
    setrlimit(RLIMIT_CPU, &seconds);
    setrlimit(RLIMIT_CORE, &none);
    llama_log_set(on_log, nullptr);
    ggml_set_abort_callback(on_abort);
    llama_model * model = llama_model_load_from_file(path, llama_model_default_params());
    if (model == nullptr) {
        return 1;
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx     = 512;
    params.n_batch   = 512;
    params.n_threads = 1;
    llama_context * context = llama_init_from_model(model, params);
    if (context == nullptr) {
        return 2;
    }
    size_t caches = 0;
    for (const auto & part : llama_get_memory_breakdown(context)) {
        caches += part.second.context;
    }
    // In the place of a reason.
    dprintf(reasons, "\n%zu\n", caches);
    return 0;
}

// The last line of a text that says more than that a step failed.
static const char * last_reason(char * text) {
    const char * best = "";
    for (char * line = strtok(text, "\n"); line != nullptr; line = strtok(nullptr, "\n")) {
        if (*best == '\0' || strstr(line, "failed to load model") == nullptr) {
            best = line;
        }
    }
    return best;
}

int main() {
    char path[4096];
    static char text[65536];
    FILE * log = tmpfile();
    if (log == nullptr) {
        return 1;
    }
    reasons = fileno(log);
    while (fgets(path, sizeof(path), stdin) != nullptr) {
        path[strcspn(path, "\n")] = '\0';
        if (ftruncate(reasons, 0) != 0 || lseek(reasons, 0, SEEK_SET) != 0) {
            return 1;
        }
        const pid_t child = fork();
        if (child == 0) {
            _exit(load(path));
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child) {
            return 1;
        }
        const ssize_t n = pread(reasons, text, sizeof(text) - 1, 0);
        text[n < 0 ? 0 : n] = '\0';
        const bool loads = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        printf("%s %s\n", loads ? "loads" : "refuses", last_reason(text));
        fflush(stdout);
    }
    return 0;
}
