/* Steps of operands that are rounded real values: rounding, taps, straight-through estimates. */
#include "graph/graph.h"

nyb_slot_state *nyb_slot_state_of(const nyb_graph *g, const nyb_quant *q)
{
    return &g->slots[(size_t)g->model->layers[q->layer].gemm * NYB_SLOTS + q->slot];
}

int nyb_graph_find_learned(const nyb_graph *g, int layer, nyb_slot slot)
{
    for (int i = 0; i < g->n_params; i++)
        if (g->params[i].rule && g->params[i].layer == layer && g->params[i].index == (int)slot)
            return i;
    return -1;
}

void nyb_graph_begin_learned(nyb_graph *g, const nyb_param *p)
{
    const size_t gemm = (size_t)g->model->layers[p->layer].gemm;

    g->slots[gemm * NYB_SLOTS + (size_t)p->index].started = p->value[0] != 0.0f ? 1.0f : 0.0f;
}

float *nyb_learned_params(nyb_graph *g, const nyb_quant *q, const float *x, bool training,
                          float copy[NYB_SCALE_PARAMS_MAX], void *scratch)
{
    nyb_slot_state *state = nyb_slot_state_of(g, q);
    nyb_group_stats stats;
    float *params;

    if (q->param < 0)
        return NULL;
    params = g->params[q->param].value;
    if (state->started != 0.0f)
        return params;
    stats = nyb_round_stats(g->context, q->spec.scale, x, q->view.rows * q->view.cols, scratch);
    if (!training)
        params = copy;
    q->spec.scale->init(q->spec.format, &stats, params);
    if (training)
        state->started = 1.0f;
    return params;
}

nyb_stream nyb_quant_stream(const nyb_graph *g, const nyb_quant *q, uint32_t step)
{
    return (nyb_stream){.seed = g->seed,
                        .step = step,
                        .tensor = (uint32_t)g->model->layers[q->layer].gemm,
                        .role = q->role,
                        .sample = q->sample};
}

/* The signs of a random mix are those of the product, for both operands. */
static nyb_stream signs_of(const nyb_graph *g, const nyb_quant *q, uint32_t step)
{
    nyb_stream s = nyb_quant_stream(g, q, step);

    s.role = NYB_RNG_HADAMARD;
    s.sample = q->product;
    return s;
}

void nyb_run_moments(nyb_graph *g, nyb_quant *q, const float *x, size_t rows, size_t cols,
                     void *scratch)
{
    const uint64_t before = g->n_nonfinite;

    if (q->block_moments)
        nyb_moments_total(q->block_moments, nyb_moments_blocks(rows, cols), rows * cols,
                          &q->moments);
    else
        nyb_moments_run(g->context, x, rows, cols, scratch, &q->moments);
    g->n_nonfinite += q->moments.n_nan + q->moments.n_inf;
    if (before == 0 && g->n_nonfinite > 0) {
        g->nonfinite_layer = q->layer;
        g->nonfinite_slot = q->slot;
    }
}

/* The exponential mean of the clips that training saw: what evaluation uses (frozen). */
void nyb_observe_clip(const nyb_graph *g, const nyb_quant *q, float clip)
{
    nyb_slot_state *state = nyb_slot_state_of(g, q);
    const float decay = g->recipe.eval_decay;

    if (q->slot != NYB_SLOT_FWD_X || q->param >= 0 || !(clip > 0.0f))
        return;
    state->clip_mean =
        state->started != 0.0f ? decay * state->clip_mean + (1.0f - decay) * clip : clip;
    state->started = 1.0f;
}

/* values = the mean of q->samples draws of x; source, draw: two more tensors, where more than one
 * is drawn. */
