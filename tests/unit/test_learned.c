/* Gradients of PACT, PACT+, LSQ and LSQ+: by hand, by finite differences, and in canonical order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "known.h"
#include "quant/round.h"

static const nyb_scale_rule *const learned[] = {
    &nyb_scale_pact, &nyb_scale_pactplus, &nyb_scale_lsq, &nyb_scale_lsqplus, &nyb_scale_lsqplus_w};
#define N_LEARNED (sizeof learned / sizeof *learned)

static nyb_format integers(int lo, int hi)
{
    return (nyb_format){.name = "test",
                        .grid = NYB_GRID_INT,
                        .bits = 8,
                        .is_signed = lo < 0,
                        .lo = (int16_t)lo,
                        .hi = (int16_t)hi,
                        .max = (float)hi};
}

static void is_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("want %.9g, got %.9g", want, got);
}

/* ---- by hand --------------------------------------------------------------------------------- */

/* uint4, alpha 3: steps of 0.2. 1.05 is 5.25 steps, 2.95 is 14.75. */
static void pact_by_hand(void **state)
{
    static const float x[6] = {-1, 0, 1.05f, 2.95f, 3, 5}, dy[6] = {1, 2, 4, 8, 16, 32};
    static const float want[6] = {0, 0, 4, 8, 0, 0};
    const float alpha = 3;
    float dx[6];
    double d[2] = {0.5, 7};

    (void)state;
    memcpy(dx, dy, sizeof dx);
    nyb_scale_pact.backward(&nyb_format_uint4, &alpha, x, dx, 6, 6, d);
    assert_true(d[0] == 0.5 + 48 && d[1] == 7); /* added to, and only the one parameter */
    assert_memory_equal(dx, want, sizeof want);
    memcpy(dx, dy, sizeof dx);
    d[0] = 0;
    nyb_scale_pactplus.backward(&nyb_format_uint4, &alpha, x, dx, 6, 6, d);
    is_near(d[0], 48 + (4 * -0.25 + 8 * 0.25) / 15, 1e-5);
    assert_memory_equal(dx, want, sizeof want);
    /* symmetric: -5 and -3 are clipped at -alpha */
    static const float sx[5] = {-5, -3, -2, 0, 4}, sy[5] = {1, 2, 4, 8, 16};
    static const float swant[5] = {0, 0, 4, 8, 0};
    memcpy(dx, sy, sizeof sy);
    d[0] = 0;
    nyb_scale_pact.backward(&nyb_format_int4, &alpha, sx, dx, 5, 5, d);
    assert_true(d[0] == 16 - 3);
    assert_memory_equal(dx, swant, sizeof swant);
}

/* int4, s 0.5: -0.6 is -1.2 steps, 0.7 is 1.4; 3.5 is the top itself, and clipped. */
static void lsq_by_hand(void **state)
{
    static const float x[6] = {-10, -3.5f, -0.6f, 0.7f, 3.5f, 3.4f}, dy[6] = {1, 2, 4, 8, 16, 32};
    static const float want[6] = {0, 0, 4, 8, 0, 32};
    const float s = 0.5f;
    const double g = 1 / sqrt(100.0 * 7);
    float dx[6];
    double d[2] = {0};

    (void)state;
    memcpy(dx, dy, sizeof dx);
    nyb_scale_lsq.backward(&nyb_format_int4, &s, x, dx, 6, 100, d);
    is_near(d[0], g * (-7 * 3 + 4 * 0.2 + 8 * -0.4 + 16 * 7 + 32 * 0.2), 1e-5);
    assert_true(d[1] == 0);
    assert_memory_equal(dx, want, sizeof want);
    /* Qn is 8 on -8..7: -3.5 is inside, and at the seventh step down */
    static const float fwant[6] = {0, 2, 4, 8, 0, 32};
    memcpy(dx, dy, sizeof dx);
    d[0] = 0;
    nyb_scale_lsq.backward(&nyb_format_int4f, &s, x, dx, 6, 100, d);
    is_near(d[0], g * (-8 * 1 + 2 * 0 + 4 * 0.2 + 8 * -0.4 + 16 * 7 + 32 * 0.2), 1e-5);
    assert_memory_equal(dx, fwant, sizeof fwant);
    /* LSQ+ on uint4 from beta -1 in steps of 0.25 to 2.75 */
    static const float px[4] = {-2, -0.4f, 2.7f, 4}, py[4] = {1, 2, 4, 8}, pwant[4] = {0, 2, 4, 0};
    const float p[2] = {0.25f, -1};
    const double h = 1 / sqrt(4.0 * 15);
    memcpy(dx, py, sizeof py);
    d[0] = 0;
    nyb_scale_lsqplus.backward(&nyb_format_uint4, p, px, dx, 4, 4, d);
    is_near(d[0], h * (0 + 2 * -0.4 + 4 * 0.2 + 8 * 15), 1e-5); /* 2.4 and 14.8 steps */
    is_near(d[1], h * (1 + 8), 1e-6);
    assert_memory_equal(dx, pwant, sizeof pwant);
}

