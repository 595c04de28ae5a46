/* nybble train: trains a model on data with a recipe. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "job.h"
#include "progress.h"
#include "verbs.h"

typedef struct values {
    const char *data, *model, *recipe, *cpu, *out, *resume;
    cli_list set;
    size_t threads, limit_train, limit_test;
    bool json, quiet, dry_run, overwrite;
} values;

static const cli_option options[] = {
    {"data", "SPEC", "data set, see below", CLI_TEXT, offsetof(values, data), 0, 0},
    {"model", "NAME", "model, see below", CLI_TEXT, offsetof(values, model), 0, 0},
    {"recipe", "NAME|FILE", "recipe, see below (default: luq)", CLI_TEXT, offsetof(values, recipe),
     0, 0},
    {"set", "KEY=VALUE", "change a key of the recipe; may be repeated (`nybble recipe keys`)",
     CLI_LIST, offsetof(values, set), 0, 0},
    {"limit-train", "N", "use only the first N training samples (0: all)", CLI_SIZE,
     offsetof(values, limit_train), 0, SIZE_MAX},
    {"limit-test", "N", "use only the first N test samples (0: all)", CLI_SIZE,
     offsetof(values, limit_test), 0, SIZE_MAX},
    {"out", "DIR",
     "run folder: config.txt, metrics.jsonl, TensorBoard events, checkpoints, "
     "summary.json (default: none)",
     CLI_TEXT, offsetof(values, out), 0, 0},
    {"overwrite", NULL, "a run that --out holds already is replaced, not kept", CLI_FLAG,
     offsetof(values, overwrite), 0, 0},
    {"resume", "DIR",
     "go on where the run in DIR stopped, exactly; its config.txt decides the "
     "rest",
     CLI_TEXT, offsetof(values, resume), 0, 0},
    {"dry-run", NULL, "print what would be done, and the memory plan", CLI_FLAG,
     offsetof(values, dry_run), 0, 0},
    {"quiet", NULL, "no progress on standard error", CLI_FLAG, offsetof(values, quiet), 0, 0},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

static int report(const cli_job *job, bool json)
{
    nyb_train_summary s;
    nyb_train_summarize(job->train, &s);
    if (json) {
        nyb_train_print_summary(job->train, stdout);
        return cli_close_output();
    }
    char kept[32], total[32], arena[32], time[32];
    const char *const headers[] = {"model",  "recipe",       "test acc",   "test loss",
                                   "time",   "samples/s",    "kept 4-bit", "kept in all",
                                   "memory", "CPU x threads"};
    cli_table *table = cli_table_create("llrrrrrrrl", headers);
    cli_table_cell(table, "%s", job->model_spec);
    cli_table_cell(table, "%s", nyb_recipe_name(job->recipe));
    cli_table_cell(table, "%.2f %%", 100 * s.test_acc);
    cli_table_cell(table, "%.4f", fabs(s.test_loss)); /* never "-nan" */
    cli_table_cell(table, "%s", cli_format_time(s.seconds, time));
    if (s.samples_per_s > 0)
        cli_table_cell(table, "%.0f", s.samples_per_s);
    else /* nothing was left to do */
        cli_table_cell(table, "-");
    cli_table_cell(table, "%s", cli_format_bytes((double)s.saved_quantized_bytes, kept));
    cli_table_cell(table, "%s", cli_format_bytes((double)s.saved_activation_bytes, total));
    cli_table_cell(table, "%s", cli_format_bytes((double)s.arena_bytes, arena));
    cli_table_cell(table, "%s x %zu", nyb_context_cpu(job->context),
                   nyb_context_threads(job->context));
    cli_table_print(table, stdout);
    if (s.test_acc_f32_activations > 0)
        printf("with f32 activations, as it was fine-tuned: %.2f %%\n",
               100 * s.test_acc_f32_activations);
    printf("weights %s\n", s.weights_sha256);
    if (*nyb_recipe_differs(job->recipe)) {
        printf("differs from its source%s:\n  ",
               strchr(nyb_recipe_name(job->recipe), '+') ? ", beside what its name says" : "");
        cli_print_wrapped(stdout, nyb_recipe_differs(job->recipe), 2, 2);
    }
    return cli_close_output();
}

