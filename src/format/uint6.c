/* uint6: integers 0..63, for tensors known to be non-negative; rests in a byte whose top two bits
 * are not read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[256] = {NYB_4_TIMES(NYB_RUN_64(0))};

const nyb_format nyb_format_uint6 = {
    .name = "uint6",
    .about = "integers 0..63, for tensors known to be non-negative",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 64,
    .is_signed = false,
    .lo = 0,
    .hi = 63,
    .max_unit = 63,
    .unit = 1.0f,
    .max = 63.0f,
    .units = units,
};
