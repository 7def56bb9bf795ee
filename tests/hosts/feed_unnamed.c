// As feed, on a llama.cpp that leaves its inputs unnamed, as some releases do.
//   feed_unnamed MODEL N
#define _GNU_SOURCE
#include "feed.c"

#include <dlfcn.h>

/* Takes the place of ggml's own function. */
struct ggml_tensor * ggml_set_name(struct ggml_tensor * tensor, const char * name) {
    static struct ggml_tensor * (*set_name)(struct ggml_tensor *, const char *);
    if (!set_name) {
        set_name = (struct ggml_tensor * (*) (struct ggml_tensor *, const char *) ) dlsym(RTLD_NEXT, "ggml_set_name");
    }
    const bool is_input = !strncmp(name, "inp_", 4) || !strcmp(name, "out_ids");
    return is_input ? tensor : set_name(tensor, name);
}
