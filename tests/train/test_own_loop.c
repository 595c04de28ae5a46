/* What programs with a loop and data of their own use, and folders that runs share. */
#include <dirent.h>
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

#define BATCH   16
#define CLASSES 4
#define OUTPUTS 10 /* of the model */
#define IMAGE   (28 * 28)
#define TRAIN   64
#define TEST    40

static uint8_t pixels[TRAIN + TEST][IMAGE], labels[TRAIN + TEST];

/* Images of each class are bright in a quarter of their own. */
static void fill_images(void)
{
    uint32_t seed = 1;

    for (size_t i = 0; i < TRAIN + TEST; i++) {
        labels[i] = (uint8_t)(i % CLASSES);
        for (size_t k = 0; k < IMAGE; k++) {
            seed = seed * 1664525 + 1013904223;
            pixels[i][k] =
                (uint8_t)((seed >> 24) / 3 + (k * CLASSES / IMAGE == labels[i] ? 90 : 0));
        }
    }
}

static nyb_data *own_data(void)
{
    const nyb_data_info info = {
        .h = 28, .w = 28, .c = 1, .classes = CLASSES, .n_train = TRAIN, .n_test = TEST};
    nyb_data *data;

    fill_images();
    assert_int_equal(
        nyb_data_create(&info, pixels[0], labels, pixels[TRAIN], labels + TRAIN, &data, NULL),
        NYB_OK);
    return data;
}

/* A run of an mlp on the images; with_data false: with a loop of its own. */
static void start(fixture *f, const char *recipe, bool with_data)
{
    static const char *const sets[] = {"edges=recipe", NULL};

    fixture_init(f, "auto", 2, "mlp:24,16", recipe, sets, BATCH, 32);
    nyb_data_close(&f->data);
    if (with_data)
        f->data = own_data();
    f->options.lr = 0.02;
    f->options.normalize = 0;
    f->options.epochs = 2;
    fixture_start(f);
}

static void take_steps(nyb_train *train, int n)
{
    static float x[BATCH * IMAGE];
    int32_t of[BATCH];
    double loss;

    fill_images();
    for (int step = 0; step < n; step++) {
        for (size_t i = 0; i < BATCH; i++) {
            const size_t image = ((size_t)step * BATCH + i) % TRAIN;
            of[i] = labels[image];
            for (size_t k = 0; k < IMAGE; k++)
                x[i * IMAGE + k] = (float)pixels[image][k] / 255.0f;
        }
        assert_int_equal(nyb_train_step(train, x, of, &loss, NULL), NYB_OK);
    }
}

static void hash_of(const nyb_train *train, char hex[65])
{
    nyb_train_summary summary;

    nyb_train_summarize(train, &summary);
    strcpy(hex, summary.weights_sha256);
}

/* ---- data and predictions -------------------------------------------------------------------- */

static void data_of_the_callers_are_checked(void **state)
{
    nyb_data_info info = {
        .h = 28, .w = 28, .c = 1, .classes = CLASSES, .n_train = TRAIN, .n_test = TEST};
    nyb_data *data = own_data();
    nyb_error err;

    (void)state;
    nyb_data_get_info(data, &info);
    assert_string_equal(info.name, "memory");
    assert_int_equal(info.n_train, TRAIN);
    assert_true(info.mean[0] > 0.2f && info.mean[0] < 0.4f && info.std[0] > 0.05f);
    nyb_data_close(&data);
    info.name = "mine";
#define CREATE()                                                                                   \
    nyb_data_create(&info, pixels[0], labels, pixels[TRAIN], labels + TRAIN, &data, &err)
    labels[TRAIN + 3] = CLASSES;
    assert_int_equal(CREATE(), NYB_CORRUPT);
    assert_null(data);
    assert_non_null(strstr(err.text, "test label 3"));
    labels[TRAIN + 3] = 0;
    info.c = 5;
    assert_int_equal(CREATE(), NYB_SHAPE);
    info.c = 1;
    info.n_test = 0;
    assert_int_equal(CREATE(), NYB_CORRUPT);
    info.n_test = SIZE_MAX / 2;
    assert_int_equal(CREATE(), NYB_LIMIT);
    info.n_test = TEST;
    info.h = SIZE_MAX / 2;
    assert_int_equal(CREATE(), NYB_LIMIT);
    info.h = 28;
    assert_int_equal(CREATE(), NYB_OK);
    nyb_data_close(&data);
#undef CREATE
    assert_int_equal(nyb_data_create(&info, NULL, labels, pixels[0], labels, &data, &err),
                     NYB_INVALID);
    assert_int_equal(nyb_data_create(NULL, pixels[0], labels, pixels[0], labels, &data, &err),
                     NYB_INVALID);
}

