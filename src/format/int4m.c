/* int4m: int4 with a small integer factor for each 16 codes of a row (docs/formats.md). */
#include "format/format.h"

static const int8_t units[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, -7, -6, -5, -4, -3, -2, -1};

const nyb_format nyb_format_int4m = {
    .name = "int4m",
    .about = "integers -7..7 times a factor 1..18 shared by 16 neighbours: exact int8 operands",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .lo = -7,
    .hi = 7,
    .max_unit = 7,
    .multiples = 18,
    .unit = 1.0f,
    .max = 7.0f,
    .units = units,
};
