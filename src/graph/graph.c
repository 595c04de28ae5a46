/* Binding model, recipe and batch to memory. */
#include <math.h>
#include <stdio.h>

#include "graph/graph.h"

/* ---- parameters ------------------------------------------------------------------------------ */

static const nyb_shape *input_shapes(const nyb_model *m, int layer, nyb_shape in[NYB_OP_INPUTS])
{
    for (int i = 0; i < NYB_OP_INPUTS; i++)
        in[i] = m->layers[m->layers[layer].in[i]].shape;
    return in;
}

/* Dimensions as PyTorch names them; memory is OHWI for convolutions. */
static void param_dims(const nyb_model *m, nyb_param *p)
{
    const nyb_layer *l = &m->layers[p->layer];
    const size_t c = m->layers[l->in[0]].shape.c;

    p->n_dims = 1;
    p->dims[0] = p->n;
    if (!l->op->is_gemm || p->index != 0)
        return;
    p->dims[0] = l->shape.c;
    p->dims[1] = l->op->depthwise ? 1 : c;
    p->n_dims = 2;
    if (l->attr.kernel > 0) {
        p->dims[2] = p->dims[3] = l->attr.kernel;
        p->n_dims = 4;
    }
}

/* Counts the next parameter, and names it "first.second" or "first.second.third". */
static nyb_status name_param(nyb_graph *g, const char *first, const char *second, const char *third,
                             nyb_error *err)
{
    const size_t n_name = strlen(first) + strlen(second) + strlen(third) + 3;
    nyb_param *p = &g->params[g->n_params];

    p->name = nyb_alloc(n_name);
    if (!p->name)
        return nyb_fail(err, NYB_MEMORY, "out of memory while compiling '%s'", g->model->name);
    snprintf(p->name, n_name, "%s.%s%s%s", first, second, *third ? "." : "", third);
    g->n_params++;
    return NYB_OK;
}

static nyb_status add_param(nyb_graph *g, int layer, int index, bool trained, nyb_error *err)
{
    const nyb_layer *l = &g->model->layers[layer];
    const nyb_param_desc *d = trained ? &l->op->params[index] : &l->op->buffers[index];
    nyb_param *p = &g->params[g->n_params];
    nyb_shape in[NYB_OP_INPUTS];

    input_shapes(g->model, layer, in);
    *p = (nyb_param){.layer = layer, .index = index, .trained = trained, .decay = d->decay};
    p->n =
        trained ? l->op->param_size(&l->attr, in, index) : l->op->buffer_size(&l->attr, in, index);
    if (p->n == 0) /* a layer without bias */
        return NYB_OK;
    param_dims(g->model, p);
    return name_param(g, l->name, d->name, "", err);
}

/* "layer1.0.conv1.fwd.x.pact" */
static nyb_status add_learned(nyb_graph *g, int layer, nyb_slot slot, const nyb_scale_rule *rule,
                              nyb_error *err)
{
    g->params[g->n_params] = (nyb_param){.layer = layer,
                                         .index = (int)slot,
                                         .rule = rule,
                                         .n = rule->n_params,
                                         .n_dims = 1,
                                         .dims = {rule->n_params},
                                         .trained = true,
                                         .decay = rule->decays};
    return name_param(g, g->model->layers[layer].name, nyb_slot_name(slot), rule->name, err);
}

/* After all others: the random streams of initial weights count parameters. */
static nyb_status list_learned(nyb_graph *g, nyb_error *err)
{
    const nyb_slot slots[] = {NYB_SLOT_FWD_X, NYB_SLOT_FWD_W};

    for (int i = 1; i < g->model->n_layers; i++) {
        nyb_row rows[NYB_SLOTS];

        if (!g->model->layers[i].op->is_gemm)
            continue;
        nyb_graph_rows(g->model, &g->recipe, i, NYB_MODE_TRAIN, rows);
        for (int j = 0; j < 2; j++)
            if (!nyb_row_is_f32(&rows[slots[j]]) && rows[slots[j]].spec.scale->n_params > 0)
                NYB_TRY(add_learned(g, i, slots[j], rows[slots[j]].spec.scale, err));
    }
    return NYB_OK;
}

/* "layer1.0.conv1.weight.ema" */
static nyb_status add_mean(nyb_graph *g, const nyb_param *weights, nyb_error *err)
{
    nyb_param *p = &g->params[g->n_params];

    *p = *weights;
    p->index = -1;
    p->trained = p->decay = false;
    p->mean_of = weights;
    return name_param(g, weights->name, "ema", "", err);
}

static nyb_status list_means(nyb_graph *g, nyb_error *err)
{
    const int n = g->n_params;

    for (int i = 0; i < n; i++) {
        const nyb_param *p = &g->params[i];
        nyb_row rows[NYB_SLOTS];

        if (p->rule || p->index != 0 || !g->model->layers[p->layer].op->is_gemm)
            continue;
        nyb_graph_rows(g->model, &g->recipe, p->layer, NYB_MODE_TRAIN, rows);
        if (rows[NYB_SLOT_FWD_W].ema > 0.0f)
            NYB_TRY(add_mean(g, p, err));
    }
    return NYB_OK;
}

