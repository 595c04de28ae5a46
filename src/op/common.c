#include "op/common.h"

nyb_status nyb_op_check_shape(const char *op, nyb_shape shape, nyb_error *err)
{
    size_t n;

    if (shape.n == 0 || shape.h == 0 || shape.w == 0 || shape.c == 0)
        return nyb_fail(err, NYB_SHAPE, "%s: a tensor of %zu x %zu x %zu x %zu has no elements", op,
                        shape.n, shape.h, shape.w, shape.c);
    if (!nyb_mul_size(shape.n, shape.h, &n) || !nyb_mul_size(n, shape.w, &n) ||
        !nyb_mul_size(n, shape.c, &n) || n > NYB_OP_SIZE_MAX)
        return nyb_fail(err, NYB_LIMIT, "%s: a tensor of %zu x %zu x %zu x %zu is too large", op,
                        shape.n, shape.h, shape.w, shape.c);
    return NYB_OK;
}

/* (size + 2 pad - kernel) / stride + 1; pad <= pad_max < kernel. */
static nyb_status window_steps(const char *op, const nyb_attr *attr, size_t size, size_t *steps,
                               nyb_error *err)
{
    const size_t room = size + 2 * attr->pad;

    if (room < attr->kernel)
        return nyb_fail(err, NYB_SHAPE, "%s: a window of %zu does not fit %zu pixels padded by %zu",
                        op, attr->kernel, size, attr->pad);
    *steps = (room - attr->kernel) / attr->stride + 1;
    return NYB_OK;
}

nyb_status nyb_op_window(const char *op, const nyb_attr *attr, size_t pad_max, nyb_shape in,
                         size_t c, nyb_shape *out, nyb_error *err)
{
    NYB_TRY(nyb_op_check_shape(op, in, err));
    if (attr->kernel == 0 || attr->stride == 0)
        return nyb_fail(err, NYB_INVALID, "%s: kernel %zu and stride %zu must be at least 1", op,
                        attr->kernel, attr->stride);
    if (attr->kernel > NYB_OP_SIZE_MAX || attr->stride > NYB_OP_SIZE_MAX)
        return nyb_fail(err, NYB_LIMIT, "%s: kernel %zu or stride %zu is too large", op,
                        attr->kernel, attr->stride);
    if (attr->pad > pad_max)
        return nyb_fail(err, NYB_INVALID, "%s: pad %zu is more than %zu, for a kernel of %zu", op,
                        attr->pad, pad_max, attr->kernel);
    *out = (nyb_shape){.n = in.n, .c = c};
    NYB_TRY(window_steps(op, attr, in.h, &out->h, err));
    NYB_TRY(window_steps(op, attr, in.w, &out->w, err));
    return nyb_op_check_shape(op, *out, err);
}

size_t nyb_op_tiles(size_t rows, size_t cols)
{
    return nyb_op_blocks(rows, NYB_ELEM_ROWS) * nyb_op_blocks(cols, NYB_OP_TASK_COLS);
}

nyb_op_tile nyb_op_tile_at(size_t rows, size_t cols, size_t task)
{
    const size_t across = nyb_op_blocks(cols, NYB_OP_TASK_COLS);
    nyb_op_tile t = {.block = task / across};

    t.row = t.block * NYB_ELEM_ROWS;
    t.rows = nyb_min(NYB_ELEM_ROWS, rows - t.row);
    t.col = task % across * NYB_OP_TASK_COLS;
    t.cols = nyb_min(NYB_OP_TASK_COLS, cols - t.col);
    t.at = t.row * cols + t.col;
    return t;
}

typedef struct copy_work {
    const nyb_elem_kernel *kernel;
    const float *from;
    float *to;
    size_t n;
    bool add;
} copy_work;

static void copy_task(void *arg, size_t task, size_t worker)
{
    const copy_work *work = arg;
    const size_t at = task * NYB_OP_TASK_SIZE;
    const size_t n = nyb_min(NYB_OP_TASK_SIZE, work->n - at);

    (void)worker;
    if (work->add)
        work->kernel->add(work->to + at, work->from + at, n, work->to + at);
    else
        memcpy(work->to + at, work->from + at, n * sizeof *work->to);
}

void nyb_op_copy(const nyb_context *context, const float *from, float *to, size_t n, bool add)
{
    copy_work work = {nyb_elem_choose(context->cpu), from, to, n, add};

    if (from != to || add)
        nyb_pool_run(context->pool, copy_task, &work, nyb_op_blocks(n, NYB_OP_TASK_SIZE));
}

typedef struct sums_work {
    const nyb_elem_kernel *kernel;
    const float *x;
    size_t rows, cols;
    float *partial; /* [row block][cols] */
    float *sums;
} sums_work;

static void sums_task(void *arg, size_t task, size_t worker)
{
    const sums_work *work = arg;
    const nyb_op_tile t = nyb_op_tile_at(work->rows, work->cols, task);

    (void)worker;
    work->kernel->column_sums(work->x + t.at, t.rows, t.cols, work->cols,
                              work->partial + t.block * work->cols + t.col);
}

/* Adds the row blocks of 16 columns in double, in order. */
static void sums_fold_task(void *arg, size_t task, size_t worker)
{
    const sums_work *work = arg;
    const size_t n_blocks = nyb_op_blocks(work->rows, NYB_ELEM_ROWS);
    const size_t col = task * 16, n = nyb_min(16, work->cols - col);
    double total[16] = {0};

    (void)worker;
    for (size_t b = 0; b < n_blocks; b++)
        for (size_t j = 0; j < n; j++)
            total[j] += (double)work->partial[b * work->cols + col + j];
    for (size_t j = 0; j < n; j++)
        work->sums[col + j] = (float)total[j];
}

size_t nyb_op_column_sums_bytes(size_t rows, size_t cols)
{
    return nyb_op_blocks(rows, NYB_ELEM_ROWS) * cols * sizeof(float);
}

void nyb_op_column_sums(const nyb_context *context, const float *x, size_t rows, size_t cols,
                        void *scratch, float *sums)
{
    sums_work work = {nyb_elem_choose(context->cpu), x, rows, cols, scratch, sums};

    nyb_pool_run(context->pool, sums_task, &work, nyb_op_tiles(rows, cols));
    nyb_pool_run(context->pool, sums_fold_task, &work, nyb_op_blocks(cols, 16));
}

float nyb_op_fold(float lane[16])
{
    for (size_t w = 8; w > 0; w /= 2)
        for (size_t j = 0; j < w; j++)
            lane[j] += lane[j + w];
    return lane[0];
}

double nyb_op_total(const float *x, size_t n)
{
    double total = 0;

    for (size_t at = 0; at < n; at += 16 * NYB_ELEM_ROWS) {
        const size_t m = nyb_min(16 * NYB_ELEM_ROWS, n - at);
        float lane[16] = {0};
        for (size_t i = 0; i < m; i++)
            lane[i % 16] += x[at + i];
        total += (double)nyb_op_fold(lane);
    }
    return total;
}

void nyb_op_bias_backward(const nyb_op_args *args)
{
    if (args->dparam[1])
        nyb_op_column_sums(args->context, args->dout, nyb_shape_rows(args->out_shape),
                           args->out_shape.c, args->scratch, args->dparam[1]);
}
