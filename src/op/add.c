#include "op/common.h"

/* y = a + b, of equal shapes. */

typedef struct add_work {
    const nyb_op_args *args;
    const nyb_elem_kernel *kernel;
    size_t n;
} add_work;

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    const nyb_shape a = in[0], b = in[1];

    (void)attr;
    if (a.n != b.n || a.h != b.h || a.w != b.w || a.c != b.c)
        return nyb_fail(err, NYB_SHAPE, "add: %zu x %zu x %zu x %zu and %zu x %zu x %zu x %zu", a.n,
                        a.h, a.w, a.c, b.n, b.h, b.w, b.c);
    *out = a;
    return nyb_op_check_shape("add", a, err);
}

static void forward_task(void *arg, size_t task, size_t worker)
{
    const add_work *work = arg;
    const nyb_op_args *args = work->args;
    const size_t at = task * NYB_OP_TASK_SIZE;

    (void)worker;
    work->kernel->add(args->in[0] + at, args->in[1] + at, nyb_min(NYB_OP_TASK_SIZE, work->n - at),
                      args->out + at);
}

static void forward(const nyb_op_args *args)
{
    add_work work = {args, nyb_elem_choose(args->context->cpu), nyb_shape_size(args->out_shape)};

    nyb_pool_run(args->context->pool, forward_task, &work, nyb_op_blocks(work.n, NYB_OP_TASK_SIZE));
}

static void backward(const nyb_op_args *args)
{
    for (int i = 0; i < 2; i++)
        if (args->din[i])
            nyb_op_copy(args->context, args->dout, args->din[i], nyb_shape_size(args->out_shape),
                        args->din_add[i]);
}

const nyb_op nyb_op_add = {
    .name = "add",
    .about = "the sum of two tensors",
    .n_inputs = 2,
    .keeps_nonneg = true,
    .passes_on = true,
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
