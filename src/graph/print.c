/* What the compiler decided, as numbers and tables. */
#include <stdio.h>

#include "graph/graph.h"

static bool is_kept(const nyb_program *p, const nyb_buffer *b)
{
    return b->home == NYB_HOME_PLANNED && b->first >= 0 && b->first < p->n_forward &&
           b->last >= p->n_forward && b->again < 0;
}

/* Bytes of what a quant leaves that are kept: 0 if none are. */
static size_t kept_quant(const nyb_program *p, const nyb_quant *q)
{
    int buffers[NYB_QUANT_BUFFERS];
    size_t n_bytes = 0;

    if (q->order ==
        NYB_ORDER_ROWS) /* of the forward product alone; codes may be those of another */
        return 0;
    nyb_quant_buffers(q, buffers);
    for (size_t i = 0; i < NYB_QUANT_BUFFERS; i++)
        if (buffers[i] >= 0 && is_kept(p, &p->buffers[buffers[i]]))
            n_bytes += p->buffers[buffers[i]].n_bytes;
    return n_bytes;
}

nyb_kept nyb_program_kept(const nyb_program *p)
{
    nyb_kept kept = {0, 0, 0};

    for (int i = 0; i < p->n_buffers; i++)
        if (is_kept(p, &p->buffers[i]))
            kept.total += p->buffers[i].n_bytes;
    for (int i = 0; i < p->n_quants; i++) {
        const nyb_quant *q = &p->quants[i];

        const size_t n_bytes = kept_quant(p, q);

        if (n_bytes == 0)
            continue;
        if (q->slot == NYB_SLOT_FWD_W) { /* weights are no activations */
            kept.total -= n_bytes;
            continue;
        }
        kept.quantized += n_bytes;
        kept.quantized_f32 += nyb_round_up(q->view.rows * q->view.cols * 4, NYB_ALIGN);
    }
    return kept;
}

/* ---- the memory plan ------------------------------------------------------------------------- */

static void plan_row(FILE *out, const char *what, size_t n_bytes)
{
    fprintf(out, "  %-44s %14zu\n", what, n_bytes);
}

static void print_persistent(const nyb_graph *g, FILE *out)
{
    size_t trained = 0, means = 0, small = g->n_small_bytes;

    for (int i = 0; i < g->n_params; i++) {
        const size_t n_bytes = nyb_round_up(g->params[i].n * sizeof(float), NYB_ALIGN);

        trained += g->params[i].trained ? n_bytes : 0;
        means += g->params[i].mean_of ? n_bytes : 0;
    }
    plan_row(out, "parameters (f32 masters)", trained);
    plan_row(out, "gradients", trained);
    plan_row(out, "momenta", trained);
    if (means > 0)
        plan_row(out, "exponential means of weights", means);
    plan_row(out, "batchnorm buffers, scale states, a backup", 2 * small);
    plan_row(out, "input, labels, result", g->n_persistent_bytes - 3 * trained - means - 2 * small);
}

/* The operator; "": a quantization's. */
static void step_word(const nyb_graph *g, const nyb_program *p, const nyb_step *s, char *text,
                      size_t size)
{
    if (s->quant >= 0)
        snprintf(text, size, "%s", "");
    else if (s->kind == NYB_STEP_REPEAT)
        snprintf(text, size, "%s", nyb_graph_step_engine(&p->steps[s->producer]));
    else if (s->kind == NYB_STEP_PRODUCT)
        snprintf(text, size, "%s", nyb_graph_step_engine(s));
    else
        nyb_graph_op_word(g, s, text, size);
}

static void print_program(const nyb_graph *g, const nyb_program *p, FILE *out)
{
    static const char *const mode_names[] = {
#define X(constant, word) word,
        NYB_MODE_LIST(X)
#undef X
    };

    fprintf(out, "\nprogram %s: %d steps (%d forward), plan %zu bytes\n", mode_names[p->mode],
            p->n_steps, p->n_forward, p->n_bytes);
    for (int i = 0; i < p->n_steps; i++) {
        const nyb_step *s = &p->steps[i];
        const nyb_layer *l = &g->model->layers[s->layer];
        char spec[96] = "", word[64];

        step_word(g, p, s, word, sizeof word);
        if (s->quant >= 0)
            nyb_spec_print(&p->quants[s->quant].spec, spec, sizeof spec);
        fprintf(out, "  %4d %-10s %-28s %s%s%s%s\n", i, nyb_step_kind_name(s->kind), l->name,
                s->quant >= 0 ? nyb_slot_name(p->quants[s->quant].slot) : word,
                s->quant >= 0 ? " " : "", spec, s->args.fused.unstored ? ", not stored" : "");
    }
    fprintf(out, "  %-8s %-28s %12s %12s %5s %5s\n", "buffer", "layer", "bytes", "offset", "from",
            "to");
    for (int i = 0; i < p->n_buffers; i++) {
        const nyb_buffer *b = &p->buffers[i];

        if (b->home != NYB_HOME_PLANNED || b->first < 0)
            continue;
        fprintf(out, "  %-8s %-28s %12zu %12zu %5d %5d", b->what, g->model->layers[b->layer].name,
                b->n_bytes, b->offset, b->first, b->last);
        if (b->again >= 0)
            fprintf(out, ", not from %d to %d", b->gone + 1, b->again - 1);
        fprintf(out, "%s\n", is_kept(p, b) ? " kept" : "");
    }
}

