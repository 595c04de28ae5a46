#include "op/window.h"

/* The largest pixel of each window and channel; padding never wins, ties go to the first in row
 * order, a NaN wins (PyTorch's rules). Forward leaves the winner's tap, r * kernel + s. */

#define KERNEL_MAX 16 /* a tap fits in a byte */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    if (attr->kernel > KERNEL_MAX)
        return nyb_fail(err, NYB_LIMIT, "maxpool: kernel %zu is more than %d", attr->kernel,
                        KERNEL_MAX);
    return nyb_op_window("maxpool", attr, attr->kernel / 2, *in, in->c, out, err);
}

static size_t saved_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    nyb_shape out;

    return shape(attr, in, &out, NULL) == NYB_OK ? nyb_shape_size(out) : 0;
}

/* The pixels of the window of one output pixel. */
static size_t window_pixels(const nyb_op_args *args, const float *image, size_t oh, size_t ow,
                            nyb_elem_pixel *pixels)
{
    const nyb_shape in = args->in_shape[0];
    const nyb_attr *const attr = args->attr;
    const nyb_range rs = nyb_window_taps(attr, oh, in.h), ss = nyb_window_taps(attr, ow, in.w);
    size_t n = 0;

    for (size_t r = rs.begin; r < rs.end; r++)
        for (size_t s = ss.begin; s < ss.end; s++) {
            const size_t h = oh * attr->stride + r - attr->pad;
            const size_t w = ow * attr->stride + s - attr->pad;
            pixels[n++] = (nyb_elem_pixel){.value = image + (h * in.w + w) * in.c,
                                           .tap = (uint8_t)(r * attr->kernel + s)};
        }
    return n;
}

/* One task, one row of the output. */
static void forward_task(void *arg, size_t task, size_t worker)
{
    const nyb_op_args *args = arg;
    const nyb_elem_kernel *kernel = nyb_elem_choose(args->context->cpu);
    const nyb_shape in = args->in_shape[0], out = args->out_shape;
    const float *const image = args->in[0] + task / out.h * in.h * in.w * in.c;
    uint8_t *const taps = args->saved;
    nyb_elem_pixel pixels[KERNEL_MAX * KERNEL_MAX];

    (void)worker;
    for (size_t ow = 0; ow < out.w; ow++) {
        const size_t at = (task * out.w + ow) * out.c;
        const size_t n = window_pixels(args, image, task % out.h, ow, pixels);
        kernel->pool_max(pixels, n, out.c, args->out + at, taps ? taps + at : NULL);
    }
}

/* Pixel (h, w) takes from each window that it won, in increasing row and column of the output. */
static void backward_pixel(const nyb_op_args *args, size_t n, size_t h, size_t w, float *dx)
{
    const nyb_shape out = args->out_shape;
    const nyb_attr *const attr = args->attr;
    const nyb_range ohs = nyb_window_outputs(attr, h, out.h);
    const nyb_range ows = nyb_window_outputs(attr, w, out.w);
    nyb_elem_pixel pixels[KERNEL_MAX * KERNEL_MAX];
    size_t n_pixels = 0;

    for (size_t oh = ohs.begin; oh < ohs.end; oh++)
        for (size_t ow = ows.begin; ow < ows.end; ow++) {
            const size_t at = ((n * out.h + oh) * out.w + ow) * out.c;
            const size_t r = h + attr->pad - oh * attr->stride;
            const size_t s = w + attr->pad - ow * attr->stride;
            pixels[n_pixels++] = (nyb_elem_pixel){.value = args->dout + at,
                                                  .winner = (const uint8_t *)args->saved + at,
                                                  .tap = (uint8_t)(r * attr->kernel + s)};
        }
    nyb_elem_choose(args->context->cpu)->pool_max_back(pixels, n_pixels, out.c, dx);
}

static void forward(const nyb_op_args *args)
{
    nyb_pool_run(args->context->pool, forward_task, (void *)args,
                 args->out_shape.n * args->out_shape.h);
}

static void backward(const nyb_op_args *args)
{
    nyb_window_backward(args, backward_pixel);
}

const nyb_op nyb_op_maxpool = {
    .name = "maxpool",
    .about = "the largest pixel of a square window",
    .n_inputs = 1,
    .keeps_nonneg = true,
    .shape = shape,
    .saved_bytes = saved_bytes,
    .forward = forward,
    .backward = backward,
};
