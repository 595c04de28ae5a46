#include "quant/quant.h"

#include <math.h>

#define BLOCK_ROWS 256
#define LANES      16
#define BLOCK_N    (BLOCK_ROWS * LANES)
#define TASK       64 /* blocks: 1 MB of x */

/* How a tensor is cut: NUMERICS, binding resolution 4. Blocks are numbered row block major, column
 * group minor. Where cols is not a multiple of 16 the flat vector is the matrix, and the last block
 * is copied, zero-filled. */
typedef struct cut {
    const float *x;
    size_t rows, ld, n_groups, n_blocks;
    bool flat;
    size_t n; /* elements */
    float *last;
    nyb_block_moments *blocks;
    const nyb_encode_kernel *kernel;
} cut;

static size_t flat_blocks(size_t n)
{
    return n / BLOCK_N + (n % BLOCK_N != 0);
}

static cut make_cut(const float *x, size_t rows, size_t cols)
{
    cut c = {.x = x, .rows = rows, .ld = cols, .n = rows * cols};

    c.flat = cols % LANES != 0;
    c.n_groups = c.flat ? 1 : cols / LANES;
    c.n_blocks =
        c.flat ? flat_blocks(c.n) : (rows / BLOCK_ROWS + (rows % BLOCK_ROWS != 0)) * c.n_groups;
    return c;
}

size_t nyb_moments_scratch_bytes(size_t rows, size_t cols)
{
    cut c = make_cut(NULL, rows, cols);

    return BLOCK_N * sizeof(float) + c.n_blocks * sizeof(nyb_block_moments);
}

static void run_task(void *arg, size_t task, size_t worker)
{
    const cut *c = arg;
    size_t b = task * TASK, end = nyb_min(b + TASK, c->n_blocks);

    (void)worker;
    if (c->flat) {
        size_t whole = nyb_min(end, c->n / BLOCK_N);

        if (whole > b)
            c->kernel->moments(c->x + b * BLOCK_N, BLOCK_ROWS, LANES, BLOCK_N, whole - b,
                               c->blocks + b);
        if (end > whole && end == c->n_blocks) {
            size_t tail = c->n % BLOCK_N;

            memcpy(c->last, c->x + whole * BLOCK_N, tail * sizeof(float));
            memset(c->last + tail, 0, (BLOCK_N - tail) * sizeof(float));
            c->kernel->moments(c->last, BLOCK_ROWS, LANES, BLOCK_N, 1, c->blocks + whole);
        }
        return;
    }
    while (b < end) {
        size_t row = b / c->n_groups * BLOCK_ROWS, group = b % c->n_groups;
        size_t n = nyb_min(end - b, c->n_groups - group);

        c->kernel->moments(c->x + row * c->ld + group * LANES, nyb_min(BLOCK_ROWS, c->rows - row),
                           c->ld, LANES, n, c->blocks + b);
        b += n;
    }
}

size_t nyb_moments_blocks(size_t rows, size_t cols)
{
    return make_cut(NULL, rows, cols).n_blocks;
}

void nyb_moments_total(const nyb_block_moments *blocks, size_t n_blocks, size_t n,
                       nyb_moments *moments)
{
    uint32_t max = 0;

    *moments = (nyb_moments){.n = n};
    for (size_t i = 0; i < n_blocks; i++) {
        const nyb_block_moments *b = &blocks[i];

        moments->sum_abs += (double)b->sum_abs;
        moments->sum_sq += (double)b->sum_sq;
        moments->n_nonzero += b->n_nonzero;
        moments->n_nan += b->n_nan;
        moments->n_inf += b->n_inf;
        max = b->absmax_bits > max ? b->absmax_bits : max;
    }
    moments->absmax = nyb_float_of(max);
}

void nyb_moments_run(const nyb_context *context, const float *x, size_t rows, size_t cols,
                     void *scratch, nyb_moments *moments)
{
    cut c = make_cut(x, rows, cols);

    c.last = scratch;
    c.blocks = (nyb_block_moments *)(void *)(c.last + BLOCK_N);
    c.kernel = nyb_encode_kernel_choose(context->cpu);
    nyb_pool_run(context->pool, run_task, &c, c.n_blocks / TASK + (c.n_blocks % TASK != 0));
    nyb_moments_total(c.blocks, c.n_blocks, c.n, moments);
}
