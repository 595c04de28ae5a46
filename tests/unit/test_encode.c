#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "known.h"
#include "quant/quant.h"

static nyb_spec spec_of(const nyb_format *f, nyb_rounding rounding, int sr_bits)
{
    nyb_spec s = {
        .format = f, .scale = nyb_scale_rule_at(0), .rounding = rounding, .sr_bits = sr_bits};

    return s;
}

static nyb_spec parsed(const char *text)
{
    nyb_spec s = {0};

    assert_int_equal(nyb_spec_parse(text, &s, NULL), NYB_OK);
    return s;
}

/* ---- known answers --------------------------------------------------------------------------- */

static void philox_has_its_published_answers(void **state)
{
    static const uint32_t in[3][6] = {
        {0, 0, 0, 0, 0, 0},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0}};
    static const uint32_t want[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                        {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                        {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];

        known_philox(in[i], in[i] + 4, out);
        assert_memory_equal(out, want[i], sizeof out);
    }
}

/* NUMERICS 1.4: its rounding is ours, fed r = ~U >> 9. */
static void luq_has_the_published_codes(void **state)
{
    static const float x[20] = {0,    -0.0f,  1,     -1,    .75f,    -.6f,     .5f,
                                .3f,  -.2f,   .1f,   .05f,  -.03f,   .015625f, .0156f,
                                .01f, -.004f, .001f, 1e-9f, -.9999f, .4999f};
    static const unsigned want[2][20] = {
        {0, 0, 7, 15, 7, 14, 6, 5, 13, 3, 3, 10, 1, 1, 1, 0, 0, 0, 15, 6},
        {0, 0, 7, 15, 6, 14, 6, 6, 12, 3, 3, 10, 1, 1, 1, 0, 1, 0, 15, 6}};
    const nyb_spec s = parsed("e3m0/absmax/tensor/stochastic:32");
    float big[KNOWN_N];
    uint64_t fnv = KNOWN_FNV_START;

    (void)state;
    for (uint32_t sample = 0; sample < 2; sample++)
        for (size_t i = 0; i < 20; i++) {
            uint32_t u = known_u32(0x123456789abcdef0, 7, 3, 2, sample, i);

            assert_int_equal(nyb_encode_one(&s, 64.0f, x[i], ~u >> 9), want[sample][i]);
        }
    known_vector(big);
    for (size_t i = 0; i < KNOWN_N; i++) {
        float inv = 1.0f / 0x1.fe258p-6f;
        uint8_t code = (uint8_t)nyb_encode_one(&s, inv, big[i], ~known_u32(2, 5, 9, 2, 0, i) >> 9);

        fnv = known_fnv(fnv, &code, 1);
    }
    assert_true(fnv == 0x6713bf891c0c82fa);
}

static void int4_has_the_published_codes(void **state)
{
    const nyb_spec s = parsed("int4");
    float x[KNOWN_N];
    uint64_t fnv = KNOWN_FNV_START;

    (void)state;
    known_vector(x);
    for (size_t i = 0; i < KNOWN_N; i++) {
        uint8_t code = (uint8_t)nyb_encode_one(&s, 1.0f / 0x1.bf41ecp-2f, x[i], 0);

        fnv = known_fnv(fnv, &code, 1);
    }
    assert_true(fnv == 0xe3d42e325a827b12);
}

