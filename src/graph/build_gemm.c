/* GEMM layers: which tensors are quantized, where quantizations are shared, the three products. */
#include "gemm/accumulate.h"
#include "gemm/mf.h"
#include "graph/build.h"

/* ---- shapes ---------------------------------------------------------------------------------- */

static nyb_conv_shape product_shape(const nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const nyb_shape x = nyb_build_shape(b, l->in[0]);

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

/* A slot's tensor as a matrix. Weights of dgrad are [o][r s c], so that their contraction (o) runs
 * down the rows; both operands of wgrad contract over pixels, their rows. */
static nyb_view slot_view(const nyb_builder *b, int layer, nyb_slot slot, const nyb_spec *spec)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const nyb_conv_shape s = product_shape(b, layer);
    const bool linear = !strcmp(l->op->name, "linear");
    const size_t filter = s.r * s.s * s.c, pixels = b->g->batch * l->shape.h * l->shape.w;
    nyb_view v = {0};

    switch (slot) {
    case NYB_SLOT_FWD_X:
    case NYB_SLOT_WGRAD_X:
        v = (nyb_view){.rows = s.n * s.h * s.w, .cols = s.c, .run = linear ? s.c : s.h * s.w * s.c};
        break;
    case NYB_SLOT_FWD_W:
        v = (nyb_view){.rows = s.o * s.r * s.s, .cols = s.c, .run = filter};
        if (spec->group == NYB_GROUP_TILE16)
            v = (nyb_view){.rows = s.o, .cols = filter, .run = filter};
        break;
    case NYB_SLOT_DGRAD_W:
        v = (nyb_view){.rows = s.o, .cols = filter, .run = filter};
        break;
    case NYB_SLOT_DGRAD_DY:
    case NYB_SLOT_WGRAD_DY:
        v = (nyb_view){
            .rows = pixels, .cols = s.o, .run = linear ? s.o : l->shape.h * l->shape.w * s.o};
        break;
    }
    v.down = slot == NYB_SLOT_DGRAD_W || slot == NYB_SLOT_WGRAD_DY || slot == NYB_SLOT_WGRAD_X;
    return v;
}

/* Groups and mixes that do not follow the contraction are the same for every product. */
static bool axis_free(const nyb_spec *spec)
{
    return spec->group != NYB_GROUP_BLOCK16 && spec->group != NYB_GROUP_BLOCK32 &&
           spec->group != NYB_GROUP_BLOCK64 && nyb_mix_length(spec->mix) == 0;
}

/* A window that shifts breaks groups of pixels: x is then rounded tap by tap. */
static bool needs_taps(const nyb_builder *b, int layer, const nyb_row *x)
{
    const nyb_conv_shape s = product_shape(b, layer);

    return !nyb_row_is_f32(x) && !axis_free(&x->spec) && (s.r > 1 || s.s > 1 || s.stride > 1);
}

/* ---- quantization nodes ---------------------------------------------------------------------- */

/* The buffers of what a quant leaves. */
static void touch_values(nyb_builder *b, int quant)
{
    const nyb_quant *q = &b->p->quants[quant];

    nyb_build_touch(b, q->values);
    nyb_build_touch(b, q->codes);
    nyb_build_touch(b, q->scales);
}

static void add_quant_step(nyb_builder *b, nyb_step_kind kind, int quant)
{
    const nyb_quant *q = &b->p->quants[quant];
    nyb_step *s = nyb_build_step(b, kind, q->layer);

    if (!s)
        return;
    s->quant = quant;
    nyb_build_touch(b, q->real);
    if (kind == NYB_STEP_ENCODE)
        nyb_build_touch(b, q->codes);
    if (kind == NYB_STEP_ROUND) {
        touch_values(b, quant);
        if (q->from >= 0)
            touch_values(b, q->from);
        if (q->from >= 0 && q->groups) { /* the values that are rounded again */
            s->in[0] = nyb_build_buffer(b, "values", q->layer, NYB_HOME_PLANNED, -1,
                                        q->view.rows * q->view.cols * sizeof(float));
            nyb_build_touch(b, s->in[0]);
        }
    }
    b->p->n_steps++;
}

