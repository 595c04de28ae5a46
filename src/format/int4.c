/* int4: integers -7..7, two's complement nybbles; -8 is never produced. */
#include "format/format.h"

static const int8_t units[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};

const nyb_format nyb_format_int4 = {
    .name = "int4",
    .about = "integers -7..7, two's complement (code 8 is -8, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .lo = -7,
    .hi = 7,
    .max_unit = 7,
    .unit = 1.0f,
    .max = 7.0f,
    .units = units,
};
