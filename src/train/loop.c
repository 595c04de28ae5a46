/* A run from start to end: epochs, evaluation, checkpoints. */
#include <math.h>
#include <sys/resource.h>
#include <time.h>

#include "train/run.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t peak_rss_bytes(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss * 1024;
}

/* ---- creation -------------------------------------------------------------------------------- */

static nyb_status check_data(const nyb_model *model, const nyb_data *data,
                             const nyb_train_options *o, nyb_error *err)
{
    size_t h, w, c;
    const size_t classes = nyb_model_classes(model);

    nyb_model_input_shape(model, &h, &w, &c);
    if (data->h != h || data->w != w || data->c != c)
        return nyb_fail(err, NYB_SHAPE, "data '%s' is %zux%zux%zu, model '%s' wants %zux%zux%zu",
                        data->name, data->h, data->w, data->c, model->name, h, w, c);
    if (data->classes > classes)
        return nyb_fail(err, NYB_SHAPE, "data '%s' has %zu classes, model '%s' has %zu", data->name,
                        data->classes, model->name, classes);
    if (o->normalize && model->layers[0].nonneg)
        return nyb_fail(err, NYB_INVALID,
                        "model '%s' declares its input >= 0, but normalize = 1 makes it signed",
                        model->name);
    return NYB_OK;
}

static nyb_status create_loaders(nyb_train *t, nyb_error *err)
{
    const nyb_augment augment = {.crop_pad = (size_t)t->options.augment_crop,
                                 .flip = t->options.augment_flip != 0,
                                 .normalize = t->options.normalize != 0};
    const size_t batch = (size_t)t->options.batch;

    NYB_TRY(
        nyb_loader_create(t->data, false, batch, &augment, t->options.seed, &t->test_loader, err));
    if (t->data->train.n < batch)
        return NYB_OK; /* to evaluate takes none */
    NYB_TRY(
        nyb_loader_create(t->data, true, batch, &augment, t->options.seed, &t->train_loader, err));
    t->next_load = UINT64_MAX;
    t->steps_per_epoch = nyb_loader_batches(t->train_loader);
    return NYB_OK;
}

nyb_status nyb_train_check_samples(const nyb_train *t, nyb_error *err)
{
    if (!t->data || t->train_loader)
        return NYB_OK;
    return nyb_fail(err, NYB_SHAPE, "data '%s' has %zu training samples, fewer than a batch (%d)",
                    t->data->name, t->data->train.n, t->options.batch);
}

static nyb_status create(nyb_train *t, nyb_error *err)
{
    NYB_TRY(nyb_graph_create(t->context, t->model, &t->recipe, (size_t)t->options.batch,
                             t->options.seed, (float)t->options.label_smoothing, &t->graph, err));
    nyb_train_round_weights(t);
    t->progress.scaler = nyb_loss_scaler_start(&t->recipe);
    t->scratch = nyb_alloc(nyb_grad_scratch_bytes(t->graph));
    if (!t->scratch)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    t->steps_per_epoch = 1;
    if (t->data) {
        NYB_TRY(check_data(t->model, t->data, &t->options, err));
        NYB_TRY(create_loaders(t, err));
    }
    return NYB_OK;
}

nyb_status nyb_train_create(nyb_context *context, const nyb_model *model, const nyb_recipe *recipe,
                            const nyb_data *data, const nyb_train_options *options,
                            nyb_train **train, nyb_error *err)
{
    nyb_train *t;
    nyb_status status;

    *train = NULL;
    NYB_TRY(nyb_check_pointers(context && model && recipe && options, err));
    NYB_TRY(nyb_train_options_check(options, err));
    t = nyb_alloc(sizeof *t);
    if (!t)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    t->context = context;
    t->model = model;
    t->data = data;
    t->recipe = *recipe;
    t->options = *options;
    t->own_rate = NAN;
    t->finish_acc = NAN;
    const uint32_t former = nyb_cpu_fp_enter();
    status = create(t, err);
    nyb_cpu_fp_restore(former);
    if (status != NYB_OK)
        nyb_train_destroy(&t);
    *train = t;
    return status;
}

