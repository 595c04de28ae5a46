/* GEMM layers: the three products and the engines that run them. */
#include "graph/build.h"

/* ---- products -------------------------------------------------------------------------------- */

static nyb_wanted wanted(const nyb_builder *b, int layer, const nyb_row rows[NYB_SLOTS],
                         nyb_slot slot, size_t group, bool packs, bool fills)
{
    return (nyb_wanted){
        .row = &rows[slot],
        .group = group,
        .packs = packs,
        .fills = fills,
        .draws = slot % 2
                     ? 1
                     : nyb_build_count_draws(b, layer, (nyb_product)(slot / 2), rows, group, packs),
        .scaled = b->g->model->layers[layer].op->depthwise,
        .unmixes = nyb_mix_length(rows[slot].spec.mix) > 0 && nyb_row_is_f32(&rows[slot ^ 1])};
}

/* Grouped dW is a product of two matrices: only channels, taps and pixels matter. */
static nyb_conv_shape grouped_shape(nyb_product product, const nyb_conv_shape *s, size_t pixels)
{
    if (product != NYB_PRODUCT_DW)
        return *s;
    return (nyb_conv_shape){.n = 1,
                            .h = s->r,
                            .w = pixels + s->s - 1,
                            .c = s->c,
                            .o = s->o,
                            .r = s->r,
                            .s = s->s,
                            .stride = 1};
}

/* s->product, shape, a, b are set. */
static void plan_grouped(nyb_builder *b, nyb_step *s, size_t group)
{
    const nyb_grouped *a = &b->p->quants[s->a[0].quant].grouped;
    const nyb_grouped *second = &b->p->quants[s->b.quant].grouped;
    const nyb_conv_shape shape = grouped_shape(s->product, &s->shape, a->packed.cols);

    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_group_conv_create(b->g->context, s->product, &shape, a->packed.format,
                                                second->packed.format, group, (size_t)s->n_a,
                                                &s->group, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_group_conv_scratch_bytes(s->group));
}

/* Rows are such that nothing is summed in groups or in an accumulator (rows.c). */
static void plan_depthwise(nyb_builder *b, nyb_step *s)
{
    nyb_build_fail(
        b, nyb_depthwise_create(b->g->context, s->product, &s->shape, nyb_build_format(b, &s->a[0]),
                                nyb_build_format(b, &s->b), (size_t)s->n_a,
                                b->g->recipe.engine == NYB_ENGINE_F32, &s->depthwise, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_depthwise_scratch_bytes(s->depthwise));
}

static void plan_product(nyb_builder *b, nyb_step *s, size_t group)
{
    const nyb_conv_options options = nyb_build_options(b, s->layer, s->product, &s->a[0], &s->b);

    if (b->g->model->layers[s->layer].op->depthwise) {
        plan_depthwise(b, s);
        return;
    }
    nyb_build_fail(b, nyb_conv_shape_check(&s->shape, b->err));
    if (group > 0) {
        plan_grouped(b, s, group);
        return;
    }
    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_build_check_codes(b, s, &options));
    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_conv_create_with(b->g->context, s->product, &s->shape,
                                               nyb_build_format(b, &s->a[0]),
                                               nyb_build_format(b, &s->b), (size_t)s->n_a, &options,
                                               &s->conv, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_conv_scratch_bytes(s->conv));
}

/* Whether the gradient of a forward operand is more than that of its quantized values. */
static bool estimates(const nyb_row *row)
{
    return !nyb_row_is_f32(row) && (row->ste == NYB_STE_MASK || row->spec.scale->backward);
}

/* A window of one pixel that strides over an f32 tensor. */
static bool skips_pixels(const nyb_builder *b, int layer, const nyb_row *rows)
{
    const nyb_conv_shape s = nyb_build_product_shape(b, layer);

    return s.r == 1 && s.s == 1 && s.stride > 1 && s.pad == 0 &&
           !b->g->model->layers[layer].op->depthwise && nyb_row_is_f32(&rows[NYB_SLOT_FWD_X]) &&
           nyb_row_is_f32(&rows[NYB_SLOT_WGRAD_X]);
}

