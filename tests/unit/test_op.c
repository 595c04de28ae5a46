#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <nybble/model.h>

#include "../golden/ops.h"
#include "bf16.h"
#include "op/common.h"
#include "op_rig.h"

static nyb_context *context; /* of this machine, 3 threads */

static void assert_near(const char *what, const double *want, const float *got, size_t n,
                        double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(want[i] - (double)got[i]) <= tolerance * (1 + fabs(want[i]))))
            fail_msg("%s[%zu]: want %.9g, got %.9g", what, i, want[i], (double)got[i]);
}

#define LENGTH(array)                     (sizeof(array) / sizeof(array)[0])
#define ASSERT_NEAR(want, got, tolerance) assert_near(#want, want, got, LENGTH(want), tolerance)

static void set_up(rig *r, const char *name, nyb_attr attr, nyb_shape in)
{
    const nyb_shape ins[NYB_OP_INPUTS] = {in, in};

    assert_non_null(nyb_op_find(name));
    assert_true(rig_create(r, context, nyb_op_find(name), &attr, ins));
}

/* ---- known answers ------------------------------------------------------------------------ */

static const nyb_attr bn_attr = {.eps = 1e-5f, .momentum = 0.1f};

static void batchnorm_agrees_with_pytorch(void **state)
{
    rig r;

    (void)state;
    set_up(&r, "batchnorm", bn_attr, (nyb_shape){3, 5, 7, 5});
    r.args.training = false;
    r.op->forward(&r.args);
    ASSERT_NEAR(bn_eval, r.args.out, 1e-6);
    r.args.training = true;
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    ASSERT_NEAR(bn_y, r.args.out, 2e-6);
    ASSERT_NEAR(bn_dx, r.args.din[0], 2e-6);
    ASSERT_NEAR(bn_dgamma, r.args.dparam[0], 2e-6);
    ASSERT_NEAR(bn_dbeta, r.args.dparam[1], 2e-6);
    ASSERT_NEAR(bn_mean, r.args.buffer[0], 1e-6);
    ASSERT_NEAR(bn_var, r.args.buffer[1], 1e-6);
    rig_destroy(&r);
}

static void batchnorm_survives_a_mean_of_30_sigma(void **state)
{
    rig r;

    (void)state;
    set_up(&r, "batchnorm", bn_attr, (nyb_shape){2, 16, 19, 1});
    for (size_t i = 0; i < r.in_size[0]; i++)
        r.in[0][i] += 17.5f;
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    /* x itself is rounded to 2^-19, and so are the answers */
    ASSERT_NEAR(bn_far_y, r.args.out, 1e-5);
    ASSERT_NEAR(bn_far_dx, r.args.din[0], 1e-5);
    ASSERT_NEAR(bn_far_dgamma, r.args.dparam[0], 1e-5);
    ASSERT_NEAR(bn_far_var, r.args.buffer[1], 1e-6);
    rig_destroy(&r);
}

static void pools_agree_with_pytorch(void **state)
{
    const nyb_attr attr = {.kernel = 3, .stride = 2, .pad = 1};
    const nyb_shape in = {2, 7, 6, 3};
    rig r;

    (void)state;
    set_up(&r, "maxpool", attr, in);
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    ASSERT_NEAR(maxpool_y, r.args.out, 1e-7);
    ASSERT_NEAR(maxpool_dx, r.args.din[0], 1e-6);
    rig_destroy(&r);
    set_up(&r, "avgpool", attr, in);
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    ASSERT_NEAR(avgpool_y, r.args.out, 1e-6);
    ASSERT_NEAR(avgpool_dx, r.args.din[0], 1e-6);
    rig_destroy(&r);
    set_up(&r, "global_avgpool", attr, in);
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    ASSERT_NEAR(global_avgpool_y, r.args.out, 1e-6);
    ASSERT_NEAR(global_avgpool_dx, r.args.din[0], 1e-6);
    rig_destroy(&r);
}

static void cross_entropy_agrees_with_pytorch(void **state)
{
    (void)state;
    for (int smooth = 0; smooth < 2; smooth++) {
        rig r;
        set_up(&r, "softmax_xent", (nyb_attr){.label_smoothing = smooth ? 0.1f : 0},
               (nyb_shape){6, 1, 1, 10});
        for (size_t i = 0; i < r.in_size[0]; i++)
            r.in[0][i] *= 8;
        r.op->forward(&r.args);
        r.op->backward(&r.args);
        assert_near("loss", smooth ? xent_smooth_loss : xent_loss, r.args.out, 2, 1e-6);
        assert_near("dx", smooth ? xent_smooth_dx : xent_dx, r.args.din[0], 60, 1e-6);
        rig_destroy(&r);
    }
}

