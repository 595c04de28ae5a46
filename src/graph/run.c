/* Running a program: one step after the other. */
#include <math.h>

#include "graph/graph.h"

static const float *real_of(const nyb_program *p, const nyb_quant *q)
{
    return p->buffers[q->real].memory;
}

/* Rules that look at more than the moments, or learn. */
static void set_other_scale(nyb_graph *g, nyb_program *p, nyb_quant *q, bool training,
                            void *scratch)
{
    const float *x = real_of(p, q);
    float copy[NYB_SCALE_PARAMS_MAX];
    nyb_round_job job = {.spec = &q->spec, .view = q->view};
    nyb_group_stats stats = {0};

    job.params = nyb_learned_params(g, q, x, training, copy, scratch);
    if (!job.params)
        stats = nyb_round_stats(g->context, q->spec.scale, x, q->view.rows * q->view.cols, scratch);
    nyb_round_scale_packed(g->context, &job, x, &stats, &q->packed);
}

static void run_scale(nyb_graph *g, nyb_program *p, nyb_quant *q, void *scratch)
{
    nyb_slot_state *state = nyb_slot_state_of(g, q);
    const bool training = nyb_mode_trains(p->mode);
    const bool frozen = g->recipe.eval_scale == NYB_EVAL_FROZEN && state->started != 0.0f;
    const float weight_scale = g->weight_scale[g->model->layers[q->layer].gemm];
    nyb_slot_state copy = *state;

    if (q->late) {
        q->packed.scale = nyb_scale_lagging(&q->spec, state->rule);
        return;
    }
    if (!training && q->slot == NYB_SLOT_FWD_X && frozen && q->param < 0 &&
        !q->spec.scale->divides) {
        q->packed.scale = nyb_scale_of_clip(q->spec.format, state->clip_mean);
        return;
    }
    if (!training && q->slot == NYB_SLOT_FWD_W && weight_scale != 0.0f) {
        q->packed.scale = weight_scale;
        return;
    }
    if (q->spec.scale->choose)
        q->packed.scale =
            nyb_scale_choose(&q->spec, &q->moments, training ? state->rule : copy.rule);
    else
        set_other_scale(g, p, q, training, scratch);
    if (training)
        nyb_observe_clip(g, q, q->packed.scale * nyb_format_reach(q->spec.format));
}

/* The rows of a tensor that is not stored. */
typedef struct unstored {
    const nyb_op *op;
    const nyb_step *producer;
} unstored;

static void make_rows(const void *self, size_t row, size_t n, float *rows)
{
    const unstored *u = self;

    if (u->producer->kind == NYB_STEP_FORWARD)
        u->op->out_rows(&u->producer->args, row, n, rows);
    else
        u->op->din_rows(&u->producer->args, row, n, rows);
}

/* A tensor that is made again, some rows a task. */
#define AGAIN_ROWS ((size_t)256)

typedef struct again {
    unstored made;
    float *out;
} again;

static void again_task(void *arg, size_t task, size_t worker)
{
    const again *a = arg;
    const nyb_shape shape = a->made.producer->args.in_shape[0];
    const size_t row = task * AGAIN_ROWS, n = nyb_min(AGAIN_ROWS, nyb_shape_rows(shape) - row);

    (void)worker;
    make_rows(&a->made, row, n, a->out + row * shape.c);
}

static void run_again(const nyb_graph *g, const nyb_program *p, const nyb_step *s)
{
    const nyb_step *producer = &p->steps[s->producer];
    again a = {{g->model->layers[producer->layer].op, producer}, s->args.out};

    nyb_pool_run(g->context->pool, again_task, &a,
                 nyb_div_up(nyb_shape_rows(producer->args.in_shape[0]), AGAIN_ROWS));
}