static void average(nyb_graph *g, const nyb_quant *q, nyb_round_job *job, nyb_stream *stream,
                    float *values, float *source, float *draw, void *scratch)
{
    const size_t n = q->view.rows * q->view.cols;
    const float share = 1.0f / (float)q->samples;
    float state[NYB_SCALE_STATE_MAX];

    memcpy(source, values, n * sizeof *source);
    for (int sample = 1; sample < q->samples; sample++) {
        memcpy(state, job->state, sizeof state);
        nyb_round_job other = *job;
        other.state = state;
        stream->sample = (uint8_t)sample;
        nyb_round_run(g->context, &other, source, sample == 1 ? values : draw, scratch);
        if (sample > 1)
            for (size_t i = 0; i < n; i++)
                values[i] += draw[i];
    }
    stream->sample = 0;
    nyb_round_run(g->context, job, source, draw, scratch);
    for (size_t i = 0; i < n; i++)
        values[i] = (values[i] + draw[i]) * share;
}

/* What a rounding needs beside x and the place of its result. */
typedef struct rounding {
    nyb_round_job job;
    nyb_stream stream, signs;
    nyb_slot_state untouched; /* of evaluation, which changes nothing */
    float copy[NYB_SCALE_PARAMS_MAX];
} rounding;

static void rounding_init(nyb_graph *g, const nyb_quant *q, const float *x, bool training,
                          uint32_t step, void *scratch, rounding *r)
{
    nyb_slot_state *state = nyb_slot_state_of(g, q);

    r->stream = nyb_quant_stream(g, q, step);
    r->signs = signs_of(g, q, step);
    r->untouched = *state;
    r->job = (nyb_round_job){.spec = &q->spec,
                             .view = q->view,
                             .stream = &r->stream,
                             .signs = &r->signs,
                             .pre = q->pre,
                             .post = q->post,
                             .state = training && q->sample == 0 ? state->rule : r->untouched.rule};
    r->job.params = nyb_learned_params(g, q, x, training, r->copy, scratch);
    r->job.toward = q->mean >= 0 ? g->params[q->mean].value : NULL;
    if (!training && q->slot == NYB_SLOT_FWD_X && g->recipe.eval_scale == NYB_EVAL_FROZEN &&
        q->spec.scale->choose && state->started != 0.0f)
        r->job.clip = state->clip_mean;
}

/* Rounds x to values, or to the codes of q; first: index of its first element in the stream;
 * reflection: memory, if q reflects. */
static void round_values(nyb_graph *g, nyb_quant *q, const float *x, float *values, uint64_t first,
                         void *reflection, bool training, uint32_t step, void *scratch)
{
    const size_t n = q->view.rows * q->view.cols;
    nyb_group_scale chosen = {0};
    rounding r;

    rounding_init(g, q, x, training, step, scratch, &r);
    r.job.first = first;
    if (q->groups) {
        nyb_round_codes(g->context, &r.job, x, q->taps, &q->grouped, scratch);
        return;
    }
    r.job.scales = q->spec.group == NYB_GROUP_TENSOR ? &chosen : NULL;
    r.job.reflection = &q->reflection;
    r.job.reflection_memory = reflection;
    if (q->packs) {
        nyb_round_pack(g->context, &r.job, x, values, &q->packed, scratch);
    } else if (q->samples > 1) {
        float *source =
            (float *)((uint8_t *)scratch +
                      nyb_round_up(nyb_round_scratch_bytes(&q->spec, &q->view), NYB_ALIGN));

        if (x != values)
            memcpy(values, x, n * sizeof *values);
        average(g, q, &r.job, &r.stream, values, source, source + n, scratch);
    } else {
        nyb_round_run(g->context, &r.job, x, values, scratch);
    }
    if (q->unmixes)
        nyb_round_unmix(g->context, &r.job, values);
    if (training && q->spec.scale->choose)
        nyb_observe_clip(g, q, chosen.scale * q->spec.format->max);
}

typedef struct decode_job {
    const nyb_grouped *grouped;
    float *values;
    size_t rows; /* of a task */
} decode_job;

static void decode_task(void *arg, size_t task, size_t worker)
{
    const decode_job *job = arg;
    const nyb_packed *p = &job->grouped->packed;
    const size_t first = task * job->rows;

    (void)worker;
    nyb_grouped_decode_rows(job->grouped, first, nyb_min(job->rows, p->rows - first),
                            job->values + first * p->cols);
}

