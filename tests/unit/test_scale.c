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

/* ---- moments --------------------------------------------------------------------------------- */

static void measure(const char *cpu, size_t n_threads, const float *x, size_t rows, size_t cols,
                    nyb_moments *m)
{
    nyb_context *context;
    void *scratch = nyb_alloc(nyb_moments_scratch_bytes(rows, cols));
    uint32_t former;

    assert_non_null(scratch);
    memset(scratch, 0xff, nyb_moments_scratch_bytes(rows, cols));
    if (nyb_context_create(cpu, n_threads, &context, NULL) != NYB_OK)
        assert_int_equal(nyb_context_create("ref", n_threads, &context, NULL), NYB_OK);
    former = nyb_cpu_fp_enter();
    nyb_moments_run(context, x, rows, cols, scratch, m);
    nyb_cpu_fp_restore(former);
    nyb_context_destroy(&context);
    nyb_free(scratch);
}

/* The sentence of binding resolution 4, one lane after the other. Finite normal x only. */
static double slow_sum(const float *x, size_t rows, size_t cols, bool squares)
{
    const size_t n = rows * cols, c = cols % 16 ? 16 : cols, r = cols % 16 ? (n + 15) / 16 : rows;
    double total = 0;

    for (size_t row0 = 0; row0 < r; row0 += 256)
        for (size_t col0 = 0; col0 < c; col0 += 16) {
            float lane[16];

            for (size_t j = 0; j < 16; j++) {
                lane[j] = 0;
                for (size_t row = row0; row < row0 + 256 && row < r; row++) {
                    size_t i = row * c + col0 + j;
                    float a = i < n ? fabsf(x[i]) : 0;

                    lane[j] = squares ? fmaf(a, a, lane[j]) : lane[j] + a;
                }
            }
            for (int w = 8; w; w /= 2)
                for (int j = 0; j < w; j++)
                    lane[j] += lane[j + w];
            total += (double)lane[0];
        }
    return total;
}

static void moments_of_the_golden_vector(void **state)
{
    float x[KNOWN_N];
    nyb_moments m;

    (void)state;
    known_vector(x);
    assert_true(known_fnv(KNOWN_FNV_START, x, sizeof x) == 0x25cabd7dfa6005ce);
    measure(NULL, 1, x, 256, 16, &m);
    assert_true(m.sum_abs == 0x1.7c2d74p+9);
    assert_true(m.sum_sq == 0x1.8c37c6p+9);
    assert_true(m.absmax * 0x1p-6f == 0x1.fe258p-6f);
    assert_int_equal(m.n, KNOWN_N);
    assert_int_equal(m.n_nonzero, KNOWN_N);
}

static void moments_follow_the_canonical_order(void **state)
{
    static const size_t shapes[][2] = {{1, 1},    {1, 15},   {3, 16},    {256, 16},  {257, 16},
                                       {1, 17},   {700, 48}, {513, 112}, {300, 7},   {4096, 1},
                                       {4097, 1}, {37, 784}, {1, 70000}, {70001, 1}, {600, 512}};
    static const char *const cpus[] = {"ref", "avx2", "auto"};
    const size_t most = 600 * 512;
    float *x = malloc(most * sizeof *x);

    (void)state;
    assert_non_null(x);
    for (size_t i = 0; i < most; i++)
        x[i] = ldexpf((float)(int32_t)known_u32(5, 0, 0, 0, 0, i), -(int)(i % 40));
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const size_t rows = shapes[s][0], cols = shapes[s][1];
        const double want_abs = slow_sum(x, rows, cols, false);
        const double want_sq = slow_sum(x, rows, cols, true);

        for (size_t c = 0; c < 3; c++)
            for (size_t threads = 1; threads <= 3; threads += 2) {
                nyb_moments m;

                measure(cpus[c], threads, x, rows, cols, &m);
                assert_true(m.sum_abs == want_abs);
                assert_true(m.sum_sq == want_sq);
                assert_int_equal(m.n, rows * cols);
            }
    }
    free(x);
}

