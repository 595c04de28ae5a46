/* Operations of each product and their energy; the rules are in nybble/energy.h. */
#include "base/cpu.h"
#include "graph/graph.h"
#include "quant/round.h"

const char *nyb_arith_name(nyb_arith arith)
{
    static const char *const names[] = {
#define X(constant, word, mul, add) word,
        NYB_ARITH_LIST(X)
#undef X
    };
    return (size_t)arith < sizeof names / sizeof *names ? names[arith] : NULL;
}

double nyb_arith_mul_pj(nyb_arith arith)
{
    static const double picojoules[] = {
#define X(constant, word, mul, add) mul,
        NYB_ARITH_LIST(X)
#undef X
    };
    return (size_t)arith < sizeof picojoules / sizeof *picojoules ? picojoules[arith] : 0.0;
}

double nyb_arith_add_pj(nyb_arith arith)
{
    static const double picojoules[] = {
#define X(constant, word, mul, add) add,
        NYB_ARITH_LIST(X)
#undef X
    };
    return (size_t)arith < sizeof picojoules / sizeof *picojoules ? picojoules[arith] : 0.0;
}

static void price(nyb_energy *e)
{
    const uint32_t former = nyb_cpu_fp_enter();

    e->picojoules = 0.0;
    for (int i = 0; i < NYB_ARITHS; i++)
        e->picojoules += (double)e->mul[i] * nyb_arith_mul_pj((nyb_arith)i) +
                         (double)e->add[i] * nyb_arith_add_pj((nyb_arith)i);
    e->f32_picojoules =
        (double)e->macs * (nyb_arith_mul_pj(NYB_ARITH_FP32) + nyb_arith_add_pj(NYB_ARITH_FP32));
    nyb_cpu_fp_restore(former);
}

void nyb_energy_add(nyb_energy *sum, const nyb_energy *energy)
{
    const uint32_t former = nyb_cpu_fp_enter();

    sum->macs += energy->macs;
    for (int i = 0; i < NYB_ARITHS; i++) {
        sum->mul[i] += energy->mul[i];
        sum->add[i] += energy->add[i];
    }
    sum->picojoules += energy->picojoules;
    sum->f32_picojoules += energy->f32_picojoules;
    nyb_cpu_fp_restore(former);
}

/* ---- classes --------------------------------------------------------------------------------- */

/* A table of nothing but zero and powers of two: radix-4 FP4. */
static bool is_power_table(const nyb_format *format)
{
    for (uint32_t c = 0; format->value && c < format->n_codes; c++)
        if ((nyb_bits_of(format->value[c]) & 0x7fffff) != 0)
            return false;
    return format->value != NULL;
}

static nyb_arith class_of_operand(const nyb_format *format)
{
    if (format->grid == NYB_GRID_REAL || format->bits > 16)
        return NYB_ARITH_FP32;
    if (format->max_unit > 0 || format->grid == NYB_GRID_LOG2 || is_power_table(format) ||
        (format->grid == NYB_GRID_INT && format->bits <= 8))
        return NYB_ARITH_INT8;
    return NYB_ARITH_FP16;
}

static nyb_arith class_of_accumulator(const nyb_format *format)
{
    if (format->grid == NYB_GRID_INT)
        return format->bits <= 8 ? NYB_ARITH_INT8 : NYB_ARITH_INT32;
    return format->grid != NYB_GRID_REAL && format->bits <= 16 ? NYB_ARITH_FP16 : NYB_ARITH_FP32;
}

static const nyb_quant *quant_of(const nyb_program *p, const nyb_source *s)
{
    return s->quant >= 0 ? &p->quants[s->quant] : NULL;
}

/* Codes -1, 0, 1: a product is a sign, or nothing. */
static bool is_sign(const nyb_program *p, const nyb_source *s)
{
    const nyb_quant *q = quant_of(p, s);

    return q && q->spec.format->max_unit == 1;
}

static nyb_arith class_of_source(const nyb_program *p, const nyb_source *s)
{
    const nyb_quant *q = quant_of(p, s);

    return q ? class_of_operand(q->spec.format) : NYB_ARITH_FP32;
}

/* ---- runs of one scale ----------------------------------------------------------------------- */

/* Runs of one scale in `macs` products along a contraction of `axis` elements. */
static uint64_t runs_of(uint64_t macs, uint64_t axis, uint64_t length)
{
    return macs / axis * nyb_div_up(axis, length);
}

/* Runs of one scale of this operand, in all outputs together; 0: one scale for each output. The
 * view may be that of another product with which the quantization is shared. */
