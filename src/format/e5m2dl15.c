/* e5m2dl15: the FP8 of Wang et al., NeurIPS 2018, as IBM's AIU has it: no subnormals. */
#include "format/format.h"

const nyb_format nyb_format_e5m2dl15 = {
    .name = "e5m2dl15",
    .about = "FP8 of Wang et al. without subnormals: one code for Inf and NaN",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 98304.0f,
    .fp = {.exp_bits = 5, .man_bits = 2, .bias = 15, .special = NYB_SPECIAL_MERGED},
};
