/* From layers to steps: every quantization, product and operator of a mode, in order. */
#include "graph/graph.h"

typedef struct builder {
    nyb_graph *g;
    nyb_program *p;
    nyb_error *err;
    nyb_status status; /* the first failure; later calls then do nothing useful */
    int *value;        /* [n_layers] buffer of the output                       */
    int *grad;         /* [n_layers] buffer of dLoss/dOutput, or -1             */
    int *saved;        /* [n_layers] buffer that forward leaves, or -1          */
    int *x, *w;        /* [n_layers] quant of fwd.x and fwd.w, or -1            */
} builder;

/* ---- growing lists --------------------------------------------------------------------------- */

static void fail(builder *b, nyb_status status)
{
    if (b->status == NYB_OK)
        b->status = status;
}

/* Room for one more item in a list; false when out of memory. */
static bool reserve(builder *b, void **items, int n, int *n_capacity, size_t item_bytes)
{
    void *grown;

    if (n < *n_capacity)
        return true;
    grown = nyb_alloc((size_t)(2 * n + 64) * item_bytes);
    if (!grown) {
        fail(b,
             nyb_fail(b->err, NYB_MEMORY, "out of memory while compiling '%s'", b->g->model->name));
        return false;
    }
    if (n)
        memcpy(grown, *items, (size_t)n * item_bytes);
    nyb_free(*items);
    *items = grown;
    *n_capacity = 2 * n + 64;
    return true;
}

static int add_buffer(builder *b, const char *what, int layer, nyb_home home, int param,
                      size_t n_bytes)
{
    nyb_program *p = b->p;
    void *items = p->buffers;

    if (!reserve(b, &items, p->n_buffers, &p->n_buffers_capacity, sizeof *p->buffers))
        return 0;
    p->buffers = items;
    p->buffers[p->n_buffers] = (nyb_buffer){.what = what,
                                            .layer = layer,
                                            .home = home,
                                            .param = param,
                                            .n_bytes = nyb_round_up(n_bytes, NYB_ALIGN),
                                            .first = -1,
                                            .last = -1};
    return p->n_buffers++;
}

/* The step now being added uses this buffer. */
static void touch(builder *b, int buffer)
{
    nyb_buffer *buf;

    if (buffer < 0)
        return;
    buf = &b->p->buffers[buffer];
    if (buf->first < 0)
        buf->first = b->p->n_steps;
    buf->last = b->p->n_steps;
}

/* A zeroed step, every buffer -1; counted by commit(). */
static nyb_step *new_step(builder *b, nyb_step_kind kind, int layer)
{
    nyb_program *p = b->p;
    void *items = p->steps;
    nyb_step *s;

    if (!reserve(b, &items, p->n_steps, &p->n_steps_capacity, sizeof *p->steps))
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
                    .saved = -1};
    return s;
}

static void scratch(builder *b, size_t n_bytes)
{
    b->p->n_scratch = nyb_max(b->p->n_scratch, n_bytes);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static nyb_shape batched(const builder *b, int layer)
{
    nyb_shape s = b->g->model->layers[layer].shape;

    if (layer < b->g->model->n_layers - 1) /* all but the loss */
        s.n = b->g->batch;
    return s;
}

static nyb_conv_shape product_shape(const builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const nyb_shape x = batched(b, l->in[0]);

    if (!strcmp(l->op->name, "linear"))
        return (nyb_conv_shape){.n = 1,
                                .h = 1,
                                .w = nyb_shape_rows(x),
                                .c = x.c,
                                .o = l->attr.out,
                                .r = 1,
                                .s = 1,
                                .stride = 1};
    return (nyb_conv_shape){.n = x.n,
                            .h = x.h,
                            .w = x.w,
                            .c = x.c,
                            .o = l->attr.out,
                            .r = l->attr.kernel,
                            .s = l->attr.kernel,
                            .stride = l->attr.stride,
                            .pad = l->attr.pad};
}

/* rows x cols of the packed form of a slot's tensor. */
static void slot_matrix(const builder *b, int layer, nyb_slot slot, size_t *rows, size_t *cols)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const nyb_conv_shape s = product_shape(b, layer);

    switch (slot) {
    case NYB_SLOT_FWD_X:
    case NYB_SLOT_WGRAD_X:
        *rows = s.n * s.h * s.w;
        *cols = s.c;
        return;
    case NYB_SLOT_FWD_W:
    case NYB_SLOT_DGRAD_W:
        *rows = s.o * s.r * s.s;
        *cols = s.c;
        return;
    case NYB_SLOT_DGRAD_DY:
    case NYB_SLOT_WGRAD_DY:
        *rows = b->g->batch * l->shape.h * l->shape.w;
        *cols = s.o;
        return;
    }
}

