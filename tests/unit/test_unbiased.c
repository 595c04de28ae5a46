#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/vec_ref.h"
#include "gemm/store.h"
#include "gemm/tile.h"
#include "known.h"
#include "quant/quant.h"

/* Unbiasedness by enumeration (NUMERICS, binding resolution 3): no statistics, every draw. */

#define DRAWS    65536u
#define FULL     (1u << 23)
#define N_FIELDS 10000

/* Rounds x with the draw u; true if the code is the upper of the two neighbours. */
typedef bool rounder(const nyb_spec *spec, float x, uint32_t u, unsigned lower, unsigned upper);

static bool library16(const nyb_spec *spec, float x, uint32_t u, unsigned lower, unsigned upper)
{
    unsigned code = nyb_encode_one(spec, 1.0f, x, u << 7 | 64);

    if (code != lower && code != upper)
        fail_msg("%a went to code %u, neither %u nor %u", (double)x, code, lower, upper);
    return code == upper;
}

/* Negative controls: without the OR-ed 64 (a bias of half a quantum), and with the draw's lowest
 * sixteenth never used (6 % too few round-ups). */
static bool without_half(const nyb_spec *spec, float x, uint32_t u, unsigned lower, unsigned upper)
{
    (void)lower;
    return nyb_encode_one(spec, 1.0f, x, u << 7) == upper;
}

static bool too_few(const nyb_spec *spec, float x, uint32_t u, unsigned lower, unsigned upper)
{
    return library16(spec, x, u - u / 16, lower, upper);
}

/* The mantissa fields: both ends, every quantum's edges near them, then strides over all. */
static uint32_t field(size_t i)
{
    static const uint32_t edges[] = {
        0,         1,         63,         64,         65,           127,
        128,       129,       191,        192,        FULL / 2,     FULL - 1,
        FULL - 64, FULL - 65, FULL - 128, FULL - 129, FULL / 2 - 1, FULL / 2 + 64,
        FULL / 3};
    const size_t n = sizeof edges / sizeof *edges;

    return i < n ? edges[i] : (uint32_t)((i - n) * 838 + i % 7) % FULL;
}

/* How many of the fields [from, to) do not go up in exactly floor((m + 64) / 128) of all draws.
 * octave 0 is the underflow branch, u = m / 2^23 of alpha; octave k the magnitudes
 * 2^(k-1) (1 + m / 2^23). */
static size_t count_wrong(const nyb_spec *spec, rounder *round, unsigned octave, size_t from,
                          size_t to)
{
    size_t n_wrong = 0;

    for (size_t i = from; i < to; i++) {
        const uint32_t m = field(i);
        const float x = octave ? nyb_float_of((126 + octave) << 23 | m) : (float)m * 0x1p-23f;
        uint32_t n_up = 0;

        for (uint32_t u = 0; u < DRAWS; u++)
            n_up += round(spec, x, u, octave, octave + 1);
        n_wrong += n_up != (m + 64) / 128;
    }
    return n_wrong;
}

static void log2_goes_up_as_often_as_it_says(void **state)
{
    nyb_spec s;

    (void)state;
    assert_int_equal(nyb_spec_parse("e3m0/absmax/tensor/stochastic", &s, NULL), NYB_OK);
    assert_int_equal(count_wrong(&s, library16, 0, 0, N_FIELDS), 0);
    assert_int_equal(count_wrong(&s, library16, 1, 0, N_FIELDS), 0);
    for (unsigned octave = 2; octave <= 6; octave++)
        assert_int_equal(count_wrong(&s, library16, octave, 0, 40), 0);
}

static void a_biased_rounder_is_noticed(void **state)
{
    nyb_spec s;

    (void)state;
    assert_int_equal(nyb_spec_parse("e3m0/absmax/tensor/stochastic", &s, NULL), NYB_OK);
    for (unsigned octave = 0; octave < 3; octave++) {
        assert_true(count_wrong(&s, without_half, octave, 0, 200) > 50);
        assert_true(count_wrong(&s, too_few, octave, 0, 200) > 150);
    }
}