static void decode(nyb_graph *g, const nyb_grouped *grouped, float *values)
{
    const nyb_packed *p = &grouped->packed;
    decode_job job = {grouped, values, nyb_max(8192 / nyb_max(p->cols, 1), 1)};

    nyb_pool_run(g->context->pool, decode_task, &job, nyb_div_up(p->rows, job.rows));
}

/* The values of an earlier quant, mixed as they are. */
static void copy_values(nyb_graph *g, nyb_program *p, const nyb_quant *from, float *values)
{
    if (nyb_quant_is_packed(from))
        nyb_packed_decode(&from->packed, values);
    else if (from->groups)
        decode(g, &from->grouped, values);
    else
        memcpy(values, p->buffers[from->values].memory,
               from->view.rows * from->view.cols * sizeof *values);
}

/* For telemetry, which alone allocates: what grouped codes stand for, in the tensor's order. */
static void measure_codes(nyb_graph *g, const nyb_quant *q, const float *x)
{
    const nyb_packed *p = &q->grouped.packed;
    const size_t channels = q->view.cols / q->taps;
    const bool down = q->view.down && q->spec.group != NYB_GROUP_TILE16;
    float *decoded = nyb_alloc(p->rows * p->cols * sizeof *decoded);
    float *values = nyb_alloc(q->view.rows * q->view.cols * sizeof *values);

    if (decoded && values) {
        decode(g, &q->grouped, decoded);
        for (size_t row = 0; down && row < q->view.rows; row++)
            for (size_t col = 0; col < q->view.cols; col++) {
                const size_t out = col % channels * q->taps + col / channels;

                values[row * q->view.cols + col] = decoded[out * p->cols + row];
            }
        g->measure_fn(g->measure_user, q, x, down ? values : decoded);
    }
    nyb_free(decoded);
    nyb_free(values);
}

void nyb_run_round(nyb_graph *g, nyb_program *p, const nyb_step *s, bool training, uint32_t step)
{
    nyb_quant *q = &p->quants[s->quant];
    const float *real = p->buffers[q->real].memory, *x = real;
    const int stored = q->values >= 0 ? q->values : s->in[1];
    float *values = stored >= 0 ? p->buffers[stored].memory : NULL;

    if (q->sample == 0) /* else those of the first draw */
        nyb_run_moments(g, q, real, q->view.rows, q->view.cols, s->args.scratch);
    if (q->from >= 0) {
        float *again = q->groups ? p->buffers[s->in[0]].memory : values;

        copy_values(g, p, &p->quants[q->from], again);
        x = again;
    }
    round_values(g, q, x, values, 0, q->reflects >= 0 ? p->buffers[q->reflects].memory : NULL,
                 training, step, s->args.scratch);
    if (g->measure && q->groups) {
        measure_codes(g, q, real);
    } else if (g->measure && q->reflects >= 0) {
        nyb_packed_decode(&q->packed, values);
        nyb_householder_invert(g->context, &q->reflection, values, q->view.run, values);
        g->measure_fn(g->measure_user, q, real, values);
    } else if (g->measure)
        g->measure_fn(g->measure_user, q, real, q->packs ? NULL : values);
}

/* ---- other orders -----------------------------------------------------------------------------
 */

static nyb_window window_of(const nyb_conv_shape *c)
{
    return (nyb_window){c->h, c->w, c->oh, c->ow, c->r, c->s, c->stride, c->pad};
}

void nyb_run_regroup(nyb_graph *g, nyb_program *p, const nyb_step *s)
{
    nyb_quant *q = &p->quants[s->quant];
    const nyb_quant *of = &p->quants[q->order_of];
    const nyb_window window = window_of(&s->shape);

    q->grouped.packed.scale = of->grouped.packed.scale;
    switch (q->order) {
    case NYB_ORDER_OWN:
        return;
    case NYB_ORDER_ROWS:
        if (q->codes != of->codes)
            nyb_regroup_rows(g->context, &of->grouped, &q->grouped);
        return;
    case NYB_ORDER_TURNED:
        nyb_regroup_turn(g->context, &of->grouped, q->taps, &q->grouped);
        return;
    case NYB_ORDER_WINDOWS:
        nyb_regroup_windows(g->context, &of->grouped, &window, &q->grouped);
        return;
    }
}

