#include "op/common.h"

/* y = max(x, 0); NaN passes, and the derivative at 0 is 0. Forward leaves one bit per element, so
 * that backward needs neither x nor y: bit i % 8 of byte i / 8 is !(x[i] <= 0). */

typedef struct relu_work {
    const nyb_op_args *args;
    const nyb_elem_kernel *kernel;
    size_t n;
} relu_work;

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    (void)attr;
    *out = *in;
    return nyb_op_check_shape("relu", *in, err);
}

static size_t saved_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    (void)attr;
    return nyb_op_blocks(nyb_shape_size(*in), 8);
}

static void forward_task(void *arg, size_t task, size_t worker)
{
    const relu_work *work = arg;
    const size_t at = task * NYB_OP_TASK_SIZE;
    uint8_t *const mask = work->args->saved;

    (void)worker;
    work->kernel->relu(work->args->in[0] + at, nyb_min(NYB_OP_TASK_SIZE, work->n - at),
                       work->args->out + at, mask ? mask + at / 8 : NULL);
}

static void backward_task(void *arg, size_t task, size_t worker)
{
    const relu_work *work = arg;
    const size_t at = task * NYB_OP_TASK_SIZE;
    const uint8_t *const mask = work->args->saved;

    (void)worker;
    work->kernel->relu_back(work->args->dout + at, mask + at / 8,
                            nyb_min(NYB_OP_TASK_SIZE, work->n - at), work->args->din[0] + at,
                            work->args->din_add[0]);
}

static void run(const nyb_op_args *args, nyb_task_fn *fn)
{
    relu_work work = {args, nyb_elem_choose(args->context->cpu), nyb_shape_size(args->in_shape[0])};

    nyb_pool_run(args->context->pool, fn, &work, nyb_op_blocks(work.n, NYB_OP_TASK_SIZE));
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

const nyb_op nyb_op_relu = {
    .name = "relu",
    .about = "max(x, 0)",
    .n_inputs = 1,
    .makes_nonneg = true,
    .shape = shape,
    .saved_bytes = saved_bytes,
    .forward = forward,
    .backward = backward,
};
