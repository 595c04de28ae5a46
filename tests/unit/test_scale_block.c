#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "../oracle/block_scales.h"
#include "base/context.h"
#include "known.h"
#include "quant/round.h"

/* ---- one block through a rule, element by element ---------------------------------------------
 */

static nyb_group_stats stats_of(const float *x, size_t n)
{
    nyb_group_stats s = {0};

    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i];

        if (!isfinite(x[i]))
            continue;
        s.n++;
        if (fabsf(x[i]) < FLT_MIN)
            continue;
        s.n_nonzero++;
        s.min = fminf(s.min, x[i]);
        s.max = fmaxf(s.max, x[i]);
        s.absmax = fmaxf(s.absmax, fabsf(x[i]));
        s.sum += d;
        s.sum_abs += fabs(d);
        s.sum_sq += d * d;
    }
    return s;
}

static const nyb_scale_rule *rule_of(const char *name)
{
    const nyb_scale_rule *rule = nyb_scale_rule_find(name);

    assert_non_null(rule);
    return rule;
}

static nyb_level level_of(const nyb_scale_rule *rule, const nyb_format *f, const float *x, size_t n)
{
    const nyb_group_stats s = stats_of(x, n);
    nyb_level level = {.scale = 1};

    if (rule->level)
        rule->level(f, &s, &level);
    return level;
}

static nyb_group_scale scale_of(const nyb_scale_rule *rule, const nyb_format *f,
                                const nyb_level *level, const float *x, size_t n, int trial)
{
    const nyb_group_stats s = stats_of(x, n);
    nyb_group_scale scale = {.scale = -1};

    if (rule->search)
        rule->search(f, &nyb_round_ref, x, n, &s, &scale);
    else
        rule->group(f, level, &s, NULL, trial, &scale);
    return scale;
}

/* On the grid at scale 1, as the pipeline rounds. */
static float grid_of(const nyb_format *f, nyb_rounding rounding, float t, uint32_t r23)
{
    const nyb_spec spec = {
        .format = f, .scale = nyb_scale_rule_at(0), .rounding = rounding, .sr_bits = 32};

    return nyb_format_decode(f, nyb_encode_one(&spec, 1.0f, t, r23));
}

static float value_of(const nyb_level *level, const nyb_group_scale *s, float grid)
{
    return s->offset + grid * s->scale * level->scale;
}

/* Rules that cut the tail to keep the rest finer: those of test_scale and test_scale_mse. */
static bool fits_the_bulk(const nyb_scale_rule *rule)
{
    return strncmp(rule->name, "sawb", 4) == 0 || strncmp(rule->name, "percentile", 10) == 0 ||
           strcmp(rule->name, "ptq_mse") == 0;
}

/* Rules that see groups, of formats that they fit: the grid of all laws. */
static bool takes_blocks(const nyb_scale_rule *rule, const nyb_format *f)
{
    return (rule->group || rule->search) && rule->n_params == 0 && !fits_the_bulk(rule) &&
           f->grid != NYB_GRID_REAL && f->bits <= 8 && !f->multiples &&
           (!rule->fits || rule->fits(f));
}

/* Whether a rule says that it may clip, or repairs the mean elsewhere. */
static bool clips(const nyb_scale_rule *rule)
{
    return strstr(rule->about, "clips") || rule->finish;
}

/* ---- MX ---------------------------------------------------------------------------------------
 */

/* NUMERICS 7.1, e2m1: exponents of floor, ceil, even, rceil. */
static void mx_rules_of_the_published_table(void **state)
{
    static const char *const names[4] = {"e8m0", "e8m0_ceil", "e8m0_even", "e8m0_rceil"};
    const float below = nextafterf(1.75f, 0), above = nextafterf(6, 7);
    const struct {
        float absmax;
        int e[4];
    } cases[] = {
        {1.0f, {-2, -2, -2, -2}},  {1.5f, {-2, -1, -2, -2}}, {below, {-2, -1, -2, -1}},
        {1.75f, {-2, -1, -1, -1}}, {3.5f, {-1, 0, 0, 0}},    {6.0f, {0, 1, 0, 0}},
        {above, {0, 1, 0, 1}},     {7.0f, {0, 1, 1, 1}},
    };

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int r = 0; r < 4; r++) {
            const float x[3] = {0.1f, -cases[c].absmax, 0};
            const nyb_level one = {.scale = 1};
            nyb_group_scale s = scale_of(rule_of(names[r]), &nyb_format_e2m1, &one, x, 3, 0);

            assert_true(s.scale == ldexpf(1, cases[c].e[r]));
            assert_true(s.inv == ldexpf(1, -cases[c].e[r]) && s.offset == 0);
        }
}

