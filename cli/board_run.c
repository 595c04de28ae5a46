/* Training a campaign's jobs: one run folder each, claimed by a lock, resumable. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "board.h"
#include "progress.h"

/* ---- folders ------------------------------------------------------------------------------ */

#define NAME_MAX_BYTES 120

/* A label as the name of a folder: no '/', not too long. */
static void folder_name(const char *label, const char *hash, char name[NAME_MAX_BYTES + 1])
{
    size_t n = strlen(label);
    snprintf(name, NAME_MAX_BYTES + 1, "%s", label);
    if (n > NAME_MAX_BYTES)
        snprintf(name + NAME_MAX_BYTES - BOARD_HASH, BOARD_HASH + 1, "-%s", hash);
    for (char *c = name; *c; c++)
        if (*c == '/')
            *c = '_';
    if (*name == '.')
        *name = '_';
}

char *board_job_dir(const char *dir, const board_job *job)
{
    char model[NAME_MAX_BYTES + 1], recipe[NAME_MAX_BYTES + 1];
    folder_name(job->model->spec, job->hash, model);
    folder_name(job->recipe->label, job->hash, recipe);
    const size_t n_bytes = strlen(dir) + sizeof model + sizeof recipe + 40;
    char *path = cli_alloc(n_bytes, 1);
    snprintf(path, n_bytes, "%s/%s/%s/seed%llu", dir, model, recipe, (unsigned long long)job->seed);
    return path;
}

static json_t *read_json(const char *dir, const char *file)
{
    char *path = cli_join(dir, file);
    json_t *json = cli_json_load(path);
    free(path);
    return json;
}

static int write_json(const char *dir, const char *file, const json_t *json)
{
    char *path = cli_join(dir, file);
    int exit_status = board_write_json(path, json, JSON_INDENT(2));
    free(path);
    return exit_status;
}

static void delete_file(const char *dir, const char *file)
{
    char *path = cli_join(dir, file);
    unlink(path);
    free(path);
}

/* Claims a folder: a lock that the kernel drops when its holder dies. The descriptor, -1 if another
 * process has it, -2 after a reported failure. */
static int claim(const char *dir)
{
    char *path = cli_join(dir, "lock");
    int fd = board_make_dir(dir) ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd < 0) {
        cli_error(dir, "%s", strerror(errno));
        free(path);
        return -2;
    }
    free(path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    bool is_busy = errno == EWOULDBLOCK;
    if (!is_busy)
        cli_error(dir, "cannot lock: %s", strerror(errno));
    close(fd);
    return is_busy ? -1 : -2;
}

/* ---- records ------------------------------------------------------------------------------ */

json_t *board_describe_job(const board_campaign *c, const board_job *job)
{
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:I, s:o, s:s, s:o, s:o, s:I, s:s}", "model",
        cli_json_string(job->model->spec), "recipe", cli_json_string(job->recipe->label), "hash",
        job->hash, "setup", cli_json_string(job->model->setup), "seed", (json_int_t)job->seed,
        "changes", cli_json_string(job->recipe->text), "version", nyb_version(), "commit",
        cli_json_string(c->commit), "machine", cli_json_string(c->machine), "threads",
        (json_int_t)nyb_context_threads(c->job.context), "cpu", nyb_context_cpu(c->job.context));
}

/* Engines that multiply the codes themselves. */
static bool multiplies_codes(const char *engine)
{
    return strncmp(engine, "s8", 2) == 0 || strcmp(engine, "mf") == 0;
}

/* A product with a quantized operand, or an accumulator of its own. */
static bool is_quantized(const nyb_explain_line *l)
{
    return strcmp(l->a, "f32") != 0 || strcmp(l->b, "f32") != 0 || strcmp(l->engine, "f32") != 0;
}

bool board_is_emulated(const nyb_train *train)
{
    for (size_t i = 0; i < nyb_train_explain_count(train); i++) {
        nyb_explain_line l;
        nyb_train_explain_at(train, i, &l);
        if (is_quantized(&l) && !multiplies_codes(l.engine))
            return true;
    }
    return false;
}