/* A quant without steps; -1 after a failure. */
static int new_quant(nyb_builder *b, int layer, nyb_slot slot, const nyb_spec *spec, int real)
{
    static const uint8_t roles[NYB_SLOTS] = {
#define X(constant, word, role) role,
        NYB_SLOT_LIST(X)
#undef X
    };
    nyb_program *p = b->p;
    void *items = p->quants;

    if (!nyb_build_reserve(b, &items, p->n_quants, &p->n_quants_capacity, sizeof *p->quants))
        return -1;
    p->quants = items;
    p->quants[p->n_quants] = (nyb_quant){.layer = layer,
                                         .slot = slot,
                                         .spec = *spec,
                                         .real = real,
                                         .codes = -1,
                                         .shares = -1,
                                         .param = nyb_graph_find_learned(b->g, layer, slot),
                                         .role = roles[slot],
                                         .values = -1,
                                         .scales = -1,
                                         .taps = 1,
                                         .from = -1,
                                         .view = slot_view(b, layer, slot, spec),
                                         .product = (uint8_t)(slot / 2),
                                         .samples = 1,
                                         .pre = 1.0f,
                                         .post = 1.0f};
    return p->n_quants++;
}

/* moments, scale, encode of one real buffer. shares >= 0: its moments and scale are taken.
 * observe: moments and scale only. Returns the quant, or -1 after a failure. */
static int add_packed(nyb_builder *b, int layer, nyb_slot slot, const nyb_spec *spec, int real,
                      int sample, int shares, bool observe)
{
    const int i = new_quant(b, layer, slot, spec, real);
    nyb_quant *q = &b->p->quants[i];
    size_t rows, cols;

    if (i < 0)
        return -1;
    rows = q->view.rows;
    cols = q->view.cols;
    if (slot == NYB_SLOT_DGRAD_W) { /* as the products take weights: [o r s][c] */
        cols = product_shape(b, layer).c;
        rows = q->view.rows * q->view.cols / cols;
    }
    q->shares = shares;
    q->sample = (uint8_t)sample;
    q->packed = (nyb_packed){
        .format = spec->format, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};
    if (!observe)
        q->codes = nyb_build_buffer(b, "codes", layer, NYB_HOME_PLANNED, -1,
                                    nyb_packed_bytes(spec->format, rows, cols));
    nyb_build_scratch(b, nyb_moments_scratch_bytes(rows, cols));
    nyb_build_scratch(b, nyb_round_scratch_bytes(spec, &q->view));
    if (shares < 0) {
        add_quant_step(b, NYB_STEP_MOMENTS, i);
        add_quant_step(b, NYB_STEP_SCALE, i);
    }
    if (!observe)
        add_quant_step(b, NYB_STEP_ENCODE, i);
    return i;
}

static void rounded_values(nyb_builder *b, nyb_quant *q, bool taps)
{
    const nyb_view *v = &q->view;

    q->values = nyb_build_buffer(b,
                                 taps                        ? "patches"
                                 : q->slot == NYB_SLOT_FWD_X ? "values"
                                                             : "rounded",
                                 q->layer, NYB_HOME_PLANNED, -1, v->rows * v->cols * sizeof(float));
    /* Further samples are rounded beside the first. */
    nyb_build_scratch(b, nyb_round_up(nyb_moments_scratch_bytes(v->rows, v->cols), NYB_ALIGN) +
                             nyb_round_up(nyb_round_scratch_bytes(&q->spec, v), NYB_ALIGN) +
                             (q->samples > 1 ? 2 * v->rows * v->cols * sizeof(float) : 0));
}

/* What an operand is, and how its tensor is had. */
typedef struct wanted {
    const nyb_row *row;
    bool groups; /* codes and scales of blocks, else values or the codes of one scale */
    bool fills;  /* grouped dW: rows of pixels are filled up to whole blocks of codes */
} wanted;

