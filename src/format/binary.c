/* binary: the signs. There is no zero: what is 0 or NaN becomes 1. */
#include "format/format.h"

/* Code 0 is -1, code 1 is 1; the upper three bits of its nybble are not read. */
static const int8_t units[16] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};

const nyb_format nyb_format_binary = {
    .name = "binary",
    .about = "the sign alone: -1 and 1, no zero (0 becomes 1)",
    .grid = NYB_GRID_TABLE,
    .bits = 4,
    .n_codes = 2,
    .is_signed = true,
    .ascending = true,
    .ties_up = true,
    .max_unit = 1,
    .unit = 1.0f,
    .max = 1.0f,
    .units = units,
};
