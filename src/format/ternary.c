/* ternary: -1, 0, 1 in two's complement, as int2; rests in a nybble whose top two bits are not
 * read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[16] = {NYB_4_TIMES(NYB_SIGNED_4)};

const nyb_format nyb_format_ternary = {
    .name = "ternary",
    .about = "-1, 0, 1 (code 2 is -2, never produced)",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 4,
    .is_signed = true,
    .lo = -1,
    .hi = 1,
    .max_unit = 1,
    .unit = 1.0f,
    .max = 1.0f,
    .units = units,
};