static void moments_are_of_finite_elements(void **state)
{
    float x[] = {1, -3, NAN, 0, INFINITY, -INFINITY, -0.0f, FLT_MIN / 2, 2, -NAN};
    nyb_moments m;

    (void)state;
    measure(NULL, 1, x, 2, 5, &m);
    assert_true(m.absmax == 3 && m.sum_abs == 6 && m.sum_sq == 14);
    assert_int_equal(m.n, 10);
    assert_int_equal(m.n_nan, 2);
    assert_int_equal(m.n_inf, 2);
    assert_int_equal(m.n_nonzero, 3); /* a subnormal is zero */
    measure(NULL, 1, x, 0, 5, &m);
    assert_true(m.n == 0 && m.absmax == 0 && m.sum_abs == 0);
    measure(NULL, 1, x + 7, 1, 1, &m);
    assert_true(m.n == 1 && m.absmax == 0 && m.n_nonzero == 0);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static float choose(const char *rule, const nyb_format *f, const nyb_moments *m, float *state)
{
    const nyb_scale_rule *r = nyb_scale_rule_find(rule);

    assert_non_null(r);
    return r->choose(f, m, state);
}

static nyb_moments of_max(float absmax)
{
    return (nyb_moments){.absmax = absmax,
                         .n = 4,
                         .n_nonzero = 4,
                         .sum_abs = (double)absmax,
                         .sum_sq = (double)absmax * (double)absmax};
}

static void sawb_of_the_golden_vector(void **state)
{
    float x[KNOWN_N], clip;
    nyb_moments m;

    (void)state;
    known_vector(x);
    measure(NULL, 1, x, 256, 16, &m);
    clip = choose("sawb", &nyb_format_int4, &m, NULL);
    /* The golden clip 0x1.8759aep+1 lies above this vector's maximum, 1.99: it is capped. */
    assert_true(clip == m.absmax);
    m.absmax = 8;
    clip = choose("sawb", &nyb_format_int4, &m, NULL);
    assert_true(clip == 0x1.8759aep+1f);
    assert_true(nyb_scale_of_clip(&nyb_format_int4, clip) == 0x1.bf41ecp-2f);
}

static void sawb_falls_back_to_absmax(void **state)
{
    /* +-1: rms = E|x|, so c1 - c2 < 0 */
    nyb_moments m = {.absmax = 1, .sum_abs = 64, .sum_sq = 64, .n = 64, .n_nonzero = 64};

    (void)state;
    assert_true(choose("sawb", &nyb_format_int4, &m, NULL) == 1);
    m.sum_sq = (double)INFINITY; /* squares beyond f32 */
    assert_true(choose("sawb", &nyb_format_int4, &m, NULL) == 1);
    m.sum_abs = (double)INFINITY;
    assert_true(choose("sawb", &nyb_format_int4, &m, NULL) == 1);
}

/* Binding resolution 6: over the non-zero elements, so zeros beside them change nothing. */
static void unsigned_sawb_ignores_zeros(void **state)
{
    nyb_moments m = {.absmax = 100, .sum_abs = 80, .sum_sq = 100, .n = 100, .n_nonzero = 100};
    float want = (float)(16.925 * sqrt(1.0) - 17.807 * 0.8), got;

    (void)state;
    got = choose("sawb", &nyb_format_uint4, &m, NULL);
    assert_true(got == want);
    m.n = 1000;
    assert_true(choose("sawb", &nyb_format_uint4, &m, NULL) == want);
    assert_true(choose("sawb", &nyb_format_int4, &m, NULL) ==
                (float)(12.1 * sqrt(0.1) - 12.2 * 0.08));
    m.n_nan = 400; /* a signed mean is over the finite elements */
    m.n_inf = 100;
    assert_true(choose("sawb", &nyb_format_int4, &m, NULL) ==
                (float)(12.1 * sqrt(0.2) - 12.2 * 0.16));
}

/* NUMERICS 6.2, its table and our fits, in its order; the names of formats are not theirs. */
static void sawb_constants_are_those_of_the_table(void **state)
{
    static const struct {
        const char *rule;
        int16_t lo, hi;
        double c1, c2;
    } cases[] = {
        {"sawb_zeroless", 0, 3, 3.12, -2.064},    {"sawb_zeroless", 0, 7, 7.509, -6.892},
        {"sawb_zeroless", 0, 15, 12.68, -12.80},  {"sawb_zeroless", 0, 31, 17.74, -18.64},
        {"sawb_zeroless", 0, 255, 31.76, -35.04}, {"sawb_ibm", -1, 1, 2.6, -1.71},
        {"sawb_ibm", -7, 7, 12.035, -12.03},      {"sawb_ibm", -63, 63, 28.24, -30.81},
        {"sawb_ibm", -127, 127, 31.76, -35.04},   {"sawb_ibm", 0, 15, 17.74, -18.64},
        {"sawb_fit", -1, 1, 2.532, -1.611},       {"sawb_fit", -3, 3, 6.943, -6.305},
        {"sawb_fit", -7, 7, 11.823, -11.859},     {"sawb_fit", -8, 8, 12.678, -12.848},
        {"sawb_fit", -15, 15, 16.925, -17.807},   {"sawb_fit", 0, 15, 16.925, -17.807},
        {"sawb_fit", 0, 7, 11.823, -11.859},      {"sawb", -7, 7, 12.1, -12.2},
        {"sawb", 0, 15, 16.925, -17.807},         {"sawb", -1, 1, 2.6, -1.71},
        {"sawb", -127, 127, 31.76, -35.04},       {"sawb", 0, 3, 6.943, -6.305},
        {"sawb", 0, 7, 11.823, -11.859},
    };
    const nyb_group_stats stats = {
        .absmax = 1000, .sum_abs = 80, .sum_sq = 100, .n = 100, .n_nonzero = 100};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nyb_scale_rule *r = nyb_scale_rule_find(cases[i].rule);
        const nyb_format f = {.name = "test",
                              .grid = NYB_GRID_INT,
                              .bits = 8,
                              .is_signed = cases[i].lo < 0,
                              .lo = cases[i].lo,
                              .hi = cases[i].hi,
                              .max = cases[i].hi};
        const double want = cases[i].c1 * 1.0 + cases[i].c2 * 0.8;
        nyb_group_scale s;

        assert_non_null(r);
        assert_true(r->fits(&f));
        r->group(&f, NULL, &stats, NULL, 0, &s);
        assert_float_equal(s.scale * s.inv, 1, 1e-6);
        if (r->affine) { /* from -clip, in hi steps, to clip */
            assert_float_equal(s.offset, -want, 1e-5);
            assert_float_equal(s.scale * f.max, 2 * want, 1e-5);
        } else {
            assert_true(s.offset == 0);
            assert_float_equal(s.scale * f.max, want, 1e-5);
        }
    }
}