static void starts_by_hand(void **state)
{
    /* -1, 0, 2, 3: mean 1, E|x| 1.5, E x^2 3.5, sigma sqrt(2.5) */
    const nyb_group_stats stats = {.absmax = 3,
                                   .min = -1,
                                   .max = 3,
                                   .sum = 4,
                                   .sum_abs = 6,
                                   .sum_sq = 14,
                                   .n = 4,
                                   .n_nonzero = 3};
    const nyb_group_stats none = {0};
    const nyb_format int5 = integers(-15, 15), odd = integers(-8, 15);
    float p[2];

    (void)state;
    nyb_scale_lsq.init(&nyb_format_int4, &stats, p);
    is_near((double)p[0], 2 * 1.5 / sqrt(7), 1e-6);
    nyb_scale_lsqplus_w.init(&nyb_format_int4, &stats, p);
    is_near((double)p[0], (1 + 3 * sqrt(2.5)) / 8, 1e-6);
    nyb_scale_lsqplus.init(&nyb_format_uint4, &stats, p);
    is_near((double)p[0], 4.0 / 15, 1e-7);
    is_near((double)p[1], -1, 1e-7);
    nyb_scale_lsqplus.init(&nyb_format_int4, &stats, p); /* -7 s + beta = -1 */
    is_near((double)p[0], 4.0 / 14, 1e-7);
    is_near((double)p[1], 1, 1e-6);
    nyb_scale_lsq.init(&nyb_format_int4f, &stats, p);
    is_near((double)p[0], 2 * 1.5 / sqrt(7), 1e-6);
    nyb_scale_lsqplus_w.init(&nyb_format_int4f, &stats, p);
    is_near((double)p[0], (1 + 3 * sqrt(2.5)) / 8, 1e-6);
    nyb_scale_lsqplus.init(&nyb_format_int4f, &stats, p); /* min + 2^(b-1) s (NUMERICS 6.4) */
    is_near((double)p[0], 4.0 / 15, 1e-7);
    is_near((double)p[1], -1 + 8 * 4.0 / 15, 1e-6);
    nyb_scale_pact.init(&int5, &stats, p);
    is_near((double)p[0], fmin(16.925 * sqrt(3.5) - 17.807 * 1.5, 3), 1e-5);
    assert_false(nyb_scale_pact.fits(&odd));
    assert_true(nyb_scale_lsq.fits(&odd));
    nyb_scale_pact.init(&nyb_format_uint4, &none, p);
    assert_true(p[0] == 10);
}

/* ---- finite differences ---------------------------------------------------------------------- */

/* The straight-through surrogate with the rounding errors of parameters p0 kept as they are, in
 * double: PACT: clip(x) + error; the others: offset + s (clip(t) + error / s). */
static double surrogate(const nyb_scale_rule *r, const nyb_format *f, const double *p0,
                        const double *p, double x)
{
    const bool is_pact = r == &nyb_scale_pact || r == &nyb_scale_pactplus;
    const double s0 = is_pact ? p0[0] / f->hi : p0[0], s = is_pact ? p[0] / f->hi : p[0];
    const double b0 = r->n_params == 2 ? p0[1] : 0, b = r->n_params == 2 ? p[1] : 0;
    const double t0 = fmin(fmax((x - b0) / s0, f->lo), f->hi), error = rint(t0) - t0;
    const double t = fmin(fmax((x - b) / s, f->lo), f->hi);

    return r == &nyb_scale_pact ? s * t + error * s0 : b + s * (t + error);
}

enum { N_FD = 3000 };