static int find_param(const nyb_graph *g, int layer, int index, bool trained)
{
    for (int i = 0; i < g->n_params; i++)
        if (g->params[i].layer == layer && g->params[i].index == index &&
            g->params[i].trained == trained)
            return i;
    return -1;
}

static int param_buffer(builder *b, int layer, int index, nyb_home home)
{
    const int param = find_param(b->g, layer, index, true);

    for (int i = 0; i < b->p->n_buffers; i++)
        if (b->p->buffers[i].home == home && b->p->buffers[i].param == param)
            return i;
    return add_buffer(b, home == NYB_HOME_PARAM ? "parameter" : "gradient", layer, home, param,
                      b->g->params[param].n * sizeof(float));
}

/* ---- quantization nodes ---------------------------------------------------------------------- */

static void add_quant_step(builder *b, nyb_step_kind kind, int quant)
{
    const nyb_quant *q = &b->p->quants[quant];
    nyb_step *s = new_step(b, kind, q->layer);

    if (!s)
        return;
    s->quant = quant;
    if (kind != NYB_STEP_SCALE)
        touch(b, q->real);
    if (kind == NYB_STEP_ENCODE)
        touch(b, q->codes);
    b->p->n_steps++;
}

/* moments, scale, encode of one real buffer. shares >= 0: its moments and scale are taken.
 * observe: moments and scale only. Returns the quant, or -1 after a failure. */
static int add_quant(builder *b, int layer, nyb_slot slot, const nyb_spec *spec, int real,
                     int sample, int shares, bool observe)
{
    static const uint8_t roles[NYB_SLOTS] = {
#define X(constant, word, role) role,
        NYB_SLOT_LIST(X)
#undef X
    };
    nyb_program *p = b->p;
    void *items = p->quants;
    nyb_quant q = {.layer = layer,
                   .slot = slot,
                   .spec = *spec,
                   .real = real,
                   .codes = -1,
                   .shares = shares,
                   .role = roles[slot],
                   .sample = (uint8_t)sample};
    size_t rows = 0, cols = 0;

    if (!reserve(b, &items, p->n_quants, &p->n_quants_capacity, sizeof *p->quants))
        return -1;
    p->quants = items;
    slot_matrix(b, layer, slot, &rows, &cols);
    q.packed = (nyb_packed){
        .format = spec->format, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};
    if (!observe)
        q.codes = add_buffer(b, "codes", layer, NYB_HOME_PLANNED, -1,
                             nyb_packed_bytes(spec->format, rows, cols));
    p->quants[p->n_quants++] = q;
    scratch(b, nyb_moments_scratch_bytes(rows, cols));
    if (shares < 0) {
        add_quant_step(b, NYB_STEP_MOMENTS, p->n_quants - 1);
        add_quant_step(b, NYB_STEP_SCALE, p->n_quants - 1);
    }
    if (!observe)
        add_quant_step(b, NYB_STEP_ENCODE, p->n_quants - 1);
    return p->n_quants - 1;
}

static bool same_spec(const nyb_spec *a, const nyb_spec *b)
{
    return a->format == b->format && a->scale == b->scale && a->group == b->group &&
           a->rounding == b->rounding && a->sr_bits == b->sr_bits;
}

/* An earlier layer's fwd.x quant of the same real tensor that this one may share: same spec and
 * no random bits. */
static int shared_x(const builder *b, int real, const nyb_spec *spec)
{
    if (spec->rounding != NYB_ROUND_NEAREST)
        return -1;
    for (int i = 0; i < b->p->n_quants; i++) {
        const nyb_quant *q = &b->p->quants[i];

        if (q->slot == NYB_SLOT_FWD_X && q->real == real && q->codes >= 0 &&
            same_spec(&q->spec, spec))
            return i;
    }
    return -1;
}

