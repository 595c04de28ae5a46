/* Rules that search the data: the clip of least squared error, and percentiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "known.h"
#include "quant/round.h"

/* ---- a kernel to search with ----------------------------------------------------------------- */

/* Nearest, by trying every value of the format; integers by rint; "halves": odd halves. */
static float nearest(const nyb_format *f, float t)
{
    float best = 0, distance = INFINITY;

    if (!strcmp(f->name, "halves"))
        return fminf(fmaxf(floorf(t) + 0.5f, -f->max), f->max);
    if (f->grid == NYB_GRID_INT)
        return rintf(fminf(fmaxf(t, (float)f->lo), (float)f->hi));
    for (unsigned code = 0; code < f->n_codes; code++) {
        const float v = nyb_format_decode(f, code), d = fabsf(v - t);

        if (d < distance) {
            best = v;
            distance = d;
        }
    }
    return best;
}

static void round_all(const nyb_format *f, nyb_rounding rounding, const float *t,
                      const uint32_t *r23, size_t n, float *y)
{
    assert_true(rounding == NYB_ROUND_NEAREST && !r23);
    for (size_t i = 0; i < n; i++)
        y[i] = nearest(f, t[i]);
}

static const nyb_round_kernel kernel = {.name = "test", .round = round_all};

static nyb_group_stats stats_of(const float *x, size_t n)
{
    nyb_group_stats s = {0};

    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i])) {
            s.n++;
            s.absmax = isnormal(x[i]) ? fmaxf(s.absmax, fabsf(x[i])) : s.absmax;
        }
    return s;
}

static nyb_group_scale searched(const char *rule, const nyb_format *f, const float *x, size_t n)
{
    const nyb_group_stats stats = stats_of(x, n);
    nyb_group_scale s = {.scale = NAN, .inv = NAN, .offset = NAN};
    const uint32_t former = nyb_cpu_fp_enter();

    nyb_scale_rule_find(rule)->search(f, &kernel, x, n, &stats, &s);
    nyb_cpu_fp_restore(former);
    assert_true(s.offset == 0);
    assert_true(s.scale == 0 ? s.inv == 0 : s.inv == 1 / s.scale);
    return s;
}

/* ---- least squared error --------------------------------------------------------------------- */

enum { N_GAUSS = 60000 };

/* x[i] = the quantile (i + 1/2) / n of the standard normal distribution, by Newton. */
static void gauss(float *x, size_t n)
{
    double v = -5;

    for (size_t i = 0; i < n; i++) {
        const double u = ((double)i + 0.5) / (double)n;

        for (int k = 0; k < 30; k++) {
            const double step = (0.5 * erfc(-v / sqrt(2)) - u) / (exp(-v * v / 2) / sqrt(2 * M_PI));

            v -= fmin(fmax(step, -0.5), 0.5);
            if (fabs(step) < 1e-12)
                break;
        }
        x[i] = (float)v;
    }
}

/* NUMERICS 6.5 (within 0.2 %): 15 levels 2.474 sigma, 16 levels 2.514 sigma; FMS: 3 levels 1.22401
 * sigma. */
static void mse_finds_the_optimum_of_gauss(void **state)
{
    const nyb_format halves = {.name = "halves", .grid = NYB_GRID_TABLE, .bits = 4, .max = 7.5f};
    float *x = malloc(N_GAUSS * sizeof *x);

    (void)state;
    gauss(x, N_GAUSS);
    assert_float_equal(searched("ptq_mse", &nyb_format_int4, x, N_GAUSS).scale * 7, 2.474, 0.004);
    assert_float_equal(searched("ptq_mse", &halves, x, N_GAUSS).scale * 7.5f, 2.514, 0.004);
    assert_float_equal(searched("ptq_mse", &nyb_format_int2, x, N_GAUSS).scale, 1.22401, 0.002);
    for (size_t i = 0; i < N_GAUSS; i++) /* sigma 3.7e-12 */
        x[i] *= 3.7e-12f;
    assert_float_equal(searched("ptq_mse", &nyb_format_int4, x, N_GAUSS).scale * 7 / 3.7e-12f,
                       2.474, 0.0247);
    free(x);
}

static double error_at(const nyb_format *f, double clip, const float *x, size_t n)
{
    const double s = clip / (double)f->max;
    double sum = 0;

    for (size_t i = 0; i < n; i++) {
        const double e = (double)nearest(f, (float)((double)x[i] / s)) * s - (double)x[i];

        sum += e * e;
    }
    return sum;
}

/* Never worse than any of 81 clips; and than 300 others but by rounding of the sums. */
static void mse_beats_every_other_clip(void **state)
{
    static const nyb_format *const formats[] = {
        &nyb_format_int4, &nyb_format_uint4, &nyb_format_int2, &nyb_format_e2m1, &nyb_format_int8};
    enum { N = 700 };
    float x[N];

    (void)state;
    for (int shape = 0; shape < 4; shape++)
        for (size_t k = 0; k < sizeof formats / sizeof *formats; k++) {
            const nyb_format *f = formats[k];
            double clip, least;
            float max = 0;

            for (size_t i = 0; i < N; i++) { /* uniform, and heavier and heavier tails */
                const float u =
                    (float)(int32_t)known_u32(7, (uint32_t)shape, 0, 0, 0, i) * 0x1p-31f;

                x[i] = powf(fabsf(u), (float)(1 + 2 * shape)) * (f->is_signed && u < 0 ? -1 : 1);
                max = fmaxf(max, fabsf(x[i]));
            }
            clip = (double)(searched("ptq_mse", f, x, N).scale * f->max);
            least = error_at(f, clip, x, N);
            for (int i = 20; i <= 100; i++)
                assert_true(least <= error_at(f, (double)max * i / 100, x, N) * (1 + 1e-4));
        }
}

