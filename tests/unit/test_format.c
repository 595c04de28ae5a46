#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fenv.h>
#include <math.h>

#include "format/format.h"
#include "known.h"

/* Values of every code, from NUMERICS 8.1. */
typedef struct golden {
    const char *name;
    int bits;
    double max;
    uint64_t fnv; /* of the f32 images, NUMERICS 8.2; 0: not published */
    double value[16];
} golden;

static const golden goldens[] = {
    {"int4", 4, 7, 0x610228d3d2cf9042, {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1}},
    {"uint4", 4, 15, 0x13fdf84d829c1708, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
    {"int2", 2, 1, 0x0a0a655ffeb0e385, {0, 1, -2, -1}},
    {"e2m1",
     4,
     6,
     0x2403bb76b85dfea5,
     {0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6}},
    {"e3m0",
     4,
     64,
     0xbb26d8c3c27e4985,
     {0, 1, 2, 4, 8, 16, 32, 64, -0.0, -1, -2, -4, -8, -16, -32, -64}},
};

static void tables_are_the_published_ones(void **state)
{
    (void)state;
    for (size_t g = 0; g < sizeof goldens / sizeof *goldens; g++) {
        const golden *want = &goldens[g];
        const nyb_format *f = nyb_format_find(want->name);
        uint64_t fnv = KNOWN_FNV_START;

        assert_non_null(f);
        assert_int_equal(nyb_format_bits(f), want->bits);
        assert_true((double)nyb_format_max(f) == want->max);
        for (unsigned c = 0; c < 1u << want->bits; c++) {
            uint32_t bits = nyb_bits_of(nyb_format_decode(f, c));

            assert_int_equal(bits, nyb_bits_of((float)want->value[c]));
            fnv = known_fnv(fnv, &bits, sizeof bits);
        }
        assert_true(fnv == want->fnv);
    }
}

/* The same values from the fields of each code, by arithmetic. */
static void tables_follow_from_their_bit_fields(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        const unsigned low = c & 15, e = c & 127;
        const double sign = c >> 7 ? -1 : 1;

        assert_true(nyb_format_decode(&nyb_format_int8, c) == (float)(int8_t)c);
        assert_true(nyb_format_decode(&nyb_format_int8f, c) == (float)(int8_t)c);
        if (e <= 8)
            assert_true(nyb_format_decode(&nyb_format_e4m0, c) ==
                        (float)(e ? sign * ldexp(1, (int)e - 1) : 0));
        else
            assert_true(isnan(nyb_format_decode(&nyb_format_e4m0, c)));
        if ((int8_t)c >= -8 && (int8_t)c <= 15) {
            assert_true(nyb_format_decode(&nyb_format_int5x, c) == (float)(int8_t)c);
            assert_true(nyb_format_decode(&nyb_format_int5w, c) ==
                        ((int8_t)c > 8 ? 0 : (float)(int8_t)c));
        }
        if (c < 16) {
            const double s = low >> 3 ? -1 : 1, field = low & 7, mantissa = low & 1;
            const int exponent = (int)(low >> 1 & 3);

            assert_true(nyb_format_decode(&nyb_format_int4, c) == (float)((int)(c ^ 8) - 8));
            assert_true(nyb_format_decode(&nyb_format_int4f, c) == (float)((int)(c ^ 8) - 8));
            assert_true(nyb_format_decode(&nyb_format_uint4, c) == (float)c);
            assert_true(nyb_format_decode(&nyb_format_e3m0, c) ==
                        (float)(field > 0 ? s * ldexp(1, (int)field - 1) : 0));
            assert_true(
                nyb_format_decode(&nyb_format_e2m1, c) ==
                (float)(s * (exponent ? ldexp(1 + mantissa / 2, exponent - 1) : mantissa / 2)));
        }
        if (c < 4)
            assert_true(nyb_format_decode(&nyb_format_int2, c) == (float)((int)(c ^ 2) - 2));
        if (c < 4)
            assert_true(nyb_format_decode(&nyb_format_odd2, c) == 2 * (float)c - 3);
        if (c < 4)
            assert_true(nyb_format_decode(&nyb_format_int2f, c) == (float)((int)(c ^ 2) - 2));
    }
}

/* All of two's complement: the lowest is one beyond the highest. */
static bool is_full(const nyb_format *f)
{
    return f->grid == NYB_GRID_INT && f->lo == -f->hi - 1;
}