/* NUMERICS 8.2: the nearest codes of 196,608 inputs of E2M1, saturating, -0 not kept. */
static void e2m1_saturates_at_6(void **state)
{
    const nyb_spec s = parsed("e2m1");
    static const struct {
        float x;
        unsigned code;
    } ties[] = {{.25f, 0}, {.75f, 2}, {1.25f, 2}, {1.75f, 4}, {2.5f, 4}, {3.5f, 6},
                {5, 6},    {6, 7},    {7, 7},     {1e30f, 7}, {-5, 14},  {-.25f, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof ties / sizeof *ties; i++)
        assert_int_equal(nyb_encode_one(&s, 1, ties[i].x, 0), ties[i].code);
}

/* NUMERICS 8.1: RDNP, ties go up. */
static void log2_nearest_is_rdnp(void **state)
{
    const nyb_spec s = parsed("e3m0/absmax/tensor/nearest");

    (void)state;
    for (unsigned e = 0; e < 7; e++) {
        float tie = e ? 1.5f * ldexpf(1, (int)e - 1) : 0.5f;
        float below = e ? nextafterf(tie, 0) : 0.5f - 0x1p-23f;

        assert_int_equal(nyb_encode_one(&s, 1, tie, 0), e + 1);
        assert_int_equal(nyb_encode_one(&s, 1, below, 0), e);
        assert_int_equal(nyb_encode_one(&s, 1, -tie, 0), 8 | (e + 1));
        assert_int_equal(nyb_encode_one(&s, 1, -below, 0), e ? 8 | e : 0);
    }
}

/* The ablations of LUQ's Fig. 2: what happens below alpha and above it is independent. */
static void the_ablations_differ_where_they_say(void **state)
{
    const uint32_t draws[] = {0, 0x200000, 0x3fffff, 0x400000, 0x600000, 0x7fffff};

    (void)state;
    for (size_t d = 0; d < sizeof draws / sizeof *draws; d++)
        for (int k = 1; k < 64; k++) {
            const bool below = k < 16;
            const float x = below ? (float)k / 16 : (float)k / 8;
            unsigned code[5];

            for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++) {
                nyb_spec s = spec_of(&nyb_format_e3m0, (nyb_rounding)r, 32);

                code[r] = nyb_encode_one(&s, 1, x, draws[d]);
            }
            assert_int_equal(code[NYB_ROUND_FLUSH], below ? 0 : code[NYB_ROUND_NEAREST]);
            assert_int_equal(code[NYB_ROUND_UNDERFLOW],
                             code[below ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST]);
            assert_int_equal(code[NYB_ROUND_FLUSH_STOCHASTIC],
                             below ? 0 : code[NYB_ROUND_STOCHASTIC]);
        }
}

/* ---- an oracle that shares no code: search over all codes ------------------------------------ */

static bool producible(const nyb_format *f, unsigned code)
{
    double v = (double)nyb_format_decode(f, code);

    return !isnan(v) && v <= (double)f->max && v >= (double)nyb_format_least(f) &&
           (code == 0 || v != 0 || f->ascending);
}

/* Does a tie go from the code of value `former` to code c of value v? INT: to the even integer,
 * LOG2: away from zero, FLOAT: to the even code, TABLE: as the record says. */
static bool wins_tie(const nyb_format *f, unsigned c, double v, double former)
{
    switch (f->grid) {
    case NYB_GRID_INT:
        return fmod(v, 2) == 0;
    case NYB_GRID_LOG2:
        return fabs(v) > fabs(former);
    case NYB_GRID_TABLE:
        if (f->ascending)
            return f->ties_up ? v > former : v < former;
        return f->ties_up ? fabs(v) > fabs(former) : c % 2 == 0;
    case NYB_GRID_REAL:
    case NYB_GRID_FLOAT:
        return c % 2 == 0;
    }
    return false;
}

/* The code nearest to y. */
static unsigned search(const nyb_format *f, double y)
{
    unsigned best = 0;
    double least = (double)INFINITY;

    for (unsigned c = 0; c < f->n_codes; c++) {
        double v = (double)nyb_format_decode(f, c), d = fabs(v - y);

        if (producible(f, c) &&
            (d < least || (d == least && wins_tie(f, c, v, (double)nyb_format_decode(f, best))))) {
            best = c;
            least = d;
        }
    }
    return best;
}

static void nearest_is_what_a_search_finds(void **state)
{
    (void)state;
    for (size_t i = 1; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);
        const nyb_spec s = spec_of(f, NYB_ROUND_NEAREST, 16);
        const int steps = 1 << 14;

        if (f->bits > 8 || f->max > 0x1p100f) /* differences of e8m0 are not exact */
            continue;
        /* multiples of 2^-7 .. 2^-13 of the maximum, beyond it on both sides: all ties are among
         * them, and 1 + u is exact in f32 */
        for (int k = -steps; k <= steps; k++) {
            const float x = (float)k * f->max * 0x1p-13f, back = x * 0.25f;
            assert_int_equal(nyb_encode_one(&s, 1.0f, x, 0), search(f, (double)x));
            assert_int_equal(nyb_encode_one(&s, 4.0f, back, 0), search(f, (double)x));
        }
    }
}

