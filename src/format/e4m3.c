/* e4m3: FP8 with 3 mantissa bits and IEEE's Inf and NaN. */
#include "format/format.h"

const nyb_format nyb_format_e4m3 = {
    .name = "e4m3",
    .about = "FP8: 4 exponent, 3 mantissa bits, Inf and NaN as in IEEE-754",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 240.0f,
    .fp =
        {.exp_bits = 4, .man_bits = 3, .bias = 7, .subnormals = true, .special = NYB_SPECIAL_IEEE},
};