void nyb_train_destroy(nyb_train **train)
{
    nyb_train *t = *train;

    if (!t)
        return;
    nyb_loader_destroy(&t->train_loader);
    nyb_loader_destroy(&t->test_loader);
    nyb_graph_destroy(&t->graph);
    nyb_free(t->scratch);
    nyb_free(t);
    *train = NULL;
}

nyb_status nyb_train_resume(nyb_train *t, const char *dir, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t && dir, err));
    const uint32_t former = nyb_cpu_fp_enter();
    const nyb_status status = nyb_state_load(t, dir, err);
    nyb_cpu_fp_restore(former);
    NYB_TRY(status);
    t->home = nyb_folder_of(dir);
    return NYB_OK;
}

/* ---- batches --------------------------------------------------------------------------------- */

nyb_status nyb_train_batch(nyb_train *t, const float **x, const int32_t **labels, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t && x && labels, err));
    if (!t->data)
        return nyb_fail(err, NYB_STATE, "this run has no data");
    NYB_TRY(nyb_train_check_samples(t, err));
    const uint64_t step = t->progress.step, at = step % t->steps_per_epoch;
    if (at == 0 || step != t->next_load)
        nyb_loader_seek(t->train_loader, (uint32_t)(step / t->steps_per_epoch), (size_t)at);
    nyb_loader_next(t->train_loader, x, labels);
    t->next_load = step + 1;
    return NYB_OK;
}

void nyb_train_get_loading(const nyb_train *t, uint64_t *n_batches, double *seconds)
{
    *n_batches = 0;
    *seconds = 0;
    if (t->train_loader)
        nyb_loader_get_work(t->train_loader, n_batches, seconds);
}

/* ---- the loop -------------------------------------------------------------------------------- */

typedef struct session {
    nyb_train *t;
    nyb_report *report; /* NULL: no run folder */
    const char *dir;
    nyb_event_fn *fn;
    void *user;
    double began;          /* clock */
    double seconds_before; /* of earlier sessions */
    uint32_t modes;        /* the caller's */
    bool stopped;
    bool unevaluated; /* stopped while it evaluated */
} session;

static nyb_event describe(const session *s, nyb_event_kind kind)
{
    const nyb_train *t = s->t;

    return (nyb_event){.kind = kind,
                       .step = t->progress.step,
                       .n_steps = nyb_train_total_steps(t),
                       .epoch = (int)((t->progress.step - 1) / t->steps_per_epoch) + 1,
                       .n_epochs = nyb_train_epochs(t),
                       .seconds = t->progress.seconds,
                       .samples_per_s =
                           t->step_seconds > 0 ? (double)t->n_step_samples / t->step_seconds : 0.0};
}

/* In the caller's floating-point modes. */
static void tell(session *s, const nyb_event *e)
{
    if (!s->fn)
        return;
    nyb_cpu_fp_restore(s->modes);
    if (s->fn(s->user, e))
        s->stopped = true;
    s->modes = nyb_cpu_fp_enter();
}

static int is_told_to_stop(void *user)
{
    session *s = user;
    const nyb_train *t = s->t;

    if (!t->stop_fn)
        return 0;
    nyb_cpu_fp_restore(s->modes);
    const int stops = t->stop_fn(t->stop_user);
    s->modes = nyb_cpu_fp_enter();
    return stops;
}

void nyb_train_set_stop(nyb_train *t, nyb_stop_fn *fn, void *user)
{
    t->stop_fn = fn;
    t->stop_user = user;
}

static void tick(session *s)
{
    s->t->progress.seconds = s->seconds_before + now() - s->began;
}

