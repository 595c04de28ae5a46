/* int2: integers -1..1, two's complement; rests in a nybble whose top two bits are not read. */
#include "format/format.h"

static const int8_t units[16] = {0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, -2, -1};

const nyb_format nyb_format_int2 = {
    .name = "int2",
    .about = "integers -1..1, two's complement (code 2 is -2, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 4,
    .is_signed = true,
    .lo = -1,
    .hi = 1,
    .max_unit = 1,
    .unit = 1.0f,
    .max = 1.0f,
    .units = units,
};
