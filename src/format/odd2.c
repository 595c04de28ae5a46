/* odd2: the odd integers -3, -1, 1, 3. There is no zero: what is 0 or NaN becomes 1. */
#include "format/format.h"

/* Code c is 2 c - 3; the upper two bits of its nybble are not read. */
static const int8_t units[16] = {-3, -1, 1, 3, -3, -1, 1, 3, -3, -1, 1, 3, -3, -1, 1, 3};

const nyb_format nyb_format_odd2 = {
    .name = "odd2",
    .about = "-3, -1, 1, 3: two bits without a zero (0 becomes 1), as SAWB's weights",
    .grid = NYB_GRID_TABLE,
    .bits = 4,
    .n_codes = 4,
    .is_signed = true,
    .ascending = true,
    .ties_up = true,
    .max_unit = 3,
    .unit = 1.0f,
    .max = 3.0f,
    .units = units,
};
