/* e3m0: LUQ's FP4, a sign and a power of two (NUMERICS 1.3: seven magnitudes and zero). */
#include "format/format.h"

/*   bit   3      2..0
 *       +------+-------+
 *       | sign |   e   |   e = 0: zero, else 2^(e-1)
 *       +------+-------+
 * Code 8 would be -0: readers accept it, encoders never produce it. */
static const int8_t units[16] = {0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64};

const nyb_format nyb_format_e3m0 = {
    .name = "e3m0",
    .about = "LUQ's FP4: sign, magnitudes 1 2 4 8 16 32 64, and zero",
    .grid = NYB_GRID_LOG2,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .max_unit = 64,
    .unit = 1.0f,
    .max = 64.0f,
    .units = units,
};
