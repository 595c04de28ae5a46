/* int4f: int4 with its lowest code, integers -8..7. */
#include "format/format.h"

static const int8_t units[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};

const nyb_format nyb_format_int4f = {
    .name = "int4f",
    .about = "integers -8..7, all of two's complement, as LSQ takes them",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .lo = -8,
    .hi = 7,
    .max_unit = 8,
    .unit = 1.0f,
    .max = 7.0f,
    .units = units,
};
