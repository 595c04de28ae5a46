#include <math.h>

#include "gemm/store.h"
#include "gemm/tile.h"
#include "op/common.h"

/* Batch normalisation (Ioffe and Szegedy, ICML 2015) over all but the last dimension.
 *
 * The statistics of a column are defined so that a large mean costs no digits, in one reading of x:
 * each block of 256 rows has its own shift t, the mean of its first m <= 16 rows, and sums d = x -
 * t and d * d in f32 (elem.h, bn_stats). Those m rows are part of the block, so that
 *
 *     m (t - mean)^2 <= rows * variance
 *
 * and the block's second moment about t is at most 1 + 256 / 16 times its variance, whatever the
 * data. Blocks are joined in double (Chan, Golub and LeVeque, 1983), in increasing
 * order:
 *
 *     mean = (sum of rows * t + s) / n
 *     M2   = sum of (q - s * s / rows) + rows * (t + s / rows - mean)^2
 *
 * y = (x - mean) * (gamma / sqrt(M2 / n + eps)) + beta, in f32, each operation rounded. */

#define STATS 3 /* floats per block and column of scratch: shift, sum, square */
#define COEFS 5 /* floats per column: mean, inverse sigma, scale, k1, k2 */

typedef struct bn_work {
    const nyb_op_args *args;
    const nyb_elem_kernel *kernel;
    void (*moments)(const float *x, size_t rows, size_t ld, size_t stride, size_t n_blocks,
                    nyb_block_moments *blocks);
    size_t rows, cols;
    float *partial; /* [row block][STATS][cols] */
    float *mean, *inverse, *scale, *k1, *k2;
} bn_work;

static nyb_status shape(const nyb_attr *attr, const nyb_shape *in, nyb_shape *out, nyb_error *err)
{
    if (!(attr->eps > 0) || !(attr->momentum >= 0 && attr->momentum <= 1))
        return nyb_fail(err, NYB_INVALID,
                        "batchnorm: eps %g must be positive, momentum %g between 0 and 1",
                        (double)attr->eps, (double)attr->momentum);
    *out = *in;
    return nyb_op_check_shape("batchnorm", *in, err);
}

static size_t param_size(const nyb_attr *attr, const nyb_shape *in, int i)
{
    (void)attr, (void)i;
    return in->c;
}

static size_t saved_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    (void)attr;
    return 2 * in->c * sizeof(float); /* mean, inverse sigma */
}

static size_t scratch_bytes(const nyb_attr *attr, const nyb_shape *in)
{
    const size_t n_blocks = nyb_op_blocks(nyb_shape_rows(*in), NYB_ELEM_ROWS);

    (void)attr;
    return (n_blocks * STATS + COEFS) * in->c * sizeof(float);
}

static bn_work work_of(const nyb_op_args *args)
{
    const size_t rows = nyb_shape_rows(args->in_shape[0]), cols = args->in_shape[0].c;
    float *const partial = args->scratch;
    float *const coefs = partial + nyb_op_blocks(rows, NYB_ELEM_ROWS) * STATS * cols;
    float *const saved = args->saved ? args->saved : coefs; /* evaluation may save nothing */
    float *const kept = args->fused.coefs ? args->fused.coefs : coefs + 2 * cols;

    return (bn_work){args,
                     nyb_elem_choose(args->context->cpu),
                     nyb_encode_kernel_choose(args->context->cpu)->moments,
                     rows,
                     cols,
                     partial,
                     saved,
                     saved + cols,
                     kept,
                     kept + cols,
                     kept + 2 * cols};
}

static size_t rows_of_block(const bn_work *work, size_t block)
{
    return nyb_min(NYB_ELEM_ROWS, work->rows - block * NYB_ELEM_ROWS);
}

/* Statistic i of a block, from column col. */
static float *partial_at(const bn_work *work, size_t block, size_t i, size_t col)
{
    return work->partial + (block * STATS + i) * work->cols + col;
}

/* x, as it was stored, from element at. */
static nyb_elem_in input_at(const bn_work *work, size_t at)
{
    const nyb_op_args *args = work->args;

    return args->fused.stored ? (nyb_elem_in){.bf16 = args->fused.stored + at}
                              : (nyb_elem_in){.f32 = args->in[0] + at};
}

/* dout, as it came, from element at. */
static nyb_elem_in dout_at(const bn_work *work, size_t at)
{
    const nyb_op_args *args = work->args;

    return args->fused.dout ? (nyb_elem_in){.bf16 = args->fused.dout + at}
                            : (nyb_elem_in){.f32 = args->dout + at};
}