/* ---- taps -------------------------------------------------------------------------------------
 */

typedef struct gather {
    const nyb_conv_shape *shape;
    const float *x;
    float *patch;
    size_t r, s;
} gather;

/* Row `task` of output pixels (of all images): x under one tap, zeros outside. */
static void gather_task(void *arg, size_t task, size_t worker)
{
    const gather *w = arg;
    const nyb_conv_shape *c = w->shape;
    const size_t image = task / c->oh, oh = task % c->oh;
    const size_t y = oh * c->stride + w->r - c->pad; /* wraps below 0: then >= h */
    float *out = w->patch + task * c->ow * c->c;

    (void)worker;
    for (size_t ow = 0; ow < c->ow; ow++, out += c->c) {
        const size_t x = ow * c->stride + w->s - c->pad;

        if (y < c->h && x < c->w)
            memcpy(out, w->x + ((image * c->h + y) * c->w + x) * c->c, c->c * sizeof *out);
        else
            memset(out, 0, c->c * sizeof *out);
    }
}

/* The products of all taps; levels: scales of the taps, or NULL: one for all. */
static void run_tap_products(nyb_graph *g, const nyb_step *s, const nyb_quant *q,
                             const float *levels)
{
    nyb_group_conv_run_taps(s->group, g->context, 0, s->shape.r * s->shape.s, s->a_grouped,
                            &q->grouped, levels, false, s->args.out, s->args.scratch);
}

/* All taps rounded in one pass over x, then their products. */
static void run_windows(nyb_graph *g, nyb_program *p, const nyb_step *s, const float *x,
                        uint32_t at)
{
    nyb_quant *q = &p->quants[s->quant];
    const nyb_window window = window_of(&s->shape);
    float *levels = p->buffers[s->tap].memory;
    rounding r;

    rounding_init(g, q, x, true, at, s->args.scratch, &r);
    nyb_round_windows(g->context, &r.job, x, &window, &q->grouped, levels, s->args.scratch);
    run_tap_products(g, s, q, levels);
}

static void run_tap(nyb_graph *g, nyb_program *p, const nyb_step *s, size_t tap, uint32_t at)
{
    const nyb_conv_shape *c = &s->shape;
    const nyb_stream stream = nyb_sum_stream(g, s, tap, at);
    float *dw;

    if (s->group) {
        nyb_group_conv_run_taps(s->group, g->context, tap, 1, s->a_grouped, s->b_grouped, NULL,
                                false, s->args.out, s->args.scratch);
        return;
    }
    dw = p->buffers[s->tap].memory;
    nyb_conv_run(s->conv, g->context, s->a_bound, &s->b_bound, NULL, false, &stream, dw,
                 s->args.scratch);
    for (size_t o = 0; o < c->o; o++)
        memcpy(s->args.out + (o * c->r * c->s + tap) * c->c, dw + o * c->c, c->c * sizeof *dw);
}

void nyb_run_taps(nyb_graph *g, nyb_program *p, nyb_step *s, uint32_t at)
{
    nyb_quant *q = &p->quants[s->quant];
    const nyb_conv_shape *c = &s->shape;
    const float *x = p->buffers[q->real].memory;

    if (q->order == NYB_ORDER_WINDOWS) {
        run_tap_products(g, s, q, NULL);
        return;
    }
    if (q->from >= 0) { /* mixes of the forward lie along c: zeros beside the images stay zeros */
        float *values = p->buffers[s->in[0]].memory;

        copy_values(g, p, &p->quants[q->from], values);
        x = values;
    }
    if (q->windows) {
        run_windows(g, p, s, x, at);
        return;
    }
    float *patch = p->buffers[q->values >= 0 ? q->values : s->in[1]].memory;
    gather w = {.shape = c, .x = x, .patch = patch};

    for (size_t tap = 0; tap < c->r * c->s; tap++) {
        w.r = tap / c->s;
        w.s = tap % c->s;
        nyb_pool_run(g->context->pool, gather_task, &w, c->n * c->oh);
        round_values(g, q, patch, patch, tap * q->view.rows * q->view.cols, NULL, true, at,
                     s->args.scratch);
        run_tap(g, p, s, tap, at);
    }
}

