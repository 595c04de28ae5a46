/* Runs with a scaled loss, and with weights of a narrow format. */
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
#include "quant/round.h"
#include "train/run.h"

static const nyb_format e6m9 = {
    .name = "e6m9",
    .grid = NYB_GRID_FLOAT,
    .bits = 16,
    .n_codes = 65536,
    .is_signed = true,
    .max = 0x1.ff8p+32f,
    .fp = {.exp_bits = 6, .man_bits = 9, .bias = 31, .subnormals = true}};

static void init(fixture *f, size_t threads, const char *recipe, nyb_loss_scale kind, float scale)
{
    fixture_init(f, "auto", threads, "resnet8", recipe, NULL, 16, 96);
    f->recipe->loss_scale = kind;
    f->recipe->loss_scale_start = scale;
}

/* Every operator between the loss and the weights is linear in the gradient, and every scale of
 * luq's gradients follows it: a power of two changes no bit. */
static void a_power_of_two_changes_nothing(void **state)
{
    static const char *const recipes[] = {"f32", "luq"};

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        char want[65], got[65];
        fixture f;

        init(&f, 1, recipes[k], NYB_LOSS_SCALE_NONE, 1);
        f.options.clip_norm = k ? 1 : 0;
        fixture_hash(&f, want);
        fixture_free(&f);
        init(&f, 2, recipes[k], NYB_LOSS_SCALE_FIXED, 1024);
        f.options.clip_norm = k ? 1 : 0;
        fixture_hash(&f, got);
        assert_string_equal(got, want);
        assert_true(f.train->graph->loss.loss_scale == 1024);
        fixture_free(&f);
        init(&f, 1, recipes[k], NYB_LOSS_SCALE_DYNAMIC, 0x1p16f);
        f.options.clip_norm = k ? 1 : 0;
        fixture_hash(&f, got);
        assert_string_equal(got, want);
        assert_int_equal(f.train->progress.scaler.n_good, 6);
        fixture_free(&f);
    }
}

static void batch(fixture *f)
{
    nyb_graph *g = f->train->graph;

    for (size_t i = 0; i < g->batch * nyb_shape_size(f->model->layers[0].shape); i++)
        g->input[i] = (float)(i * 7919 % 256) / 256;
    for (size_t i = 0; i < g->batch; i++)
        g->labels[i] = (int32_t)(i % 10);
}

/* A scale that takes f32 gradients beyond their range: the step is left out, the scale halved until
 * they fit. */
static void overflow_skips_and_halves(void **state)
{
    char before[65], after[65];
    double loss, n;
    fixture f;
    int halvings = 0;

    (void)state;
    init(&f, 1, "f32", NYB_LOSS_SCALE_DYNAMIC, 65536);
    fixture_start(&f);
    f.train->progress.scaler.scale = 0x1p127f;
    f.train->progress.scaler.n_good = 3;
    for (int i = 0; i < f.train->graph->n_params; i++) /* large slopes behind the loss */
        if (!strcmp(f.train->graph->params[i].name, "fc.weight"))
            for (size_t j = 0; j < f.train->graph->params[i].n; j++)
                f.train->graph->params[i].value[j] *= 1000;
    assert_int_equal(nyb_weights_sha256(f.train->graph, before, NULL), NYB_OK);
    for (; halvings < 100; halvings++) {
        batch(&f);
        assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                         NYB_OK);
        if (f.train->progress.scaler.n_good > 0)
            break;
        assert_int_equal(f.train->progress.n_skipped, halvings + 1);
        assert_int_equal(f.train->progress.step, halvings + 1);
        assert_true(f.train->progress.scaler.scale == ldexpf(1, 126 - halvings));
        assert_int_equal(nyb_weights_sha256(f.train->graph, after, NULL), NYB_OK);
        assert_string_equal(before, after);
    }
    assert_in_range(halvings, 1, 60);
    assert_int_equal(nyb_weights_sha256(f.train->graph, after, NULL), NYB_OK);
    assert_string_not_equal(before, after);
    fixture_free(&f);
}

/* Formats saturate where IEEE's would be infinite: a gradient beyond the largest value of a format
 * without a scale is an overflow, too. */
static void saturated_gradients_are_an_overflow(void **state)
{
    static const nyb_format e3m4 = {
        .name = "e3m4",
        .grid = NYB_GRID_FLOAT,
        .bits = 16,
        .n_codes = 256,
        .is_signed = true,
        .max = 31,
        .fp = {.exp_bits = 3, .man_bits = 4, .bias = 3, .subnormals = true}};
    double loss, n;
    fixture f;

    (void)state;
    init(&f, 1, "f32", NYB_LOSS_SCALE_DYNAMIC, 0x1p24f);
    f.recipe->dgrad_dy.spec = f.recipe->wgrad_dy.spec =
        (nyb_spec){.format = &e3m4, .scale = &nyb_scale_unit};
    fixture_start(&f);
    for (int i = 0; i < 40 && f.train->progress.scaler.n_good == 0; i++) {
        batch(&f);
        assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                         NYB_OK);
        assert_int_equal(nyb_grad_saturated(f.train->graph, NYB_MODE_TRAIN),
                         f.train->progress.scaler.n_good == 0);
    }
    assert_in_range(f.train->progress.n_skipped, 3, 30);
    assert_true(f.train->progress.scaler.scale == ldexpf(1, 24 - (int)f.train->progress.n_skipped));
    fixture_free(&f);
}

