/* tf32: f32 with the mantissa of fp16, in 19 bits. */
#include "format/format.h"

const nyb_format nyb_format_tf32 = {
    .name = "tf32",
    .about = "TF32: exponent of f32, mantissa of fp16",
    .grid = NYB_GRID_FLOAT,
    .bits = 32,
    .n_codes = 1u << 19,
    .is_signed = true,
    .unit = 1.0f,
    .max = 0x1.ffcp127f,
    .fp = {.exp_bits = 8,
           .man_bits = 10,
           .bias = 127,
           .subnormals = true,
           .special = NYB_SPECIAL_IEEE},
};
