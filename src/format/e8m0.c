/* e8m0: the scales of the OCP MX formats: powers of two alone. */
#include "format/format.h"

#include <math.h>

/* The code is the exponent plus 127. There is no sign and no zero: what is below 2^-127 becomes it.
 */
#define POWERS_8(first)                                                                            \
    (first), 2 * (first), 4 * (first), 8 * (first), 16 * (first), 32 * (first), 64 * (first),      \
        128 * (first)

static const float value[256] = {
    POWERS_8(0x1p-127f),
    POWERS_8(0x1p-119f),
    POWERS_8(0x1p-111f),
    POWERS_8(0x1p-103f),
    POWERS_8(0x1p-95f),
    POWERS_8(0x1p-87f),
    POWERS_8(0x1p-79f),
    POWERS_8(0x1p-71f),
    POWERS_8(0x1p-63f),
    POWERS_8(0x1p-55f),
    POWERS_8(0x1p-47f),
    POWERS_8(0x1p-39f),
    POWERS_8(0x1p-31f),
    POWERS_8(0x1p-23f),
    POWERS_8(0x1p-15f),
    POWERS_8(0x1p-7f),
    POWERS_8(0x1p1f),
    POWERS_8(0x1p9f),
    POWERS_8(0x1p17f),
    POWERS_8(0x1p25f),
    POWERS_8(0x1p33f),
    POWERS_8(0x1p41f),
    POWERS_8(0x1p49f),
    POWERS_8(0x1p57f),
    POWERS_8(0x1p65f),
    POWERS_8(0x1p73f),
    POWERS_8(0x1p81f),
    POWERS_8(0x1p89f),
    POWERS_8(0x1p97f),
    POWERS_8(0x1p105f),
    POWERS_8(0x1p113f),
    0x1p121f,
    0x1p122f,
    0x1p123f,
    0x1p124f,
    0x1p125f,
    0x1p126f,
    0x1p127f,
    NAN,
};

const nyb_format nyb_format_e8m0 = {
    .name = "e8m0",
    .about = "scales of the OCP MX formats: 2^-127 .. 2^127, no sign, no zero",
    .grid = NYB_GRID_TABLE,
    .bits = 8,
    .n_codes = 256,
    .is_signed = false,
    .ties_up = true, /* as in ml_dtypes */
    .unit = 1.0f,
    .max = 0x1p127f,
    .value = value,
};
