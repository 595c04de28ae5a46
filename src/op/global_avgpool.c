#include "op/common.h"

/* [n][h][w][c] -> [n][1][1][c]: the mean of each channel's pixels, a canonical column sum (blocks
 * of 256 pixels in f32, joined in double) divided by h w. */

typedef struct mean_work {
    const nyb_op_args *args;
    const nyb_elem_kernel *kernel;
} mean_work;

#define GROUP 64 /* channels whose sums a task holds at a time */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    (void)attr;
    *out = (nyb_shape){in->n, 1, 1, in->c};
    return nyb_op_check_shape("global_avgpool", *in, err);
}

/* One task, one image. */
static void forward_task(void *arg, size_t task, size_t worker)
{
    const mean_work *work = arg;
    const nyb_shape in = work->args->in_shape[0];
    const size_t pixels = in.h * in.w;
    const float *const x = work->args->in[0] + task * pixels * in.c;
    float *const y = work->args->out + task * in.c;

    (void)worker;
    for (size_t col = 0; col < in.c; col += GROUP) {
        const size_t n = nyb_min(GROUP, in.c - col);
        double total[GROUP] = {0};
        for (size_t row = 0; row < pixels; row += NYB_ELEM_ROWS) {
            float sum[GROUP];
            work->kernel->column_sums(x + row * in.c + col, nyb_min(NYB_ELEM_ROWS, pixels - row), n,
                                      in.c, sum);
            for (size_t j = 0; j < n; j++)
                total[j] += (double)sum[j];
        }
        for (size_t j = 0; j < n; j++)
            y[col + j] = (float)(total[j] / (double)pixels);
    }
}

static void backward_task(void *arg, size_t task, size_t worker)
{
    const mean_work *work = arg;
    const nyb_shape in = work->args->in_shape[0];
    const size_t pixels = in.h * in.w;
    const float *const dy = work->args->dout + task * in.c;
    float *const dx = work->args->din[0] + task * pixels * in.c;

    (void)worker;
    for (size_t p = 0; p < pixels; p++)
        for (size_t j = 0; j < in.c; j++) {
            const float share = dy[j] / (float)pixels;
            dx[p * in.c + j] = work->args->din_add[0] ? dx[p * in.c + j] + share : share;
        }
}

static void run(const nyb_op_args *args, nyb_task_fn *fn)
{
    mean_work work = {args, nyb_elem_choose(args->context->cpu)};

    nyb_pool_run(args->context->pool, fn, &work, args->in_shape[0].n);
}

static void forward(const nyb_op_args *args)
{
    run(args, forward_task);
}

static void backward(const nyb_op_args *args)
{
    if (args->din[0])
        run(args, backward_task);
}

const nyb_op nyb_op_global_avgpool = {
    .name = "global_avgpool",
    .about = "the mean over all pixels",
    .n_inputs = 1,
    .keeps_nonneg = true,
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
