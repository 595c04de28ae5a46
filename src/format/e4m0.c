/* e4m0: eight powers of two and zero with a sign; 17 values, so it rests in a byte (luq_ref). */
#include "format/format.h"

#include <math.h>

/*   bit   7      6..0
 *       +------+-------+
 *       | sign |   e   |   e = 0: zero, e = 1..8: 2^(e-1); other codes are NaN
 *       +------+-------+ */
#define NAN_8   NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN
#define NAN_16  NAN_8, NAN_8
#define NAN_112 NAN_16, NAN_16, NAN_16, NAN_16, NAN_16, NAN_16, NAN_16
#define NAN_7   NAN, NAN, NAN, NAN, NAN, NAN, NAN

static const float value[256] = {
    +0.0f, +1.0f, +2.0f, +4.0f, +8.0f, +16.0f, +32.0f, +64.0f, +128.0f, NAN_7, NAN_112,
    -0.0f, -1.0f, -2.0f, -4.0f, -8.0f, -16.0f, -32.0f, -64.0f, -128.0f, NAN_7, NAN_112,
};

const nyb_format nyb_format_e4m0 = {
    .name = "e4m0",
    .about = "sign, magnitudes 1 2 4 .. 128, and zero: the 17 values of LUQ's published code",
    .grid = NYB_GRID_LOG2,
    .bits = 8,
    .n_codes = 256,
    .is_signed = true,
    .unit = 1.0f,
    .max = 128.0f,
    .value = value,
};