/* Whether a layer's backward pass may read its input as it is; true costs memory at worst. */
static bool reads_later(const nyb_builder *b, int layer)
{
    const nyb_op *op = b->g->model->layers[layer].op;
    nyb_row rows[NYB_SLOTS];

    if (!op->is_gemm)
        return op->backward_in;
    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    const nyb_row *x = &rows[NYB_SLOT_FWD_X], *later = &rows[NYB_SLOT_WGRAD_X];
    return !skips_pixels(b, layer, rows) &&
           (nyb_row_is_f32(later) || estimates(x) || nyb_build_needs_taps(b, layer, later) ||
            !nyb_build_packs(x, NYB_SLOT_FWD_X) || !nyb_build_same_spec(&x->spec, &later->spec));
}

/* Whether what a layer sees of its input becomes a tensor of its own: kept for dW, not the whole,
 * which nobody else wants to be kept. */
static bool samples(const nyb_builder *b, int layer, const nyb_row *rows)
{
    const nyb_model *m = b->g->model;
    const int x = m->layers[layer].in[0];

    if (!skips_pixels(b, layer, rows) || b->g->context->unfused || !nyb_mode_trains(b->p->mode) ||
        x == 0 || m->layers[x].op->backward_out)
        return false;
    for (int i = x + 1; i < m->n_layers; i++)
        for (int j = 0; j < m->layers[i].op->n_inputs; j++)
            if (m->layers[i].in[j] == x && reads_later(b, i))
                return false;
    return true;
}

static int add_sample(nyb_builder *b, int layer, int real)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_SAMPLE, layer);

    if (!s)
        return -1;
    s->shape = nyb_build_product_shape(b, layer);
    nyb_build_fail(b, nyb_conv_shape_check(&s->shape, b->err));
    s->in[0] = real;
    s->out = b->sampled[layer] =
        nyb_build_buffer(b, "sampled", layer, NYB_HOME_PLANNED, -1,
                         s->shape.n * s->shape.oh * s->shape.ow * s->shape.c * sizeof(float));
    b->p->n_steps++;
    return s->out;
}

/* The layer's shape, or that of the pixels it sees. */
static nyb_conv_shape shape_of(const nyb_builder *b, int layer, nyb_product product)
{
    nyb_conv_shape s = nyb_build_product_shape(b, layer);

    if (b->sampled[layer] >= 0 && product != NYB_PRODUCT_DX) {
        s.h = b->g->model->layers[layer].shape.h;
        s.w = b->g->model->layers[layer].shape.w;
        s.stride = 1;
    }
    return s;
}

/* group: of both operands, or 0. */
static void add_product(nyb_builder *b, int layer, nyb_product product, size_t group,
                        const nyb_source *a, int n_a, const nyb_source *second, int out, bool add)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_PRODUCT, layer);

    if (!s)
        return;
    s->product = product;
    s->shape = shape_of(b, layer, product);
    s->n_a = n_a;
    memcpy(s->a, a, (size_t)n_a * sizeof *a);
    s->b = *second;
    s->add = add;
    s->out = out;
    plan_product(b, s, group);
    if (b->status == NYB_OK)
        b->p->n_steps++;
}

