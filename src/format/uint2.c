/* uint2: integers 0..3, for tensors known to be non-negative; rests in a nybble whose top two bits
 * are not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[16] = {NYB_4_TIMES(NYB_RUN_4(0))};

const nyb_format nyb_format_uint2 = {
    .name = "uint2",
    .about = "integers 0..3, for tensors known to be non-negative",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 4,
    .is_signed = false,
    .lo = 0,
    .hi = 3,
    .max_unit = 3,
    .unit = 1.0f,
    .max = 3.0f,
    .units = units,
};
