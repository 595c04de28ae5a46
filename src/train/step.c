/* One update: forward, backward, finiteness, clipping, SGD. */
#include <float.h>
#include <math.h>

#include "train/run.h"

int nyb_train_epochs(const nyb_train *t)
{
    return t->options.epochs +
           (t->recipe.finish_span == NYB_SPAN_FURTHER ? t->recipe.finish_epochs : 0);
}

/* Steps before the finishing epochs. */
static uint64_t plain_steps(const nyb_train *t)
{
    const int n = nyb_train_epochs(t) - t->recipe.finish_epochs;

    return n > 0 ? t->steps_per_epoch * (uint64_t)n : 0;
}

uint64_t nyb_train_total_steps(const nyb_train *t)
{
    return t->steps_per_epoch * (uint64_t)nyb_train_epochs(t);
}

nyb_mode nyb_train_mode(const nyb_train *t)
{
    return t->data && t->recipe.finish_epochs > 0 && t->progress.step >= plain_steps(t)
               ? NYB_MODE_FINISH
               : NYB_MODE_TRAIN;
}

static nyb_schedule_kind schedule_kind(const char *word)
{
#define X(constant, name, sentence)                                                                \
    if (!strcmp(word, name))                                                                       \
        return constant;
    NYB_SCHEDULE_LIST(X)
#undef X
    return NYB_SCHEDULE_CONSTANT; /* options are checked when set */
}

float nyb_train_rate(const nyb_train *t)
{
    const uint64_t n = t->steps_per_epoch * (uint64_t)t->options.epochs, step = t->progress.step;
    const nyb_schedule schedule = {.kind = schedule_kind(t->options.schedule),
                                   .base = t->options.lr,
                                   .n_steps = n,
                                   .n_warmup =
                                       (uint64_t)(t->options.warmup * (double)t->steps_per_epoch),
                                   .gamma = 0.1,
                                   .milestones = {0.5, 0.75}};

    if (!t->data) /* there are no epochs */
        return (float)t->options.lr;
    if (step < n || nyb_train_epochs(t) == t->options.epochs)
        return nyb_schedule_rate(&schedule, step < n || n == 0 ? step : n - 1);
    /* Without epochs before it FNT climbs from 0. */
    return nyb_schedule_fnt(n > 0 ? (double)nyb_schedule_rate(&schedule, n - 1) : 0.0,
                            t->recipe.finish_lr, step - n,
                            t->steps_per_epoch * (uint64_t)t->recipe.finish_epochs);
}

/* Learned scales stay in f32. */
static bool rounds(const nyb_train *t, const nyb_param *p)
{
    return p->trained && !p->rule && nyb_update_rounds(&t->recipe.update);
}

void nyb_train_round_weights(nyb_train *t)
{
    for (int i = 0; i < t->graph->n_params; i++) {
        const nyb_param *p = &t->graph->params[i];

        if (!rounds(t, p))
            continue;
        nyb_update_round(t->context, &t->recipe.update, p->value, p->n);
        nyb_graph_begin_means(t->graph, p);
    }
}

/* A learned scale at most halves or doubles in a step, so it never gets to zero. Beyond zero all
 * weights would round to nothing, the gradient behind a batchnorm would be thousands of times too
 * large, and the next step would throw the scale far above all weights, for good. NaN stays. */
static void limit_scale(float before, float *scale)
{
    if (!(before > 0.0f))
        return;
    if (*scale < 0.5f * before)
        *scale = 0.5f * before;
    if (*scale > 2.0f * before)
        *scale = 2.0f * before;
}

static void update(nyb_train *t, float rate)
{
    const nyb_sgd sgd = {.momentum = (float)t->options.momentum,
                         .nesterov = t->options.nesterov != 0,
                         .weight_decay = (float)t->options.weight_decay};

    for (int i = 0; i < t->graph->n_params; i++) {
        nyb_param *p = &t->graph->params[i];
        const nyb_stream stream = {
            .seed = t->graph->seed, .step = (uint32_t)t->progress.step, .tensor = (uint32_t)i};

        const float before = p->value[0];

        if (!p->learns)
            continue;
        if (rounds(t, p))
            nyb_sgd_run_rounded(t->context, &sgd, &t->recipe.update, &stream, rate, p->decay,
                                p->value, p->momentum, p->gradient, p->n);
        else
            nyb_sgd_run(t->context, &sgd, rate, p->decay, p->value, p->momentum, p->gradient, p->n);
        if (p->rule)
            limit_scale(before, &p->value[0]);
    }
    for (int i = 0; i < t->graph->n_params; i++) {
        const nyb_param *p = &t->graph->params[i];

        if (p->mean_of && p->mean_of->learns)
            nyb_mean_run(t->context, t->recipe.fwd_w.ema, p->mean_of->value, p->value, p->n);
    }
}

/* Names step and layer of the first NaN or Inf. */
static nyb_status report_nonfinite(nyb_train *t, nyb_mode mode, double loss, nyb_error *err)
{
    nyb_graph *g = t->graph;
    const int seen = g->nonfinite_layer;
    const nyb_slot slot = g->nonfinite_slot;
    const int layer = nyb_graph_find_nonfinite(g, mode, (uint32_t)t->progress.step);

    memcpy(g->small, g->small_backup, g->n_small_bytes);
    if (layer >= 0)
        return nyb_fail(err, NYB_NONFINITE,
                        "step %llu: loss %g: the output of layer '%s' is the first with NaN or Inf",
                        (unsigned long long)t->progress.step, loss, g->model->layers[layer].name);
    if (seen >= 0)
        return nyb_fail(err, NYB_NONFINITE, "step %llu: loss %g: NaN or Inf in %s of layer '%s'",
                        (unsigned long long)t->progress.step, loss, nyb_slot_name(slot),
                        g->model->layers[seen].name);
    return nyb_fail(err, NYB_NONFINITE, "step %llu: loss %g: NaN or Inf in the gradients",
                    (unsigned long long)t->progress.step, loss);
}

