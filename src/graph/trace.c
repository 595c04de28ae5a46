/* What each step is called, and the least it moves: for benchmarks. */
#include <stdio.h>

#include "graph/graph.h"

const char *nyb_step_kind_name(nyb_step_kind kind)
{
    static const char *const names[] = {
#define X(constant, word) word,
        NYB_STEP_LIST(X)
#undef X
    };
    return names[kind];
}

void nyb_graph_op_word(const nyb_graph *g, const nyb_step *s, char *text, size_t n_bytes)
{
    snprintf(text, n_bytes, "%s%s%s%s", g->model->layers[s->layer].op->name,
             s->residual >= 0 ? "+add" : "", s->args.fused.relu ? "+relu" : "",
             s->blocks >= 0 && s->lagging < 0 ? "+moments" : "");
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* What a step both reads and writes. */
static bool adds_to(const nyb_step *s, int buffer)
{
    bool adds = (s->add && s->out == buffer) ||
                ((s->kind == NYB_STEP_ESTIMATE || s->kind == NYB_STEP_REFLECT) &&
                 s->dout == buffer) || /* in place */
                (s->kept == buffer && s->dout == buffer) ||
                (s->kind == NYB_STEP_BACKWARD && s->din[0] == buffer && s->dout == buffer);

    for (int i = 0; i < NYB_OP_INPUTS; i++)
        adds = adds || (s->args.din_add[i] && s->din[i] == buffer);
    return adds;
}

/* Rules of moments alone choose a scale without a look at the tensor, and moments that the
 * tensor's producer left in blocks are added up without one. */
static bool looks_away(const nyb_program *p, const nyb_step *s, int buffer)
{
    const nyb_quant *q = s->quant >= 0 ? &p->quants[s->quant] : NULL;

    if (s->kind == NYB_STEP_SCALE)
        return q->spec.scale->choose || buffer == q->blocks;
    if (s->kind == NYB_STEP_MOMENTS)
        return q->blocks >= 0 && buffer == q->real;
    return s->kind == NYB_STEP_ENCODE && buffer == q->blocks;
}

static bool is_in(const int *list, int n, int buffer)
{
    for (int i = 0; i < n; i++)
        if (list[i] == buffer)
            return true;
    return false;
}

static void count_bytes(const nyb_program *p, int step, nyb_trace_line *line)
{
    const nyb_step *s = &p->steps[step];
    int list[NYB_STEP_BUFFERS];
    const int n = nyb_step_buffers(p, s, list);

    for (int i = 0; i < n; i++) {
        const nyb_buffer *b = &p->buffers[list[i]];
        const bool adds = adds_to(s, list[i]);
        const bool makes = b->home == NYB_HOME_PLANNED
                               ? b->first == step || b->again == step
                               : b->home == NYB_HOME_GRADIENT || b->home == NYB_HOME_RESULT;

        if (is_in(list, i, list[i]) || looks_away(p, s, list[i]))
            continue;
        if (adds || !makes)
            line->read_bytes +=
                s->kind == NYB_STEP_SAMPLE ? p->buffers[s->out].n_bytes : b->n_bytes;
        if (adds || makes)
            line->written_bytes += b->n_bytes;
    }
}

/* ---- names ------------------------------------------------------------------------------------
 */

static const nyb_format *format_of(const nyb_program *p, const nyb_source *s)
{
    if (s->quant < 0 || (!nyb_quant_is_packed(&p->quants[s->quant]) && !p->quants[s->quant].groups))
        return &nyb_format_f32;
    return p->quants[s->quant].spec.format;
}

static void describe_product(const nyb_program *p, const nyb_step *s, nyb_trace_line *line)
{
    line->engine = nyb_graph_step_engine(s);
    line->kernel = nyb_graph_step_kernel(s);
    line->macs = nyb_graph_step_macs(s);
    line->a = format_of(p, &s->a[0]);
    line->b = format_of(p, &s->b);
}

/* Kinds that this does not know are called by their word alone. */
static void name_kind(const nyb_graph *g, const nyb_program *p, const nyb_step *s,
                      nyb_trace_line *line)
{
    static const char *const products[] = {"fwd", "dx", "dw"};
    const char *word = nyb_step_kind_name(s->kind);
    char op[sizeof line->kind - 16];

    nyb_graph_op_word(g, s, op, sizeof op);
    if (s->kind == NYB_STEP_PRODUCT)
        snprintf(line->kind, sizeof line->kind, "%s %s", word, products[s->product]);
    else if (s->kind == NYB_STEP_REPEAT)
        snprintf(line->kind, sizeof line->kind, "%s", word);
    else if (s->kind == NYB_STEP_FORWARD || s->kind == NYB_STEP_BACKWARD)
        snprintf(line->kind, sizeof line->kind, "%s %s", op, word);
    else if (s->producer >= 0) /* computes what nobody stored, and encodes it */
        snprintf(line->kind, sizeof line->kind, "%s %s",
                 g->model->layers[p->steps[s->producer].layer].op->name, word);
    else
        snprintf(line->kind, sizeof line->kind, "%s", word);
}

void nyb_graph_trace_at(const nyb_graph *g, nyb_mode mode, int step, nyb_trace_line *line)
{
    const nyb_program *p = &g->programs[mode];
    const nyb_step *s = &p->steps[step];
    const nyb_layer *l = &g->model->layers[s->layer];

    line->layer = l->name;
    line->op = l->op->name;
    line->shape[0] = g->batch;
    line->shape[1] = l->shape.h;
    line->shape[2] = l->shape.w;
    line->shape[3] = l->shape.c;
    name_kind(g, p, s, line);
    if (s->quant >= 0)
        line->slot = nyb_slot_name(p->quants[s->quant].slot);
    if (s->kind == NYB_STEP_REPEAT)
        describe_product(p, &p->steps[s->producer], line);
    else if (s->conv || s->group || s->depthwise)
        describe_product(p, s, line);
    count_bytes(p, step, line);
}
