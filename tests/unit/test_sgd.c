#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../golden/formula.h"
#include "../golden/ops.h"
#include "optim/optim.h"

#define N 19

static void sgd_agrees_with_pytorch(void **state)
{
    static const struct {
        const char *name;
        nyb_sgd sgd;
        const double *want;
    } cases[] = {
        {"plain", {0, false, 0}, sgd_plain_w},
        {"decay", {0, false, 0.01f}, sgd_decay_w},
        {"momentum", {0.9f, false, 0.01f}, sgd_momentum_w},
        {"nesterov", {0.9f, true, 0.01f}, sgd_nesterov_w},
    };
    nyb_context *context;

    (void)state;
    assert_int_equal(nyb_context_create("auto", 1, &context, NULL), NYB_OK);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        float w[N], v[N] = {0}, g[N];
        for (uint32_t i = 0; i < N; i++)
            w[i] = formula_wide(1, i);
        for (uint32_t step = 0; step < 4; step++) {
            for (uint32_t i = 0; i < N; i++)
                g[i] = formula_wide(10 + step, i);
            nyb_sgd_run(context, &cases[k].sgd, 0.1f, true, w, cases[k].sgd.momentum > 0 ? v : NULL,
                        g, N);
        }
        for (size_t i = 0; i < N; i++)
            if (!(fabs((double)w[i] - cases[k].want[i]) < 1e-6))
                fail_msg("%s[%zu]: want %.9g, got %.9g", cases[k].name, i, cases[k].want[i],
                         (double)w[i]);
    }
    nyb_context_destroy(&context);
}

/* The definition of optim.h, element by element. */
static void reference(const nyb_sgd *sgd, float lr, bool decay, float *w, float *v, float g)
{
    float d = g;

    if (decay)
        d = fmaf(sgd->weight_decay, *w, d);
    *v = fmaf(sgd->momentum, *v, d);
    *w = fmaf(-lr, sgd->nesterov ? fmaf(sgd->momentum, *v, d) : *v, *w);
}

/* Many tasks, an odd tail, and every ISA and number of threads. */
static void sgd_is_its_definition_bit_for_bit(void **state)
{
    enum { MANY = 3 * 16384 + 21 };
    static const char *const cpus[] = {"auto", "avx2", "ref"};
    const nyb_sgd sgd = {0.9f, true, 5e-4f};

    (void)state;
    for (size_t k = 0; k < 6; k++) {
        const bool decay = k % 2;
        nyb_context *context;
        float *w = malloc(MANY * sizeof *w), *v = malloc(MANY * sizeof *v);
        float *g = malloc(MANY * sizeof *g);
        if (nyb_context_create(cpus[k / 2], 1 + k, &context, NULL) == NYB_OK) {
            for (uint32_t i = 0; i < MANY; i++) {
                w[i] = formula_wide(1, i);
                v[i] = formula_wide(2, i);
                g[i] = formula_wide(3, i);
            }
            nyb_sgd_run(context, &sgd, 0.05f, decay, w, v, g, MANY);
            for (uint32_t i = 0; i < MANY; i++) {
                float want_w = formula_wide(1, i), want_v = formula_wide(2, i);
                reference(&sgd, 0.05f, decay, &want_w, &want_v, g[i]);
                assert_true(nyb_bits_of(want_w) == nyb_bits_of(w[i]));
                assert_true(nyb_bits_of(want_v) == nyb_bits_of(v[i]));
            }
            nyb_context_destroy(&context);
        }
        free(w);
        free(v);
        free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sgd_agrees_with_pytorch),
        cmocka_unit_test(sgd_is_its_definition_bit_for_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
