/* int8: integers -127..127, two's complement; -128 is never produced. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_SIGNED_256};

const nyb_format nyb_format_int8 = {
    .name = "int8",
    .about = "integers -127..127, two's complement (code 0x80 is -128, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .lo = -127,
    .hi = 127,
    .max_unit = 127,
    .unit = 1.0f,
    .max = 127.0f,
    .units = units,
};