static void one_gradient(const nyb_scale_rule *r, const nyb_format *f, const float *params)
{
    const double p0[2] = {(double)params[0], (double)params[1]};
    const double s = r == &nyb_scale_pact || r == &nyb_scale_pactplus ? p0[0] / f->hi : p0[0];
    const double b = r->n_params == 2 ? p0[1] : 0, h = s * 1e-6;
    const double g =
        r == &nyb_scale_pact || r == &nyb_scale_pactplus ? 1 : 1 / sqrt((double)N_FD / 10 * f->hi);
    float x[N_FD], dx[N_FD], dy[N_FD];
    double d[2] = {0}, want[2] = {0}, size = 0;

    for (size_t i = 0; i < N_FD; i++) { /* from two steps below to two above, away from ties */
        const double u = (double)known_u32(3, 0, 0, 0, 0, i) * 0x1p-32;
        double t = f->lo - 2.0 + u * (f->hi - f->lo + 4.0);

        if (fabs(t - floor(t) - 0.5) < 1e-3 || fabs(t - f->lo) < 1e-3 || fabs(t - f->hi) < 1e-3)
            t += 0.01;
        x[i] = (float)(b + s * t);
        dy[i] = dx[i] = (float)(int32_t)known_u32(4, 0, 0, 0, 0, i) * 0x1p-31f;
    }
    r->backward(f, params, x, dx, N_FD, N_FD / 10, d);
    for (size_t i = 0; i < N_FD; i++) {
        const double v = (double)x[i];

        for (int k = 0; k < r->n_params; k++) {
            double up[2] = {p0[0], p0[1]}, down[2] = {p0[0], p0[1]};

            up[k] += h;
            down[k] -= h;
            want[k] += g * (double)dy[i] *
                       (surrogate(r, f, p0, up, v) - surrogate(r, f, p0, down, v)) / (2 * h);
        }
        size += g * fabs((double)dy[i]) * (f->hi - f->lo);
        /* the slope in x, rint taken as the identity: clip's */
        const double up = fmin(fmax((v + h - b) / s, f->lo), f->hi);
        const double down = fmin(fmax((v - h - b) / s, f->lo), f->hi);

        is_near((double)dx[i], (double)dy[i] * s * (up - down) / (2 * h), 1e-6);
    }
    for (int k = 0; k < r->n_params; k++)
        is_near(d[k], want[k], 2e-6 * size);
    if (r->n_params == 1)
        assert_true(d[1] == 0);
}

/* From 0, from -hi, and from the lowest of two's complement. */
static void gradients_agree_with_finite_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_LEARNED; i++)
        for (int bits = 2; bits <= 8; bits++)
            for (int from = 0; from < 3; from++) {
                const int hi = (1 << (bits - (from > 0))) - 1, los[] = {0, -hi, -hi - 1};
                const nyb_format f = integers(los[from], hi);

                if (!learned[i]->fits(&f)) {
                    assert_true(from == 2 && strncmp(learned[i]->name, "pact", 4) == 0);
                    continue;
                }
                one_gradient(learned[i], &f, (float[2]){0.7f, 0.3f});
                one_gradient(learned[i], &f, (float[2]){13.0f, -4.0f});
            }
}

/* ---- canonical order, laws ------------------------------------------------------------------- */

/* Blocks of 256 rows of 16 of the flat vector; each lane in f32, folded in f32, blocks in double.
 */
static double slow_lsq_sum(float s, int lo, int hi, const float *x, const float *dy, size_t n)
{
    double total = 0;

    for (size_t at = 0; at < n; at += 4096) {
        float lane[16];

        for (size_t j = 0; j < 16; j++) {
            lane[j] = 0;
            for (size_t i = at + j; i < n && i < at + 4096; i += 16) {
                const float t = x[i] * (1.0f / s);
                const float term = t >= (float)hi   ? (float)hi
                                   : t <= (float)lo ? (float)lo
                                                    : rintf(t) - t;

                lane[j] += dy[i] * term;
            }
        }
        for (int w = 8; w; w /= 2)
            for (int j = 0; j < w; j++)
                lane[j] += lane[j + w];
        total += (double)lane[0];
    }
    return total;
}

static void sums_are_in_canonical_order(void **state)
{
    static const size_t sizes[] = {1, 15, 16, 17, 4095, 4096, 4097, 3 * 4096 + 37};
    enum { MOST = 3 * 4096 + 37 };
    float *x = malloc(MOST * sizeof *x), *dy = malloc(MOST * sizeof *dy);
    float *dx = malloc(MOST * sizeof *dx);
    const float s = 0.125f;

    (void)state;
    for (size_t i = 0; i < MOST; i++) {
        x[i] = (float)(int32_t)known_u32(5, 0, 0, 0, 0, i) * 0x1p-30f;
        dy[i] = ldexpf((float)(int32_t)known_u32(6, 0, 0, 0, 0, i), -20 - (int)(i % 30));
    }
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        double d[2] = {0};

        memcpy(dx, dy, MOST * sizeof *dx);
        nyb_scale_lsq.backward(&nyb_format_int4, &s, x, dx, sizes[k], sizes[k], d);
        assert_true(d[0] ==
                    1 / sqrt((double)sizes[k] * 7) * slow_lsq_sum(s, -7, 7, x, dy, sizes[k]));
        assert_memory_equal(dx + sizes[k], dy + sizes[k], (MOST - sizes[k]) * sizeof *dx);
        memcpy(dx, dy, MOST * sizeof *dx);
        d[0] = 0;
        nyb_scale_lsq.backward(&nyb_format_int4f, &s, x, dx, sizes[k], sizes[k], d);
        assert_true(d[0] ==
                    1 / sqrt((double)sizes[k] * 7) * slow_lsq_sum(s, -8, 7, x, dy, sizes[k]));
    }
    free(x);
    free(dy);
    free(dx);
}