void nyb_build_gemm_forward(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool finishing =
        b->p->mode == NYB_MODE_FINISH && b->g->recipe.finish_keep == NYB_KEEP_WEIGHTS;
    int real = b->value[l->in[0]];
    nyb_row rows[NYB_SLOTS], trained[NYB_SLOTS];
    nyb_source x, w;

    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    nyb_graph_rows(b->g->model, &b->g->recipe, layer, NYB_MODE_TRAIN, trained);
    if (finishing && nyb_row_is_f32(&rows[NYB_SLOT_FWD_X]) &&
        !nyb_row_is_f32(&trained[NYB_SLOT_FWD_X]) &&
        nyb_build_packs(&trained[NYB_SLOT_FWD_X],
                        NYB_SLOT_FWD_X)) /* clips are observed during FNT too */
        nyb_build_packed(b, layer, NYB_SLOT_FWD_X, &trained[NYB_SLOT_FWD_X].spec, real, 0, -1,
                         true);
    if (samples(b, layer, rows))
        real = add_sample(b, layer, real);
    const size_t group = nyb_build_group(b, layer, NYB_PRODUCT_FWD, rows);
    const bool packs = nyb_build_sums_codes(b, layer, NYB_PRODUCT_FWD, rows);
    const nyb_wanted want_x = wanted(b, layer, rows, NYB_SLOT_FWD_X, group, packs, false);
    const nyb_wanted want_w = wanted(b, layer, rows, NYB_SLOT_FWD_W, group, packs, false);
    x = nyb_build_source(b, layer, NYB_SLOT_FWD_X, &want_x, real, -1);
    w = nyb_build_source(b, layer, NYB_SLOT_FWD_W, &want_w,
                         nyb_build_param(b, layer, 0, NYB_HOME_PARAM), -1);
    b->x[layer] = x.quant;
    b->w[layer] = w.quant;
    x = nyb_build_order(b, layer, NYB_SLOT_FWD_X, &want_x, x);
    w = nyb_build_order(b, layer, NYB_SLOT_FWD_W, &want_w, w);
    b->value[layer] = nyb_build_buffer(b, "output", layer, NYB_HOME_PLANNED, -1,
                                       nyb_shape_size(nyb_build_shape(b, layer)) * sizeof(float));
    if (b->status == NYB_OK)
        add_product(b, layer, NYB_PRODUCT_FWD, group, &x, 1, &w, b->value[layer], false);
}

static void bias_gradient(nyb_builder *b, int layer)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_BACKWARD, layer);

    if (!s)
        return;
    nyb_build_op_args(b, layer, &s->args);
    s->dout = b->grad[layer];
    b->p->n_steps++;
}

/* One tap's dW, by an engine that knows nothing of taps. */
static void plan_one_tap(nyb_builder *b, nyb_step *s)
{
    const nyb_conv_shape *shape = &s->shape;
    nyb_conv_options options = nyb_build_options(b, s->layer, NYB_PRODUCT_DW, &s->a[0], &s->b);
    nyb_conv_shape one = {.n = 1,
                          .h = 1,
                          .w = b->p->quants[s->quant].view.rows,
                          .c = shape->c,
                          .o = shape->o,
                          .r = 1,
                          .s = 1,
                          .stride = 1};

    options.engine = NYB_ENGINE_AUTO;
    options.image_lines = false; /* one image is all of them here */
    s->tap = nyb_build_buffer(b, "tap", s->layer, NYB_HOME_PLANNED, -1, shape->o * shape->c * 4);
    nyb_build_fail(b, nyb_conv_shape_check(&one, b->err));
    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_build_check_codes(b, s, &options));
    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_conv_create_with(b->g->context, NYB_PRODUCT_DW, &one,
                                               nyb_build_format(b, &s->a[0]),
                                               nyb_build_format(b, &s->b), (size_t)s->n_a, &options,
                                               &s->conv, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_conv_scratch_bytes(s->conv));
}

/* What the taps step that rounds x needs beside its operands. */
static void taps_buffers(nyb_builder *b, nyb_step *s)
{
    const nyb_quant *q = &b->p->quants[s->quant];
    const nyb_conv_shape *shape = &s->shape;

    if (q->from >= 0)
        s->in[0] = nyb_build_buffer(b, "values", s->layer, NYB_HOME_PLANNED, -1,
                                    shape->n * shape->h * shape->w * shape->c * sizeof(float));
    if (q->windows)
        s->tap = nyb_build_buffer(b, "levels", s->layer, NYB_HOME_PLANNED, -1,
                                  shape->r * shape->s * sizeof(float));
    else if (q->groups || q->packs)
        s->in[1] = nyb_build_buffer(b, "patches", s->layer, NYB_HOME_PLANNED, -1,
                                    q->view.rows * q->view.cols * sizeof(float));
}

/* dW over the taps of x, a quant of patch rows. real_x: x's patch rows are rounded for each, dy
 * once; -1: x's codes are those of all taps. */
