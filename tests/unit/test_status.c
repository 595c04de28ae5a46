#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <nybble/status.h>

static nyb_status failing(nyb_error *err)
{
    return nyb_fail(err, NYB_SHAPE, "x has %d columns, w expects %d", 3, 4);
}

static nyb_status forwarding(nyb_error *err)
{
    NYB_TRY(failing(err));
    return NYB_OK;
}

static void a_failure_carries_its_sentence(void **state)
{
    nyb_error err = {0};

    (void)state;
    assert_int_equal(forwarding(&err), NYB_SHAPE);
    assert_int_equal(err.status, NYB_SHAPE);
    assert_string_equal(err.text, "x has 3 columns, w expects 4");
    assert_int_equal(forwarding(NULL), NYB_SHAPE);
}

static void a_long_sentence_keeps_its_end(void **state)
{
    char path[2000];
    nyb_error err;

    (void)state;
    memset(path, 'd', sizeof path);
    path[sizeof path - 1] = 0;
    assert_int_equal(nyb_fail(&err, NYB_IO, "cannot read %s: no such file", path), NYB_IO);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_memory_equal(err.text, "cannot read dd", 14);
    assert_non_null(strstr(err.text, "d ... d"));
    assert_string_equal(err.text + sizeof err.text - 16, "d: no such file");
    for (size_t n = sizeof err.text - 2; n < sizeof err.text + 2; n++) {
        path[n] = 0;
        nyb_status status = nyb_fail(&err, NYB_IO, "%s", path);
        assert_int_equal(status, NYB_IO);
        assert_int_equal(strlen(err.text), n < sizeof err.text ? n : sizeof err.text - 1);
        path[n] = 'd';
    }
    /* its own text may be part of the new one */
    assert_int_equal(nyb_fail(&err, NYB_IO, "where"), NYB_IO);
    assert_int_equal(nyb_fail(&err, NYB_CORRUPT, "line 3: %s", err.text), NYB_CORRUPT);
    assert_string_equal(err.text, "line 3: where");
}

static void every_status_has_a_word(void **state)
{
    (void)state;
    for (int a = NYB_OK; a <= NYB_INTERRUPTED; a++) {
        assert_true(strlen(nyb_status_name((nyb_status)a)) > 1);
        assert_true(strlen(nyb_status_text((nyb_status)a)) > 5);
        for (int b = NYB_OK; b < a; b++)
            assert_string_not_equal(nyb_status_name((nyb_status)a), nyb_status_name((nyb_status)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_carries_its_sentence),
        cmocka_unit_test(a_long_sentence_keeps_its_end),
        cmocka_unit_test(every_status_has_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
