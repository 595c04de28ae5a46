#include "gemm/depthwise.h"
#include "op/common.h"

/* y[n,oh,ow,c] = sum over r,s x[n, oh*stride+r-pad, ow*stride+s-pad, c] w[c,r,s] (+ b[c]). The
 * three products are nyb_depthwise's; here are the shapes and the gradient of the bias. */

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    const nyb_shape weight = {in->c, attr->kernel, attr->kernel, 1};

    NYB_TRY(nyb_op_window("depthwise_conv2d", attr, attr->kernel ? attr->kernel - 1 : 0, *in, in->c,
                          out, err));
    if (attr->kernel > NYB_DEPTHWISE_KERNEL_MAX)
        return nyb_fail(err, NYB_LIMIT, "depthwise_conv2d: a kernel of %zu is more than %d",
                        attr->kernel, NYB_DEPTHWISE_KERNEL_MAX);
    return nyb_op_check_shape("depthwise_conv2d", weight, err);
}

static size_t param_size(const nyb_attr *attr, const nyb_shape *in, int i)
{
    if (i == 0)
        return in->c * attr->kernel * attr->kernel;
    return attr->bias ? in->c : 0;
}

static size_t scratch_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    nyb_shape out;

    if (!attr->bias || shape(attr, in, &out, NULL) != NYB_OK)
        return 0;
    return nyb_op_column_sums_bytes(nyb_shape_rows(out), out.c);
}

const nyb_op nyb_op_depthwise_conv2d = {
    .name = "depthwise_conv2d",
    .about = "2-D convolution of each channel with a filter of its own, square kernel",
    .n_inputs = 1,
    .n_params = 2,
    .params = {{"weight", NYB_INIT_HE_NORMAL, true}, {"bias", NYB_INIT_ZERO, false}},
    .is_gemm = true,
    .depthwise = true,
    .backward_in = true,
    .shape = shape,
    .param_size = param_size,
    .scratch_bytes = scratch_bytes,
    .backward = nyb_op_bias_backward,
};
