/* e4m3b11: the forward FP8 of HFP8 (Sun et al., NeurIPS 2019), as in E4M3B11FNUZ. */
#include "format/format.h"

const nyb_format nyb_format_e4m3b11 = {
    .name = "e4m3b11",
    .about = "HFP8's forward FP8: bias 11, no Inf, no -0 (its code is NaN)",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 30.0f,
    .fp =
        {.exp_bits = 4, .man_bits = 3, .bias = 11, .subnormals = true, .special = NYB_SPECIAL_FNUZ},
};
