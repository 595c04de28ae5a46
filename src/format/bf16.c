/* bf16: the upper half of an f32. */
#include "format/format.h"

const nyb_format nyb_format_bf16 = {
    .name = "bf16",
    .about = "bfloat16: the upper half of an f32",
    .grid = NYB_GRID_FLOAT,
    .bits = 16,
    .n_codes = 1u << 16,
    .is_signed = true,
    .unit = 1.0f,
    .max = 0x1.fep127f,
    .fp = {.exp_bits = 8,
           .man_bits = 7,
           .bias = 127,
           .subnormals = true,
           .special = NYB_SPECIAL_IEEE},
};
