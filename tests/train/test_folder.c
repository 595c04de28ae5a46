/* Run folders: what a run finds there, leaves there, and refuses. */
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
    free(before);
    free(after);
    fixture_free(&f);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_are_not_replaced_unless_they_may_be,
                                        fixture_make_folder, fixture_remove_folder),
        cmocka_unit_test_setup_teardown(what_an_end_lacked_is_made_later, fixture_make_folder,
                                        fixture_remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