/* The operand of a slot: a quant of the real buffer, or the buffer itself. */
static nyb_source make_source(builder *b, int layer, nyb_slot slot, const nyb_row *row, int real)
{
    nyb_source s = {-1, real};

    if (!nyb_row_is_f32(row)) {
        s.quant = slot == NYB_SLOT_FWD_X ? shared_x(b, real, &row->spec) : -1;
        if (s.quant < 0)
            s.quant = add_quant(b, layer, slot, &row->spec, real, 0, -1, false);
        s.real = -1;
    }
    return s;
}

/* ---- products -------------------------------------------------------------------------------- */

static void touch_source(builder *b, const nyb_source *s)
{
    touch(b, s->quant >= 0 ? b->p->quants[s->quant].codes : s->real);
}

static const nyb_format *source_format(const builder *b, const nyb_source *s)
{
    return s->quant >= 0 ? b->p->quants[s->quant].packed.format : nyb_format_find("f32");
}

static void add_product(builder *b, int layer, nyb_product product, const nyb_source *a, int n_a,
                        const nyb_source *second, int out, bool add)
{
    nyb_step *s = new_step(b, NYB_STEP_PRODUCT, layer);
    nyb_conv_shape shape = product_shape(b, layer);

    if (!s)
        return;
    s->product = product;
    s->n_a = n_a;
    memcpy(s->a, a, (size_t)n_a * sizeof *a);
    s->b = *second;
    s->add = add;
    s->out = out;
    fail(b, nyb_conv_shape_check(&shape, b->err));
    if (b->status == NYB_OK)
        fail(b, nyb_conv_create(b->g->context, product, &shape, source_format(b, a),
                                source_format(b, second), (size_t)n_a, NULL, &s->conv, b->err));
    if (b->status != NYB_OK)
        return;
    for (int i = 0; i < n_a; i++)
        touch_source(b, &a[i]);
    touch_source(b, second);
    touch(b, out);
    scratch(b, nyb_conv_scratch_bytes(s->conv));
    b->p->n_steps++;
}

static void forward_gemm(builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool finishing = b->p->mode == NYB_MODE_FINISH;
    const int real = b->value[l->in[0]];
    nyb_row rows[NYB_SLOTS], trained[NYB_SLOTS];
    nyb_source x, w;

    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    nyb_graph_rows(b->g->model, &b->g->recipe, layer, NYB_MODE_TRAIN, trained);
    if (finishing &&
        !nyb_row_is_f32(&trained[NYB_SLOT_FWD_X])) /* clips are observed during FNT too */
        add_quant(b, layer, NYB_SLOT_FWD_X, &trained[NYB_SLOT_FWD_X].spec, real, 0, -1, true);
    x = make_source(b, layer, NYB_SLOT_FWD_X, &rows[NYB_SLOT_FWD_X], real);
    w = make_source(b, layer, NYB_SLOT_FWD_W, &rows[NYB_SLOT_FWD_W],
                    param_buffer(b, layer, 0, NYB_HOME_PARAM));
    b->x[layer] = x.quant;
    b->w[layer] = w.quant;
    b->value[layer] = add_buffer(b, "output", layer, NYB_HOME_PLANNED, -1,
                                 nyb_shape_size(batched(b, layer)) * sizeof(float));
    if (b->status == NYB_OK)
        add_product(b, layer, NYB_PRODUCT_FWD, &x, 1, &w, b->value[layer], false);
}

/* The gradient buffer of an input, and whether to add to what other consumers left there. */
static int gradient_of(builder *b, int layer, bool *add)
{
    *add = b->grad[layer] >= 0;
    if (!*add)
        b->grad[layer] = add_buffer(b, "gradient", layer, NYB_HOME_PLANNED, -1,
                                    nyb_shape_size(batched(b, layer)) * sizeof(float));
    return b->grad[layer];
}

