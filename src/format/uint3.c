/* uint3: integers 0..7, for tensors known to be non-negative; rests in a nybble whose top bit is
 * not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[16] = {NYB_TWICE(NYB_RUN_8(0))};

const nyb_format nyb_format_uint3 = {
    .name = "uint3",
    .about = "integers 0..7, for tensors known to be non-negative",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 8,
    .is_signed = false,
    .lo = 0,
    .hi = 7,
    .max_unit = 7,
    .unit = 1.0f,
    .max = 7.0f,
    .units = units,
};