/* NUMERICS 6.2, key 2: q = rint((clip(w) + alpha) 3 / (2 alpha)), w = q 2 alpha / 3 - alpha. */
static void sawb_of_odd_integers_is_the_grid_without_a_zero(void **state)
{
    static const struct {
        const char *rule;
        double c1, c2;
    } cases[] = {{"sawb", 3.12, -2.064}, {"sawb_ibm", 3.12, -2.064}, {"sawb_fit", 3.114, -2.05}};
    enum { N = 1024 };
    float x[N], y[N];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nyb_format *f = &nyb_format_odd2;
        const nyb_scale_rule *r = nyb_scale_rule_find(cases[i].rule);
        nyb_group_stats stats = {.n = N, .n_nonzero = N};
        nyb_group_scale s;

        assert_true(r->fits(f));
        for (size_t j = 0; j < N; j++) { /* a triangle */
            x[j] = ((float)known_u32(7, 0, 0, 0, 0, j) - (float)known_u32(8, 0, 0, 0, 0, j)) *
                   0x1p-32f;
            stats.absmax = fmaxf(stats.absmax, fabsf(x[j]));
            stats.sum_abs += fabs((double)x[j]);
            stats.sum_sq += (double)x[j] * (double)x[j];
        }
        const double alpha = cases[i].c1 * sqrt(stats.sum_sq / N) + cases[i].c2 * stats.sum_abs / N;
        r->group(f, NULL, &stats, NULL, 0, &s);
        assert_float_equal(s.scale * 3, alpha, 1e-6);
        for (size_t j = 0; j < N; j++)
            y[j] = x[j] * s.inv;
        nyb_round_ref.round(f, NYB_ROUND_NEAREST, y, NULL, N, y);
        for (size_t j = 0; j < N; j++) {
            const double at = (fmin(fmax((double)x[j], -alpha), alpha) + alpha) * 3 / (2 * alpha);

            if (fabs(at - floor(at) - 0.5) > 1e-5)
                assert_float_equal(y[j] * s.scale, rint(at) * 2 * alpha / 3 - alpha, 1e-6);
        }
    }
    assert_false(nyb_scale_rule_find("sawb")->fits(&nyb_format_binary));
    assert_false(nyb_scale_rule_find("sawb")->fits(&nyb_format_nf4));
    assert_false(nyb_scale_rule_find("sawb_zeroless")->fits(&nyb_format_odd2));
}