static nyb_status checkpoint(session *s, nyb_error *err)
{
    tick(s);
    if (!s->report)
        return NYB_OK;
    NYB_TRY(nyb_report_flush(s->report, err));
    NYB_TRY(nyb_state_save(s->t, s->dir, err));
    s->t->home = nyb_folder_of(s->dir);
    return NYB_OK;
}

static nyb_status one_step(session *s, const float *x, const int32_t *labels, nyb_error *err)
{
    nyb_train *t = s->t;
    nyb_graph *g = t->graph;
    const nyb_train_options *o = &t->options;
    const uint64_t log_every = o->log_every ? o->log_every : 50;
    const double began = now();
    const float rate = nyb_train_rate(t);
    double loss, n_correct;

    memcpy(g->input, x, g->batch * nyb_shape_size(t->model->layers[0].shape) * sizeof *x);
    memcpy(g->labels, labels, g->batch * sizeof *labels);
    nyb_report_measure(s->report, o->telemetry_every && t->progress.step % o->telemetry_every == 0);
    NYB_TRY(nyb_train_update(t, rate, &loss, &n_correct, err));
    nyb_report_measure(s->report, false);
    t->progress.loss_sum += loss * (double)g->batch;
    t->progress.correct += n_correct;
    t->progress.n_samples += g->batch;
    t->step_seconds += now() - began;
    t->n_step_samples += g->batch;
    tick(s);
    nyb_event e = describe(s, NYB_EVENT_STEP);
    e.loss = loss;
    e.lr = (double)rate;
    e.train_acc = t->progress.correct / (double)t->progress.n_samples;
    if (t->progress.step % log_every == 0)
        nyb_report_step(s->report, &e);
    tell(s, &e);
    return NYB_OK;
}

/* Told to stop, it leaves loss and accuracy as they were. */
static nyb_status evaluate(session *s, nyb_mode mode, double *loss, double *accuracy,
                           nyb_error *err)
{
    const nyb_status status =
        nyb_train_eval_mode(s->t, mode, is_told_to_stop, s, loss, accuracy, err);

    if (status != NYB_INTERRUPTED)
        return status;
    s->stopped = s->unevaluated = true;
    return NYB_OK;
}

/* After FNT: the accuracy as it trained, with f32 activations. */
static nyb_status eval_finish(session *s, nyb_error *err)
{
    double loss;

    if (nyb_train_mode(s->t) != NYB_MODE_FINISH || s->t->recipe.finish_keep != NYB_KEEP_WEIGHTS)
        return NYB_OK;
    return evaluate(s, NYB_MODE_EVAL_FINISH, &loss, &s->t->finish_acc, err);
}

/* A state with the sums of a whole epoch is one of a run that was stopped while it evaluated. */
static bool has_epoch_to_end(const nyb_train *t)
{
    return t->progress.step % t->steps_per_epoch == 0 && t->progress.n_samples > 0;
}

/* Evaluates, reports, and clears the epoch's sums. */
static nyb_status end_epoch(session *s, nyb_error *err)
{
    nyb_train *t = s->t;
    nyb_progress *p = &t->progress;
    nyb_event e;

    NYB_TRY(evaluate(s, NYB_MODE_EVAL, &p->test_loss, &p->test_acc, err));
    if (s->unevaluated)
        return NYB_OK;
    tick(s);
    e = describe(s, NYB_EVENT_EPOCH);
    e.train_loss = p->n_samples ? p->loss_sum / (double)p->n_samples : 0.0;
    e.train_acc = p->n_samples ? p->correct / (double)p->n_samples : 0.0;
    e.test_loss = p->test_loss;
    e.test_acc = p->test_acc;
    p->loss_sum = p->correct = 0.0;
    p->n_samples = 0;
    nyb_report_epoch(s->report, &e);
    tell(s, &e);
    return checkpoint(s, err);
}

static bool is_over(const session *s)
{
    const nyb_train *t = s->t;

    return s->stopped || t->progress.step >= nyb_train_total_steps(t) ||
           (t->options.max_steps && t->progress.step >= t->options.max_steps);
}

