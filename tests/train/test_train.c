/* Runs: resume, errors, memory, what is kept. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "fixture.h"
#include "graph/graph.h"
#include "train/run.h"

static size_t count_lines(const char *file, const char *needle)
{
    char path[128], line[4096];
    size_t n = 0;
    FILE *in;

    snprintf(path, sizeof path, "%s/%s", fixture_folder, file);
    in = fopen(path, "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in))
        n += strstr(line, needle) != NULL;
    fclose(in);
    return n;
}

/* Stops after `stop` steps, resumes in new objects, and must end where the whole run ends. */
static void expect_exact_resume(const char *model, const char *recipe, const char *const *sets)
{
    char want[65];
    nyb_train_summary summary;
    nyb_error err = {0};
    fixture f;

    fixture_init(&f, "auto", 2, model, recipe, sets, 4, 24);
    fixture_hash(&f, want); /* 6 + 6 steps */
    fixture_free(&f);
    for (uint64_t stop = 4; stop <= 12; stop += 4) {
        fixture_init(&f, "auto", 1, model, recipe, sets, 4, 24);
        f.options.max_steps = stop;
        f.options.log_every = 1;
        fixture_start(&f);
        if (stop > 4)
            assert_int_equal(nyb_train_resume(f.train, fixture_folder, &err), NYB_OK);
        assert_int_equal(nyb_train_run(f.train, fixture_folder, "config", NULL, NULL, &err),
                         NYB_OK);
        nyb_train_summarize(f.train, &summary);
        fixture_free(&f);
    }
    assert_string_equal(summary.weights_sha256, want);
    assert_int_equal(count_lines("metrics.jsonl", "\"kind\":\"step\""), 12);
    assert_int_equal(count_lines("metrics.jsonl", "\"kind\":\"epoch\""), 2);
}

/* Bytes of a tensor of the state; 0 if there is none of that name. */
static size_t bytes_in_state(const char *name)
{
    char path[128];
    nyb_st_file *file = NULL;
    const nyb_st_tensor *tensor;
    size_t n;

    snprintf(path, sizeof path, "%s/state.safetensors", fixture_folder);
    assert_int_equal(nyb_st_load(path, &file, NULL), NYB_OK);
    tensor = nyb_st_find(file, name);
    n = tensor ? tensor->n_bytes : 0;
    nyb_st_close(&file);
    return n;
}

/* States of 0.1.0 have 4 floats of each rule and 2 of the clip; only longer memories need more. */
static void resume_is_exact(void **state)
{
    static const char *const sets[] = {"dgrad.dy.scale=hindsight", "wgrad.dy.scale=hindsight",
                                       "finish.epochs=1", NULL};

    (void)state;
    expect_exact_resume("resnet8", "luq", sets);
    assert_int_equal(bytes_in_state("layer1.0.conv1.fwd.x.sawb"), 6 * sizeof(float));
    assert_int_equal(bytes_in_state("layer1.0.conv1.dgrad.dy.hindsight"), 6 * sizeof(float));
}

/* Nothing is remembered of random bits but the step. */
static void resume_goes_on_with_drawn_stores(void **state)
{
    static const char *const sets[] = {"store=bf16/stochastic", "recompute=products",
                                       "finish.epochs=1", NULL};

    (void)state;
    expect_exact_resume("resnet8", "luq_lean", sets);
}

static void resume_remembers_the_history_of_maxima(void **state)
{
    static const char *const sets[] = {"fwd.x.scale=delayed",    "fwd.w.scale=delayed",
                                       "dgrad.dy.scale=delayed", "dgrad.w.scale=delayed",
                                       "wgrad.dy.scale=delayed", "wgrad.x.scale=delayed",
                                       "finish.epochs=1",        NULL};

    (void)state;
    expect_exact_resume("mlp:32,32", "fp8_ocp", sets);
    assert_int_equal(bytes_in_state("fc2.fwd.x.delayed"), 18 * sizeof(float));
}

static int stop_at_three(void *user, const nyb_event *event)
{
    (void)user;
    return event->step == 3;
}

/* A program's own loop over the run's batches ends where the run does; a batch may be asked for
 * twice, and is that of the step to come after a resume. */
