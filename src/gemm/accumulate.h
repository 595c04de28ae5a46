/* Rounding and clamping of partial sums: the specification, and its kernels. */
#ifndef NYB_ACCUMULATE_INTERNAL_H
#define NYB_ACCUMULATE_INTERNAL_H

#include <nybble/accumulate.h>

#include "format/format.h"

/* Whether an accumulator can exist: format, chunk and rounding. */
NYB_MUST_CHECK nyb_status nyb_accum_check(const nyb_accum *accum, nyb_error *err);

/* NULL, or a format that is not rounded to: the engines' own sums. */
static inline bool nyb_accum_is_exact(const nyb_accum *accum)
{
    return !accum || !accum->format || accum->format->grid == NYB_GRID_REAL;
}

#endif
