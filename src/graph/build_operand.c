/* Operands of products: which tensors are quantized, and where quantizations are shared. */
#include "graph/build.h"

/* ---- shapes ---------------------------------------------------------------------------------- */

nyb_conv_shape nyb_build_product_shape(const nyb_builder *b, int layer)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const nyb_shape x = nyb_build_shape(b, l->in[0]);

    if (l->op->of_rows)
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
                            .o = l->shape.c,
                            .r = l->attr.kernel,
                            .s = l->attr.kernel,
                            .stride = l->attr.stride,
                            .pad = l->attr.pad};
}

/* A slot's tensor as a matrix; weights of a depthwise layer are [c][r s]. Other weights of dgrad
 * are [o][r s c], so that their contraction (o) runs down the rows; both operands of wgrad contract
 * over pixels, their rows. */
static nyb_view slot_view(const nyb_builder *b, int layer, nyb_slot slot, const nyb_spec *spec)
{
    const nyb_layer *l = &b->g->model->layers[layer];
    const nyb_conv_shape s = nyb_build_product_shape(b, layer);
    const bool linear = l->op->of_rows;
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
            v = (nyb_view){.rows = s.o, .cols = filter, .run = filter, .tap = s.c};
        break;
    case NYB_SLOT_DGRAD_W:
        v = (nyb_view){.rows = s.o, .cols = filter, .run = filter, .tap = s.c};
        break;
    case NYB_SLOT_DGRAD_DY:
    case NYB_SLOT_WGRAD_DY:
        v = (nyb_view){
            .rows = pixels, .cols = s.o, .run = linear ? s.o : l->shape.h * l->shape.w * s.o};
        break;
    }
    if (l->op->depthwise && (slot == NYB_SLOT_FWD_W || slot == NYB_SLOT_DGRAD_W))
        v = (nyb_view){.rows = s.c, .cols = s.r * s.s, .run = s.r * s.s};
    v.down = slot == NYB_SLOT_DGRAD_W || slot == NYB_SLOT_WGRAD_DY || slot == NYB_SLOT_WGRAD_X;
    return v;
}

bool nyb_build_axis_free(const nyb_spec *spec)
{
    return spec->group != NYB_GROUP_BLOCK16 && spec->group != NYB_GROUP_BLOCK32 &&
           spec->group != NYB_GROUP_BLOCK64 && nyb_mix_length(spec->mix) == 0;
}

bool nyb_build_has_window(const nyb_builder *b, int layer)
{
    const nyb_conv_shape s = nyb_build_product_shape(b, layer);

    return s.r > 1 || s.s > 1 || s.stride > 1;
}

bool nyb_build_needs_taps(const nyb_builder *b, int layer, const nyb_row *x)
{
    return !nyb_row_is_f32(x) && !nyb_build_axis_free(&x->spec) && nyb_build_has_window(b, layer);
}

/* ---- quantization nodes ---------------------------------------------------------------------- */

static void add_quant_step(nyb_builder *b, nyb_step_kind kind, int quant)
{
    const nyb_quant *q = &b->p->quants[quant];
    nyb_step *s = nyb_build_step(b, kind, q->layer);

    if (!s)
        return;
    s->quant = quant;
    if (kind == NYB_STEP_REGROUP) {
        s->shape = nyb_build_product_shape(b, q->layer);
        nyb_build_fail(b, nyb_conv_shape_check(&s->shape, b->err)); /* sets oh and ow */
    }
    if (kind == NYB_STEP_ROUND && q->from >= 0 && q->groups) /* the values that are rounded again */
        s->in[0] = nyb_build_buffer(b, "values", q->layer, NYB_HOME_PLANNED, -1,
                                    q->view.rows * q->view.cols * sizeof(float));
    if (kind == NYB_STEP_ROUND && q->packs && nyb_round_pack_stores(&q->spec, q->packed.cols))
        s->in[1] = nyb_build_buffer(b, "rounded", q->layer, NYB_HOME_PLANNED, -1,
                                    q->view.rows * q->view.cols * sizeof(float));
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
                                         .blocks = -1,
                                         .shares = -1,
                                         .param = nyb_graph_find_learned(b->g, layer, slot),
                                         .mean = -1,
                                         .role = roles[slot],
                                         .values = -1,
                                         .scales = -1,
                                         .lines = -1,
                                         .reflects = -1,
                                         .taps = 1,
                                         .from = -1,
                                         .order_of = -1,
                                         .view = slot_view(b, layer, slot, spec),
                                         .product = (uint8_t)(slot / 2),
                                         .samples = 1,
                                         .draws = 1,
                                         .pre = 1.0f,
                                         .post = 1.0f};
    return p->n_quants++;
}