static void batches_are_those_of_the_run(void **state)
{
    nyb_train_summary summary;
    nyb_error err = {0};
    uint64_t n_batches;
    double loss, seconds;
    const float *x;
    const int32_t *labels;
    char want[65];
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 16, 96);
    f.options.epochs = 2;
    f.options.augment_crop = 2;
    fixture_hash(&f, want); /* 6 + 6 steps */
    nyb_train_destroy(&f.train);
    f.options.max_steps = 4;
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, &err), NYB_OK);
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    assert_int_equal(nyb_train_resume(f.train, fixture_folder, &err), NYB_OK);
    for (int i = 4; i < 12; i++) {
        for (int ask = 0; ask < 1 + i % 2; ask++)
            assert_int_equal(nyb_train_batch(f.train, &x, &labels, &err), NYB_OK);
        assert_int_equal(nyb_train_step(f.train, x, labels, &loss, &err), NYB_OK);
    }
    nyb_train_summarize(f.train, &summary);
    assert_string_equal(summary.weights_sha256, want);
    nyb_train_get_loading(f.train, &n_batches, &seconds);
    assert_true(n_batches >= 8 && seconds > 0);
    fixture_free(&f);
}

static void without_data_there_are_no_batches(void **state)
{
    nyb_error err = {0};
    uint64_t n_batches = 1;
    double seconds = 1;
    const float *x;
    const int32_t *labels;
    nyb_train *train;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 16, 96);
    assert_int_equal(nyb_train_create(f.context, f.model, f.recipe, NULL, &f.options, &train, &err),
                     NYB_OK);
    assert_int_equal(nyb_train_batch(train, &x, &labels, &err), NYB_STATE);
    nyb_train_get_loading(train, &n_batches, &seconds);
    assert_true(n_batches == 0 && seconds == 0);
    nyb_train_destroy(&train);
    fixture_free(&f);
}

static void a_stopped_run_says_so_and_leaves_a_state(void **state)
{
    nyb_error err = {0};
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 16, 96);
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, stop_at_three, NULL, &err),
                     NYB_INTERRUPTED);
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    assert_int_equal(nyb_train_resume(f.train, fixture_folder, &err), NYB_OK);
    assert_int_equal(f.train->progress.step, 3);
    fixture_free(&f);
}

/* What evaluation sees after loading the deployed model is what the run saw. */
static void expect_same_evaluation(const char *model, const char *recipe, const char *const *sets)
{
    double loss, acc, loss2, acc2;
    nyb_error err = {0};
    fixture f;

    fixture_init(&f, "auto", 2, model, recipe, sets, 16, 64);
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, &err), NYB_OK);
    loss = f.train->progress.test_loss;
    acc = f.train->progress.test_acc;
    nyb_train_destroy(&f.train);
    fixture_start(&f);
    if (nyb_train_load_model(f.train, fixture_folder, &err) != NYB_OK)
        fail_msg("%s", err.text);
    assert_int_equal(nyb_train_eval(f.train, &loss2, &acc2, &err), NYB_OK);
    if (loss != loss2 || acc != acc2)
        fail_msg("%s, %s: %.9g, not %.9g", model, recipe, loss2, loss);
    fixture_free(&f);
}

static void the_deployed_model_evaluates_the_same(void **state)
{
    static const char *const scaled[][2] = {{"fwd.w.pre=2", NULL}, {"fwd.w.post=0.5", NULL}};
    static const char *const drawn[] = {"store=bf16/stochastic", NULL};
    static const char *const several[] = {
        TEST_EVERY(2) == 2 ? "fwd.w.samples=3" : "fwd.w.samples=16", NULL};

    (void)state;
    for (size_t i = TEST_EVERY(2) - 1; i < nyb_recipe_count(); i += TEST_EVERY(4)) {
        const char *recipe = nyb_recipe_name_at(i);

        expect_same_evaluation("mlp:48,32", recipe, (const char *const[]){"edges=recipe", NULL});
        if (i % (8 * TEST_EVERY(3)) == 1) /* nybble among them */
            expect_same_evaluation("resnet8", recipe, NULL);
    }
    for (size_t i = 0; i < 2; i++)
        expect_same_evaluation("resnet8", "luq", scaled[i]);
    expect_same_evaluation("resnet8", "luq_lean", drawn);
    expect_same_evaluation("resnet8", "luq_fwdsr", several);
}

/* Writes the model of a run with these weights. */
static void save_model(const char *weights)
{
    const char *const sets[] = {weights, NULL};
    fixture f;

    fixture_init(&f, "auto", 1, "mlp:32", "luq", sets, 16, 32);
    f.options.epochs = 0;
    assert_int_equal(nyb_recipe_set(f.recipe, "edges", "recipe", NULL), NYB_OK);
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, NULL), NYB_OK);
    fixture_free(&f);
}

static nyb_status load_model(const char *weights, nyb_error *err)
{
    const char *const sets[] = {weights, NULL};
    nyb_status status;
    fixture f;

    fixture_init(&f, "auto", 1, "mlp:32", "luq", sets, 16, 32);
    assert_int_equal(nyb_recipe_set(f.recipe, "edges", "recipe", NULL), NYB_OK);
    fixture_start(&f);
    status = nyb_train_load_model(f.train, fixture_folder, err);
    fixture_free(&f);
    return status;
}