/* 2 to 8 bits, with a zero and without. */
static void sawb_knows_every_number_of_bits(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        const int16_t hi = (int16_t)((1 << (bits - 1)) - 1), top = (int16_t)((1 << bits) - 1);
        nyb_format f = {.grid = NYB_GRID_INT, .is_signed = true, .lo = (int16_t)-hi, .hi = hi};
        const nyb_format u = {.grid = NYB_GRID_INT, .hi = top, .max = top};

        assert_true(nyb_scale_rule_find("sawb")->fits(&f));
        assert_true(nyb_scale_rule_find("sawb_fit")->fits(&f));
        assert_true(nyb_scale_rule_find("sawb")->fits(&u));
        assert_true(nyb_scale_rule_find("sawb_zeroless")->fits(&u));
        assert_false(nyb_scale_rule_find("sawb_zeroless")->fits(&f));
        f.lo--; /* -8..7 */
        assert_false(nyb_scale_rule_find("sawb")->fits(&f));
    }
    assert_false(nyb_scale_rule_find("sawb")->fits(&nyb_format_e2m1));
}

static void hindsight_is_a_moving_average_of_the_past(void **state)
{
    float memory[NYB_SCALE_STATE_MAX] = {0}, want = 0;

    (void)state;
    for (size_t t = 0; t < 300; t++) { /* two products and a sum, none of them fused */
        const float max = t % 50 == 7 ? 0 : (float)known_u32(4, 0, 0, 0, 0, t) * 0x1p-28f;
        nyb_moments m = of_max(max);
        float a, b;

        want = t ? want : max;

        assert_true(choose("hindsight", &nyb_format_e3m0, &m, memory) == want);
        a = 0.1f * max;
        b = 0.9f * want;
        want = a + b;
    }
    /* a step without a finite element: scale 0, and the memory stays */
    nyb_moments none = {.n = 3, .n_nan = 2, .n_inf = 1};
    assert_true(choose("hindsight", &nyb_format_e3m0, &none, memory) == 0);
    assert_true(memory[0] == want);
    /* all zero at the beginning: it starts at the first maximum that is not */
    memory[0] = 0;
    nyb_moments zero = of_max(0), first = of_max(5);
    assert_true(choose("hindsight", &nyb_format_e3m0, &zero, memory) == 0);
    assert_true(choose("hindsight", &nyb_format_e3m0, &first, memory) == 5);
}