/* emax of each element format: 1.0 is scaled by 2^-emax; E8M0's ends. */
static void mx_rules_know_every_element_format(void **state)
{
    static const struct {
        const char *format;
        int emax, mantissa_bits;
    } cases[] = {{"e2m1", 2, 1},  {"e3m2", 4, 2}, {"e2m3", 2, 3}, {"e4m3fn", 8, 3},
                 {"e5m2", 15, 2}, {"int8", 6, 6}, {"int4", 2, 2}, {"e3m0", 6, 0}};
    const nyb_level one = {.scale = 1};

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const nyb_format *f = nyb_format_find(cases[c].format);
        const float x = 1, tie = 2 - ldexpf(1, -cases[c].mantissa_bits - 1);
        const float under = nextafterf(tie, 0);
        nyb_group_scale s;

        assert_non_null(f);
        s = scale_of(&nyb_scale_e8m0, f, &one, &x, 1, 0);
        assert_true(s.scale == ldexpf(1, -cases[c].emax));
        s = scale_of(&nyb_scale_e8m0_even, f, &one, &tie, 1, 0);
        assert_true(s.scale == ldexpf(1, 1 - cases[c].emax));
        s = scale_of(&nyb_scale_e8m0_even, f, &one, &under, 1, 0);
        assert_true(s.scale == ldexpf(1, -cases[c].emax));
        for (int e = -126; e < 128; e++) {
            const float top = ldexpf(f->max, e - cases[c].emax);

            s = scale_of(&nyb_scale_e8m0_rceil, f, &one, &top, 1, 0);
            if (e - cases[c].emax < -126)
                assert_true(s.scale == 0 && s.inv == 0);
            else
                assert_true(s.scale == ldexpf(1, e - cases[c].emax) && s.scale * s.inv == 1);
        }
    }
}

static void quest_follows_the_deviation(void **state)
{
    const nyb_level one = {.scale = 1};
    float x[32];

    (void)state;
    /* sigma 2.0533... is 6/2.92247856: the smallest deviation whose scale is 1 */
    for (int i = 0; i < 32; i++)
        x[i] = i % 2 ? 2.0531f : -2.0531f;
    assert_true(scale_of(&nyb_scale_e8m0_quest, &nyb_format_e2m1, &one, x, 32, 0).scale == 1);
    for (int i = 0; i < 32; i++)
        x[i] = i % 2 ? 2.053f : -2.053f;
    assert_true(scale_of(&nyb_scale_e8m0_quest, &nyb_format_e2m1, &one, x, 32, 0).scale == 0.5f);
    for (int i = 0; i < 32; i++) /* the mean does not count */
        x[i] += 100;
    assert_true(scale_of(&nyb_scale_e8m0_quest, &nyb_format_e2m1, &one, x, 32, 0).scale == 0.5f);
    x[0] = 3; /* alone: of its magnitude, 3 * 2.92 / 6 = 1.46 */
    assert_true(scale_of(&nyb_scale_e8m0_quest, &nyb_format_e2m1, &one, x, 1, 0).scale == 1);
    x[0] = 1e-12f; /* 1e-8 = 1.34 * 2^-27 */
    assert_true(scale_of(&nyb_scale_e8m0_quest, &nyb_format_e2m1, &one, x, 1, 0).scale == 0x1p-27f);
    assert_false(nyb_scale_e8m0_quest.fits(&nyb_format_int4));
}

/* ---- the two levels of NVFP4 ------------------------------------------------------------------
 */

/* NUMERICS 7.4 in its own words, to the code. */
static void nvfp4_of_the_golden_vector(void **state)
{
    static const unsigned codes[16] = {0,   1, 0xa, 2, 0xb, 4, 0xc, 5,
                                       0xd, 6, 0xe, 6, 0xe, 7, 0xf, 7};
    const float most[1] = {6.25f};
    const nyb_spec spec = {.format = &nyb_format_e2m1, .scale = &nyb_scale_e4m3};
    const nyb_level level = level_of(&nyb_scale_e4m3, &nyb_format_e2m1, most, 1);
    nyb_group_scale s;
    float x[16];

    (void)state;
    for (int i = 0; i < 16; i++)
        x[i] = (float)i * (i % 2 ? 0.1f : -0.1f);
    assert_true(level.aux == 0x1.ae147ap+8f);
    assert_true(level.scale == 0x1.30c30cp-9f);
    s = scale_of(&nyb_scale_e4m3, &nyb_format_e2m1, &level, x, 16, 0);
    assert_true(s.scale == 104); /* code 6d */
    assert_true(s.inv == 0x1.08aa24p+2f);
    for (int i = 0; i < 16; i++)
        assert_int_equal(nyb_encode_one(&spec, s.inv, x[i], 0), codes[i]);
}

/* Block scales are values of E4M3: every one is met, and each to nearest with ties to even. */
static void block_scales_are_rounded_to_e4m3(void **state)
{
    const nyb_level level = {.scale = 1, .aux = 6}; /* v = absmax */
    float grid[127];

    (void)state;
    for (int c = 0; c < 127; c++) { /* NUMERICS 3.0: bias 7, subnormals, 7f is NaN */
        const int e = c >> 3, m = c & 7;

        grid[c] = e ? ldexpf(1.0f + (float)m / 8, e - 7) : ldexpf((float)m, -9);
    }
    for (int c = 0; c < 127; c++) {
        const float next = c < 126 ? grid[c + 1] : 480, middle = 0.5f * (grid[c] + next);
        const float points[4] = {grid[c], nextafterf(middle, 0), middle, nextafterf(middle, 999)};
        const float want[4] = {grid[c], grid[c], c % 2 ? next : grid[c], next};

        for (int i = 0; i < 4; i++) {
            const nyb_group_scale s =
                scale_of(&nyb_scale_e4m3, &nyb_format_e2m1, &level, &points[i], 1, 0);

            /* v = absmax * (6 * (1 / 6)) = absmax */
            assert_true(s.scale == fminf(want[i], 448));
        }
    }
}