static void every_produced_code_is_a_fixed_point(void **state)
{
    static const uint32_t draws[] = {64, 0x7fffc0, 0x400040, 0};

    (void)state;
    for (size_t i = 1; i < nyb_format_count(); i++)
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++)
            for (int bits = 16; bits <= 32; bits += 16) {
                const nyb_format *f = nyb_format_at(i);
                const nyb_spec s = spec_of(f, (nyb_rounding)r, bits);

                if (f->bits > 8 || nyb_spec_check(&s, NULL) != NYB_OK)
                    continue;
                for (unsigned c = 0; c < f->n_codes; c++)
                    for (size_t d = 0; d < 4 && producible(f, c); d++)
                        assert_int_equal(
                            nyb_encode_one(&s, 0.5f, 2 * nyb_format_decode(f, c), draws[d]), c);
            }
}

/* ---- edges and invariances ------------------------------------------------------------------- */

static void nan_is_zero_and_infinity_the_top(void **state)
{
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xffffffff};

    (void)state;
    for (size_t i = 1; i < nyb_format_count(); i++)
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++) {
            const nyb_format *f = nyb_format_at(i);
            const nyb_spec s = spec_of(f, (nyb_rounding)r, 16);
            const float scales[] = {FLT_MIN, 1, 0x1p126f};

            if (nyb_spec_check(&s, NULL) != NYB_OK)
                continue;
            for (size_t k = 0; k < 3; k++) {
                const float inv = 1 / scales[k];
                unsigned top = nyb_encode_one(&s, inv, INFINITY, 0x7fffc0);
                unsigned bottom = nyb_encode_one(&s, inv, -INFINITY, 0x7fffc0);
                unsigned zero = nyb_encode_one(&s, inv, 0, 0x7fffc0);

                for (size_t n = 0; n < 4; n++)
                    assert_int_equal(nyb_encode_one(&s, inv, nyb_float_of(nans[n]), 0x7fffc0),
                                     zero);
                assert_true(nyb_format_decode(f, top) == f->max);
                float least = f->grid == NYB_GRID_INT ? (float)f->lo * f->unit : -f->max;
                assert_true(nyb_format_decode(f, bottom) ==
                            (f->is_signed ? least : nyb_format_decode(f, 0)));
                assert_int_equal(nyb_encode_one(&s, inv, -0.0f, 0x7fffc0), zero);
                assert_int_equal(nyb_encode_one(&s, inv, FLT_MIN / 2, 0x7fffc0), zero);
                assert_int_equal(nyb_encode_one(&s, inv, -FLT_MIN / 2, 0x7fffc0), zero);
                if (!f->ascending)
                    assert_int_equal(zero, 0);
            }
        }
}

/* NUMERICS 8.3.8 and pitfalls of 1.13: sign-symmetric, invariant under powers of two, maximum on
 * the grid, no code 8, no 17th level. */
static void luq_is_symmetric_and_scale_free(void **state)
{
    const nyb_spec s = parsed("e3m0");
    float x[KNOWN_N];
    const float inv = 1.0f / 0x1.fe258p-6f;

    (void)state;
    known_vector(x);
    for (size_t i = 0; i < KNOWN_N; i++) {
        const uint32_t r = (known_u32(3, 0, 0, 0, 0, i) >> 16) << 7 | 64;
        unsigned code = nyb_encode_one(&s, inv, x[i], r);

        assert_int_equal(nyb_encode_one(&s, inv, -x[i], r), code ? code ^ 8 : 0);
        assert_int_equal(nyb_encode_one(&s, inv * 0x1p-40f, x[i] * 0x1p40f, r), code);
        assert_true(code < 16 && code != 8);
        if (fabsf(x[i]) == 64 * 0x1.fe258p-6f)
            assert_int_equal(code & 7, 7);
    }
    /* the maximum of an all-negative tensor counts: alpha is never negative */
    nyb_moments m = {.absmax = 3, .n = 1, .n_nonzero = 1};
    assert_true(nyb_scale_choose(&s, &m, NULL) == 3.0f / 64);
}

/* ---- whole tensors --------------------------------------------------------------------------- */

static const char *const cpus[] = {"ref", "avx2", "avx512vnni", "auto"};

