/* From layers to steps: every quantization, product and operator of a mode, in order. */
#include "graph/build.h"

/* ---- growing lists --------------------------------------------------------------------------- */

void nyb_build_fail(nyb_builder *b, nyb_status status)
{
    if (b->status == NYB_OK)
        b->status = status;
}

/* Room for one more item in a list; false when out of memory. */
bool nyb_build_reserve(nyb_builder *b, void **items, int n, int *n_capacity, size_t item_bytes)
{
    void *grown;

    if (n < *n_capacity)
        return true;
    grown = nyb_alloc((size_t)(2 * n + 64) * item_bytes);
    if (!grown) {
        nyb_build_fail(b, nyb_fail(b->err, NYB_MEMORY, "out of memory while compiling '%s'",
                                   b->g->model->name));
        return false;
    }
    if (n)
        memcpy(grown, *items, (size_t)n * item_bytes);
    nyb_free(*items);
    *items = grown;
    *n_capacity = 2 * n + 64;
    return true;
}

int nyb_build_buffer(nyb_builder *b, const char *what, int layer, nyb_home home, int param,
                     size_t n_bytes)
{
    nyb_program *p = b->p;
    void *items = p->buffers;

    if (!nyb_build_reserve(b, &items, p->n_buffers, &p->n_buffers_capacity, sizeof *p->buffers))
        return 0;
    p->buffers = items;
    p->buffers[p->n_buffers] = (nyb_buffer){.what = what,
                                            .layer = layer,
                                            .home = home,
                                            .param = param,
                                            .n_bytes = nyb_round_up(n_bytes, NYB_ALIGN),
                                            .first = -1,
                                            .last = -1,
                                            .gone = -1,
                                            .again = -1};
    return p->n_buffers++;
}

/* A zeroed step, every buffer -1; counted by n_steps++ when it is filled. */
nyb_step *nyb_build_step(nyb_builder *b, nyb_step_kind kind, int layer)
{
    nyb_program *p = b->p;
    void *items = p->steps;
    nyb_step *s;

    if (!nyb_build_reserve(b, &items, p->n_steps, &p->n_steps_capacity, sizeof *p->steps))
        return NULL;
    p->steps = items;
    s = &p->steps[p->n_steps];
    *s = (nyb_step){.kind = kind,
                    .layer = layer,
                    .quant = -1,
                    .b = {-1, -1},
                    .out = -1,
                    .in = {-1, -1},
                    .dout = -1,
                    .din = {-1, -1},
                    .saved = -1,
                    .residual = -1,
                    .mask = -1,
                    .kept = -1,
                    .stored = -1,
                    .blocks = -1,
                    .coefs = -1,
                    .producer = -1,
                    .lagging = -1};
    return s;
}

void nyb_build_scratch(nyb_builder *b, size_t n_bytes)
{
    b->p->n_scratch = nyb_max(b->p->n_scratch, n_bytes);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

nyb_shape nyb_build_shape(const nyb_builder *b, int layer)
{
    nyb_shape s = b->g->model->layers[layer].shape;

    if (layer < b->g->model->n_layers - 1) /* all but the loss */
        s.n = b->g->batch;
    return s;
}

static int find_param(const nyb_graph *g, int layer, int index, bool trained)
{
    for (int i = 0; i < g->n_params; i++)
        if (g->params[i].layer == layer && g->params[i].index == index &&
            g->params[i].trained == trained && !g->params[i].rule)
            return i;
    return -1;
}

int nyb_build_param(nyb_builder *b, int layer, int index, nyb_home home)
{
    const int param = find_param(b->g, layer, index, true);

    for (int i = 0; i < b->p->n_buffers; i++)
        if (b->p->buffers[i].home == home && b->p->buffers[i].param == param)
            return i;
    return nyb_build_buffer(b, home == NYB_HOME_PARAM ? "parameter" : "gradient", layer, home,
                            param, b->g->params[param].n * sizeof(float));
}

/* ---- steps that operators share -------------------------------------------------------------- */

/* The gradient buffer of an input, and whether to add to what other consumers left there. */
int nyb_build_gradient(nyb_builder *b, int layer, bool *add)
{
    *add = b->grad[layer] >= 0;
    if (!*add)
        b->grad[layer] =
            nyb_build_buffer(b, "gradient", layer, NYB_HOME_PLANNED, -1,
                             nyb_shape_size(nyb_build_shape(b, layer)) * sizeof(float));
    return b->grad[layer];
}

void nyb_build_op_args(nyb_builder *b, int layer, nyb_op_args *args)
{
    const nyb_layer *l = &b->g->model->layers[layer];

    args->context = b->g->context;
    args->attr = layer == b->g->model->n_layers - 1 ? &b->g->loss : &l->attr;
    for (int i = 0; i < l->op->n_inputs; i++)
        args->in_shape[i] = nyb_build_shape(b, l->in[i]);
    args->out_shape = nyb_build_shape(b, layer);
    args->training = nyb_mode_trains(b->p->mode);
    if (l->op->scratch_bytes)
        nyb_build_scratch(b, l->op->scratch_bytes(&l->attr, args->in_shape));
}

/* ---- the other operators --------------------------------------------------------------------- */

/* The buffer that keeps batchnorm's input in bf16 while training, or -1. */
static int stores(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];

    if (b->g->recipe.store == NYB_STORE_F32 || !l->op->stores_in || !nyb_mode_trains(b->p->mode))
        return -1;
    return nyb_build_buffer(b, "stored", layer, NYB_HOME_PLANNED, -1,
                            nyb_shape_size(nyb_build_shape(b, layer)) * sizeof(uint16_t));
}

