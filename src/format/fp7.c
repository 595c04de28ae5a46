/* fp7: the products of MF-BPROP, INT4 by e3m0 (NUMERICS 1.9). */
#include "format/format.h"

const nyb_format nyb_format_fp7 = {
    .name = "fp7",
    .about = "MF-BPROP's [1,4,2]: exact products of int4 and e3m0; no subnormals",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 128,
    .is_signed = true,
    .unit = 1.0f,
    .max = 28672.0f,
    .fp = {.exp_bits = 4, .man_bits = 2, .bias = 1},
};