/* Predictions are what evaluation sees: the mean loss of their logits is its loss. */
static void predictions_are_those_of_evaluation(void **state)
{
    static float x[TEST * IMAGE];
    float logits[TEST * OUTPUTS], one[OUTPUTS];
    double sum = 0, loss, accuracy;
    size_t n_right = 0;
    fixture f;

    (void)state;
    start(&f, "luq", true);
    assert_int_equal(nyb_train_run(f.train, NULL, NULL, NULL, NULL, NULL), NYB_OK);
    for (size_t i = 0; i < TEST * IMAGE; i++)
        x[i] = (float)pixels[TRAIN + i / IMAGE][i % IMAGE] / 255.0f;
    assert_int_equal(nyb_train_predict(f.train, x, TEST, logits, NULL), NYB_OK);
    for (size_t i = 0; i < TEST; i++) {
        const float *row = logits + i * OUTPUTS;
        double total = 0;
        size_t best = 0;

        for (size_t c = 0; c < OUTPUTS; c++) {
            total += exp((double)row[c]);
            best = row[c] > row[best] ? c : best;
        }
        sum += log(total) - (double)row[labels[TRAIN + i]];
        n_right += best == labels[TRAIN + i];
    }
    assert_int_equal(nyb_train_eval(f.train, &loss, &accuracy, NULL), NYB_OK);
    assert_true(fabs(sum / TEST - loss) < 1e-5);
    assert_true(fabs((double)n_right / TEST - accuracy) < 1e-9);
    assert_memory_not_equal(logits, logits + OUTPUTS, sizeof one);
    /* A sample's logits are its own, whoever else is in the batch. */
    assert_int_equal(nyb_train_predict(f.train, x + 17 * IMAGE, 1, one, NULL), NYB_OK);
    assert_memory_equal(one, logits + 17 * OUTPUTS, sizeof one);
    assert_int_equal(nyb_train_predict(f.train, NULL, 1, one, NULL), NYB_INVALID);
    assert_int_equal(nyb_train_predict(f.train, NULL, 0, NULL, NULL), NYB_OK);
    fixture_free(&f);
}

/* Training samples are asked for by what trains. */
static void evaluation_needs_no_training_samples(void **state)
{
    static float x[128 * IMAGE];
    static int32_t zeros[128];
    const float *batch;
    const int32_t *of;
    uint64_t n_batches = 1;
    double seconds = 1, want;
    nyb_error err = {0};
    fixture f;

    (void)state;
    start(&f, "luq", true);
    want = fixture_eval(f.train);
    nyb_train_destroy(&f.train);
    f.options.batch = 128;
    assert_true(f.options.batch > TRAIN);
    fixture_start(&f);
    assert_true(fabs(fixture_eval(f.train) - want) < 0.2); /* clips are those of other batches */
    nyb_train_get_loading(f.train, &n_batches, &seconds);
    assert_true(n_batches == 0 && seconds == 0);
    assert_int_equal(nyb_train_run(f.train, NULL, NULL, NULL, NULL, &err), NYB_SHAPE);
    assert_non_null(strstr(err.text, "64 training samples"));
    assert_int_equal(nyb_train_batch(f.train, &batch, &of, &err), NYB_SHAPE);
    assert_int_equal(nyb_train_step(f.train, x, zeros, NULL, &err), NYB_SHAPE);
    fixture_free(&f);
}

/* ---- the learning rate ----------------------------------------------------------------------- */

