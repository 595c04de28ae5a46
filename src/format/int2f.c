/* int2f: int2 with its lowest code, integers -2..1; rests in a nybble whose top two bits are not
 * read. */
#include "format/format.h"
#include "format/runs.h"

static const int8_t units[16] = {NYB_4_TIMES(NYB_SIGNED_4)};

const nyb_format nyb_format_int2f = {
    .name = "int2f",
    .about = "integers -2..1, all of two's complement, as LSQ takes them",
    .grid = NYB_GRID_INT,
    .bits = 4,
    .n_codes = 4,
    .is_signed = true,
    .lo = -2,
    .hi = 1,
    .max_unit = 2,
    .unit = 1.0f,
    .max = 1.0f,
    .units = units,
};