static void four_six_brings_the_largest_to_six_or_four(void **state)
{
    /* 4 and 3 thirds of the maximum: at 6 they would be 6 and 4.5, at 4 they are 4 and 3 */
    const float x[2] = {4, 3};
    const nyb_level level = level_of(&nyb_scale_e4m3_46, &nyb_format_e2m1, x, 2);
    double error[2] = {0};

    (void)state;
    assert_int_equal(nyb_scale_e4m3_46.n_trials, 2);
    for (int trial = 0; trial < 2; trial++) {
        const nyb_group_scale s =
            scale_of(&nyb_scale_e4m3_46, &nyb_format_e2m1, &level, x, 2, trial);

        assert_true(s.scale == (trial ? 384 : 256));
        for (int i = 0; i < 2; i++) {
            const float grid = grid_of(&nyb_format_e2m1, NYB_ROUND_NEAREST, x[i] * s.inv, 0);
            const float v = value_of(&level, &s, grid);

            assert_true(i > 0 || grid == (trial ? 4 : 6));
            error[trial] += (double)((v - x[i]) * (v - x[i]));
        }
    }
    assert_true(error[0] > 0.01 && error[1] < 1e-12);
}

/* ---- MS-EDEN ----------------------------------------------------------------------------------
 */

static void eden_corrects_the_projection(void **state)
{
    const nyb_format *f = &nyb_format_e2m1;
    float x[KNOWN_N], t[128], grid[128];

    (void)state;
    known_vector(x);
    for (size_t at = 0; at < KNOWN_N; at += 128) {
        const nyb_level level = level_of(&nyb_scale_ms_eden, f, x + at, 128);
        const float top = 255.99f, val_max = 6.0f / 0.988125f;
        nyb_group_scale s[8], low[8], high[8];
        double tt = 0, tq = 0;
        float factor;

        assert_true(level.scale == stats_of(x + at, 128).absmax / top / val_max);
        for (size_t i = 0; i < 128; i++) {
            if (i % 16 == 0)
                s[i / 16] = scale_of(&nyb_scale_ms_eden, f, &level, x + at + i, 16, 0);
            t[i] = x[at + i] * s[i / 16].inv;
            grid[i] = grid_of(f, NYB_ROUND_NEAREST, t[i], 0);
            tt += (double)t[i] * (double)t[i];
            tq += (double)t[i] * (double)grid[i];
        }
        factor = (float)(tt / tq);
        assert_true(factor > 0.8f && factor < 1.25f);
        for (int g = 0; g < 8; g++) {
            /* up with a probability of T / 2^23: the largest r that stays down is 2^23 - 1 - T */
            const float v = s[g].scale * factor;
            uint32_t r23[8] = {0}, least = 0, most = 1u << 23;

            memcpy(low, s, sizeof s);
            nyb_scale_ms_eden.finish(f, &level, t, grid, 16, 8, r23, low);
            while (least < most) {
                const uint32_t r = (least + most) / 2;

                memcpy(high, s, sizeof s);
                r23[g] = r;
                nyb_scale_ms_eden.finish(f, &level, t, grid, 16, 8, r23, high);
                if (high[g].scale > low[g].scale)
                    most = r;
                else
                    least = r + 1;
            }
            if (most == 1u << 23) { /* never up */
                assert_true(low[g].scale == v);
                continue;
            }
            memcpy(high, s, sizeof s);
            r23[g] = (1u << 23) - 1;
            nyb_scale_ms_eden.finish(f, &level, t, grid, 16, 8, r23, high);
            assert_true(low[g].scale <= v && v < high[g].scale);
            assert_true(high[g].scale / low[g].scale <= 1.125f || low[g].scale < 0x1p-6f);
            double up = (double)((1u << 23) - most) * 0x1p-23;
            double mean = (1 - up) * (double)low[g].scale + up * (double)high[g].scale;
            const double off = (double)v - mean; /* what 23 bits of the fraction cut off */
            assert_true(off >= 0 && off < 0x1p-23 * (double)(high[g].scale - low[g].scale));
            assert_true(high[g].inv == s[g].inv);
        }
    }
}

