/* int6: integers -31..31, two's complement; rests in a byte whose top two bits are not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_4_TIMES(NYB_SIGNED_64)};

const nyb_format nyb_format_int6 = {
    .name = "int6",
    .about = "integers -31..31, two's complement (code 32 is -32, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 64,
    .is_signed = true,
    .lo = -31,
    .hi = 31,
    .max_unit = 31,
    .unit = 1.0f,
    .max = 31.0f,
    .units = units,
};
