#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "known.h"
#include "quant/mix.h"

#define MOST 128

static uint32_t machine;

/* Entry (i, k) of the Sylvester-Hadamard matrix: the parity of i & k. */
static double entry(size_t i, size_t k)
{
    return __builtin_parityll(i & k) ? -1.0 : 1.0;
}

static void random_floats(float *x, size_t n, uint32_t tensor)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)known_u32(3, 0, tensor, 0, 0, i) * 0x1p-31f;
}

/* The reference, on one vector or on lanes. */
static void transform(float *y, size_t n, size_t stride, size_t lanes, const float *signs,
                      bool back)
{
    if (lanes == 1 && stride == 1)
        nyb_mix_ref.along(y, n, 1, signs, back);
    else
        nyb_mix_ref.across(y, n, stride, lanes, signs, back);
}

static void hadamard(float *y, size_t n, size_t stride, size_t lanes, const float *signs)
{
    transform(y, n, stride, lanes, signs, false);
}

static void inverse(float *y, size_t n, size_t stride, size_t lanes, const float *signs)
{
    transform(y, n, stride, lanes, signs, true);
}

/* ---- the matrix ------------------------------------------------------------------------------ */

static void norms_are_the_nearest(void **state)
{
    (void)state;
    for (size_t n = 1; n <= MOST; n *= 2)
        assert_true(nyb_mix_norm(n) == (float)(1.0 / sqrt((double)n)));
}

static void small_transforms_are_known(void **state)
{
    float one[1] = {3}, two[2] = {3, 1}, four[4] = {1, 2, 3, 4}, impulse[16] = {0};
    const float signs[4] = {1, -1, -1, 1};
    float signed_four[4] = {1, 2, 3, 4};

    (void)state;
    hadamard(one, 1, 1, 1, NULL);
    assert_true(one[0] == 3);
    hadamard(two, 2, 1, 1, NULL);
    assert_true(two[0] == 4 * 0x1.6a09e6p-1f && two[1] == 2 * 0x1.6a09e6p-1f);
    hadamard(four, 4, 1, 1, NULL);
    assert_true(four[0] == 5 && four[1] == -1 && four[2] == -2 && four[3] == 0);
    hadamard(signed_four, 4, 1, 1, signs); /* of 1, -2, -3, 4 */
    assert_true(signed_four[0] == 0 && signed_four[1] == -2 && signed_four[2] == -1 &&
                signed_four[3] == 5);
    inverse(signed_four, 4, 1, 1, signs);
    for (int i = 0; i < 4; i++)
        assert_true(signed_four[i] == (float)(i + 1));
    impulse[5] = 4; /* column 5 of H */
    hadamard(impulse, 16, 1, 1, NULL);
    for (size_t i = 0; i < 16; i++)
        assert_true(impulse[i] == (float)entry(i, 5));
}

/* Every length against the product with the matrix in double; then back. */
static void equals_the_matrix_product(void **state)
{
    float x[MOST], y[MOST], signs[MOST];

    (void)state;
    for (size_t n = 1; n <= MOST; n *= 2)
        for (int with_signs = 0; with_signs < 2; with_signs++) {
            random_floats(x, n, 1);
            random_floats(signs, n, 2);
            for (size_t i = 0; i < n; i++)
                signs[i] = signs[i] < 0 ? -1.0f : 1.0f;
            memcpy(y, x, n * sizeof *x);
            hadamard(y, n, 1, 1, with_signs ? signs : NULL);
            for (size_t i = 0; i < n; i++) {
                double want = 0;

                for (size_t k = 0; k < n; k++)
                    want += entry(i, k) * (double)x[k] * (with_signs ? (double)signs[k] : 1.0);
                assert_true(fabs((double)y[i] - want / sqrt((double)n)) < 1e-6);
            }
            inverse(y, n, 1, 1, with_signs ? signs : NULL);
            for (size_t i = 0; i < n; i++)
                assert_true(fabsf(y[i] - x[i]) < 1e-6f);
        }
}

