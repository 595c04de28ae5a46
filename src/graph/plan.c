/* One arena: buffers that are never live together share memory. */
#include "graph/graph.h"

/* ---- lifetimes ------------------------------------------------------------------------------- */

static int put_quant(const nyb_quant *q, int *list, int n)
{
    nyb_quant_buffers(q, list + n);
    return n + NYB_QUANT_BUFFERS;
}

static int put_source(const nyb_program *p, const nyb_source *s, int *list, int n)
{
    if (s->quant >= 0)
        return put_quant(&p->quants[s->quant], list, n);
    list[n++] = s->real;
    return n;
}

/* What a producer reads to make rows again. */
static int put_producer(const nyb_step *s, int *list, int n)
{
    const bool forward = s->kind == NYB_STEP_FORWARD;
    const int read[] = {s->stored < 0 ? s->in[0] : -1,
                        s->stored,
                        s->saved,
                        s->coefs,
                        forward ? s->residual : s->mask,
                        forward ? -1 : s->dout,
                        forward ? -1 : s->kept};

    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        list[n++] = read[i];
    return n;
}

int nyb_step_buffers(const nyb_program *p, const nyb_step *s, int list[NYB_STEP_BUFFERS])
{
    const nyb_quant *q = s->quant >= 0 ? &p->quants[s->quant] : NULL;
    const int own[] = {s->in[0], s->in[1],    s->dout, s->din[0], s->din[1], s->saved, s->out,
                       s->mask,  s->residual, s->kept, s->stored, s->blocks, s->coefs};
    int n = 0, kept = 0;

    if (s->kind == NYB_STEP_REPEAT)
        return nyb_step_buffers(p, &p->steps[s->producer], list);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        list[n++] = own[i];
    if (s->kind == NYB_STEP_TAPS)
        list[n++] = s->tap;
    /* Codes of another quant need its tensor no more. */
    if (s->kind == NYB_STEP_REFLECT)
        list[n++] = q->reflects;
    else if (q && s->kind != NYB_STEP_ESTIMATE && q->order == NYB_ORDER_OWN) {
        list[n++] = q->blocks;
        list[n++] = q->unstored ? -1 : q->real;
    }
    if (s->producer >= 0)
        n = put_producer(&p->steps[s->producer], list, n);
    if (s->kind == NYB_STEP_REGROUP)
        n = put_quant(&p->quants[q->order_of], list, n);
    if (s->kind == NYB_STEP_ENCODE || s->kind == NYB_STEP_ROUND || s->kind == NYB_STEP_REGROUP ||
        s->kind == NYB_STEP_TAPS)
        n = put_quant(q, list, n);
    if ((s->kind == NYB_STEP_ROUND || s->kind == NYB_STEP_TAPS) && q->from >= 0)
        n = put_quant(&p->quants[q->from], list, n);
    if (s->kind == NYB_STEP_PRODUCT || s->kind == NYB_STEP_TAPS) {
        for (int i = 0; i < s->n_a; i++)
            n = put_source(p, &s->a[i], list, n);
        n = put_source(p, &s->b, list, n);
    }
    for (int i = 0; i < n; i++)
        if (list[i] >= 0)
            list[kept++] = list[i];
    return kept;
}

static void count_lifetimes(nyb_program *p)
{
    int list[NYB_STEP_BUFFERS];

    for (int i = 0; i < p->n_buffers; i++)
        p->buffers[i].first = p->buffers[i].last = p->buffers[i].again = -1;
    for (int i = 0; i < p->n_steps; i++) {
        const nyb_step *s = &p->steps[i];
        const int n = nyb_step_buffers(p, s, list);

        if (s->kind == NYB_STEP_REPEAT) {
            p->buffers[s->out].gone = p->buffers[s->out].last;
            p->buffers[s->out].again = i;
        }

        for (int j = 0; j < n; j++) {
            nyb_buffer *b = &p->buffers[list[j]];

            if (b->first < 0)
                b->first = i;
            b->last = i;
        }
    }
}

/* ---- offsets --------------------------------------------------------------------------------- */

static bool is_planned(const nyb_buffer *b)
{
    return b->home == NYB_HOME_PLANNED && b->first >= 0;
}

