/* Codes against published checksums, other libraries and an exact model; laws over all codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "format/format.h"
#include "known.h"

/* ---- checksums ------------------------------------------------------------------------------- */

static uint64_t decode_fnv(const nyb_format *f)
{
    uint64_t fnv = KNOWN_FNV_START;

    for (uint64_t c = 0; c < UINT64_C(1) << nyb_format_bits(f); c++) {
        float v = nyb_format_decode(f, (unsigned)c);
        uint32_t bits = isnan(v) ? 0x7fc00000 : nyb_bits_of(v);

        fnv = known_fnv(fnv, &bits, sizeof bits);
    }
    return fnv;
}

/* The 196,608 inputs of NUMERICS 8.2, in its order. */
static float input(size_t i)
{
    static const uint32_t low[3] = {0x0000, 0x0001, 0xffff};

    return nyb_float_of((uint32_t)(i % 65536) << 16 | low[i / 65536]);
}

#define N_INPUTS ((size_t)3 * 65536)

static uint64_t encode_fnv(const nyb_format *f, bool saturate)
{
    const int bits = nyb_format_bits(f);
    const size_t n_bytes = bits <= 8 ? 1 : bits <= 16 ? 2 : 4;
    uint64_t fnv = KNOWN_FNV_START;

    for (size_t i = 0; i < N_INPUTS; i++) {
        uint32_t code = nyb_format_encode(f, input(i), NYB_ROUND_NEAREST, 0, saturate);

        fnv = known_fnv(fnv, &code, n_bytes);
    }
    return fnv;
}

