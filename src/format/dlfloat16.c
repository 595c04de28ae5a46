/* dlfloat16: IBM's DLFloat16 (Agrawal et al., ARITH 2019; NUMERICS 3.3). */
#include "format/format.h"

const nyb_format nyb_format_dlfloat16 = {
    .name = "dlfloat16",
    .about = "DLFloat16: 6 exponent, 9 mantissa bits, ties away, no subnormals, one code for Inf "
             "and NaN",
    .grid = NYB_GRID_FLOAT,
    .bits = 16,
    .n_codes = 1u << 16,
    .is_signed = true,
    .unit = 1.0f,
    .max = 0x1.ffp32f,
    .fp = {.exp_bits = 6,
           .man_bits = 9,
           .bias = 31,
           .ties_away = true,
           .special = NYB_SPECIAL_MERGED},
};