static bool is_live_in(const nyb_buffer *b, int first, int last)
{
    if (b->again < 0)
        return b->first <= last && first <= b->last;
    return (b->first <= last && first <= b->gone) || (b->again <= last && first <= b->last);
}

static bool live_together(const nyb_buffer *a, const nyb_buffer *b)
{
    if (b->again < 0)
        return is_live_in(a, b->first, b->last);
    return is_live_in(a, b->first, b->gone) || is_live_in(a, b->again, b->last);
}

/* Whether a placed buffer (in order of placement, by `placed`) overlaps [offset, offset + n). If
 * so, *next is the first offset past it. */
static bool collides(const nyb_program *p, const bool *placed, const nyb_buffer *b, size_t offset,
                     size_t *next)
{
    for (int i = 0; i < p->n_buffers; i++) {
        const nyb_buffer *o = &p->buffers[i];

        if (placed[i] && live_together(o, b) && o->offset < offset + b->n_bytes &&
            offset < o->offset + o->n_bytes) {
            *next = o->offset + o->n_bytes;
            return true;
        }
    }
    return false;
}

/* The lowest offset where b meets no live neighbour: the start, or the end of a placed buffer. */
static size_t lowest_offset(const nyb_program *p, const bool *placed, const nyb_buffer *b)
{
    size_t best = SIZE_MAX, next = 0;

    if (!collides(p, placed, b, 0, &next))
        return 0;
    for (int i = 0; i < p->n_buffers; i++) {
        const nyb_buffer *o = &p->buffers[i];
        const size_t end = o->offset + o->n_bytes;

        if (placed[i] && live_together(o, b) && end < best && !collides(p, placed, b, end, &next))
            best = end;
    }
    return best;
}

/* Those that are hardest to place come first: the largest, those that are large for long, or those
 * that live for long. */
typedef enum order { BY_SIZE, BY_AREA, BY_LIFE, N_ORDERS } order;

static double rank_of(const nyb_buffer *b, order by)
{
    const double size = (double)b->n_bytes, life = b->last - b->first + 1;

    return by == BY_SIZE ? size : by == BY_AREA ? size * life : life + size * 0x1p-60;
}

static void place_all(nyb_program *p, order by, bool *placed)
{
    p->n_bytes = 0;
    memset(placed, 0, (size_t)p->n_buffers);
    for (;;) {
        nyb_buffer *next = NULL;

        for (int i = 0; i < p->n_buffers; i++)
            if (is_planned(&p->buffers[i]) && !placed[i] &&
                (!next || rank_of(&p->buffers[i], by) > rank_of(next, by)))
                next = &p->buffers[i];
        if (!next)
            return;
        next->offset = lowest_offset(p, placed, next);
        placed[next - p->buffers] = true;
        p->n_bytes = nyb_max(p->n_bytes, next->offset + next->n_bytes);
    }
}

void nyb_program_plan(nyb_program *p)
{
    bool placed_small[512];
    bool *placed = placed_small;
    size_t least = SIZE_MAX;
    order best = BY_SIZE;

    if ((size_t)p->n_buffers > sizeof placed_small)
        placed = nyb_alloc((size_t)p->n_buffers);
    count_lifetimes(p);
    if (!placed) { /* no memory to be clever with: side by side */
        p->n_bytes = 0;
        for (int i = 0; i < p->n_buffers; i++)
            if (is_planned(&p->buffers[i])) {
                p->buffers[i].offset = p->n_bytes;
                p->n_bytes += p->buffers[i].n_bytes;
            }
        return;
    }
    for (order by = BY_SIZE; by < N_ORDERS; by++) {
        place_all(p, by, placed);
        if (p->n_bytes < least) {
            least = p->n_bytes;
            best = by;
        }
    }
    if (least < p->n_bytes)
        place_all(p, best, placed);
    if (placed != placed_small)
        nyb_free(placed);
}

/* ---- pointers -------------------------------------------------------------------------------- */

static void *memory_of(const nyb_program *p, int buffer)
{
    return buffer < 0 ? NULL : p->buffers[buffer].memory;
}