void nyb_run_sample(nyb_graph *g, nyb_program *p, nyb_step *s)
{
    gather w = {
        .shape = &s->shape, .x = p->buffers[s->in[0]].memory, .patch = p->buffers[s->out].memory};

    nyb_pool_run(g->context->pool, gather_task, &w, s->shape.n * s->shape.oh);
}

/* ---- estimates --------------------------------------------------------------------------------
 */

static void add_to(float *out, const float *dx, size_t n, bool add)
{
    for (size_t i = 0; i < n; i++)
        out[i] = add ? out[i] + dx[i] : dx[i];
}

void nyb_run_reflect(nyb_graph *g, nyb_program *p, nyb_step *s, uint32_t step)
{
    const nyb_quant *q = &p->quants[s->quant];
    const bool moves = !s->add && !s->rounds;
    float *dx = p->buffers[s->dout].memory, *out = p->buffers[s->out].memory;
    const nyb_model *m = g->model;
    const size_t n = g->batch * nyb_shape_size(m->layers[m->layers[s->layer].in[0]].shape);

    nyb_householder_invert(g->context, &q->reflection, dx, n / q->reflection.n_rows,
                           moves ? out : dx);
    if (s->rounds)
        nyb_store_gradient(g, s, dx, n, step);
    else if (s->add)
        add_to(out, dx, n, true);
}

/* Learned parameters take the gradient of the values; it becomes that of the tensor. */
static void learn(nyb_graph *g, const nyb_quant *q, const float *x, float *dx)
{
    const size_t n = q->view.rows * q->view.cols;
    nyb_param *param = &g->params[q->param];
    double dparams[NYB_SCALE_PARAMS_MAX] = {0};

    q->spec.scale->backward(q->spec.format, param->value, x, dx, n,
                            q->slot == NYB_SLOT_FWD_X ? n / g->batch : n, dparams);
    for (size_t i = 0; i < param->n; i++)
        param->gradient[i] = (float)dparams[i];
    param->learns = true;
}

void nyb_run_estimate(nyb_graph *g, nyb_program *p, nyb_step *s, uint32_t step)
{
    nyb_quant *q = &p->quants[s->quant];
    const float *x = s->in[0] >= 0 ? p->buffers[s->in[0]].memory : NULL;
    float *dx = p->buffers[s->dout].memory;
    const nyb_stream signs = signs_of(g, q, step);
    nyb_stream stream = nyb_quant_stream(g, q, step);
    nyb_slot_state untouched = *nyb_slot_state_of(g, q);
    const nyb_round_job job = {.spec = &q->spec,
                               .view = q->view,
                               .stream = &stream,
                               .signs = &signs,
                               .pre = q->pre,
                               .post = q->post,
                               .mixed = s->mixed,
                               .clip = q->rounds || q->spec.scale->divides
                                           ? 0.0f
                                           : q->packed.scale * nyb_format_reach(q->spec.format),
                               .state = untouched.rule};

    if (s->mixed && !s->masks) /* what is masked is in blocks: nyb_round_mask mixes back */
        nyb_round_unmix(g->context, &job, dx);
    if (q->spec.scale->backward)
        learn(g, q, x, dx);
    else if (s->masks)
        nyb_round_mask(g->context, &job, x, dx, s->args.scratch);
    if (s->out >= 0 && s->out != s->dout)
        add_to(p->buffers[s->out].memory, dx, q->view.rows * q->view.cols, s->add);
}
