/* The state machine of dynamic loss scaling on synthetic sequences. NUMERICS 3.6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "grad/grad.h"

static nyb_loss_scaler start(nyb_loss_scale kind, float scale)
{
    const struct nyb_recipe recipe = {.loss_scale = kind, .loss_scale_start = scale};

    return nyb_loss_scaler_start(&recipe);
}

static void it_begins_where_the_recipe_says(void **state)
{
    (void)state;
    assert_true(start(NYB_LOSS_SCALE_NONE, 65536).scale == 1);
    assert_true(start(NYB_LOSS_SCALE_FIXED, 1024).scale == 1024);
    assert_true(start(NYB_LOSS_SCALE_DYNAMIC, 65536).scale == 65536);
    assert_int_equal(start(NYB_LOSS_SCALE_DYNAMIC, 65536).n_good, 0);
}

static void overflow_halves_and_2000_good_steps_double(void **state)
{
    nyb_loss_scaler s = start(NYB_LOSS_SCALE_DYNAMIC, 65536);

    (void)state;
    for (int i = 1; i < 2000; i++) {
        assert_true(nyb_loss_scaler_judge(&s, true));
        assert_true(s.scale == 65536 && s.n_good == (uint64_t)i);
    }
    assert_true(nyb_loss_scaler_judge(&s, true)); /* the 2000th */
    assert_true(s.scale == 131072 && s.n_good == 0);
    for (int i = 0; i < 1999; i++)
        assert_true(nyb_loss_scaler_judge(&s, true));
    assert_false(nyb_loss_scaler_judge(&s, false)); /* all that patience in vain */
    assert_true(s.scale == 65536 && s.n_good == 0);
    assert_false(nyb_loss_scaler_judge(&s, false));
    assert_true(s.scale == 32768);
    for (int i = 0; i < 1999; i++)
        assert_true(nyb_loss_scaler_judge(&s, true));
    assert_true(s.scale == 32768);
    assert_true(nyb_loss_scaler_judge(&s, true));
    assert_true(s.scale == 65536);
}

static void it_stays_between_its_ends(void **state)
{
    nyb_loss_scaler s = start(NYB_LOSS_SCALE_DYNAMIC, 0x1p-8f);

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_false(nyb_loss_scaler_judge(&s, false));
    assert_true(s.scale == 0x1p-10f);
    s.scale = 0x1p23f;
    for (int i = 0; i < 3 * 2000; i++)
        assert_true(nyb_loss_scaler_judge(&s, true));
    assert_true(s.scale == 0x1p24f && s.n_good == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_where_the_recipe_says),
        cmocka_unit_test(overflow_halves_and_2000_good_steps_double),
        cmocka_unit_test(it_stays_between_its_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
