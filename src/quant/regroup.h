/* Grouped codes in the order of another product: the same values, nothing is rounded again. */
#ifndef NYB_REGROUP_H
#define NYB_REGROUP_H

#include "quant/round.h"

/* from: any grouped matrix; a packed one (one scale) is one with groups of 16 and scales NULL. to:
 * of the same format, codes to be written. If from has scales, so does to; else to's are NULL. */

/* The same rows; to's group is that of from, or divides it. */
void nyb_regroup_rows(const nyb_context *context, const nyb_grouped *from, nyb_grouped *to);

/* Row c * taps + t, column o of to is row o * taps + t, column c of from: from [o][taps] rows of c
 * to [c][taps] rows of o. Columns of to past those rows are code 0 with scale 0. Scales are those
 * of tiles of 16 x 16 in groups of 16, or NULL. */
void nyb_regroup_turn(const nyb_context *context, const nyb_grouped *from, size_t taps,
                      nyb_grouped *to);

/* Row t * cols + c, column p of to is column c of the pixel that output pixel p sees under tap t,
 * code 0 beside the images. from: rows are pixels, scales NULL. to's pitch is a multiple of 128. */
void nyb_regroup_windows(const nyb_context *context, const nyb_grouped *from,
                         const nyb_window *window, nyb_grouped *to);

#endif
