#include <errno.h>
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <nybble/nybble.h>

#include "base/base.h"
#include "base/number.h"
#include "comma.h"
#include "train/run.h"

static void expect(const char *text, double want, size_t used)
{
    const char *end;
    const double got = nyb_number_parse(text, &end);

    if (!(got == want || (isnan(got) && isnan(want))) || (size_t)(end - text) != used)
        fail_msg("'%s' is %g and ends at %zu", text, got, (size_t)(end - text));
}

static void check_all(void)
{
    static const double values[] = {0,       0.1,     -1.0 / 3, 1e22, 123456789, 5e-324,
                                    DBL_MAX, DBL_MIN, INFINITY, 1e-5, 0.5};
    static const char long_one[] =
        "0.1000000000000000055511151231257827021181583404541015625000000000000000000000000000000000"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00"
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0";
    char text[NYB_NUMBER_BYTES];

    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const char *end;

        assert_true(nyb_number_parse(nyb_number_print(values[i], text), &end) == values[i]);
        assert_int_equal(*end, '\0');
        assert_null(strchr(text, ','));
        nyb_number_print_float((float)values[i], text);
        assert_true((float)nyb_number_parse(text, &end) == (float)values[i]);
        assert_null(strchr(text, ','));
    }
    assert_string_equal(nyb_number_print(0.1, text), "0.1");
    assert_string_equal(nyb_number_print(-2.5e30, text), "-2.5e+30");
    assert_string_equal(nyb_number_print(NAN, text), "nan");
    assert_string_equal(nyb_number_print_float(0.1f, text), "0.1");
    assert_string_equal(nyb_number_print_float(1.0f / 3, text), "0.33333334");
    expect("1.5", 1.5, 3);
    expect(" 1.5e2x", 150, 6);
    expect("0x1.8p+3 ", 12, 8);
    expect("-.5", -0.5, 3);
    expect("7.", 7, 2);
    expect("1,5", 1, 1);
    expect("1.5.5", 1.5, 3);
    expect("nan", NAN, 3);
    expect("inf", INFINITY, 3);
    expect("", 0, 0);
    expect("abc", 0, 0);
    expect(".", 0, 0);
    expect(long_one, 0, 0);
    errno = 0;
    expect("1e999", INFINITY, 5);
    assert_int_equal(errno, ERANGE);
}

static void a_number_is_read_and_printed(void **state)
{
    (void)state;
    check_all();
}

/* With a decimal comma around us: numbers, recipes, options, and how far a run got. */
static void the_locale_does_not_matter(void **state)
{
    nyb_progress p = {.step = 3, .loss_sum = 0.1, .test_loss = NAN, .scaler.scale = 0.5f}, q = {0};
    nyb_train_options options;
    nyb_recipe *recipe = NULL;
    char folder[64], text[NYB_PROGRESS_BYTES];

    (void)state;
    if (!comma_begin(folder))
        skip();
    snprintf(text, sizeof text, "%.1f", 0.5);
    assert_string_equal(text, "0,5");
    check_all();
    assert_int_equal(nyb_recipe_create("tetrajet2", &recipe, NULL), NYB_OK);
    assert_int_equal(nyb_recipe_set(recipe, "finish.lr", "0.125", NULL), NYB_OK);
    assert_int_equal(nyb_recipe_set(recipe, "finish.lr", "0,25", NULL), NYB_INVALID);
    nyb_recipe_print(recipe, "finish.lr", text, sizeof text);
    assert_string_equal(text, "0.125");
    nyb_recipe_destroy(&recipe);
    nyb_train_defaults(&options);
    assert_int_equal(nyb_train_option_set(&options, "lr", "0.25", NULL), NYB_OK);
    assert_true(options.lr == 0.25);
    for (size_t i = 0; i < nyb_train_option_count(); i++) {
        nyb_train_option_print(&options, i, text, sizeof text);
        assert_null(strchr(text, ','));
    }
    nyb_progress_print(&p, text);
    assert_true(nyb_progress_scan(text, &q));
    assert_true(q.step == 3 && q.loss_sum == 0.1 && isnan(q.test_loss) && q.scaler.scale == 0.5f);
    comma_end(folder);
}

