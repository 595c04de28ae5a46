/* e4m3dl11: the forward FP8 of HFP8 in the manner of DLFloat: no subnormals. */
#include "format/format.h"

const nyb_format nyb_format_e4m3dl11 = {
    .name = "e4m3dl11",
    .about = "HFP8's forward FP8 without subnormals: bias 11, one code for Inf and NaN",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 28.0f,
    .fp = {.exp_bits = 4, .man_bits = 3, .bias = 11, .special = NYB_SPECIAL_MERGED},
};
