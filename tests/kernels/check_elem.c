/* Elementwise and column kernels: every variant against the reference, with strides and tails. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op/elem.h"

#define ROWS_MAX 256
#define COLS_MAX 70
#define FLAT_MAX 700

#define MATRICES 3
#define VECTORS  4

/* One call's memory: matrices of rows x cols, ld apart, vectors of cols, and a bit for each element
 * of a flat matrix. Every kernel function takes what it needs of them, in the order of its
 * arguments. */
typedef struct frame {
    size_t rows, cols, ld;
    bool add, has_mask, half, half_dy, dense; /* dense: rows of the result are cols apart */
    nyb_elem_sgd sgd;
    float *matrix[MATRICES], *vector[VECTORS];
    uint8_t *mask, *bytes;        /* bytes: a matrix of them */
    uint16_t *stored, *stored_dy; /* matrices in bf16 */
} frame;

typedef enum form {
    MATRIX,
    FLAT,  /* one row */
    MASKED /* a matrix in steps of 16 columns, with a bit for each element */
} form;

typedef struct function {
    const char *name;
    form form;
    void (*run)(const nyb_elem_kernel *k, frame *f);
    double n_bytes; /* of memory traffic per element, for --bench */
} function;

static void column_sums(const nyb_elem_kernel *k, frame *f)
{
    k->column_sums(f->matrix[0], f->rows, f->cols, f->ld, f->vector[0]);
}

/* The distance of a result's rows: that of the others, or none. */
static size_t ld_out(const frame *f)
{
    return f->dense ? f->cols : f->ld;
}

/* A matrix as it was stored. */
static nyb_elem_in in_of(const frame *f, size_t i)
{
    return f->half ? (nyb_elem_in){.bf16 = f->stored} : (nyb_elem_in){.f32 = f->matrix[i]};
}

static nyb_elem_in dy_of(const frame *f)
{
    return f->half && f->half_dy ? (nyb_elem_in){.bf16 = f->stored_dy}
                                 : (nyb_elem_in){.f32 = f->matrix[0]};
}

static void bn_stats(const nyb_elem_kernel *k, frame *f)
{
    const bool stores = f->half && f->add;

    k->bn_stats(stores ? (nyb_elem_in){.f32 = f->matrix[0]} : in_of(f, 0), f->rows, f->cols, f->ld,
                stores ? f->stored : NULL, f->vector[0], f->vector[1], f->vector[2]);
}

static void bn_apply(const nyb_elem_kernel *k, frame *f)
{
    k->bn_apply(in_of(f, 0), f->rows, f->cols, f->ld, f->vector[0], f->vector[1], f->vector[2],
                f->matrix[1], ld_out(f));
}

static void bn_back_sums(const nyb_elem_kernel *k, frame *f)
{
    k->bn_back_sums(dy_of(f), in_of(f, 1), f->rows, f->cols, f->ld, f->vector[0], f->vector[1],
                    f->vector[2]);
}

static void bn_back_apply(const nyb_elem_kernel *k, frame *f)
{
    const float *const coef[4] = {f->vector[0], f->vector[1], f->vector[2], f->vector[3]};

    k->bn_back_apply(dy_of(f), in_of(f, 1), f->rows, f->cols, f->ld, coef, f->matrix[2], ld_out(f),
                     f->add);
}

static void bn_relu(const nyb_elem_kernel *k, frame *f)
{
    k->bn_relu(in_of(f, 0), f->rows, f->cols, f->ld, f->vector[0], f->vector[1], f->vector[2],
               f->add ? f->matrix[1] : NULL, f->matrix[2], ld_out(f), f->has_mask ? f->mask : NULL);
}

static void bn_relu_back_sums(const nyb_elem_kernel *k, frame *f)
{
    k->bn_relu_back_sums(dy_of(f), f->mask, in_of(f, 1), f->rows, f->cols, f->ld, f->vector[0],
                         f->add        ? NULL
                         : f->has_mask ? f->matrix[2]
                                       : f->matrix[0],
                         f->vector[1], f->vector[2]);
}

static void bn_relu_back_apply(const nyb_elem_kernel *k, frame *f)
{
    const float *const coef[4] = {f->vector[0], f->vector[1], f->vector[2], f->vector[3]};

    k->bn_relu_back_apply(dy_of(f), f->mask, in_of(f, 1), f->rows, f->cols, f->ld, coef,
                          f->matrix[2], ld_out(f), f->add);
}

static void relu(const nyb_elem_kernel *k, frame *f)
{
    k->relu(f->matrix[0], f->cols, f->add ? f->matrix[0] : f->matrix[1],
            f->has_mask ? f->mask : NULL);
}

static void relu_back(const nyb_elem_kernel *k, frame *f)
{
    k->relu_back(f->matrix[0], f->mask, f->cols, f->matrix[1], f->add);
}

