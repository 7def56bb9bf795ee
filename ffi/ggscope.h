// ggscope's public C interface, for programs that link libggscope instead of preloading it.
//
// Linking alone is enough: every ggml call is then seen (docs/linking.md says how to link). These functions only add
// to that. All of them may be called at any time, from any thread, whether a collector runs or not.
#pragma once

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// Version of libggscope, for example "0.1.0". Never NULL; not to be freed.
const char * ggscope_version(void);

// Looks for a collector now, instead of at the first ggml call. Returns whether the process is being traced.
bool ggscope_attach(void);

// Whether the process is being traced.
bool ggscope_attached(void);

// Puts a remark of one line (UTF-8, at most 4,096 bytes are kept) into the trace. NULL is ignored.
void ggscope_note(const char * text);

#ifdef __cplusplus
}
#endif