/* "s8", "f32" or "s8+f32": who computes the quantized products. Without any: "f32", and real. */
static void add_engines(const nyb_train *train, json_t *record)
{
    char engines[64] = "";
    nyb_energy step = {0};
    for (size_t i = 0; i < nyb_train_explain_count(train); i++) {
        nyb_explain_line l;
        nyb_energy e;
        nyb_train_explain_at(train, i, &l);
        nyb_train_energy_at(train, i, &e);
        nyb_energy_add(&step, &e);
        if (!is_quantized(&l) || strstr(engines, l.engine) ||
            strlen(engines) + strlen(l.engine) + 2 > sizeof engines)
            continue;
        strcat(engines, *engines ? "+" : "");
        strcat(engines, l.engine);
    }
    json_object_set_new(record, "energy_pj", cli_json_real(step.picojoules));
    json_object_set_new(record, "engine", json_string(*engines ? engines : "f32"));
    json_object_set_new(record, "emulated", json_boolean(board_is_emulated(train)));
}

/* status: NYB_OK, or NYB_NONFINITE with the step and layer in err. */
static json_t *describe_result(const board_campaign *c, const board_job *job, const cli_job *run,
                               nyb_status status, const nyb_error *err)
{
    nyb_train_summary s;
    nyb_train_summarize(run->train, &s);
    bool diverged = status == NYB_NONFINITE || !isfinite(s.test_loss);
    json_t *record = board_describe_job(c, job);
    add_engines(run->train, record);
    board_add_sums(run->context, run->train, record);
    json_object_update_new(
        record,
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "diverged", (int)diverged,
                  "steps", (json_int_t)s.step, "batch", (json_int_t)run->options.batch,
                  "saved_activation_bytes", (json_int_t)s.saved_activation_bytes,
                  "saved_quantized_bytes", (json_int_t)s.saved_quantized_bytes,
                  "saved_quantized_f32_bytes", (json_int_t)s.saved_quantized_f32_bytes,
                  "arena_bytes", (json_int_t)s.arena_bytes, "parameters",
                  (json_int_t)s.n_parameters, "seconds", cli_json_real(s.seconds), "samples_per_s",
                  cli_json_real(s.samples_per_s)));
    if (diverged) {
        const char *why = status == NYB_NONFINITE ? err->text : "the loss at the end is no number";
        json_object_set_new(record, "why", cli_json_string(why));
        return record;
    }
    json_object_update_new(record, json_pack("{s:f, s:f, s:s}", "test_acc", s.test_acc, "test_loss",
                                             s.test_loss, "weights_sha256", s.weights_sha256));
    if (s.test_acc_f32_activations > 0)
        json_object_set_new(record, "test_acc_f32_activations",
                            cli_json_real(s.test_acc_f32_activations));
    return record;
}

/* ---- one run ------------------------------------------------------------------------------ */

nyb_status board_build(const board_campaign *c, const board_job *job, cli_job *run, nyb_error *err)
{
    cli_input input = c->input;
    *run = c->job;
    run->model_spec = job->model->spec;
    run->recipe = job->recipe->recipe;
    run->options = job->model->options;
    run->options.seed = job->seed;
    input.nonneg = !run->options.normalize;
    NYB_TRY(cli_model_create(run->model_spec, &input, &run->model, err));
    return nyb_train_create(run->context, run->model, run->recipe, run->data, &run->options,
                            &run->train, err);
}

void board_unbuild(cli_job *run)
{
    nyb_train_destroy(&run->train);
    nyb_model_destroy(&run->model);
}

/* Goes on from the checkpoint of the same job, made by the same program; else begins anew. */
static nyb_status resume(const board_campaign *c, const board_job *job, const char *dir,
                         cli_job *run, nyb_error *err)
{
    json_t *old = read_json(dir, "job.json"), *new = board_describe_job(c, job);
    bool is_same = old && board_record_is(old, job) &&
                   json_equal(json_object_get(old, "version"), json_object_get(new, "version")) &&
                   json_equal(json_object_get(old, "commit"), json_object_get(new, "commit"));
    json_decref(old);
    json_decref(new);
    if (is_same && cli_exists(dir, "state.safetensors")) {
        if (nyb_train_resume(run->train, dir, err) == NYB_OK)
            return NYB_OK;
        cli_hint("%s: begun anew, as its checkpoint cannot be read: %s", dir, err->text);
        board_unbuild(run);
        NYB_TRY(board_build(c, job, run, err));
    }
    delete_file(dir, "state.safetensors");
    return NYB_OK;
}

static int fail_job(const board_job *job, const nyb_error *err)
{
    char what[300];
    snprintf(what, sizeof what, "%.100s, %.160s, seed %llu", job->model->spec, job->recipe->label,
             (unsigned long long)job->seed);
    cli_error(what, "%s", err->text);
    return CLI_FAILURE;
}

