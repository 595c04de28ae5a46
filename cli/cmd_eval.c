/* nybble eval DIR: accuracy of a trained model on the test part. */
#include <string.h>

#include "job.h"
#include "verbs.h"

typedef struct values {
    const char *data, *cpu;
    size_t threads, limit_test;
    bool json;
} values;

static const cli_option options[] = {
    {"data", "SPEC", "other data than the run's (see nybble train --help)", CLI_TEXT,
     offsetof(values, data), 0, 0},
    {"limit-test", "N", "use only the first N test samples (0: all)", CLI_SIZE,
     offsetof(values, limit_test), 0, SIZE_MAX},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* Where weights do not fit, images of another size may be why. */
static void compare_data(const cli_job *job)
{
    nyb_data *own;
    nyb_data_info a, b;
    if (strcmp(job->data_spec, job->own_data_spec) == 0 ||
        nyb_data_open(job->own_data_spec, &own, NULL) != NYB_OK)
        return;
    nyb_data_get_info(own, &a);
    nyb_data_get_info(job->data, &b);
    nyb_data_close(&own);
    if (a.h != b.h || a.w != b.w || a.c != b.c || a.classes != b.classes)
        cli_hint("the run's images are %zux%zux%zu (CxHxW) of %zu classes, those of --data "
                 "%zux%zux%zu of %zu",
                 a.c, a.h, a.w, a.classes, b.c, b.h, b.w, b.classes);
}

/* Other data are normalized as those were that the model learned from. */
static void normalize_as_the_run(const cli_job *job)
{
    nyb_data *own;
    nyb_data_info a, b;
    nyb_error err;
    if (!job->options.normalize || strcmp(job->data_spec, job->own_data_spec) == 0)
        return;
    if (nyb_data_open(job->own_data_spec, &own, &err) != NYB_OK) {
        cli_hint("normalized by the training part of --data; of the run's: %s", err.text);
        return;
    }
    nyb_data_get_info(own, &a);
    nyb_data_get_info(job->data, &b);
    if (a.c == b.c && nyb_data_set_normalization(job->data, a.mean, a.std, &err) != NYB_OK)
        cli_hint("%s", err.text);
    nyb_data_close(&own);
}

/* The model; of a run that has not ended, the masters and clips of its last checkpoint, which
 * evaluate as its model would. *file: which one. */
static nyb_status load(nyb_train *train, const char *dir, const char **file, nyb_error *err)
{
    static const char model[] = "model.safetensors", state[] = "state.safetensors";
    if (cli_exists(dir, model) || !cli_exists(dir, state)) {
        *file = model;
        return nyb_train_load_model(train, dir, err);
    }
    *file = state;
    nyb_status status = nyb_train_resume(train, dir, err);
    if (status == NYB_OK) {
        nyb_train_summary s;
        nyb_train_summarize(train, &s);
        cli_hint("%s has no %s yet: measured is %s, after step %llu", dir, model, state,
                 (unsigned long long)s.step);
    }
    return status;
}

static int evaluate(cli_job *job, const char *dir, bool json)
{
    nyb_error err;
    double loss, accuracy;
    const char *file;
    if (load(job->train, dir, &file, &err) != NYB_OK) {
        int exit_status = cli_fail(dir, &err);
        compare_data(job);
        return exit_status;
    }
    if (nyb_train_eval(job->train, &loss, &accuracy, &err) != NYB_OK)
        return cli_fail("eval", &err);
    nyb_data_info info;
    nyb_data_get_info(job->data, &info);
    if (json)
        return cli_print_json(json_pack(
            "{s:o, s:s, s:o, s:o, s:I, s:o, s:o, s:s}", "model", cli_json_string(job->model_spec),
            "file", file, "data", cli_json_string(job->data_spec), "recipe",
            cli_json_string(nyb_recipe_name(job->recipe)), "samples", (json_int_t)info.n_test,
            "test_acc", cli_json_real(accuracy), "test_loss", cli_json_real(loss), "cpu",
            nyb_context_cpu(job->context)));
    const char *const headers[] = {"model", "recipe", "data", "samples", "accuracy", "loss"};
    cli_table *table = cli_table_create("lllrrr", headers);
    cli_table_cell(table, "%s", job->model_spec);
    cli_table_cell(table, "%s", nyb_recipe_name(job->recipe));
    cli_table_cell(table, "%s", job->data_spec);
    cli_table_cell(table, "%zu", info.n_test);
    cli_table_cell(table, "%.2f %%", 100 * accuracy);
    cli_table_cell(table, "%.4f", loss);
    cli_table_print(table, stdout);
    return cli_close_output();
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {0};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    cli_job job = {.cpu = v.cpu, .threads = v.threads, .data_spec = v.data};
    cli_input input;
    exit_status = cli_job_read_config(&job, args.at[0]);
    if (exit_status == CLI_OK && cli_given(verb, &args, "limit-test"))
        job.limit_test = v.limit_test;
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_context(&job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_data(&job, &input);
    if (exit_status == CLI_OK)
        normalize_as_the_run(&job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_build(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = evaluate(&job, args.at[0], v.json);
    cli_job_close(&job);
    return exit_status;
}

const cli_verb cli_verb_eval = {
    .name = "eval",
    .about = "accuracy of a trained model",
    .synopsis = "DIR [options]",
    .description = "Loads model.safetensors of a run folder and measures loss and accuracy on the "
                   "test part of its data, quantized as its recipe says. Pixels of other data are "
                   "normalized as those of the run's training part. While a run has not ended, and "
                   "so has no model, its last checkpoint is measured.",
    .example = "  nybble eval runs/luq\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
