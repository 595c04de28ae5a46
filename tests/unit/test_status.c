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
        cmocka_unit_test(every_status_has_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