static void without_epochs_the_rate_is_constant(void **state)
{
    char want[65], got[65];
    fixture f;

    (void)state;
    start(&f, "luq", false);
    strcpy(f.options.schedule, "constant");
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    take_steps(f.train, 14);
    hash_of(f.train, want);
    fixture_free(&f);
    start(&f, "luq", false);
    assert_string_not_equal(f.options.schedule, "constant");
    take_steps(f.train, 14);
    hash_of(f.train, got);
    assert_string_equal(got, want);
    take_steps(f.train, 1);
    hash_of(f.train, want);
    fixture_free(&f);

    start(&f, "luq", false);
    take_steps(f.train, 14);
    assert_int_equal(nyb_train_set_lr(f.train, 0.0, NULL), NYB_OK);
    take_steps(f.train, 1);
    hash_of(f.train, got);
    assert_string_not_equal(got, want);
    assert_int_equal(nyb_train_set_lr(f.train, -1.0, NULL), NYB_INVALID);
    assert_int_equal(nyb_train_set_lr(f.train, NAN, NULL), NYB_INVALID);
    assert_int_equal(nyb_train_set_lr(f.train, 1e300, NULL), NYB_INVALID);
    fixture_free(&f);
}

/* ---- saving, loading, tensors ---------------------------------------------------------------- */

static void what_is_saved_goes_on(void **state)
{
    char want[65], got[65], dir[80];
    double loss;
    fixture f;

    (void)state;
    snprintf(dir, sizeof dir, "%s/saved/here", fixture_folder);
    start(&f, "luq", true);
    take_steps(f.train, 5);
    assert_int_equal(nyb_train_save(f.train, dir, NULL), NYB_OK);
    loss = fixture_eval(f.train);
    take_steps(f.train, 3);
    hash_of(f.train, want);
    fixture_free(&f);
    start(&f, "luq", true);
    assert_int_equal(nyb_train_load_model(f.train, dir, NULL), NYB_OK);
    assert_true(fixture_eval(f.train) == loss);
    assert_int_equal(nyb_train_resume(f.train, dir, NULL), NYB_OK);
    assert_true(fixture_eval(f.train) == loss);
    take_steps(f.train, 3);
    hash_of(f.train, got);
    assert_string_equal(got, want);
    assert_int_equal(nyb_train_save(f.train, "/dev/null/no", NULL), NYB_IO);
    fixture_free(&f);
}

/* A model saved before its first step has no clips: those of the one loaded before it are gone. */
static void a_loaded_model_takes_nothing_of_the_last(void **state)
{
    static const char *const recipes[] = {"luq", "lsq", "fp8_ocp"};
    char trained[80], fresh[80];

    (void)state;
    snprintf(trained, sizeof trained, "%s/trained", fixture_folder);
    snprintf(fresh, sizeof fresh, "%s/fresh", fixture_folder);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        fixture f;

        start(&f, recipes[i], true);
        assert_int_equal(nyb_train_save(f.train, fresh, NULL), NYB_OK);
        take_steps(f.train, 6);
        assert_int_equal(nyb_train_save(f.train, trained, NULL), NYB_OK);
        fixture_free(&f);
        start(&f, recipes[i], true);
        assert_int_equal(nyb_train_load_model(f.train, fresh, NULL), NYB_OK);
        const double want = fixture_eval(f.train);
        assert_int_equal(nyb_train_load_model(f.train, trained, NULL), NYB_OK);
        const double other = fixture_eval(f.train);
        assert_int_equal(nyb_train_load_model(f.train, fresh, NULL), NYB_OK);
        if (fixture_eval(f.train) != want || other == want)
            fail_msg("%s", recipes[i]);
        fixture_free(&f);
    }
}

