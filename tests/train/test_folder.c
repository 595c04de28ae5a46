/* Run folders: what a run finds there, leaves there, and refuses; runs that are stopped while they
 * evaluate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"
#include "io/io.h"

static void path_of(const char *file, char path[128])
{
    snprintf(path, 128, "%s/%s", fixture_folder, file);
}

static bool in_folder(const char *file)
{
    char path[128];

    path_of(file, path);
    return access(path, F_OK) == 0;
}

/* The whole file; free it. */
static char *text_of(const char *file)
{
    char path[128], *text = NULL;
    size_t n = 0;
    FILE *in;

    path_of(file, path);
    in = fopen(path, "r");
    assert_non_null(in);
    assert_true(getdelim(&text, &n, 0, in) > 0);
    fclose(in);
    return text;
}

/* 4 + 4 steps, of which at most max_steps are taken; 0: all. */
static void start(fixture *f, uint64_t max_steps)
{
    fixture_init(f, "auto", 1, "mlp:24", "luq", (const char *const[]){"edges=recipe", NULL}, 8, 32);
    f->options.epochs = 2;
    f->options.log_every = 1;
    f->options.max_steps = max_steps;
    fixture_start(f);
}

static nyb_status run(fixture *f)
{
    return nyb_train_run(f->train, fixture_folder, "config", NULL, NULL, NULL);
}

static void resume(fixture *f, uint64_t max_steps)
{
    start(f, max_steps);
    assert_int_equal(nyb_train_resume(f->train, fixture_folder, NULL), NYB_OK);
}

/* ---- whose folder it is ---------------------------------------------------------------------- */

/* Who must not overwrite finds out under the folder's lock. What never got to its first checkpoint
 * is no run. */
static void runs_are_not_replaced_unless_they_may_be(void **state)
{
    static const char *const files[] = {"state.safetensors", "model.safetensors", "summary.json"};
    char path[128], hidden[128], *before, *after;
    nyb_error err = {0};
    fixture f;

    (void)state;
    start(&f, 3);
    assert_int_equal(nyb_train_set_overwrite(NULL, 0, NULL), NYB_INVALID);
    assert_int_equal(nyb_train_set_overwrite(f.train, 0, NULL), NYB_OK);
    path_of("config.txt", path);
    fclose(fopen(path, "w"));
    assert_int_equal(run(&f), NYB_OK);
    assert_int_equal(run(&f), NYB_OK); /* its own */
    before = text_of("summary.json");
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    assert_int_equal(nyb_train_set_overwrite(f.train, 0, NULL), NYB_OK);
    for (size_t kept = 0; kept < 3; kept++) { /* each of them is enough */
        for (size_t i = 0; i < 3; i++) {
            path_of(files[i], path);
            snprintf(hidden, sizeof hidden, "%.100s.hidden", path);
            assert_int_equal(i == kept ? 0 : rename(path, hidden), 0);
        }
        assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, &err), NYB_STATE);
        assert_non_null(strstr(err.text, "holds a run"));
        for (size_t i = 0; i < 3; i++) {
            path_of(files[i], path);
            snprintf(hidden, sizeof hidden, "%.100s.hidden", path);
            assert_int_equal(i == kept ? 0 : rename(hidden, path), 0);
        }
    }
    after = text_of("summary.json");
    assert_string_equal(after, before);
    free(after);
    after = text_of("config.txt");
    assert_string_equal(after, "config");
    assert_int_equal(nyb_train_set_overwrite(f.train, 1, NULL), NYB_OK);
    assert_int_equal(run(&f), NYB_OK);
    assert_true(in_folder("summary.json"));
    assert_int_equal(nyb_train_save(f.train, fixture_folder, NULL), NYB_OK);
    assert_true(in_folder("model.safetensors") && !in_folder("summary.json"));
    free(before);
    free(after);
    fixture_free(&f);
}

/* Its metadata says how pixels become its input. */
static void the_deployed_model_knows_its_pixels(void **state)
{
    (void)state;
    for (int normalize = 0; normalize < 2; normalize++) {
        nyb_st_file *file = NULL;
        nyb_data_info info;
        char path[128];
        fixture f;

        fixture_init(&f, "auto", 1, "mlp:8", "luq", NULL, 16, 64);
        f.options.normalize = normalize;
        fixture_start(&f);
        assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, NULL), NYB_OK);
        nyb_data_get_info(f.data, &info);
        snprintf(path, sizeof path, "%s/model.safetensors", fixture_folder);
        assert_int_equal(nyb_st_load(path, &file, NULL), NYB_OK);
        const char *mean = nyb_st_meta_find(file, "input.mean");
        const char *std = nyb_st_meta_find(file, "input.std");
        assert_true((mean != NULL) == normalize && (std != NULL) == normalize);
        if (normalize)
            assert_true(strtof(mean, NULL) == info.mean[0] && strtof(std, NULL) == info.std[0] &&
                        info.mean[0] > 0 && info.std[0] != info.mean[0]);
        nyb_st_close(&file);
        fixture_free(&f);
    }
}

/* ---- the end of a run ------------------------------------------------------------------------ */

/* Where a run fails after its last checkpoint, nothing stands for its model and its summary, least
 * of all those of an earlier call; the next call makes them. */
