/* uint4m: uint4 with a small integer factor for each 16 codes of a row (docs/formats.md). */
#include "format/format.h"

static const int8_t units[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

const nyb_format nyb_format_uint4m = {
    .name = "uint4m",
    .about = "integers 0..15 times a factor 1..8 shared by 16 neighbours",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 16,
    .is_signed = false,
    .lo = 0,
    .hi = 15,
    .max_unit = 15,
    .multiples = 8,
    .unit = 1.0f,
    .max = 15.0f,
    .units = units,
};
