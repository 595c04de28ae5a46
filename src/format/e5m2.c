/* e5m2: the OCP FP8 of gradients. */
#include "format/format.h"

const nyb_format nyb_format_e5m2 = {
    .name = "e5m2",
    .about = "OCP FP8: 5 exponent, 2 mantissa bits, Inf and NaN",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 57344.0f,
    .fp =
        {.exp_bits = 5, .man_bits = 2, .bias = 15, .subnormals = true, .special = NYB_SPECIAL_IEEE},
};