/* 32 bits: up iff r >= 2^23 - m, which makes P(up) = m / 2^23 exactly. */
static void log2_with_32_bits_is_exact(void **state)
{
    nyb_spec s;

    (void)state;
    assert_int_equal(nyb_spec_parse("e3m0/absmax/tensor/stochastic:32", &s, NULL), NYB_OK);
    for (unsigned octave = 0; octave <= 6; octave++)
        for (size_t i = 0; i < N_FIELDS; i++) {
            const uint32_t m = field(i);
            const float x = octave ? nyb_float_of((126 + octave) << 23 | m) : (float)m * 0x1p-23f;
            const uint32_t r[] = {0, FULL - m - 1, FULL - m, FULL - 1};

            for (size_t k = 0; k < 4; k++)
                if (r[k] < FULL)
                    assert_int_equal(nyb_encode_one(&s, 1.0f, x, r[k]),
                                     octave + (r[k] >= FULL - m));
        }
}

/* Between neighbours of the other grids, at fractions f in steps of 2^-23: with m = floor(2^23 f),
 * 16 bits go up in floor((m + 64) / 128) draws of 65536, 32 bits iff r >= 2^23 - m. */
static void other_grids_go_up_as_often_as_they_say(void **state)
{
    (void)state;
    for (size_t i = 1; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);
        nyb_spec s = {.format = f,
                      .scale = nyb_scale_rule_at(0),
                      .rounding = NYB_ROUND_STOCHASTIC,
                      .sr_bits = 16};
        unsigned top = f->grid == NYB_GRID_INT ? (unsigned)f->hi : f->n_codes / 2u - 1;

        if (f->grid == NYB_GRID_LOG2 || f->bits > 8 || f->max > 0x1p100f)
            continue;
        if (f->ascending)
            top = f->n_codes - 1;
        while (!(nyb_format_decode(f, top) <= f->max)) /* codes of Inf and NaN */
            top--;
        for (unsigned lower = 0; lower<top; lower += top> 20 ? 21 : 1) {
            const double l = (double)nyb_format_decode(f, lower);
            const double gap = (double)nyb_format_decode(f, lower + 1) - l;

            for (size_t k = 0; k < 20; k++) {
                const float x = (float)(l + gap * (double)field(k * 17) * 0x1p-23);
                const double part = ((double)x - l) / gap;
                const bool down = l < 0 && l + gap <= 0; /* up is away from zero */
                const uint32_t m = (uint32_t)floor((down ? 1 - part : part) * FULL);
                const unsigned inner = lower + down, outer = lower + !down;
                const uint32_t r[] = {0, FULL - m - 1, FULL - m, FULL - 1};
                uint32_t n_up = 0;

                if (part >= 1)
                    continue;
                s.sr_bits = 16;
                for (uint32_t u = 0; u < DRAWS; u++)
                    n_up += library16(&s, x, u, inner, outer);
                assert_int_equal(n_up, (m + 64) / 128);
                s.sr_bits = 32;
                for (size_t j = 0; j < 4; j++)
                    if (r[j] < FULL)
                        assert_int_equal(nyb_encode_one(&s, 1.0f, x, r[j]),
                                         r[j] >= FULL - m ? outer : inner);
            }
        }
    }
}

/* Of all draws the mean is the number, to the last bit: over an exponent's end, too. */
static void bf16_by_chance_is_the_number_itself(void **state)
{
    static const uint32_t kept[] = {0x3f80, 0xbf80, 0x407f, 0x00ff, 0xc2fe, 0x4d7f, 0x0080};

    (void)state;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        for (uint32_t dropped = 0; dropped < DRAWS; dropped += 4001) {
            const float x = nyb_float_of(kept[i] << 16 | dropped);
            double sum = 0;

            for (uint32_t u = 0; u < DRAWS; u += 16) {
                uint16_t draws[16];
                vec v;

                for (uint32_t j = 0; j < 16; j++)
                    draws[j] = (uint16_t)(u + j);
                v = vec_draw_bf16(vec_set(x), draws);
                for (int j = 0; j < 16; j++)
                    sum += (double)v.lane[j];
            }
            assert_true(sum == DRAWS * (double)x);
        }
}

