/* The three products of a depthwise convolution: one filter for each channel, no im2col. */
#ifndef NYB_DEPTHWISE_H
#define NYB_DEPTHWISE_H

#include "gemm/conv.h"

/* y[n,oh,ow,c] = sum over r,s    x[n, oh*stride+r-pad, ow*stride+s-pad, c] w[c,r,s]
 * dx[n,h,w,c]  = sum over r,s    dy w
 * dw[c,r,s]    = sum over n,oh,ow dy x
 *
 * Operands as those of nyb_conv with o = c, but that weights are rows = c filters of cols = r * s.
 *
 * s8 engine, if both formats have max_unit > 0: exact integer sums. Else f32, packed operands
 * being decoded first. f32 sums are fmaf chains from +0, taps (r, s) ascending, padding left out;
 * dw: output pixels (n, oh, ow) ascending, in aligned chunks of 4096, each a chain, added in
 * ascending order. That is the order of nyb_conv's sums over the channel's own terms. */
typedef struct nyb_depthwise nyb_depthwise;

/* Filters of at most 63 x 63: fewer taps than a chain of the f32 engine is long, and no int32 sum
 * overflows. Widths of at most 32768 pixels: int32 holds a row's sums. */
#define NYB_DEPTHWISE_KERNEL_MAX 63
#define NYB_DEPTHWISE_WIDTH_MAX  32768

/* shape: o = c (else NYB_INVALID), oh and ow are set here. a, b, n_samples as nyb_conv_create; f32:
 * not even small integers are multiplied as such. */
NYB_MUST_CHECK nyb_status nyb_depthwise_create(const nyb_context *context, nyb_product product,
                                               const nyb_conv_shape *shape, const nyb_format *a,
                                               const nyb_format *b, size_t n_samples, bool f32,
                                               nyb_depthwise **depthwise, nyb_error *err);
void nyb_depthwise_destroy(nyb_depthwise **depthwise);

const char *nyb_depthwise_engine(const nyb_depthwise *depthwise); /* "s8" or "f32" */
const char *nyb_depthwise_kernel_name(const nyb_depthwise *depthwise);
size_t nyb_depthwise_scratch_bytes(const nyb_depthwise *depthwise);
uint64_t nyb_depthwise_macs(const nyb_depthwise *depthwise); /* padding not counted */

/* As nyb_conv_run. */
void nyb_depthwise_run(const nyb_depthwise *depthwise, const nyb_context *context,
                       const nyb_operand *a, const nyb_operand *b, const float *bias, bool add,
                       float *out, void *scratch);
/* As nyb_conv_run_half. */
void nyb_depthwise_run_half(const nyb_depthwise *depthwise, const nyb_context *context,
                            const nyb_operand *a, const nyb_operand *b, const float *bias,
                            const nyb_stream *draws, uint16_t *out, void *scratch);

#endif