static nyb_context *context_of(const char *cpu, size_t n_threads)
{
    nyb_context *c;

    return nyb_context_create(cpu, n_threads, &c, NULL) == NYB_OK ? c : NULL;
}

static void run_one(const char *cpu, size_t threads, const nyb_spec *s, const nyb_stream *stream,
                    const float *x, size_t rows, size_t cols, float scale)
{
    nyb_context *context = context_of(cpu, threads);
    nyb_packed p = {.format = s->format, .rows = rows, .cols = cols, .scale = scale};
    const size_t n_bytes = nyb_packed_bytes(s->format, rows, cols);
    uint32_t former;

    if (!context)
        return;
    p.pitch = nyb_packed_pitch(cols);
    p.codes = nyb_alloc(n_bytes);
    assert_non_null(p.codes);
    memset(p.codes, 0xff, n_bytes);
    former = nyb_cpu_fp_enter();
    nyb_encode_run(context, s, stream, x, &p);
    nyb_cpu_fp_restore(former);
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < p.pitch; col++) {
            const uint64_t i = row * cols + col;
            uint32_t r =
                s->sr_bits == 16 ? nyb_rng_u16(stream, i) << 7 | 64 : nyb_rng_u32(stream, i) >> 9;
            unsigned want = col < cols && scale > 0 ? nyb_encode_one(s, 1.0f / scale, x[i], r) : 0;

            assert_int_equal(nyb_packed_get(&p, row, col), want);
        }
    for (size_t i = rows * p.pitch; i % 128; i++)
        assert_int_equal(nyb_packed_get(&p, 0, i), 0);
    nyb_free(p.codes);
    nyb_context_destroy(&context);
}

/* Each element where its own draw decides by one unit in the last place: half of them go up, half
 * do not, and an error of 1 in a draw or in its place shows. */
static void draws_decide_exactly(void **state)
{
    const size_t rows = 12, cols = 112, n = rows * cols;
    const nyb_stream stream = {.seed = 3, .step = 1, .role = NYB_RNG_DY_DX};
    float x[12 * 112];

    (void)state;
    for (int bits = 16; bits <= 32; bits += 16) {
        nyb_spec s = spec_of(&nyb_format_e3m0, NYB_ROUND_STOCHASTIC, bits);

        for (size_t i = 0; i < n; i++) {
            uint32_t r =
                bits == 16 ? nyb_rng_u16(&stream, i) << 7 | 64 : nyb_rng_u32(&stream, i) >> 9;
            uint32_t up = (1u << 23) - r, m = i % 2 ? up & 0x7fffff : up - 1;

            x[i] =
                i % 6 < 2 ? (float)m * 0x1p-23f : nyb_float_of((uint32_t)(126 + i % 6) << 23 | m);
        }
        for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++) {
            run_one(cpus[c], 2, &s, &stream, x, rows, cols, 1.0f);
            run_one(cpus[c], 2, &s, &stream, x, n / 7, 7, 1.0f);
        }
        s = spec_of(&nyb_format_int8, NYB_ROUND_STOCHASTIC, bits);
        for (size_t i = 0; i < n; i++) {
            uint32_t up = bits == 16 ? 65536 - nyb_rng_u16(&stream, i)
                                     : (1u << 23) - (nyb_rng_u32(&stream, i) >> 9);

            x[i] = ldexpf((float)(up - i % 2), bits == 16 ? -16 : -23);
        }
        for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++)
            run_one(cpus[c], 2, &s, &stream, x, rows, cols, 1.0f);
    }
}

/* 1 + u is rounded once (fmaf), not after the product too. */
static void the_underflow_branch_is_fused(void **state)
{
    const nyb_spec s = parsed("e3m0/absmax/tensor/stochastic:32");
    size_t n_differ = 0;

    (void)state;
    for (size_t i = 0; i < 4000; i++) {
        const float x = (float)(known_u32(8, 0, 0, 0, 0, i) >> 8) * 0x1p-24f, inv = 0.9f;
        const float product = x * inv;
        const float fused = fmaf(x, inv, 1.0f), twice = 1.0f + product;
        const uint32_t m = nyb_bits_of(fused) & 0x7fffff, r = (1u << 23) - m;

        if (x * 2 * inv >= 1 || m == 0)
            continue;
        n_differ += fused != twice;
        assert_int_equal(nyb_encode_one(&s, inv, x, r), 1);
        assert_int_equal(nyb_encode_one(&s, inv, x, r - 1), 0);
    }
    assert_true(n_differ > 10);
}

