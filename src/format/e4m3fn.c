/* e4m3fn: the OCP FP8 of weights and activations. */
#include "format/format.h"

const nyb_format nyb_format_e4m3fn = {
    .name = "e4m3fn",
    .about = "OCP FP8: 4 exponent, 3 mantissa bits, no Inf",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 448.0f,
    .fp = {.exp_bits = 4, .man_bits = 3, .bias = 7, .subnormals = true, .special = NYB_SPECIAL_FN},
};
