#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "quant/quant.h"

static const nyb_rounding roundings[] = {
#define X(constant, word, sentence) constant,
    NYB_ROUNDING_LIST(X)
#undef X
};

static void every_valid_spec_survives_its_text(void **state)
{
    size_t n_valid = 0, n_invalid = 0;

    (void)state;
    for (size_t f = 0; f < nyb_format_count(); f++)
        for (size_t s = 0; s < nyb_scale_rule_count(); s++)
            for (size_t r = 0; r < sizeof roundings / sizeof *roundings; r++)
                for (int bits = 16; bits <= 32; bits += 16) {
                    nyb_spec a = {.format = nyb_format_at(f),
                                  .scale = nyb_scale_rule_at(s),
                                  .rounding = roundings[r],
                                  .sr_bits = bits};
                    nyb_spec b;
                    char text[120];
                    int n = nyb_spec_print(&a, text, sizeof text);

                    assert_in_range(n, 1, sizeof text - 1);
                    if (nyb_spec_check(&a, NULL) != NYB_OK) {
                        assert_int_equal(nyb_spec_parse(text, &b, NULL), NYB_INVALID);
                        n_invalid++;
                        continue;
                    }
                    n_valid++;
                    assert_int_equal(nyb_spec_parse(text, &b, NULL), NYB_OK);
                    assert_ptr_equal(a.format, b.format);
                    if (a.format->grid == NYB_GRID_REAL)
                        continue;
                    assert_ptr_equal(a.scale, b.scale);
                    assert_int_equal(a.rounding, b.rounding);
                    if (nyb_rounding_draws(a.rounding))
                        assert_int_equal(a.sr_bits, b.sr_bits);
                }
    assert_true(n_valid > 100 && n_invalid > 100);
}

static void missing_parts_take_the_formats_defaults(void **state)
{
    static const struct {
        const char *text, *full;
    } cases[] = {
        {"int4", "int4/absmax/tensor/nearest"},
        {"uint4/sawb", "uint4/sawb/tensor/nearest"},
        {"int8/pow2/tensor", "int8/pow2/tensor/nearest"},
        {"e3m0", "e3m0/absmax/tensor/stochastic"},
        {"e4m0", "e4m0/absmax/tensor/stochastic"},
        {"e2m1", "e2m1/absmax/tensor/nearest"},
        {"e4m3fn", "e4m3fn/absmax/tensor/nearest"},
        {"bf16", "bf16/unit/tensor/nearest"},
        {"fp16", "fp16/unit/tensor/nearest"},
        {"e6m9", "e6m9/unit/tensor/nearest"},
        {"fp16/absmax", "fp16/absmax/tensor/nearest"},
        {"e8m0", "e8m0/unit/tensor/nearest"},
        {"e3m0/hindsight/tensor/stochastic:32", "e3m0/hindsight/tensor/stochastic:32"},
        {"e3m0/absmax/tensor/underflow:32", "e3m0/absmax/tensor/underflow:32"},
        {"f32", "f32"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_spec spec;
        char text[120];

        assert_int_equal(nyb_spec_parse(cases[i].text, &spec, NULL), NYB_OK);
        assert_int_equal(nyb_spec_print(&spec, text, sizeof text), strlen(cases[i].full));
        assert_string_equal(text, cases[i].full);
        assert_int_equal(nyb_spec_print(&spec, text, 4), strlen(cases[i].full));
        assert_int_equal(strlen(text), 3);
    }
}

static void bad_texts_say_what_is_wrong(void **state)
{
    static const struct {
        const char *text;
        nyb_status status;
        const char *says;
    } cases[] = {
        {"int9", NYB_UNKNOWN, "int4"},
        {"bf16/absmax", NYB_INVALID, "'unit'"},
        {"e8m3/absmax/block32", NYB_INVALID, "'unit'"},
        {"e9m3", NYB_INVALID, "X 1..8"},
        {"int4/maxabs", NYB_UNKNOWN, "hindsight_pow2"},
        {"int4/absmax/rows", NYB_UNKNOWN, "tensor"},
        {"int4/absmax/tensor/up", NYB_UNKNOWN, "flush-stochastic"},
        {"e3m0/absmax/tensor/stochastic:8", NYB_UNKNOWN, ":32"},
        {"int4/absmax/tensor/nearest:32", NYB_INVALID, "draws no random bits"},
        {"int4/absmax/tensor/nearest:16", NYB_INVALID, "draws no random bits"},
        {"e3m0/absmax/tensor/flush:32", NYB_INVALID, "draws no random bits"},
        {"int4//tensor", NYB_UNKNOWN, "''"},
        {"int4/", NYB_UNKNOWN, "''"},
        {"", NYB_UNKNOWN, "''"},
        {"int4/absmax/tensor/nearest/none/x", NYB_INVALID, "format/scale/group/rounding"},
        {"int4/absmax/tensor/flush", NYB_INVALID, "flush"},
        {"e2m1/absmax/tensor/underflow", NYB_INVALID, "e2m1"},
        {"e3m0/sawb", NYB_INVALID, "sawb"},
        {NULL, NYB_INVALID, "NULL"},
    };
    char big[300];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_spec spec = {.sr_bits = 77};
        nyb_error err = {0};

        assert_int_equal(nyb_spec_parse(cases[i].text, &spec, &err), cases[i].status);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_int_equal(spec.sr_bits, 77); /* unchanged */
    }
    assert_int_equal(nyb_spec_parse("int4", NULL, NULL), NYB_INVALID);
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    assert_int_equal(nyb_spec_parse(big, &(nyb_spec){0}, NULL), NYB_INVALID);
    big[30] = '/';
    assert_int_equal(nyb_spec_parse(big, &(nyb_spec){0}, NULL), NYB_UNKNOWN);
}

static void check_refuses_what_cannot_exist(void **state)
{
    nyb_spec good, bad;

    (void)state;
    assert_int_equal(nyb_spec_parse("e3m0", &good, NULL), NYB_OK);
    assert_int_equal(nyb_spec_check(&good, NULL), NYB_OK);
    assert_int_equal(nyb_spec_check(NULL, NULL), NYB_INVALID);
    bad = good;
    bad.format = NULL;
    assert_int_equal(nyb_spec_check(&bad, NULL), NYB_INVALID);
    bad = good;
    bad.scale = NULL;
    assert_int_equal(nyb_spec_check(&bad, NULL), NYB_INVALID);
    bad = good;
    bad.sr_bits = 24;
    assert_int_equal(nyb_spec_check(&bad, NULL), NYB_INVALID);
    bad.rounding = NYB_ROUND_NEAREST; /* draws nothing */
    assert_int_equal(nyb_spec_check(&bad, NULL), NYB_OK);
    bad = good;
    bad.rounding = (nyb_rounding)99;
    assert_int_equal(nyb_spec_check(&bad, NULL), NYB_INVALID);
    bad = good;
    bad.group = (nyb_group)7;
    assert_int_equal(nyb_spec_check(&bad, NULL), NYB_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_valid_spec_survives_its_text),
        cmocka_unit_test(missing_parts_take_the_formats_defaults),
        cmocka_unit_test(bad_texts_say_what_is_wrong),
        cmocka_unit_test(check_refuses_what_cannot_exist),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