/* Rows are pixels: row i is called i % 4. */
static void pixels_of(const frame *f, nyb_elem_pixel *pixels)
{
    for (size_t i = 0; i < f->rows; i++)
        pixels[i] = (nyb_elem_pixel){f->matrix[0] + i * f->ld, f->bytes + i * f->ld, i % 4};
}

static void pool_max(const nyb_elem_kernel *k, frame *f)
{
    nyb_elem_pixel pixels[ROWS_MAX];

    pixels_of(f, pixels);
    k->pool_max(pixels, f->rows, f->cols, f->vector[0], f->has_mask ? f->bytes : NULL);
}

static void pool_max_back(const nyb_elem_kernel *k, frame *f)
{
    nyb_elem_pixel pixels[ROWS_MAX];

    pixels_of(f, pixels);
    k->pool_max_back(pixels, f->rows, f->cols, f->vector[0]);
}

static void add(const nyb_elem_kernel *k, frame *f)
{
    k->add(f->matrix[0], f->matrix[1], f->cols, f->add ? f->matrix[0] : f->matrix[2]);
}

static void sgd(const nyb_elem_kernel *k, frame *f)
{
    k->sgd(&f->sgd, f->matrix[0], f->sgd.momentum != 0 ? f->matrix[1] : NULL, f->matrix[2],
           f->cols);
}

static const function functions[] = {
    {"column_sums", MATRIX, column_sums, 4},
    {"bn_stats", MATRIX, bn_stats, 4},
    {"bn_apply", MATRIX, bn_apply, 8},
    {"bn_back_sums", MATRIX, bn_back_sums, 8},
    {"bn_back_apply", MATRIX, bn_back_apply, 12},
    {"bn_relu", MASKED, bn_relu, 8.125},
    {"bn_relu_back_sums", MASKED, bn_relu_back_sums, 12.125},
    {"bn_relu_back_apply", MASKED, bn_relu_back_apply, 12.125},
    {"relu", FLAT, relu, 8.125},
    {"relu_back", FLAT, relu_back, 8.125},
    {"pool_max", MATRIX, pool_max, 4},
    {"pool_max_back", MATRIX, pool_max_back, 5},
    {"add", FLAT, add, 12},
    {"sgd", FLAT, sgd, 20},
};
#define N_FUNCTIONS (sizeof functions / sizeof functions[0])

static size_t matrix_size(const frame *f)
{
    return f->cols ? (f->rows - 1) * f->ld + f->cols : 0;
}

/* All NaNs are one: which payload survives an operation is the hardware's choice. */
static void join_nans(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            x[i] = NAN;
}

static float *floats(ck *c, size_t n, bool end, bool wild)
{
    float *p = ck_guard(c, n * sizeof *p, end);

    for (size_t i = 0; i < n; i++)
        p[i] = wild || ck_rand(c) % 256 == 0 ? ck_float(c) : (float)(int32_t)ck_rand(c) * 0x1p-30f;
    return p;
}

static void *copy(ck *c, const void *from, size_t n_bytes, bool end)
{
    return n_bytes ? memcpy(ck_guard(c, n_bytes, end), from, n_bytes) : ck_guard(c, 0, end);
}

static size_t mask_size(const frame *f)
{
    return (matrix_size(f) + 7) / 8;
}

static frame random_frame(ck *c, form shape, bool end)
{
    const bool wild = ck_rand(c) % 4 == 0;
    frame f = {.rows = 1,
               .add = ck_rand(c) % 2,
               .has_mask = ck_rand(c) % 4,
               .half = ck_rand(c) % 2,
               .half_dy = ck_rand(c) % 2,
               .dense = ck_rand(c) % 2};
    size_t n;

    f.cols = ck_range(c, 0, shape == FLAT ? FLAT_MAX : COLS_MAX);
    if (shape != FLAT)
        f.rows = ck_range(c, 1, ck_rand(c) % 4 ? 40 : ROWS_MAX);
    f.ld = f.cols + (ck_rand(c) % 2 ? ck_range(c, 0, 20) : 0);
    if (shape == MASKED) {
        f.cols -= f.cols % 16;
        f.ld = nyb_round_up(f.ld, 16);
    }
    f.sgd =
        (nyb_elem_sgd){0.1f, ck_rand(c) % 4 ? 0.9f : 0, ck_rand(c) % 4 ? 5e-4f : 0, ck_rand(c) % 2};
    n = matrix_size(&f);
    for (size_t i = 0; i < MATRICES; i++)
        f.matrix[i] = floats(c, n, end, wild);
    for (size_t i = 0; i < VECTORS; i++)
        f.vector[i] = floats(c, f.cols, end, wild);
    f.stored = ck_guard(c, n * sizeof *f.stored, end);
    f.stored_dy = ck_guard(c, n * sizeof *f.stored_dy, end);
    for (size_t i = 0; i < n; i++)
        f.stored_dy[i] = (uint16_t)(nyb_bits_of(f.matrix[2][i]) >> 16);
    for (size_t i = 0; i < n; i++)
        f.stored[i] = (uint16_t)(nyb_bits_of(f.matrix[i % 2][i]) >> 16);
    f.bytes = ck_guard(c, n, end);
    for (size_t i = 0; i < n; i++)
        f.bytes[i] = ck_rand(c) % 4;
    f.mask = ck_guard(c, mask_size(&f), end);
    for (size_t i = 0; i < mask_size(&f); i++)
        f.mask[i] = (uint8_t)ck_rand(c);
    return f;
}

