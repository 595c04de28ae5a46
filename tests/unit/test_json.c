#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "comma.h"
#include "io/io.h"

typedef struct text {
    char *bytes;
    size_t n;
    FILE *out;
    nyb_json json;
} text;

static nyb_json *begin(text *t, bool pretty)
{
    t->out = open_memstream(&t->bytes, &t->n);
    nyb_json_begin(&t->json, t->out, pretty);
    return &t->json;
}

static void assert_written(text *t, const char *want)
{
    fclose(t->out);
    assert_string_equal(t->bytes, want);
    free(t->bytes);
}

static void write_all_kinds(nyb_json *json)
{
    nyb_json_object(json, NULL);
    nyb_json_string(json, "name", "luq");
    nyb_json_int(json, "least", INT64_MIN);
    nyb_json_uint(json, "most", UINT64_MAX);
    nyb_json_double(json, "lr", 0.1);
    nyb_json_float(json, "scale", 0.1f);
    nyb_json_bool(json, "on", true);
    nyb_json_array(json, "empty");
    nyb_json_end(json);
    nyb_json_array(json, "list");
    nyb_json_bool(json, NULL, false);
    nyb_json_object(json, NULL);
    nyb_json_end(json);
    nyb_json_double(json, NULL, INFINITY);
    nyb_json_float(json, NULL, NAN);
    nyb_json_end(json);
    nyb_json_end(json);
}

static void one_line(void **state)
{
    text t;

    (void)state;
    write_all_kinds(begin(&t, false));
    assert_written(&t, "{\"name\":\"luq\",\"least\":-9223372036854775808,"
                       "\"most\":18446744073709551615,\"lr\":0.1,\"scale\":0.1,\"on\":true,"
                       "\"empty\":[],\"list\":[false,{},null,null]}\n");
}

static void pretty(void **state)
{
    text t;

    (void)state;
    write_all_kinds(begin(&t, true));
    assert_written(&t, "{\n  \"name\": \"luq\",\n  \"least\": -9223372036854775808,\n"
                       "  \"most\": 18446744073709551615,\n  \"lr\": 0.1,\n  \"scale\": 0.1,\n  "
                       "\"on\": true,\n  \"empty\": [],\n"
                       "  \"list\": [\n    false,\n    {},\n    null,\n    null\n  ]\n}\n");
}

static void strings_are_escaped(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "\"\"\n"},
        {"a\"b\\c\n\t\r\x01\x1f\x7f", "\"a\\\"b\\\\c\\n\\t\\u000d\\u0001\\u001f\\u007f\"\n"},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"\n"},
        {"\xff\xc3", "\"\\ufffd\\ufffd\"\n"}, /* no UTF-8; cut short */
        {"\xc0\x80\xed\xa0\x80",              /* overlong; a surrogate */
         "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"\n"},
        {"\xf4\x90\x80\x80\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text t;
        nyb_json_string(begin(&t, false), NULL, cases[i].text);
        assert_written(&t, cases[i].want);
        assert_int_equal(nyb_text_is_utf8(cases[i].text), !strstr(cases[i].want, "ufffd"));
    }
    assert_false(nyb_text_is_utf8("caf\xe9"));
    assert_false(nyb_text_is_utf8("\xe9t\xc3\xa9"));
}

static double read_back(text *t)
{
    fclose(t->out);
    json_t *value = json_loads(t->bytes, JSON_DECODE_ANY, NULL);
    assert_non_null(value);
    double x = json_number_value(value);
    json_decref(value);
    free(t->bytes);
    return x;
}

static void numbers_read_back_exactly(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        text t;
        uint64_t bits = seed = seed * 6364136223846793005u + 1442695040888963407u;
        double x;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x))
            continue;
        nyb_json_double(begin(&t, false), NULL, x);
        assert_true(read_back(&t) == x);
        float y = nyb_float_of((uint32_t)(bits >> 32));
        if (!isfinite(y))
            continue;
        nyb_json_float(begin(&t, false), NULL, y);
        assert_true((float)read_back(&t) == y);
    }
    for (double x = DBL_MAX; x != 0; x = x == DBL_MAX ? DBL_MIN : x == DBL_MIN ? DBL_TRUE_MIN : 0) {
        text t;
        nyb_json_double(begin(&t, false), NULL, x);
        assert_true(read_back(&t) == x);
    }
}

static void the_locale_does_not_matter(void **state)
{
    char folder[64];
    text t;

    (void)state;
    if (!comma_begin(folder))
        skip();
    nyb_json_double(begin(&t, false), NULL, 0.5);
    assert_written(&t, "0.5\n");
    comma_end(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line),
        cmocka_unit_test(pretty),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(numbers_read_back_exactly),
        cmocka_unit_test(the_locale_does_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