/* Rows along the contraction, as group_conv.h wants them. */
static void grouped_codes(nyb_builder *b, nyb_quant *q, bool fills)
{
    const nyb_view *v = &q->view;
    const nyb_conv_shape shape = product_shape(b, q->layer);
    const bool is_w = q->slot == NYB_SLOT_DGRAD_W;
    const size_t rows = v->down ? v->cols : v->rows, group = nyb_spec_group_length(&q->spec);
    const size_t cols = !v->down ? v->cols
                        : fills  ? nyb_round_up(v->rows, NYB_BLOCK_CODES)
                                 : v->rows;

    q->groups = true;
    q->taps = is_w ? shape.r * shape.s : 1;
    q->grouped = nyb_grouped_view(q->spec.format, rows, cols, group, NULL, NULL);
    q->codes = nyb_build_buffer(b, "codes", q->layer, NYB_HOME_PLANNED, -1,
                                nyb_grouped_code_bytes(q->spec.format, rows, cols, group));
    q->scales = nyb_build_buffer(b, "scales", q->layer, NYB_HOME_PLANNED, -1,
                                 nyb_grouped_scale_count(rows, cols, group) * sizeof(float));
    nyb_build_scratch(b, nyb_moments_scratch_bytes(v->rows, v->cols));
    nyb_build_scratch(b, nyb_round_codes_scratch_bytes(&q->spec, v, &q->grouped));
}

/* A tensor to rounded values or grouped codes; from >= 0: the values of an earlier quant instead of
 * the real buffer. taps: a quant for the patch rows of one tap, rounded by the taps step. */
static int add_rounded(nyb_builder *b, int layer, nyb_slot slot, const wanted *want, int real,
                       int from, bool taps)
{
    const nyb_row *row = want->row;
    const int i = new_quant(b, layer, slot, &row->spec, real);
    nyb_quant *q = &b->p->quants[i];

    if (i < 0)
        return -1;
    q->rounds = true;
    q->from = from;
    q->samples = row->samples;
    q->pre = row->pre;
    q->post = row->post;
    q->packed.format = row->spec.format;
    if (taps) {
        const nyb_layer *l = &b->g->model->layers[layer];

        q->view.rows = b->g->batch * l->shape.h * l->shape.w;
        q->view.run = l->shape.h * l->shape.w * q->view.cols;
    }
    if (want->groups)
        grouped_codes(b, q, want->fills);
    else
        rounded_values(b, q, taps);
    if (!taps)
        add_quant_step(b, NYB_STEP_ROUND, i);
    return i;
}

static bool same_spec(const nyb_spec *a, const nyb_spec *b)
{
    return a->format == b->format && a->scale == b->scale && a->group == b->group &&
           a->rounding == b->rounding && a->sr_bits == b->sr_bits && a->mix == b->mix;
}

/* Whether an operand may use what an earlier quant of the same tensor left. */
static bool may_share(const nyb_quant *q, const wanted *want, bool down)
{
    const nyb_row *row = want->row;

    return q->groups == want->groups && same_spec(&q->spec, &row->spec) &&
           (axis_free(&row->spec) || q->view.down == down) &&
           (!q->rounds ||
            (q->samples == row->samples && q->pre == row->pre && q->post == row->post)) &&
           row->from == NYB_FROM_RAW;
}

/* An earlier layer's fwd.x quant of the same real tensor that this one may share: same spec and
 * nothing of its own, no random bits, no parameters. */
static int shared_x(const nyb_builder *b, int real, const wanted *want)
{
    const nyb_row *row = want->row;

    if (nyb_rounding_draws(row->spec.rounding) || row->spec.scale->n_params > 0 ||
        row->spec.mix != NYB_MIX_NONE)
        return -1;
    for (int i = 0; i < b->p->n_quants; i++) {
        const nyb_quant *q = &b->p->quants[i];

        if (q->slot == NYB_SLOT_FWD_X && q->real == real && (q->codes >= 0 || q->rounds) &&
            may_share(q, want, false))
            return i;
    }
    return -1;
}

static bool packs(const nyb_row *row, nyb_slot slot)
{
    return nyb_spec_packs(&row->spec) && row->pre == 1.0f && row->post == 1.0f &&
           row->from == NYB_FROM_RAW && (row->samples == 1 || slot == NYB_SLOT_WGRAD_DY);
}

static nyb_source source_of(const nyb_builder *b, int quant)
{
    if (quant < 0)
        return (nyb_source){-1, -1};
    return (nyb_source){quant, b->p->quants[quant].values};
}

/* The operand of a slot: a quant of the real buffer, or the buffer itself. fwd: the forward's quant
 * of the same tensor, or -1. */