static void forward_op(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool is_loss = layer == b->g->model->n_layers - 1;
    nyb_step *s;
    size_t n_saved;

    if (l->op->is_view) {
        b->value[layer] = b->value[l->in[0]];
        return;
    }
    b->value[layer] =
        nyb_build_buffer(b, "output", layer, is_loss ? NYB_HOME_RESULT : NYB_HOME_PLANNED, -1,
                         nyb_shape_size(nyb_build_shape(b, layer)) * sizeof(float));
    s = nyb_build_step(b, NYB_STEP_FORWARD, layer);
    if (!s)
        return;
    nyb_build_op_args(b, layer, &s->args);
    n_saved = l->op->saved_bytes ? l->op->saved_bytes(&l->attr, s->args.in_shape) : 0;
    if (n_saved)
        b->saved[layer] = nyb_build_buffer(b, "saved", layer, NYB_HOME_PLANNED, -1, n_saved);
    s->saved = b->saved[layer];
    s->stored = b->stored[layer] = stores(b, layer);
    s->out = b->value[layer];
    for (int i = 0; i < l->op->n_inputs; i++)
        s->in[i] = b->value[l->in[i]];
    b->p->n_steps++;
}

static void backward_op(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool is_loss = layer == b->g->model->n_layers - 1;
    bool alias = l->op->passes_on && b->g->model->layers[l->in[0]].trained && b->grad[l->in[0]] < 0;
    bool any = l->op->n_params > 0;
    nyb_step *s = nyb_build_step(b, NYB_STEP_BACKWARD, layer);

    if (!s)
        return;
    nyb_build_op_args(b, layer, &s->args);
    s->dout = is_loss ? -1 : b->grad[layer];
    s->saved = b->saved[layer];
    s->stored = b->stored[layer];
    for (int i = 0; i < l->op->n_inputs; i++) {
        const int din_layer = l->in[i];

        if (!b->g->model->layers[din_layer].trained)
            continue; /* nobody wants the gradient of data */
        if (i == 0 && alias) {
            b->grad[din_layer] = b->grad[layer];
            continue;
        }
        s->din[i] = nyb_build_gradient(b, din_layer, &s->args.din_add[i]);
        any = true;
    }
    if (!any)
        return;
    for (int i = 0; i < l->op->n_inputs; i++)
        if (l->op->backward_in && s->stored < 0)
            s->in[i] = b->value[l->in[i]];
    if (l->op->backward_out)
        s->out = b->value[layer];
    b->p->n_steps++;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void build_all(nyb_builder *b)
{
    const nyb_model *m = b->g->model;
    const bool training = nyb_mode_trains(b->p->mode);

    b->value[0] = nyb_build_buffer(b, "input", 0, NYB_HOME_INPUT, -1,
                                   nyb_shape_size(nyb_build_shape(b, 0)) * sizeof(float));
    for (int i = 1; i < m->n_layers && b->status == NYB_OK; i++) {
        if (m->layers[i].op->is_gemm)
            nyb_build_gemm_forward(b, i);
        else
            forward_op(b, i);
    }
    b->p->n_forward = b->p->n_steps;
    if (!training)
        return;
    for (int i = m->n_layers - 1; i > 0 && b->status == NYB_OK; i--) {
        if (i < m->n_layers - 1 && b->grad[i] < 0)
            continue; /* leads nowhere: its gradients stay zero */
        if (m->layers[i].op->is_gemm)
            nyb_build_gemm_backward(b, i);
        else
            backward_op(b, i);
    }
}

nyb_status nyb_program_build(nyb_graph *graph, nyb_program *program, nyb_error *err)
{
    const size_t n = (size_t)graph->model->n_layers;
    int *lists = nyb_alloc(7 * n * sizeof *lists);
    nyb_builder b = {.g = graph, .p = program, .err = err, .status = NYB_OK};

    if (!lists)
        return nyb_fail(err, NYB_MEMORY, "out of memory while compiling '%s'", graph->model->name);
    memset(lists, -1, 7 * n * sizeof *lists);
    b.value = lists;
    b.grad = lists + n;
    b.saved = lists + 2 * n;
    b.x = lists + 3 * n;
    b.w = lists + 4 * n;
    b.stored = lists + 5 * n;
    b.sampled = lists + 6 * n;
    build_all(&b);
    nyb_free(lists);
    return b.status;
}

void nyb_program_free(nyb_program *program)
{
    for (int i = 0; i < program->n_steps; i++) {
        nyb_conv_destroy(&program->steps[i].conv);
        nyb_group_conv_destroy(&program->steps[i].group);
        nyb_depthwise_destroy(&program->steps[i].depthwise);
    }
    nyb_free(program->steps);
    nyb_free(program->buffers);
    nyb_free(program->quants);
    *program = (nyb_program){0};
}
