/* How fast recipes train, in turns: nothing else should run meanwhile. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "board.h"

#define ROUNDS 5

/* Steps on a made-up batch for at least so many seconds; samples per second. */
static nyb_status run_steps(nyb_train *train, const float *x, const int32_t *labels, size_t batch,
                            double seconds, double *rate, nyb_error *err)
{
    double loss;
    size_t n = 0;
    NYB_TRY(nyb_train_step(train, x, labels, &loss, err)); /* memory is touched, caches are warm */
    double began = cli_now(), now = began;
    while (n == 0 || now - began < seconds) {
        NYB_TRY(nyb_train_step(train, x, labels, &loss, err));
        n++;
        now = cli_now();
    }
    *rate = (double)(n * batch) / (now - began);
    return NYB_OK;
}

/* *summary: of the memory that steps need. */
static nyb_status time_once(const board_campaign *c, const board_job *job, double seconds,
                            double *rate, nyb_train_summary *summary, nyb_error *err)
{
    cli_job run;
    nyb_status status = board_build(c, job, &run, err);
    *rate = 0;
    if (status == NYB_OK && !board_is_emulated(run.train)) {
        size_t batch = (size_t)run.options.batch, size = c->input.h * c->input.w * c->input.c;
        float *x = bench_make_values(batch, size, 1);
        int32_t *labels = cli_alloc(batch, sizeof *labels);
        for (size_t i = 0; i < batch; i++)
            labels[i] = (int32_t)(i % c->input.classes);
        for (size_t i = 0; !run.options.normalize && i < batch * size; i++)
            x[i] = x[i] < 0 ? -x[i] : x[i];
        status = run_steps(run.train, x, labels, batch, seconds, rate, err);
        nyb_train_summarize(run.train, summary);
        free(x);
        free(labels);
    }
    board_unbuild(&run);
    return status;
}

/* Appends the record of one job's median. */
static int record(const board_campaign *c, const board_job *job, double *rates,
                  const nyb_train_summary *s, board_records *records)
{
    json_t *json = board_describe_job(c, job);
    double median = cli_quantile(rates, ROUNDS, 0.5);
    json_object_del(json, "seed");
    json_object_update_new(
        json, json_pack("{s:s, s:f, s:f, s:f, s:I, s:I}", "kind", "time", "samples_per_s", median,
                        "samples_per_s_min", rates[0], "samples_per_s_max", rates[ROUNDS - 1],
                        "saved_activation_bytes", (json_int_t)s->saved_activation_bytes,
                        "saved_quantized_bytes", (json_int_t)s->saved_quantized_bytes));
    if (!c->quiet)
        fprintf(stderr, "%s  %s: %.0f samples/s (%.0f .. %.0f)\n", job->model->spec,
                job->recipe->label, median, rates[0], rates[ROUNDS - 1]);
    char *path = board_times_path(c->dir);
    int exit_status = CLI_FAILURE;
    if (c->results || board_make_dir(c->dir))
        exit_status = board_record_append(c->results ? c->results : path, json);
    else
        cli_error(c->dir, "%s", strerror(errno));
    free(path);
    board_records_add(records, json);
    return exit_status;
}

char *board_times_path(const char *dir)
{
    return cli_join(dir, "times.jsonl");
}

int board_time(const board_campaign *c, const board_plan *plan, double seconds,
               board_records *records)
{
    size_t n = plan->n_models * plan->n_recipes;
    const board_job **jobs = cli_alloc(n + 1, sizeof *jobs);
    double(*rates)[ROUNDS] = cli_alloc(n + 1, sizeof *rates);
    nyb_train_summary *summaries = cli_alloc(n + 1, sizeof *summaries);
    int exit_status = CLI_OK;
    n = 0;
    for (size_t i = 0; i < plan->n_jobs; i++)
        if (plan->jobs[i].seed == plan->seeds[0])
            jobs[n++] = &plan->jobs[i];
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < n; i++) {
            nyb_error err;
            if (jobs[i] && time_once(c, jobs[i], seconds / ROUNDS, &rates[i][round], &summaries[i],
                                     &err) != NYB_OK) {
                exit_status = cli_fail(jobs[i]->recipe->label, &err);
                jobs[i] = NULL;
            } else if (jobs[i] && !(rates[i][round] > 0)) {
                jobs[i] = NULL; /* emulated: its time says nothing */
            }
        }
    for (size_t i = 0; i < n; i++)
        if (jobs[i] && record(c, jobs[i], rates[i], &summaries[i], records) != CLI_OK)
            exit_status = CLI_FAILURE;
    free(jobs);
    free(rates);
    free(summaries);
    return exit_status;
}