/* ---- the draws themselves: one value at a time, false alarms below 1e-9 -----------------------
 */

#define N_COPIES 65536

/* n KL(k/n || p) <= ln(2 tests / 1e-9), Chernoff: NUMERICS 8.4. */
static void expect_frequency(size_t k, size_t n, double p, double n_tests)
{
    double q = (double)k / (double)n, kl = 0;

    if (q > 0)
        kl += q * log(q / p);
    if (q < 1)
        kl += (1 - q) * log((1 - q) / (1 - p));
    if ((double)n * kl > log(2 * n_tests / 1e-9))
        fail_msg("%zu of %zu, expected a share of %g", k, n, p);
}

/* up[i]: did the i-th of N_COPIES equal values go up? */
static void draw_copies(const nyb_spec *s, float x, uint8_t sample, uint8_t *up)
{
    const nyb_stream stream = {.seed = 42, .step = 1, .role = NYB_RNG_DY_DX, .sample = sample};
    float *copies = malloc(N_COPIES * sizeof *copies);
    nyb_packed p = {
        .format = s->format, .rows = N_COPIES / 16, .cols = 16, .pitch = 16, .scale = 1};
    nyb_context *context;
    unsigned lower = nyb_encode_one(s, 1.0f, x, 0);

    assert_non_null(copies);
    assert_int_equal(nyb_context_create(NULL, 1, &context, NULL), NYB_OK);
    p.codes = nyb_alloc(nyb_packed_bytes(s->format, p.rows, p.cols));
    assert_non_null(p.codes);
    for (size_t i = 0; i < N_COPIES; i++)
        copies[i] = x;
    nyb_encode_run(context, s, &stream, copies, &p);
    for (size_t i = 0; i < N_COPIES; i++) {
        unsigned code = nyb_packed_get(&p, i / 16, i % 16);

        assert_in_range(code, lower, lower + 1);
        up[i] = code == lower + 1;
    }
    nyb_free(p.codes);
    nyb_context_destroy(&context);
    free(copies);
}

static void copies_of_one_value_average_to_it(void **state)
{
    static const float share[] = {0.01f, 0.1f, 0.25f, 0.5f, 0.7f, 0.999f};
    uint8_t *up = malloc(N_COPIES);

    (void)state;
    assert_non_null(up);
    for (size_t k = 0; k < 6; k++)
        for (unsigned octave = 0; octave < 3; octave++)
            for (int bits = 16; bits <= 32; bits += 16) {
                const float base = octave ? ldexpf(1, (int)octave - 1) : 0, gap = octave ? base : 1;
                nyb_spec s;
                size_t n = 0;

                assert_int_equal(nyb_spec_parse("e3m0", &s, NULL), NYB_OK);
                s.sr_bits = bits;
                draw_copies(&s, base + gap * share[k], 0, up);
                for (size_t i = 0; i < N_COPIES; i++)
                    n += up[i];
                expect_frequency(n, N_COPIES, (double)share[k], 36);
            }
    free(up);
}

/* Which of N_COPIES went up to 1 + 2^-7 on their way to memory. */
static void store_copies(const nyb_store_kernel *kernel, float x, uint8_t *up)
{
    const nyb_stream stream = {.seed = 42, .step = 1, .tensor = 3, .role = NYB_RNG_STORE_X};
    uint16_t *out = malloc(N_COPIES * sizeof *out);
    float block[NYB_TILE_ROWS * NYB_TILE_COLS];
    void *rows[NYB_TILE_ROWS];
    const nyb_store_args args = {.rows = NYB_TILE_ROWS,
                                 .n_valid = NYB_TILE_COLS,
                                 .scale = 1,
                                 .half = true,
                                 .out = rows,
                                 .draws = &stream,
                                 .origin = out};

    assert_non_null(out);
    for (size_t i = 0; i < NYB_TILE_ROWS * NYB_TILE_COLS; i++)
        block[i] = x;
    for (size_t at = 0; at < N_COPIES; at += NYB_TILE_ROWS * NYB_TILE_COLS) {
        for (size_t m = 0; m < NYB_TILE_ROWS; m++)
            rows[m] = out + at + m * NYB_TILE_COLS;
        kernel->of_float(block, &args);
    }
    for (size_t i = 0; i < N_COPIES; i++) {
        assert_in_range(out[i], 0x3f80, 0x3f81);
        up[i] = out[i] == 0x3f81;
    }
    free(out);
}

