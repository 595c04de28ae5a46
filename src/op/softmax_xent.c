#include <assert.h>

#include "base/math.h"
#include "op/common.h"

/* Cross-entropy of the softmax of each row of logits against a class, with label smoothing e:
 *
 *     m = max x;  p_j = exp(x_j - m) / S,  S = sum exp(x_j - m)
 *     loss = log S - (1 - e) (x_t - m) - e / C * sum (x_j - m)
 *
 * (Szegedy et al., CVPR 2016, section 7). All in f32; sums over a row go in 16 lanes by column,
 * folded 8, 4, 2, 1. The mean over rows is a canonical sum in double. */

#define ROWS_PER_TASK 16

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    if (!(attr->label_smoothing >= 0 && attr->label_smoothing < 1))
        return nyb_fail(err, NYB_INVALID, "softmax_xent: label smoothing %g is not in [0, 1)",
                        (double)attr->label_smoothing);
    *out = (nyb_shape){1, 1, 1, 2};
    return nyb_op_check_shape("softmax_xent", *in, err);
}

/* Per row: m and S. */
static size_t saved_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    (void)attr;
    return 2 * nyb_shape_rows(*in) * sizeof(float);
}

/* Per row: loss, and 1 if the class is predicted. */
static size_t scratch_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    (void)attr;
    return 4 * nyb_shape_rows(*in) * sizeof(float);
}

/* The largest; NaN is passed over here and comes back through the exponentials. */
static float row_max(const float *x, size_t n)
{
    float m = x[0];

    for (size_t j = 1; j < n; j++)
        m = x[j] > m ? x[j] : m;
    return m;
}

/* Top 1, ties to the first; false if a NaN is in the way. */
static bool predicts(const float *x, size_t n, size_t label)
{
    for (size_t j = 0; j < n; j++)
        if (j < label ? !(x[label] > x[j]) : !(x[label] >= x[j]))
            return false;
    return true;
}

static float row_loss(const float *x, size_t n, size_t label, float smoothing, float m, float *sum)
{
    float lane[16] = {0}, plain[16] = {0}, loss;

    for (size_t j = 0; j < n; j++) {
        lane[j % 16] += nyb_expf(x[j] - m);
        plain[j % 16] += x[j] - m;
    }
    *sum = nyb_op_fold(lane);
    loss = nyb_logf(*sum) - (1 - smoothing) * (x[label] - m);
    if (smoothing > 0)
        loss = loss - smoothing / (float)n * nyb_op_fold(plain);
    return loss;
}

float nyb_softmax_xent_row(const float *logits, size_t classes, size_t label, bool *right)
{
    float sum;

    *right = predicts(logits, classes, label);
    return row_loss(logits, classes, label, 0, row_max(logits, classes), &sum);
}

static void forward_task(void *arg, size_t task, size_t worker)
{
    const nyb_op_args *args = arg;
    const size_t rows = nyb_shape_rows(args->in_shape[0]), n = args->in_shape[0].c;
    const size_t end = nyb_min(rows, (task + 1) * ROWS_PER_TASK);
    float *const losses = args->scratch, *const hits = losses + rows;
    float *const saved = args->saved ? args->saved : losses + 2 * rows;

    (void)worker;
    for (size_t i = task * ROWS_PER_TASK; i < end; i++) {
        const float *const x = args->in[0] + i * n;
        const size_t label = (size_t)args->labels[i];
        assert(args->labels[i] >= 0 && label < n);
        saved[2 * i] = row_max(x, n);
        losses[i] =
            row_loss(x, n, label, args->attr->label_smoothing, saved[2 * i], &saved[2 * i + 1]);
        hits[i] = predicts(x, n, label);
    }
}

static void forward(const nyb_op_args *args)
{
    const size_t rows = nyb_shape_rows(args->in_shape[0]);
    const float *const losses = args->scratch;

    nyb_pool_run(args->context->pool, forward_task, (void *)args,
                 nyb_op_blocks(rows, ROWS_PER_TASK));
    args->out[0] = (float)(nyb_op_total(losses, rows) / (double)rows);
    args->out[1] = (float)nyb_op_total(losses + rows, rows);
}

/* dx_j = (exp(x_j - m) / S - e / C - [j = t] (1 - e)) / rows, times the loss scale */
static void backward_task(void *arg, size_t task, size_t worker)
{
    const nyb_op_args *args = arg;
    const size_t rows = nyb_shape_rows(args->in_shape[0]), n = args->in_shape[0].c;
    const size_t end = nyb_min(rows, (task + 1) * ROWS_PER_TASK);
    const float smoothing = args->attr->label_smoothing, off = smoothing / (float)n;
    const float scale = args->attr->loss_scale != 0 ? args->attr->loss_scale : 1;
    const float *const saved = args->saved;

    (void)worker;
    for (size_t i = task * ROWS_PER_TASK; i < end; i++) {
        const float *const x = args->in[0] + i * n;
        float *const dx = args->din[0] + i * n;
        for (size_t j = 0; j < n; j++) {
            const float on = j == (size_t)args->labels[i] ? 1 - smoothing : 0;
            const float p = nyb_expf(x[j] - saved[2 * i]) / saved[2 * i + 1];
            const float d = (p - off - on) / (float)rows * scale;
            dx[j] = args->din_add[0] ? dx[j] + d : d;
        }
    }
}

static void backward(const nyb_op_args *args)
{
    if (args->din[0])
        nyb_pool_run(args->context->pool, backward_task, (void *)args,
                     nyb_op_blocks(nyb_shape_rows(args->in_shape[0]), ROWS_PER_TASK));
}

const nyb_op nyb_op_softmax_xent = {
    .name = "softmax_xent",
    .about = "mean cross-entropy of the softmax, and the number of correct predictions",
    .n_inputs = 1,
    .backward_in = true,
    .shape = shape,
    .saved_bytes = saved_bytes,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .backward = backward,
};