static void nulls_are_no_options(void **state)
{
    nyb_train_options options, before;
    nyb_error err = {0};

    (void)state;
    memset(&options, 0, sizeof options);
    nyb_train_defaults(&options);
    memcpy(&before, &options, sizeof before);
    assert_int_equal(nyb_train_option_set(NULL, "lr", "1", &err), NYB_INVALID);
    assert_int_equal(nyb_train_option_set(&options, NULL, "1", &err), NYB_INVALID);
    assert_int_equal(nyb_train_option_set(&options, "lr", NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_option_set(&options, "schedule", NULL, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "NULL"));
    assert_memory_equal(&options, &before, sizeof before);
}

static void progress_is_read_whole_or_not_at_all(void **state)
{
    static const char old[] = "step=7 loss_sum=0x1.8p+1 correct=0x1p+3 samples=32 skipped=1 "
                              "seconds=0x1p-1 metrics=99 test_loss=0x0p+0 test_acc=0x1p-1";
    nyb_progress p = {.step = 12,
                      .loss_sum = 1.0 / 3,
                      .n_metrics = UINT64_MAX,
                      .test_acc = 0.1,
                      .scaler = {.scale = 4096, .n_good = 5}};
    char text[NYB_PROGRESS_BYTES], part[NYB_PROGRESS_BYTES];
    nyb_progress q = {.scaler.scale = 1};

    (void)state;
    nyb_progress_print(&p, text);
    assert_true(nyb_progress_scan(text, &q));
    assert_true(q.step == 12 && q.loss_sum == 1.0 / 3 && q.n_metrics == UINT64_MAX &&
                q.test_acc == 0.1 && q.scaler.scale == 4096 && q.scaler.n_good == 5);
    for (size_t n = 0; n < strlen(text); n++) {
        nyb_progress r = {.step = 77, .scaler.scale = 2};

        snprintf(part, sizeof part, "%.*s", (int)n, text);
        if (nyb_progress_scan(part, &r)) /* a number less a digit; or 0.1.0's */
            assert_true(strstr(part, "good=") || !strstr(part, "loss_scale"));
        else
            assert_true(r.step == 77 && r.scaler.scale == 2 && r.loss_sum == 0);
    }
    q = (nyb_progress){.scaler = {.scale = 16, .n_good = 3}};
    assert_true(nyb_progress_scan(old, &q));
    assert_true(q.step == 7 && q.loss_sum == 3 && q.correct == 8 && q.n_samples == 32 &&
                q.seconds == 0.5 && q.test_acc == 0.5 && q.scaler.scale == 16);
    for (int i = 0; i < 4; i++) {
        static const char *const scales[] = {"0", "nan", "-1", "inf"};

        snprintf(part, sizeof part, "%s loss_scale=%s good=0", old, scales[i]);
        assert_false(nyb_progress_scan(part, &q));
    }
    snprintf(part, sizeof part, "%s loss_scale=2 good=0", old);
    assert_true(nyb_progress_scan(part, &q));
    assert_false(nyb_progress_scan("step=x", &q));
    assert_false(nyb_progress_scan("", &q));
}

static void modes_of_the_caller_do_not_matter(void **state)
{
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char text[NYB_NUMBER_BYTES];

        fesetround(modes[i]);
        expect("0.1", 0.1, 3);
        expect("-0.3", -0.3, 4);
        expect("1e23", 1e23, 4);
        assert_string_equal(nyb_number_print(0.1, text), "0.1");
        assert_string_equal(nyb_number_print(-0.3, text), "-0.3");
        assert_string_equal(nyb_number_print_float(0.1f, text), "0.1");
        assert_string_equal(nyb_number_print_float(-0.3f, text), "-0.3");
        assert_int_equal(fegetround(), modes[i]);
        fesetround(FE_TONEAREST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_of_the_caller_do_not_matter),
        cmocka_unit_test(a_number_is_read_and_printed),
        cmocka_unit_test(the_locale_does_not_matter),
        cmocka_unit_test(nulls_are_no_options),
        cmocka_unit_test(progress_is_read_whole_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