/* Units are integers within what an encoder produces, and readable for every code at rest. */
static void law_of_units(const nyb_format *f)
{
    int largest = 0;

    assert_true(f->unit > 0);
    assert_true((float)(f->max_unit - is_full(f)) * f->unit == f->max);
    for (unsigned c = 0; c < 1u << f->bits; c++) {
        assert_int_equal(f->units[c], f->units[c & (f->n_codes - 1)]);
        if (f->units[c] > largest)
            largest = f->units[c];
    }
    assert_int_equal(largest, f->max_unit - is_full(f));
    for (unsigned c = 0; is_full(f) && c < f->n_codes; c++) /* no code is left out */
        assert_int_equal(nyb_format_encode(f, f->units[c], NYB_ROUND_NEAREST, 0, 1), c);
}

/* FLOAT grids say by their fields what each code is; units, if any, say the same. */
static void law_of_fields(const nyb_format *f)
{
    const nyb_float_grid *fp = &f->fp;
    const unsigned sign = 1u << (fp->exp_bits + fp->man_bits);

    assert_null(f->value);
    assert_int_equal(f->n_codes, 2 * sign);
    for (unsigned c = 0; f->units && c < f->n_codes; c++)
        assert_int_equal(nyb_bits_of(nyb_format_decode(f, c)) & 0x7fffffff,
                         nyb_bits_of(fabsf((float)f->units[c] * f->unit)));
}

/* The values of [first, first + n) ascend, but for codes without a value at the end. */
static void law_of_order(const nyb_format *f, unsigned first, unsigned n)
{
    float former = nyb_format_decode(f, first);

    for (unsigned c = first + 1; c < first + n; c++) {
        float v = nyb_format_decode(f, c);

        if (isnan(v) || isnan(former))
            assert_true(isnan(v) || f->fp.special == NYB_SPECIAL_FNUZ);
        else
            assert_true(former < v || (c > first + 1 && isinf(former)));
        former = v;
    }
}

/* What every record must satisfy, whoever wrote it: a new format is tested by being listed. */
static void law(const nyb_format *f)
{
    const int bits = nyb_format_bits(f);
    const unsigned n = 1u << bits;

    assert_true(f->bits == 4 || f->bits == 8 || f->bits == 16 || f->bits == 32);
    assert_true(bits <= f->bits && (bits > f->bits / 2 || f->bits == 4));
    assert_int_equal(f->n_codes, n);
    assert_int_equal((f->units != NULL) + (f->value != NULL),
                     f->grid != NYB_GRID_FLOAT || f->units);
    assert_true(f->max > 0 && isfinite(f->max));
    assert_true(f->max_unit == 0 || f->units);
    if (f->units)
        law_of_units(f);
    if (f->grid == NYB_GRID_FLOAT)
        law_of_fields(f);
    if (f->grid == NYB_GRID_INT) {
        assert_true((float)f->hi * f->unit == f->max);
        if (strcmp(f->name, "int5x") == 0)
            assert_int_equal(f->lo, -8);
        else
            assert_int_equal(f->lo, !f->is_signed ? 0 : strchr(f->name, 'f') ? -f->hi - 1 : -f->hi);
    }
    if (f->grid == NYB_GRID_LOG2) { /* the encoder clamps at 2 max, which must be a power of two */
        int exponent;

        assert_true(frexpf(f->max, &exponent) == 0.5f);
        assert_true(exponent <= 1 << (f->bits - 1));
    }
    for (unsigned c = 0; c < n && !f->is_signed; c++)
        assert_false(nyb_format_decode(f, c) < 0);
    if (f->ascending || (f->grid == NYB_GRID_TABLE && !f->is_signed)) {
        law_of_order(f, 0, n);
        return;
    }
    assert_int_equal(nyb_bits_of(nyb_format_decode(f, 0)), 0); /* padding is code 0 */
    if (f->grid != NYB_GRID_INT) { /* a sign on top, magnitudes sorted */
        law_of_order(f, 0, n / 2);
        for (unsigned c = 1; c < n / 2; c++) {
            const float plus = nyb_format_decode(f, c), minus = nyb_format_decode(f, c + n / 2);

            assert_true(isnan(plus) ? isnan(minus) : minus == -plus);
        }
    }
}