static void tensors_are_listed(void **state)
{
    nyb_tensor_info info;
    size_t n_trained = 0, n_weights = 0;
    fixture f;

    (void)state;
    start(&f, "luq", true);
    for (size_t i = 0; i < nyb_train_tensor_count(f.train); i++) {
        size_t n = 1;

        assert_int_equal(nyb_train_tensor_at(f.train, i, &info, NULL), NYB_OK);
        for (int d = 0; d < info.n_dims; d++)
            n *= info.dims[d];
        assert_int_equal(n, info.n);
        float *values = malloc(info.n * sizeof *values);
        assert_int_equal(nyb_train_get_tensor(f.train, info.name, values, info.n, NULL), NYB_OK);
        free(values);
        n_trained += info.trained ? info.n : 0;
        n_weights += info.n_dims == 2;
    }
    assert_int_equal(n_trained, nyb_model_parameters(f.model));
    assert_int_equal(n_weights, 3);
    assert_int_equal(nyb_train_tensor_at(f.train, nyb_train_tensor_count(f.train), &info, NULL),
                     NYB_UNKNOWN);
    fixture_free(&f);
}

/* The scale that weights were loaded with is theirs alone: others have their own. */
static void loaded_scales_end_with_the_weights(void **state)
{
    static const char *const weight = "fc2.weight";
    float w[16 * 24];
    double want;
    nyb_error err;
    fixture f;

    (void)state;
    start(&f, "luq", true);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, NULL), NYB_OK);
    assert_int_equal(nyb_train_get_tensor(f.train, weight, w, sizeof w / sizeof *w, &err), NYB_OK);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] *= 8;
    assert_int_equal(nyb_train_set_tensor(f.train, weight, w, sizeof w / sizeof *w, NULL), NYB_OK);
    want = fixture_eval(f.train);
    fixture_free(&f);

    start(&f, "luq", true);
    assert_int_equal(nyb_train_load_model(f.train, fixture_folder, NULL), NYB_OK);
    assert_int_equal(nyb_train_set_tensor(f.train, weight, w, sizeof w / sizeof *w, NULL), NYB_OK);
    assert_true(fixture_eval(f.train) == want);

    /* After a step, and after resume, evaluation is that of the weights then. */
    assert_int_equal(nyb_train_load_model(f.train, fixture_folder, NULL), NYB_OK);
    take_steps(f.train, 12);
    want = fixture_eval(f.train);
    for (size_t i = 0; i < nyb_train_tensor_count(f.train); i++) {
        nyb_tensor_info info;

        assert_int_equal(nyb_train_tensor_at(f.train, i, &info, NULL), NYB_OK);
        float *values = malloc(info.n * sizeof *values);
        assert_int_equal(nyb_train_get_tensor(f.train, info.name, values, info.n, NULL), NYB_OK);
        assert_int_equal(nyb_train_set_tensor(f.train, info.name, values, info.n, NULL), NYB_OK);
        free(values);
    }
    assert_true(fixture_eval(f.train) == want);
    assert_int_equal(nyb_train_resume(f.train, fixture_folder, NULL), NYB_OK);
    want = fixture_eval(f.train);
    assert_int_equal(nyb_train_load_model(f.train, fixture_folder, NULL), NYB_OK);
    assert_int_equal(nyb_train_resume(f.train, fixture_folder, NULL), NYB_OK);
    assert_true(fixture_eval(f.train) == want);
    fixture_free(&f);
}

/* All tensors of one run, set in another. */
static void copy_tensors(const nyb_train *from, nyb_train *to)
{
    for (size_t i = 0; i < nyb_train_tensor_count(from); i++) {
        nyb_tensor_info info;

        assert_int_equal(nyb_train_tensor_at(from, i, &info, NULL), NYB_OK);
        float *values = malloc(info.n * sizeof *values);
        assert_int_equal(nyb_train_get_tensor(from, info.name, values, info.n, NULL), NYB_OK);
        assert_int_equal(nyb_train_set_tensor(to, info.name, values, info.n, NULL), NYB_OK);
        free(values);
    }
}

/* A learned scale is what it was set to; one that has not begun, in a run or in a file, begins with
 * the data that come next. */