static void eden_guards_its_ends(void **state)
{
    const nyb_format *f = &nyb_format_e2m1;
    const nyb_level level = {.scale = 1};
    const uint32_t never[2] = {0, 0}, always[2] = {0x7fffff, 0x7fffff};
    float zeros[32] = {0}, t[32], grid[32];
    nyb_group_scale s[2] = {{0}, {.scale = 448, .inv = 1.0f / 448}};

    (void)state;
    nyb_scale_ms_eden.finish(f, &level, zeros, zeros, 16, 2, always, s); /* S = 1 */
    assert_true(s[0].scale == 0 && s[1].scale == 448);
    for (int i = 0; i < 32; i++) { /* S = 1.25, beyond the largest */
        t[i] = 5;
        grid[i] = 4;
    }
    nyb_scale_ms_eden.finish(f, &level, t, grid, 16, 2, always, s);
    assert_true(s[1].scale == 448);
    s[0] = (nyb_group_scale){.scale = 0x1p-9f};
    nyb_scale_ms_eden.finish(f, &level, t, grid, 16, 2, never, s);
    assert_true(s[0].scale == 0x1p-9f);
    nyb_scale_ms_eden.finish(f, &level, grid, t, 16, 2, never, s); /* S = 0.8 of the smallest */
    assert_true(s[0].scale == 0);
    s[0] = (nyb_group_scale){.scale = 0x1p-9f};
    nyb_scale_ms_eden.finish(f, &level, grid, t, 16, 2, always, s);
    assert_true(s[0].scale == 0x1p-9f);
}

/* ---- hbfp, weights ----------------------------------------------------------------------------
 */

static void hbfp_takes_the_power_above(void **state)
{
    static const struct {
        float absmax;
        int e;
    } cases[] = {{1, 0}, {1.0000002f, 1}, {2, 1}, {0.5f, -1}, {0.51f, 0}, {3, 2}, {1e-20f, -26}};
    const nyb_level one = {.scale = 1};

    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const float x = cases[c].absmax;
        nyb_group_scale s = scale_of(&nyb_scale_hbfp, &nyb_format_int4, &one, &x, 1, 0);

        assert_true(s.scale == ldexpf(1, cases[c].e - 3));
        s = scale_of(&nyb_scale_hbfp, &nyb_format_int8, &one, &x, 1, 0);
        assert_true(s.scale == ldexpf(1, cases[c].e - 7));
    }
    assert_false(nyb_scale_hbfp.fits(&nyb_format_uint4));
    assert_false(nyb_scale_hbfp.fits(&nyb_format_int5w));
}

static void weights_of_few_values(void **state)
{
    const float x[6] = {0.5f, -0.25f, 2, -3, 0.25f, 0}; /* E|x| = 1; above 0.7: 2 and 3 */
    const nyb_format *f = &nyb_format_ternary;
    const nyb_level one = {.scale = 1};
    const nyb_moments m = {.absmax = 3, .sum_abs = 6, .sum_sq = 13.375, .n = 8, .n_nan = 2};
    nyb_group_scale s;

    (void)state;
    assert_true(f->max == 1);
    s = scale_of(&nyb_scale_mean_abs, f, &one, x, 6, 0);
    assert_true(s.scale == 1 && s.inv == 1);
    assert_true(nyb_scale_mean_abs.choose(f, &m, NULL) == 1);
    s = scale_of(&nyb_scale_bitnet, f, &one, x, 6, 0);
    assert_true(s.scale == 1 && s.inv == 1.0f / 1.00001f);
    s = scale_of(&nyb_scale_twn, f, &one, x, 6, 0);
    assert_true(s.scale == 2.5f && s.inv == 0.5f / 0.7f);
    for (int i = 0; i < 6; i++)
        assert_true(grid_of(f, NYB_ROUND_NEAREST, x[i] * s.inv, 0) ==
                    (float)((x[i] > 0.7f) - (x[i] < -0.7f)));
    assert_false(nyb_scale_twn.fits(&nyb_format_int4));
    assert_false(nyb_scale_mean_abs.fits(&nyb_format_e2m1));
}

/* ---- GradScale --------------------------------------------------------------------------------
 */

static float gradscale(const nyb_scale_rule *rule, float absmax, float *memory)
{
    const nyb_moments m = {.absmax = absmax, .n = 4, .n_nonzero = absmax > 0};

    return rule->choose(&nyb_format_e3m0, &m, memory);
}

/* NUMERICS 2.3: kappa = 6 - floor(log2 max) first, then -1 above 128, +1 below 32. */
static void gradscale_is_a_state_machine(void **state)
{
    static const struct {
        float absmax;
        int kappa; /* of this step */
    } steps[] = {{0, 0},    {1.5f, 6}, {1.5f, 6},   {1.99f, 6}, {2, 6}, {2, 5},    {0.99f, 5},
                 {1.0f, 6}, {0.5f, 6}, {0.499f, 6}, {0.25f, 7}, {0, 7}, {0.1f, 7}, {9, 8},
                 {9, 7},    {9, 6},    {9, 5},      {9, 4},     {9, 3}, {9, 3}};
    float memory[NYB_SCALE_STATE_MAX] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const float clip = gradscale(&nyb_scale_gradscale, steps[i].absmax, memory);

        assert_true(clip == (steps[i].absmax > 0 ? ldexpf(64, -steps[i].kappa) : 0));
    }
    for (int i = 0; i < 400; i++)
        gradscale(&nyb_scale_gradscale, FLT_MIN, memory);
    assert_true(memory[0] == 118);
    for (int i = 0; i < 400; i++)
        gradscale(&nyb_scale_gradscale, FLT_MAX, memory);
    assert_true(memory[0] == -118);
    for (int e = -100; e < 120; e++) {
        const float power = ldexpf(1, e);

        assert_true(gradscale(&nyb_scale_gradscale_exact, power, NULL) == power);
        assert_true(gradscale(&nyb_scale_gradscale_exact, nextafterf(2 * power, 0), NULL) == power);
    }
    /* both phases of the radix-4 format share 2^-kappa */
    assert_true(nyb_scale_gradscale.fits(&nyb_format_e3m0r4));
    assert_true(nyb_scale_gradscale.fits(&nyb_format_e3m0r4odd));
    const nyb_moments m = {.absmax = 3, .n = 1, .n_nonzero = 1}; /* kappa = 5 */
    assert_true(nyb_scale_gradscale_exact.choose(&nyb_format_e3m0r4, &m, NULL) == 2);
    assert_true(nyb_scale_gradscale_exact.choose(&nyb_format_e3m0r4odd, &m, NULL) == 4);
    assert_false(nyb_scale_gradscale.fits(&nyb_format_int4));
}