static void codes_have_the_published_checksums(void **state)
{
    /* NUMERICS 8.2; 0: not published */
    static const struct {
        const char *name;
        uint64_t decode, saturating, overflowing;
    } sums[] = {
        {"e4m3fn", 0xdad1d9c50f749ca5, 0x58bb2e098cbd2fe5, 0x1259cb5211666075},
        {"e4m3b11", 0xd90d7a600530d158, 0xa5bd2b88402f85c5, 0x0adf3d23e61de425},
        {"e4m3", 0x225eaf4799a27e65, 0xc1b2457858820575, 0xeb985a1e11b59365},
        {"e5m2", 0x6c1e56b6fb09c905, 0x3ae8c7eca510b105, 0x6ead9c9234a4d8a5},
        {"e4m3dl11", 0x40f47dc1918fabc5, 0x3e5099db91ffc295, 0xfe2d885c709b0f25},
        {"e5m2dl15", 0xf9255f7ff18408a5, 0x5cbba813c7fdf605, 0x568a2566cb276f25},
        {"e3m2", 0x25da13434201d785, 0xb943f52166e05605, 0},
        {"e2m3", 0x7ffacb24ad8b0aa5, 0x8e13473f69eb0925, 0},
        {"e2m1", 0x2403bb76b85dfea5, 0xea22deffed12deed, 0},
        {"e1m2", 0xb11ace0f23009665, 0xd867e3decc27aa2d, 0},
        {"e3m0", 0xbb26d8c3c27e4985, 0, 0},
        {"e3m0r4", 0x97004f47fe416765, 0, 0},
        {"fp7", 0xc2940bc1c834c325, 0, 0},
        {"e8m0", 0x6d2c8b41c3f0e5a5, 0, 0},
        {"int4", 0x610228d3d2cf9042, 0, 0},
        {"uint4", 0x13fdf84d829c1708, 0, 0},
        {"int2", 0x0a0a655ffeb0e385, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) {
        const nyb_format *f = nyb_format_find(sums[i].name);

        assert_non_null(f);
        assert_true(decode_fnv(f) == sums[i].decode);
        if (sums[i].saturating)
            assert_true(encode_fnv(f, true) == sums[i].saturating);
        if (sums[i].overflowing)
            assert_true(encode_fnv(f, false) == sums[i].overflowing);
    }
}

/* tests/oracle/format_codes.py: the code tables, ml_dtypes, gfloat, a model in Python. */
static void codes_are_those_of_other_libraries(void **state)
{
    static const struct {
        const char *name, *source;
        uint64_t decode, saturating, overflowing; /* 0: no opinion */
    } rows[] = {
#include "../oracle/format_codes.inc"
    };
    const size_t n = sizeof rows / sizeof *rows;
    size_t n_wrong = 0;

    (void)state;
    for (size_t i = 0; i < n; i++) {
        const nyb_format *f = nyb_format_find(rows[i].name);

        assert_non_null(f);
        if (decode_fnv(f) != rows[i].decode ||
            (rows[i].saturating && encode_fnv(f, true) != rows[i].saturating) ||
            (rows[i].overflowing && encode_fnv(f, false) != rows[i].overflowing)) {
            print_error("%s is not as in %s\n", rows[i].name, rows[i].source);
            n_wrong++;
        }
    }
    assert_int_equal(n_wrong, 0);
    for (size_t i = 1; i < nyb_format_count(); i++) { /* every listed format has a row */
        size_t j = 0;

        while (j < n && strcmp(rows[j].name, nyb_format_name(nyb_format_at(i))) != 0)
            j++;
        if (nyb_format_at(i)->n_codes > 0 && !nyb_format_at(i)->multiples &&
            strncmp(nyb_format_at(i)->name, "int5", 4) != 0)
            assert_true(j < n);
    }
}

/* NUMERICS 3.3 */
static void dlfloat16_has_its_golden_codes(void **state)
{
    static const struct {
        float x;
        unsigned code;
    } golden[] = {
        {1, 0x3e00},
        {0x1p-31f, 0x0000},
        {0x1.004p-31f, 0x0001},
        {0x1.008p-31f, 0x0001},
        {0x1.003ffep-31f, 0x0000},
        {8573157376.0f, 0x7ffe},
        {8577351168.0f, 0x7ffe},
        {8577351680.0f, 0x7fff},
        {INFINITY, 0x7fff},
        {NAN, 0x7fff},
        {1 + 0x1p-10f, 0x3e01},
        {1 + 0x3p-10f, 0x3e02},
        {1 + 0x1p-10f - 0x1p-23f, 0x3e00},
        {-0.0f, 0x8000},
        {-0x1p-31f, 0x8000},
    };
    const nyb_format *f = &nyb_format_dlfloat16;

    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_int_equal(nyb_format_encode(f, golden[i].x, NYB_ROUND_NEAREST, 0, false),
                         golden[i].code);
    assert_int_equal(nyb_format_encode(f, INFINITY, NYB_ROUND_NEAREST, 0, true), 0x7ffe);
    assert_int_equal(nyb_format_encode(f, -1e30f, NYB_ROUND_NEAREST, 0, true), 0xfffe);
}

/* ---- laws: NUMERICS 8.3, items 1 and 2 ------------------------------------------------------- */

/* Listed formats, then generic ones of all widths. */
static const nyb_format *format_at(size_t i)
{
    static const char *const generic[] = {
        "e1m0",     "e1m1",     "e1m22",    "e2m0",     "e2m20",    "e3m3",   "e3m12b4", "e4m3b15",
        "e4m9",     "e5m0",     "e5m6b140", "e6m9",     "e6m12",    "e7m0b0", "e7m7",    "e7m15b63",
        "e8m0b127", "e8m6",     "e8m11",    "e8m2b140", "e8m5b128", "e5m10",  "e5m2b15", "e6m5b31",
        "e1m3b147", "e2m4b140", "e1m3",     "e2m2",     "e2m1b9",   "e1m6",   "e2m4",
    };
    const size_t n = sizeof generic / sizeof *generic;

    if (i < nyb_format_count())
        return nyb_format_at(i);
    i -= nyb_format_count();
    if (i >= n)
        return NULL;
    assert_non_null(nyb_format_find(generic[i]));
    return nyb_format_find(generic[i]);
}

static unsigned nearest(const nyb_format *f, float x)
{
    return nyb_format_encode(f, x, NYB_ROUND_NEAREST, 0, true);
}

/* Can an encoder produce the code? Finite, not the spare lowest of two's complement. */
static bool is_produced(const nyb_format *f, unsigned code)
{
    const float v = nyb_format_decode(f, code);

    if (!isfinite(v) || v > f->max || v < nyb_format_least(f))
        return false;
    /* LOG2 has no -0, INT has no second 0 (int5w, int5x: codes that are not used) */
    return v != 0 || code == 0 || f->grid == NYB_GRID_FLOAT || f->grid == NYB_GRID_TABLE;
}

static void what_was_encoded_comes_back(void **state)
{
    const nyb_format *f;

    (void)state;
    for (size_t i = 0; (f = format_at(i)) != NULL; i++)
        for (uint64_t c = 0; f->grid != NYB_GRID_REAL && c < f->n_codes; c++) {
            const unsigned code = (unsigned)c;
            const float v = nyb_format_decode(f, code);

            if (!is_produced(f, code))
                continue;
            assert_int_equal(nearest(f, v), code);
            assert_int_equal(
                nyb_format_encode(f, v, NYB_ROUND_NEAREST, 0, f->grid != NYB_GRID_TABLE), code);
            for (uint32_t r23 = 0; r23 < 1u << 23; r23 += 0x3fffff + (r23 == 0x7ffffe))
                assert_int_equal(nyb_format_encode(f, v, NYB_ROUND_STOCHASTIC, r23, true), code);
        }
}

/* Ascending in x: over all inputs from -Inf to Inf. Rounding twice is rounding once. */
static void rounding_is_monotone_and_idempotent(void **state)
{
    const nyb_format *f;

    (void)state;
    for (size_t i = 1; (f = format_at(i)) != NULL; i++) {
        float former = -INFINITY;

        for (size_t k = 0; k < N_INPUTS; k++) {
            /* 65,536 exponents and mantissas, three neighbours each, negative ones backwards */
            const size_t j = k < N_INPUTS / 2 ? N_INPUTS - 1 - k : k - N_INPUTS / 2;
            const float x = nyb_float_of((uint32_t)(j / 3) << 16 | (j % 3 == 0   ? 0
                                                                    : j % 3 == 1 ? 1
                                                                                 : 0xffff));
            float q;

            if (isnan(x))
                continue;
            q = nyb_format_decode(f, nearest(f, x));
            assert_true(q >= former);
            assert_true(nyb_format_decode(f, nearest(f, q)) == q);
            former = q;
        }
        assert_true(former == f->max);
    }
}

/* Which of two neighbours, by code, a tie belongs to; -1: ties are not where midpoints are. */
static int64_t owner_of_tie(const nyb_format *f, unsigned inner, unsigned outer)
{
    switch (f->grid) {
    case NYB_GRID_INT:
        return fmodf(nyb_format_decode(f, inner), 2) == 0 ? inner : outer;
    case NYB_GRID_LOG2:
        return outer;
    case NYB_GRID_TABLE:
        if (f->ties_up)
            return nyb_format_decode(f, inner) < nyb_format_decode(f, outer) || !f->ascending
                       ? outer
                       : inner;
        return f->ascending ? (inner < outer ? inner : outer) : inner % 2 ? outer : inner;
    case NYB_GRID_FLOAT:
        if (f->fp.ties_away)
            return inner % (f->n_codes / 2) == 0 ? -1 : (int64_t)outer;
        return inner % 2 ? outer : inner;
    case NYB_GRID_REAL:
        return -1;
    }
    return -1;
}

/* The midpoint of two neighbours and the f32 numbers beside it. */
static void check_midpoint(const nyb_format *f, unsigned inner, unsigned outer)
{
    const double a = (double)nyb_format_decode(f, inner), b = (double)nyb_format_decode(f, outer);
    const float m = (float)((a + b) / 2);
    const float in = nextafterf(m, (float)a), out = nextafterf(m, (float)b);
    const int64_t tie = owner_of_tie(f, inner, outer);

    if (tie < 0 || f->grid == NYB_GRID_LOG2)
        return;
    if ((double)m == (a + b) / 2)
        assert_int_equal(nearest(f, m), tie);
    if (fabs((double)in - a) < fabs((double)in - b))
        assert_int_equal(nearest(f, in), inner);
    if (fabs((double)out - b) < fabs((double)out - a))
        assert_int_equal(nearest(f, out), outer);
}

static void midpoints_go_where_the_format_says(void **state)
{
    const nyb_format *f;
    size_t n_pairs = 0;

    (void)state;
    for (size_t i = 1; (f = format_at(i)) != NULL; i++) {
        const bool signs = f->is_signed && f->grid != NYB_GRID_INT && !f->ascending;
        const unsigned half =
            signs || (f->grid == NYB_GRID_INT && f->is_signed) ? f->n_codes / 2 : f->n_codes;

        if (f->n_codes == 0)
            continue;
        for (unsigned c = 0; c + 1 < half; c++) {
            if (!is_produced(f, c) || !is_produced(f, c + 1))
                continue;
            n_pairs++;
            if (f->ascending && nyb_format_decode(f, c) < 0 && nyb_format_decode(f, c + 1) <= 0)
                check_midpoint(f, c + 1, c);
            else
                check_midpoint(f, c, c + 1);
            if (signs && f->fp.special != NYB_SPECIAL_FNUZ)
                check_midpoint(f, c + half, c + 1 + half);
        }
    }
    assert_true(n_pairs > 100000);
}

/* Zeros, the least and the largest of f32, Inf, NaN; what is beyond the largest of a format. */
static void edges_of_floats(void **state)
{
    static const uint32_t nans[] = {0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff};
    const nyb_format *f;

    (void)state;
    for (size_t i = 1; (f = format_at(i)) != NULL; i++) {
        const unsigned sign = f->n_codes / 2;
        const bool keeps = f->fp.special != NYB_SPECIAL_FNUZ;
        float least, next;

        if (f->grid != NYB_GRID_FLOAT)
            continue;
        least = nyb_format_decode(f, 1);
        assert_int_equal(nearest(f, 0.0f), 0);
        assert_int_equal(nearest(f, -0.0f), keeps ? sign : 0);
        if (least > 2 * FLT_TRUE_MIN) {
            assert_int_equal(nearest(f, FLT_TRUE_MIN), 0);
            assert_int_equal(nearest(f, -FLT_TRUE_MIN), keeps ? sign : 0);
            assert_int_equal(nearest(f, nextafterf(least / 2, 0)), 0);
        }
        assert_int_equal(nearest(f, nextafterf(least / 2, INFINITY)), f->fp.ties_away ? 0 : 1);
        assert_true(nyb_format_decode(f, nearest(f, FLT_MAX)) == f->max);
        assert_true(nyb_format_decode(f, nearest(f, -INFINITY)) == -f->max);
        for (size_t k = 0; k < sizeof nans / sizeof *nans; k++) {
            const unsigned code = nearest(f, nyb_float_of(nans[k]));
            const bool has_nan = f->fp.special != NYB_SPECIAL_NONE &&
                                 f->fp.exp_bits + f->fp.man_bits > 0 &&
                                 !(f->fp.special == NYB_SPECIAL_IEEE && f->fp.man_bits == 0);

            assert_true(has_nan ? isnan(nyb_format_decode(f, code)) : code == 0);
        }
        /* beyond the largest: up to the midpoint with the next it is the largest anyway */
        next = f->max + (f->max - nyb_format_decode(f, nearest(f, f->max) - 1));
        if (isinf(next) || f->fp.man_bits == 0 || f->max < FLT_MIN) /* that is no neighbour */
            continue;
        const float middle = f->max + (next - f->max) / 2;
        const unsigned top = nearest(f, f->max);
        const unsigned over =
            nyb_format_encode(f, nextafterf(middle, INFINITY), NYB_ROUND_NEAREST, 0, false);

        assert_int_equal(nyb_format_encode(f, nextafterf(middle, 0), NYB_ROUND_NEAREST, 0, false),
                         top);
        assert_int_equal(
            nyb_format_encode(f, nextafterf(middle, INFINITY), NYB_ROUND_NEAREST, 0, true), top);
        if (f->fp.special == NYB_SPECIAL_NONE)
            assert_int_equal(over, top);
        else
            assert_false(isfinite(nyb_format_decode(f, over)));
    }
}

/* ---- stochastic rounding --------------------------------------------------------------------- */

/* The least draw that takes x up, by bisection; 2^23 if none does. */
static uint32_t threshold(const nyb_format *f, float x, unsigned inner, unsigned outer)
{
    uint32_t low = 0, high = 1u << 23;

    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        const unsigned code = nyb_format_encode(f, x, NYB_ROUND_STOCHASTIC, middle, true);

        assert_true(code == inner || code == outer);
        if (code == outer)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* NUMERICS 8.3, item 3: the outcome is monotone in the draw, and the threshold is 2^23 minus
 * floor(2^23 (x - l) / (u - l)), in numbers of at most 52 bits. */
static void draws_decide_by_the_exact_fraction(void **state)
{
    static const double parts[] = {0,           0x1p-23,      0x1p-20,    0.1,   0.25,
                                   1.0 / 3,     0.5,          0.500001,   0.625, 2.0 / 3,
                                   1 - 0x1p-12, 1 - 0x1p-22,  0x3p-9,     0.9,   0.75,
                                   0.99999999,  1 - 0x1.1p-3, 0.123456789};
    const nyb_format *f;

    (void)state;
    for (size_t i = 1; (f = format_at(i)) != NULL; i++) {
        const bool signs = f->is_signed && !f->ascending;
        const unsigned half = signs ? f->n_codes / 2 : f->n_codes;

        if (f->n_codes == 0 || f->grid == NYB_GRID_LOG2)
            continue;
        for (unsigned c = 0; c + 1 < half; c += half > 300 ? half / 97 : 1)
            for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
                const bool down = f->ascending && nyb_format_decode(f, c + 1) <= 0;
                const unsigned inner = c + down, outer = c + !down;
                const double l = (double)nyb_format_decode(f, inner);
                const double gap = (double)nyb_format_decode(f, outer) - l;
                const float x = (float)(l + gap * parts[k]);
                const double at = ((double)x - l) / gap;

                if (!is_produced(f, c) || !is_produced(f, c + 1) || at >= 1)
                    continue;
                const double up = (double)((1u << 23) - threshold(f, x, inner, outer));

                assert_true(up * fabs(gap) <= fabs((double)x - l) * 0x1p23);
                assert_true((up + 1) * fabs(gap) > fabs((double)x - l) * 0x1p23);
            }
    }
}

static void fields_are_those_of_the_record(void **state)
{
    nyb_format_fields g = {.bias = 77};

    (void)state;
    assert_false(nyb_format_get_fields(&nyb_format_int4, &g));
    assert_false(nyb_format_get_fields(&nyb_format_f32, &g));
    assert_int_equal(g.bias, 77);
    assert_true(nyb_format_get_fields(&nyb_format_fp16, &g));
    assert_true(g.exp_bits == 5 && g.man_bits == 10 && g.bias == 15 && g.subnormals);
    assert_true(g.min_normal == 0x1p-14f && g.min == 0x1p-24f);
    assert_true(nyb_format_get_fields(&nyb_format_dlfloat16, &g));
    assert_true(!g.subnormals && g.min == 0x1.008p-31f && g.min_normal == g.min);
    assert_string_equal(g.ties, "away from zero");
}

/* ---- names ----------------------------------------------------------------------------------- */

static void generic_names_are_interned(void **state)
{
    static const char *const wrong[] = {"e9m3",     "e0m3",      "e4m24",    "e8m24",  "e8m3b126",
                                        "e4m3b148", "e8m23b128", "e5m2b999", "e3m120", "e8m3b0"};
    static const char *const unknown[] = {"e4",    "e4m",   "m3",       "em3",      "e4m3b",
                                          "e04m3", "e4m03", "e4m3b011", "e4m3x",    "e4m3b-1",
                                          "E6M9",  "e6m9 ", "e1234m1",  "e4m3b1000"};
    const nyb_format *f = nyb_format_find("e6m9"), *g = NULL;
    nyb_error err;

    (void)state;
    assert_non_null(f);
    assert_ptr_equal(nyb_format_find("e6m9"), f);
    assert_int_equal(nyb_format_parse("e6m9", &g, NULL), NYB_OK);
    assert_ptr_equal(f, g);
    assert_string_equal(nyb_format_name(f), "e6m9");
    assert_int_equal(nyb_format_bits(f), 16);
    assert_true(nyb_format_max(f) == 0x1.ff8p32f); /* 2^32 (2 - 2^-9): no code is lost to NaN */
    assert_ptr_equal(nyb_format_find("e4m3"), &nyb_format_e4m3); /* listed names win */
    assert_ptr_not_equal(nyb_format_find("e4m3b7"), &nyb_format_e4m3);
    assert_true(nyb_format_max(nyb_format_find("e4m3b7")) == 480);
    assert_int_equal(nyb_format_bits(nyb_format_find("e8m23")), 32);
    assert_true(nyb_format_max(nyb_format_find("e8m23")) == FLT_MAX);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(nyb_format_parse(wrong[i], &g, &err), NYB_INVALID);
        assert_non_null(strstr(err.text, wrong[i]));
        assert_true(strstr(err.text, "X 1..8") || strstr(err.text, "possible"));
        assert_null(g);
        assert_null(nyb_format_find(wrong[i]));
    }
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_int_equal(nyb_format_parse(unknown[i], &g, &err), NYB_UNKNOWN);
        assert_non_null(strstr(err.text, "eXmYbB"));
    }
    nyb_alloc_fail_after(1, false);
    assert_int_equal(nyb_format_parse("e2m19b17", &g, &err), NYB_MEMORY);
    nyb_alloc_fail_after(0, false);
    assert_non_null(nyb_format_find("e2m19b17"));
}