/* ---- the special values ------------------------------------------------------------------- */

static void relu_passes_nan_and_stops_at_zero(void **state)
{
    const float x[] = {1, -1, 0, -0.0f, NAN, INFINITY, -INFINITY, 1e-30f, -1e-30f, 2, 3};
    const uint8_t want[] = {0xb1, 0x06};
    rig r;

    (void)state;
    set_up(&r, "relu", (nyb_attr){0}, (nyb_shape){1, 1, 1, LENGTH(x)});
    memcpy(r.in[0], x, sizeof x);
    r.op->forward(&r.args);
    assert_memory_equal(r.args.saved, want, sizeof want);
    for (size_t i = 0; i < LENGTH(x); i++)
        if (isnan(x[i]))
            assert_true(isnan(r.args.out[i]));
        else
            assert_int_equal(nyb_bits_of(r.args.out[i]), nyb_bits_of(x[i] > 0 ? x[i] : 0));
    r.op->backward(&r.args);
    for (size_t i = 0; i < LENGTH(x); i++)
        assert_true(r.args.din[0][i] == (want[i / 8] >> i % 8 & 1 ? r.dout[i] : 0));
    rig_destroy(&r);
}

static void maxpool_takes_the_first_of_equals_and_a_nan(void **state)
{
    const nyb_attr attr = {.kernel = 3, .stride = 3, .pad = 1};
    rig r;
    const uint8_t *taps;

    (void)state;
    set_up(&r, "maxpool", attr, (nyb_shape){1, 5, 5, 1});
    taps = r.args.saved;
    /* All pixels negative and equal: padding, if it were 0, would win. */
    for (size_t i = 0; i < 25; i++)
        r.in[0][i] = -2;
    r.in[0][4 * 5 + 4] = NAN;
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    assert_true(r.args.out[0] == -2 && r.args.out[1] == -2 && r.args.out[2] == -2);
    assert_true(isnan(r.args.out[3]));
    assert_int_equal(taps[0], 4); /* the first tap inside the image */
    assert_int_equal(taps[1], 3);
    assert_int_equal(taps[3], 8);
    assert_true(r.args.din[0][0] == r.dout[0]);
    assert_true(r.args.din[0][1] == 0);
    assert_true(r.args.din[0][24] == r.dout[3]);
    rig_destroy(&r);
}

static void cross_entropy_keeps_extremes_finite_and_shows_nan(void **state)
{
    rig r;
    const float x[] = {1000, -1000, 0, 0, 0, 0};

    (void)state;
    set_up(&r, "softmax_xent", (nyb_attr){0}, (nyb_shape){2, 1, 1, 3});
    memcpy(r.in[0], x, sizeof x);
    r.labels[0] = 1;
    r.labels[1] = 0;
    r.op->forward(&r.args);
    r.op->backward(&r.args);
    assert_true(fabs((double)r.args.out[0] - (2000 + log(3)) / 2) < 1e-3);
    assert_true(r.args.out[1] == 1); /* of equals, the first is predicted ... */
    assert_true(r.args.din[0][0] == 0.5f && r.args.din[0][1] == -0.5f);
    r.labels[1] = 1;
    r.op->forward(&r.args);
    assert_true(r.args.out[1] == 0); /* ... and no other */
    r.labels[1] = 0;
    r.in[0][4] = NAN;
    r.op->forward(&r.args);
    assert_true(isnan(r.args.out[0]));
    assert_true(r.args.out[1] == 0);
    rig_destroy(&r);
}

/* Evaluation's row is that of the operator. */
static void a_row_of_logits_has_a_loss_and_a_class(void **state)
{
    static const float rows[][3] = {
        {0, 0, 0}, {1, 3, 2}, {NAN, NAN, NAN}, {1, NAN, 0}, {INFINITY, 0, 0}};
    bool right;

    (void)state;
    assert_true(fabs((double)nyb_softmax_xent_row(rows[0], 3, 0, &right) - log(3)) < 1e-6);
    assert_true(right);
    nyb_softmax_xent_row(rows[0], 3, 1, &right);
    assert_false(right);
    assert_true(fabs((double)nyb_softmax_xent_row(rows[1], 3, 1, &right) -
                     log(1 + exp(-1) + exp(-2))) < 1e-6);
    assert_true(right);
    for (size_t i = 2; i < 4; i++)
        for (size_t label = 0; label < 3; label++) {
            assert_true(isnan(nyb_softmax_xent_row(rows[i], 3, label, &right)));
            assert_false(right);
        }
    nyb_softmax_xent_row(rows[4], 3, 0, &right);
    assert_true(right);
}