/* NUMERICS 3.5: the largest of the 16 maxima before this one. */
static void delayed_is_the_largest_of_the_last_16_maxima(void **state)
{
    float memory[NYB_SCALE_STATE_MAX] = {0}, past[300];
    nyb_moments none = {.n = 3, .n_nan = 2, .n_inf = 1}, m;

    (void)state;
    for (size_t t = 0; t < 300; t++) {
        float want = 0;

        past[t] = t % 50 == 7 ? 0 : (float)known_u32(4, 0, 0, 0, 0, t) * 0x1p-28f;
        for (size_t i = t < 16 ? 0 : t - 16; i < t; i++)
            want = fmaxf(want, past[i]);
        m = of_max(past[t]);
        assert_true(choose("delayed", &nyb_format_e4m3fn, &m, memory) == (t ? want : past[0]));
        if (t % 70 == 3) /* no finite element: scale 0, and the memory stays */
            assert_true(choose("delayed", &nyb_format_e4m3fn, &none, memory) == 0);
    }
    /* a peak rules the 16 steps after its own, and no more */
    memset(memory, 0, sizeof memory);
    for (size_t t = 0; t < 40; t++) {
        m = of_max(t == 5 ? 448.0f : 7.0f);
        assert_true(choose("delayed", &nyb_format_e4m3fn, &m, memory) ==
                    (t > 5 && t <= 21 ? 448.0f : 7.0f));
    }
    assert_true(nyb_scale_of_clip(&nyb_format_e4m3fn, 448.0f) == 1.0f);
    /* zeros at the beginning: the first maximum that is not serves itself */
    memset(memory, 0, sizeof memory);
    m = of_max(0);
    for (size_t t = 0; t < 3; t++)
        assert_true(choose("delayed", &nyb_format_e5m2, &m, memory) == 0);
    m = of_max(5);
    assert_true(choose("delayed", &nyb_format_e5m2, &m, memory) == 5);
    m = of_max(9);
    assert_true(choose("delayed", &nyb_format_e5m2, &m, memory) == 5);
    assert_true(choose("delayed", &nyb_format_e5m2, &m, memory) == 9);
}

/* NUMERICS 1.5: alpha = 2^(ceil(log2 max) - 6). */
static void pow2_rounds_the_scale_up(void **state)
{
    (void)state;
    for (int e = -60; e <= 100; e++) {
        const float power = ldexpf(1, e);
        const float above = nextafterf(power, INFINITY), below = nextafterf(power, 0);
        nyb_moments m = of_max(power), up = of_max(above), down = of_max(below);

        assert_true(choose("pow2", &nyb_format_e3m0, &m, NULL) == power);
        assert_true(choose("pow2", &nyb_format_e3m0, &up, NULL) == 2 * power);
        assert_true(choose("pow2", &nyb_format_e3m0, &down, NULL) == power);
        assert_true(nyb_scale_of_clip(&nyb_format_e3m0, power) == ldexpf(1, e - 6));
        m = of_max(7 * power);
        assert_true(choose("pow2", &nyb_format_int4, &m, NULL) == 7 * power);
        m = of_max(nextafterf(7 * power, INFINITY));
        assert_true(choose("pow2", &nyb_format_int4, &m, NULL) == 14 * power);
    }
    nyb_moments huge = of_max(FLT_MAX);
    assert_true(choose("pow2", &nyb_format_e3m0, &huge, NULL) == 0x1p127f);
}