static void add_taps(nyb_builder *b, int layer, size_t group, const nyb_source *dy, int n, int x,
                     int real_x)
{
    nyb_step *s = x < 0 ? NULL : nyb_build_step(b, NYB_STEP_TAPS, layer);

    if (!s)
        return;
    s->product = NYB_PRODUCT_DW;
    s->quant = x;
    s->shape = nyb_build_product_shape(b, layer);
    s->n_a = n;
    memcpy(s->a, dy, (size_t)n * sizeof *dy);
    s->b = nyb_build_source_of(b, x);
    s->out = nyb_build_param(b, layer, 0, NYB_HOME_GRADIENT);
    nyb_build_fail(b, nyb_conv_shape_check(&s->shape, b->err));
    if (group > 0)
        plan_grouped(b, s, group);
    else
        plan_one_tap(b, s);
    if (b->status != NYB_OK)
        return;
    if (real_x >= 0)
        taps_buffers(b, s);
    b->p->n_steps++;
}

/* Filled up with zeros, unless there are none or the rows are very short. */
static bool fills_up(const nyb_builder *b, int layer, const nyb_row *dy, const nyb_row *x)
{
    const nyb_layer *l = &b->g->model->layers[layer];

    return b->g->batch * l->shape.h * l->shape.w > NYB_BLOCK_CODES / 2 &&
           dy->spec.format->units[0] == 0 && x->spec.format->units[0] == 0;
}

/* x as dW reads it: the pixels that were kept of it, or a buffer that is x made again. fuse.c
 * decides who makes it; without it that is x itself. */
static int later_x(nyb_builder *b, int layer)
{
    const int from = b->g->model->layers[layer].in[0], x = b->value[from];
    nyb_step *s;

    if (b->sampled[layer] >= 0)
        return b->sampled[layer];
    if (b->g->context->unfused || b->p->buffers[x].home != NYB_HOME_PLANNED)
        return x;
    for (int i = b->p->n_forward; i < b->p->n_steps; i++)
        if (b->p->steps[i].kind == NYB_STEP_AGAIN && b->p->steps[i].in[0] == x)
            return b->p->steps[i].out;
    s = nyb_build_step(b, NYB_STEP_AGAIN, from);
    if (!s)
        return x;
    s->in[0] = x;
    s->out = nyb_build_buffer(b, "again", from, NYB_HOME_PLANNED, -1, b->p->buffers[x].n_bytes);
    b->p->n_steps++;
    return s->out;
}

/* dy: the n_dy draws that dX takes. */
static void weight_gradient(nyb_builder *b, int layer, const nyb_row *rows, const nyb_source *dy,
                            int n_dy, int real_dy)
{
    const nyb_row *row = &rows[NYB_SLOT_WGRAD_DY], *x_row = &rows[NYB_SLOT_WGRAD_X];
    const size_t group = nyb_build_group(b, layer, NYB_PRODUCT_DW, rows);
    const bool moves =
        group > 0 && nyb_build_has_window(b, layer) && !nyb_build_needs_taps(b, layer, x_row);
    const bool fills = group > 0 && (moves || fills_up(b, layer, row, x_row));
    const bool packs = nyb_build_sums_codes(b, layer, NYB_PRODUCT_DW, rows);
    const nyb_wanted want_dy = wanted(b, layer, rows, NYB_SLOT_WGRAD_DY, group, packs, fills);
    const nyb_wanted want_x = wanted(b, layer, rows, NYB_SLOT_WGRAD_X, group, packs, fills);
    const int n = want_dy.draws;
    nyb_source a[NYB_SAMPLES_MAX], x;

    nyb_build_draws(b, layer, NYB_SLOT_WGRAD_DY, &want_dy, real_dy, dy, n_dy, a);
    for (int j = 0; j < n; j++)
        a[j] = nyb_build_order(b, layer, NYB_SLOT_WGRAD_DY, &want_dy, a[j]);
    if (nyb_build_needs_taps(b, layer, x_row)) {
        const int from = x_row->from == NYB_FROM_FWD ? b->x[layer] : -1;
        const int real_x = later_x(b, layer);
        const int quant =
            nyb_build_rounded(b, layer, NYB_SLOT_WGRAD_X, &want_x, real_x, 0, from, true);

        if (b->status == NYB_OK)
            add_taps(b, layer, group, a, n, quant, real_x);
        return;
    }
    if (b->x[layer] >= 0 && nyb_build_may_share(&b->p->quants[b->x[layer]], &want_x, true))
        x = nyb_build_source_of(b, b->x[layer]);
    else
        x = nyb_build_source(b, layer, NYB_SLOT_WGRAD_X, &want_x, later_x(b, layer), b->x[layer]);
    x = nyb_build_order(b, layer, NYB_SLOT_WGRAD_X, &want_x, x);
    if (b->status == NYB_OK && moves)
        add_taps(b, layer, group, a, n, x.quant, -1);
    else if (b->status == NYB_OK)
        add_product(b, layer, NYB_PRODUCT_DW, group, a, n, &x,
                    nyb_build_param(b, layer, 0, NYB_HOME_GRADIENT), false);
}