static void batchnorm_of_constants_is_beta(void **state)
{
    rig r;

    (void)state;
    set_up(&r, "batchnorm", bn_attr, (nyb_shape){5, 11, 13, 3});
    for (size_t i = 0; i < r.in_size[0]; i++)
        r.in[0][i] = 1024;
    r.op->forward(&r.args);
    for (size_t i = 0; i < r.out_size; i++)
        assert_true(r.args.out[i] == r.param[1][i % 3]);
    rig_destroy(&r);
    set_up(&r, "batchnorm", bn_attr, (nyb_shape){1, 1, 1, 3}); /* one row: no variance at all */
    r.op->forward(&r.args);
    for (size_t i = 0; i < 3; i++) {
        assert_true(r.args.out[i] == r.param[1][i]);
        assert_true(isfinite(r.args.buffer[1][i]));
    }
    rig_destroy(&r);
}

/* The variance of hard columns against a direct sum in long double. */
static void batchnorm_variance_is_accurate_for_any_block(void **state)
{
    enum { ROWS = 3 * 256 + 100, COLS = 18 };
    rig r;

    (void)state;
    set_up(&r, "batchnorm", (nyb_attr){.eps = 1e-5f, .momentum = 1}, (nyb_shape){ROWS, 1, 1, COLS});
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < COLS; j++) {
            float *x = &r.in[0][i * COLS + j];
            *x = j % 3 == 0   ? 30 * 0.577f + *x              /* mean / sigma = 30 */
                 : j % 3 == 1 ? (i % 256 < 16 ? 100 : 0) + *x /* the shift lies as far as it can */
                              : (float)(i / 256) * 1000 + *x; /* blocks far apart */
        }
    r.op->forward(&r.args);
    for (size_t j = 0; j < COLS; j++) {
        long double mean = 0, m2 = 0, error;
        for (size_t i = 0; i < ROWS; i++)
            mean += (long double)r.in[0][i * COLS + j] / ROWS;
        for (size_t i = 0; i < ROWS; i++) {
            const long double d = (long double)r.in[0][i * COLS + j] - mean;
            m2 += d * d;
        }
        error = fabsl((long double)r.args.buffer[1][j] / (m2 / (ROWS - 1)) - 1);
        /* batchnorm.c: up to 17 times the rounding of a plain sum in the second kind */
        assert_true(error < (j % 3 == 1 ? 2e-5L : 1e-6L));
        error = fabsl((long double)r.args.buffer[0][j] - mean);
        assert_true(error < 3e-7L * fabsl(mean) + 2e-6L * sqrtl(m2 / ROWS));
    }
    rig_destroy(&r);
}

/* ---- laws --------------------------------------------------------------------------------- */

static const nyb_attr law_attrs[] = {
    {.out = 20,
     .kernel = 3,
     .stride = 2,
     .pad = 1,
     .bias = true,
     .eps = 1e-5f,
     .momentum = 0.1f,
     .label_smoothing = 0.1f},
    {.out = 7, .kernel = 2, .stride = 1, .pad = 0, .bias = true, .eps = 1e-3f, .momentum = 1},
};
static const nyb_shape law_shapes[] = {
    {2, 5, 4, 1},   {3, 7, 9, 3},    {2, 6, 6, 16},   {5, 13, 9, 20},
    {70, 4, 3, 64}, {1, 3, 3, 1030}, {260, 2, 2, 17}, {1025, 3, 3, 8},
};

typedef void rig_check(rig *r);

/* Calls check for every operator, attribute set and shape that fit each other. */
static void for_all(rig_check *check)
{
    size_t n_run = 0, n_ops = 0;

    for (const nyb_op *const *op = nyb_ops; *op; op++, n_ops++)
        for (size_t a = 0; a < LENGTH(law_attrs); a++)
            for (size_t s = 0; s < LENGTH(law_shapes); s++) {
                const nyb_shape in[2] = {law_shapes[s], law_shapes[s]};
                rig r;
                if (!rig_create(&r, context, *op, &law_attrs[a], in))
                    continue;
                n_run++;
                check(&r);
                rig_destroy(&r);
            }
    assert_true(n_run > 12 * n_ops);
}

