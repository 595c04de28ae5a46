#include "op/common.h"

/* y[n,oh,ow,o] = sum over r,s,c x[n, oh*stride+r-pad, ow*stride+s-pad, c] w[o,r,s,c] (+ b[o]). The
 * three products are nyb_conv's; here are the shapes and the gradient of the bias. */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    const nyb_shape weight = {attr->out, attr->kernel, attr->kernel, in->c};

    NYB_TRY(nyb_op_window("conv2d", attr, attr->kernel ? attr->kernel - 1 : 0, *in, attr->out, out,
                          err));
    return nyb_op_check_shape("conv2d", weight, err);
}

static size_t param_size(const nyb_attr *attr, const nyb_shape *in, int i)
{
    if (i == 0)
        return attr->out * attr->kernel * attr->kernel * in->c;
    return attr->bias ? attr->out : 0;
}

static size_t scratch_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    nyb_shape out;

    if (!attr->bias || shape(attr, in, &out, NULL) != NYB_OK)
        return 0;
    return nyb_op_column_sums_bytes(nyb_shape_rows(out), out.c);
}

const nyb_op nyb_op_conv2d = {
    .name = "conv2d",
    .about = "2-D convolution, NHWC images and OHWI weights, square kernel",
    .n_inputs = 1,
    .n_params = 2,
    .params = {{"weight", NYB_INIT_HE_NORMAL, true}, {"bias", NYB_INIT_ZERO, false}},
    .is_gemm = true,
    .backward_in = true,
    .shape = shape,
    .param_size = param_size,
    .scratch_bytes = scratch_bytes,
    .backward = nyb_op_bias_backward,
};