static void learned_scales_are_tensors(void **state)
{
    static const char *const recipes[] = {"lsq", "lsqplus", "pactplus"};
    static float x[BATCH * IMAGE];
    float want[BATCH * OUTPUTS], got[BATCH * OUTPUTS];
    char dir[80];

    (void)state;
    snprintf(dir, sizeof dir, "%s/learned", fixture_folder);
    fill_images();
    for (size_t i = 0; i < BATCH * IMAGE; i++)
        x[i] = (float)pixels[i / IMAGE][i % IMAGE] / 255.0f;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        for (int n = 0; n < 5; n += 4) {
            fixture f, other;

            start(&f, recipes[i], false);
            take_steps(f.train, n);
            assert_int_equal(nyb_train_predict(f.train, x, BATCH, want, NULL), NYB_OK);
            assert_int_equal(nyb_train_save(f.train, dir, NULL), NYB_OK);

            start(&other, recipes[i], false);
            copy_tensors(f.train, other.train);
            assert_int_equal(nyb_train_predict(other.train, x, BATCH, got, NULL), NYB_OK);
            assert_memory_equal(got, want, sizeof want);
            assert_int_equal(nyb_train_load_model(other.train, dir, NULL), NYB_OK);
            assert_int_equal(nyb_train_predict(other.train, x, BATCH, got, NULL), NYB_OK);
            assert_memory_equal(got, want, sizeof want);
            fixture_free(&f);
            fixture_free(&other);
        }
    }
}

/* A seed may have all 64 bits. */
static void summaries_have_the_seed(void **state)
{
    char *text = NULL;
    size_t n;
    fixture f;

    (void)state;
    start(&f, "luq", false);
    f.options.seed = UINT64_MAX;
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    FILE *out = open_memstream(&text, &n);
    nyb_train_print_summary(f.train, out);
    fclose(out);
    assert_non_null(strstr(text, "\"seed\": 18446744073709551615,"));
    free(text);
    fixture_free(&f);
}