static uint64_t count_runs(const nyb_graph *g, const nyb_step *s, const nyb_quant *q, bool is_w,
                           uint64_t macs)
{
    const uint64_t kernel = g->model->layers[s->layer].attr.kernel;
    const bool down = s->product == NYB_PRODUCT_DW || (s->product == NYB_PRODUCT_DX && is_w);

    if (!q || !q->rounds) /* packed: one scale */
        return 0;
    /* A depthwise output sees one channel, hence one filter. */
    if (g->model->layers[s->layer].op->depthwise && (is_w || q->spec.group == NYB_GROUP_CHANNEL))
        return 0;
    const nyb_view *v = &q->view;
    const uint64_t axis = down ? v->rows : v->tap ? v->tap : v->cols;

    switch (q->spec.group) {
    case NYB_GROUP_TENSOR:
        return 0;
    case NYB_GROUP_ROW: /* a filter, across which dX sums; a sample, across which dW does */
        if (is_w && down)
            return macs / nyb_max(kernel * kernel, 1);
        return down && v->run < v->rows * v->cols ? runs_of(macs, axis, v->run / v->cols) : 0;
    case NYB_GROUP_CHANNEL:
        return down ? 0 : macs;
    case NYB_GROUP_BLOCK16:
    case NYB_GROUP_BLOCK32:
    case NYB_GROUP_BLOCK64:
    case NYB_GROUP_TILE16:
        return runs_of(macs, axis, nyb_round_group_length(q->spec.group));
    }
    return 0;
}

static bool has_pow2_scale(const nyb_quant *q)
{
    return !q || q->spec.scale->pow2;
}

static void add_scaling(const nyb_graph *g, const nyb_program *p, const nyb_step *s, uint64_t macs,
                        nyb_energy *e)
{
    const nyb_quant *a = quant_of(p, &s->a[0]), *b = quant_of(p, &s->b);
    const bool b_is_w = s->product != NYB_PRODUCT_DW;
    const uint64_t runs =
        nyb_max(count_runs(g, s, a, false, macs), count_runs(g, s, b, b_is_w, macs));

    if (has_pow2_scale(a) && has_pow2_scale(b))
        e->add[NYB_ARITH_INT8] += 2 * runs;
    else
        e->mul[NYB_ARITH_FP32] += 2 * runs;
    e->add[NYB_ARITH_FP32] += runs;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Outputs of a product. */
static uint64_t count_outputs(const nyb_graph *g, const nyb_step *s)
{
    const nyb_layer *l = &g->model->layers[s->layer];
    const nyb_shape in = g->model->layers[l->in[0]].shape;
    const uint64_t taps = l->attr.kernel ? l->attr.kernel * l->attr.kernel : 1;

    switch (s->product) {
    case NYB_PRODUCT_FWD:
        return g->batch * nyb_shape_size(l->shape);
    case NYB_PRODUCT_DX:
        return g->batch * nyb_shape_size(in);
    case NYB_PRODUCT_DW:
        return l->attr.out * (l->op->depthwise ? 1 : in.c) * taps;
    }
    return 0;
}

static void add_sums(const nyb_graph *g, const nyb_step *s, uint64_t macs, bool integers,
                     nyb_energy *e)
{
    const nyb_accum *accum = s->conv ? nyb_conv_accum(s->conv) : NULL;
    const uint64_t outputs = nyb_max(count_outputs(g, s), 1);

    if (!accum) {
        e->add[integers ? NYB_ARITH_INT32 : NYB_ARITH_FP32] += macs;
        return;
    }
    const nyb_arith arith = class_of_accumulator(accum->format);

    e->add[arith] += macs;
    if (accum->chunk > 0)
        e->add[accum->format->grid == NYB_GRID_INT ? NYB_ARITH_FP32 : arith] +=
            outputs * nyb_div_up(nyb_div_up(macs, outputs), (uint64_t)accum->chunk);
}

void nyb_graph_energy_at(const nyb_graph *g, size_t i, nyb_energy *energy)
{
    const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
    bool again;
    const nyb_step *s = nyb_graph_product_step(p, i, &again);

    *energy = (nyb_energy){0};
    if (!s)
        return;
    const nyb_arith a = class_of_source(p, &s->a[0]), b = class_of_source(p, &s->b);
    const nyb_quant *q = quant_of(p, &s->a[0]);
    const uint64_t samples = q && q->rounds ? (uint64_t)q->samples : 1;
    const uint64_t macs = nyb_graph_step_macs(s) * nyb_max(samples, 1); /* packed: counts draws */

    energy->macs = again ? 0 : nyb_graph_step_macs(s) / (uint64_t)s->n_a;
    if (strcmp(nyb_graph_step_engine(s), "mf") == 0)
        energy->add[NYB_ARITH_INT8] += macs;
    else if (!is_sign(p, &s->a[0]) && !is_sign(p, &s->b))
        energy->mul[nyb_max(a, b)] += macs;
    add_sums(g, s, macs, a == NYB_ARITH_INT8 && b == NYB_ARITH_INT8, energy);
    add_scaling(g, p, s, macs, energy);
    price(energy);
}