/* For telemetry and error messages, which alone allocate: all rows, or NULL. */
static float *make_all(const nyb_graph *g, const nyb_step *producer)
{
    const nyb_shape shape = producer->args.in_shape[0];
    const unstored u = {g->model->layers[producer->layer].op, producer};
    float *all = nyb_alloc(nyb_shape_size(shape) * sizeof *all);

    if (all)
        make_rows(&u, 0, nyb_shape_rows(shape), all);
    return all;
}

/* The rule's state takes the step in; a tensor with nothing finite in it has no scale after all. */
static void learn_late(nyb_graph *g, nyb_quant *q)
{
    nyb_run_moments(g, q, NULL, q->packed.rows, q->packed.cols, NULL);
    q->packed.scale = nyb_scale_choose(&q->spec, &q->moments, nyb_slot_state_of(g, q)->rule);
    if (q->packed.scale == 0.0f)
        memset(q->packed.codes, 0,
               nyb_packed_bytes(q->packed.format, q->packed.rows, q->packed.cols));
}

static void encode(nyb_graph *g, nyb_program *p, const nyb_step *s, const nyb_stream *stream)
{
    nyb_quant *q = &p->quants[s->quant];
    const nyb_step *producer = s->producer >= 0 ? &p->steps[s->producer] : NULL;

    if (producer) {
        const unstored u = {g->model->layers[producer->layer].op, producer};
        const nyb_row_maker maker = {make_rows, &u};

        nyb_encode_made(g->context, &q->spec, stream, &maker, &q->packed,
                        q->late ? q->block_moments : NULL);
        if (q->late)
            learn_late(g, q);
    } else {
        nyb_encode_run(g->context, &q->spec, stream, real_of(p, q), &q->packed);
    }
    if (g->measure) {
        float *all = producer ? make_all(g, producer) : NULL;

        if (all || !producer)
            g->measure_fn(g->measure_user, q, producer ? all : real_of(p, q), NULL);
        nyb_free(all);
    }
}

static void run_encode(nyb_graph *g, nyb_program *p, const nyb_step *s, uint32_t step)
{
    nyb_quant *q = &p->quants[s->quant];
    const nyb_stream stream = nyb_quant_stream(g, q, step);

    if (q->shares >= 0)
        q->packed.scale = p->quants[q->shares].packed.scale;
    encode(g, p, s, &stream);
    q->grouped.packed.scale = q->packed.scale;
}

/* n floats from the bf16 numbers that lie at their beginning. */
static void widen(float *x, size_t n)
{
    uint16_t half[256];

    while (n > 0) {
        const size_t m = nyb_min(n, 256);

        n -= m;
        memcpy(half, (uint16_t *)x + n, m * sizeof *half);
        for (size_t i = 0; i < m; i++)
            x[n + i] = nyb_float_of((uint32_t)half[i] << 16);
    }
}

nyb_stream nyb_sum_stream(const nyb_graph *g, const nyb_step *s, size_t tap, uint32_t step)
{
    const uint32_t gemm = (uint32_t)g->model->layers[s->layer].gemm;

    return (nyb_stream){.seed = g->seed,
                        .step = step,
                        .tensor = gemm | (uint32_t)tap << 16,
                        .role = nyb_conv_sum_role(s->product)};
}

/* The random bits of what is stored for, or the gradient that is left by, a layer; NULL: it goes to
 * the nearest. */
static const nyb_stream *store_draws(const nyb_graph *g, nyb_rng_role role, int layer,
                                     uint32_t step, nyb_stream *stream)
{
    *stream = (nyb_stream){
        .seed = g->seed, .step = step, .tensor = (uint32_t)layer, .role = (uint8_t)role};
    return g->recipe.store == NYB_STORE_BF16_STOCHASTIC ? stream : NULL;
}