static void run_both(const rig *r)
{
    if (r->op->forward)
        r->op->forward(&r->args);
    r->op->backward(&r->args);
}

static void same(const rig *a, const char *what, int i, const float *want, const float *got,
                 size_t n)
{
    if (n > 0 && memcmp(want, got, n * sizeof *want) != 0)
        fail_msg("%s on %s: other bits in %s %d (%zu x %zu)", a->op->name,
                 nyb_context_cpu(a->args.context), what, i, nyb_shape_rows(a->args.in_shape[0]),
                 a->args.in_shape[0].c);
}

/* All results of two rigs of one operator. Of an operator that is a GEMM only the bias's gradient.
 */
static void same_results(const rig *a, const rig *b)
{
    const bool gemm = a->op->is_gemm;

    same(a, "out", 0, a->args.out, b->args.out, gemm ? 0 : a->out_size);
    for (int i = 0; i < a->op->n_inputs; i++)
        same(a, "din", i, a->args.din[i], b->args.din[i], gemm ? 0 : a->in_size[i]);
    for (int i = gemm; i < a->op->n_params; i++)
        same(a, "dparam", i, a->args.dparam[i], b->args.dparam[i], a->param_size[i]);
    for (int i = 0; i < a->op->n_buffers; i++)
        same(a, "buffer", i, a->args.buffer[i], b->args.buffer[i], a->buffer_size[i]);
}

/* A 1-thread context for "ref" and each vector ISA that this machine has, against `context`. */
static void check_bits(rig *r)
{
    static const char *const cpus[] = {"ref", "avx2", "auto"};

    run_both(r);
    for (size_t i = 0; i < LENGTH(cpus); i++) {
        const nyb_shape in[2] = {r->args.in_shape[0], r->args.in_shape[0]};
        nyb_context *other;
        rig s;
        if (nyb_context_create(cpus[i], 1, &other, NULL) != NYB_OK)
            continue;
        assert_true(rig_create(&s, other, r->op, &r->attr, in));
        run_both(&s);
        same_results(&s, r);
        rig_destroy(&s);
        nyb_context_destroy(&other);
    }
}

static void bits_depend_on_neither_threads_nor_isa(void **state)
{
    (void)state;
    for_all(check_bits);
}

/* din_add: exactly what was there plus what would have been written. */
static void check_add(rig *r)
{
    rig s;
    const nyb_shape in[2] = {r->args.in_shape[0], r->args.in_shape[0]};

    if (r->op->is_gemm)
        return;
    assert_true(rig_create(&s, context, r->op, &r->attr, in));
    run_both(&s);
    for (int i = 0; i < r->op->n_inputs; i++) {
        r->args.din_add[i] = true;
        for (size_t j = 0; j < r->in_size[i]; j++)
            r->args.din[i][j] = 3;
    }
    run_both(r);
    for (int i = 0; i < r->op->n_inputs; i++)
        for (size_t j = 0; j < r->in_size[i]; j++) {
            /* pools add window by window: their rounding differs in the last bits */
            const double want = 3 + (double)s.args.din[i][j], got = (double)r->args.din[i][j];
            if (!(fabs(want - got) < 4e-6))
                fail_msg("%s: din %d [%zu]: want %.9g, got %.9g", r->op->name, i, j, want, got);
        }
    rig_destroy(&s);
}

static void gradients_add_to_what_is_there(void **state)
{
    (void)state;
    for_all(check_add);
}

/* An input or parameter that wants no gradient is left alone; evaluation saves nothing. */
static void check_nulls(rig *r)
{
    void *const saved = r->args.saved;
    float *const din = r->args.din[0], *const dparam = r->args.dparam[0];

    r->args.saved = NULL;
    r->args.training = false;
    if (r->op->forward)
        r->op->forward(&r->args);
    r->args.saved = saved;
    r->args.training = true;
    if (r->op->forward)
        r->op->forward(&r->args);
    r->args.din[0] = NULL;
    r->args.dparam[0] = NULL;
    r->op->backward(&r->args);
    r->args.din[0] = din;
    r->args.dparam[0] = dparam;
}

static void missing_tensors_are_left_out(void **state)
{
    (void)state;
    for_all(check_nulls);
}

/* ---- canonical sums ------------------------------------------------------------------------ */