static nyb_source make_source(nyb_builder *b, int layer, nyb_slot slot, const wanted *want,
                              int real, int fwd)
{
    const nyb_row *row = want->row;
    int quant;

    if (nyb_row_is_f32(row))
        return (nyb_source){-1, real};
    quant = slot == NYB_SLOT_FWD_X ? shared_x(b, real, want) : -1;
    if (quant < 0 && packs(row, slot))
        quant = add_packed(b, layer, slot, &row->spec, real, 0, -1, false);
    else if (quant < 0)
        quant =
            add_rounded(b, layer, slot, want, real, row->from == NYB_FROM_FWD ? fwd : -1, false);
    return source_of(b, quant);
}

/* ---- products -------------------------------------------------------------------------------- */

static void touch_source(nyb_builder *b, const nyb_source *s)
{
    if (s->quant >= 0)
        touch_values(b, s->quant);
    else
        nyb_build_touch(b, s->real);
}

static const nyb_format *source_format(const nyb_builder *b, const nyb_source *s)
{
    if (s->quant >= 0 && !b->p->quants[s->quant].rounds)
        return b->p->quants[s->quant].packed.format;
    return &nyb_format_f32;
}

/* Products of real tensors add up exactly, whatever the recipe says of quantized ones. */
static const nyb_accum *product_accum(const nyb_builder *b, nyb_product product,
                                      const nyb_source *a, const nyb_source *second)
{
    const nyb_recipe *r = &b->g->recipe;

    if (a->quant < 0 && second->quant < 0)
        return NULL;
    switch (product) {
    case NYB_PRODUCT_FWD:
        return &r->fwd_accum;
    case NYB_PRODUCT_DX:
        return &r->dgrad_accum;
    case NYB_PRODUCT_DW:
        return &r->wgrad_accum;
    }
    return NULL;
}

/* The recipe's engine; mf only where it has the product, and does not add up in an accumulator of
 * its own. */
static nyb_conv_options product_options(const nyb_builder *b, nyb_product product,
                                        const nyb_source *a, const nyb_source *second)
{
    nyb_conv_options options = {.accum = product_accum(b, product, a, second),
                                .engine = b->g->recipe.engine};

    if (options.engine == NYB_ENGINE_MF &&
        (!nyb_accum_is_exact(options.accum) ||
         !nyb_mf_can(source_format(b, a), source_format(b, second))))
        options.engine = NYB_ENGINE_AUTO;
    return options;
}

/* Whether both operands of a product are codes in blocks of one length, which are summed exactly.
 */
static bool groups(const nyb_builder *b, nyb_product product, const nyb_row *rows)
{
    const nyb_recipe *r = &b->g->recipe;
    const nyb_row *a = &rows[2 * product], *second = &rows[2 * product + 1];
    const nyb_accum *accums[] = {&r->fwd_accum, &r->dgrad_accum, &r->wgrad_accum};
    const size_t length = nyb_spec_group_length(&a->spec);

    return r->engine == NYB_ENGINE_AUTO && nyb_accum_is_exact(accums[product]) && length > 0 &&
           length == nyb_spec_group_length(&second->spec) && a->samples == 1 &&
           second->samples == 1;
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
static void plan_grouped(nyb_builder *b, nyb_step *s)
{
    const nyb_grouped *a = &b->p->quants[s->a[0].quant].grouped;
    const nyb_grouped *second = &b->p->quants[s->b.quant].grouped;
    const nyb_conv_shape shape = grouped_shape(s->product, &s->shape, a->packed.cols);

    if (b->status == NYB_OK)
        nyb_build_fail(b,
                       nyb_group_conv_create(b->g->context, s->product, &shape, a->packed.format,
                                             second->packed.format, a->group, &s->group, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_group_conv_scratch_bytes(s->group));
}

static bool is_grouped(const nyb_builder *b, const nyb_source *s)
{
    return s->quant >= 0 && b->p->quants[s->quant].groups;
}

static void plan_product(nyb_builder *b, nyb_step *s)
{
    const nyb_conv_options options = product_options(b, s->product, &s->a[0], &s->b);

    nyb_build_fail(b, nyb_conv_shape_check(&s->shape, b->err));
    if (is_grouped(b, &s->b)) {
        plan_grouped(b, s);
        return;
    }
    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_conv_create_with(b->g->context, s->product, &s->shape,
                                               source_format(b, &s->a[0]), source_format(b, &s->b),
                                               (size_t)s->n_a, &options, &s->conv, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_conv_scratch_bytes(s->conv));
}

static void add_product(nyb_builder *b, int layer, nyb_product product, const nyb_source *a,
                        int n_a, const nyb_source *second, int out, bool add)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_PRODUCT, layer);

    if (!s)
        return;
    s->product = product;
    s->shape = product_shape(b, layer);
    s->n_a = n_a;
    memcpy(s->a, a, (size_t)n_a * sizeof *a);
    s->b = *second;
    s->add = add;
    s->out = out;
    plan_product(b, s);
    if (b->status != NYB_OK)
        return;
    for (int i = 0; i < n_a; i++)
        touch_source(b, &a[i]);
    touch_source(b, second);
    nyb_build_touch(b, out);
    b->p->n_steps++;
}