static nyb_status run_epoch(session *s, nyb_error *err)
{
    nyb_train *t = s->t;
    const uint64_t every = t->options.checkpoint_every;
    const float *x;
    const int32_t *labels;

    while (!is_over(s)) {
        NYB_TRY(nyb_train_batch(t, &x, &labels, err));
        NYB_TRY(one_step(s, x, labels, err));
        if (has_epoch_to_end(t))
            return end_epoch(s, err);
        if (every && t->progress.step % every == 0)
            NYB_TRY(checkpoint(s, err));
    }
    return NYB_OK;
}

/* A run that has nothing left to do leaves its folder as it is. */
static bool was_finished(const session *s)
{
    const nyb_train *t = s->t;

    return s->dir && t->progress.step >= nyb_train_total_steps(t) &&
           nyb_train_is_at_home(t, s->dir) && nyb_folder_is_finished(s->dir);
}

static nyb_status fail_stopped(const session *s, nyb_error *err)
{
    return nyb_fail(err, NYB_INTERRUPTED, "stopped after step %llu of %llu",
                    (unsigned long long)s->t->progress.step,
                    (unsigned long long)nyb_train_total_steps(s->t));
}

static nyb_status run(session *s, nyb_error *err)
{
    nyb_train *t = s->t;

    /* A run that ends before its first checkpoint can begin anew all the same; and a full disk
     * shows at once. */
    if (s->report && !nyb_train_is_at_home(t, s->dir))
        NYB_TRY(checkpoint(s, err));
    if (has_epoch_to_end(t))
        NYB_TRY(end_epoch(s, err));
    while (!is_over(s))
        NYB_TRY(run_epoch(s, err));
    if (t->progress.step >= nyb_train_total_steps(t))
        s->stopped = s->unevaluated; /* else there was nothing left to stop */
    if ((t->progress.step % t->steps_per_epoch != 0 || t->progress.step == 0) && !s->stopped)
        NYB_TRY(evaluate(s, NYB_MODE_EVAL, &t->progress.test_loss, &t->progress.test_acc, err));
    if (!s->stopped)
        NYB_TRY(eval_finish(s, err));
    NYB_TRY(checkpoint(s, err));
    t->peak_rss_bytes = peak_rss_bytes();
    if (s->stopped)
        return fail_stopped(s, err);
    if (!s->report)
        return NYB_OK;
    NYB_TRY(nyb_model_save(t, s->dir, err));
    return nyb_report_summary(t, s->dir, err);
}

nyb_status nyb_train_run(nyb_train *t, const char *dir, const char *config, nyb_event_fn *fn,
                         void *user, nyb_error *err)
{
    session s = {.t = t, .dir = dir, .fn = fn, .user = user, .began = now()};
    nyb_status status = NYB_OK;

    NYB_TRY(nyb_check_pointers(t, err));
    if (!t->data)
        return nyb_fail(err, NYB_STATE, "this run has no data");
    NYB_TRY(nyb_train_check_samples(t, err));
    s.modes = nyb_cpu_fp_enter();
    s.seconds_before = t->progress.seconds;
    if (was_finished(&s)) {
        status = eval_finish(&s, err);
        if (status == NYB_OK && s.stopped)
            status = fail_stopped(&s, err);
    } else {
        if (dir)
            status = nyb_report_open(t, dir, config, &s.report, err);
        if (status == NYB_OK)
            status = run(&s, err);
        nyb_report_close(&s.report);
    }
    nyb_cpu_fp_restore(s.modes);
    return status;
}

/* ---- looking inside -------------------------------------------------------------------------- */