/* row, quant, real: of the tensor; from: gradient of its quantized values, mixed as they are or
 * not; out: that of the tensor, or -1: nobody wants it. */
static void add_estimate(nyb_builder *b, int layer, const nyb_row *row, int quant, int real,
                         bool mixed, int from, int out, bool add)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_ESTIMATE, layer);

    if (!s || quant < 0)
        return;
    s->quant = quant;
    s->masks = row->ste == NYB_STE_MASK && !row->spec.scale->backward;
    s->mixed = mixed;
    s->in[0] = estimates(row) ? real : -1;
    s->dout = from;
    s->out = out;
    s->add = add;
    nyb_build_scratch(
        b, nyb_round_scratch_bytes(&b->p->quants[quant].spec, &b->p->quants[quant].view));
    b->p->n_steps++;
}

static int count_readers(const nyb_model *m, int layer)
{
    int n = 0;

    for (int i = layer + 1; i < m->n_layers; i++)
        for (int j = 0; j < m->layers[i].op->n_inputs; j++)
            n += m->layers[i].in[j] == layer;
    return n;
}

/* store = bf16: whether a layer's dX is all that a batchnorm, or its relu, gets as dout. */
static bool rounds_gradient(const nyb_builder *b, int layer)
{
    const nyb_model *m = b->g->model;
    int x = m->layers[layer].in[0];

    if (b->g->recipe.store == NYB_STORE_F32 || count_readers(m, x) != 1)
        return false;
    if (!strcmp(m->layers[x].op->name, "relu"))
        x = m->layers[x].in[0];
    return x > 0 && count_readers(m, x) == 1 && m->layers[x].op->stores_in;
}

/* dX of samples that were reflected before they were rounded, to that of the samples. */
static void add_reflect(nyb_builder *b, int layer, int quant, int from, int out, bool add)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_REFLECT, layer);

    if (!s)
        return;
    s->quant = quant;
    s->dout = from;
    s->out = out;
    s->add = add;
    b->p->n_steps++;
}