static void what_an_end_lacked_is_made_later(void **state)
{
    char path[128], *summary;
    double loss, loss2, accuracy;
    fixture f;

    (void)state;
    start(&f, 3);
    assert_int_equal(run(&f), NYB_OK);
    fixture_free(&f);
    path_of("model.safetensors.tmp", path);
    assert_int_equal(mkdir(path, 0777), 0);
    resume(&f, 0);
    assert_int_equal(run(&f), NYB_IO);
    fixture_free(&f);
    assert_false(in_folder("summary.json") || in_folder("model.safetensors"));
    assert_int_equal(rmdir(path), 0);
    resume(&f, 0);
    assert_int_equal(run(&f), NYB_OK);
    assert_int_equal(nyb_train_eval(f.train, &loss, &accuracy, NULL), NYB_OK);
    summary = text_of("summary.json");
    assert_non_null(strstr(summary, "\"steps\": 8,"));
    free(summary);
    fixture_free(&f);
    start(&f, 0);
    assert_int_equal(nyb_train_load_model(f.train, fixture_folder, NULL), NYB_OK);
    assert_int_equal(nyb_train_eval(f.train, &loss2, &accuracy, NULL), NYB_OK);
    assert_true(loss2 == loss);
    fixture_free(&f);
}

/* ---- stopped while it evaluates -------------------------------------------------------------- */

/* Says stop when it is asked for the at-th time. */
typedef struct stopper {
    int n, at;
} stopper;

static int stop(void *user)
{
    stopper *s = user;

    return ++s->n == s->at;
}

/* metrics.jsonl without what the clock says, which is last in its lines. */
static char *metrics(void)
{
    char *text = text_of("metrics.jsonl"), *to = text;

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *cut = strstr(line, ",\"samples_per_s\""), *cut2 = strstr(line, ",\"seconds\"");
        const size_t n = (size_t)((cut ? cut : cut2) - line);

        assert_true(cut || cut2);
        memmove(to, line, n);
        to += n;
        *to++ = '\n';
    }
    *to = 0;
    return text;
}

enum { EVAL = FIXTURE_TEST / 8 }; /* batches of an evaluation */

/* 4 + 4 + 4 steps, the last of FNT. */
static nyb_status call(bool resumes, uint64_t max_steps, stopper *s, nyb_train_summary *summary)
{
    fixture f;

    start(&f, max_steps);
    assert_int_equal(nyb_recipe_set(f.recipe, "finish.epochs", "1", NULL), NYB_OK);
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    if (resumes)
        assert_int_equal(nyb_train_resume(f.train, fixture_folder, NULL), NYB_OK);
    nyb_train_set_stop(f.train, stop, s);
    const nyb_status status = run(&f);
    nyb_train_summarize(f.train, summary);
    fixture_free(&f);
    return status;
}

/* At its first batch, or a later one, of each epoch's evaluation, and of FNT's own at the end. */
static void an_evaluation_that_was_left_is_made_later(void **state)
{
    static const int stops[] = {1,        EVAL / 2 + 1, EVAL,    EVAL + 1, 2 * EVAL + 1,
                                3 * EVAL, 3 * EVAL + 1, 4 * EVAL};
    nyb_train_summary want, got;
    char *want_metrics;
    stopper never = {0};

    (void)state;
    assert_int_equal(call(false, 0, &never, &want), NYB_OK);
    assert_int_equal(never.n, 4 * EVAL);
    want_metrics = metrics();
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        stopper once = {.at = stops[i]}, again = {.at = 1}, no = {0};
        char *got_metrics;

        assert_int_equal(call(false, 0, &once, &got), NYB_INTERRUPTED);
        assert_int_equal(once.n, stops[i]); /* it ends at once */
        assert_int_equal(got.step, stops[i] > 3 * EVAL ? 12 : (stops[i] - 1) / EVAL * 4 + 4);
        assert_false(in_folder("summary.json"));
        assert_int_equal(call(true, 0, &again, &got), NYB_INTERRUPTED);
        assert_int_equal(call(true, 0, &no, &got), NYB_OK);
        assert_true(in_folder("summary.json"));
        assert_int_equal(no.n, 4 * EVAL - (stops[i] - 1) / EVAL * EVAL);
        assert_int_equal(got.step, want.step);
        assert_string_equal(got.weights_sha256, want.weights_sha256);
        assert_true(got.test_loss == want.test_loss && got.test_acc == want.test_acc &&
                    got.test_acc_f32_activations == want.test_acc_f32_activations);
        got_metrics = metrics();
        assert_string_equal(got_metrics, want_metrics);
        free(got_metrics);
    }
    free(want_metrics);
}

/* Also where max_steps ends a call: at the end of an epoch and in its middle. */
static void so_is_that_of_a_limited_call(void **state)
{
    (void)state;
    for (uint64_t last = 4; last <= 6; last += 2) {
        const int n = last == 4 ? EVAL : 2 * EVAL;
        nyb_train_summary want, got;
        stopper never = {0}, at_the_end = {.at = n}, no = {0};
        char *want_metrics, *got_metrics;

        assert_int_equal(call(false, last, &never, &want), NYB_OK);
        assert_int_equal(never.n, n);
        want_metrics = metrics();
        assert_int_equal(call(false, last, &at_the_end, &got), NYB_INTERRUPTED);
        assert_int_equal(call(true, last, &no, &got), NYB_OK);
        assert_int_equal(no.n, EVAL);
        assert_true(got.step == last && got.test_loss == want.test_loss);
        got_metrics = metrics();
        assert_string_equal(got_metrics, want_metrics);
        free(want_metrics);
        free(got_metrics);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_are_not_replaced_unless_they_may_be,
                                        fixture_make_folder, fixture_remove_folder),
        cmocka_unit_test_setup_teardown(the_deployed_model_knows_its_pixels, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(what_an_end_lacked_is_made_later, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(an_evaluation_that_was_left_is_made_later,
                                        fixture_make_folder, fixture_remove_folder),
        cmocka_unit_test_setup_teardown(so_is_that_of_a_limited_call, fixture_make_folder,
                                        fixture_remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