void nyb_train_summarize(const nyb_train *t, nyb_train_summary *summary)
{
    const nyb_kept kept = nyb_program_kept(&t->graph->programs[NYB_MODE_TRAIN]);

    *summary = (nyb_train_summary){
        .step = t->progress.step,
        .test_acc = t->progress.test_acc,
        .test_loss = t->progress.test_loss,
        .test_acc_f32_activations = isnan(t->finish_acc) ? 0.0 : t->finish_acc,
        .seconds = t->progress.seconds,
        .samples_per_s = t->step_seconds > 0 ? (double)t->n_step_samples / t->step_seconds : 0.0,
        .saved_quantized_bytes = kept.quantized,
        .saved_quantized_f32_bytes = kept.quantized_f32,
        .saved_activation_bytes = kept.total,
        .arena_bytes = t->graph->n_arena_bytes,
        .peak_rss_bytes = t->peak_rss_bytes ? t->peak_rss_bytes : peak_rss_bytes(),
        .n_parameters = nyb_model_parameters(t->model),
    };
    if (nyb_weights_sha256(t->graph, summary->weights_sha256, NULL) != NYB_OK)
        summary->weights_sha256[0] = 0;
}

size_t nyb_train_explain_count(const nyb_train *t)
{
    return nyb_graph_explain_count(t->graph);
}

void nyb_train_explain_at(const nyb_train *t, size_t i, nyb_explain_line *line)
{
    nyb_graph_explain_at(t->graph, i, line);
}

void nyb_train_energy_at(const nyb_train *t, size_t i, nyb_energy *energy)
{
    nyb_graph_energy_at(t->graph, i, energy);
}

void nyb_train_print_plan(const nyb_train *t, FILE *out)
{
    nyb_graph_print(t->graph, out);
}

static nyb_status find_tensor(const nyb_train *t, const char *name, size_t n, nyb_param **param,
                              nyb_error *err)
{
    for (int i = 0; i < t->graph->n_params; i++) {
        nyb_param *p = &t->graph->params[i];

        if (strcmp(p->name, name))
            continue;
        if (p->n != n)
            return nyb_fail(err, NYB_SHAPE, "'%s' has %zu elements, not %zu", name, p->n, n);
        *param = p;
        return NYB_OK;
    }
    return nyb_fail(err, NYB_UNKNOWN, "model '%s' has no tensor '%s'", t->model->name, name);
}

size_t nyb_train_tensor_count(const nyb_train *t)
{
    return (size_t)t->graph->n_params;
}

nyb_status nyb_train_tensor_at(const nyb_train *t, size_t i, nyb_tensor_info *info, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t && info, err));
    if (i >= nyb_train_tensor_count(t))
        return nyb_fail(err, NYB_UNKNOWN, "there is no tensor %zu", i);
    const nyb_param *p = &t->graph->params[i];

    *info =
        (nyb_tensor_info){.name = p->name, .n = p->n, .n_dims = p->n_dims, .trained = p->trained};
    memcpy(info->dims, p->dims, sizeof info->dims);
    return NYB_OK;
}

nyb_status nyb_train_get_tensor(const nyb_train *t, const char *name, float *values, size_t n,
                                nyb_error *err)
{
    nyb_param *p = NULL;

    NYB_TRY(nyb_check_pointers(t && name && values, err));
    NYB_TRY(find_tensor(t, name, n, &p, err));
    nyb_param_export(p, p->value, values);
    return NYB_OK;
}

nyb_status nyb_train_set_tensor(nyb_train *t, const char *name, const float *values, size_t n,
                                nyb_error *err)
{
    nyb_param *p = NULL;

    NYB_TRY(nyb_check_pointers(t && name && values, err));
    NYB_TRY(find_tensor(t, name, n, &p, err));
    nyb_param_import(p, values, p->value);
    const int gemm = t->model->layers[p->layer].gemm;
    if (p->rule)
        nyb_graph_begin_learned(t->graph, p);
    else if (gemm >= 0 && p->index == 0)
        t->graph->weight_scale[gemm] = 0.0f;
    nyb_graph_begin_means(t->graph, p);
    return NYB_OK;
}
