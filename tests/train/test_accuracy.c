/* Training ends where it should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "train/run.h"

static void a_convolutional_network_learns(void **state)
{
    static const char *const recipes[] = {"f32", "luq"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        nyb_error err = {0};
        fixture f;

        fixture_init(&f, "auto", 2, "resnet8", recipes[i], NULL, 32, 640);
        f.options.epochs = 2;
        fixture_start(&f);
        assert_int_equal(nyb_train_run(f.train, NULL, NULL, NULL, NULL, &err), NYB_OK);
        printf("%s: test accuracy %.3f\n", recipes[i], f.train->progress.test_acc);
        assert_true(f.train->progress.test_acc > 0.8);
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_convolutional_network_learns)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