/* ---- outsiders --------------------------------------------------------------------------------
 */

static void blocks_are_those_of_other_libraries(void **state)
{
    float x[KNOWN_N], values[KNOWN_N];

    (void)state;
    known_vector(x);
    for (size_t c = 0; c < sizeof block_scales / sizeof *block_scales; c++) {
        const nyb_format *f = nyb_format_find(block_scales[c].format);
        const nyb_scale_rule *rule = rule_of(block_scales[c].rule);
        const size_t block = (size_t)block_scales[c].block;
        nyb_level level;

        assert_non_null(f);
        level = level_of(rule, f, x, KNOWN_N);
        for (size_t at = 0; at < KNOWN_N; at += block) {
            const nyb_group_scale s = scale_of(rule, f, &level, x + at, block, 0);

            for (size_t i = at; i < at + block; i++)
                values[i] =
                    value_of(&level, &s, grid_of(f, NYB_ROUND_NEAREST, x[i] * s.inv, 0)) + 0.0f;
        }
        assert_true(known_fnv(KNOWN_FNV_START, values, sizeof values) == block_scales[c].fnv);
    }
}

/* ---- laws -------------------------------------------------------------------------------------
 */

#define BLOCK 16

typedef void law_fn(const nyb_scale_rule *rule, const nyb_format *f);

static void for_all(law_fn *law)
{
    size_t n = 0;

    for (size_t r = 0; r < nyb_scale_rule_count(); r++)
        for (size_t f = 0; f < nyb_format_count(); f++)
            /* formats with the range of f32 are not scaled to it */
            if (takes_blocks(nyb_scale_rule_at(r), nyb_format_at(f)) &&
                nyb_format_at(f)->max <= 0x1p33f) {
                law(nyb_scale_rule_at(r), nyb_format_at(f));
                n++;
            }
    assert_true(n > 20);
}

/* Blocks 0 .. n - 1 of one tensor, a fifth of an octave apart each. */
static void make_blocks(float *x, size_t n, bool is_signed, float factor)
{
    for (size_t i = 0; i < n * BLOCK; i++) {
        const float u = (float)(int32_t)known_u32(7, 0, 0, 0, 0, i) * 0x1p-31f;

        x[i] = (is_signed ? u : fabsf(u)) * factor * (1 + 0.2f * (float)(i / BLOCK));
    }
}

static void law_of_records(const nyb_scale_rule *rule, const nyb_format *f)
{
    size_t n = 0;

    (void)f;
    assert_true(strlen(rule->name) > 1 && strlen(rule->about) > 20 && strlen(rule->source) > 10);
    assert_non_null(rule->groups);
    for (int g = 0; g <= NYB_GROUP_TILE16; g++)
        n += rule->groups((nyb_group)g);
    assert_true(n > 0);
    assert_true(!rule->group != !rule->search);
    assert_true(rule->n_trials <= 4);
}

/* Normal scales with normal reciprocals; what is not clipped is covered. */
static void law_of_covering(const nyb_scale_rule *rule, const nyb_format *f)
{
    float x[24 * BLOCK];
    nyb_level level;

    make_blocks(x, 24, f->is_signed, 3);
    level = level_of(rule, f, x, 24 * BLOCK);
    for (size_t b = 0; b < 24; b++) {
        const float absmax = stats_of(x + b * BLOCK, BLOCK).absmax;

        for (int trial = 0; trial < (rule->n_trials > 1 ? rule->n_trials : 1); trial++) {
            const nyb_group_scale s = scale_of(rule, f, &level, x + b * BLOCK, BLOCK, trial);
            const float top = f->max * s.scale * level.scale;

            assert_true(s.scale >= FLT_MIN && s.inv >= FLT_MIN && s.scale * s.inv > 0);
            if (!clips(rule))
                assert_true(top >= absmax * (1 - 0x1p-23f));
            assert_true(top > 0.2f * absmax);
            if (f->max > 1)
                assert_true(top < 4.1f * absmax);
            if (!rule->search)
                assert_float_equal(s.inv * (s.scale * level.scale), 1, 2e-5);
        }
    }
}