static void column_sums_follow_the_canonical_order(void **state)
{
    static const size_t sizes[][2] = {{1, 1}, {255, 3}, {256, 16}, {257, 17}, {1000, 5}, {3, 1100}};

    (void)state;
    for (size_t k = 0; k < LENGTH(sizes); k++) {
        const size_t rows = sizes[k][0], cols = sizes[k][1];
        float *const x = rig_floats(rows * cols, 1, 0.25f);
        float *const sums = malloc(cols * sizeof *sums);
        void *const scratch = malloc(nyb_op_column_sums_bytes(rows, cols));
        nyb_op_column_sums(context, x, rows, cols, scratch, sums);
        for (size_t j = 0; j < cols; j++) {
            double total = 0;
            for (size_t block = 0; block < rows; block += 256) {
                float lane = 0;
                for (size_t i = block; i < rows && i < block + 256; i++)
                    lane += x[i * cols + j];
                total += (double)lane;
            }
            assert_int_equal(nyb_bits_of((float)total), nyb_bits_of(sums[j]));
        }
        free(x);
        free(sums);
        free(scratch);
    }
}

static void totals_follow_the_canonical_order(void **state)
{
    enum { N = 2 * 4096 + 37 };

    (void)state;
    for (uint32_t t = 1; t <= 20; t++) { /* now and then another order rounds to the same */
        float *const x = rig_floats(N, t, 0.25f);
        double total = 0;
        for (size_t block = 0; block < N; block += 4096) {
            float lane[16];
            for (size_t j = 0; j < 16; j++) {
                lane[j] = 0;
                for (size_t i = block + j; i < N && i < block + 4096; i += 16)
                    lane[j] += x[i];
            }
            total += (double)((((lane[0] + lane[8]) + (lane[4] + lane[12])) +
                               ((lane[2] + lane[10]) + (lane[6] + lane[14]))) +
                              (((lane[1] + lane[9]) + (lane[5] + lane[13])) +
                               ((lane[3] + lane[11]) + (lane[7] + lane[15]))));
        }
        assert_true(total == nyb_op_total(x, N));
        free(x);
    }
}

/* Rounds x, and leaves its bits in stored. */
static void round_to_bf16(float *x, size_t n, const nyb_stream *draws, uint16_t *stored)
{
    for (size_t i = 0; i < n; i++) {
        stored[i] = stored_bf16(x[i], draws, i);
        x[i] = nyb_float_of((uint32_t)stored[i] << 16);
    }
}

/* store = bf16: everything is as if x had been that bf16 tensor, whoever rounded it; and dout. */
static void batchnorm_takes_what_is_stored_for_x(void **state)
{
    static const nyb_shape shapes[] = {{3, 9, 11, 16}, {2, 20, 20, 21}, {1, 3, 5, 300}};
    const nyb_stream stream = {.seed = 3, .step = 4, .tensor = 5, .role = NYB_RNG_STORE_X};

    (void)state;
    for (size_t k = 0; k < 3 * LENGTH(shapes); k++) {
        const nyb_shape shape = shapes[k / 3];
        const bool given = k % 3 == 1;
        const nyb_stream *const draws = k % 3 == 2 ? &stream : NULL;
        const size_t n = nyb_shape_size(shape);
        uint16_t *const stored = rig_bytes(n * sizeof *stored);
        uint16_t *const want = rig_bytes(n * sizeof *want), *const dout = rig_bytes(2 * n);
        rig plain, half;

        set_up(&plain, "batchnorm", bn_attr, shape);
        set_up(&half, "batchnorm", bn_attr, shape);
        half.in[0][7] = plain.in[0][7] = nyb_float_of(0x3f808000); /* ties: to even, down */
        half.in[0][8] = plain.in[0][8] = nyb_float_of(0x3f818000); /* and up */
        round_to_bf16(plain.in[0], n, draws, want);
        half.args.fused.stored = stored;
        half.args.fused.draws = draws;
        half.args.fused.given = given;
        if (given) {
            memcpy(stored, want, n * sizeof *stored);
            half.args.in[0] = NULL;
            round_to_bf16(plain.dout, n, NULL, dout);
            half.args.dout = NULL;
            half.args.fused.dout = dout;
        }
        plain.op->forward(&plain.args);
        half.op->forward(&half.args);
        assert_memory_equal(stored, want, n * sizeof *stored);
        assert_memory_equal(plain.args.out, half.args.out, n * sizeof(float));
        half.args.in[0] = NULL;
        plain.op->backward(&plain.args);
        half.op->backward(&half.args);
        assert_memory_equal(plain.args.din[0], half.args.din[0], n * sizeof(float));
        for (int i = 0; i < 2; i++)
            assert_memory_equal(plain.args.dparam[i], half.args.dparam[i], shape.c * sizeof(float));
        rig_destroy(&plain);
        rig_destroy(&half);
        free(stored);
        free(want);
        free(dout);
    }
}