void nyb_build_gemm_forward(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool finishing = b->p->mode == NYB_MODE_FINISH;
    const int real = b->value[l->in[0]];
    nyb_row rows[NYB_SLOTS], trained[NYB_SLOTS];
    nyb_source x, w;

    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    nyb_graph_rows(b->g->model, &b->g->recipe, layer, NYB_MODE_TRAIN, trained);
    if (finishing && !nyb_row_is_f32(&trained[NYB_SLOT_FWD_X]) &&
        packs(&trained[NYB_SLOT_FWD_X], NYB_SLOT_FWD_X)) /* clips are observed during FNT too */
        add_packed(b, layer, NYB_SLOT_FWD_X, &trained[NYB_SLOT_FWD_X].spec, real, 0, -1, true);
    const bool grouped = groups(b, NYB_PRODUCT_FWD, rows);
    x = make_source(b, layer, NYB_SLOT_FWD_X, &(wanted){&rows[NYB_SLOT_FWD_X], grouped, false},
                    real, -1);
    w = make_source(b, layer, NYB_SLOT_FWD_W, &(wanted){&rows[NYB_SLOT_FWD_W], grouped, false},
                    nyb_build_param(b, layer, 0, NYB_HOME_PARAM), -1);
    b->x[layer] = x.quant;
    b->w[layer] = w.quant;
    b->value[layer] = nyb_build_buffer(b, "output", layer, NYB_HOME_PLANNED, -1,
                                       nyb_shape_size(nyb_build_shape(b, layer)) * sizeof(float));
    if (b->status == NYB_OK)
        add_product(b, layer, NYB_PRODUCT_FWD, &x, 1, &w, b->value[layer], false);
}

static void bias_gradient(nyb_builder *b, int layer)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_BACKWARD, layer);

    if (!s)
        return;
    nyb_build_op_args(b, layer, &s->args);
    s->dout = b->grad[layer];
    nyb_build_touch(b, s->dout);
    b->p->n_steps++;
}

/* One tap's dW, by an engine that knows nothing of taps. */
static void plan_one_tap(nyb_builder *b, nyb_step *s)
{
    const nyb_conv_shape *shape = &s->shape;
    nyb_conv_shape one = {.n = 1,
                          .h = 1,
                          .w = b->p->quants[s->quant].view.rows,
                          .c = shape->c,
                          .o = shape->o,
                          .r = 1,
                          .s = 1,
                          .stride = 1};

    s->tap = nyb_build_buffer(b, "tap", s->layer, NYB_HOME_PLANNED, -1, shape->o * shape->c * 4);
    nyb_build_touch(b, s->tap);
    nyb_build_fail(b, nyb_conv_shape_check(&one, b->err));
    if (b->status == NYB_OK)
        nyb_build_fail(b, nyb_conv_create(
                              b->g->context, NYB_PRODUCT_DW, &one, source_format(b, &s->a[0]),
                              &nyb_format_f32, (size_t)s->n_a,
                              product_accum(b, NYB_PRODUCT_DW, &s->a[0], &s->b), &s->conv, b->err));
    if (b->status == NYB_OK)
        nyb_build_scratch(b, nyb_conv_scratch_bytes(s->conv));
}

