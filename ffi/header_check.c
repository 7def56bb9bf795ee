// Proves at build time that the public header compiles as C and declares what the shim defines, with these types.
#include "ggscope.h"

_Static_assert(_Generic(&ggscope_version, const char * (*)(void) : 1, default : 0), "ggscope_version");
_Static_assert(_Generic(&ggscope_attach, bool (*)(void) : 1, default : 0), "ggscope_attach");
_Static_assert(_Generic(&ggscope_attached, bool (*)(void) : 1, default : 0), "ggscope_attached");
_Static_assert(_Generic(&ggscope_note, void (*)(const char *) : 1, default : 0), "ggscope_note");

typedef int ggscope_header_is_checked;