static void check_case(ck *c, const nyb_elem_kernel *kernel, const function *fn)
{
    const bool end = ck_rand(c) % 2;
    frame want = random_frame(c, fn->form, end), got = want;
    const size_t n = matrix_size(&want);

    for (size_t i = 0; i < MATRICES; i++)
        got.matrix[i] = copy(c, want.matrix[i], n * sizeof(float), end);
    for (size_t i = 0; i < VECTORS; i++)
        got.vector[i] = copy(c, want.vector[i], want.cols * sizeof(float), end);
    got.stored = copy(c, want.stored, n * sizeof *want.stored, end);
    got.mask = copy(c, want.mask, mask_size(&want), end);
    got.bytes = copy(c, want.bytes, n, end);
    fn->run(&nyb_elem_ref, &want);
    fn->run(kernel, &got);
    for (size_t i = 0; i < MATRICES; i++) {
        join_nans(want.matrix[i], n);
        join_nans(got.matrix[i], n);
        ck_same(c, fn->name, want.matrix[i], got.matrix[i], n * sizeof(float));
    }
    for (size_t i = 0; i < VECTORS; i++) {
        join_nans(want.vector[i], want.cols);
        join_nans(got.vector[i], want.cols);
        ck_same(c, fn->name, want.vector[i], got.vector[i], want.cols * sizeof(float));
    }
    ck_same(c, fn->name, want.stored, got.stored, n * sizeof *want.stored);
    ck_same(c, fn->name, want.mask, got.mask, mask_size(&want));
    ck_same(c, fn->name, want.bytes, got.bytes, n);
}

/* ---- benchmark: 256 rows of 64 columns, in blocks of a tensor that the L2 cache does not hold --
 */

#define BENCH_COLS   64
#define BENCH_BLOCKS 128

typedef struct bench {
    const nyb_elem_kernel *kernel;
    const function *fn;
    frame frame;
} bench;

static void run_bench(void *arg)
{
    bench *b = arg;
    const size_t n = ROWS_MAX * BENCH_COLS;
    frame f = b->frame;

    f.rows = b->fn->form == FLAT ? 1 : ROWS_MAX;
    f.cols = f.ld = b->fn->form == FLAT ? n : BENCH_COLS;
    for (size_t i = 0; i < BENCH_BLOCKS; i++) {
        b->fn->run(b->kernel, &f);
        for (size_t m = 0; m < MATRICES; m++)
            f.matrix[m] += n;
        f.mask += n / 8;
        f.bytes += n;
    }
}

/* Memory with pages of its own: calloc's would all be one page of zeros until they are written. */
static void *touched(size_t n_bytes)
{
    void *p = malloc(n_bytes);

    return p ? memset(p, 0x3c, n_bytes) : NULL; /* floats of 0.0115 */
}

static void bench_variant(ck *c, const nyb_elem_kernel *kernel)
{
    const size_t n = (size_t)ROWS_MAX * BENCH_COLS * BENCH_BLOCKS;
    bench b = {.kernel = kernel, .frame = {.has_mask = true, .sgd = {0.1f, 0.9f, 5e-4f, true}}};
    bool ok = (b.frame.mask = touched(n / 8)) && (b.frame.bytes = touched(n));

    for (size_t i = 0; i < MATRICES; i++)
        ok = (b.frame.matrix[i] = touched(n * sizeof(float))) && ok;
    for (size_t i = 0; i < VECTORS; i++)
        ok = (b.frame.vector[i] = touched(BENCH_COLS * sizeof(float))) && ok;
    for (size_t i = 0; ok && i < N_FUNCTIONS; i++) {
        b.fn = &functions[i];
        ck_bench(c, b.fn->name, b.fn->n_bytes * (double)n, "B", run_bench, &b);
    }
    for (size_t i = 0; i < MATRICES; i++)
        free(b.frame.matrix[i]);
    for (size_t i = 0; i < VECTORS; i++)
        free(b.frame.vector[i]);
    free(b.frame.mask);
    free(b.frame.bytes);
}

void check_elem(ck *c)
{
    for (const nyb_elem_kernel *const *k = nyb_elem_kernels; *k; k++) {
        if (!ck_begin(c, "elem", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i))
                check_case(c, *k, &functions[i % N_FUNCTIONS]);
        bench_variant(c, *k);
        ck_end(c);
    }
}
