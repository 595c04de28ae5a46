/* Twenty f32 steps of resnet14 against PyTorch's losses (tests/golden/make_resnet14.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "fixture.h"
#include "graph/graph.h"
#include "train/run.h"

#include "../golden/formula.h"

#define BATCH  16
#define PIXELS 784

static json_t *golden;

static int load(void **state)
{
    (void)state;
    golden = json_load_file(GOLDEN_FILE, 0, NULL);
    return golden ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static nyb_param *find(nyb_graph *g, const char *layer, const char *what)
{
    char name[96];

    snprintf(name, sizeof name, "%s.%s", layer, what);
    for (int i = 0; i < g->n_params; i++)
        if (!strcmp(g->params[i].name, name))
            return &g->params[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

/* The formula counts OHWI, as memory does. */
static void set_weights(nyb_graph *g)
{
    json_t *list = json_object_get(golden, "weights"), *entry;
    size_t i;

    json_array_foreach(list, i, entry)
    {
        const uint32_t t = (uint32_t)json_integer_value(json_object_get(entry, "t"));
        const float a = (float)json_real_value(json_object_get(entry, "a"));
        nyb_param *p = find(g, json_string_value(json_object_get(entry, "name")), "weight");

        for (size_t j = 0; j < p->n; j++)
            p->value[j] = formula_wide(t, (uint32_t)j) * a;
    }
    for (int j = 0; j < g->n_params; j++) {
        nyb_param *p = &g->params[j];
        const bool bn = strstr(p->name, "bn") != NULL;

        if (bn && p->trained)
            for (size_t k = 0; k < p->n; k++)
                p->value[k] = 0.5f;
    }
}

static void fill_batch(nyb_graph *g, uint32_t step)
{
    for (uint32_t j = 0; j < BATCH; j++) {
        const uint32_t label = (7 * j + 3 * step) % 10;

        g->labels[j] = (int32_t)label;
        for (uint32_t p = 0; p < PIXELS; p++)
            g->input[j * PIXELS + p] = 0.5f * formula_narrow(1000 + step, j * PIXELS + p) +
                                       formula_narrow(2000 + label, p / 28 / 4 * 7 + p % 28 / 4);
    }
}

enum { STEPS = 20 / TEST_EVERY(4) };

static void losses_agree_with_pytorch(void **state)
{
    const json_t *exact = json_object_get(golden, "losses_f64");
    double worst = 0.0;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 2, "resnet14", "f32", NULL, BATCH, 16 * STEPS);
    f.options.schedule[0] = 0;
    strcpy(f.options.schedule, "constant");
    f.options.warmup = 0;
    fixture_start(&f);
    set_weights(f.train->graph);
    for (uint32_t s = 0; s < STEPS; s++) {
        const double want = json_real_value(json_array_get(exact, s));
        double loss, n;

        fill_batch(f.train->graph, s);
        assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                         NYB_OK);
        const double difference = fabs(loss - want) / want;
        worst = difference <= worst ? worst : difference; /* NaN stays */
        printf("step %2u: loss %.9f, PyTorch %.9f\n", s, loss, want);
    }
    printf("largest relative difference %.2g\n", worst);
    assert_true(worst <= 1e-4);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(losses_agree_with_pytorch)};

    return cmocka_run_group_tests(tests, load, unload);
}