static int interrupted(const char *dir)
{
    if (dir) {
        cli_error("train", "interrupted; the checkpoint is in %s", dir);
        cli_hint("nybble train --resume %s", dir);
    } else {
        cli_error("train", "interrupted; nothing was kept, as there is no --out");
    }
    return CLI_INTERRUPTED;
}

static bool recipe_quantizes(const nyb_recipe *recipe)
{
    static const char *const operands[] = {"fwd.x",   "fwd.w",    "dgrad.dy",
                                           "dgrad.w", "wgrad.dy", "wgrad.x"};
    char spec[96];
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++) {
        nyb_recipe_print(recipe, operands[i], spec, sizeof spec);
        if (strcmp(spec, "f32") != 0)
            return true;
    }
    return false;
}

static bool model_is_quantized(const nyb_train *train)
{
    for (size_t i = 0; i < nyb_train_explain_count(train); i++) {
        nyb_explain_line line;
        nyb_train_explain_at(train, i, &line);
        if (strcmp(line.a, "f32") != 0 || strcmp(line.b, "f32") != 0)
            return true;
    }
    return false;
}

/* Whether the folder holds what must not be lost; config.txt alone is left by a run that never
 * began. */
static bool has_run(const char *dir)
{
    static const char *const files[] = {"state.safetensors", "model.safetensors", "summary.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (cli_exists(dir, files[i]))
            return true;
    return false;
}

static int refuse_folder(const char *dir)
{
    cli_error(dir, "holds a run already");
    cli_hint("--resume %s goes on with it; --overwrite begins anew", dir);
    return CLI_USAGE;
}

static int train(cli_job *job, const char *dir, const values *v)
{
    nyb_error err;
    if (v->dry_run && v->json) {
        cli_error("train", "--dry-run has no --json");
        cli_hint("nybble explain --plan --json");
        return CLI_USAGE;
    }
    char *config = cli_job_config(job);
    if (v->dry_run) {
        const float *x;
        const int32_t *labels;
        if (nyb_train_batch(job->train, &x, &labels, &err) != NYB_OK) { /* so would the run's */
            free(config);
            return cli_fail("train", &err);
        }
        fputs(config, stdout);
        putchar('\n');
        nyb_train_print_plan(job->train, stdout);
        free(config);
        return cli_close_output();
    }
    if (v->resume && nyb_train_resume(job->train, dir, &err) != NYB_OK) {
        free(config);
        return cli_fail(dir, &err);
    }
    if (!v->quiet && recipe_quantizes(job->recipe) && !model_is_quantized(job->train))
        cli_hint("no product of %s is quantized: its layers are all first or last ones, which are "
                 "as the recipe's `edges` says (--set edges=recipe)",
                 job->model_spec);
    cli_progress progress;
    cli_progress_begin(&progress, v->quiet, job->options.log_every);
    nyb_train_set_stop(job->train, cli_progress_stop, NULL);
    nyb_status status = nyb_train_set_overwrite(job->train, v->overwrite, &err);
    if (status == NYB_OK)
        status = nyb_train_run(job->train, dir, config, cli_progress_event, &progress, &err);
    cli_progress_end(&progress);
    free(config);
    if (status == NYB_STATE && v->out && !v->overwrite && has_run(v->out))
        return refuse_folder(v->out); /* another run came first */
    if (status == NYB_INTERRUPTED)
        return interrupted(dir);
    if (status != NYB_OK)
        return cli_fail("train", &err);
    if (v->resume && !progress.has_trained)
        cli_hint("all steps of the run in %s were done already", dir);
    return report(job, v->json);
}

/* A new run: everything from the command line. */
static int prepare_new(const cli_verb *verb, cli_job *job, const cli_args *args, const values *v)
{
    if (!v->data || !v->model) {
        cli_error("train", "--data and --model are needed");
        cli_hint("nybble train --help");
        return CLI_USAGE;
    }
    if (v->out && !v->overwrite && !v->dry_run && has_run(v->out))
        return refuse_folder(v->out);
    if (!v->out && !v->dry_run &&
        (cli_refuse(verb, args, (const char *const[]){"overwrite", NULL}, "needs --out") !=
             CLI_OK ||
         cli_refuse_train(verb, args,
                          (const char *const[]){"checkpoint-every", "telemetry-every", NULL},
                          "needs --out: it goes to the run folder") != CLI_OK))
        return CLI_USAGE;
    job->data_spec = v->data;
    job->model_spec = v->model;
    job->recipe_spec = v->recipe;
    job->limit_train = v->limit_train;
    job->limit_test = v->limit_test;
    int exit_status = cli_job_set_options(job, args);
    return exit_status == CLI_OK ? cli_job_open_recipe(job, &v->set) : exit_status;
}

/* Options that may change while a run goes on, because no result depends on them. */
static bool may_change(const char *key)
{
    static const char *const keys[] = {"max-steps", "checkpoint-every", "telemetry-every",
                                       "log-every"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static int prepare_resumed(const cli_verb *verb, cli_job *job, const cli_args *args,
                           const values *v)
{
    static const char *const fixed[] = {"data",       "model", "recipe",    "set", "limit-train",
                                        "limit-test", "out",   "overwrite", NULL};
    int exit_status =
        cli_refuse(verb, args, fixed, "does not go with --resume: config.txt decides it");
    if (exit_status == CLI_OK)
        exit_status = cli_job_read_config(job, v->resume);
    if (exit_status != CLI_OK)
        return exit_status;
    job->options.max_steps = 0;
    for (size_t i = 0; i < args->n_train; i++) {
        nyb_error err;
        const char *key = nyb_train_option_key(args->train[i].index);
        if (!may_change(key)) {
            cli_error("train", "--%s does not go with --resume: config.txt decides it", key);
            return CLI_USAGE;
        }
        if (nyb_train_option_set(&job->options, key, args->train[i].value, &err) != NYB_OK)
            return cli_fail_argument(key, &err);
    }
    return CLI_OK;
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {.recipe = "luq"};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    cli_job job = {.cpu = v.cpu, .threads = v.threads};
    cli_input input;
    exit_status =
        v.resume ? prepare_resumed(verb, &job, &args, &v) : prepare_new(verb, &job, &args, &v);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_context(&job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_data(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = cli_job_build(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = train(&job, v.resume ? v.resume : v.out, &v);
    cli_job_close(&job);
    return exit_status;
}

static void print_more(FILE *out)
{
    fprintf(out, "\nData:\n");
    for (size_t i = 0; i < nyb_data_source_count(); i++)
        fprintf(out, "  %-14s %s\n", nyb_data_source_name(i), nyb_data_source_about(i));
    cli_print_models(out);
    cli_print_recipes(out);
}

const cli_verb cli_verb_train = {
    .name = "train",
    .about = "train a model with a recipe",
    .synopsis = "--data SPEC --model NAME [options]",
    .description =
        "Trains and prints one table at the end: test accuracy after the last epoch, time, and the "
        "memory kept for the backward pass. The same options and seed give the same weights for "
        "any "
        "number of threads, on any instruction set, and after any interruption.\n\n"
        "Ctrl-C (or a terminal that is closed) writes a checkpoint into the run folder and ends "
        "with status 130; --resume goes on from the last complete checkpoint, however the run "
        "ended.",
    .example = "  nybble train --data fashion-mnist --model resnet14 --recipe luq --epochs 3 \\\n"
               "      --out runs/luq\n"
               "  nybble train --data synthetic --model mlp:64 --recipe luq --set edges=recipe\n"
               "  nybble train --resume runs/luq\n",
    .options = options,
    .takes_train_options = true,
    .print_more = print_more,
    .run = run,
};
