/* uint7: integers 0..127, for tensors known to be non-negative; rests in a byte whose top bit is
 * not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_TWICE(NYB_RUN_128(0))};

const nyb_format nyb_format_uint7 = {
    .name = "uint7",
    .about = "integers 0..127, for tensors known to be non-negative",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 128,
    .is_signed = false,
    .lo = 0,
    .hi = 127,
    .max_unit = 127,
    .unit = 1.0f,
    .max = 127.0f,
    .units = units,
};
