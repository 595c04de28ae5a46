/* int5x: integers -8..15, two's complement; the 24 levels of signed inputs in LUQ's published code
 * (luq_ref). */
#include "format/format.h"

/* More than 4 bits, so it rests in a byte, as int8. */
#define ROW(n)                                                                                     \
    n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, n + 9, n + 10, n + 11, n + 12,      \
        n + 13, n + 14, n + 15

static const int8_t units[256] = {
    ROW(0),    ROW(16),   ROW(32),  ROW(48),  ROW(64),  ROW(80),  ROW(96),  ROW(112),
    ROW(-128), ROW(-112), ROW(-96), ROW(-80), ROW(-64), ROW(-48), ROW(-32), ROW(-16),
};

const nyb_format nyb_format_int5x = {
    .name = "int5x",
    .about =
        "integers -8..15, two's complement: the 24 levels of signed inputs in LUQ's published code",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .lo = -8,
    .hi = 15,
    .max_unit = 15,
    .unit = 1.0f,
    .max = 15.0f,
    .units = units,
};