/* Float formats of up to 8 bits: edges, subnormals of the format and of f32, both kinds of random
 * bits, scales that overflow and underflow. */
static void grids_are_the_reference_on_any_cpu(void **state)
{
    enum { N = 4 * NYB_BLOCK_CODES };
    static const char *const names[] = {
        "e2m1", "e1m2",    "e2m3", "e3m2",    "e3m4",     "e4m3fn",   "e5m2",    "e4m3",
        "e2m5", "e4m3b11", "e1m6", "e5m2b30", "e4m3dl11", "e5m2dl15", "e7m0b64", "e1m0"};
    static const float factors[] = {1, 0.037f, 0x1p-40f, 0x1p40f, 0x1p-120f, 0x1p100f};
    const nyb_stream stream = {.seed = 5, .step = 2, .role = NYB_RNG_DY_DW};
    uint32_t masks[2] = {0};
    float known[KNOWN_N], x[N];
    size_t n_done = 0;

    (void)state;
    assert_int_equal(nyb_cpu_parse(NULL, &masks[1], NULL), NYB_OK);
    known_vector(known);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const nyb_format *f = nyb_format_find(names[i]);

        if (!f)
            assert_int_equal(nyb_format_generic(names[i], &f, NULL), NYB_OK);
        for (int r = NYB_ROUND_NEAREST; r <= NYB_ROUND_FLUSH_STOCHASTIC; r++)
            for (size_t k = 0; k < 2 * sizeof factors / sizeof *factors; k++) {
                const nyb_spec s = spec_of(f, (nyb_rounding)r, k % 2 ? 16 : 32);
                const float factor = factors[k / 2];
                uint8_t want[N] = {0}, got[N] = {0};

                if (nyb_spec_check(&s, NULL) != NYB_OK)
                    continue;
                for (size_t e = 0; e < N; e++) {
                    const int step = (int)(e % 128) - 64;

                    x[e] = e < 128   ? f->max * (float)step * 0x1p-6f
                           : e < 256 ? ldexpf(f->max, -abs(step) / 2) * (step < 0 ? -1.25f : 1.0f)
                                     : known[e] * f->max * 4.0f;
                    x[e] /= factor;
                }
                x[300] = NAN, x[301] = -NAN, x[302] = INFINITY, x[303] = -INFINITY;
                x[304] = -0.0f, x[305] = FLT_MIN / 2, x[306] = -FLT_MIN / 4, x[307] = FLT_MAX;
                assert_true(nyb_encode_ref.encode(&s, factor, &stream, 1024, x, N, want));
                for (size_t c = 0; c < 2; c++) {
                    memset(got, 0xff, sizeof got);
                    assert_true(nyb_encode_grid(masks[c], &s, factor, &stream, 1024, x, N, got));
                    assert_memory_equal(got, want, f->bits == 4 ? N / 2 : N);
                }
                n_done++;
            }
    }
    assert_true(n_done > 300);
}

/* Every table of up to 4 bits: each value, each middle of two and each float beside them, both
 * signs. */
static void tables_are_the_reference(void **state)
{
    enum { N = NYB_BLOCK_CODES };
    const nyb_stream stream = {.seed = 5};
    size_t n_done = 0;

    (void)state;
    for (size_t k = 0; k < nyb_format_count(); k++) {
        const nyb_format *f = nyb_format_at(k);
        const nyb_spec nearest = spec_of(f, NYB_ROUND_NEAREST, 16);
        const nyb_spec drawn = spec_of(f, NYB_ROUND_STOCHASTIC, 16);

        if (f->grid != NYB_GRID_TABLE || f->bits > 4)
            continue;
        for (unsigned c = 0; c + 1 < f->n_codes; c++)
            for (int place = 0; place < 2; place++) {
                const float from = nyb_format_decode(f, c), to = nyb_format_decode(f, c + 1);
                const float mark = place ? (float)(((double)from + (double)to) / 2) : from;
                float x[N];
                uint8_t want[N], got[N];

                x[0] = mark;
                for (size_t i = 1; i < 48; i++)
                    x[i] = nextafterf(x[i - 1], INFINITY);
                x[48] = mark;
                for (size_t i = 49; i < N - 16; i++)
                    x[i] = nextafterf(x[i - 1], -INFINITY);
                for (size_t i = N - 16; i < N; i++)
                    x[i] = mark * (float)((int)i - N + 8);
                x[N - 1] = NAN, x[N - 2] = -INFINITY, x[N - 3] = FLT_MAX, x[N - 4] = -0.0f;
                x[N - 5] = FLT_MIN / 2, x[N - 6] = FLT_MIN;
                for (int sign = 0; sign < 2; sign++) {
                    assert_true(nyb_encode_ref.encode(&nearest, 1, &stream, 0, x, N, want));
                    assert_true(nyb_encode_grid(0, &nearest, 1, &stream, 0, x, N, got));
                    assert_memory_equal(got, want, N / 2);
                    for (size_t i = 0; i < N; i++)
                        x[i] = -x[i];
                }
                assert_false(nyb_encode_grid(0, &drawn, 1, &stream, 0, x, N, got));
                n_done++;
            }
    }
    assert_true(n_done > 80);
}

