/* nybble bench step: a whole training step of a model. */
#include <stdlib.h>

#include "bench.h"

typedef struct step {
    nyb_train *train;
    float *x;
    int32_t *labels;
} step;

static nyb_status run_step(void *arg, nyb_error *err)
{
    step *s = arg;
    double loss;
    return nyb_train_step(s->train, s->x, s->labels, &loss, err);
}

static int measure_step(cli_job *job, const cli_input *input, const bench_values *v)
{
    nyb_error err;
    size_t batch = (size_t)job->options.batch;
    step s = {.train = job->train};
    s.x = bench_make_values(batch, input->h * input->w * input->c, 1);
    s.labels = cli_alloc(batch, sizeof *s.labels);
    for (size_t i = 0; i < batch; i++)
        s.labels[i] = (int32_t)(i % input->classes);
    for (size_t i = 0; input->nonneg && i < batch * input->h * input->w * input->c; i++)
        s.x[i] = s.x[i] < 0 ? -s.x[i] : s.x[i];
    bench_line l = {.name = job->model_spec,
                    .unit = "samples",
                    .engine = "",
                    .kernel = nyb_recipe_name(job->recipe),
                    .work = (double)batch};
    nyb_status status = bench_measure(run_step, &s, v, &l.spread, &err);
    bench_limits limits;
    bench_split *split = NULL;
    bench_limits_init(&limits, job->context, v);
    if (status == NYB_OK && (v->split || v->layers || v->json))
        status = bench_split_measure(job->train, run_step, &s, &limits, v, &split, &err);
    if (status == NYB_OK && split && job->data)
        status = bench_split_feed(split, job->train, v, &err);
    free(s.x);
    free(s.labels);
    if (status != NYB_OK) {
        bench_split_destroy(&split);
        return cli_fail("bench step", &err);
    }
    nyb_train_summary summary;
    nyb_train_summarize(job->train, &summary);
    json_t *extra = json_pack(
        "{s:o, s:o, s:s, s:I, s:I, s:I, s:I}", "model", cli_json_string(job->model_spec), "recipe",
        cli_json_string(nyb_recipe_name(job->recipe)), "input", v->input, "batch",
        (json_int_t)batch, "saved_activation_bytes", (json_int_t)summary.saved_activation_bytes,
        "arena_bytes", (json_int_t)summary.arena_bytes, "step_bytes",
        (json_int_t)(summary.arena_bytes - 3 * sizeof(float) * summary.n_parameters));
    if (split) {
        json_object_set_new(extra, "split", bench_split_json(split));
        json_object_set_new(extra, "limits", bench_limits_json(&limits));
    }
    int exit_status = bench_report(job->context, "step", &l, 1, v->json, extra);
    if (split && !v->json && exit_status == CLI_OK) {
        bench_split_print(split, v->split, v->layers);
        exit_status = cli_close_output();
    }
    bench_split_destroy(&split);
    return exit_status;
}

/* Images for the loader, as many as make some batches an epoch; none where no data set could be so.
 */
#define EPOCH_BATCHES 8

static int open_images(cli_job *job, const cli_input *input)
{
    char spec[256];
    cli_input same;
    if (input->c > 4 || input->h > 1024 || input->w > 1024 || input->classes < 2)
        return CLI_OK;
    snprintf(spec, sizeof spec, "synthetic:h=%zu,w=%zu,c=%zu,classes=%zu,train=%zu,test=1",
             input->h, input->w, input->c, input->classes < 256 ? input->classes : 256,
             EPOCH_BATCHES * (size_t)job->options.batch);
    job->data_spec = spec;
    int exit_status = cli_job_open_data(job, &same);
    job->data_spec = NULL;
    return exit_status;
}

int bench_step(const cli_args *args, const bench_values *v)
{
    if (!v->model) {
        cli_error("bench step", "--model is needed");
        cli_hint("nybble bench --help");
        return CLI_USAGE;
    }
    cli_job job = {
        .cpu = v->cpu, .threads = v->threads, .model_spec = v->model, .recipe_spec = v->recipe};
    cli_input input;
    int exit_status = cli_job_set_options(&job, args);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_recipe(&job, &v->set);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_context(&job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_parse_input(&job, v->input, v->classes, &input);
    if (exit_status == CLI_OK && (v->split || v->json))
        exit_status = open_images(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = cli_job_build(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = measure_step(&job, &input, v);
    cli_job_close(&job);
    return exit_status;
}