static void every_learned_rule_obeys_the_laws(void **state)
{
    const nyb_group_stats stats = {.absmax = 3,
                                   .min = -1,
                                   .max = 3,
                                   .sum = 4,
                                   .sum_abs = 6,
                                   .sum_sq = 14,
                                   .n = 4,
                                   .n_nonzero = 3};
    const nyb_group_stats one = {
        .absmax = 2, .min = -2, .max = -2, .sum = -4, .sum_abs = 4, .sum_sq = 8, .n = 2};
    const nyb_group_stats cases[] = {stats, one, {0}};
    const float broken[] = {0, -1, NAN, INFINITY, -INFINITY, 1e-44f};

    (void)state;
    for (size_t i = 0; i < N_LEARNED; i++)
        for (size_t j = 1; j < nyb_format_count(); j++) {
            const nyb_scale_rule *r = learned[i];
            const nyb_format *f = nyb_format_at(j);
            float p[2] = {0, 0};
            nyb_group_scale a, b;

            assert_ptr_equal(nyb_scale_rule_find(r->name), r);
            assert_true(r->n_params > 0 && r->n_params <= NYB_SCALE_PARAMS_MAX && r->fits);
            if (!r->fits(f))
                continue;
            for (size_t k = 0; k < 3; k++) { /* without parameters: those of the beginning */
                r->init(f, &cases[k], p);
                assert_true(isfinite(p[0]) && p[0] > 0 && isfinite(p[1]));
                r->group(f, NULL, &cases[k], p, 0, &a);
                r->group(f, NULL, &cases[k], NULL, 0, &b);
                assert_true(a.scale == b.scale && a.inv == b.inv && a.offset == b.offset);
                assert_true(a.inv == 1 / a.scale);
                assert_true(r->affine || a.offset == 0);
            }
            for (size_t k = 0; k < sizeof broken / sizeof *broken; k++) {
                float x[3] = {-1, 1, NAN}, dx[3] = {1, 2, 4};
                double d[2] = {0};

                p[0] = p[1] = broken[k];
                r->group(f, NULL, &stats, p, 0, &a);
                assert_true(a.scale > 0 && isnormal(a.scale) && isnormal(a.inv));
                assert_true(isfinite(a.offset));
                r->backward(f, p, x, dx, 3, 3, d);
                assert_true(isfinite(d[0]) && isfinite(d[1]));
                assert_true(dx[2] == 0);
                r->backward(f, p, x, dx, 0, 0, d);
            }
        }
}

/* A clip that went below zero: all is clipped, and a loss that wants larger values lifts it. */
static void a_negative_clip_comes_back(void **state)
{
    float x[64], alpha = -0.5f, s = -0.1f;

    (void)state;
    for (size_t i = 0; i < 64; i++)
        x[i] = 0.1f + (float)i * 0.05f;
    for (int step = 0; step < 400; step++) { /* d of sum (y - x)^2 / 2 */
        for (int k = 0; k < 2; k++) {
            const nyb_scale_rule *r = k ? &nyb_scale_lsq : &nyb_scale_pact;
            float *p = k ? &s : &alpha, dx[64];
            nyb_group_scale scale;
            double d[2] = {0};

            r->group(&nyb_format_uint4, NULL, NULL, p, 0, &scale);
            for (size_t i = 0; i < 64; i++)
                dx[i] = rintf(fminf(fmaxf(x[i] * scale.inv, 0), 15)) * scale.scale - x[i];
            r->backward(&nyb_format_uint4, p, x, dx, 64, 64, d);
            *p -= (k ? 0.001f : 0.01f) * (float)d[0];
        }
    }
    assert_true(alpha > 2.5f && alpha < 3.5f);
    assert_true(s > 0.1f && s < 0.3f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pact_by_hand),
        cmocka_unit_test(lsq_by_hand),
        cmocka_unit_test(starts_by_hand),
        cmocka_unit_test(gradients_agree_with_finite_differences),
        cmocka_unit_test(sums_are_in_canonical_order),
        cmocka_unit_test(every_learned_rule_obeys_the_laws),
        cmocka_unit_test(a_negative_clip_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
