/* e3m0r4odd: Sun et al.'s FP4 in radix 4, odd phase (NUMERICS 2.2). */
#include "format/format.h"

/*   bit   3      2..0
 *       +------+-------+
 *       | sign |   e   |   e = 0: zero, else 2 * 4^(e-4)
 *       +------+-------+ */
static const float value[16] = {
    +0.0f, 0x1p-5f,  0x1p-3f,  0x1p-1f,  0x1p1f,  0x1p3f,  0x1p5f,  0x1p7f,
    -0.0f, -0x1p-5f, -0x1p-3f, -0x1p-1f, -0x1p1f, -0x1p3f, -0x1p5f, -0x1p7f,
};

const nyb_format nyb_format_e3m0r4odd = {
    .name = "e3m0r4odd",
    .about = "radix-4 FP4, odd phase: sign, magnitudes 1/32 1/8 1/2 2 8 32 128, and zero",
    .grid = NYB_GRID_TABLE,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .ties_up = true,
    .unit = 1.0f,
    .max = 128.0f,
    .value = value,
};