void nyb_graph_print(const nyb_graph *g, FILE *out)
{
    fprintf(out, "arena (bytes)\n");
    print_persistent(g, out);
    plan_row(out, "planned buffers (largest program)", g->n_plan_bytes);
    plan_row(out, "scratch", g->n_scratch_bytes);
    plan_row(out, "total", g->n_arena_bytes);
    for (int i = 0; i < NYB_MODES; i++)
        if (g->has_program[i])
            print_program(g, &g->programs[i], out);
}

/* ---- explain: one line per product of the training program ----------------------------------- */

static bool is_product(const nyb_step *s)
{
    return s->kind == NYB_STEP_PRODUCT || s->kind == NYB_STEP_TAPS || s->kind == NYB_STEP_REPEAT;
}

const nyb_step *nyb_graph_product_step(const nyb_program *p, size_t i, bool *again)
{
    for (int n = 0; n < p->n_steps; n++) {
        const nyb_step *s = &p->steps[n];

        if (!is_product(s) || i-- > 0)
            continue;
        *again = s->kind == NYB_STEP_REPEAT;
        return *again ? &p->steps[s->producer] : s;
    }
    return NULL;
}

const char *nyb_graph_step_engine(const nyb_step *s)
{
    if (s->depthwise)
        return nyb_depthwise_engine(s->depthwise);
    return s->group ? "s8" : nyb_conv_engine(s->conv);
}

const char *nyb_graph_step_kernel(const nyb_step *s)
{
    if (s->depthwise)
        return nyb_depthwise_kernel_name(s->depthwise);
    return s->group ? nyb_group_conv_kernel(s->group) : nyb_conv_kernel(s->conv);
}

uint64_t nyb_graph_step_macs(const nyb_step *s)
{
    if (s->depthwise)
        return nyb_depthwise_macs(s->depthwise);
    if (s->kind == NYB_STEP_TAPS) /* what is multiplied sees pixels of padding as others */
        return nyb_conv_shape_macs(&s->shape) * (uint64_t)s->n_a;
    return s->group ? nyb_group_conv_macs(s->group) : nyb_conv_macs(s->conv);
}

size_t nyb_graph_explain_count(const nyb_graph *g)
{
    bool again;
    size_t n = 0;

    while (nyb_graph_product_step(&g->programs[NYB_MODE_TRAIN], n, &again))
        n++;
    return n;
}

/* n: draws of codes. */
static void print_source(const nyb_program *p, const nyb_source *s, int n, char text[96])
{
    int at;

    if (s->quant < 0) {
        snprintf(text, 96, "f32");
        return;
    }
    at = nyb_spec_print(&p->quants[s->quant].spec, text, 96);
    n *= p->quants[s->quant].samples;
    if (n > 1 && at > 0 && at < 88)
        snprintf(text + at, 96 - (size_t)at, " x%d", n);
}

/* The plan keeps this source because of a product of the backward pass. */
static size_t kept_source(const nyb_program *p, const nyb_source *s)
{
    if (s->quant >= 0)
        return kept_quant(p, &p->quants[s->quant]);
    return is_kept(p, &p->buffers[s->real]) ? p->buffers[s->real].n_bytes : 0;
}

/* Where a stride skips pixels, only some taps of dX meet the same pixel. */
static uint64_t sum_length(const nyb_graph *g, const nyb_step *s)
{
    const nyb_layer *l = &g->model->layers[s->layer];
    const nyb_shape in = g->model->layers[l->in[0]].shape;
    const uint64_t kernel = nyb_max(l->attr.kernel, 1), stride = nyb_max(l->attr.stride, 1);
    const uint64_t meeting = (kernel + stride - 1) / stride;
    const bool depthwise = l->op->depthwise;

    switch (s->product) {
    case NYB_PRODUCT_FWD:
        return kernel * kernel * (depthwise ? 1 : in.c);
    case NYB_PRODUCT_DX:
        return meeting * meeting * (depthwise ? 1 : l->attr.out);
    case NYB_PRODUCT_DW:
        return g->batch * l->shape.h * l->shape.w;
    }
    return 0;
}

void nyb_graph_explain_at(const nyb_graph *g, size_t i, nyb_explain_line *line)
{
    static const char *const products[] = {"fwd", "dgrad", "wgrad"};
    const nyb_program *p = &g->programs[NYB_MODE_TRAIN];
    bool again;
    const nyb_step *s = nyb_graph_product_step(p, i, &again);

    *line = (nyb_explain_line){0};
    if (!s)
        return;
    line->layer = g->model->layers[s->layer].name;
    line->product = again ? "fwd again" : products[s->product];
    print_source(p, &s->a[0], s->n_a, line->a);
    print_source(p, &s->b, 1, line->b);
    line->engine = nyb_graph_step_engine(s);
    line->kernel = nyb_graph_step_kernel(s);
    line->macs = nyb_graph_step_macs(s);
    line->sum_length = sum_length(g, s);
    if (s->product == NYB_PRODUCT_DW)
        line->saved_bytes = kept_source(p, &s->b);
}