/* More columns and rows than a tile has. What is not stored has the same moments, mask and rows. */
static void batchnorm_makes_rows_again(void **state)
{
    enum { N_ROWS = 5 * 8 * 13, N_COLS = 528, PART = 24 };
    const nyb_shape shape = {5, 8, 13, N_COLS};
    const size_t n_blocks = nyb_moments_blocks(N_ROWS, N_COLS);
    nyb_block_moments *want = calloc(n_blocks, sizeof *want), *got = calloc(n_blocks, sizeof *got);
    uint8_t *masks[2] = {calloc(N_ROWS * N_COLS / 8, 1), calloc(N_ROWS * N_COLS / 8, 1)};
    float *rows = malloc(PART * N_COLS * sizeof *rows);
    float coefs[3 * N_COLS];
    rig plain, other;

    (void)state;
    assert_true(want && got && masks[0] && masks[1] && rows);
    set_up(&plain, "batchnorm", bn_attr, shape);
    set_up(&other, "batchnorm", bn_attr, shape);
    plain.args.fused = (nyb_op_fused){.relu = true, .mask = masks[0], .moments = want};
    other.args.fused = (nyb_op_fused){
        .relu = true, .mask = masks[1], .moments = got, .unstored = true, .coefs = coefs};
    free(other.args.out);
    free(other.args.din[0]);
    other.args.out = other.args.din[0] = NULL;
    for (int back = 0; back < 2; back++) {
        const float *const all = back ? plain.args.din[0] : plain.args.out;

        (back ? plain.op->backward : plain.op->forward)(&plain.args);
        (back ? other.op->backward : other.op->forward)(&other.args);
        assert_memory_equal(want, got, n_blocks * sizeof *want);
        assert_memory_equal(masks[0], masks[1], N_ROWS * N_COLS / 8);
        for (size_t row = 0; row < N_ROWS; row += PART) {
            const size_t n = nyb_min(PART, N_ROWS - row);

            (back ? other.op->din_rows : other.op->out_rows)(&other.args, row, n, rows);
            assert_memory_equal(rows, all + row * N_COLS, n * N_COLS * sizeof *rows);
        }
    }
    rig_destroy(&plain);
    rig_destroy(&other);
    free(masks[0]);
    free(masks[1]);
    free(rows);
    free(want);
    free(got);
}

static void batchnorm_sums_follow_their_definition(void **state)
{
    static const size_t rows[] = {1, 5, 15, 16, 17, 256};
    enum { COLS = 3 };

    (void)state;
    for (size_t k = 0; k < LENGTH(rows); k++) {
        float *const x = rig_floats(rows[k] * COLS, 1, 2);
        float got[3][COLS];
        nyb_elem_choose(nyb_cpu_detect())
            ->bn_stats((nyb_elem_in){.f32 = x}, rows[k], COLS, COLS, NULL, got[0], got[1], got[2]);
        for (size_t j = 0; j < COLS; j++) {
            const size_t m = rows[k] < 16 ? rows[k] : 16;
            float shift = 0, sum = 0, square = 0;
            for (size_t i = 0; i < m; i++)
                shift += x[i * COLS + j];
            shift *= 1.0f / (float)m;
            for (size_t i = 0; i < rows[k]; i++) {
                const float d = x[i * COLS + j] - shift;
                sum += d;
                square += d * d;
            }
            assert_int_equal(nyb_bits_of(shift), nyb_bits_of(got[0][j]));
            assert_int_equal(nyb_bits_of(sum), nyb_bits_of(got[1][j]));
            assert_int_equal(nyb_bits_of(square), nyb_bits_of(got[2][j]));
        }
        free(x);
    }
}

/* ---- records and refusals ------------------------------------------------------------------ */

static void every_operator_is_found_by_its_name(void **state)
{
    (void)state;
    assert_null(nyb_op_find("dropout3d"));
    for (const nyb_op *const *op = nyb_ops; *op; op++) {
        assert_ptr_equal(nyb_op_find((*op)->name), *op);
        assert_true(strlen((*op)->about) > 5);
        assert_true((*op)->n_inputs >= 1 && (*op)->n_inputs <= NYB_OP_INPUTS);
        assert_true((*op)->is_gemm == !(*op)->forward);
        assert_non_null((*op)->shape);
        assert_non_null((*op)->backward);
        for (int i = 0; i < (*op)->n_params; i++)
            assert_non_null((*op)->params[i].name);
        for (int i = 0; i < (*op)->n_buffers; i++)
            assert_non_null((*op)->buffers[i].name);
    }
}