/* x times a power of two: the same codes, scales times that power. */
static void law_of_powers(const nyb_scale_rule *rule, const nyb_format *f)
{
    float x[4 * BLOCK], y[4 * BLOCK];

    if (strstr(rule->about, "1e-") || rule == &nyb_scale_hbfp)
        return; /* with an absolute constant */
    for (int k = -60; k <= 60; k += 5) {
        nyb_level a, b;

        make_blocks(x, 4, f->is_signed, 3);
        make_blocks(y, 4, f->is_signed, 3);
        for (int i = 0; i < 4 * BLOCK; i++)
            y[i] = ldexpf(y[i], k);
        a = level_of(rule, f, x, 4 * BLOCK);
        b = level_of(rule, f, y, 4 * BLOCK);
        for (int g = 0; g < 4; g++) {
            const nyb_group_scale s = scale_of(rule, f, &a, x + g * BLOCK, BLOCK, 0);
            const nyb_group_scale t = scale_of(rule, f, &b, y + g * BLOCK, BLOCK, 0);

            assert_true(t.scale * b.scale == ldexpf(s.scale * a.scale, k));
            assert_true(t.inv == ldexpf(s.inv, -k));
        }
    }
}

/* Powers of two under a power-of-two rule, and the top of every format, are kept exactly. */
static void law_of_exact_tops(const nyb_scale_rule *rule, const nyb_format *f)
{
    if (strncmp(rule->name, "e8m0", 4) != 0 && strcmp(rule->name, "pow2") != 0 &&
        strcmp(rule->name, "absmax") != 0)
        return;
    if (rule == &nyb_scale_e8m0_quest)
        return;
    for (int e = -60; e < 60; e++) {
        const float x[2] = {ldexpf(f->max, e), 0};
        const nyb_level level = level_of(rule, f, x, 2);
        const nyb_group_scale s = scale_of(rule, f, &level, x, 2, 0);

        if (rule == &nyb_scale_e8m0_ceil) {
            assert_true(s.scale == ldexpf(f->max == exp2f(floorf(log2f(f->max))) ? 1 : 2, e));
            continue;
        }
        assert_true(s.scale == ldexpf(1, e) && s.inv == ldexpf(1, -e));
        assert_true(value_of(&level, &s, grid_of(f, NYB_ROUND_NEAREST, x[0] * s.inv, 0)) == x[0]);
    }
}

static void law_of_zeros(const nyb_scale_rule *rule, const nyb_format *f)
{
    float x[2 * BLOCK] = {0};
    nyb_level level;

    for (int what = 0; what < 3; what++) {
        for (int i = 0; i < BLOCK; i++)
            x[i] = what == 0 ? (i % 2 ? 0.0f : -0.0f) : what == 1 ? NAN : FLT_MIN / 4;
        for (int other = 0; other < 2; other++) {
            x[BLOCK] = (float)other; /* a block beside it that is not zero */
            level = level_of(rule, f, x, 2 * BLOCK);
            for (int trial = 0; trial < (rule->n_trials > 1 ? rule->n_trials : 1); trial++) {
                const nyb_group_scale s = scale_of(rule, f, &level, x, BLOCK, trial);

                assert_true(s.scale == 0 && s.inv == 0 && s.offset == 0);
            }
        }
    }
    assert_true(isfinite(level.scale) && level.scale > 0);
}

/* From the smallest normal number to FLT_MAX: scales are normal or 0, values never infinite. */
static void law_of_ends(const nyb_scale_rule *rule, const nyb_format *f)
{
    for (int e = -126; e <= 128; e++)
        for (int last = 0; last < 2; last++) {
            const float top = e == 128 ? FLT_MAX : ldexpf(last ? 1.99f : 1.0f, e);
            const float x[3] = {top, f->is_signed ? -top : top, top / 2};
            const nyb_level level = level_of(rule, f, x, 3);
            const uint32_t r23[1] = {0x7fffff};

            assert_true(level.scale == 0 || level.scale >= FLT_MIN);
            for (int trial = 0; trial < (rule->n_trials > 1 ? rule->n_trials : 1); trial++) {
                nyb_group_scale s = scale_of(rule, f, &level, x, 3, trial);
                float t[3], grid[3];

                assert_true(s.scale == 0 || (s.scale >= FLT_MIN && s.scale <= 0x1p126f));
                assert_true(s.scale == 0 || (s.inv >= FLT_MIN && s.inv <= FLT_MAX));
                if (e > -90 && e < 110)
                    assert_true(s.scale > 0);
                for (int i = 0; i < 3; i++) {
                    t[i] = x[i] * s.inv;
                    grid[i] = grid_of(f, NYB_ROUND_NEAREST, t[i], 0);
                }
                if (rule->finish)
                    rule->finish(f, &level, t, grid, 3, 1, r23, &s);
                for (int i = 0; i < 3; i++)
                    assert_true(isfinite(value_of(&level, &s, grid[i])));
                assert_true(isfinite(value_of(&level, &s, f->max)));
            }
        }
}

/* The mean over all 2^23 draws of stochastic rounding, whose outcome is monotone in them. */
static double expectation(const nyb_format *f, const nyb_level *level, const nyb_group_scale *s,
                          float x)
{
    const float t = x * s->inv, low = grid_of(f, NYB_ROUND_STOCHASTIC, t, 0);
    const float high = grid_of(f, NYB_ROUND_STOCHASTIC, t, (1u << 23) - 1);
    uint32_t least = 0, most = 1u << 23;

    if (low == high)
        return (double)value_of(level, s, low);
    while (least < most) {
        const uint32_t r = (least + most) / 2;

        if (grid_of(f, NYB_ROUND_STOCHASTIC, t, r) == low)
            least = r + 1;
        else
            most = r;
    }
    return (1.0 - (double)((1u << 23) - most) * 0x1p-23) * (double)value_of(level, s, low) +
           (double)((1u << 23) - most) * 0x1p-23 * (double)value_of(level, s, high);
}