static void tell(const board_campaign *c, const board_job *job, size_t number, size_t n,
                 const json_t *record)
{
    char time[32];
    if (c->quiet)
        return;
    fprintf(stderr, "[%zu/%zu] %s  %s  seed %llu: ", number, n, job->model->spec,
            job->recipe->label, (unsigned long long)job->seed);
    if (json_is_true(json_object_get(record, "diverged")))
        fprintf(stderr, "diverged: %s\n", json_string_value(json_object_get(record, "why")));
    else
        fprintf(stderr, "%.2f %%  %s  %.0f samples/s%s\n",
                100 * json_real_value(json_object_get(record, "test_acc")),
                cli_format_time(json_real_value(json_object_get(record, "seconds")), time),
                json_real_value(json_object_get(record, "samples_per_s")),
                json_is_true(json_object_get(record, "emulated")) ? " (emulated)" : "");
}

/* Trains in a claimed folder; *record is the result, or NULL. */
static int train(const board_campaign *c, const board_job *job, const char *dir, json_t **record)
{
    nyb_error err;
    cli_job run;
    cli_progress progress;
    *record = NULL;
    nyb_status status = board_build(c, job, &run, &err);
    if (status == NYB_OK)
        status = resume(c, job, dir, &run, &err);
    if (status != NYB_OK) {
        board_unbuild(&run);
        return fail_job(job, &err);
    }
    json_t *json = board_describe_job(c, job);
    int exit_status = write_json(dir, "job.json", json);
    json_decref(json);
    if (exit_status == CLI_OK) {
        char *config = cli_job_config(&run);
        cli_progress_begin(&progress, c->quiet || !isatty(STDERR_FILENO), run.options.log_every);
        nyb_train_set_stop(run.train, cli_progress_stop, NULL);
        status = nyb_train_run(run.train, dir, config, cli_progress_event, &progress, &err);
        cli_progress_end(&progress);
        free(config);
        if (status == NYB_OK || status == NYB_NONFINITE)
            *record = describe_result(c, job, &run, status, &err);
        else
            exit_status = status == NYB_INTERRUPTED ? CLI_INTERRUPTED : fail_job(job, &err);
    }
    board_unbuild(&run);
    return exit_status;
}

/* ---- one job ------------------------------------------------------------------------------ */

/* A folder that we have claimed: finished, holding something else, or to be trained. */
static int run_claimed(board_campaign *c, const board_job *job, const char *dir, size_t number,
                       size_t n, json_t **record)
{
    *record = read_json(dir, "result.json");
    if (*record && board_record_is(*record, job)) {
        c->n_done++;
        return CLI_OK;
    }
    bool is_other = *record || (cli_exists(dir, "config.txt") && !cli_exists(dir, "job.json"));
    json_decref(*record);
    *record = NULL;
    if (is_other) {
        cli_error(dir, "holds the result of %s",
                  cli_exists(dir, "job.json")
                      ? "another definition of this recipe, or other options"
                      : "something else than `nybble bench recipes`");
        cli_hint("remove it, or name another --out");
        return CLI_FAILURE;
    }
    int exit_status = train(c, job, dir, record);
    if (!*record)
        return exit_status;
    c->n_run++;
    tell(c, job, number, n, *record);
    exit_status = write_json(dir, "result.json", *record);
    if (exit_status == CLI_OK)
        delete_file(dir, "lock"); /* who opened it before sees the result */
    return exit_status;
}

static int run_job(board_campaign *c, const board_job *job, size_t number, size_t n,
                   board_records *records)
{
    if (board_records_find(records, job)) {
        c->n_done++;
        return CLI_OK;
    }
    char *dir = board_job_dir(c->dir, job);
    int lock = claim(dir);
    json_t *record = NULL;
    int exit_status = lock == -2 ? CLI_FAILURE : CLI_OK;
    if (lock == -1)
        c->n_busy++;
    if (lock >= 0) {
        exit_status = run_claimed(c, job, dir, number, n, &record);
        close(lock);
    }
    if (record && exit_status == CLI_OK && c->results)
        exit_status = board_record_append(c->results, record);
    if (record)
        board_records_add(records, record);
    free(dir);
    return exit_status;
}

int board_run(board_campaign *c, const board_plan *plan, size_t part, size_t n_parts,
              board_records *records)
{
    for (size_t i = 0; i < plan->n_jobs; i++) {
        if (i % n_parts != part)
            continue;
        int exit_status = run_job(c, &plan->jobs[i], i + 1, plan->n_jobs, records);
        if (exit_status == CLI_INTERRUPTED)
            return exit_status;
        c->n_failed += exit_status != CLI_OK;
    }
    return c->n_failed ? CLI_FAILURE : CLI_OK;
}