#define N_THREADS 4
#define N_NAMES   200

static void *find_all(void *records)
{
    for (int i = 0; i < N_NAMES; i++) {
        char name[32];

        snprintf(name, sizeof name, "e5m%db%d", 1 + i % 10, 20 + i / 10);
        ((const nyb_format **)records)[i] = nyb_format_find(name);
    }
    return NULL;
}

static void threads_get_the_same_records(void **state)
{
    static const nyb_format *found[N_THREADS][N_NAMES];
    pthread_t threads[N_THREADS];

    (void)state;
    for (int t = 0; t < N_THREADS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, find_all, found[t]), 0);
    for (int t = 0; t < N_THREADS; t++)
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    for (int i = 0; i < N_NAMES; i++) {
        assert_non_null(found[0][i]);
        assert_int_equal(found[0][i]->fp.bias, 20 + i / 10);
        for (int t = 1; t < N_THREADS; t++)
            assert_ptr_equal(found[t][i], found[0][i]);
    }
}

/* The codes of e8m23 are the bits of f32. */
static void e8m23_is_f32(void **state)
{
    const nyb_format *f = nyb_format_find("e8m23");

    (void)state;
    for (size_t i = 0; i < N_INPUTS; i++) {
        const float x = input(i);

        if (isnan(x))
            continue;
        assert_int_equal(nyb_format_encode(f, x, NYB_ROUND_NEAREST, 0, false), nyb_bits_of(x));
        assert_int_equal(nyb_bits_of(nyb_format_decode(f, nyb_bits_of(x))), nyb_bits_of(x));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_have_the_published_checksums),
        cmocka_unit_test(codes_are_those_of_other_libraries),
        cmocka_unit_test(dlfloat16_has_its_golden_codes),
        cmocka_unit_test(what_was_encoded_comes_back),
        cmocka_unit_test(rounding_is_monotone_and_idempotent),
        cmocka_unit_test(midpoints_go_where_the_format_says),
        cmocka_unit_test(edges_of_floats),
        cmocka_unit_test(draws_decide_by_the_exact_fraction),
        cmocka_unit_test(fields_are_those_of_the_record),
        cmocka_unit_test(generic_names_are_interned),
        cmocka_unit_test(threads_get_the_same_records),
        cmocka_unit_test(e8m23_is_f32),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