/* Changes the last code in the model's file. */
static void change_a_code(uint8_t to)
{
    static const char *const weights[] = {"fc1.weight", "fc2.weight"};
    nyb_st_tensor tensors[16];
    nyb_st_meta meta[2];
    uint8_t codes[320];
    char path[128];
    nyb_st_file *file = NULL;

    snprintf(path, sizeof path, "%s/model.safetensors", fixture_folder);
    assert_int_equal(nyb_st_load(path, &file, NULL), NYB_OK);
    for (size_t i = 0; i < nyb_st_count(file); i++) {
        tensors[i] = *nyb_st_at(file, i);
        if (strcmp(tensors[i].name, "fc2.weight.codes") == 0) {
            assert_int_equal(tensors[i].n_bytes, sizeof codes);
            memcpy(codes, tensors[i].data, sizeof codes);
            codes[sizeof codes - 1] = to;
            tensors[i].data = codes;
        }
    }
    for (size_t i = 0; i < 2; i++)
        meta[i] = (nyb_st_meta){weights[i], nyb_st_meta_find(file, weights[i])};
    assert_int_equal(nyb_st_save(path, tensors, nyb_st_count(file), meta, 2, NULL), NYB_OK);
    nyb_st_close(&file);
}

static void codes_of_another_format_are_refused(void **state)
{
    nyb_error err = {0};

    (void)state;
    save_model("fwd.w=int4/sawb");
    assert_int_equal(load_model("fwd.w=int4/sawb", &err), NYB_OK);
    assert_int_equal(load_model("fwd.w=e3m0/absmax/tensor/nearest", &err), NYB_SHAPE);
    assert_non_null(strstr(err.text, "e3m0"));
    assert_non_null(strstr(err.text, "int4"));
    save_model("fwd.w=int7/absmax");
    assert_int_equal(load_model("fwd.w=int7/absmax", &err), NYB_OK);
    change_a_code(127);
    assert_int_equal(load_model("fwd.w=int7/absmax", &err), NYB_OK);
    change_a_code(128);
    assert_int_equal(load_model("fwd.w=int7/absmax", &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "128"));
}

/* Every number of a recipe, at both ends of its range. */
static void numbers_at_the_ends_of_their_ranges_run(void **state)
{
    size_t n_done = 0;

    (void)state;
    for (size_t i = 0; i < nyb_recipe_field_count(); i++) {
        char range[400], ends[2][32];

        nyb_recipe_field_range(i, range, sizeof range);
        if (sscanf(range, "%31[0-9.e-] .. %31[0-9.e-]", ends[0], ends[1]) != 2)
            continue;
        for (size_t end = 0; end < 2; end++) {
            double loss, n;
            fixture f;

            fixture_init(&f, "auto", 2, "mlp:32", "luq", NULL, 8, 16);
            assert_int_equal(nyb_recipe_set(f.recipe, "edges", "recipe", NULL), NYB_OK);
            assert_int_equal(nyb_recipe_set(f.recipe, "nonfinite", "continue", NULL), NYB_OK);
            const char *const dot = strstr(nyb_recipe_field_key(i), ".samples");
            char rounding[64];

            if (dot) { /* of draws */
                snprintf(rounding, sizeof rounding, "%.*s.rounding",
                         (int)(dot - nyb_recipe_field_key(i)), nyb_recipe_field_key(i));
                assert_int_equal(nyb_recipe_set(f.recipe, rounding, "stochastic", NULL), NYB_OK);
            }
            if (nyb_recipe_set(f.recipe, nyb_recipe_field_key(i), ends[end], NULL) != NYB_OK)
                fail_msg("%s = %s", nyb_recipe_field_key(i), ends[end]);
            fixture_start(&f);
            for (int step = 0; step < 2; step++)
                assert_int_equal(
                    nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL), NYB_OK);
            fixture_free(&f);
            n_done++;
        }
    }
    assert_true(n_done >= 40);
}

static void options_out_of_range_are_refused(void **state)
{
    nyb_error err = {0};
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 8, 16);
    const nyb_train_options good = f.options;
    for (int i = 0; i < 6; i++) {
        f.options = good;
        if (i == 0)
            f.options.batch = 0;
        else if (i == 1)
            f.options.label_smoothing = 1;
        else if (i == 2)
            f.options.epochs = -1;
        else if (i == 3)
            f.options.lr = NAN;
        else if (i == 4)
            memcpy(f.options.schedule, "cosines", 8);
        else
            memset(f.options.schedule, 'x', sizeof f.options.schedule);
        assert_int_equal(
            nyb_train_create(f.context, f.model, f.recipe, f.data, &f.options, &f.train, &err),
            i < 4 ? NYB_INVALID : NYB_UNKNOWN);
        assert_null(f.train);
    }
    f.options = good;
    fixture_start(&f);
    fixture_free(&f);
}