/* What the taps step needs beside its operands. */
static void taps_buffers(nyb_builder *b, nyb_step *s, int real_x)
{
    const nyb_quant *q = &b->p->quants[s->quant];
    const nyb_conv_shape *shape = &s->shape;

    nyb_build_touch(b, real_x);
    if (q->from >= 0) {
        s->in[0] = nyb_build_buffer(b, "values", s->layer, NYB_HOME_PLANNED, -1,
                                    shape->n * shape->h * shape->w * shape->c * sizeof(float));
        nyb_build_touch(b, s->in[0]);
        touch_values(b, q->from);
    }
    if (q->groups)
        s->in[1] = nyb_build_buffer(b, "patches", s->layer, NYB_HOME_PLANNED, -1,
                                    q->view.rows * q->view.cols * sizeof(float));
    nyb_build_touch(b, s->in[1]);
    touch_values(b, s->quant);
    nyb_build_touch(b, s->out);
}

/* dW over the taps: x's patch rows are rounded for each, dy once. */
static void add_taps(nyb_builder *b, int layer, const wanted *want, const nyb_source *dy, int n,
                     int real_x)
{
    const int from = want->row->from == NYB_FROM_FWD ? b->x[layer] : -1;
    const int x = add_rounded(b, layer, NYB_SLOT_WGRAD_X, want, real_x, from, true);
    nyb_step *s = x < 0 ? NULL : nyb_build_step(b, NYB_STEP_TAPS, layer);

    if (!s)
        return;
    s->product = NYB_PRODUCT_DW;
    s->quant = x;
    s->shape = product_shape(b, layer);
    s->n_a = n;
    memcpy(s->a, dy, (size_t)n * sizeof *dy);
    s->b = source_of(b, x);
    s->out = nyb_build_param(b, layer, 0, NYB_HOME_GRADIENT);
    nyb_build_fail(b, nyb_conv_shape_check(&s->shape, b->err));
    if (want->groups)
        plan_grouped(b, s);
    else
        plan_one_tap(b, s);
    if (b->status != NYB_OK)
        return;
    for (int i = 0; i < n; i++)
        touch_source(b, &s->a[i]);
    taps_buffers(b, s, real_x);
    b->p->n_steps++;
}

/* Filled up with zeros, unless there are none or the rows are very short. */
static bool fills_up(const nyb_builder *b, int layer, const nyb_row *dy, const nyb_row *x)
{
    const nyb_layer *l = &b->g->model->layers[layer];

    return b->g->batch * l->shape.h * l->shape.w > NYB_BLOCK_CODES / 2 &&
           dy->spec.format->units[0] == 0 && x->spec.format->units[0] == 0;
}

static void weight_gradient(nyb_builder *b, int layer, const nyb_row *rows, nyb_source dy,
                            int real_dy)
{
    const nyb_row *row = &rows[NYB_SLOT_WGRAD_DY], *x_row = &rows[NYB_SLOT_WGRAD_X];
    const bool grouped = groups(b, NYB_PRODUCT_DW, rows);
    const bool fills = grouped && fills_up(b, layer, row, x_row);
    const wanted want_dy = {row, grouped, fills}, want_x = {x_row, grouped, fills};
    const int real_x = b->value[b->g->model->layers[layer].in[0]];
    nyb_source a[NYB_SAMPLES_MAX], x;
    int n = 1;

    if (dy.quant >= 0 && may_share(&b->p->quants[dy.quant], &want_dy, true))
        a[0] = dy; /* SMP sample 0 is the dX draw */
    else
        a[0] = make_source(b, layer, NYB_SLOT_WGRAD_DY, &want_dy, real_dy, -1);
    if (a[0].quant >= 0 && !b->p->quants[a[0].quant].rounds)
        n = row->samples;
    for (int j = 1; j < n; j++)
        a[j] = (nyb_source){
            add_packed(b, layer, NYB_SLOT_WGRAD_DY, &row->spec, real_dy, j, a[0].quant, false), -1};
    if (needs_taps(b, layer, x_row)) {
        if (b->status == NYB_OK)
            add_taps(b, layer, &want_x, a, n, real_x);
        return;
    }
    if (b->x[layer] >= 0 && may_share(&b->p->quants[b->x[layer]], &want_x, true))
        x = source_of(b, b->x[layer]);
    else
        x = make_source(b, layer, NYB_SLOT_WGRAD_X, &want_x, real_x, b->x[layer]);
    if (b->status == NYB_OK)
        add_product(b, layer, NYB_PRODUCT_DW, a, n, &x,
                    nyb_build_param(b, layer, 0, NYB_HOME_GRADIENT), false);
}