static bool has_symmetric_stochastic(const nyb_scale_rule *rule, const nyb_format *f)
{
    const nyb_spec spec = {.format = f,
                           .scale = rule,
                           .group = NYB_GROUP_BLOCK16,
                           .rounding = NYB_ROUND_STOCHASTIC,
                           .sr_bits = 32};

    return nyb_spec_check(&spec, NULL) == NYB_OK;
}

/* Rules that clip nothing are unbiased to rounding errors; the others say that they are biased,
 * and are, a thousand times as much. */
static void law_of_expectations(const nyb_scale_rule *rule, const nyb_format *f)
{
    /* just below what some rule of some format rounds up or down */
    static const float tops[8] = {3.999f, 3.98f, 3.9f, 3.8f, 3.49f, 2.99f, 2.49f, 2.2f};
    float x[24 * BLOCK];
    double worst = 0;
    nyb_level level;

    if (!has_symmetric_stochastic(rule, f))
        return;
    make_blocks(x, 24, f->is_signed, 3);
    x[5 * BLOCK] = 1e-5f; /* of a block far below the tensor's */
    for (int i = 1; i < BLOCK; i++)
        x[5 * BLOCK + i] = f->is_signed && i % 2 ? -1.3e-5f : 0.7e-5f;
    for (int b = 6; b < 14; b++) {
        for (int i = 0; i < BLOCK; i++)
            x[b * BLOCK + i] *= 0.15f;
        x[b * BLOCK] = tops[b - 6];
    }
    level = level_of(rule, f, x, 24 * BLOCK);
    for (size_t b = 0; b < 24; b++) {
        const float absmax = stats_of(x + b * BLOCK, BLOCK).absmax;
        const nyb_group_scale s = scale_of(rule, f, &level, x + b * BLOCK, BLOCK, 0);

        for (size_t i = b * BLOCK; i < (b + 1) * BLOCK; i++) {
            double error = fabs(expectation(f, &level, &s, x[i]) - (double)x[i]) / (double)absmax;

            worst = error > worst ? error : worst;
        }
    }
    if (!clips(rule))
        assert_true(worst < 0x1p-20);
    else if (f->grid != NYB_GRID_INT || f->n_codes < 64) /* finer ones hardly clip */
        assert_true(worst > 0x1p-10 && strstr(rule->about, "biased"));
}

/* absmax_only, range_only: choose, level and group give the same when told nothing else. */
static void rules_read_no_more_than_they_say(void **state)
{
    const nyb_format *f = &nyb_format_e2m1;
    float x[BLOCK];
    size_t n = 0, n_ranges = 0;

    (void)state;
    make_blocks(x, 1, true, 3.0f);
    const nyb_group_stats all = stats_of(x, BLOCK);
    const nyb_group_stats range = {
        .min = all.min, .max = all.max, .absmax = all.absmax, .n = BLOCK};
    const nyb_group_stats few = {.absmax = all.absmax, .n = BLOCK};
    const nyb_moments moments = {.absmax = all.absmax,
                                 .sum_abs = all.sum_abs,
                                 .sum_sq = all.sum_sq,
                                 .n = BLOCK,
                                 .n_nonzero = all.n_nonzero},
                      less = {.absmax = all.absmax, .n = BLOCK};

    for (size_t r = 0; r < nyb_scale_rule_count(); r++) {
        const nyb_scale_rule *rule = nyb_scale_rule_at(r);
        float states[2][NYB_SCALE_STATE_MAX] = {{0}};
        nyb_level level[2] = {{.scale = 1}, {.scale = 1}};
        nyb_group_scale scale[2];

        if (rule->range_only) {
            n_ranges++;
            rule->group(&nyb_format_uint4, NULL, &all, NULL, 0, &scale[0]);
            rule->group(&nyb_format_uint4, NULL, &range, NULL, 0, &scale[1]);
            assert_memory_equal(&scale[0], &scale[1], sizeof scale[0]);
        }
        if (!rule->absmax_only)
            continue;
        n++;
        if (rule->choose)
            assert_true(rule->choose(f, &moments, states[0]) == rule->choose(f, &less, states[1]));
        if (rule->level) {
            rule->level(f, &all, &level[0]);
            rule->level(f, &few, &level[1]);
            assert_memory_equal(&level[0], &level[1], sizeof level[0]);
        }
        for (int trial = 0; rule->group && trial < (rule->n_trials > 0 ? rule->n_trials : 1);
             trial++) {
            rule->group(f, &level[0], &all, NULL, trial, &scale[0]);
            rule->group(f, &level[1], &few, NULL, trial, &scale[1]);
            assert_true(scale[0].scale == scale[1].scale && scale[0].inv == scale[1].inv);
        }
    }
    assert_true(n > 8 && n_ranges == 3);
}