static void a_tensor_is_its_elements(void **state)
{
    static const size_t shapes[][2] = {{1, 1},   {5, 3},    {300, 10}, {9, 16},  {3, 17},
                                       {30, 47}, {40, 784}, {7, 128},  {2, 129}, {2100, 16}};
    static const char *const texts[] = {"int4",
                                        "e3m0/absmax/tensor/stochastic",
                                        "e3m0/absmax/tensor/stochastic:32",
                                        "uint4/absmax/tensor/stochastic",
                                        "int8",
                                        "int8f",
                                        "int4f",
                                        "e4m0",
                                        "int2",
                                        "e2m1/absmax/tensor/stochastic"};
    float *x = malloc(40 * 784 * 2 * sizeof *x);
    const nyb_stream stream = {
        .seed = 11, .step = 4, .tensor = 2, .role = NYB_RNG_DY_DX, .sample = 3};

    (void)state;
    assert_non_null(x);
    for (size_t i = 0; i < 40 * 784 * 2; i++)
        x[i] = (float)(int32_t)known_u32(9, 0, 0, 0, 0, i) * 0x1p-31f;
    x[0] = NAN;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++) {
                const nyb_spec spec = parsed(texts[t]);
                const float scale = 0.9f / spec.format->max;

                run_one(cpus[c], 1 + (s + t + c) % 4, &spec, &stream, x, shapes[s][0], shapes[s][1],
                        scale);
                run_one(cpus[c], 1, &spec, &stream, x, 2, shapes[s][1], 0);
            }
    free(x);
}

static void threads_and_cpus_change_nothing(void **state)
{
    const size_t rows = 777, cols = 144, n = rows * cols;
    const nyb_spec s = parsed("e3m0");
    const nyb_stream stream = {.seed = 1, .role = NYB_RNG_DY_DX};
    const size_t n_bytes = nyb_packed_bytes(s.format, rows, cols);
    float *x = malloc(n * sizeof *x);
    uint8_t *want = nyb_alloc(n_bytes), *got = nyb_alloc(n_bytes);
    nyb_packed p = {.format = s.format,
                    .rows = rows,
                    .cols = cols,
                    .pitch = nyb_packed_pitch(cols),
                    .scale = 1.0f / 70};

    (void)state;
    assert_non_null(x);
    assert_true(want && got);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)known_u32(9, 0, 0, 0, 0, i) * 0x1p-31f;
    for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++)
        for (size_t threads = 1; threads <= 13; threads++) {
            nyb_context *context = context_of(cpus[c], threads);

            if (!context)
                continue;
            p.codes = c == 0 && threads == 1 ? want : got;
            nyb_encode_run(context, &s, &stream, x, &p);
            assert_memory_equal(want, p.codes, n_bytes);
            nyb_context_destroy(&context);
        }
    nyb_free(got);
    nyb_free(want);
    free(x);
}

static void copy_rows(const void *self, size_t row, size_t n, float *rows)
{
    memcpy(rows, (const float *)self + row * 144, n * 144 * sizeof *rows);
}

