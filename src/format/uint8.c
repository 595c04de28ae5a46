/* uint8: integers 0..255, for tensors known to be non-negative. In the signed bytes of the s8
 * engine they lie around -128 (gemm/conv_zero.c). */
#include "format/format.h"
#include "format/runs.h"

static const float value[256] = {NYB_RUN_256(0.0f)};

const nyb_format nyb_format_uint8 = {
    .name = "uint8",
    .about = "integers 0..255, for tensors known to be non-negative",
    .grid = NYB_GRID_INT,
    .bits = 8,
    .n_codes = 256,
    .is_signed = false,
    .lo = 0,
    .hi = 255,
    .shift = 128,
    .unit = 1.0f,
    .max = 255.0f,
    .value = value,
};