static nyb_operand operand_of(nyb_program *p, const nyb_source *s)
{
    const bool packed = s->quant >= 0 && nyb_quant_is_packed(&p->quants[s->quant]);

    return (nyb_operand){.packed = packed ? &p->quants[s->quant].packed : NULL,
                         .real = packed ? NULL : memory_of(p, s->real)};
}

static void bind_operands(nyb_program *p, nyb_step *s)
{
    if (s->group) {
        for (int j = 0; j < s->n_a; j++)
            s->a_grouped[j] = &p->quants[s->a[j].quant].grouped;
        s->b_grouped = &p->quants[s->b.quant].grouped;
        return;
    }
    for (int j = 0; j < s->n_a; j++)
        s->a_bound[j] = operand_of(p, &s->a[j]);
    s->b_bound = operand_of(p, &s->b);
}

static void bind_op(nyb_graph *g, nyb_program *p, nyb_step *s)
{
    nyb_op_args *a = &s->args;

    for (int i = 0; i < NYB_OP_INPUTS; i++) {
        a->in[i] = memory_of(p, s->in[i]);
        a->din[i] = memory_of(p, s->din[i]);
    }
    a->out = memory_of(p, s->out);
    a->dout = s->half ? NULL : memory_of(p, s->dout);
    a->fused.dout = s->half ? memory_of(p, s->dout) : NULL;
    a->saved = memory_of(p, s->saved);
    a->fused.residual = memory_of(p, s->residual);
    a->fused.mask = memory_of(p, s->mask);
    a->fused.kept = memory_of(p, s->kept);
    a->fused.stored = memory_of(p, s->stored);
    a->fused.moments = memory_of(p, s->blocks);
    a->fused.coefs = memory_of(p, s->coefs);
    a->labels = g->labels;
    for (int i = 0; i < g->n_params; i++) {
        const nyb_param *param = &g->params[i];

        if (param->layer != s->layer || param->rule || param->mean_of)
            continue;
        if (param->trained) {
            a->param[param->index] = param->value;
            a->dparam[param->index] = param->gradient;
        } else {
            a->buffer[param->index] = param->value;
        }
    }
}

void nyb_program_bind(nyb_graph *g, nyb_program *p, uint8_t *plan, uint8_t *scratch)
{
    for (int i = 0; i < p->n_buffers; i++) {
        nyb_buffer *b = &p->buffers[i];

        switch (b->home) {
        case NYB_HOME_PLANNED:
            b->memory = plan + b->offset;
            break;
        case NYB_HOME_INPUT:
            b->memory = g->input;
            break;
        case NYB_HOME_RESULT:
            b->memory = g->result;
            break;
        case NYB_HOME_PARAM:
            b->memory = g->params[b->param].value;
            break;
        case NYB_HOME_GRADIENT:
            b->memory = g->params[b->param].gradient;
            break;
        }
    }
    for (int i = 0; i < p->n_quants; i++) {
        nyb_quant *q = &p->quants[i];

        q->packed.codes = memory_of(p, q->codes);
        q->grouped.packed.codes = q->packed.codes;
        q->grouped.scales = memory_of(p, q->scales);
        q->packed.lines = memory_of(p, q->lines);
        q->block_moments = memory_of(p, q->blocks);
    }
    for (int i = 0; i < p->n_steps; i++) {
        nyb_step *s = &p->steps[i];

        s->args.scratch = scratch;
        if (s->kind == NYB_STEP_FORWARD || s->kind == NYB_STEP_BACKWARD) {
            bind_op(g, p, s);
        } else if (s->kind == NYB_STEP_AGAIN || s->kind == NYB_STEP_REFLECT) {
            s->args.out = memory_of(p, s->out);
        } else if (s->kind == NYB_STEP_PRODUCT || s->kind == NYB_STEP_TAPS) {
            bind_operands(p, s);
            s->args.out = memory_of(p, s->out);
            if (s->product == NYB_PRODUCT_FWD && g->model->layers[s->layer].attr.bias)
                for (int j = 0; j < g->n_params; j++)
                    if (g->params[j].layer == s->layer && g->params[j].index == 1 &&
                        !g->params[j].rule)
                        s->bias = g->params[j].value;
        }
    }
}