static void op_shapes(builder *b, int layer, nyb_op_args *args)
{
    const nyb_layer *l = &b->g->model->layers[layer];

    args->context = b->g->context;
    args->attr = layer == b->g->model->n_layers - 1 ? &b->g->loss : &l->attr;
    for (int i = 0; i < l->op->n_inputs; i++)
        args->in_shape[i] = batched(b, l->in[i]);
    args->out_shape = batched(b, layer);
    args->training = b->p->mode == NYB_MODE_TRAIN || b->p->mode == NYB_MODE_FINISH;
    if (l->op->scratch_bytes)
        scratch(b, l->op->scratch_bytes(&l->attr, args->in_shape));
}

static void bias_gradient(builder *b, int layer)
{
    nyb_step *s = new_step(b, NYB_STEP_BACKWARD, layer);

    if (!s)
        return;
    op_shapes(b, layer, &s->args);
    s->dout = b->grad[layer];
    touch(b, s->dout);
    b->p->n_steps++;
}

static void weight_gradient(builder *b, int layer, const nyb_row *rows, nyb_source dy, int real_dy)
{
    const nyb_row *row = &rows[NYB_SLOT_WGRAD_DY];
    const int real_x = b->value[b->g->model->layers[layer].in[0]];
    nyb_source a[NYB_SAMPLES_MAX], x;
    const int n = nyb_row_is_f32(row) ? 1 : row->samples;

    if (dy.quant >= 0 && same_spec(&row->spec, &b->p->quants[dy.quant].spec))
        a[0] = dy; /* SMP sample 0 is the dX draw */
    else
        a[0] = make_source(b, layer, NYB_SLOT_WGRAD_DY, row, real_dy);
    for (int j = 1; j < n; j++)
        a[j] = (nyb_source){
            add_quant(b, layer, NYB_SLOT_WGRAD_DY, &row->spec, real_dy, j, a[0].quant, false), -1};
    if (b->x[layer] >= 0 &&
        same_spec(&rows[NYB_SLOT_WGRAD_X].spec, &b->p->quants[b->x[layer]].spec))
        x = (nyb_source){b->x[layer], -1};
    else
        x = make_source(b, layer, NYB_SLOT_WGRAD_X, &rows[NYB_SLOT_WGRAD_X], real_x);
    if (b->status == NYB_OK)
        add_product(b, layer, NYB_PRODUCT_DW, a, n, &x,
                    param_buffer(b, layer, 0, NYB_HOME_GRADIENT), false);
}

static void backward_gemm(builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const int real_dy = b->grad[layer];
    nyb_row rows[NYB_SLOTS];
    nyb_source dy = {-1, real_dy}, w;
    const bool wants_dx = b->g->model->layers[l->in[0]].trained;
    bool add;

    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    if (l->attr.bias)
        bias_gradient(b, layer);
    if (wants_dx) {
        dy = make_source(b, layer, NYB_SLOT_DGRAD_DY, &rows[NYB_SLOT_DGRAD_DY], real_dy);
        if (b->w[layer] >= 0 &&
            same_spec(&rows[NYB_SLOT_DGRAD_W].spec, &b->p->quants[b->w[layer]].spec))
            w = (nyb_source){b->w[layer], -1};
        else
            w = make_source(b, layer, NYB_SLOT_DGRAD_W, &rows[NYB_SLOT_DGRAD_W],
                            param_buffer(b, layer, 0, NYB_HOME_PARAM));
    }
    if (b->status == NYB_OK)
        weight_gradient(b, layer, rows, dy, real_dy);
    if (b->status == NYB_OK && wants_dx) {
        const int dx = gradient_of(b, l->in[0], &add);

        add_product(b, layer, NYB_PRODUCT_DX, &dy, 1, &w, dx, add);
    }
}

/* ---- the other operators --------------------------------------------------------------------- */