/* x of a tile to bf16 by chance, in blocks as products write them. */
static void store_drawn(const bn_work *work, const nyb_op_tile *t)
{
    const nyb_op_args *args = work->args;
    const nyb_store_kernel *kernel = nyb_store_choose(args->context->cpu);

    for (size_t row = 0; row < t->rows; row++)
        nyb_store_floats(kernel, args->in[0], t->at + row * work->cols, t->cols, args->fused.draws,
                         args->fused.stored);
}

static void stats_task(void *arg, size_t task, size_t worker)
{
    const bn_work *work = arg;
    const nyb_op_args *args = work->args;
    const nyb_op_tile t = nyb_op_tile_at(work->rows, work->cols, task);
    const bool draws = args->fused.stored && !args->fused.given && args->fused.draws;
    const bool stores = args->fused.stored && !args->fused.given && !draws;

    (void)worker;
    if (draws)
        store_drawn(work, &t);
    work->kernel->bn_stats(stores ? (nyb_elem_in){.f32 = args->in[0] + t.at} : input_at(work, t.at),
                           t.rows, t.cols, work->cols, stores ? args->fused.stored + t.at : NULL,
                           partial_at(work, t.block, 0, t.col), partial_at(work, t.block, 1, t.col),
                           partial_at(work, t.block, 2, t.col));
}

/* Joins the blocks of n columns: mean[j], and m2[j] = sum of (x - mean)^2. */
static void join_blocks(const bn_work *work, size_t col, size_t n, double *mean, double *m2)
{
    const size_t n_blocks = nyb_op_blocks(work->rows, NYB_ELEM_ROWS);

    for (size_t b = 0; b < n_blocks; b++) {
        const double rows = (double)rows_of_block(work, b);
        const float *const t = partial_at(work, b, 0, col), *const s = partial_at(work, b, 1, col);
        for (size_t j = 0; j < n; j++)
            mean[j] += rows * (double)t[j] + (double)s[j];
    }
    for (size_t j = 0; j < n; j++)
        mean[j] /= (double)work->rows;
    for (size_t b = 0; b < n_blocks; b++) {
        const double rows = (double)rows_of_block(work, b);
        const float *const t = partial_at(work, b, 0, col), *const s = partial_at(work, b, 1, col);
        const float *const q = partial_at(work, b, 2, col);
        for (size_t j = 0; j < n; j++) {
            const double sum = (double)s[j], offset = sum / rows;
            const double d = (double)t[j] + offset - mean[j];
            m2[j] += (double)q[j] - sum * offset + rows * (d * d);
        }
    }
}

/* What 16 columns need for y; in training also the running statistics' step. */
static void coefs_task(void *arg, size_t task, size_t worker)
{
    const bn_work *work = arg;
    const nyb_op_args *args = work->args;
    const size_t col = task * 16, n = nyb_min(16, work->cols - col);
    const double unbias = (double)nyb_max(work->rows - 1, 1), rows = (double)work->rows;
    double mean[16] = {0}, m2[16] = {0};

    (void)worker;
    if (args->training)
        join_blocks(work, col, n, mean, m2);
    for (size_t j = 0; j < n; j++) {
        const size_t c = col + j;
        double variance = (double)args->buffer[1][c];
        if (args->training) {
            const float momentum = args->attr->momentum;
            const double square = m2[j] < 0 ? 0 : m2[j]; /* NaN passes */
            float *const running = &args->buffer[0][c], *const spread = &args->buffer[1][c];
            variance = square / rows;
            *running = *running + momentum * ((float)mean[j] - *running);
            *spread = *spread + momentum * ((float)(square / unbias) - *spread);
        }
        work->mean[c] = args->training ? (float)mean[j] : args->buffer[0][c];
        work->inverse[c] = (float)(1 / sqrt(variance + (double)args->attr->eps));
        work->scale[c] = args->param[0][c] * work->inverse[c];
    }
}

/* A tile that was just written is still in the cache. */
static void moments_of_tile(const bn_work *work, const nyb_op_tile *t, const float *x, size_t ld)
{
    nyb_block_moments *const blocks = work->args->fused.moments;

    if (blocks)
        work->moments(x, t->rows, ld, 16, t->cols / 16,
                      blocks + t->block * (work->cols / 16) + t->col / 16);
}