static void refused(const char *name, nyb_attr attr, nyb_shape a, nyb_shape b, nyb_status want)
{
    const nyb_shape in[2] = {a, b};
    nyb_shape out;
    nyb_error err = {0};

    assert_int_equal(nyb_op_find(name)->shape(&attr, in, &out, &err), want);
    assert_int_equal(err.status, want);
    assert_non_null(strstr(err.text, name));
}

static void bad_shapes_are_refused(void **state)
{
    const nyb_shape image = {2, 8, 8, 4}, huge = {1u << 20, 1u << 12, 1u << 12, 1};
    const nyb_attr window = {.out = 4, .kernel = 3, .stride = 1, .pad = 1, .eps = 1e-5f};
    nyb_attr attr;

    (void)state;
    for (const nyb_op *const *op = nyb_ops; *op; op++) {
        refused((*op)->name, window, (nyb_shape){0, 8, 8, 4}, (nyb_shape){0, 8, 8, 4}, NYB_SHAPE);
        refused((*op)->name, window, (nyb_shape){2, 8, 8, 0}, (nyb_shape){2, 8, 8, 0}, NYB_SHAPE);
        refused((*op)->name, window, huge, huge, NYB_LIMIT);
    }
    refused("add", window, image, (nyb_shape){2, 8, 4, 8}, NYB_SHAPE);
    refused("conv2d", (nyb_attr){.out = 4, .kernel = 3}, image, image, NYB_INVALID);
    refused("conv2d", (nyb_attr){.out = 4, .stride = 1}, image, image, NYB_INVALID);
    refused("conv2d", (nyb_attr){.kernel = 3, .stride = 1}, image, image, NYB_SHAPE);
    refused("conv2d", (nyb_attr){.out = 4, .kernel = 9, .stride = 1}, image, image, NYB_SHAPE);
    refused("conv2d", (nyb_attr){.out = (size_t)1 << 60, .kernel = 3, .stride = 1}, image, image,
            NYB_LIMIT);
    refused("conv2d", (nyb_attr){.out = 4, .kernel = SIZE_MAX, .stride = 1}, image, image,
            NYB_LIMIT);
    refused("linear", (nyb_attr){.out = 0}, image, image, NYB_SHAPE);
    refused("linear", (nyb_attr){.out = SIZE_MAX}, image, image, NYB_LIMIT);
    attr = window;
    attr.pad = 2;
    refused("maxpool", attr, image, image, NYB_INVALID);
    refused("avgpool", attr, image, image, NYB_INVALID);
    attr.kernel = 17;
    refused("maxpool", attr, (nyb_shape){1, 32, 32, 1}, image, NYB_LIMIT);
    refused("batchnorm", (nyb_attr){.eps = 0}, image, image, NYB_INVALID);
    refused("batchnorm", (nyb_attr){.eps = NAN}, image, image, NYB_INVALID);
    refused("softmax_xent", (nyb_attr){.label_smoothing = 1}, image, image, NYB_INVALID);
}

static void a_layer_without_bias_has_no_bias(void **state)
{
    const nyb_shape image = {2, 8, 8, 4};
    const nyb_attr attr = {.out = 5, .kernel = 3, .stride = 1, .pad = 1};

    (void)state;
    assert_int_equal(nyb_op_find("conv2d")->param_size(&attr, &image, 0), 5 * 3 * 3 * 4);
    assert_int_equal(nyb_op_find("conv2d")->param_size(&attr, &image, 1), 0);
    assert_int_equal(nyb_op_find("linear")->param_size(&attr, &image, 0), 5 * 4);
    assert_int_equal(nyb_op_find("linear")->param_size(&attr, &image, 1), 0);
}

/* ---- layers of a model ---- */

