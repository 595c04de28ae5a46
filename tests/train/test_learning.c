/* Runs whose scales are parameters, and whose scales are searched. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "train/run.h"

static const char *const pact[] = {"fwd.x=int4/pact", "fwd.x.nonneg=uint4", "fwd.w=int4/sawb",
                                   NULL};
static const char *const pactplus[] = {"fwd.x=int4/pactplus", "fwd.x.nonneg=uint4",
                                       "fwd.w=int4/sawb/row", NULL};
static const char *const lsq[] = {"fwd.x=int4/lsq", "fwd.x.nonneg=uint4", "fwd.w=int2/lsq", NULL};
static const char *const lsqplus[] = {"fwd.x=uint4/lsqplus", "fwd.w=int4/lsqplus_w", NULL};
static const char *const searched[] = {"fwd.x=uint4/percentile99.9", "fwd.w=int4/ptq_mse/row",
                                       NULL};
static const char *const zeroless[] = {"fwd.x=uint4/sawb_zeroless", "fwd.w=int4/sawb_fit/row",
                                       NULL};
static const char *const *const all[] = {pact, pactplus, lsq, lsqplus, searched, zeroless};
#define N_ALL (sizeof all / sizeof *all)
/* The level if this machine and build have it, else the reference. */
static const char *level(const char *cpu)
{
    return fixture_has(cpu) ? cpu : "ref";
}

/* One run, or three sessions on other numbers of threads and instruction sets: the same weights. */
static void resume_threads_and_cpus_do_not_matter(void **state)
{
    nyb_train_summary summary;
    nyb_error err = {0};
    char want[65];
    fixture f;

    (void)state;
    for (size_t k = 0; k < N_ALL; k += TEST_EVERY(3)) {
        fixture_init(&f, "auto", 2, "resnet8", "f32", all[k], 16, 96);
        fixture_hash(&f, want); /* 6 steps */
        fixture_free(&f);
        for (uint64_t stop = 2; stop <= 6; stop += 2) {
            fixture_init(&f,
                         stop != 4 ? "auto"
                         : k == 0  ? "ref"
                                   : level("avx2"),
                         (size_t)stop - 1, "resnet8", "f32", all[k], 16, 96);
            f.options.max_steps = stop;
            fixture_start(&f);
            if (stop > 2)
                assert_int_equal(nyb_train_resume(f.train, fixture_folder, &err), NYB_OK);
            assert_int_equal(nyb_train_run(f.train, fixture_folder, "config", NULL, NULL, &err),
                             NYB_OK);
            nyb_train_summarize(f.train, &summary);
            fixture_free(&f);
        }
        if (strcmp(summary.weights_sha256, want) != 0)
            fail_msg("%s: %s, want %s", all[k][0], summary.weights_sha256, want);
    }
}

/* Every learned parameter is positive where it must be, and moves; the loss falls. */
static void scales_learn(void **state)
{
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        float first[64][2];
        double before = 0, after = 0;
        int n_learned = 0;
        fixture f;

        fixture_init(&f, "auto", 2, "resnet8", "f32", all[k], 32, 64);
        fixture_start(&f);
        for (int step = 0; step < 24; step++) {
            const nyb_graph *g = f.train->graph;
            const double loss = fixture_easy_step(&f, step);

            before = step == 0 ? loss : before;
            after = loss;
            for (int i = 0; step == 0 && i < g->n_params; i++)
                if (g->params[i].rule)
                    memcpy(first[n_learned++], g->params[i].value, g->params[i].n * sizeof(float));
        }
        assert_true(after < 0.9 * before);
        assert_true(n_learned > 4 && n_learned <= 64);
        n_learned = 0;
        for (int i = 0; i < f.train->graph->n_params; i++) {
            const nyb_param *p = &f.train->graph->params[i];

            if (!p->rule)
                continue;
            assert_true(isfinite(p->value[0]) && p->value[0] > 0);
            assert_true(memcmp(first[n_learned++], p->value, p->n * sizeof(float)) != 0);
        }
        fixture_free(&f);
    }
}

/* Steps far too large: without a limit, scales of weights cross zero and never come back. */
static void a_step_at_most_halves_or_doubles_a_scale(void **state)
{
    float before[64] = {0};
    int n_limited = 0;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 2, "resnet8", "lsqplus8", NULL, 32, 64);
    f.options.lr = 1;
    f.options.warmup = 0;
    fixture_start(&f);
    for (int step = 0; step < 24; step++) {
        const nyb_graph *g = f.train->graph;
        int n = 0;

        fixture_easy_step(&f, step);
        for (int i = 0; i < g->n_params; i++) {
            const float now = g->params[i].value[0], was = before[n];

            if (!g->params[i].rule)
                continue;
            assert_true(now > 0);
            if (step > 0) {
                assert_true(now >= 0.5f * was && now <= 2.0f * was);
                n_limited += now == 0.5f * was || now == 2.0f * was;
            }
            before[n++] = now;
        }
        assert_true(n > 4 && n <= 64);
    }
    assert_true(n_limited > 0);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resume_threads_and_cpus_do_not_matter, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(scales_learn),
        cmocka_unit_test(a_step_at_most_halves_or_doubles_a_scale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
