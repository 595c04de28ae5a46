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

#include "../../cli/models/models.h"

static void must(nyb_status status, const nyb_error *err)
{
    if (status != NYB_OK)
        fail_msg("%s", err->text);
}

void fixture_init(fixture *f, const char *cpu, size_t threads, const char *model,
                  const char *recipe, const char *const *sets, int batch, size_t n_train)
{
    const cli_input input = {.h = 28, .w = 28, .c = 1, .classes = 10};
    nyb_error err = {0};
    char data[96];

    memset(f, 0, sizeof *f);
    must(nyb_context_create(cpu, threads, &f->context, &err), &err);
    must(cli_model_create(model, &input, &f->model, &err), &err);
    must(nyb_recipe_create(recipe, &f->recipe, &err), &err);
    for (; sets && *sets; sets++) {
        char key[64];
        const char *equals = strchr(*sets, '=');

        snprintf(key, sizeof key, "%.*s", (int)(equals - *sets), *sets);
        must(nyb_recipe_set(f->recipe, key, equals + 1, &err), &err);
    }
    snprintf(data, sizeof data, "synthetic:train=%zu,test=%d", n_train, FIXTURE_TEST);
    must(nyb_data_open(data, &f->data, &err), &err);
    nyb_train_defaults(&f->options);
    f->options.batch = batch;
    f->options.epochs = 1;
    f->options.lr = 0.05;
}

bool fixture_has(const char *cpu)
{
    nyb_context *probe;

    if (nyb_context_create(cpu, 1, &probe, NULL) != NYB_OK)
        return false;
    nyb_context_destroy(&probe);
    return true;
}

bool fixture_is_best(const char *cpu)
{
    nyb_context *probe;
    bool same;

    if (nyb_context_create("auto", 1, &probe, NULL) != NYB_OK)
        return false;
    same = strcmp(nyb_context_cpu(probe), cpu) == 0;
    nyb_context_destroy(&probe);
    return same;
}

void fixture_start(fixture *f)
{
    nyb_error err = {0};

    must(nyb_train_create(f->context, f->model, f->recipe, f->data, &f->options, &f->train, &err),
         &err);
}

void fixture_free(fixture *f)
{
    nyb_train_destroy(&f->train);
    nyb_data_close(&f->data);
    nyb_recipe_destroy(&f->recipe);
    nyb_model_destroy(&f->model);
    nyb_context_destroy(&f->context);
}

void fixture_hash(fixture *f, char hex[65])
{
    nyb_train_summary summary;
    nyb_error err = {0};

    fixture_start(f);
    must(nyb_train_run(f->train, NULL, NULL, NULL, NULL, &err), &err);
    nyb_train_summarize(f->train, &summary);
    memcpy(hex, summary.weights_sha256, 65);
}

void fixture_hash_of(const char *model, const char *recipe, const char *const *sets, char hex[65])
{
    fixture f;

    fixture_init(&f, "auto", 2, model, recipe, sets, 8, 16);
    fixture_hash(&f, hex);
    fixture_free(&f);
}

double fixture_easy_step(fixture *f, int step)
{
    nyb_graph *g = f->train->graph;
    const size_t size = nyb_shape_size(f->model->layers[0].shape);
    double loss, n;

    for (size_t i = 0; i < g->batch * size; i++) /* class i: a bright column */
        g->input[i] = i % 28 == i / size % 10 * 2 ? 1.0f : (float)(i * 7919 % 97) / 400;
    for (size_t i = 0; i < g->batch; i++)
        g->labels[i] = (int32_t)(i % 10);
    f->train->progress.step = (uint64_t)step;
    f->train->steps_per_epoch = 1000;
    assert_int_equal(nyb_train_update(f->train, nyb_train_rate(f->train), &loss, &n, NULL), NYB_OK);
    return loss;
}

double fixture_eval(nyb_train *train)
{
    double loss, accuracy;

    assert_int_equal(nyb_train_eval(train, &loss, &accuracy, NULL), NYB_OK);
    return loss;
}

char fixture_folder[64];

int fixture_make_folder(void **state)
{
    (void)state;
    strcpy(fixture_folder, "/tmp/nybble-test-XXXXXX");
    return mkdtemp(fixture_folder) ? 0 : -1;
}

int fixture_remove_folder(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", fixture_folder);
    return system(command);
}