static void run_product_half(nyb_graph *g, const nyb_step *s, const nyb_stream *stream)
{
    const bool dx = s->product == NYB_PRODUCT_DX;
    uint16_t *const out = (uint16_t *)s->args.out;
    nyb_stream own;
    const nyb_stream *const draws = store_draws(g, dx ? NYB_RNG_STORE_DX : NYB_RNG_STORE_X,
                                                dx ? s->layer : s->keeper, stream->step, &own);

    if (s->group)
        nyb_group_conv_run_half(s->group, g->context, s->a_grouped, s->b_grouped, s->bias, draws,
                                out, s->args.scratch);
    else if (s->depthwise)
        nyb_depthwise_run_half(s->depthwise, g->context, s->a_bound, &s->b_bound, s->bias, draws,
                               out, s->args.scratch);
    else
        nyb_conv_run_half(s->conv, g->context, s->a_bound, &s->b_bound, s->bias, stream, draws, out,
                          s->args.scratch);
    if (!s->half) /* an f32 buffer for other readers than batchnorm */
        widen(s->args.out, s->shape.n * s->shape.h * s->shape.w * s->shape.c);
}

#define STORED 4096 /* elements of a task */

typedef struct stored {
    const nyb_store_kernel *kernel;
    const nyb_stream *draws;
    const float *from;
    uint16_t *to;
    size_t n;
} stored;

static void stored_task(void *arg, size_t task, size_t worker)
{
    const stored *s = arg;
    const size_t at = task * STORED;

    (void)worker;
    nyb_store_floats(s->kernel, s->from, at, nyb_min(STORED, s->n - at), s->draws, s->to);
}

void nyb_store_gradient(const nyb_graph *g, const nyb_step *s, const float *dx, size_t n,
                        uint32_t step)
{
    nyb_stream own;
    stored work = {.kernel = nyb_store_choose(g->context->cpu),
                   .draws = store_draws(g, NYB_RNG_STORE_DX, s->layer, step, &own),
                   .from = dx,
                   .to = (uint16_t *)s->args.out,
                   .n = n};

    nyb_pool_run(g->context->pool, stored_task, &work, nyb_div_up(n, STORED));
    if (!s->half)
        widen(s->args.out, n);
}

static void run_product(nyb_graph *g, const nyb_step *s, uint32_t step)
{
    const nyb_stream stream = nyb_sum_stream(g, s, 0, step);

    if (s->half || s->rounds)
        run_product_half(g, s, &stream);
    else if (s->depthwise)
        nyb_depthwise_run(s->depthwise, g->context, s->a_bound, &s->b_bound, s->bias, s->add,
                          s->args.out, s->args.scratch);
    else if (!s->group)
        nyb_conv_run(s->conv, g->context, s->a_bound, &s->b_bound, s->bias, s->add, &stream,
                     s->args.out, s->args.scratch);
    else if (s->product == NYB_PRODUCT_DW)
        nyb_group_conv_run_taps(s->group, g->context, 0, 1, s->a_grouped, s->b_grouped, NULL,
                                s->add, s->args.out, s->args.scratch);
    else
        nyb_group_conv_run(s->group, g->context, s->a_grouped, s->b_grouped, s->bias, s->add,
                           s->args.out, s->args.scratch);
}

static void run_forward(const nyb_graph *g, const nyb_step *s, uint32_t step)
{
    nyb_op_args args = s->args;
    nyb_stream own;

    args.fused.draws = store_draws(g, NYB_RNG_STORE_X, s->layer, step, &own);
    g->model->layers[s->layer].op->forward(&args);
}

static void run_backward(nyb_graph *g, nyb_program *p, nyb_step *s)
{
    if (s->lagging >= 0) {
        nyb_quant *q = &p->quants[s->lagging];

        q->late = !g->measure && nyb_scale_lagging(&q->spec, nyb_slot_state_of(g, q)->rule) > 0.0f;
        s->args.fused.moments = q->late ? NULL : q->block_moments;
    }
    g->model->layers[s->layer].op->backward(&s->args);
}