/* Rows and columns of a slot's tensor as products take them: weights are [o r s][c]. */
static void product_matrix(const nyb_builder *b, const nyb_quant *q, size_t *rows, size_t *cols)
{
    *rows = q->view.rows;
    *cols = q->view.cols;
    if (q->slot == NYB_SLOT_DGRAD_W && !b->g->model->layers[q->layer].op->depthwise) {
        *cols = nyb_build_product_shape(b, q->layer).c;
        *rows = q->view.rows * q->view.cols / *cols;
    }
}

static nyb_packed packed_of(const nyb_format *format, size_t rows, size_t cols)
{
    return (nyb_packed){
        .format = format, .rows = rows, .cols = cols, .pitch = nyb_packed_pitch(cols)};
}

int nyb_build_packed(nyb_builder *b, int layer, nyb_slot slot, const nyb_spec *spec, int real,
                     int sample, int shares, bool observe)
{
    const int i = new_quant(b, layer, slot, spec, real);
    size_t rows, cols;

    if (i < 0)
        return -1;
    nyb_quant *q = &b->p->quants[i];
    product_matrix(b, q, &rows, &cols);
    q->shares = shares;
    q->sample = (uint8_t)sample;
    q->packed = packed_of(spec->format, rows, cols);
    q->grouped = nyb_grouped_view(spec->format, rows, cols, NYB_PITCH, NULL, NULL);
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

/* Values, or, if it packs, the codes of values that last for a step; lined: and their lines. */
static void rounded_values(nyb_builder *b, nyb_quant *q, bool taps, bool lined)
{
    const nyb_view *v = &q->view;
    size_t rows, cols;

    product_matrix(b, q, &rows, &cols);
    q->packed = packed_of(q->spec.format, rows, cols);
    if (q->packs)
        q->codes = nyb_build_buffer(b, "codes", q->layer, NYB_HOME_PLANNED, -1,
                                    nyb_packed_bytes(q->spec.format, rows, cols));
    if (q->packs && lined) {
        q->packed.line_rows = q->spec.group == NYB_GROUP_ROW ? v->run / cols : rows;
        q->lines = nyb_build_buffer(b, "lines", q->layer, NYB_HOME_PLANNED, -1,
                                    rows / q->packed.line_rows * sizeof(nyb_line));
    }
    if (q->packs && q->spec.mix == NYB_MIX_HOUSEHOLDER)
        q->reflects = nyb_build_buffer(b, "reflection", q->layer, NYB_HOME_PLANNED, -1,
                                       nyb_householder_plan_bytes(rows / q->packed.line_rows));
    if (!q->packs)
        q->values =
            nyb_build_buffer(b,
                             taps                        ? "patches"
                             : q->slot == NYB_SLOT_FWD_X ? "values"
                                                         : "rounded",
                             q->layer, NYB_HOME_PLANNED, -1, v->rows * v->cols * sizeof(float));
    /* Further samples are rounded beside the first. */
    nyb_build_scratch(b, nyb_round_up(nyb_moments_scratch_bytes(v->rows, v->cols), NYB_ALIGN) +
                             nyb_round_up(nyb_round_scratch_bytes(&q->spec, v), NYB_ALIGN) +
                             (q->samples > 1 ? 2 * v->rows * v->cols * sizeof(float) : 0));
}

/* The operand is rounded to grouped codes; others of a grouped product are packed. */
static bool groups_itself(const nyb_wanted *want)
{
    return want->group > 0 && nyb_spec_group_length(&want->row->spec) > 0;
}

/* Rows along the contraction, as group_conv.h wants them. */
static void grouped_codes(nyb_builder *b, nyb_quant *q, bool fills, bool taps)
{
    const nyb_view *v = &q->view;
    const nyb_conv_shape shape = nyb_build_product_shape(b, q->layer);
    const bool is_w = q->slot == NYB_SLOT_DGRAD_W, tiles = q->spec.group == NYB_GROUP_TILE16;
    const size_t group = nyb_spec_group_length(&q->spec), in_taps = shape.r * shape.s;
    size_t rows = (v->down ? v->cols : v->rows) * (taps && fills ? in_taps : 1);
    size_t cols = !v->down ? v->cols : fills ? nyb_round_up(v->rows, NYB_BLOCK_CODES) : v->rows;

    q->groups = true;
    q->windows = taps && fills;
    q->taps = is_w && !tiles ? in_taps : 1;
    if (tiles) { /* one order for all products: nyb_build_order turns it */
        cols = v->tap ? v->tap : v->cols;
        rows = v->rows * v->cols / cols;
    }
    q->grouped = nyb_grouped_view(q->spec.format, rows, cols, group, NULL, NULL);
    q->codes = nyb_build_buffer(b, "codes", q->layer, NYB_HOME_PLANNED, -1,
                                nyb_grouped_code_bytes(q->spec.format, rows, cols, group));
    q->scales = nyb_build_buffer(b, "scales", q->layer, NYB_HOME_PLANNED, -1,
                                 nyb_grouped_scale_count(rows, cols, group) * sizeof(float));
    nyb_build_scratch(b, nyb_moments_scratch_bytes(v->rows, v->cols));
    nyb_build_scratch(b, nyb_round_codes_scratch_bytes(&q->spec, v, &q->grouped));
}

/* Draws whose mean one quant holds. */
static int averaged(const nyb_wanted *want)
{
    return want->draws > 1 ? 1 : want->row->samples;
}

int nyb_build_rounded(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want, int real,
                      int sample, int from, bool taps)
{
    const nyb_row *row = want->row;
    const int i = new_quant(b, layer, slot, &row->spec, real);

    if (i < 0)
        return -1;
    nyb_quant *q = &b->p->quants[i];
    q->rounds = true;
    q->unmixes = want->unmixes;
    q->from = from;
    q->mixed = nyb_build_stays_mixed(b, row, from);
    q->sample = (uint8_t)sample;
    q->samples = averaged(want);
    q->draws = want->draws;
    q->pre = row->pre;
    q->post = row->post;
    q->mean = row->ema > 0.0f ? nyb_graph_find_mean(b->g, layer) : -1;
    q->packed.format = row->spec.format;
    q->packs = want->packs && nyb_build_rounds_units(row, slot);
    if (taps) {
        const nyb_layer *l = &b->g->model->layers[layer];

        q->view.rows = b->g->batch * l->shape.h * l->shape.w;
        q->view.run = l->shape.h * l->shape.w * q->view.cols;
    }
    if (groups_itself(want))
        grouped_codes(b, q, want->fills, taps);
    else
        rounded_values(b, q, taps, nyb_build_has_lines(row, slot));
    if (!taps)
        add_quant_step(b, NYB_STEP_ROUND, i);
    return i;
}

bool nyb_build_stays_mixed(const nyb_builder *b, const nyb_row *row, int former)
{
    const nyb_quant *q = former >= 0 ? &b->p->quants[former] : NULL;

    return q && row->from == NYB_FROM_FWD && !nyb_row_is_f32(row) && !q->unmixes &&
           nyb_mix_length(q->spec.mix) > 0;
}

/* sr_bits of a rounding that draws none say nothing (nor does nyb_spec_print tell them). */
bool nyb_build_same_spec(const nyb_spec *a, const nyb_spec *b)
{
    return a->format == b->format && a->scale == b->scale && a->group == b->group &&
           a->rounding == b->rounding && a->mix == b->mix &&
           (a->sr_bits == b->sr_bits || !nyb_rounding_draws(a->rounding));
}

/* Whether what an earlier quant of the same tensor left stands for all that a row asks for. */
static bool same_values(const nyb_quant *q, const nyb_row *row, bool down)
{
    return nyb_build_same_spec(&q->spec, &row->spec) &&
           (nyb_build_axis_free(&row->spec) || q->view.down == down) &&
           (!q->rounds || q->samples * q->draws == row->samples) && q->pre == row->pre &&
           q->post == row->post && (q->mean >= 0) == (row->ema > 0.0f) && row->from == NYB_FROM_RAW;
}

bool nyb_build_may_share(const nyb_quant *q, const nyb_wanted *want, bool down)
{
    const nyb_row *row = want->row;

    if (q->reflects >= 0 || q->samples != averaged(want))
        return false;
    /* Products of values read them from codes as well. */
    return q->groups == groups_itself(want) && q->unmixes == want->unmixes &&
           (!q->rounds ||
            !(q->packs ? want->scaled : want->packs && nyb_build_rounds_units(row, q->slot))) &&
           same_values(q, row, down);
}

/* An earlier layer's fwd.x quant of the same real tensor that this one may share: same spec, the
 * same matrix (a linear layer sees an image as one row) and nothing of its own, no random bits, no
 * parameters. */
static int shared_x(const nyb_builder *b, int layer, int real, const nyb_wanted *want)
{
    const nyb_row *row = want->row;
    const nyb_view v = slot_view(b, layer, NYB_SLOT_FWD_X, &row->spec);

    if (nyb_rounding_draws(row->spec.rounding) || row->spec.scale->n_params > 0 ||
        row->spec.mix != NYB_MIX_NONE)
        return -1;
    for (int i = 0; i < b->p->n_quants; i++) {
        const nyb_quant *q = &b->p->quants[i];

        if (q->slot == NYB_SLOT_FWD_X && q->real == real && (q->codes >= 0 || q->rounds) &&
            q->view.rows == v.rows && q->view.cols == v.cols && q->view.run == v.run &&
            nyb_build_may_share(q, want, false))
            return i;
    }
    return -1;
}

static bool is_dy(nyb_slot slot)
{
    return slot == NYB_SLOT_DGRAD_DY || slot == NYB_SLOT_WGRAD_DY;
}

bool nyb_build_packs(const nyb_row *row, nyb_slot slot)
{
    return nyb_spec_packs(&row->spec) && row->pre == 1.0f && row->post == 1.0f &&
           row->ema == 0.0f && row->from == NYB_FROM_RAW && (row->samples == 1 || is_dy(slot));
}

bool nyb_build_packs_units(const nyb_row *row, nyb_slot slot)
{
    return nyb_build_packs(row, slot) && row->spec.format->max_unit > 0 &&
           row->spec.format->multiples == 0;
}

bool nyb_build_has_lines(const nyb_row *row, nyb_slot slot)
{
    const nyb_spec *s = &row->spec;

    if (nyb_row_is_f32(row))
        return false;
    if (s->mix == NYB_MIX_HOUSEHOLDER)
        return slot == NYB_SLOT_DGRAD_DY;
    if (s->mix != NYB_MIX_NONE)
        return false;
    if (slot == NYB_SLOT_FWD_W || slot == NYB_SLOT_WGRAD_DY || slot == NYB_SLOT_WGRAD_X)
        return s->group == NYB_GROUP_ROW && !s->scale->affine;
    return (slot == NYB_SLOT_FWD_X || slot == NYB_SLOT_DGRAD_DY) &&
           (s->group == NYB_GROUP_ROW ||
            (s->group == NYB_GROUP_TENSOR && s->scale->affine && !s->scale->zeroed));
}

/* One scale, and 0 is a code. */
static bool rounds_to_scale(const nyb_row *row)
{
    const nyb_spec *s = &row->spec;

    return s->group == NYB_GROUP_TENSOR &&
           (nyb_mix_length(s->mix) > 0 ||
            (s->mix == NYB_MIX_NONE && (s->scale->affine || row->ema > 0.0f))) &&
           (!s->scale->affine || s->scale->zeroed);
}

bool nyb_build_rounds_units(const nyb_row *row, nyb_slot slot)
{
    const nyb_format *f = row->spec.format;

    return !nyb_row_is_f32(row) && nyb_format_is_integer(f) && f->multiples == 0 && f->bits <= 8 &&
           (row->samples == 1 ? rounds_to_scale(row) || nyb_build_has_lines(row, slot)
                              : rounds_to_scale(row) && is_dy(slot)) &&
           !row->spec.scale->level && row->pre == 1.0f && row->post == 1.0f &&
           row->from == NYB_FROM_RAW;
}

nyb_source nyb_build_source_of(const nyb_builder *b, int quant)
{
    if (quant < 0)
        return (nyb_source){-1, -1};
    return (nyb_source){quant, b->p->quants[quant].values};
}

/* Whether the codes of a row are encoded, from a scale that its moments decide. */
static bool encodes(const nyb_wanted *want, nyb_slot slot)
{
    return nyb_build_packs(want->row, slot) && averaged(want) == 1;
}

/* Codes there, values here, or values there, codes here; but one rounding. */
static bool draws_again(const nyb_quant *former, const nyb_quant *q, const nyb_row *row)
{
    if (q->rounds)
        return same_values(former, row, q->view.down);
    return former->rounds && q->sample < former->samples && former->pre == 1.0f &&
           former->post == 1.0f && nyb_build_same_spec(&former->spec, &row->spec);
}

/* sample: which draw; shares: the quant of the first, or -1. */
static nyb_source draw_source(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want,
                              int real, int sample, int shares, int former)
{
    const nyb_row *row = want->row;
    int quant;

    if (nyb_row_is_f32(row))
        return (nyb_source){-1, real};
    quant = slot == NYB_SLOT_FWD_X ? shared_x(b, layer, real, want) : -1;
    if (quant < 0 && encodes(want, slot))
        quant = nyb_build_packed(b, layer, slot, &row->spec, real, sample, shares, false);
    else if (quant < 0)
        quant = nyb_build_rounded(
            b, layer, slot, want, real, sample,
            row->from == NYB_FROM_FWD && slot != NYB_SLOT_WGRAD_DY ? former : -1, false);
    if (quant >= 0 && former >= 0 && draws_again(&b->p->quants[former], &b->p->quants[quant], row))
        b->p->quants[quant].role = b->p->quants[former].role;
    return nyb_build_source_of(b, quant);
}

nyb_source nyb_build_source(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want,
                            int real, int former)
{
    return draw_source(b, layer, slot, want, real, 0, -1, former);
}

void nyb_build_draws(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want, int real,
                     const nyb_source *former, int n_former, nyb_source draws[NYB_SAMPLES_MAX])
{
    const int first = n_former > 0 ? former->quant : -1;
    const bool shares = first >= 0 && nyb_build_may_share(&b->p->quants[first], want, true);
    const bool in_turn = encodes(want, slot);

    for (int i = 0; i < want->draws; i++) {
        /* Encoded draws take the scale of the first. Where each finds its own, the first, which
         * alone leaves a trace in the rule's state, comes last. */
        const int j = in_turn ? i : want->draws - 1 - i;

        draws[j] = shares && j < n_former
                       ? former[j]
                       : draw_source(b, layer, slot, want, real, j,
                                     in_turn && j > 0 ? draws[0].quant : -1, first);
    }
}

/* ---- other orders -----------------------------------------------------------------------------
 */

/* The rows and columns of a quant's codes in an order. */
static nyb_grouped ordered_view(const nyb_builder *b, const nyb_quant *q, const nyb_wanted *want)
{
    const nyb_conv_shape shape = nyb_build_product_shape(b, q->layer);
    const nyb_shape out = b->g->model->layers[q->layer].shape;
    const nyb_packed *of = &b->p->quants[q->order_of].grouped.packed;
    size_t rows = of->rows, cols = of->cols;

    switch (q->order) {
    case NYB_ORDER_OWN:
    case NYB_ORDER_ROWS:
        break;
    case NYB_ORDER_TURNED:
        rows = of->cols * q->taps;
        cols = of->rows / q->taps;
        break;
    case NYB_ORDER_WINDOWS:
        rows = of->cols * shape.r * shape.s;
        cols = b->g->batch * out.h * out.w;
        break;
    }
    if (want->fills)
        cols = nyb_round_up(cols, NYB_BLOCK_CODES);
    return nyb_grouped_view(q->spec.format, rows, cols, want->group, NULL, NULL);
}

static void ordered_codes(nyb_builder *b, nyb_quant *q, const nyb_wanted *want)
{
    const nyb_quant *of = &b->p->quants[q->order_of];
    const nyb_packed *p = &q->grouped.packed;

    q->grouped = ordered_view(b, q, want);
    if (of->scales >= 0)
        q->scales = nyb_build_buffer(b, "scales", q->layer, NYB_HOME_PLANNED, -1,
                                     nyb_grouped_scale_count(p->rows, p->cols, want->group) *
                                         sizeof(float));
    if (q->order == NYB_ORDER_ROWS && q->scales < 0 && p->pitch == of->grouped.packed.pitch)
        q->codes = of->codes; /* one scale: groups of any length are the same */
    else
        q->codes =
            nyb_build_buffer(b, "codes", q->layer, NYB_HOME_PLANNED, -1,
                             nyb_grouped_code_bytes(p->format, p->rows, p->cols, want->group));
}

static nyb_order choose_order(const nyb_builder *b, int layer, nyb_slot slot,
                              const nyb_wanted *want, const nyb_quant *of)
{
    if (nyb_build_axis_free(&of->spec) && slot_view(b, layer, slot, &of->spec).down)
        return slot == NYB_SLOT_WGRAD_X && nyb_build_has_window(b, layer) ? NYB_ORDER_WINDOWS
                                                                          : NYB_ORDER_TURNED;
    return of->grouped.group != want->group ? NYB_ORDER_ROWS : NYB_ORDER_OWN;
}

nyb_source nyb_build_order(nyb_builder *b, int layer, nyb_slot slot, const nyb_wanted *want,
                           nyb_source source)
{
    if (want->group == 0 || source.quant < 0)
        return source;
    const nyb_quant of = b->p->quants[source.quant];
    const nyb_order order = choose_order(b, layer, slot, want, &of);
    const nyb_conv_shape shape = nyb_build_product_shape(b, layer);
    const int i =
        order == NYB_ORDER_OWN ? source.quant : new_quant(b, layer, slot, &of.spec, of.real);

    if (i < 0 || order == NYB_ORDER_OWN)
        return nyb_build_source_of(b, i);
    nyb_quant *q = &b->p->quants[i];
    q->order = order;
    q->order_of = source.quant;
    q->groups = true;
    q->rounds = of.rounds;
    q->samples = of.samples;
    q->draws = of.draws;
    q->pre = of.pre;
    q->post = of.post;
    q->packed.format = of.spec.format;
    q->windows = order == NYB_ORDER_WINDOWS;
    q->taps = slot == NYB_SLOT_DGRAD_W ? shape.r * shape.s : 1;
    ordered_codes(b, q, want);
    add_quant_step(b, NYB_STEP_REGROUP, i);
    return nyb_build_source_of(b, i);
}
