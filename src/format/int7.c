/* int7: integers -63..63, two's complement; rests in a byte whose top bit is not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_TWICE(NYB_SIGNED_128)};

const nyb_format nyb_format_int7 = {
    .name = "int7",
    .about = "integers -63..63, two's complement (code 64 is -64, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 128,
    .is_signed = true,
    .lo = -63,
    .hi = 63,
    .max_unit = 63,
    .unit = 1.0f,
    .max = 63.0f,
    .units = units,
};