static void nulls_are_refused(void **state)
{
    static float x[IMAGE];
    float logits[OUTPUTS];
    double loss, accuracy;
    const float *batch;
    const int32_t *of;
    nyb_tensor_info info;
    nyb_error err = {0};
    fixture f;

    (void)state;
    start(&f, "luq", true);
    assert_int_equal(nyb_train_predict(NULL, x, 1, logits, &err), NYB_INVALID);
    assert_int_equal(nyb_train_predict(f.train, x, 1, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_eval(NULL, &loss, &accuracy, &err), NYB_INVALID);
    assert_int_equal(nyb_train_eval(f.train, NULL, &accuracy, &err), NYB_INVALID);
    assert_int_equal(nyb_train_eval(f.train, &loss, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_run(NULL, NULL, NULL, NULL, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_save(NULL, "/tmp", &err), NYB_INVALID);
    assert_int_equal(nyb_train_save(f.train, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_batch(NULL, &batch, &of, &err), NYB_INVALID);
    assert_int_equal(nyb_train_batch(f.train, NULL, &of, &err), NYB_INVALID);
    assert_int_equal(nyb_train_batch(f.train, &batch, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_tensor_at(NULL, 0, &info, &err), NYB_INVALID);
    assert_int_equal(nyb_train_tensor_at(f.train, 0, NULL, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "NULL"));
    fixture_free(&f);
}

/* ---- the caller's rounding mode -------------------------------------------------------------- */

/* By what sums do: on x86 fegetround() reads the x87's mode, in which nobody computes. */
static int rounding_mode(void)
{
    const volatile float one = 1.0f, tiny = 0x1p-30f;
    const volatile float above = one + tiny, below = one - tiny, beyond = -one - tiny;

    return above > 1.0f     ? FE_UPWARD
           : beyond < -1.0f ? FE_DOWNWARD
           : below < 1.0f   ? FE_TOWARDZERO
                            : FE_TONEAREST;
}

static int is_in_its_mode(void *user, const nyb_event *event)
{
    const int *mode = user;

    (void)event;
    assert_int_equal(rounding_mode(), *mode);
    return 0;
}

static int asked_in_its_mode(void *user)
{
    return is_in_its_mode(user, NULL);
}

typedef struct outcome {
    char hash[65];
    double loss;
    float logits[OUTPUTS], loaded[OUTPUTS], mean, std;
} outcome;

static void run_in_mode(int mode, const char *recipe, const float *x, outcome *is)
{
    nyb_data_info info;
    char dir[80];
    fixture f;

    snprintf(dir, sizeof dir, "%s/mode", fixture_folder);
    memset(is, 0, sizeof *is);
    fesetround(mode);
    start(&f, recipe, true);
    f.options.normalize = 1;
    nyb_train_destroy(&f.train);
    nyb_model_destroy(&f.model);
    assert_int_equal(nyb_model_create("signed", &f.model, NULL), NYB_OK);
    nyb_value v = nyb_flatten(f.model, nyb_input(f.model, 28, 28, 1, 0));
    v = nyb_relu(f.model, nyb_batchnorm(f.model, nyb_linear(f.model, v, "fc1", 24, 0), "bn1"));
    v = nyb_linear(f.model, v, "fc2", OUTPUTS, 1);
    assert_int_equal(nyb_model_finish(f.model, v, NULL), NYB_OK);
    assert_int_equal(nyb_train_option_set(&f.options, "lr", "0.017", NULL), NYB_OK);
    f.options.clip_norm = 0.5;
    fixture_start(&f);
    nyb_data_get_info(f.data, &info);
    is->mean = info.mean[0];
    is->std = info.std[0];
    nyb_train_set_stop(f.train, asked_in_its_mode, &mode);
    assert_int_equal(nyb_train_run(f.train, NULL, NULL, is_in_its_mode, &mode, NULL), NYB_OK);
    is->loss = fixture_eval(f.train);
    hash_of(f.train, is->hash);
    assert_int_equal(nyb_train_predict(f.train, x, 1, is->logits, NULL), NYB_OK);
    assert_int_equal(nyb_train_save(f.train, dir, NULL), NYB_OK);
    assert_int_equal(nyb_train_load_model(f.train, dir, NULL), NYB_OK);
    assert_int_equal(nyb_train_predict(f.train, x, 1, is->loaded, NULL), NYB_OK);
    assert_int_equal(rounding_mode(), mode);
    fesetround(FE_TONEAREST);
    fixture_free(&f);
}

static void modes_of_the_caller_do_not_matter(void **state)
{
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static const char *const recipes[] = {"luq", "lsq", "nvfp4"};
    static float x[IMAGE];

    (void)state;
    fill_images();
    for (size_t k = 0; k < IMAGE; k++)
        x[k] = (float)pixels[0][k] / 255.0f;
    for (size_t r = 0; r < sizeof recipes / sizeof *recipes; r++) {
        outcome want, got;

        run_in_mode(FE_TONEAREST, recipes[r], x, &want);
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
            run_in_mode(modes[i], recipes[r], x, &got);
            assert_memory_equal(&got, &want, sizeof want);
        }
    }
}

/* ---- folders --------------------------------------------------------------------------------- */

static char *path_in(const char *dir, const char *file, char path[128])
{
    snprintf(path, 128, "%s/%s", dir, file);
    return path;
}

static bool holds(const char *dir, const char *file)
{
    char path[128];
    FILE *in = fopen(path_in(dir, file, path), "r");

    if (in)
        fclose(in);
    return in != NULL;
}

/* Lines of metrics.jsonl, each of which is an object; -1: some are not. */
static int metrics_of(const char *dir)
{
    char path[128], line[4096];
    FILE *in = fopen(path_in(dir, "metrics.jsonl", path), "r");
    int n = 0;

    assert_non_null(in);
    while (n >= 0 && fgets(line, sizeof line, in))
        n = line[0] == '{' && strcmp(line + strlen(line) - 2, "}\n") == 0 ? n + 1 : -1;
    fclose(in);
    return n;
}

static int events_of(const char *dir)
{
    DIR *folder = opendir(dir);
    const struct dirent *entry;
    int n = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder)))
        n += strncmp(entry->d_name, "events.out.tfevents.", 20) == 0;
    closedir(folder);
    return n;
}

static void run_into(fixture *f, const char *dir, const char *config, uint64_t max_steps)
{
    f->options.max_steps = max_steps;
    f->options.log_every = 1;
    nyb_train_destroy(&f->train);
    fixture_start(f);
    assert_int_equal(nyb_train_run(f->train, dir, config, NULL, NULL, NULL), NYB_OK);
}

/* A run that goes on from A in B leaves nothing of B's former run. */
static void folders_hold_one_run(void **state)
{
    char a[80], b[80];
    fixture f;

    (void)state;
    snprintf(a, sizeof a, "%s/a", fixture_folder);
    snprintf(b, sizeof b, "%s/b", fixture_folder);
    start(&f, "luq", true);
    run_into(&f, b, "first", 0);
    const int whole = metrics_of(b);
    run_into(&f, a, NULL, 6);
    nyb_train_destroy(&f.train);
    f.options.max_steps = 0;
    fixture_start(&f);
    assert_int_equal(nyb_train_resume(f.train, a, NULL), NYB_OK);
    assert_int_equal(nyb_train_run(f.train, b, NULL, NULL, NULL, NULL), NYB_OK);
    assert_false(holds(b, "config.txt"));
    assert_int_equal(events_of(b), 1);
    assert_int_equal(metrics_of(a) + metrics_of(b), whole); /* epoch 2 from its middle on */
    fixture_free(&f);
}

static int looks_at_the_state(void *user, const nyb_event *event)
{
    (void)event;
    assert_true(holds(user, "state.safetensors"));
    return 0;
}

static int stops_at_3(void *user, const nyb_event *event)
{
    (void)user;
    return event->step >= 3;
}

/* A run that is called again keeps its own files and goes on with them; when it is over, it leaves
 * them as they are. */
static void a_second_call_goes_on(void **state)
{
    char a[80], b[80], want[65], got[65];
    fixture f;

    (void)state;
    snprintf(a, sizeof a, "%s/whole", fixture_folder);
    snprintf(b, sizeof b, "%s/parts", fixture_folder);
    start(&f, "luq", true);
    run_into(&f, a, NULL, 0);
    hash_of(f.train, want);
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, b, NULL, stops_at_3, NULL, NULL), NYB_INTERRUPTED);
    assert_int_equal(nyb_train_run(f.train, b, NULL, looks_at_the_state, b, NULL), NYB_OK);
    hash_of(f.train, got);
    assert_string_equal(got, want);
    assert_int_equal(metrics_of(b), metrics_of(a));
    assert_int_equal(events_of(b), 2);
    assert_int_equal(nyb_train_run(f.train, b, "other", looks_at_the_state, b, NULL), NYB_OK);
    assert_int_equal(events_of(b), 2);
    assert_false(holds(b, "config.txt"));
    fixture_free(&f);
}

