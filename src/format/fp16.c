/* fp16: IEEE-754 binary16. */
#include "format/format.h"

const nyb_format nyb_format_fp16 = {
    .name = "fp16",
    .about = "IEEE-754 binary16: 5 exponent, 10 mantissa bits",
    .grid = NYB_GRID_FLOAT,
    .bits = 16,
    .n_codes = 1u << 16,
    .is_signed = true,
    .unit = 1.0f,
    .max = 65504.0f,
    .fp = {.exp_bits = 5,
           .man_bits = 10,
           .bias = 15,
           .subnormals = true,
           .special = NYB_SPECIAL_IEEE},
};