/* As if the step had not been: BN buffers and the memory of scale rules, too. */
static nyb_status skip(nyb_train *t)
{
    nyb_graph *g = t->graph;

    memcpy(g->small, g->small_backup, g->n_small_bytes);
    t->progress.n_skipped++;
    t->progress.step++;
    return NYB_OK;
}

/* What the gradients say: the scale of the loss is taken back from them. */
typedef struct verdict {
    bool finite;
    bool overflow; /* a smaller scale of the loss may help: skip this update */
    double norm;   /* if they are to be clipped */
} verdict;

static verdict judge(nyb_train *t, nyb_mode mode, bool forward_finite)
{
    const nyb_graph *g = t->graph;
    const nyb_loss_scale kind = t->recipe.loss_scale;
    nyb_loss_scaler *scaler = &t->progress.scaler;
    const float scale = scaler->scale;
    verdict v = {.finite = forward_finite && g->n_nonfinite == 0};

    /* Infinities would be in the weights before the next loss shows them, and relu may hide them
     * from it; rounded updates would turn NaN into numbers: look before. */
    if (v.finite && (kind != NYB_LOSS_SCALE_NONE || nyb_update_rounds(&t->recipe.update) ||
                     t->recipe.nonfinite != NYB_POLICY_CONTINUE))
        v.finite = nyb_grad_finite(g);
    if (kind == NYB_LOSS_SCALE_DYNAMIC && forward_finite) {
        const bool fits = v.finite && !nyb_grad_saturated(g, mode);

        if (fits || scale > NYB_LOSS_SCALE_MIN)
            v.overflow = !nyb_loss_scaler_judge(scaler, fits);
    }
    if (v.overflow)
        return v;
    if (scale != 1.0f)
        nyb_grad_scale(g, 1.0f / scale);
    if (t->options.clip_norm > 0.0)
        v.norm = nyb_grad_norm(g, t->scratch);
    v.finite = v.finite && isfinite(v.norm);
    return v;
}

nyb_status nyb_train_update(nyb_train *t, float rate, double *loss, double *n_correct,
                            nyb_error *err)
{
    nyb_graph *g = t->graph;
    const nyb_mode mode = nyb_train_mode(t);
    const uint32_t step = (uint32_t)t->progress.step;
    bool forward_finite;
    verdict v;

    memcpy(g->small_backup, g->small, g->n_small_bytes);
    nyb_graph_forward(g, mode, step);
    *loss = g->result[0];
    *n_correct = g->result[1];
    forward_finite = isfinite(*loss) && g->n_nonfinite == 0;
    g->loss.loss_scale = t->progress.scaler.scale;
    nyb_graph_backward(g, mode, step);
    nyb_train_trace_part(t, NYB_TRAIN_PART_GRADIENTS);
    v = judge(t, mode, forward_finite);
    if (v.overflow)
        return skip(t);
    if (!v.finite) {
        switch (t->recipe.nonfinite) {
        case NYB_POLICY_STOP:
            return report_nonfinite(t, mode, *loss, err);
        case NYB_POLICY_SKIP:
            return skip(t);
        case NYB_POLICY_CONTINUE:
            break;
        }
    }
    nyb_grad_clip(g, v.norm, t->options.clip_norm);
    nyb_train_trace_part(t, NYB_TRAIN_PART_UPDATE);
    update(t, rate);
    nyb_graph_forget_codes(g);
    t->progress.step++;
    return NYB_OK;
}

nyb_status nyb_train_step(nyb_train *t, const float *x, const int32_t *labels, double *loss,
                          nyb_error *err)
{
    double mean, n_correct;
    nyb_status status;

    NYB_TRY(nyb_check_pointers(t && x && labels, err));
    NYB_TRY(nyb_train_check_samples(t, err));
    nyb_graph *g = t->graph;
    const size_t classes = nyb_model_classes(t->model);
    for (size_t i = 0; i < g->batch; i++)
        if (labels[i] < 0 || (size_t)labels[i] >= classes)
            return nyb_fail(err, NYB_INVALID, "label %d of sample %zu is not in 0..%zu",
                            (int)labels[i], i, classes - 1);
    const size_t n_parts = nyb_train_trace_count(t);
    g->trace_fn = t->trace_fn;
    g->trace_user = t->trace_user;
    nyb_train_trace_part(t, NYB_TRAIN_PART_INPUT);
    memcpy(g->input, x, g->batch * nyb_shape_size(g->model->layers[0].shape) * sizeof *x);
    memcpy(g->labels, labels, g->batch * sizeof *labels);
    const uint32_t former = nyb_cpu_fp_enter();
    status = nyb_train_update(t, isnan(t->own_rate) ? nyb_train_rate(t) : (float)t->own_rate,
                              loss ? loss : &mean, &n_correct, err);
    nyb_cpu_fp_restore(former);
    nyb_graph_trace(g, n_parts);
    g->trace_fn = NULL;
    return status;
}

nyb_status nyb_train_set_lr(nyb_train *t, double lr, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(t, err));
    if (!(lr >= 0.0 && lr <= (double)FLT_MAX))
        return nyb_fail(err, NYB_INVALID, "a learning rate of %g", lr);
    t->own_rate = lr;
    return NYB_OK;
}