/* What the encoder sees on its way is what a pass of its own would. */
static void check_seen(nyb_context *context, const nyb_spec *s, const nyb_stream *stream,
                       const nyb_row_maker *maker, nyb_packed *p, const float *x)
{
    const size_t n_blocks = nyb_moments_blocks(p->rows, p->cols);
    nyb_block_moments *seen = nyb_alloc(n_blocks * sizeof *seen);
    void *scratch = nyb_alloc(nyb_moments_scratch_bytes(p->rows, p->cols));
    nyb_moments want, got;

    assert_true(seen && scratch);
    memset(seen, 0xff, n_blocks * sizeof *seen);
    nyb_encode_made(context, s, stream, maker, p, seen);
    nyb_moments_total(seen, n_blocks, p->rows * p->cols, &got);
    nyb_moments_run(context, x, p->rows, p->cols, scratch, &want);
    assert_true(got.absmax == want.absmax && got.n == want.n && got.n_nonzero == want.n_nonzero);
    assert_true(got.n_nan == want.n_nan && got.n_inf == want.n_inf);
    assert_true(got.sum_abs == 0 && got.sum_sq == 0);
    nyb_free(scratch);
    nyb_free(seen);
}

/* Rows made on the way are rows in memory: odd ends, 4 and 8 bits, factors, no scale. */
static void made_rows_are_encoded_alike(void **state)
{
    static const char *const texts[] = {"e3m0", "uint4/sawb/tensor/nearest", "int8", "int4m"};
    const size_t rows[] = {1, 8, 229, 777}, cols = 144;
    float *x = malloc(777 * cols * sizeof *x);
    const nyb_stream stream = {.seed = 5, .role = NYB_RNG_DY_DX};

    (void)state;
    assert_non_null(x);
    for (size_t i = 0; i < 777 * cols; i++)
        x[i] = i % 97 ? (float)(int32_t)known_u32(3, 0, 0, 0, 0, i) * 0x1p-31f : 0;
    x[100] = NAN, x[7 * cols + 143] = -INFINITY, x[200 * cols] = INFINITY;
    for (size_t t = 0; t < 4 * 4 * 2; t++) {
        const nyb_spec s = parsed(texts[t % 4]);
        const nyb_row_maker maker = {copy_rows, x};
        nyb_context *context = context_of("auto", 1 + t % 3);
        nyb_packed p = {.format = s.format,
                        .rows = rows[t / 4 % 4],
                        .cols = cols,
                        .pitch = nyb_packed_pitch(cols),
                        .scale = t < 16 ? 1.0f / 70 : 0};
        const size_t n_bytes = nyb_packed_bytes(s.format, p.rows, cols);
        uint8_t *want = nyb_alloc(n_bytes), *got = nyb_alloc(n_bytes);

        assert_true(context && want && got);
        memset(got, 0x5a, n_bytes);
        memset(want, 0xa5, n_bytes);
        p.codes = want;
        nyb_encode_run(context, &s, &stream, x, &p);
        p.codes = got;
        nyb_encode_made(context, &s, &stream, &maker, &p, NULL);
        assert_memory_equal(want, got, n_bytes);
        if (p.scale > 0)
            check_seen(context, &s, &stream, &maker, &p, x);
        assert_memory_equal(want, got, n_bytes);
        nyb_context_destroy(&context);
        nyb_free(got);
        nyb_free(want);
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_has_its_published_answers),
        cmocka_unit_test(luq_has_the_published_codes),
        cmocka_unit_test(int4_has_the_published_codes),
        cmocka_unit_test(e2m1_saturates_at_6),
        cmocka_unit_test(log2_nearest_is_rdnp),
        cmocka_unit_test(the_ablations_differ_where_they_say),
        cmocka_unit_test(nearest_is_what_a_search_finds),
        cmocka_unit_test(every_produced_code_is_a_fixed_point),
        cmocka_unit_test(nan_is_zero_and_infinity_the_top),
        cmocka_unit_test(luq_is_symmetric_and_scale_free),
        cmocka_unit_test(grids_are_the_reference_on_any_cpu),
        cmocka_unit_test(tables_are_the_reference),
        cmocka_unit_test(a_tensor_is_its_elements),
        cmocka_unit_test(draws_decide_exactly),
        cmocka_unit_test(the_underflow_branch_is_fused),
        cmocka_unit_test(threads_and_cpus_change_nothing),
        cmocka_unit_test(made_rows_are_encoded_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
