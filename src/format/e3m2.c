/* e3m2: the wider FP6 of the OCP MX formats. */
#include "format/format.h"

const nyb_format nyb_format_e3m2 = {
    .name = "e3m2",
    .about = "FP6 of the OCP MX formats: 3 exponent, 2 mantissa bits",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 64,
    .is_signed = true,
    .unit = 1.0f,
    .max = 28.0f,
    .fp = {.exp_bits = 3, .man_bits = 2, .bias = 3, .subnormals = true},
};