static bool in_folder(const char *file)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", fixture_folder, file);
    return access(path, F_OK) == 0;
}

static int try_another(void *user, const nyb_event *event)
{
    nyb_error err = {0};
    fixture f;

    fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 16, 32);
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, &err), NYB_STATE);
    assert_non_null(strstr(err.text, fixture_folder));
    fixture_free(&f);
    *(int *)user += event->kind == NYB_EVENT_STEP;
    return event->step == 1; /* stop */
}

/* A folder is that of one run at a time, and a new run begins with none of an old one's files. */
static void a_folder_is_of_one_run(void **state)
{
    int n_tried = 0;
    nyb_error err = {0};
    fixture f;

    (void)state;
    save_model("fwd.w=int4/sawb");
    assert_true(in_folder("model.safetensors") && in_folder("summary.json"));
    fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 16, 32);
    f.options.checkpoint_every = 1;
    fixture_start(&f);
    assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, try_another, &n_tried, &err),
                     NYB_INTERRUPTED);
    assert_int_equal(n_tried, 1);
    fixture_free(&f);
    assert_false(in_folder("model.safetensors") || in_folder("summary.json"));
    assert_true(in_folder("state.safetensors"));
}

/* The state of another recipe, model or batch is not gone on with. */
static void states_of_other_runs_are_refused(void **state)
{
    static const struct {
        const char *recipe, *model, *says;
        int batch;
        const char *sets[4];
    } others[] = {{"luq", "mlp:32", NULL, 16, {0}},
                  {"luq", "mlp:32", NULL, 16, {"recompute=products", "about=x", "name=luq"}},
                  {"luq_naive", "mlp:32", "luq_naive", 16, {0}},
                  {"luq", "mlp:32", "another recipe", 16, {"wgrad.dy.samples=3", "name=luq"}},
                  {"luq", "mlp:32", "another recipe", 16, {"finish.lr=0.5", "name=luq"}},
                  {"luq", "mlp:33", "", 16, {0}},
                  {"luq", "mlp:32", "'8'", 8, {0}}};

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        nyb_status status;
        nyb_error err = {0};
        fixture f;

        if (i == 0) {
            fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 16, 32);
            fixture_start(&f);
            assert_int_equal(nyb_train_run(f.train, fixture_folder, NULL, NULL, NULL, &err),
                             NYB_OK);
            fixture_free(&f);
        }
        fixture_init(&f, "auto", 1, others[i].model, others[i].recipe, others[i].sets,
                     others[i].batch, 32);
        fixture_start(&f);
        status = nyb_train_resume(f.train, fixture_folder, &err);
        assert_true((status == NYB_OK) == !others[i].says);
        assert_true(!others[i].says || strstr(err.text, others[i].says));
        assert_int_equal(f.train->progress.step, others[i].says ? 0 : 2);
        fixture_free(&f);
    }
}

static void a_step_allocates_nothing(void **state)
{
    static const char *const recipes[] = {"f32", "luq"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        double loss, n;
        uint64_t before;
        fixture f;

        fixture_init(&f, "auto", 2, "resnet8", recipes[i], NULL, 16, 32);
        fixture_start(&f);
        assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                         NYB_OK);
        before = nyb_alloc_count();
        assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                         NYB_OK);
        assert_int_equal(nyb_alloc_count(), before);
        fixture_free(&f);
    }
}

static void live_buffers_never_overlap(void **state)
{
    static const char *const sets[] = {"wgrad.dy.samples=3", "finish.epochs=1", NULL};
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet14", "luq", sets, 8, 32);
    fixture_start(&f);
    for (int m = 0; m < NYB_MODES; m++) {
        const nyb_program *p = &f.train->graph->programs[m];

        assert_true(p->n_steps > 0);
        for (int i = 0; i < p->n_buffers; i++)
            for (int j = 0; j < i; j++) {
                const nyb_buffer *a = &p->buffers[i], *b = &p->buffers[j];

                if (a->home != NYB_HOME_PLANNED || b->home != NYB_HOME_PLANNED || a->first < 0 ||
                    b->first < 0 || a->first > b->last || b->first > a->last)
                    continue;
                assert_true(a->offset + a->n_bytes <= b->offset ||
                            b->offset + b->n_bytes <= a->offset);
                assert_true(a->offset + a->n_bytes <= p->n_bytes);
            }
    }
    fixture_free(&f);
}