static void stored_copies_average_to_it(void **state)
{
    static const float share[] = {0.01f, 0.1f, 0.25f, 0.5f, 0.7f, 0.999f};
    uint8_t *up = malloc(N_COPIES);

    (void)state;
    assert_non_null(up);
    for (const nyb_store_kernel *const *k = nyb_store_kernels; *k; k++)
        for (size_t i = 0; !((*k)->needs & ~nyb_cpu_detect()) && i < 6; i++) {
            size_t n = 0, n_both = 0;

            store_copies(*k, 1 + share[i] * 0x1p-7f, up);
            for (size_t j = 0; j < N_COPIES; j++) {
                n += up[j];
                n_both += up[j] & up[(j + 1) % N_COPIES];
            }
            expect_frequency(n, N_COPIES, (double)share[i], 36);
            expect_frequency(n_both, N_COPIES, (double)share[i] * (double)share[i], 36);
        }
    free(up);
}

/* Neighbours, elements a block or a vector apart, and samples of SMP do not go up together. */
static void draws_are_independent(void **state)
{
    static const size_t lags[] = {1, 2, 4, 8, 16, 32, 64, 128, 1024, 32768};
    uint8_t *a = malloc(N_COPIES), *b = malloc(N_COPIES);
    nyb_spec s;

    (void)state;
    assert_true(a && b);
    assert_int_equal(nyb_spec_parse("e3m0", &s, NULL), NYB_OK);
    draw_copies(&s, 1.5f, 0, a);
    draw_copies(&s, 1.5f, 1, b);
    for (size_t k = 0; k < sizeof lags / sizeof *lags; k++) {
        size_t n_both = 0, n_crossed = 0;

        for (size_t i = 0; i < N_COPIES; i++) {
            n_both += a[i] & a[(i + lags[k]) % N_COPIES];
            n_crossed += a[i] & b[(i + lags[k]) % N_COPIES];
        }
        expect_frequency(n_both, N_COPIES, 0.25, 22);
        expect_frequency(n_crossed, N_COPIES, 0.25, 22);
    }
    size_t n_same = 0;
    for (size_t i = 0; i < N_COPIES; i++)
        n_same += a[i] == b[i];
    expect_frequency(n_same, N_COPIES, 0.5, 22);
    free(b);
    free(a);
}

/* ---- MS-EDEN: a rotation, nearest values, and a factor that makes up for them -----------------
 *
 * Not exactly unbiased (NUMERICS 7.7): means over draws, against bounds that what nearest alone
 * does exceeds. */

#define EDEN_N     512 /* four transforms of 128 */
#define EDEN_DRAWS 8192
#define EDEN_SIGMA 6.5 /* false alarms below 1e-9 for the elements of all formats together */

/* Means over draws, and their standard errors. */
typedef struct means {
    double projection, projection_error; /* of <q, x> / <x, x> */
    double value[EDEN_N], value_error[EDEN_N];
} means;

static void mean_of(double sum, double sum_sq, double *mean, double *error)
{
    *mean = sum / EDEN_DRAWS;
    *error = sqrt(fmax(sum_sq / EDEN_DRAWS - *mean * *mean, 0) / EDEN_DRAWS);
}