int nyb_graph_find_mean(const nyb_graph *g, int layer)
{
    for (int i = 0; i < g->n_params; i++)
        if (g->params[i].mean_of && g->params[i].layer == layer)
            return i;
    return -1;
}

void nyb_graph_begin_means(nyb_graph *g, const nyb_param *weights)
{
    for (int i = 0; i < g->n_params; i++) {
        const nyb_param *p = &g->params[i];

        if (p->mean_of && (!weights || p->mean_of == weights))
            memcpy(p->value, p->mean_of->value, p->n * sizeof *p->value);
    }
}

static nyb_status list_params(nyb_graph *g, nyb_error *err)
{
    const nyb_model *m = g->model;

    g->params =
        nyb_alloc((size_t)m->n_layers * (NYB_OP_PARAMS + NYB_OP_BUFFERS + 3) * sizeof *g->params);
    if (!g->params)
        return nyb_fail(err, NYB_MEMORY, "out of memory while compiling '%s'", m->name);
    for (int i = 1; i < m->n_layers; i++) {
        for (int j = 0; j < m->layers[i].op->n_params; j++)
            NYB_TRY(add_param(g, i, j, true, err));
        for (int j = 0; j < m->layers[i].op->n_buffers; j++)
            NYB_TRY(add_param(g, i, j, false, err));
    }
    return NYB_OK;
}

typedef struct normals {
    nyb_stream stream;
    float sd;
    float *value;
    size_t n;
} normals;

#define NORMALS 4096 /* of a task */

static void normals_task(void *arg, size_t task, size_t worker)
{
    const normals *all = arg;

    (void)worker;
    for (size_t i = task * NORMALS; i < nyb_min((task + 1) * NORMALS, all->n); i++)
        all->value[i] = all->sd * nyb_rng_normal(&all->stream, i);
}