/* Whether the gradient of a forward operand is more than that of its quantized values. */
static bool estimates(const nyb_row *row)
{
    return !nyb_row_is_f32(row) && (row->ste == NYB_STE_MASK || row->spec.scale->backward);
}

/* from: gradient of the quantized tensor; out: that of the tensor, or -1: nobody wants it. */
static void add_estimate(nyb_builder *b, int layer, int quant, int real, int from, int out,
                         bool add)
{
    nyb_step *s = nyb_build_step(b, NYB_STEP_ESTIMATE, layer);

    if (!s || quant < 0)
        return;
    s->quant = quant;
    s->in[0] = real;
    s->dout = from;
    s->out = out;
    s->add = add;
    nyb_build_touch(b, real);
    nyb_build_touch(b, from);
    nyb_build_touch(b, out);
    nyb_build_scratch(
        b, nyb_round_scratch_bytes(&b->p->quants[quant].spec, &b->p->quants[quant].view));
    b->p->n_steps++;
}

static void input_gradient(nyb_builder *b, int layer, const nyb_row *rows, const nyb_source *dy,
                           const nyb_source *w)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const bool trained = b->g->model->layers[l->in[0]].trained;
    bool add = false;
    int dx;

    if (!estimates(&rows[NYB_SLOT_FWD_X])) {
        dx = nyb_build_gradient(b, l->in[0], &add);
        add_product(b, layer, NYB_PRODUCT_DX, dy, 1, w, dx, add);
        return;
    }
    dx = nyb_build_buffer(b, "gradient", layer, NYB_HOME_PLANNED, -1,
                          nyb_shape_size(nyb_build_shape(b, l->in[0])) * sizeof(float));
    add_product(b, layer, NYB_PRODUCT_DX, dy, 1, w, dx, false);
    add_estimate(b, layer, b->x[layer], b->value[l->in[0]], dx,
                 trained ? nyb_build_gradient(b, l->in[0], &add) : -1, add);
}

void nyb_build_gemm_backward(nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const int real_dy = b->grad[layer];
    nyb_row rows[NYB_SLOTS];
    nyb_source dy = {-1, real_dy}, w = {-1, -1};
    bool wants_dx = b->g->model->layers[l->in[0]].trained;

    nyb_graph_rows(b->g->model, &b->g->recipe, layer, b->p->mode, rows);
    if (estimates(&rows[NYB_SLOT_FWD_X]) && rows[NYB_SLOT_FWD_X].spec.scale->n_params > 0)
        wants_dx = true; /* its parameters learn from dx, also where the data do not */
    if (l->attr.bias)
        bias_gradient(b, layer);
    if (wants_dx) {
        const bool grouped = groups(b, NYB_PRODUCT_DX, rows);
        const wanted want_dy = {&rows[NYB_SLOT_DGRAD_DY], grouped, false};
        const wanted want_w = {&rows[NYB_SLOT_DGRAD_W], grouped, false};

        dy = make_source(b, layer, NYB_SLOT_DGRAD_DY, &want_dy, real_dy, -1);
        if (b->w[layer] >= 0 && may_share(&b->p->quants[b->w[layer]], &want_w, true))
            w = source_of(b, b->w[layer]);
        else
            w = make_source(b, layer, NYB_SLOT_DGRAD_W, &want_w,
                            nyb_build_param(b, layer, 0, NYB_HOME_PARAM), b->w[layer]);
    }
    if (b->status == NYB_OK)
        weight_gradient(b, layer, rows, dy, real_dy);
    if (b->status == NYB_OK && estimates(&rows[NYB_SLOT_FWD_W])) {
        const int gradient = nyb_build_param(b, layer, 0, NYB_HOME_GRADIENT);

        add_estimate(b, layer, b->w[layer], nyb_build_param(b, layer, 0, NYB_HOME_PARAM), gradient,
                     gradient, false);
    }
    if (b->status == NYB_OK && wants_dx)
        input_gradient(b, layer, rows, &dy, &w);
}