static void measure(const char *text, const float *x, means *m)
{
    double sum = 0, sum_sq = 0, square = 0, sums[EDEN_N] = {0}, sums_sq[EDEN_N] = {0};
    nyb_context *context;
    float q[EDEN_N];
    nyb_spec spec;

    assert_int_equal(nyb_spec_parse(text, &spec, NULL), NYB_OK);
    assert_int_equal(nyb_context_create(NULL, 1, &context, NULL), NYB_OK);
    for (size_t i = 0; i < EDEN_N; i++)
        square += (double)x[i] * (double)x[i];
    for (uint32_t draw = 0; draw < EDEN_DRAWS; draw++) {
        double projection = 0;

        assert_int_equal(
            nyb_quantize(context, &spec, x, 1, EDEN_N, 1, draw, 0, NULL, q, NULL, NULL), NYB_OK);
        for (size_t i = 0; i < EDEN_N; i++) {
            projection += (double)q[i] * (double)x[i] / square;
            sums[i] += (double)q[i];
            sums_sq[i] += (double)q[i] * (double)q[i];
        }
        sum += projection;
        sum_sq += projection * projection;
    }
    mean_of(sum, sum_sq, &m->projection, &m->projection_error);
    for (size_t i = 0; i < EDEN_N; i++)
        mean_of(sums[i], sums_sq[i], &m->value[i], &m->value_error[i]);
    nyb_context_destroy(&context);
}

static bool is_projected(const means *m, double bias)
{
    return fabs(m->projection - 1) <= bias + EDEN_SIGMA * m->projection_error;
}

/* Each element to 1 % of itself, or of its transform's root mean square. */
static bool is_near(const means *m, const float *x)
{
    for (size_t i = 0; i < EDEN_N; i += 128) {
        double square = 0;

        for (size_t j = i; j < i + 128; j++)
            square += (double)x[j] * (double)x[j];
        for (size_t j = i; j < i + 128; j++) {
            const double size = fmax(fabs((double)x[j]), sqrt(square / 128));

            if (fabs(m->value[j] - (double)x[j]) > 0.01 * size + EDEN_SIGMA * m->value_error[j])
                return false;
        }
    }
    return true;
}

static void eden_is_almost_unbiased(void **state)
{
    /* the largest bias of the projection; without the factor it is 3 times that or more */
    static const struct {
        const char *spec;
        double bias;
    } cases[] = {{"e2m1/ms_eden/block16/nearest/random_hadamard128", 0.002},
                 {"e3m0/ms_eden/block16/nearest/random_hadamard128", 0.004},
                 {"int4/ms_eden/block16/nearest/random_hadamard128", 0.001}};
    float x[KNOWN_N];
    means m;

    (void)state;
    known_vector(x);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        measure(cases[i].spec, x, &m);
        if (!is_projected(&m, cases[i].bias))
            fail_msg("%s: projection %g +- %g", cases[i].spec, m.projection, m.projection_error);
        assert_true(is_near(&m, x));
    }
}

static void nearest_alone_is_noticed(void **state)
{
    float x[KNOWN_N];
    means m;

    (void)state;
    known_vector(x);
    measure("e2m1/e4m3/block16/nearest/random_hadamard128", x, &m);
    assert_false(is_projected(&m, 0.002));
    measure("e3m0/e4m3/block16/nearest/random_hadamard128", x, &m);
    assert_false(is_projected(&m, 0.004));
    measure("e2m1/e8m0/block32/nearest/hadamard128", x, &m); /* does not rotate anew */
    assert_false(is_near(&m, x));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log2_goes_up_as_often_as_it_says),
        cmocka_unit_test(a_biased_rounder_is_noticed),
        cmocka_unit_test(log2_with_32_bits_is_exact),
        cmocka_unit_test(other_grids_go_up_as_often_as_they_say),
        cmocka_unit_test(bf16_by_chance_is_the_number_itself),
        cmocka_unit_test(copies_of_one_value_average_to_it),
        cmocka_unit_test(stored_copies_average_to_it),
        cmocka_unit_test(draws_are_independent),
        cmocka_unit_test(eden_is_almost_unbiased),
        cmocka_unit_test(nearest_alone_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
