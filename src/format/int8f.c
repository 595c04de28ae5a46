/* int8f: int8 with its lowest code, integers -128..127. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_SIGNED_256};

const nyb_format nyb_format_int8f = {
    .name = "int8f",
    .about = "integers -128..127, all of two's complement, as LSQ takes them",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .lo = -128,
    .hi = 127,
    .max_unit = 128,
    .unit = 1.0f,
    .max = 127.0f,
    .units = units,
};
