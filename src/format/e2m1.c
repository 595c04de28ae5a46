/* e2m1: the FP4 of the OCP MX formats. */
#include "format/format.h"

/*   bit   3     2..1    0
 *       +------+-------+---+
 *       | sign |   E   | M |   E = 0: M / 2, else 2^(E-1) (1 + M / 2); one unit is 1/2
 *       +------+-------+---+ */
static const int8_t units[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const nyb_format nyb_format_e2m1 = {
    .name = "e2m1",
    .about = "FP4 of the OCP MX formats: 0 0.5 1 1.5 2 3 4 6 and their negatives",
    .grid = NYB_GRID_FLOAT,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .max_unit = 12,
    .unit = 0.5f,
    .max = 6.0f,
    .units = units,
    .fp = {.exp_bits = 2, .man_bits = 1, .bias = 1, .subnormals = true},
};