/* What the scale cannot help is the policy's: a NaN of the forward pass, and the smallest scale. */
static void a_bad_loss_is_not_an_overflow(void **state)
{
    double loss, n;
    fixture f;

    (void)state;
    init(&f, 1, "f32", NYB_LOSS_SCALE_DYNAMIC, 65536);
    fixture_start(&f);
    batch(&f);
    f.train->graph->input[5] = NAN;
    assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                     NYB_NONFINITE);
    assert_true(f.train->progress.scaler.scale == 65536);
    fixture_free(&f);
    /* Infinite gradients of a finite loss, at the smallest scale: logits of 0, activations of 1e8
     * before them, and a smoothing that only the gradient sees. */
    init(&f, 1, "f32", NYB_LOSS_SCALE_DYNAMIC, NYB_LOSS_SCALE_MIN);
    fixture_start(&f);
    batch(&f);
    f.train->graph->loss.label_smoothing = 3e38f;
    for (int i = 0; i < f.train->graph->n_params; i++) {
        const nyb_param *p = &f.train->graph->params[i];
        const bool is_gamma = strstr(p->name, "bn") && strstr(p->name, "weight");

        for (size_t j = 0; j < p->n; j++)
            p->value[j] = is_gamma ? 1e8f : strcmp(p->name, "fc.weight") ? p->value[j] : 0.0f;
    }
    assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                     NYB_NONFINITE);
    assert_true(fabs(loss - log(10)) < 1e-5);
    assert_true(f.train->progress.scaler.scale == NYB_LOSS_SCALE_MIN);
    assert_int_equal(f.train->progress.n_skipped, 0);
    fixture_free(&f);
}

/* Three sessions across the doubling of the scale end where one ends. */
static void resume_keeps_the_scale(void **state)
{
    nyb_train_summary summary;
    nyb_error err = {0};
    char want[65];
    fixture f;

    (void)state;
    for (int whole = 1; whole >= 0; whole--)
        for (uint64_t stop = whole ? 6 : 2; stop <= 6; stop += 2) {
            init(&f, 1, "luq", NYB_LOSS_SCALE_DYNAMIC, 1024);
            f.recipe->update = (nyb_update){&e6m9, NYB_ROUND_STOCHASTIC};
            f.options.max_steps = stop;
            fixture_start(&f);
            if (whole || stop == 2)
                f.train->progress.scaler.n_good = 1997;
            else
                assert_int_equal(nyb_train_resume(f.train, fixture_folder, &err), NYB_OK);
            assert_int_equal(
                nyb_train_run(f.train, whole ? NULL : fixture_folder, "config", NULL, NULL, &err),
                NYB_OK);
            nyb_train_summarize(f.train, &summary);
            if (whole)
                memcpy(want, summary.weights_sha256, sizeof want);
            assert_true(f.train->progress.scaler.scale == (stop == 2 ? 1024 : 2048));
            assert_int_equal(f.train->progress.scaler.n_good, stop == 2 ? 1999 : stop - 3);
            fixture_free(&f);
        }
    assert_string_equal(summary.weights_sha256, want);
}

static void is_of_format(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float y;

        nyb_round_ref.round(&e6m9, NYB_ROUND_NEAREST, &x[i], NULL, 1, &y);
        assert_true(y == x[i]);
    }
}

/* Before, during and after: weights and momenta are values of the format; threads do not matter. */
static void weights_stay_in_their_format(void **state)
{
    char hash[2][65];
    fixture f;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        init(&f, 1 + 2 * k, "f32", NYB_LOSS_SCALE_NONE, 1);
        f.recipe->update = (nyb_update){&e6m9, NYB_ROUND_STOCHASTIC};
        if (k == 0) {
            fixture_start(&f);
            for (int i = 0; i < f.train->graph->n_params; i++)
                if (f.train->graph->params[i].trained)
                    is_of_format(f.train->graph->params[i].value, f.train->graph->params[i].n);
            nyb_train_destroy(&f.train);
        }
        fixture_hash(&f, hash[k]);
        for (int i = 0; i < f.train->graph->n_params; i++) {
            const nyb_param *p = &f.train->graph->params[i];

            if (p->trained) {
                is_of_format(p->value, p->n);
                is_of_format(p->momentum, p->n);
            }
        }
        fixture_free(&f);
    }
    assert_string_equal(hash[0], hash[1]);
}

/* Rounding would turn a NaN into 0: the policy sees it first. */
static void rounded_updates_refuse_nan(void **state)
{
    double loss, n;
    fixture f;

    (void)state;
    init(&f, 1, "f32", NYB_LOSS_SCALE_NONE, 1);
    f.recipe->update = (nyb_update){&e6m9, NYB_ROUND_STOCHASTIC};
    fixture_start(&f);
    batch(&f);
    f.train->progress.scaler.scale = INFINITY; /* gradients: NaN or infinite */
    assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                     NYB_NONFINITE);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_of_two_changes_nothing),
        cmocka_unit_test(overflow_skips_and_halves),
        cmocka_unit_test(saturated_gradients_are_an_overflow),
        cmocka_unit_test(a_bad_loss_is_not_an_overflow),
        cmocka_unit_test_setup_teardown(resume_keeps_the_scale, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(weights_stay_in_their_format),
        cmocka_unit_test(rounded_updates_refuse_nan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
