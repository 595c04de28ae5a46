/* e2m3: the finer FP6 of the OCP MX formats. */
#include "format/format.h"
#include "format/runs.h"

/*   bit   5     4..3    2..0
 *       +------+-------+-------+
 *       | sign |   E   |   M   |   E = 0: M / 8, else 2^(E-1) (1 + M / 8); one unit is 1/8
 *       +------+-------+-------+
 * It rests in a byte whose top two bits are not read. */
#define HALF(sign)                                                                                 \
    0, sign 1, sign 2, sign 3, sign 4, sign 5, sign 6, sign 7, sign 8, sign 9, sign 10, sign 11,   \
        sign 12, sign 13, sign 14, sign 15, sign 16, sign 18, sign 20, sign 22, sign 24, sign 26,  \
        sign 28, sign 30, sign 32, sign 36, sign 40, sign 44, sign 48, sign 52, sign 56, sign 60

static const int8_t units[256] = {NYB_4_TIMES(HALF(+), HALF(-))};

const nyb_format nyb_format_e2m3 = {
    .name = "e2m3",
    .about = "FP6 of the OCP MX formats: 2 exponent, 3 mantissa bits",
    .grid = NYB_GRID_FLOAT,
    .bits = 8,
    .n_codes = 64,
    .is_signed = true,
    .max_unit = 60,
    .unit = 0.125f,
    .max = 7.5f,
    .units = units,
    .fp = {.exp_bits = 2, .man_bits = 3, .bias = 1, .subnormals = true},
};