typedef void bn_tile(const bn_work *work, const nyb_op_tile *t, float *y, size_t ld, bool first);

/* A result that nobody stores is made for its moments (and its mask), a few columns at a time. */
#define UNSTORED_COLS 64

static void look_at_tile(const bn_work *work, const nyb_op_tile *t, bn_tile *make)
{
    _Alignas(64) float part[NYB_ELEM_ROWS * UNSTORED_COLS];

    for (size_t col = 0; col < t->cols; col += UNSTORED_COLS) {
        nyb_op_tile some = *t;

        some.col += col;
        some.at += col;
        some.cols = nyb_min(UNSTORED_COLS, t->cols - col);
        make(work, &some, part, UNSTORED_COLS, true);
        moments_of_tile(work, &some, part, UNSTORED_COLS);
    }
}

/* first: the mask is not there yet. */
static void apply_tile(const bn_work *work, const nyb_op_tile *t, float *y, size_t ld, bool first)
{
    const nyb_op_args *args = work->args;
    const nyb_op_fused *fused = &args->fused;
    const nyb_elem_in x = input_at(work, t->at);
    const float *const beta = args->param[1] + t->col;

    if (fused->relu)
        work->kernel->bn_relu(x, t->rows, t->cols, work->cols, work->mean + t->col,
                              work->scale + t->col, beta,
                              fused->residual ? fused->residual + t->at : NULL, y, ld,
                              first && fused->mask ? fused->mask + t->at / 8 : NULL);
    else
        work->kernel->bn_apply(x, t->rows, t->cols, work->cols, work->mean + t->col,
                               work->scale + t->col, beta, y, ld);
}

static void apply_task(void *arg, size_t task, size_t worker)
{
    const bn_work *work = arg;
    const nyb_op_args *args = work->args;
    const nyb_op_tile t = nyb_op_tile_at(work->rows, work->cols, task);

    (void)worker;
    if (args->fused.unstored) {
        look_at_tile(work, &t, apply_tile);
        return;
    }
    apply_tile(work, &t, args->out + t.at, work->cols, true);
    moments_of_tile(work, &t, args->out + t.at, work->cols);
}

static nyb_op_tile whole_rows(const bn_work *work, size_t row, size_t n)
{
    return (nyb_op_tile){.row = row, .rows = n, .cols = work->cols, .at = row * work->cols};
}

static void out_rows(const nyb_op_args *args, size_t row, size_t n, float *rows)
{
    const bn_work work = work_of(args);
    const nyb_op_tile t = whole_rows(&work, row, n);

    apply_tile(&work, &t, rows, work.cols, false);
}

static void forward(const nyb_op_args *args)
{
    bn_work work = work_of(args);
    nyb_pool *const pool = args->context->pool;
    const size_t n_tiles = nyb_op_tiles(work.rows, work.cols);

    if (args->training)
        nyb_pool_run(pool, stats_task, &work, n_tiles);
    nyb_pool_run(pool, coefs_task, &work, nyb_op_blocks(work.cols, 16));
    if (!args->fused.unstored || args->fused.moments || args->fused.mask)
        nyb_pool_run(pool, apply_task, &work, n_tiles);
}

static void back_sums_task(void *arg, size_t task, size_t worker)
{
    const bn_work *work = arg;
    const nyb_op_args *args = work->args;
    const nyb_op_fused *fused = &args->fused;
    const nyb_op_tile t = nyb_op_tile_at(work->rows, work->cols, task);
    const nyb_elem_in x = input_at(work, t.at);
    const nyb_elem_in dy = dout_at(work, t.at);
    float *const sum_dy = partial_at(work, t.block, 0, t.col);
    float *const sum_dyx = partial_at(work, t.block, 1, t.col);

    (void)worker;
    if (fused->relu)
        work->kernel->bn_relu_back_sums(dy, fused->mask + t.at / 8, x, t.rows, t.cols, work->cols,
                                        work->mean + t.col, fused->kept ? fused->kept + t.at : NULL,
                                        sum_dy, sum_dyx);
    else
        work->kernel->bn_back_sums(dy, x, t.rows, t.cols, work->cols, work->mean + t.col, sum_dy,
                                   sum_dyx);
}

/* With sums over rows, and x^ = (x - mean) / sigma:
 *   dbeta = sum dy;  dgamma = sum dy x^;
 *   dx = gamma / sigma * (dy - dbeta / n - x^ dgamma / n)   (paper, section 3)
 * Where the statistics are constants (evaluation), dx = gamma / sigma * dy. */