/* A run that is killed before its first checkpoint can be resumed: it has one of step 0. */
static void a_run_begins_with_a_checkpoint(void **state)
{
    fixture f;
    char dir[80];

    (void)state;
    snprintf(dir, sizeof dir, "%s/begun", fixture_folder);
    start(&f, "luq", true);
    assert_int_equal(nyb_train_run(f.train, dir, NULL, looks_at_the_state, dir, NULL), NYB_OK);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_of_the_callers_are_checked),
        cmocka_unit_test(predictions_are_those_of_evaluation),
        cmocka_unit_test(evaluation_needs_no_training_samples),
        cmocka_unit_test(without_epochs_the_rate_is_constant),
        cmocka_unit_test_setup_teardown(what_is_saved_goes_on, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(a_loaded_model_takes_nothing_of_the_last,
                                        fixture_make_folder, fixture_remove_folder),
        cmocka_unit_test(tensors_are_listed),
        cmocka_unit_test_setup_teardown(loaded_scales_end_with_the_weights, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(learned_scales_are_tensors, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(summaries_have_the_seed),
        cmocka_unit_test(nulls_are_refused),
        cmocka_unit_test_setup_teardown(modes_of_the_caller_do_not_matter, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(folders_hold_one_run, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(a_second_call_goes_on, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(a_run_begins_with_a_checkpoint, fixture_make_folder,
                                        fixture_remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