/* Lengths and angles stay: x y' = (Hx)(Hy)'. */
static void is_orthogonal(void **state)
{
    float x[MOST], y[MOST];

    (void)state;
    for (size_t n = 1; n <= MOST; n *= 2) {
        double before[3] = {0}, after[3] = {0};

        random_floats(x, n, 3);
        random_floats(y, n, 4);
        for (int turn = 0; turn < 2; turn++) {
            double *sums = turn ? after : before;

            for (size_t i = 0; i < n; i++) {
                sums[0] += (double)x[i] * (double)x[i];
                sums[1] += (double)y[i] * (double)y[i];
                sums[2] += (double)x[i] * (double)y[i];
            }
            hadamard(x, n, 1, 1, NULL);
            hadamard(y, n, 1, 1, NULL);
        }
        for (int i = 0; i < 3; i++)
            assert_true(fabs(before[i] - after[i]) < 1e-5);
    }
}

/* ---- lanes and variants ---------------------------------------------------------------------- */

/* The butterflies of round.h, one vector. */
static void slow(float *y, size_t n, size_t stride, const float *signs, bool inverse)
{
    float t[MOST];

    for (size_t i = 0; i < n; i++)
        t[i] = signs && !inverse ? y[i * stride] * signs[i] : y[i * stride];
    for (size_t len = 1; len < n; len *= 2)
        for (size_t i = 0; i < n; i += 2 * len)
            for (size_t k = i; k < i + len; k++) {
                const float a = t[k], b = t[k + len];

                t[k] = a + b;
                t[k + len] = a - b;
            }
    for (size_t i = 0; i < n; i++) {
        const float v = t[i] * nyb_mix_norm(n);

        y[i * stride] = signs && inverse ? v * signs[i] : v;
    }
}

/* All variants, lengths and lane counts give the bits of the sentence in round.h, and write nothing
 * between or behind the lanes. */
static void every_variant_gives_the_same_bits(void **state)
{
    enum { PITCH = 37, N = MOST * PITCH };
    float *x = malloc(N * sizeof *x), *want = malloc(N * sizeof *x), *y = malloc(N * sizeof *x);
    float signs[MOST];
    const uint32_t former = nyb_cpu_fp_enter();

    (void)state;
    random_floats(x, N, 5);
    for (size_t i = 0; i < N; i++) /* magnitudes differ, so that every rounding counts */
        x[i] = ldexpf(x[i], (int)(i * 7 % 31) - 15);
    random_floats(signs, MOST, 6);
    for (size_t i = 0; i < MOST; i++)
        signs[i] = signs[i] < 0 ? -1.0f : 1.0f;
    for (const nyb_mix_kernel *const *k = nyb_mix_kernels; *k; k++) {
        if ((*k)->needs & ~machine)
            continue;
        for (size_t n = 1; n <= MOST; n *= 2)
            for (size_t lanes = 1; lanes <= 36; lanes += lanes < 18 ? 1 : 9)
                for (int mode = 0; mode < 4; mode++) {
                    const float *s = mode & 1 ? signs : NULL;

                    memcpy(y, x, N * sizeof *x);
                    memcpy(want, x, N * sizeof *x);
                    (*k)->across(y, n, PITCH, lanes, s, mode & 2);
                    for (size_t j = 0; j < lanes; j++)
                        slow(want + j, n, PITCH, s, mode & 2);
                    assert_memory_equal(y, want, N * sizeof *x);
                    (*k)->along(y, n, lanes, s, mode & 2);
                    for (size_t j = 0; j < lanes; j++)
                        slow(want + j * n, n, 1, s, mode & 2);
                    assert_memory_equal(y, want, N * sizeof *x);
                }
    }
    hadamard(y, 32, PITCH, 20, signs);
    for (size_t j = 0; j < 20; j++)
        slow(want + j, 32, PITCH, signs, false);
    assert_memory_equal(y, want, N * sizeof *x);
    nyb_cpu_fp_restore(former);
    free(x);
    free(want);
    free(y);
}