static void input_gradient(nyb_builder *b, int layer, const nyb_row *rows, const nyb_source *dy,
                           int n_dy, const nyb_source *w)
{
    const size_t group = nyb_build_group(b, layer, NYB_PRODUCT_DX, rows);
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool trained = b->g->model->layers[l->in[0]].trained;
    const bool reflects = dy->quant >= 0 && b->p->quants[dy->quant].reflects >= 0;
    const bool mixed = nyb_build_stays_mixed(b, &rows[NYB_SLOT_DGRAD_W], b->w[layer]);
    const bool last = !mixed && !estimates(&rows[NYB_SLOT_FWD_X]);
    bool add = false;
    int dx, out = -1;

    if (!reflects && last) {
        dx = nyb_build_gradient(b, l->in[0], &add);
        add_product(b, layer, NYB_PRODUCT_DX, group, dy, n_dy, w, dx, add);
        if (b->status == NYB_OK)
            b->p->steps[b->p->n_steps - 1].rounds = rounds_gradient(b, layer);
        return;
    }
    dx = nyb_build_buffer(b, "gradient", layer, NYB_HOME_PLANNED, -1,
                          nyb_shape_size(nyb_build_shape(b, l->in[0])) * sizeof(float));
    add_product(b, layer, NYB_PRODUCT_DX, group, dy, n_dy, w, dx, false);
    if (trained) /* sets add */
        out = nyb_build_gradient(b, l->in[0], &add);
    if (reflects)
        add_reflect(b, layer, dy->quant, dx, last ? out : dx, last && add);
    if (reflects && last && b->status == NYB_OK)
        b->p->steps[b->p->n_steps - 1].rounds = rounds_gradient(b, layer);
    if (!last)
        add_estimate(b, layer, &rows[NYB_SLOT_FWD_X], b->x[layer], b->value[l->in[0]], mixed, dx,
                     out, add);
}

void nyb_build_gemm_backward(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const int real_dy = b->grad[layer];
    nyb_row rows[NYB_SLOTS];
    nyb_source dy[NYB_SAMPLES_MAX] = {{-1, real_dy}}, w = {-1, -1};
    nyb_source dx_dy[NYB_SAMPLES_MAX]; /* dy in dX's order */
    int n_dy = 1;
    bool wants_dx = b->g->model->layers[l->in[0]].trained;

    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    if (estimates(&rows[NYB_SLOT_FWD_X]) && rows[NYB_SLOT_FWD_X].spec.scale->n_params > 0)
        wants_dx = true; /* its parameters learn from dx, also where the data do not */
    if (l->attr.bias)
        bias_gradient(b, layer);
    if (wants_dx) {
        const size_t group = nyb_build_group(b, layer, NYB_PRODUCT_DX, rows);
        const bool packs = nyb_build_sums_codes(b, layer, NYB_PRODUCT_DX, rows);
        const nyb_wanted want_dy = wanted(b, layer, rows, NYB_SLOT_DGRAD_DY, group, packs, false);
        const nyb_wanted want_w = wanted(b, layer, rows, NYB_SLOT_DGRAD_W, group, packs, false);

        n_dy = want_dy.draws;
        if (b->status == NYB_OK)
            nyb_build_fail(b, nyb_build_check_draws(b, layer, &rows[NYB_SLOT_DGRAD_DY], n_dy));
        nyb_build_draws(b, layer, NYB_SLOT_DGRAD_DY, &want_dy, real_dy, NULL, 0, dy);
        if (b->w[layer] >= 0 && nyb_build_may_share(&b->p->quants[b->w[layer]], &want_w, true))
            w = nyb_build_source_of(b, b->w[layer]);
        else
            w = nyb_build_source(b, layer, NYB_SLOT_DGRAD_W, &want_w,
                                 nyb_build_param(b, layer, 0, NYB_HOME_PARAM), b->w[layer]);
        for (int j = 0; j < n_dy; j++)
            dx_dy[j] = nyb_build_order(b, layer, NYB_SLOT_DGRAD_DY, &want_dy, dy[j]);
        w = nyb_build_order(b, layer, NYB_SLOT_DGRAD_W, &want_w, w);
    }
    if (b->status == NYB_OK)
        weight_gradient(b, layer, rows, dy, n_dy, real_dy);
    const bool mixed = nyb_build_stays_mixed(b, &rows[NYB_SLOT_WGRAD_X], b->x[layer]);
    if (b->status == NYB_OK && (mixed || estimates(&rows[NYB_SLOT_FWD_W]))) {
        const int gradient = nyb_build_param(b, layer, 0, NYB_HOME_GRADIENT);

        add_estimate(b, layer, &rows[NYB_SLOT_FWD_W], b->w[layer],
                     nyb_build_param(b, layer, 0, NYB_HOME_PARAM), mixed, gradient, gradient,
                     false);
    }
    if (b->status == NYB_OK && wants_dx)
        input_gradient(b, layer, rows, dx_dy, n_dy, &w);
}
