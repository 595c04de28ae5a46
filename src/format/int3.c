/* int3: integers -3..3, two's complement; rests in a nybble whose top bit is not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[16] = {NYB_TWICE(NYB_SIGNED_8)};

const nyb_format nyb_format_int3 = {
    .name = "int3",
    .about = "integers -3..3, two's complement (code 4 is -4, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 8,
    .is_signed = true,
    .lo = -3,
    .hi = 3,
    .max_unit = 3,
    .unit = 1.0f,
    .max = 3.0f,
    .units = units,
};
