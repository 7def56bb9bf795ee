// What bindgen reads: ggml's types, blocks and conversions, and the tables behind them, which ggml keeps to itself.
#include "ggml.h"
#include "ggml-quants.h"

// Grids of the codebook types: the eight (iq1, iq2) or four (iq3) entries of a grid point, a byte each.
extern const uint64_t (* const ggscope_iq1s_grid)[2048];
extern const uint64_t (* const ggscope_iq2xxs_grid)[256];
extern const uint64_t (* const ggscope_iq2xs_grid)[512];
extern const uint64_t (* const ggscope_iq2s_grid)[1024];
extern const uint32_t (* const ggscope_iq3xxs_grid)[256];
extern const uint32_t (* const ggscope_iq3s_grid)[512];

// Signs of eight quants, a bit each, by their 7-bit index (iq2_xxs, iq2_xs, iq3_xxs).
extern const uint8_t (* const ggscope_ksigns_iq2xs)[128];

// Values of 4-bit quants: of iq4_nl and iq4_xs, and of mxfp4 and nvfp4.
extern const int8_t (* const ggscope_kvalues_iq4nl)[16];
extern const int8_t (* const ggscope_kvalues_fp4)[16];

// Half of the scale of mxfp4 and of nvfp4, as ggml decodes it: the table above has twice their values.
float ggscope_e8m0_half(uint8_t e);
float ggscope_ue4m3_half(uint8_t d);
