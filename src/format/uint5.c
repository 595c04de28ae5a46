/* uint5: integers 0..31, for tensors known to be non-negative; rests in a byte whose top three bits
 * are not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_8_TIMES(NYB_RUN_32(0))};

const nyb_format nyb_format_uint5 = {
    .name = "uint5",
    .about = "integers 0..31, for tensors known to be non-negative",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 32,
    .is_signed = false,
    .lo = 0,
    .hi = 31,
    .max_unit = 31,
    .unit = 1.0f,
    .max = 31.0f,
    .units = units,
};
