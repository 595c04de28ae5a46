/* The three products of a layer on grouped operands: real small-integer codes, a scale per group of
 * the contraction (MXFP4, NVFP4, block INT4 ...). */
#ifndef NYB_GROUP_CONV_H
#define NYB_GROUP_CONV_H

#include "gemm/conv.h"
#include "packed/grouped.h"

/* An output is, over the groups of its contraction in ascending order, from acc = +0:
 *
 *     acc = fmaf((float)isum, sA * sB, acc)       isum: the group's exact sum of products of units
 *     out = acc * ((tA * unitA) * (tB * unitB) * (1 / n_samples));  out + bias;  former + out
 *
 * every product rounded to f32; sA, sB the scales of the groups (1 where an operand has none),
 * tA, tB nyb_packed.scale. Products of scales must be finite. Of several draws of dy (SMP) the
 * groups of one follow those of the other; tA is that of all.
 *
 *                  a                                  b
 *     FWD  x  [n h w] rows of c                w   [o r s] rows of c
 *     DX   dy [n oh ow] rows of o              w^T [c r s] rows of o (row (ci * r + ri) * s + si)
 *     DW   dy^T: o rows of [n oh ow]           x of some taps: c rows of [n oh ow], patch pixels,
 *                                              for each
 *
 * Groups run along the rows and never cross one, so never a tap. FWD, DX: the contraction is tap by
 * tap (r, then s ascending), inside a tap group by group. A tap beside the image counts as zero
 * codes of scale 0; DX has only the taps t with (y + pad - t) divisible by the stride. DW is run
 * for some taps at a time, so that not all patches need be in memory. */
typedef struct nyb_group_conv nyb_group_conv;

/* a, b: formats with max_unit > 0; group 16, 32 or 64; n_samples >= 1, FWD: 1; else NYB_INVALID.
 * Immutable afterwards. */
NYB_MUST_CHECK nyb_status nyb_group_conv_create(const nyb_context *context, nyb_product product,
                                                const nyb_conv_shape *shape, const nyb_format *a,
                                                const nyb_format *b, size_t group, size_t n_samples,
                                                nyb_group_conv **conv, nyb_error *err);
void nyb_group_conv_destroy(nyb_group_conv **conv);

const char *nyb_group_conv_kernel(const nyb_group_conv *conv); /* "amx" ... */
size_t nyb_group_conv_scratch_bytes(const nyb_group_conv *conv);
uint64_t nyb_group_conv_macs(const nyb_group_conv *conv); /* useful ones, of all draws and taps */

/* FWD, DX: a [n_samples], out [n oh ow][o], resp. [n h w][c]. bias: [channels of out], or NULL.
 * add: out += . scratch: nyb_group_conv_scratch_bytes, 64-byte aligned, content irrelevant.
 * Operands have the shapes above, this group and these formats. */
void nyb_group_conv_run(const nyb_group_conv *conv, const nyb_context *context,
                        const nyb_grouped *const *a, const nyb_grouped *b, const float *bias,
                        bool add, float *out, void *scratch);
/* The same to bf16, as nyb_conv_run_half. */
void nyb_group_conv_run_half(const nyb_group_conv *conv, const nyb_context *context,
                             const nyb_grouped *const *a, const nyb_grouped *b, const float *bias,
                             const nyb_stream *draws, uint16_t *out, void *scratch);

/* DW of n_taps taps r * S + s from `tap` on: dw[o][tap ..][c] of out [o][r s][c]; other taps are
 * left alone. dy [n_samples]. levels [n_taps]: what stands for x's packed.scale, or NULL: that for
 * all. */
void nyb_group_conv_run_taps(const nyb_group_conv *conv, const nyb_context *context, size_t tap,
                             size_t n_taps, const nyb_grouped *const *dy, const nyb_grouped *x,
                             const float *levels, bool add, float *out, void *scratch);

#endif
