/* Kernels of depthwise convolutions: a run of pixels of a row, all channels at once. */
#ifndef NYB_DEPTHWISE_KERNEL_H
#define NYB_DEPTHWISE_KERNEL_H

#include "base/cpu.h"
#include "base/rng.h"

/* Outputs that see the same taps (forward, dX). For 0 <= i < n and 0 <= c < channels:
 *
 *     acc = +0
 *     for r = 0 .. taps_r - 1, for s = 0 .. taps_s - 1:
 *         acc += x[i * x_step + r * x_r + s * x_s + c] * w[r * w_r + s * w_s + c]
 *     t = acc;  if bias: t = t + bias[c];  if add: t = out[..] + t;  out[i * out_step + c] = t
 *     (half: out is bf16, t to the nearest or, as store.h says, by draws; nothing is added)
 *
 * f32: x and w are floats, each step is an fmaf. s8: x are bytes, w int16, the sum is exact in
 * int32 and t = (float)acc * scale. Steps are counted in elements; there may be no tap at all.
 * s8: x and w may be read up to channels rounded up to 16, where w holds zeros. */
typedef struct nyb_depthwise_pixels {
    size_t n, channels;
    size_t taps_r, taps_s;
    const void *x, *w;
    ptrdiff_t x_step, x_r, x_s, w_r, w_s;
    bool x_unsigned;     /* s8: bytes of x are 0..255, else -128..127 */
    int32_t max_product; /* s8: largest |x * w|, at least 1: a bound for int16 partial sums */
    float scale;         /* s8 */
    const float *bias;   /* [channels] or NULL */
    bool add, half;
    void *out;
    size_t out_step;
    const nyb_stream *draws; /* half; or NULL */
    const void *origin;
} nyb_depthwise_pixels;

/* The products of a run of pixels with those that neighbouring taps see (dW). For 0 <= t < taps,
 * 0 <= c < channels, i = 0, 1 .. n - 1:
 *
 *     acc[t * acc_step + c] += dy[i * dy_step + c] * x[i * x_step + t * x_s + c]
 *
 * f32: floats, each step is an fmaf. s8: bytes, acc is int32 and does not overflow; dy, x and acc
 * have memory for channels rounded up to 16, where acc then holds anything. */
typedef struct nyb_depthwise_taps {
    size_t n, channels, taps;
    const void *dy, *x;
    size_t dy_step, x_step, x_s;
    bool dy_unsigned, x_unsigned;
    int32_t max_product;
    void *acc;
    size_t acc_step;
} nyb_depthwise_taps;

typedef struct nyb_depthwise_kernel {
    const char *name;    /* "avx512", "avx2", "ref" */
    uint32_t needs;      /* NYB_CPU_* */
    int32_t max_product; /* the largest that it sums exactly */

    void (*pixels_f32)(const nyb_depthwise_pixels *args);
    void (*pixels_s8)(const nyb_depthwise_pixels *args);
    void (*taps_f32)(const nyb_depthwise_taps *args);
    void (*taps_s8)(const nyb_depthwise_taps *args);
} nyb_depthwise_kernel;

/* Best first, reference last, NULL-terminated. */
extern const nyb_depthwise_kernel *const nyb_depthwise_kernels[];
extern const nyb_depthwise_kernel nyb_depthwise_avx512, nyb_depthwise_avx2, nyb_depthwise_ref;
/* The first that the CPU mask allows and that sums products up to max_product. Never NULL. */
const nyb_depthwise_kernel *nyb_depthwise_kernel_choose(uint32_t cpu, int32_t max_product);

#endif