static void init_param(const nyb_graph *g, nyb_param *p, int tensor)
{
    const nyb_op *op = g->model->layers[p->layer].op;

    if (p->rule || p->mean_of) /* at the first step, from its tensor; after all weights */
        return;
    const nyb_init init = p->trained ? op->params[p->index].init : op->buffers[p->index].init;
    normals all = {
        .stream = {.seed = g->seed, .tensor = (uint32_t)tensor, .role = NYB_RNG_INIT},
        .value = p->value,
        .n = p->n,
    };

    switch (init) {
    case NYB_INIT_ZERO:
        memset(p->value, 0, p->n * sizeof(float));
        return;
    case NYB_INIT_ONE:
        for (size_t i = 0; i < p->n; i++)
            p->value[i] = 1.0f;
        return;
    case NYB_INIT_HE_NORMAL:
        all.sd = sqrtf(2.0f / (float)(p->n / p->dims[0]));
        nyb_pool_run(g->context->pool, normals_task, &all, p->n / NORMALS + (p->n % NORMALS != 0));
        return;
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Takes n_bytes (rounded up) from *at; with base NULL only counts. */
static void *take(uint8_t *base, size_t *at, size_t n_bytes)
{
    void *p = base ? base + *at : NULL;

    *at += nyb_round_up(n_bytes, NYB_ALIGN);
    return p;
}

/* The arena: [parameters, gradients, momenta, means | BN buffers, slots, backup | input, labels,
 * result | plan, shared by the programs | scratch]. Called twice: to count, then to hand out. */
static void lay_out(nyb_graph *g, uint8_t *base)
{
    const nyb_shape in = g->model->layers[0].shape;
    const size_t n_slots = (size_t)g->model->n_gemms * NYB_SLOTS;
    size_t at = 0, small;

    for (int i = 0; i < g->n_params; i++) {
        nyb_param *p = &g->params[i];

        if (p->trained) {
            p->value = take(base, &at, p->n * sizeof(float));
            p->gradient = take(base, &at, p->n * sizeof(float));
            p->momentum = take(base, &at, p->n * sizeof(float));
        } else if (p->mean_of) {
            p->value = take(base, &at, p->n * sizeof(float));
        }
    }
    small = at;
    g->small = base ? base + at : NULL;
    for (int i = 0; i < g->n_params; i++)
        if (!g->params[i].trained && !g->params[i].mean_of)
            g->params[i].value = take(base, &at, g->params[i].n * sizeof(float));
    g->slots = take(base, &at, n_slots * sizeof *g->slots);
    g->n_small_bytes = at - small;
    g->small_backup = take(base, &at, g->n_small_bytes);
    g->weight_scale = take(base, &at, (size_t)g->model->n_gemms * sizeof(float));
    g->input = take(base, &at, g->batch * nyb_shape_size(in) * sizeof(float));
    g->labels = take(base, &at, g->batch * sizeof(int32_t));
    g->result = take(base, &at, 2 * sizeof(float));
    g->n_persistent_bytes = at;
}

static void free_programs(nyb_graph *g)
{
    for (int i = 0; i < NYB_MODES; i++)
        nyb_program_free(&g->programs[i]);
}

void nyb_graph_forget_codes(nyb_graph *g)
{
    memset(g->weight_scale, 0, (size_t)g->model->n_gemms * sizeof *g->weight_scale);
}

void nyb_graph_destroy(nyb_graph **graph)
{
    nyb_graph *g = *graph;

    if (!g)
        return;
    free_programs(g);
    for (int i = 0; i < g->n_params; i++)
        nyb_free(g->params[i].name);
    nyb_free(g->params);
    nyb_free(g->arena);
    nyb_free(g);
    *graph = NULL;
}

static nyb_status build_programs(nyb_graph *g, nyb_error *err)
{
    const bool finishes = g->recipe.finish_epochs > 0;

    g->has_program[NYB_MODE_TRAIN] = g->has_program[NYB_MODE_EVAL] = true;
    g->has_program[NYB_MODE_FINISH] = finishes;
    g->has_program[NYB_MODE_EVAL_FINISH] = finishes && g->recipe.finish_keep == NYB_KEEP_WEIGHTS;
    for (int i = 0; i < NYB_MODES; i++) {
        nyb_program *p = &g->programs[i];

        p->mode = (nyb_mode)i;
        if (!g->has_program[i])
            continue;
        NYB_TRY(nyb_program_build(g, p, err));
        if (!g->context->unfused)
            NYB_TRY(nyb_program_fuse(g, p, err));
        nyb_program_plan(p);
        g->n_plan_bytes = nyb_max(g->n_plan_bytes, p->n_bytes);
        g->n_scratch_bytes = nyb_max(g->n_scratch_bytes, p->n_scratch);
    }
    return NYB_OK;
}

static nyb_status compile(nyb_graph *g, nyb_error *err)
{
    NYB_TRY(list_params(g, err));
    NYB_TRY(list_learned(g, err));
    NYB_TRY(list_means(g, err));
    NYB_TRY(build_programs(g, err));
    lay_out(g, NULL);
    g->n_plan_bytes = nyb_round_up(g->n_plan_bytes, NYB_ALIGN);
    g->n_scratch_bytes = nyb_round_up(g->n_scratch_bytes, NYB_ALIGN);
    if (__builtin_add_overflow(g->n_persistent_bytes, g->n_plan_bytes, &g->n_arena_bytes) ||
        __builtin_add_overflow(g->n_arena_bytes, g->n_scratch_bytes, &g->n_arena_bytes))
        return nyb_fail(err, NYB_LIMIT, "model '%s' at batch %zu needs more memory than exists",
                        g->model->name, g->batch);
    g->arena = nyb_alloc(g->n_arena_bytes);
    if (!g->arena)
        return nyb_fail(err, NYB_MEMORY, "model '%s' at batch %zu needs %zu bytes", g->model->name,
                        g->batch, g->n_arena_bytes);
    lay_out(g, g->arena);
    for (int i = 0; i < NYB_MODES; i++)
        if (g->has_program[i])
            nyb_program_bind(g, &g->programs[i], g->arena + g->n_persistent_bytes,
                             g->arena + g->n_persistent_bytes + g->n_plan_bytes);
    for (int i = 0; i < g->n_params; i++)
        init_param(g, &g->params[i], i);
    nyb_graph_begin_means(g, NULL);
    return NYB_OK;
}

/* The largest activation times the batch, and everything in front of it, must be countable. */
static nyb_status check_sizes(const nyb_model *m, size_t batch, nyb_error *err)
{
    for (int i = 0; i < m->n_layers - 1; i++) {
        size_t n = 0;

        if (!nyb_mul_size(nyb_shape_size(m->layers[i].shape), batch, &n) || n > SIZE_MAX / 4096)
            return nyb_fail(err, NYB_LIMIT, "layer '%s' at batch %zu is too large",
                            m->layers[i].name, batch);
    }
    return NYB_OK;
}

nyb_status nyb_graph_create(nyb_context *context, const nyb_model *model,
                            const struct nyb_recipe *recipe, size_t batch, uint64_t seed,
                            float label_smoothing, nyb_graph **graph, nyb_error *err)
{
    nyb_graph *g;
    nyb_status status;

    *graph = NULL;
    if (!model->finished)
        return nyb_fail(err, NYB_STATE, "model '%s' is not finished", model->name);
    if (batch == 0)
        return nyb_fail(err, NYB_INVALID, "batch is 0");
    NYB_TRY(check_sizes(model, batch, err));
    NYB_TRY(nyb_recipe_check(recipe, err));
    NYB_TRY(nyb_graph_check_layers(model, recipe, err));
    g = nyb_alloc(sizeof *g);
    if (!g)
        return nyb_fail(err, NYB_MEMORY, "out of memory while compiling '%s'", model->name);
    g->context = context;
    g->model = model;
    g->recipe = *recipe;
    g->batch = batch;
    g->seed = seed;
    g->loss.label_smoothing = label_smoothing;
    g->nonfinite_layer = -1;
    status = compile(g, err);
    if (status != NYB_OK) {
        nyb_graph_destroy(&g);
        return status;
    }
    *graph = g;
    return NYB_OK;
}