/* The clip does not depend on which kernel rounds. */
static void mse_is_the_same_on_every_kernel(void **state)
{
    static const nyb_format *const formats[] = {&nyb_format_int4, &nyb_format_uint4,
                                                &nyb_format_e2m1, &nyb_format_int8};
    enum { N = 5003 };
    static float x[N];
    const uint32_t cpu = nyb_cpu_detect();

    (void)state;
    for (size_t i = 0; i < N; i++)
        x[i] = powf((float)known_u32(7, 9, 0, 0, 0, i) * 0x1p-32f, 3);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        const nyb_group_stats stats = stats_of(x, N);
        const float want = searched("ptq_mse", formats[f], x, N).scale;

        for (const nyb_round_kernel *const *k = nyb_round_kernels; *k; k++)
            if (!((*k)->needs & ~cpu)) {
                const uint32_t former = nyb_cpu_fp_enter();
                nyb_group_scale s;

                nyb_scale_ptq_mse.search(formats[f], *k, x, N, &stats, &s);
                nyb_cpu_fp_restore(former);
                assert_true(s.scale == want);
            }
    }
}

static void mse_of_odd_data(void **state)
{
    float x[100], y[100];
    nyb_group_scale a, b;

    (void)state;
    memset(x, 0, sizeof x);
    assert_true(searched("ptq_mse", &nyb_format_int4, x, 100).scale == 0);
    assert_true(searched("ptq_mse", &nyb_format_int4, x, 0).scale == 0);
    for (size_t i = 0; i < 100; i++)
        x[i] = (float)(int32_t)known_u32(8, 0, 0, 0, 0, i) * 0x1p-31f;
    a = searched("ptq_mse", &nyb_format_int4, x, 100);
    for (int e = -110; e <= 120; e += 10) { /* powers of two change nothing else */
        for (size_t i = 0; i < 100; i++)
            y[i] = ldexpf(x[i], e);
        b = searched("ptq_mse", &nyb_format_int4, y, 100);
        assert_true(b.scale == ldexpf(a.scale, e));
    }
    memcpy(y, x, sizeof x);
    y[3] = x[3] = 0;
    y[9] = x[9] = 0;
    a = searched("ptq_mse", &nyb_format_int4, x, 100);
    y[3] = NAN;
    y[9] = -INFINITY;
    b = searched("ptq_mse", &nyb_format_int4, y, 100);
    assert_true(a.scale == b.scale);
    for (size_t i = 0; i < 100; i++)
        y[i] = FLT_MAX;
    b = searched("ptq_mse", &nyb_format_int4, y, 100);
    assert_true(isnormal(b.scale) && isnormal(b.inv));
}

/* ---- percentiles ----------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void percentiles_agree_with_a_sort(void **state)
{
    static const struct {
        const char *name;
        size_t one_in;
    } rules[] = {{"percentile99", 100},
                 {"percentile99.9", 1000},
                 {"percentile99.99", 10000},
                 {"percentile99.999", 100000}};
    static const size_t sizes[] = {1,    2,    10,    99,    100,   101,    999,   1000,
                                   1001, 9999, 10000, 10001, 54321, 100000, 123456};
    enum { MOST = 123456 };
    float *x = malloc(MOST * sizeof *x), *sorted = malloc(MOST * sizeof *sorted);

    (void)state;
    for (int shape = 0; shape < 3; shape++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            const size_t n = sizes[k];
            size_t m = 0;

            for (size_t i = 0; i < n; i++) {
                const uint32_t u = known_u32(9, (uint32_t)shape, 0, 0, 0, i);

                x[i] = shape == 0   ? nyb_float_of(u) /* anything: NaN, Inf, subnormals too */
                       : shape == 1 ? (float)(int32_t)u * 0x1p-31f
                                    : (float)(u % 7) - 3; /* many equal ones */
                if (isfinite(x[i]))
                    sorted[m++] = isnormal(x[i]) ? fabsf(x[i]) : 0;
            }
            qsort(sorted, m, sizeof *sorted, by_size);
            for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
                /* the first that at most m / one_in exceed */
                const float want = sorted[m - m / rules[r].one_in - 1];
                const nyb_group_scale s = searched(rules[r].name, &nyb_format_int4, x, n);

                assert_true(s.scale == nyb_scale_of_clip(&nyb_format_int4, want));
            }
        }
    free(x);
    free(sorted);
}

static void percentiles_of_odd_data(void **state)
{
    static float x[5000];

    (void)state;
    assert_true(searched("percentile99.9", &nyb_format_int4, x, 5000).scale == 0);
    assert_true(searched("percentile99.9", &nyb_format_int4, x, 0).scale == 0);
    x[7] = -3.5f; /* one in 5000: the percentile is 0, the maximum is taken */
    assert_true(searched("percentile99.9", &nyb_format_int4, x, 5000).scale == 0.5f);
    x[8] = NAN;
    x[9] = INFINITY;
    assert_true(searched("percentile99.9", &nyb_format_int4, x, 5000).scale == 0.5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mse_finds_the_optimum_of_gauss),
        cmocka_unit_test(mse_beats_every_other_clip),
        cmocka_unit_test(mse_is_the_same_on_every_kernel),
        cmocka_unit_test(mse_of_odd_data),
        cmocka_unit_test(percentiles_agree_with_a_sort),
        cmocka_unit_test(percentiles_of_odd_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
