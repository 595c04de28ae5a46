#include "op/common.h"

/* [n][h][w][c] -> [n][1][1][hwc]: the same memory in the same order, so the graph may alias it. */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    (void)attr;
    NYB_TRY(nyb_op_check_shape("flatten", *in, err));
    *out = (nyb_shape){in->n, 1, 1, in->h * in->w * in->c};
    return NYB_OK;
}

static void forward(const nyb_op_args *args)
{
    nyb_op_copy(args->context, args->in[0], args->out, nyb_shape_size(args->out_shape), false);
}

static void backward(const nyb_op_args *args)
{
    if (args->din[0])
        nyb_op_copy(args->context, args->dout, args->din[0], nyb_shape_size(args->out_shape),
                    args->din_add[0]);
}

const nyb_op nyb_op_flatten = {
    .name = "flatten",
    .about = "each sample as one vector",
    .n_inputs = 1,
    .keeps_nonneg = true,
    .is_view = true,
    .passes_on = true,
    .shape = shape,
    .forward = forward,
    .backward = backward,
};
