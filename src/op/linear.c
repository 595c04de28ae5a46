#include "op/common.h"

/* y[.., o] = sum over c x[.., c] w[o, c] (+ b[o]), over the last dimension of any tensor. The three
 * products are nyb_conv's; here are the shapes and the gradient of the bias. */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    const nyb_shape weight = {attr->out, 1, 1, in->c};

    NYB_TRY(nyb_op_check_shape("linear", *in, err));
    NYB_TRY(nyb_op_check_shape("linear", weight, err));
    *out = (nyb_shape){in->n, in->h, in->w, attr->out};
    return nyb_op_check_shape("linear", *out, err);
}

static size_t param_size(const nyb_attr *attr, const nyb_shape *in, int i)
{
    if (i == 0)
        return attr->out * in->c;
    return attr->bias ? attr->out : 0;
}

static size_t scratch_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    return attr->bias ? nyb_op_column_sums_bytes(nyb_shape_rows(*in), attr->out) : 0;
}

const nyb_op nyb_op_linear = {
    .name = "linear",
    .about = "y = x w' + b over the last dimension",
    .n_inputs = 1,
    .n_params = 2,
    .params = {{"weight", NYB_INIT_HE_NORMAL, true}, {"bias", NYB_INIT_ZERO, false}},
    .is_gemm = true,
    .of_rows = true,
    .backward_in = true,
    .shape = shape,
    .param_size = param_size,
    .scratch_bytes = scratch_bytes,
    .backward = nyb_op_bias_backward,
};
