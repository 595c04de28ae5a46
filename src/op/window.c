#include "op/window.h"

typedef struct job {
    const nyb_op_args *args;
    nyb_window_gather *gather;
} job;

/* One task, one row of the input. */
static void row_task(void *arg, size_t task, size_t worker)
{
    const job *j = arg;
    const nyb_shape in = j->args->in_shape[0];
    float *const dx = j->args->din[0] + task * in.w * in.c;

    (void)worker;
    if (!j->args->din_add[0])
        memset(dx, 0, in.w * in.c * sizeof *dx);
    for (size_t w = 0; w < in.w; w++)
        j->gather(j->args, task / in.h, task % in.h, w, dx + w * in.c);
}

void nyb_window_backward(const nyb_op_args *args, nyb_window_gather *gather)
{
    job j = {args, gather};

    if (args->din[0])
        nyb_pool_run(args->context->pool, row_task, &j, args->in_shape[0].n * args->in_shape[0].h);
}