static void quantized_inputs_are_kept_at_an_eighth(void **state)
{
    nyb_train_summary luq, f32;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet14", "luq", NULL, 16, 32);
    fixture_start(&f);
    nyb_train_summarize(f.train, &luq);
    fixture_free(&f);
    fixture_init(&f, "auto", 1, "resnet14", "f32", NULL, 16, 32);
    fixture_start(&f);
    nyb_train_summarize(f.train, &f32);
    fixture_free(&f);
    assert_true(luq.saved_quantized_bytes > 0);
    assert_int_equal(luq.saved_quantized_bytes * 8, luq.saved_quantized_f32_bytes);
    assert_int_equal(f32.saved_quantized_bytes, 0);
    assert_true(luq.saved_activation_bytes < f32.saved_activation_bytes);
}

#define TRACE_PARTS_MAX 4096

typedef struct trace {
    size_t n, first, last, calls[TRACE_PARTS_MAX];
} trace;

static void note_part(void *user, size_t i)
{
    trace *t = user;

    if (t->n++ == 0)
        t->first = i;
    t->last = i;
    assert_true(i < TRACE_PARTS_MAX);
    t->calls[i]++;
}

/* Three steps on made-up images; the weights' hash. */
static void take_steps(const char *model, trace *seen, char hash[65])
{
    static float x[16 * 28 * 28];
    int32_t labels[16];
    nyb_train_summary summary;
    nyb_error err = {0};
    double loss;
    fixture f;

    fixture_init(&f, "auto", 2, model, "luq", NULL, 16, 32);
    fixture_start(&f);
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)
        x[i] = (float)(i * 2654435761u % 1024) / 1024.0f;
    for (int i = 0; i < 16; i++)
        labels[i] = i % 10;
    if (seen)
        nyb_train_trace(f.train, note_part, seen);
    for (int i = 0; i < 3; i++)
        assert_int_equal(nyb_train_step(f.train, x, labels, &loss, &err), NYB_OK);
    if (seen) { /* evaluation is not a step */
        const size_t n = seen->n;
        double accuracy;

        assert_int_equal(nyb_train_eval(f.train, &loss, &accuracy, &err), NYB_OK);
        assert_int_equal(seen->n, n);
    }
    nyb_train_summarize(f.train, &summary);
    strcpy(hash, summary.weights_sha256);
    fixture_free(&f);
}

static void a_trace_tells_of_every_part_and_changes_nothing(void **state)
{
    char traced[65], untraced[65];
    nyb_trace_line line;
    trace *seen = calloc(1, sizeof *seen);
    fixture f;

    (void)state;
    assert_non_null(seen);
    take_steps("resnet8", seen, traced);
    take_steps("resnet8", NULL, untraced);
    assert_string_equal(traced, untraced);
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 16, 32);
    fixture_start(&f);
    const size_t n = nyb_train_trace_count(f.train);
    assert_int_equal(seen->n, 3 * (n + 1));
    for (size_t i = 0; i <= n; i++)
        assert_int_equal(seen->calls[i], 3);
    assert_int_equal(seen->last, n);
    nyb_train_trace_at(f.train, seen->first, &line);
    assert_string_equal(line.kind, "input");
    fixture_free(&f);
    free(seen);
}

/* The only line of a kind, layer and slot. */
static nyb_trace_line find_line(const nyb_train *train, const char *kind, const char *layer,
                                const char *slot)
{
    nyb_trace_line line, found;
    size_t n = 0;

    for (size_t i = 0; i < nyb_train_trace_count(train); i++) {
        nyb_train_trace_at(train, i, &line);
        if (strcmp(line.kind, kind) || strcmp(line.layer, layer) || strcmp(line.slot, slot))
            continue;
        found = line;
        n++;
    }
    if (n != 1)
        fail_msg("%zu lines are '%s' of '%s', slot '%s'", n, kind, layer, slot);
    return found;
}