static void back_coefs_task(void *arg, size_t task, size_t worker)
{
    const bn_work *work = arg;
    const nyb_op_args *args = work->args;
    const size_t n_blocks = nyb_op_blocks(work->rows, NYB_ELEM_ROWS);
    const size_t col = task * 16, n = nyb_min(16, work->cols - col);
    const double rows = (double)work->rows;
    double sum_dy[16] = {0}, sum_dyx[16] = {0};

    (void)worker;
    for (size_t b = 0; b < n_blocks; b++) {
        const float *const s = partial_at(work, b, 0, col), *const p = partial_at(work, b, 1, col);
        for (size_t j = 0; j < n; j++) {
            sum_dy[j] += (double)s[j];
            sum_dyx[j] += (double)p[j];
        }
    }
    for (size_t j = 0; j < n; j++) {
        const size_t c = col + j;
        const double inverse = (double)work->inverse[c], dgamma = sum_dyx[j] * inverse;
        if (args->dparam[0])
            args->dparam[0][c] = (float)dgamma;
        if (args->dparam[1])
            args->dparam[1][c] = (float)sum_dy[j];
        work->k1[c] = args->training ? (float)(sum_dy[j] / rows) : 0;
        work->k2[c] = args->training ? (float)(dgamma * inverse / rows) : 0;
        work->scale[c] = args->param[0][c] * work->inverse[c];
    }
}

static void back_apply_tile(const bn_work *work, const nyb_op_tile *t, float *dx, size_t ld,
                            bool first)
{
    const nyb_op_args *args = work->args;
    const nyb_op_fused *fused = &args->fused;
    const float *const coef[4] = {work->mean + t->col, work->k1 + t->col, work->k2 + t->col,
                                  work->scale + t->col};
    const nyb_elem_in x = input_at(work, t->at);

    (void)first;
    if (fused->relu && !fused->kept)
        work->kernel->bn_relu_back_apply(dout_at(work, t->at), fused->mask + t->at / 8, x, t->rows,
                                         t->cols, work->cols, coef, dx, ld, args->din_add[0]);
    else
        work->kernel->bn_back_apply(
            fused->relu ? (nyb_elem_in){.f32 = fused->kept + t->at} : dout_at(work, t->at), x,
            t->rows, t->cols, work->cols, coef, dx, ld, args->din_add[0]);
}

static void back_apply_task(void *arg, size_t task, size_t worker)
{
    const bn_work *work = arg;
    const nyb_op_args *args = work->args;
    const nyb_op_tile t = nyb_op_tile_at(work->rows, work->cols, task);

    (void)worker;
    if (args->fused.unstored) {
        look_at_tile(work, &t, back_apply_tile);
        return;
    }
    back_apply_tile(work, &t, args->din[0] + t.at, work->cols, true);
    moments_of_tile(work, &t, args->din[0] + t.at, work->cols);
}

static void din_rows(const nyb_op_args *args, size_t row, size_t n, float *rows)
{
    const bn_work work = work_of(args);
    const nyb_op_tile t = whole_rows(&work, row, n);

    back_apply_tile(&work, &t, rows, work.cols, false);
}

static void backward(const nyb_op_args *args)
{
    bn_work work = work_of(args);
    nyb_pool *const pool = args->context->pool;
    const size_t n_tiles = nyb_op_tiles(work.rows, work.cols);

    nyb_pool_run(pool, back_sums_task, &work, n_tiles);
    nyb_pool_run(pool, back_coefs_task, &work, nyb_op_blocks(work.cols, 16));
    if (args->din[0] || (args->fused.unstored && args->fused.moments))
        nyb_pool_run(pool, back_apply_task, &work, n_tiles);
}

const nyb_op nyb_op_batchnorm = {
    .name = "batchnorm",
    .about = "batch normalisation over all but the last dimension",
    .n_inputs = 1,
    .n_params = 2,
    .n_buffers = 2,
    .stores_in = true,
    .params = {{"weight", NYB_INIT_ONE, false}, {"bias", NYB_INIT_ZERO, false}},
    .buffers = {{"running_mean", NYB_INIT_ZERO, false}, {"running_var", NYB_INIT_ONE, false}},
    .backward_in = true,
    .shape = shape,
    .param_size = param_size,
    .buffer_size = param_size,
    .saved_bytes = saved_bytes,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .backward = backward,
    .out_rows = out_rows,
    .din_rows = din_rows,
};
