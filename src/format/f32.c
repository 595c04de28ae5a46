/* f32: IEEE-754 binary32, for operands that stay real. */
#include "format/format.h"

#include <float.h>

const nyb_format nyb_format_f32 = {
    .name = "f32",
    .about = "IEEE-754 binary32; not quantized",
    .grid = NYB_GRID_REAL,
    .bits = 32,
    .is_signed = true,
    .max = FLT_MAX,
};