static void traces_count_what_moves(void **state)
{
    const size_t x = 16 * 14 * 14 * 32; /* elements of the second stage's tensors, batch 16 */
    const size_t w = 32 * 3 * 3 * 32;
    uint64_t macs = 0, traced = 0;
    nyb_explain_line product;
    nyb_trace_line line;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 16, 32);
    fixture_start(&f);
    line = find_line(f.train, "moments", "layer2.0.conv2", "fwd.w");
    assert_int_equal(line.read_bytes, 4 * w);
    assert_int_equal(line.written_bytes, 0);
    line = find_line(f.train, "moments", "layer2.0.conv2", "fwd.x"); /* of batchnorm's blocks */
    assert_true(line.read_bytes > 0 && line.read_bytes < x / 16);
    line = find_line(f.train, "batchnorm+relu+moments forward", "layer2.0.bn1", "");
    assert_int_equal(line.read_bytes, 4 * x);
    assert_true(line.written_bytes > x / 8 && line.written_bytes < x / 4); /* y is not stored */
    line = find_line(f.train, "scale", "layer2.0.conv2", "fwd.x");
    assert_int_equal(line.read_bytes + line.written_bytes, 0);
    line = find_line(f.train, "batchnorm encode", "layer2.0.conv2", "fwd.x");
    assert_int_equal(line.read_bytes, 4 * x + 5 * 4 * 32); /* and 5 coefficients a channel */
    assert_int_equal(line.written_bytes, x / 2);
    line = find_line(f.train, "gemm fwd", "layer2.0.conv2", "");
    assert_int_equal(line.read_bytes, x / 2 + w / 2);
    assert_int_equal(line.written_bytes, 4 * x);
    assert_string_equal(nyb_format_name(line.a), "uint4");
    assert_string_equal(nyb_format_name(line.b), "int4");
    assert_int_equal(line.shape[3], 32);
    line = find_line(f.train, "gemm dw", "layer2.0.conv2", "");
    assert_int_equal(line.read_bytes, x);
    assert_int_equal(line.written_bytes, 4 * w);
    /* Two consumers, conv1 and the shortcut: the second adds. */
    line = find_line(f.train, "gemm dx", "layer2.0.conv1", "");
    assert_int_equal(line.written_bytes, 4 * 16 * 28 * 28 * 16);
    assert_true(line.read_bytes > line.written_bytes);
    line = find_line(f.train, "update", "", "");
    assert_int_equal(line.read_bytes, 12 * nyb_model_parameters(f.model));
    for (size_t i = 0; i < nyb_train_explain_count(f.train); i++) {
        nyb_train_explain_at(f.train, i, &product);
        macs += product.macs;
    }
    for (size_t i = 0; i < nyb_train_trace_count(f.train); i++) {
        nyb_train_trace_at(f.train, i, &line);
        traced += line.macs;
    }
    assert_int_equal(traced, macs);
    fixture_free(&f);
    /* Masked in place: weights and their gradient are read, the gradient is written, each once. */
    fixture_init(&f, "auto", 1, "resnet8", "lsq", NULL, 16, 32);
    fixture_start(&f);
    line = find_line(f.train, "ste", "layer2.0.conv2", "fwd.w");
    assert_int_equal(line.read_bytes, 8 * w);
    assert_int_equal(line.written_bytes, 4 * w);
    fixture_free(&f);
}

/* The rows of the plan's first table add up to its last, which is what the arena holds. */
static void the_memory_table_adds_up(void **state)
{
    unsigned long long sum = 0, total = 0, n_bytes;
    char line[256], what[64];
    nyb_train_summary summary;
    FILE *table = tmpfile();
    fixture f;

    (void)state;
    assert_non_null(table);
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 16, 32);
    fixture_start(&f);
    nyb_train_print_plan(f.train, table);
    nyb_train_summarize(f.train, &summary);
    fixture_free(&f);
    rewind(table);
    assert_non_null(fgets(line, sizeof line, table));
    while (fgets(line, sizeof line, table) && sscanf(line, "  %44c %llu", what, &n_bytes) == 2) {
        if (!strncmp(what, "total", 5))
            total = n_bytes;
        else
            sum += n_bytes;
    }
    fclose(table);
    assert_true(total > 0);
    assert_int_equal(sum, total);
    assert_int_equal(total, summary.arena_bytes);
}

static void no_fake_quantization(void **state)
{
    nyb_explain_line line;
    size_t n_s8 = 0, n_f32 = 0;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet14", "luq", NULL, 16, 32);
    fixture_start(&f);
    for (size_t i = 0; i < nyb_train_explain_count(f.train); i++) {
        nyb_train_explain_at(f.train, i, &line);
        if (!strcmp(line.engine, "s8"))
            n_s8++;
        else {
            n_f32++;
            assert_string_equal(line.a, "f32");
            assert_string_equal(line.b, "f32");
        }
    }
    assert_int_equal(n_s8, 12 * 3);         /* 3 stages x 2 blocks x 2 convolutions */
    assert_int_equal(n_f32, 2 + 3 + 2 * 3); /* conv1 (no dX), fc, two shortcuts */
    fixture_free(&f);
}

/* The first layer's input is data, also behind a flatten. */
static void nobody_computes_the_gradient_of_data(void **state)
{
    nyb_explain_line line;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:32,32", "luq", NULL, 16, 32);
    f.options.normalize = 0;
    fixture_start(&f);
    assert_int_equal(nyb_train_explain_count(f.train), 3 + 2 * 2 + 1);
    for (size_t i = 0; i < nyb_train_explain_count(f.train); i++) {
        nyb_train_explain_at(f.train, i, &line);
        if (!strcmp(line.layer, f.model->layers[f.model->first_gemm].name))
            assert_string_not_equal(line.product, "dgrad");
    }
    fixture_free(&f);
}

