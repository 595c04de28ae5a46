/* int5: integers -15..15, two's complement; rests in a byte whose top three bits are not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_8_TIMES(NYB_SIGNED_32)};

const nyb_format nyb_format_int5 = {
    .name = "int5",
    .about = "integers -15..15, two's complement (code 16 is -16, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 32,
    .is_signed = true,
    .lo = -15,
    .hi = 15,
    .max_unit = 15,
    .unit = 1.0f,
    .max = 15.0f,
    .units = units,
};
