/* The walk of a pooling window: which taps of it lie in the image, and which windows hold a pixel.
 */
#ifndef NYB_OP_WINDOW_H
#define NYB_OP_WINDOW_H

#include "op/common.h"

typedef struct nyb_range {
    size_t begin, end;
} nyb_range;

/* Taps r of the window at output o that hit one of `size` pixels: o * stride + r - pad. */
static inline nyb_range nyb_window_taps(const nyb_attr *attr, size_t o, size_t size)
{
    const size_t first = o * attr->stride; /* in padded coordinates */

    return (nyb_range){
        first < attr->pad ? attr->pad - first : 0,
        nyb_min(attr->kernel, size + attr->pad - first),
    };
}

/* Outputs o, of n_out, whose window holds pixel i: 0 <= i + pad - o * stride < kernel. */
static inline nyb_range nyb_window_outputs(const nyb_attr *attr, size_t i, size_t n_out)
{
    const size_t p = i + attr->pad;

    return (nyb_range){
        p < attr->kernel ? 0 : (p - attr->kernel) / attr->stride + 1,
        nyb_min(n_out, p / attr->stride + 1),
    };
}

/* Adds to dx, the gradient of pixel (h, w) of image n, what the windows that hold it give. */
typedef void nyb_window_gather(const nyb_op_args *args, size_t n, size_t h, size_t w, float *dx);

/* The gradient of a pooling's input: each pixel gathers, so that rows of dx are independent. */
void nyb_window_backward(const nyb_op_args *args, nyb_window_gather *gather);

#endif