/* Clipping to a tiny norm scales every gradient alike, so plain SGD moves by that much less. */
static void clipping_bounds_the_norm(void **state)
{
    double loss, n, norm;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 2, "resnet8", "f32", NULL, 16, 32);
    f.options.clip_norm = 0.25;
    fixture_start(&f);
    assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL), NYB_OK);
    norm = nyb_grad_norm(f.train->graph, f.train->scratch);
    assert_true(fabs(norm - 0.25) < 1e-5);
    fixture_free(&f);
}

static void a_nan_is_reported_with_step_and_layer(void **state)
{
    float gamma[16];
    double loss, n;
    nyb_error err = {0};
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 16, 32);
    fixture_start(&f);
    assert_int_equal(nyb_train_get_tensor(f.train, "layer1.0.bn1.weight", gamma, 16, &err), NYB_OK);
    gamma[3] = NAN;
    assert_int_equal(nyb_train_set_tensor(f.train, "layer1.0.bn1.weight", gamma, 16, &err), NYB_OK);
    assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, &err),
                     NYB_NONFINITE);
    assert_non_null(strstr(err.text, "step 0"));
    assert_non_null(strstr(err.text, "layer1.0.bn1"));
    fixture_free(&f);
}

static void skip_leaves_the_weights(void **state)
{
    static const char *const sets[] = {"nonfinite=skip", NULL};
    char before[65], after[65];
    double loss, n;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "luq", sets, 16, 32);
    fixture_start(&f);
    assert_int_equal(nyb_weights_sha256(f.train->graph, before, NULL), NYB_OK);
    f.train->graph->input[5] = INFINITY;
    assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL), NYB_OK);
    assert_int_equal(f.train->progress.n_skipped, 1);
    assert_int_equal(nyb_weights_sha256(f.train->graph, after, NULL), NYB_OK);
    assert_string_equal(before, after);
    fixture_free(&f);
}

/* Also where the loss is finite, and the gradient of weights alone is not. */
static void infinite_gradients_are_no_update(void **state)
{
    static const char *const recipes[] = {"f32", "luq"};
    static const char *const policies[][2] = {{"nonfinite=skip", NULL}, {"nonfinite=stop", NULL}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const bool stops = i % 2;
        char before[65], after[65];
        double loss, n;
        fixture f;

        fixture_init(&f, "auto", 1, "mlp:4", recipes[i / 2], policies[i % 2], 16, 32);
        fixture_start(&f);
        nyb_graph *g = f.train->graph;
        for (int p = 0; p < g->n_params; p++)
            for (size_t e = 0; e < g->params[p].n; e++)
                if (strcmp(g->params[p].name, "fc1.weight") == 0)
                    g->params[p].value[e] = 1e-6f;
                else if (strcmp(g->params[p].name, "fc2.weight") == 0)
                    g->params[p].value[e] = e % 3 ? 1e16f : -1e16f;
        memset(g->input, 0, 16 * 784 * sizeof(float));
        for (size_t s = 0; s < 16; s++) {
            g->input[784 * s] = 1e26f;
            g->labels[s] = (int32_t)(s % 10);
        }
        assert_int_equal(nyb_weights_sha256(g, before, NULL), NYB_OK);
        assert_int_equal(nyb_train_update(f.train, nyb_train_rate(f.train), &loss, &n, NULL),
                         stops ? NYB_NONFINITE : NYB_OK);
        assert_true(isfinite(loss));
        assert_int_equal(f.train->progress.n_skipped, !stops);
        assert_int_equal(nyb_weights_sha256(g, after, NULL), NYB_OK);
        assert_string_equal(before, after);
        fixture_free(&f);
    }
}

static void every_allocation_may_fail(void **state)
{
    fixture f;
    nyb_status status = NYB_MEMORY;
    nyb_train *train = NULL;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:16", "luq", NULL, 16, 32);
    f.options.normalize = 0;
    for (uint64_t n = 1; status != NYB_OK; n++) {
        nyb_alloc_fail_after(n, false);
        status = nyb_train_create(f.context, f.model, f.recipe, f.data, &f.options, &train, NULL);
        nyb_alloc_fail_after(0, false);
        assert_true(status == NYB_OK || status == NYB_MEMORY);
        assert_true((status == NYB_OK) == (train != NULL));
        assert_true(n < 10000);
    }
    nyb_train_destroy(&train);
    fixture_free(&f);
}

static void wrong_labels_and_states_are_refused(void **state)
{
    static float x[16 * 784];
    static int32_t labels[16];
    nyb_error err = {0};
    double loss;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "resnet8", "luq", NULL, 16, 32);
    fixture_start(&f);
    labels[7] = 10;
    assert_int_equal(nyb_train_step(f.train, x, labels, &loss, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "label 10 of sample 7"));
    assert_int_equal(nyb_train_resume(f.train, "/nonexistent", &err), NYB_IO);
    fixture_free(&f);
}