static void every_format_obeys_the_laws(void **state)
{
    (void)state;
    assert_true(nyb_format_count() >= 42);
    assert_ptr_equal(nyb_format_at(0), &nyb_format_f32);
    assert_null(nyb_format_at(nyb_format_count()));
    for (size_t i = 0; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);

        assert_true(strlen(nyb_format_about(f)) > 10);
        assert_ptr_equal(nyb_format_find(nyb_format_name(f)), f);
        assert_int_equal(nyb_format_is_integer(f), f->max_unit > 0 || f->shift > 0);
        if (f->grid == NYB_GRID_REAL) {
            assert_int_equal(nyb_format_bits(f), 32);
            assert_true(isnan(nyb_format_decode(f, 0)));
        } else {
            law(f);
            assert_true(isnan(nyb_format_decode(f, f->n_codes)));
            assert_true(nyb_format_decode(
                            f, nyb_format_encode(f, INFINITY, NYB_ROUND_NEAREST, 0, 1)) == f->max);
        }
    }
}

/* Small multiples of one value are operands of the s8 engine, whatever their name. */
static void generic_formats_have_units(void **state)
{
    static const struct {
        const char *name;
        int max_unit;
    } made[] = {{"e1m1", 3},  {"e1m3", 15},    {"e1m6", 127},  {"e2m0", 4},    {"e2m1b9", 12},
                {"e2m2", 28}, {"e2m2b20", 28}, {"e2m4", 124},  {"e3m1", 0},    {"e2m5", 0},
                {"e1m7", 0},  {"e2m1b59", 12}, {"e2m1b61", 0}, {"e1m2b147", 0}};

    (void)state;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        const nyb_format *f = nyb_format_find(made[i].name);

        assert_non_null(f);
        if (f->max_unit != made[i].max_unit)
            fail_msg("%s: %d units, not %d", made[i].name, f->max_unit, made[i].max_unit);
        assert_int_equal(nyb_format_is_integer(f), made[i].max_unit > 0);
        if (f->units)
            law(f);
    }
}

static void an_unknown_name_lists_the_known_ones(void **state)
{
    const nyb_format *f = NULL;
    nyb_error err = {0};

    (void)state;
    assert_int_equal(nyb_format_parse("int4", &f, &err), NYB_OK);
    assert_ptr_equal(f, &nyb_format_int4);
    assert_int_equal(nyb_format_parse("int9", &f, &err), NYB_UNKNOWN);
    assert_null(f);
    assert_non_null(strstr(err.text, "int9"));
    for (size_t i = 0; i < nyb_format_count(); i++)
        assert_non_null(strstr(err.text, nyb_format_name(nyb_format_at(i))));
    assert_non_null(strstr(err.text, "eXmY"));
    assert_int_equal(nyb_format_parse("", &f, NULL), NYB_UNKNOWN);
    assert_int_equal(nyb_format_parse(NULL, &f, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "NULL"));
    assert_int_equal(nyb_format_parse("int4", NULL, &err), NYB_INVALID);
    assert_null(nyb_format_find(NULL));
    assert_null(nyb_format_find("INT4"));
}

/* Codes are those of rounding to the nearest, whatever the caller's mode. */
static void the_callers_rounding_mode_does_not_count(void **state)
{
    static const char *const names[] = {"int4", "int8", "e2m1", "e4m3fn", "e3m0", "bf16"};
    const int former = fegetround();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const nyb_format *f = nyb_format_find(names[i]);

        for (int k = -1000; k <= 1000; k++) {
            const float x = (float)k * 0x1p-4f;
            const unsigned want = nyb_format_encode(f, x, NYB_ROUND_NEAREST, 0, 1);

            assert_int_equal(fesetround(FE_UPWARD), 0);
            const unsigned up = nyb_format_encode(f, x, NYB_ROUND_NEAREST, 0, 1);
            assert_int_equal(fesetround(FE_DOWNWARD), 0);
            const unsigned down = nyb_format_encode(f, x, NYB_ROUND_NEAREST, 0, 1);
            assert_int_equal(fesetround(former), 0);
            assert_int_equal(up, want);
            assert_int_equal(down, want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_rounding_mode_does_not_count),
        cmocka_unit_test(tables_are_the_published_ones),
        cmocka_unit_test(tables_follow_from_their_bit_fields),
        cmocka_unit_test(every_format_obeys_the_laws),
        cmocka_unit_test(generic_formats_have_units),
        cmocka_unit_test(an_unknown_name_lists_the_known_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