static void no_model_has_no_layers(void **state)
{
    const nyb_conv2d_options options = {.out = 4, .kernel = 1, .stride = 1};
    nyb_error err = {0};

    (void)state;
    assert_int_equal(nyb_input(NULL, 4, 4, 1, 0), -1);
    assert_int_equal(nyb_conv2d(NULL, 0, "conv", &options), -1);
    assert_int_equal(nyb_conv2d(NULL, 0, "conv", NULL), -1);
    assert_int_equal(nyb_linear(NULL, 0, "fc", 4, 1), -1);
    assert_int_equal(nyb_batchnorm(NULL, 0, "bn"), -1);
    assert_int_equal(nyb_relu(NULL, 0), -1);
    assert_int_equal(nyb_add(NULL, 0, 0), -1);
    assert_int_equal(nyb_maxpool(NULL, 0, 2, 2, 0), -1);
    assert_int_equal(nyb_avgpool(NULL, 0, 2, 2, 0), -1);
    assert_int_equal(nyb_global_avgpool(NULL, 0), -1);
    assert_int_equal(nyb_flatten(NULL, 0), -1);
    assert_int_equal(nyb_model_finish(NULL, 0, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "NULL"));
}

static void a_model_without_a_name_or_options_is_refused(void **state)
{
    nyb_model *model = (nyb_model *)&model;
    nyb_error err = {0};

    (void)state;
    assert_int_equal(nyb_model_create(NULL, &model, &err), NYB_INVALID);
    assert_null(model);
    assert_non_null(strstr(err.text, "NULL"));
    assert_int_equal(nyb_model_create("net", &model, &err), NYB_OK);
    const nyb_value x = nyb_input(model, 4, 4, 1, 0);
    assert_int_equal(nyb_conv2d(model, x, "stem", NULL), -1);
    assert_int_equal(nyb_conv2d(model, x, NULL, NULL), -1);
    assert_int_equal(nyb_relu(model, x), -1); /* as every call after a failure */
    assert_int_equal(nyb_model_finish(model, x, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "'stem'"));
    assert_non_null(strstr(err.text, "NULL"));
    nyb_model_destroy(&model);
}

/* Two of them would be one name in JSON. */
static void names_that_are_not_utf8_are_refused(void **state)
{
    nyb_model *model = (nyb_model *)&model;
    nyb_error err = {0};

    (void)state;
    assert_int_equal(nyb_model_create("r\xe9seau", &model, &err), NYB_INVALID);
    assert_null(model);
    assert_non_null(strstr(err.text, "UTF-8"));
    assert_int_equal(nyb_model_create("r\xc3\xa9seau", &model, &err), NYB_OK);
    const nyb_value x = nyb_linear(model, nyb_input(model, 1, 1, 4, 0), "couche\xc3\xa9", 4, 1);
    assert_int_equal(x, 1);
    assert_int_equal(nyb_linear(model, x, "couche\xe8", 4, 1), -1);
    assert_int_equal(nyb_model_finish(model, x, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "couche"));
    assert_non_null(strstr(err.text, "UTF-8"));
    nyb_model_destroy(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_are_not_utf8_are_refused),
        cmocka_unit_test(batchnorm_agrees_with_pytorch),
        cmocka_unit_test(batchnorm_survives_a_mean_of_30_sigma),
        cmocka_unit_test(pools_agree_with_pytorch),
        cmocka_unit_test(cross_entropy_agrees_with_pytorch),
        cmocka_unit_test(relu_passes_nan_and_stops_at_zero),
        cmocka_unit_test(maxpool_takes_the_first_of_equals_and_a_nan),
        cmocka_unit_test(cross_entropy_keeps_extremes_finite_and_shows_nan),
        cmocka_unit_test(a_row_of_logits_has_a_loss_and_a_class),
        cmocka_unit_test(batchnorm_of_constants_is_beta),
        cmocka_unit_test(batchnorm_variance_is_accurate_for_any_block),
        cmocka_unit_test(bits_depend_on_neither_threads_nor_isa),
        cmocka_unit_test(gradients_add_to_what_is_there),
        cmocka_unit_test(missing_tensors_are_left_out),
        cmocka_unit_test(column_sums_follow_the_canonical_order),
        cmocka_unit_test(totals_follow_the_canonical_order),
        cmocka_unit_test(batchnorm_takes_what_is_stored_for_x),
        cmocka_unit_test(batchnorm_makes_rows_again),
        cmocka_unit_test(batchnorm_sums_follow_their_definition),
        cmocka_unit_test(every_operator_is_found_by_its_name),
        cmocka_unit_test(bad_shapes_are_refused),
        cmocka_unit_test(a_layer_without_bias_has_no_bias),
        cmocka_unit_test(no_model_has_no_layers),
        cmocka_unit_test(a_model_without_a_name_or_options_is_refused),
    };
    int failed;

    if (nyb_context_create("auto", 3, &context, NULL) != NYB_OK)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nyb_context_destroy(&context);
    return failed;
}