static void forward_op(builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool is_loss = layer == b->g->model->n_layers - 1;
    nyb_step *s;
    size_t n_saved;

    if (!strcmp(l->op->name, "flatten")) { /* the same memory under another shape */
        b->value[layer] = b->value[l->in[0]];
        return;
    }
    b->value[layer] = add_buffer(b, "output", layer, is_loss ? NYB_HOME_RESULT : NYB_HOME_PLANNED,
                                 -1, nyb_shape_size(batched(b, layer)) * sizeof(float));
    s = new_step(b, NYB_STEP_FORWARD, layer);
    if (!s)
        return;
    op_shapes(b, layer, &s->args);
    n_saved = l->op->saved_bytes ? l->op->saved_bytes(&l->attr, s->args.in_shape) : 0;
    if (n_saved)
        b->saved[layer] = add_buffer(b, "saved", layer, NYB_HOME_PLANNED, -1, n_saved);
    s->saved = b->saved[layer];
    s->out = b->value[layer];
    for (int i = 0; i < l->op->n_inputs; i++) {
        s->in[i] = b->value[l->in[i]];
        touch(b, s->in[i]);
    }
    touch(b, s->out);
    touch(b, s->saved);
    b->p->n_steps++;
}

/* Gradients that pass unchanged: the first input takes over the output's buffer. */
static bool passes_gradient(const nyb_op *op)
{
    return !strcmp(op->name, "add") || !strcmp(op->name, "flatten");
}

static void backward_op(builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool is_loss = layer == b->g->model->n_layers - 1;
    bool alias =
        passes_gradient(l->op) && b->g->model->layers[l->in[0]].trained && b->grad[l->in[0]] < 0;
    bool any = l->op->n_params > 0;
    nyb_step *s = new_step(b, NYB_STEP_BACKWARD, layer);

    if (!s)
        return;
    op_shapes(b, layer, &s->args);
    s->dout = is_loss ? -1 : b->grad[layer];
    s->saved = b->saved[layer];
    for (int i = 0; i < l->op->n_inputs; i++) {
        const int din_layer = l->in[i];

        if (!b->g->model->layers[din_layer].trained)
            continue; /* nobody wants the gradient of data */
        if (i == 0 && alias) {
            b->grad[din_layer] = b->grad[layer];
            continue;
        }
        s->din[i] = gradient_of(b, din_layer, &s->args.din_add[i]);
        any = true;
    }
    if (!any)
        return;
    for (int i = 0; i < l->op->n_inputs; i++) {
        if (l->op->backward_in) {
            s->in[i] = b->value[l->in[i]];
            touch(b, s->in[i]);
        }
        touch(b, s->din[i]);
    }
    if (l->op->backward_out) {
        s->out = b->value[layer];
        touch(b, s->out);
    }
    touch(b, s->dout);
    touch(b, s->saved);
    b->p->n_steps++;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void build_all(builder *b)
{
    const nyb_model *m = b->g->model;
    const bool training = b->p->mode == NYB_MODE_TRAIN || b->p->mode == NYB_MODE_FINISH;

    b->value[0] = add_buffer(b, "input", 0, NYB_HOME_INPUT, -1,
                             nyb_shape_size(batched(b, 0)) * sizeof(float));
    for (int i = 1; i < m->n_layers && b->status == NYB_OK; i++) {
        if (m->layers[i].op->is_gemm)
            forward_gemm(b, i);
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
            backward_gemm(b, i);
        else
            backward_op(b, i);
    }
}

nyb_status nyb_program_build(nyb_graph *graph, nyb_program *program, nyb_error *err)
{
    const size_t n = (size_t)graph->model->n_layers;
    int *lists = nyb_alloc(5 * n * sizeof *lists);
    builder b = {.g = graph, .p = program, .err = err, .status = NYB_OK};

    if (!lists)
        return nyb_fail(err, NYB_MEMORY, "out of memory while compiling '%s'", graph->model->name);
    memset(lists, -1, 5 * n * sizeof *lists);
    b.value = lists;
    b.grad = lists + n;
    b.saved = lists + 2 * n;
    b.x = lists + 3 * n;
    b.w = lists + 4 * n;
    build_all(&b);
    nyb_free(lists);
    return b.status;
}

void nyb_program_free(nyb_program *program)
{
    for (int i = 0; i < program->n_steps; i++)
        nyb_conv_destroy(&program->steps[i].conv);
    nyb_free(program->steps);
    nyb_free(program->buffers);
    nyb_free(program->quants);
    *program = (nyb_program){0};
}
