/* e1m2: the uniform FP4 of UFP4: sign and magnitude of a multiple of 1/4. */
#include "format/format.h"

/*   bit   3     2     1..0
 *       +------+---+-------+
 *       | sign | E |   M   |   E M read as one integer is the magnitude; one unit is 1/4
 *       +------+---+-------+ */
static const int8_t units[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, -1, -2, -3, -4, -5, -6, -7};

const nyb_format nyb_format_e1m2 = {
    .name = "e1m2",
    .about = "uniform FP4: 0 0.25 0.5 .. 1.75 and their negatives",
    .grid = NYB_GRID_FLOAT,
    .bits = 4,
    .n_codes = 16,
    .is_signed = true,
    .max_unit = 7,
    .unit = 0.25f,
    .max = 1.75f,
    .units = units,
    .fp = {.exp_bits = 1, .man_bits = 2, .bias = 1, .subnormals = true},
};
