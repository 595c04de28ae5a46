/* SGD in a narrow format: by hand, against its definition, and its expectation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "../golden/formula.h"
#include "optim/optim.h"
#include "quant/round.h"

/* 1-6-9 of NUMERICS 3.1, as binding resolution 7 reads e6m9: bias 31, subnormals, saturating. */
static const nyb_format e6m9 = {
    .name = "e6m9",
    .grid = NYB_GRID_FLOAT,
    .bits = 16,
    .n_codes = 65536,
    .is_signed = true,
    .max = 0x1.ff8p+32f,
    .fp = {.exp_bits = 6, .man_bits = 9, .bias = 31, .subnormals = true}};
static const nyb_format e5m4 = {
    .name = "e5m4",
    .grid = NYB_GRID_FLOAT,
    .bits = 16,
    .n_codes = 1024,
    .is_signed = true,
    .max = 0x1.fp+16f,
    .fp = {.exp_bits = 5, .man_bits = 4, .bias = 15, .subnormals = true}};

static nyb_context *context_of(const char *cpu, size_t threads)
{
    nyb_context *context = NULL;

    if (nyb_context_create(cpu, threads, &context, NULL) != NYB_OK)
        assert_int_equal(nyb_context_create("ref", threads, &context, NULL), NYB_OK);
    return context;
}

/* Steps of 1-6-9: 2^-9 in [1, 2), 2^-10 in [0.5, 1), 2^-8 in [2, 4). */
static void three_updates_by_hand(void **state)
{
    const nyb_sgd sgd = {.momentum = 0.5f, .weight_decay = 0x1p-10f};
    const nyb_update update = {&e6m9, NYB_ROUND_NEAREST};
    const nyb_stream stream = {.seed = 1};
    nyb_context *context = context_of("auto", 1);
    float w[4] = {1, 1, 2, 1}, v[4] = {0, 1, 0, 0};
    const float g[4] = {1, 0.5f, 0x1p-12f, 0x1.8p-8f};

    (void)state;
    nyb_sgd_run_rounded(context, &sgd, &update, &stream, 0.5f, true, w, v, g, 4);
    /* 1 + 2^-10 is half a step: to even, 1. v = 1. w = 1 - 0.5. */
    assert_true(v[0] == 1 && w[0] == 0.5f);
    /* 0.5 + 2^-10 is on the grid; + 0.5: 1 + 2^-10 ties to 1. w = 0.5. */
    assert_true(v[1] == 1 && w[1] == 0.5f);
    /* 2^-12 + 2^-9 = 1.125 2^-9: on the grid. w = 2 - 1.125 2^-10: steps of 2^-9 below 2: 1.125 / 2
     * of one, away from 2 */
    assert_true(v[2] == 0x1.2p-9f && w[2] == 2 - 0x1p-9f);
    /* 1.5 2^-8 + 2^-10 = 1.75 2^-8. w = 1 - 3.5 2^-10: a tie between 3 and 4 steps of 2^-10; the
     * code of 1 - 4 2^-10 is even */
    assert_true(v[3] == 0x1.cp-8f && w[3] == 1 - 0x1p-8f);
    /* without decay and momentum: the weight alone; -1e30 saturates */
    const float huge[2] = {0x1p-11f, -1e30f};
    float u[2] = {1, 1};
    nyb_sgd_run_rounded(context, &(nyb_sgd){0}, &update, &stream, 1, true, u, NULL, huge, 2);
    assert_true(u[0] == 1 && u[1] == e6m9.max); /* 1 - 2^-11: a tie, to 1 */
    nyb_context_destroy(&context);
}

static void initial_weights_are_of_the_format(void **state)
{
    const nyb_update update = {&e5m4, NYB_ROUND_STOCHASTIC}, real = {nyb_formats[0], 0}, none = {0};
    nyb_context *context = context_of("auto", 2);
    float w[5] = {1 + 0x1p-5f, 1 + 0x1.8p-4f, -0.3f, 1e9f, 0};
    const float want[5] = {1, 1.125f, -0.296875f, 0x1.fp+16f, 0};

    (void)state;
    nyb_update_round(context, &update, w, 5);
    assert_memory_equal(w, want, sizeof want);
    assert_true(nyb_update_rounds(&update));
    assert_false(nyb_update_rounds(&real));
    assert_false(nyb_update_rounds(&none));
    nyb_context_destroy(&context);
}

/* One weight: optim.h's definition, with the draws of rng.h and the reference rounding. */
static float rounded(const nyb_update *u, const nyb_stream *stream, nyb_rng_role role, uint64_t i,
                     float a, float factor, float b)
{
    nyb_stream s = *stream;
    const float product = factor * b;
    float t = a + product, y;
    uint32_t r23;

    s.role = (uint8_t)role;
    r23 = u->format->fp.man_bits >= 7 ? nyb_rng_u16(&s, i) << 7 | 64 : nyb_rng_u32(&s, i) >> 9;
    nyb_round_ref.round(u->format, u->rounding, &t,
                        u->rounding == NYB_ROUND_STOCHASTIC ? &r23 : NULL, 1, &y);
    return y;
}

