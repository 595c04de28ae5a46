#include "op/window.h"

/* The mean of each window and channel; padding counts as zeros (PyTorch's count_include_pad), so
 * the divisor is always kernel^2. */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    return nyb_op_window("avgpool", attr, attr->kernel / 2, *in, in->c, out, err);
}

static float divisor(const nyb_attr *attr)
{
    return (float)(attr->kernel * attr->kernel);
}

/* The window of one output pixel: a sum in row order from +0, then one division. */
static void forward_pixel(const nyb_op_args *args, const float *image, size_t oh, size_t ow,
                          float *y)
{
    const nyb_shape in = args->in_shape[0];
    const nyb_attr *const attr = args->attr;
    const nyb_range rs = nyb_window_taps(attr, oh, in.h), ss = nyb_window_taps(attr, ow, in.w);
    const float d = divisor(attr);

    memset(y, 0, in.c * sizeof *y);
    for (size_t r = rs.begin; r < rs.end; r++)
        for (size_t s = ss.begin; s < ss.end; s++) {
            const size_t h = oh * attr->stride + r - attr->pad;
            const size_t w = ow * attr->stride + s - attr->pad;
            const float *const x = image + (h * in.w + w) * in.c;
            for (size_t c = 0; c < in.c; c++)
                y[c] += x[c];
        }
    for (size_t c = 0; c < in.c; c++)
        y[c] /= d;
}

/* One task, one row of the output. */
static void forward_task(void *arg, size_t task, size_t worker)
{
    const nyb_op_args *args = arg;
    const nyb_shape in = args->in_shape[0], out = args->out_shape;
    const float *const image = args->in[0] + task / out.h * in.h * in.w * in.c;

    (void)worker;
    for (size_t ow = 0; ow < out.w; ow++)
        forward_pixel(args, image, task % out.h, ow, args->out + (task * out.w + ow) * out.c);
}

/* Pixel (h, w) gathers its share of each window that holds it, in row order of the output. */
static void backward_pixel(const nyb_op_args *args, size_t n, size_t h, size_t w, float *dx)
{
    const nyb_shape out = args->out_shape;
    const nyb_range ohs = nyb_window_outputs(args->attr, h, out.h);
    const nyb_range ows = nyb_window_outputs(args->attr, w, out.w);
    const float d = divisor(args->attr);

    for (size_t oh = ohs.begin; oh < ohs.end; oh++)
        for (size_t ow = ows.begin; ow < ows.end; ow++) {
            const float *const dy = args->dout + ((n * out.h + oh) * out.w + ow) * out.c;
            for (size_t c = 0; c < out.c; c++)
                dx[c] += dy[c] / d;
        }
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

const nyb_op nyb_op_avgpool = {
    .name = "avgpool",
    .about = "the mean of a square window, padding counted as zeros",
    .n_inputs = 1,
    .keeps_nonneg = true,
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
