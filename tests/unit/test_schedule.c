#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../golden/ops.h"
#include "optim/optim.h"

static void course_agrees(const double want[20], nyb_schedule schedule)
{
    schedule.base = 0.1;
    schedule.n_steps = 20;
    for (uint64_t t = 0; t < 20; t++) {
        const double got = (double)nyb_schedule_rate(&schedule, t);
        if (!(fabs(got - want[t]) < 1e-8))
            fail_msg("step %d: want %.9g, got %.9g", (int)t, want[t], got);
    }
}

static void schedules_agree_with_pytorch(void **state)
{
    (void)state;
    course_agrees(schedule_constant, (nyb_schedule){.kind = NYB_SCHEDULE_CONSTANT});
    course_agrees(
        schedule_step,
        (nyb_schedule){.kind = NYB_SCHEDULE_STEP, .gamma = 0.1, .milestones = {0.5, 0.75}});
    course_agrees(schedule_linear, (nyb_schedule){.kind = NYB_SCHEDULE_LINEAR});
    course_agrees(schedule_cosine, (nyb_schedule){.kind = NYB_SCHEDULE_COSINE});
    course_agrees(schedule_warm, (nyb_schedule){.kind = NYB_SCHEDULE_COSINE, .n_warmup = 5});
}

/* 0.55 * 100 is a little more than 55 in binary; the milestone is step 55 all the same. */
static void a_milestone_is_the_nearest_step(void **state)
{
    const nyb_schedule s = {.kind = NYB_SCHEDULE_STEP,
                            .base = 1,
                            .n_steps = 100,
                            .gamma = 0.5,
                            .milestones = {0.28, 0.55, 0.57, 0.9}};

    (void)state;
    assert_true(nyb_schedule_rate(&s, 27) == 1 && nyb_schedule_rate(&s, 28) == 0.5f);
    assert_true(nyb_schedule_rate(&s, 54) == 0.5f && nyb_schedule_rate(&s, 55) == 0.25f);
    assert_true(nyb_schedule_rate(&s, 56) == 0.25f && nyb_schedule_rate(&s, 57) == 0.125f);
    assert_true(nyb_schedule_rate(&s, 99) == 0.0625f);
}

static void short_runs_and_late_steps_have_a_rate(void **state)
{
    (void)state;
    for (int kind = NYB_SCHEDULE_CONSTANT; kind <= NYB_SCHEDULE_COSINE; kind++)
        for (uint64_t n = 0; n < 4; n++)
            for (uint64_t warm = 0; warm < 4; warm++)
                for (uint64_t t = 0; t < 8; t++) {
                    const nyb_schedule s = {.kind = (nyb_schedule_kind)kind,
                                            .base = 1,
                                            .n_steps = n,
                                            .n_warmup = warm,
                                            .gamma = 0.1};
                    const float rate = nyb_schedule_rate(&s, t);
                    assert_true(rate >= 0 && rate <= 1);
                }
}

/* NUMERICS 1.8: the same slope up and down. */
static void fnt_is_a_triangle(void **state)
{
    (void)state;
    assert_true(nyb_schedule_fnt(0.25, 1, 0, 8) == 0.25f);
    assert_true(nyb_schedule_fnt(0.25, 1, 2, 8) == 0.625f);
    assert_true(nyb_schedule_fnt(0.25, 1, 4, 8) == 1);
    assert_true(nyb_schedule_fnt(0.25, 1, 6, 8) == 0.625f);
    assert_true(nyb_schedule_fnt(0.25, 1, 8, 8) == 0.25f);
    assert_true(nyb_schedule_fnt(0.25, 1, 99, 8) == 0.25f);
    assert_true(nyb_schedule_fnt(0, 1, 1, 3) == (float)(1 / 1.5));
    assert_true(nyb_schedule_fnt(0, 1, 2, 3) == (float)(1 / 1.5));
    assert_true(nyb_schedule_fnt(0.25, 1, 0, 0) == 0.25f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_agree_with_pytorch),
        cmocka_unit_test(a_milestone_is_the_nearest_step),
        cmocka_unit_test(short_runs_and_late_steps_have_a_rate),
        cmocka_unit_test(fnt_is_a_triangle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
