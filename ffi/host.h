// What bindgen reads: the parts of ggml's public headers that the shim checks its own declarations against.
#include "ggml.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
