/* e3m0r4: Sun et al.'s FP4 in radix 4, even phase (NUMERICS 2.2). */
#include "format/format.h"

/*   bit   3      2..0
 *       +------+-------+
 *       | sign |   e   |   e = 0: zero, else 4^(e-4)
 *       +------+-------+ */
static const float value[16] = {
    +0.0f, 0x1p-6f,  0x1p-4f,  0x1p-2f,  0x1p0f,  0x1p2f,  0x1p4f,  0x1p6f,
    -0.0f, -0x1p-6f, -0x1p-4f, -0x1p-2f, -0x1p0f, -0x1p2f, -0x1p4f, -0x1p6f,
};

const nyb_format nyb_format_e3m0r4 = {
    .name = "e3m0r4",
    .about = "radix-4 FP4, even phase: sign, magnitudes 1/64 1/16 1/4 1 4 16 64, and zero",
    .grid = NYB_GRID_TABLE,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .ties_up = true,
    .unit = 1.0f,
    .max = 64.0f,
    .value = value,
};