static void run_step(nyb_graph *g, nyb_program *p, nyb_step *s, uint32_t step)
{
    switch (s->kind) {
    case NYB_STEP_MOMENTS:
        if (p->quants[s->quant].late) /* its encode step's */
            return;
        nyb_run_moments(g, &p->quants[s->quant], real_of(p, &p->quants[s->quant]),
                        p->quants[s->quant].packed.rows, p->quants[s->quant].packed.cols,
                        s->args.scratch);
        return;
    case NYB_STEP_SCALE:
        run_scale(g, p, &p->quants[s->quant], s->args.scratch);
        return;
    case NYB_STEP_ENCODE:
        run_encode(g, p, s, step);
        return;
    case NYB_STEP_ROUND:
        nyb_run_round(g, p, s, nyb_mode_trains(p->mode), step);
        return;
    case NYB_STEP_REGROUP:
        nyb_run_regroup(g, p, s);
        return;
    case NYB_STEP_TAPS:
        nyb_run_taps(g, p, s, step);
        return;
    case NYB_STEP_REFLECT:
        nyb_run_reflect(g, p, s, step);
        return;
    case NYB_STEP_ESTIMATE:
        nyb_run_estimate(g, p, s, step);
        return;
    case NYB_STEP_SAMPLE:
        nyb_run_sample(g, p, s);
        return;
    case NYB_STEP_AGAIN:
        run_again(g, p, s);
        return;
    case NYB_STEP_PRODUCT:
        run_product(g, s, step);
        return;
    case NYB_STEP_REPEAT:
        run_product(g, &p->steps[s->producer], step);
        return;
    case NYB_STEP_FORWARD:
        run_forward(g, s, step);
        return;
    case NYB_STEP_BACKWARD:
        run_backward(g, p, s);
        return;
    }
}

void nyb_graph_forward(nyb_graph *g, nyb_mode mode, uint32_t step)
{
    nyb_program *p = &g->programs[mode];

    g->n_nonfinite = 0;
    g->nonfinite_layer = -1;
    for (int i = 0; i < p->n_forward; i++) {
        nyb_graph_trace(g, (size_t)i);
        run_step(g, p, &p->steps[i], step);
    }
}

void nyb_graph_backward(nyb_graph *g, nyb_mode mode, uint32_t step)
{
    nyb_program *p = &g->programs[mode];

    for (int i = 0; i < g->n_params; i++) /* learned scales: where an estimate step says so */
        g->params[i].learns = g->params[i].trained && !g->params[i].rule;
    for (int i = p->n_forward; i < p->n_steps; i++) {
        nyb_graph_trace(g, (size_t)i);
        run_step(g, p, &p->steps[i], step);
    }
}

/* Whether all of a step's output is finite. */
static bool is_finite(const nyb_graph *g, const nyb_program *p, const nyb_step *s)
{
    const nyb_shape shape = g->model->layers[s->layer].shape;
    float *all = s->out < 0 ? make_all(g, s) : NULL;
    const float *out = s->out < 0 ? all : p->buffers[s->out].memory;
    const uint16_t *half = s->half ? p->buffers[s->out].memory : NULL;
    size_t n = g->batch * shape.h * shape.w * shape.c, i = 0;

    if (s->out >= 0) /* the loss has no batch */
        n = nyb_min(n, p->buffers[s->out].n_bytes / (half ? sizeof *half : sizeof *out));
    while (out && i < n && isfinite(half ? nyb_float_of((uint32_t)half[i] << 16) : out[i]))
        i++;
    nyb_free(all);
    return !out || i == n;
}

int nyb_graph_find_nonfinite(nyb_graph *g, nyb_mode mode, uint32_t step)
{
    nyb_program *p = &g->programs[mode];

    for (int i = 0; i < p->n_forward; i++) {
        const nyb_step *s = &p->steps[i];

        run_step(g, p, &p->steps[i], step);
        if ((s->kind == NYB_STEP_PRODUCT || s->kind == NYB_STEP_FORWARD) && !is_finite(g, p, s))
            return s->layer;
    }
    return -1;
}