/* Least and largest are those of the full statistics, whatever is among the elements. */
static void a_range_is_that_of_all_statistics(void **state)
{
    static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, -0.0f, 0.0f, 1e-40f, -1e-40f};
    enum { N = 5000 };
    nyb_context *context = NULL;
    float x[N];
    char *scratch = malloc(1 << 16);

    (void)state;
    assert_non_null(scratch);
    assert_int_equal(nyb_context_create(NULL, 1, &context, NULL), NYB_OK);
    for (int kind = 0; kind < 6; kind++) {
        for (size_t i = 0; i < N; i++) {
            const float v = (float)(int32_t)known_u32(7, 1, 0, 0, 0, i) * 0x1p-31f;
            x[i] = kind == 0   ? v
                   : kind == 1 ? fabsf(v) + 1
                   : kind == 2 ? -fabsf(v) - 1
                               : odd[i % 8];
            if ((kind == 1 || kind == 2) && i % 7 == 3)
                x[i] = odd[i % 4];
            if (kind == 4 && i == 4321)
                x[i] = FLT_MAX;
            if (kind == 5 && i % 8 > 3)
                x[i] = i % 16 < 8 ? -FLT_MIN : NAN;
        }
        for (size_t n = 1; n <= N; n += n < 20 ? 1 : 1660) {
            const nyb_group_stats all = nyb_round_stats(context, &nyb_scale_sawb, x, n, scratch);
            const nyb_group_stats range = nyb_round_stats(context, &nyb_scale_ptq, x, n, scratch);
            assert_false(nyb_scale_sawb.range_only || nyb_scale_sawb.absmax_only);
            assert_true((range.n > 0) == (all.n > 0));
            assert_memory_equal(&range.min, &all.min, sizeof all.min);
            assert_memory_equal(&range.max, &all.max, sizeof all.max);
            assert_memory_equal(&range.absmax, &all.absmax, sizeof all.absmax);
        }
    }
    nyb_context_destroy(&context);
    free(scratch);
}

/* lags: what a rule will choose is known before its tensor, but for the first, and does not change
 * what it chooses. */
static void rules_that_lag_are_known_beforehand(void **state)
{
    static const float maxima[] = {0, 3, 0.5f, 40, 0, 1e-30f, 7, 7, 1e30f, 2};
    size_t n = 0;

    (void)state;
    for (size_t r = 0; r < nyb_scale_rule_count(); r++) {
        const nyb_spec s = {.format = &nyb_format_e3m0, .scale = nyb_scale_rule_at(r)};
        float memory[NYB_SCALE_STATE_MAX] = {0};

        if (!s.scale->lags) {
            assert_true(nyb_scale_lagging(&s, memory) == 0.0f);
            continue;
        }
        n++;
        for (size_t i = 0; i < sizeof maxima / sizeof *maxima; i++) {
            const nyb_moments m = {.absmax = maxima[i], .n = 10, .n_nonzero = maxima[i] > 0};
            const float before = nyb_scale_lagging(&s, memory);
            const float scale = nyb_scale_choose(&s, &m, memory);

            assert_true(i < 2 ? before == 0.0f : before == scale && scale > 0);
        }
    }
    assert_true(n >= 3);
}

#define LAW(law)                                                                                   \
    static void every_rule_obeys_the_##law(void **state)                                           \
    {                                                                                              \
        (void)state;                                                                               \
        for_all(law);                                                                              \
    }
LAW(law_of_records)
LAW(law_of_covering)
LAW(law_of_powers)
LAW(law_of_exact_tops)
LAW(law_of_zeros)
LAW(law_of_ends)
LAW(law_of_expectations)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mx_rules_of_the_published_table),
        cmocka_unit_test(mx_rules_know_every_element_format),
        cmocka_unit_test(quest_follows_the_deviation),
        cmocka_unit_test(nvfp4_of_the_golden_vector),
        cmocka_unit_test(block_scales_are_rounded_to_e4m3),
        cmocka_unit_test(four_six_brings_the_largest_to_six_or_four),
        cmocka_unit_test(eden_corrects_the_projection),
        cmocka_unit_test(eden_guards_its_ends),
        cmocka_unit_test(hbfp_takes_the_power_above),
        cmocka_unit_test(weights_of_few_values),
        cmocka_unit_test(gradscale_is_a_state_machine),
        cmocka_unit_test(blocks_are_those_of_other_libraries),
        cmocka_unit_test(rules_read_no_more_than_they_say),
        cmocka_unit_test(a_range_is_that_of_all_statistics),
        cmocka_unit_test(rules_that_lag_are_known_beforehand),
        cmocka_unit_test(every_rule_obeys_the_law_of_records),
        cmocka_unit_test(every_rule_obeys_the_law_of_covering),
        cmocka_unit_test(every_rule_obeys_the_law_of_powers),
        cmocka_unit_test(every_rule_obeys_the_law_of_exact_tops),
        cmocka_unit_test(every_rule_obeys_the_law_of_zeros),
        cmocka_unit_test(every_rule_obeys_the_law_of_ends),
        cmocka_unit_test(every_rule_obeys_the_law_of_expectations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