/* NUMERICS 1.6: scale clip/8 on 17 levels, 2 clip/15 on 0..15, 2 clip/23 on -8..15. */
static void luq_ref_of_a_known_tensor(void **state)
{
    (void)state;
    /* four values of sum 4 and sum of squares 16: rms 2, mean 1, clip 12.1 * 2 - 12.2 = 12 */
    nyb_moments m = {.absmax = 3, .n = 4, .n_nonzero = 2, .sum_abs = 4, .sum_sq = 16};
    nyb_spec spec = {.format = &nyb_format_int5w, .scale = &nyb_scale_luq_ref};
    assert_float_equal(nyb_scale_choose(&spec, &m, NULL), 12.0f / 8, 1e-6);
    spec.format = &nyb_format_uint4;
    assert_float_equal(nyb_scale_choose(&spec, &m, NULL), 24.0f / 15, 1e-6);
    spec.format = &nyb_format_int5x;
    assert_float_equal(nyb_scale_choose(&spec, &m, NULL), 24.0f / 23, 1e-6);
    spec.format = &nyb_format_int4;
    assert_int_equal(nyb_spec_check(&spec, NULL), NYB_INVALID);
}

static void every_rule_obeys_the_laws(void **state)
{
    (void)state;
    assert_true(nyb_scale_rule_count() >= 5);
    assert_string_equal(nyb_scale_rule_name(nyb_scale_rule_at(0)), "absmax");
    assert_null(nyb_scale_rule_at(nyb_scale_rule_count()));
    assert_null(nyb_scale_rule_find("max"));
    for (size_t i = 0; i < nyb_scale_rule_count(); i++)
        for (size_t j = 1; j < nyb_format_count(); j++) {
            const nyb_scale_rule *r = nyb_scale_rule_at(i);
            const nyb_format *f = nyb_format_at(j);
            nyb_spec spec = {.format = f, .scale = r};

            assert_ptr_equal(nyb_scale_rule_find(r->name), r);
            assert_true(strlen(nyb_scale_rule_about(r)) > 10 && strlen(r->source) > 10);
            assert_in_range(r->n_state, 0, NYB_SCALE_STATE_MAX);
            assert_true(r->choose || r->group || r->search);
            /* formats with the range of f32 are not scaled to it */
            if ((r->fits && !r->fits(f)) || !r->choose || f->max > 0x1p33f)
                continue;
            for (int e = -126; e < 128; e++) {
                float memory[NYB_SCALE_STATE_MAX] = {0};
                nyb_moments m = of_max(ldexpf(1.75f, e)), none = {.n = 2, .n_nan = 2};
                float scale = nyb_scale_choose(&spec, &m, memory);

                /* a normal number with a normal reciprocal, or 0 */
                assert_true(scale == 0 || (scale >= FLT_MIN && scale <= 0x1p126f));
                if (e > -90 && e < 120) {
                    assert_true(scale > 0);
                    /* luq_ref's clip has no cap, as published; unit's is not of the data */
                    if (r != &nyb_scale_luq_ref && strcmp(r->name, "unit") != 0)
                        assert_true(scale * f->max <= 2 * 1.75f * ldexpf(1, e) * 1.001f);
                }
                for (int k = r->n_state; k < NYB_SCALE_STATE_MAX; k++)
                    assert_true(memory[k] == 0);
                memset(memory, 0, sizeof memory);
                assert_true(nyb_scale_choose(&spec, &none, memory) == 0);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_of_the_golden_vector),
        cmocka_unit_test(moments_follow_the_canonical_order),
        cmocka_unit_test(moments_are_of_finite_elements),
        cmocka_unit_test(sawb_of_the_golden_vector),
        cmocka_unit_test(sawb_falls_back_to_absmax),
        cmocka_unit_test(unsigned_sawb_ignores_zeros),
        cmocka_unit_test(sawb_constants_are_those_of_the_table),
        cmocka_unit_test(sawb_of_odd_integers_is_the_grid_without_a_zero),
        cmocka_unit_test(sawb_knows_every_number_of_bits),
        cmocka_unit_test(hindsight_is_a_moving_average_of_the_past),
        cmocka_unit_test(delayed_is_the_largest_of_the_last_16_maxima),
        cmocka_unit_test(pow2_rounds_the_scale_up),
        cmocka_unit_test(luq_ref_of_a_known_tensor),
        cmocka_unit_test(every_rule_obeys_the_laws),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