static void updates_are_their_definition_bit_for_bit(void **state)
{
    enum { MANY = 2 * 16384 + 1029 };
    static const char *const cpus[] = {"auto", "avx2", "ref"};
    static const nyb_update updates[] = {
        {&e6m9, NYB_ROUND_STOCHASTIC}, {&e5m4, NYB_ROUND_STOCHASTIC}, {&e6m9, NYB_ROUND_NEAREST}};
    float *w = malloc(MANY * sizeof *w), *v = malloc(MANY * sizeof *v);
    float *g = malloc(MANY * sizeof *g);

    (void)state;
    for (size_t k = 0; k < 9; k++) {
        const nyb_update *u = &updates[k / 3];
        const nyb_sgd sgd = {0.9f, k % 2 == 0, 5e-4f};
        const nyb_stream stream = {.seed = 3, .step = 7, .tensor = 5};
        nyb_context *context = context_of(cpus[k % 3], 1 + k % 3);

        for (uint32_t i = 0; i < MANY; i++) {
            w[i] = formula_wide(1, i);
            v[i] = formula_wide(2, i);
            g[i] = formula_wide(3, i);
        }
        nyb_sgd_run_rounded(context, &sgd, u, &stream, 0.05f, k % 4 != 0, w, v, g, MANY);
        for (uint32_t i = 0; i < MANY; i++) {
            const float w0 = formula_wide(1, i);
            const float d = k % 4 ? rounded(u, &stream, NYB_RNG_AXPY_L2, i, g[i], 5e-4f, w0) : g[i];
            const float want_v =
                rounded(u, &stream, NYB_RNG_AXPY_MOMENTUM, i, d, 0.9f, formula_wide(2, i));
            const float again = 0.9f * want_v, slope = sgd.nesterov ? d + again : want_v;
            const float want_w = rounded(u, &stream, NYB_RNG_AXPY_UPDATE, i, w0, -0.05f, slope);

            assert_true(nyb_bits_of(want_v) == nyb_bits_of(v[i]));
            assert_true(nyb_bits_of(want_w) == nyb_bits_of(w[i]));
        }
        nyb_context_destroy(&context);
    }
    free(w);
    free(v);
    free(g);
}

/* For each of the 2^14 fractions an f32 can have between two neighbours of 1-6-9, the 16-bit draws
 * U that round up are exactly those with U >= 65536 - 4 k: probability k / 2^14, exactly. The draw
 * is monotone, so its two boundary values prove it for all. */
static void stochastic_rounding_is_exactly_unbiased(void **state)
{
    static const float bases[] = {1, 1.5f, -1, 0x1p-20f, -0x1.234p+10f};
    const nyb_round_kernel *kernel = nyb_round_kernel_choose(nyb_cpu_detect());

    (void)state;
    for (size_t b = 0; b < sizeof bases / sizeof *bases; b++)
        for (uint32_t k = 0; k < 1 << 14; k++) {
            const float low = nyb_float_of(nyb_bits_of(bases[b]) & ~0x3fffu);
            const float high = nyb_float_of((nyb_bits_of(bases[b]) & ~0x3fffu) + 0x4000);
            const float t = nyb_float_of(nyb_bits_of(low) + k);
            const uint32_t first = 65536 - 4 * k; /* the first that rounds up */
            float y;

            for (uint32_t u = first ? first - 1 : 0; u <= first && u < 65536; u++) {
                const uint32_t r23 = u << 7 | 64;

                kernel->round(&e6m9, NYB_ROUND_STOCHASTIC, &t, &r23, 1, &y);
                assert_true(y == (u < first ? low : high));
            }
        }
}

/* 64 steps of a quarter of the distance to the next weight: nearest never moves (swamping); the
 * mean of 4096 stochastic ones arrives. Hoeffding: P(|mean - expected| > eps) < 1e-9. */
static void small_updates_are_lost_by_nearest_only(void **state)
{
    enum { N = 4096, STEPS = 64 };
    const float gap = 0x1p-9f;
    nyb_context *context = context_of("auto", 1);

    (void)state;
    for (int k = 0; k < 2; k++) {
        const nyb_update update = {&e6m9, k ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST};
        float w[N], g[N];
        double mean = 0;

        for (size_t i = 0; i < N; i++) {
            w[i] = 1;
            g[i] = -gap / 4;
        }
        for (uint32_t step = 0; step < STEPS; step++)
            nyb_sgd_run_rounded(context, &(nyb_sgd){0}, &update, &(nyb_stream){.step = step}, 1,
                                false, w, NULL, g, N);
        for (size_t i = 0; i < N; i++)
            mean += (double)w[i] / N;
        if (k == 0)
            assert_true(mean == 1);
        else /* N * STEPS independent steps of one gap at most; ln(2e9) = 21.42 */
            assert_true(fabs(mean - (1 + STEPS * (double)gap / 4)) <
                        STEPS * (double)gap * sqrt(21.42 / (2.0 * N * STEPS)));
    }
    nyb_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_updates_by_hand),
        cmocka_unit_test(initial_weights_are_of_the_format),
        cmocka_unit_test(updates_are_their_definition_bit_for_bit),
        cmocka_unit_test(stochastic_rounding_is_exactly_unbiased),
        cmocka_unit_test(small_updates_are_lost_by_nearest_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