/* ---- lengths and signs ----------------------------------------------------------------------- */

static void lengths_and_signs_are_those_of_the_mix(void **state)
{
    static const struct {
        nyb_mix mix;
        size_t length;
        bool is_random;
    } mixes[] = {
        {NYB_MIX_NONE, 0, false},        {NYB_MIX_HADAMARD16, 16, false},
        {NYB_MIX_HADAMARD32, 32, false}, {NYB_MIX_HADAMARD64, 64, false},
        {NYB_MIX_RANDOM16, 16, true},    {NYB_MIX_RANDOM32, 32, true},
        {NYB_MIX_RANDOM64, 64, true},    {NYB_MIX_RANDOM128, 128, true},
        {NYB_MIX_NVIDIA16, 16, false},   {NYB_MIX_HADAMARD128, 128, false},
        {NYB_MIX_HOUSEHOLDER, 0, false},
    };
    const nyb_stream stream = {
        .seed = 77, .step = 3, .tensor = 2, .role = NYB_RNG_HADAMARD, .sample = 2};
    uint32_t block[4];
    float signs[MOST];

    (void)state;
    nyb_rng_block(&stream, 0, block);
    for (size_t m = 0; m < sizeof mixes / sizeof *mixes; m++) {
        const float *got = nyb_mix_signs(mixes[m].mix, &stream, signs);

        assert_int_equal(nyb_mix_length(mixes[m].mix), mixes[m].length);
        assert_int_equal(got != NULL, mixes[m].is_random || mixes[m].mix == NYB_MIX_NVIDIA16);
        for (size_t i = 0; mixes[m].is_random && i < mixes[m].length; i++) {
            const bool set = block[i >> 5] & (uint32_t)1 << (i & 31);

            assert_true(got[i] == (set ? -1.0f : 1.0f));
        }
    }
}

static void nvidia_has_sixteen_fixed_signs(void **state)
{
    static const float want[16] = {1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1};
    float signs[MOST];

    (void)state;
    assert_memory_equal(nyb_mix_signs(NYB_MIX_NVIDIA16, NULL, signs), want, sizeof want);
}

/* Every bit of the block is used once, and both signs are about as frequent. */
static void random_signs_change_with_the_stream(void **state)
{
    float a[MOST], b[MOST];
    size_t n_minus = 0, n_differ = 0;

    (void)state;
    for (uint32_t step = 0; step < 100; step++) {
        const nyb_stream s = {.seed = 1, .step = step, .role = NYB_RNG_HADAMARD};
        const nyb_stream t = {.seed = 1, .step = step, .role = NYB_RNG_HADAMARD, .sample = 1};

        nyb_mix_signs(NYB_MIX_RANDOM128, &s, a);
        nyb_mix_signs(NYB_MIX_RANDOM128, &t, b);
        for (size_t i = 0; i < MOST; i++) {
            n_minus += a[i] < 0;
            n_differ += a[i] != b[i];
        }
    }
    assert_in_range(n_minus, 6024, 6776); /* 6400 -+ sqrt(12800 ln(2e9) / 2) */
    assert_in_range(n_differ, 6024, 6776);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_are_the_nearest),
        cmocka_unit_test(small_transforms_are_known),
        cmocka_unit_test(equals_the_matrix_product),
        cmocka_unit_test(is_orthogonal),
        cmocka_unit_test(every_variant_gives_the_same_bits),
        cmocka_unit_test(lengths_and_signs_are_those_of_the_mix),
        cmocka_unit_test(nvidia_has_sixteen_fixed_signs),
        cmocka_unit_test(random_signs_change_with_the_stream),
    };

    machine = nyb_cpu_detect();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