static void nulls_are_refused(void **state)
{
    static float x[16 * 784];
    static int32_t labels[16];
    nyb_error err = {0};
    double loss = 0;
    nyb_train *t;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 1, "mlp:32", "luq", NULL, 16, 32);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(nyb_train_create(i == 0 ? NULL : f.context, i == 1 ? NULL : f.model,
                                          i == 2 ? NULL : f.recipe, f.data,
                                          i == 3 ? NULL : &f.options, &t, &err),
                         NYB_INVALID);
        assert_null(t);
        assert_non_null(strstr(err.text, "NULL"));
    }
    fixture_start(&f);
    assert_int_equal(nyb_train_step(NULL, x, labels, &loss, &err), NYB_INVALID);
    assert_int_equal(nyb_train_step(f.train, NULL, labels, &loss, &err), NYB_INVALID);
    assert_int_equal(nyb_train_step(f.train, x, NULL, &loss, &err), NYB_INVALID);
    assert_int_equal(f.train->progress.step, 0);
    assert_int_equal(nyb_train_step(f.train, x, labels, NULL, &err), NYB_OK);
    assert_int_equal(f.train->progress.step, 1);
    assert_int_equal(nyb_train_resume(NULL, "/tmp", &err), NYB_INVALID);
    assert_int_equal(nyb_train_resume(f.train, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_load_model(NULL, "/tmp", &err), NYB_INVALID);
    assert_int_equal(nyb_train_load_model(f.train, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_train_get_tensor(NULL, "fc2.bias", x, 10, &err), NYB_INVALID);
    assert_int_equal(nyb_train_get_tensor(f.train, NULL, x, 10, &err), NYB_INVALID);
    assert_int_equal(nyb_train_get_tensor(f.train, "fc2.bias", NULL, 10, &err), NYB_INVALID);
    assert_int_equal(nyb_train_set_tensor(NULL, "fc2.bias", x, 10, &err), NYB_INVALID);
    assert_int_equal(nyb_train_set_tensor(f.train, NULL, x, 10, &err), NYB_INVALID);
    assert_int_equal(nyb_train_set_tensor(f.train, "fc2.bias", NULL, 10, &err), NYB_INVALID);
    assert_int_equal(nyb_train_set_tensor(f.train, "fc2.bias", x, 10, &err), NYB_OK);
    fixture_free(&f);
}

/* An all-zero batch: zero scales everywhere must give finite losses, no NaN. */
static void zeros_are_harmless(void **state)
{
    static float x[16 * 784];
    static int32_t labels[16];
    double loss = 0;
    fixture f;

    (void)state;
    fixture_init(&f, "auto", 2, "mlp:32", "luq", (const char *const[]){"edges=recipe", NULL}, 16,
                 32);
    f.options.normalize = 0;
    fixture_start(&f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(nyb_train_step(f.train, x, labels, &loss, NULL), NYB_OK);
    assert_true(isfinite(loss));
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(resume_is_exact, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(resume_goes_on_with_drawn_stores, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(batches_are_those_of_the_run, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(without_data_there_are_no_batches),
        cmocka_unit_test_setup_teardown(resume_remembers_the_history_of_maxima, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(a_stopped_run_says_so_and_leaves_a_state,
                                        fixture_make_folder, fixture_remove_folder),
        cmocka_unit_test_setup_teardown(the_deployed_model_evaluates_the_same, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(codes_of_another_format_are_refused, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(a_folder_is_of_one_run, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test_setup_teardown(states_of_other_runs_are_refused, fixture_make_folder,
                                        fixture_remove_folder),
        cmocka_unit_test(numbers_at_the_ends_of_their_ranges_run),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(live_buffers_never_overlap),
        cmocka_unit_test(quantized_inputs_are_kept_at_an_eighth),
        cmocka_unit_test(a_trace_tells_of_every_part_and_changes_nothing),
        cmocka_unit_test(traces_count_what_moves),
        cmocka_unit_test(the_memory_table_adds_up),
        cmocka_unit_test(no_fake_quantization),
        cmocka_unit_test(nobody_computes_the_gradient_of_data),
        cmocka_unit_test(clipping_bounds_the_norm),
        cmocka_unit_test(a_nan_is_reported_with_step_and_layer),
        cmocka_unit_test(skip_leaves_the_weights),
        cmocka_unit_test(infinite_gradients_are_no_update),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(wrong_labels_and_states_are_refused),
        cmocka_unit_test(nulls_are_refused),
        cmocka_unit_test(zeros_are_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
