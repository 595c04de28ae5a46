/* int5w: integers -8..8, two's complement; the 17 levels of the weights in LUQ's published code
 * (luq_ref). */
#include "format/format.h"

/* More than 4 bits, so it rests in a byte, as int8. Codes that no encoder makes are worth 0. */
static const int8_t units[256] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, [248] = -8, -7, -6, -5, -4, -3, -2, -1};

const nyb_format nyb_format_int5w = {
    .name = "int5w",
    .about =
        "integers -8..8, two's complement: the 17 levels of the weights in LUQ's published code",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .lo = -8,
    .hi = 8,
    .max_unit = 8,
    .unit = 1.0f,
    .max = 8.0f,
    .units = units,
};
