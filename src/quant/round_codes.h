/* Rounding of blocks straight to packed codes: what its files share. */
#ifndef NYB_ROUND_CODES_H
#define NYB_ROUND_CODES_H

#include "quant/codes.h"
#include "quant/round_work.h"

typedef struct nyb_codes_work {
    nyb_round_work round;
    const nyb_grouped *out;
    uint32_t cpu;
    size_t taps, channels; /* column t * channels + c of the view is row c * taps + t of out */
    float *turned;         /* grid values as out's rows, or NULL: encoded at once */
    const nyb_codes_kernel *kernel; /* NULL: rounded to values, which are encoded */
    nyb_codes_plan plan;

    const nyb_window *window; /* or NULL */
    const float *zeros;       /* a row of them, beside the images */
    size_t tap, n_taps;       /* of the window: from `tap` on, in one pass; 0, 1 without a window */
    nyb_level *levels;        /* of the taps of the pass */
    float *absmax;            /* of bands, for levels */
} nyb_codes_work;

/* Scales and factors of 16 groups; false if not all are fit for the kernel. */
bool nyb_codes_scales(const nyb_round_work *r, float factor, const float absmax[16],
                      float scale[16], float inv[16]);

/* round_along.c: all blocks of a matrix whose blocks lie along its rows */
void nyb_codes_along(const nyb_context *context, nyb_codes_work *w);

#endif
