/* Fusion: a list of patterns, each a rewrite of the step list that leaves every bit as it was.
 *
 * After the products became exact integers the step is memory traffic, so batchnorm takes over its
 * neighbours' passes over the same tensor (op/batchnorm.c):
 *
 *   forward    batchnorm -> [add ->] relu        one pass; the sum and y never exist
 *   backward   add's copy for its second input   the same buffer, where nobody writes it too early
 *              relu -> batchnorm                 the mask is applied where batchnorm reads dout
 *   both       batchnorm -> moments              canonical blocks of what it writes, still in cache
 *              batchnorm -> encode               what one encode step alone reads is never stored:
 *                                                made once for its moments, again for its codes;
 *                                                once where a rule lags: moments of this step then
 *                                                come with the codes
 *   backward   batchnorm in place                dx takes the place of dout, which nobody reads
 *                                                after it
 *   both       product -> batchnorm              store = bf16: the product writes bf16, what the
 *                                                one stores of y, and the other rounds of dX
 *   across     batchnorm -> dW                   what nobody else reads again is not kept: made
 *                                                once more, from y, where dW wants it
 *              product -> batchnorm              recompute = products: y is not kept, but
 *                                                multiplied again where it is first read backward
 *
 * A step that was taken over is removed; lifetimes are counted afterwards (plan.c). */
#include "graph/build.h"

typedef struct fuser {
    nyb_builder b;
    bool *gone; /* [n_steps] taken over by another step */
} fuser;

static bool is_op(const nyb_graph *g, const nyb_step *s, nyb_step_kind kind, const char *op)
{
    return s->kind == kind && strcmp(g->model->layers[s->layer].op->name, op) == 0;
}

static bool is_step(const fuser *f, int i, nyb_step_kind kind, const char *op)
{
    return i >= 0 && is_op(f->b.g, &f->b.p->steps[i], kind, op);
}

static bool uses(const nyb_program *p, const nyb_step *s, int buffer)
{
    int list[NYB_STEP_BUFFERS];
    const int n = nyb_step_buffers(p, s, list);

    for (int i = 0; i < n; i++)
        if (list[i] == buffer)
            return true;
    return false;
}

static bool leaves(const nyb_quant *q, int buffer)
{
    int list[NYB_QUANT_BUFFERS];
    bool found = false;

    nyb_quant_buffers(q, list);
    for (int i = 0; i < NYB_QUANT_BUFFERS; i++)
        found = found || list[i] == buffer;
    return found;
}

static bool writes(const nyb_program *p, const nyb_step *s, int buffer)
{
    switch (s->kind) {
    case NYB_STEP_MOMENTS:
    case NYB_STEP_SCALE:
    case NYB_STEP_REGROUP: /* codes only */
        return false;
    case NYB_STEP_ENCODE:
    case NYB_STEP_ROUND:
        return leaves(&p->quants[s->quant], buffer);
    case NYB_STEP_SAMPLE:
    case NYB_STEP_AGAIN:
    case NYB_STEP_PRODUCT:
    case NYB_STEP_TAPS:
    case NYB_STEP_REPEAT:
        return s->out == buffer;
    case NYB_STEP_REFLECT:
    case NYB_STEP_ESTIMATE:
        return s->out == buffer || s->dout == buffer;
    case NYB_STEP_FORWARD:
        return s->out == buffer;
    case NYB_STEP_BACKWARD:
        return s->din[0] == buffer || s->din[1] == buffer || s->kept == buffer;
    }
    return false;
}

/* The first step from `first` on that uses a buffer, or -1. */
static int next_use(const fuser *f, int buffer, int first)
{
    for (int i = first; i < f->b.p->n_steps; i++)
        if (!f->gone[i] && uses(f->b.p, &f->b.p->steps[i], buffer))
            return i;
    return -1;
}

/* The first step from `first` on that writes it, or n_steps. */
static int next_write(const fuser *f, int buffer, int first)
{
    for (int i = first; i < f->b.p->n_steps; i++)
        if (!f->gone[i] && writes(f->b.p, &f->b.p->steps[i], buffer))
            return i;
    return f->b.p->n_steps;
}

/* The only step beside `producer` that uses a buffer, or -1. */
static int only_user(const fuser *f, int buffer, int producer)
{
    const int user = next_use(f, buffer, producer + 1);

    return user >= 0 && next_use(f, buffer, user + 1) < 0 ? user : -1;
}

/* Whole registers of channels; its mask and its moments' blocks then begin where its tiles do. */
static bool is_wide(const nyb_step *s)
{
    return s->args.in_shape[0].c % 16 == 0;
}

/* ---- batchnorm -> [add ->] relu -------------------------------------------------------------- */

static void fuse_relu(fuser *f, int i)
{
    nyb_step *s = &f->b.p->steps[i], *relu;
    int user = only_user(f, s->out, i), residual = -1, add = -1;

    if (is_step(f, user, NYB_STEP_FORWARD, "add")) {
        const nyb_step *sum = &f->b.p->steps[user];

        residual = sum->in[0] == s->out ? sum->in[1] : sum->in[0];
        if (residual == s->out || next_write(f, residual, i) < user)
            return; /* not there yet: the other branch's batchnorm will do it */
        add = user;
        user = only_user(f, sum->out, add);
    }
    if (!is_step(f, user, NYB_STEP_FORWARD, "relu"))
        return;
    relu = &f->b.p->steps[user];
    s->args.fused.relu = true;
    s->residual = residual;
    s->mask = next_use(f, relu->saved, user + 1) >= 0 ? relu->saved : -1;
    s->out = relu->out;
    f->gone[user] = true;
    if (add >= 0)
        f->gone[add] = true;
}

/* ---- add's second gradient ------------------------------------------------------------------- */

static void rename_source(nyb_source *s, int from, int to)
{
    if (s->real == from)
        s->real = to;
}

static void rename_in_step(nyb_step *s, int from, int to)
{
    int *const fields[] = {&s->out, &s->in[0], &s->in[1],    &s->dout, &s->din[0], &s->din[1],
                           &s->tap, &s->saved, &s->residual, &s->mask, &s->kept,   &s->stored};

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (*fields[i] == from)
            *fields[i] = to;
    for (int i = 0; i < s->n_a; i++)
        rename_source(&s->a[i], from, to);
    rename_source(&s->b, from, to);
}

static void rename_buffer(nyb_program *p, int from, int to)
{
    for (int i = 0; i < p->n_steps; i++)
        rename_in_step(&p->steps[i], from, to);
    for (int i = 0; i < p->n_quants; i++)
        if (p->quants[i].real == from)
            p->quants[i].real = to;
}

/* The first input took over dout's buffer; the second gets it too instead of a copy, if whoever
 * adds to it comes after the last reader of dout. */
static void share_gradient(fuser *f, int i)
{
    const nyb_step *s = &f->b.p->steps[i];
    const int copy = s->din[1], dout = s->dout;
    int last = i;

    if (s->din[0] >= 0 || copy < 0 || s->args.din_add[1])
        return;
    for (int u = i; u >= 0; u = next_use(f, dout, u + 1))
        last = u;
    if (next_write(f, copy, i + 1) <= last || next_write(f, dout, i + 1) < f->b.p->n_steps)
        return;
    f->gone[i] = true;
    rename_buffer(f->b.p, copy, dout);
}

/* ---- relu -> batchnorm, backward ------------------------------------------------------------- */

static void fuse_relu_backward(fuser *f, int i)
{
    const nyb_step *relu = &f->b.p->steps[i];
    const int dout = relu->dout, din = relu->din[0], user = next_use(f, din, i + 1);
    nyb_step *s = user >= 0 ? &f->b.p->steps[user] : NULL;
    bool others;

    if (din < 0 || relu->args.din_add[0] || !is_step(f, user, NYB_STEP_BACKWARD, "batchnorm") ||
        s->dout != din || s->din[0] == din || !is_wide(s) || s->args.fused.relu)
        return;
    for (int u = i + 1; u <= user; u++)
        if (!f->gone[u] && uses(f->b.p, &f->b.p->steps[u], dout))
            return; /* dout must still be what relu would have read */
    others = next_use(f, din, user + 1) >= 0;
    s->args.fused.relu = true;
    s->mask = relu->saved;
    s->dout = dout;
    f->gone[i] = true;
    if (!others)
        return;
    s->kept = din;
    if (next_use(f, dout, user + 1) < 0) /* in place */
        rename_buffer(f->b.p, din, dout);
}

/* ---- products that write bf16 ---------------------------------------------------------------- */

static bool writes_half(const nyb_step *s)
{
    return (s->kind == NYB_STEP_PRODUCT || s->kind == NYB_STEP_REFLECT) && !s->add &&
           s->product != NYB_PRODUCT_DW;
}

/* Batchnorm would store its input: the product that alone makes it does. */
static void fuse_stored(fuser *f, int i)
{
    nyb_program *p = f->b.p;
    nyb_step *s = &p->steps[i];
    const int x = s->in[0], producer = next_write(f, x, 0);

    if (producer >= i || !writes_half(&p->steps[producer]) || only_user(f, x, producer) != i)
        return;
    p->steps[producer].out = s->stored;
    p->steps[producer].half = true;
    p->steps[producer].keeper = s->layer;
    s->in[0] = -1;
    s->args.fused.given = true;
}

/* A gradient that is rounded, and read by batchnorm alone. */
static void fuse_rounded(fuser *f, int i)
{
    nyb_program *p = f->b.p;
    nyb_step *product = &p->steps[i];
    const int dx = product->out, user = only_user(f, dx, i);

    if (!writes_half(product) || !is_step(f, user, NYB_STEP_BACKWARD, "batchnorm") ||
        p->steps[user].dout != dx || p->steps[user].din[0] == dx || p->steps[user].kept >= 0)
        return;
    product->half = p->steps[user].half = true;
    p->buffers[dx].n_bytes = nyb_round_up(p->buffers[dx].n_bytes / 2, NYB_ALIGN);
}

/* ---- who makes a tensor ---------------------------------------------------------------------- */

/* The batchnorm step that alone writes a tensor, or -1. */
static int producer_of(const fuser *f, int buffer)
{
    const int i = next_write(f, buffer, 0);
    const nyb_step *s = &f->b.p->steps[i < f->b.p->n_steps ? i : 0];

    if (i == f->b.p->n_steps || next_write(f, buffer, i + 1) < f->b.p->n_steps || !is_wide(s))
        return -1;
    if (is_step(f, i, NYB_STEP_FORWARD, "batchnorm") && s->out == buffer)
        return i;
    return is_step(f, i, NYB_STEP_BACKWARD, "batchnorm") && s->din[0] == buffer &&
                   s->kept != buffer && !s->args.din_add[0]
               ? i
               : -1;
}

/* What the producer reads is still there when step `last` makes rows again. */
static bool inputs_stay(const fuser *f, int producer, int last)
{
    const nyb_step *s = &f->b.p->steps[producer];
    const int read[] = {s->in[0], s->stored, s->saved, s->residual, s->mask, s->dout, s->kept};

    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (read[i] >= 0 && next_write(f, read[i], producer + 1) <= last)
            return false;
    return true;
}

/* The producer keeps what it needs to make rows again. */
static void keep_coefs(fuser *f, nyb_step *s)
{
    if (s->coefs < 0)
        s->coefs = nyb_build_buffer(&f->b, "coefficients", s->layer, NYB_HOME_PLANNED, -1,
                                    3 * s->args.in_shape[0].c * sizeof(float));
}

/* ---- batchnorm -> dW ------------------------------------------------------------------------- */

/* Whether batchnorm makes x again for step i, and nothing lives longer for it: y is there for
 * batchnorm's own backward pass, and a residual must be there for somebody else. */
static bool can_make_again(const fuser *f, int producer, int i)
{
    const nyb_program *p = f->b.p;
    const int residual = producer >= 0 ? p->steps[producer].residual : -1;

    return producer >= 0 && producer < p->n_forward && inputs_stay(f, producer, i) &&
           next_use(f, p->steps[i].in[0], p->n_forward) == i &&
           next_use(f, p->steps[i].in[0], i + 1) < 0 &&
           (residual < 0 || next_use(f, residual, i + 1) >= 0);
}

static void fuse_again(fuser *f, int i)
{
    nyb_step *s = &f->b.p->steps[i];
    const int producer = producer_of(f, s->in[0]);

    if (next_use(f, s->out, i + 1) < 0 || !can_make_again(f, producer, i)) {
        f->gone[i] = true;
        rename_buffer(f->b.p, s->out, s->in[0]);
        return;
    }
    keep_coefs(f, &f->b.p->steps[producer]);
    s->producer = producer;
    s->in[0] = -1;
}

/* ---- moments --------------------------------------------------------------------------------- */

/* The batchnorm step that has the moments of a tensor, be it that it was made again; or -1. */
static int moments_producer_of(const fuser *f, int buffer)
{
    const int i = next_write(f, buffer, 0);

    if (i < f->b.p->n_steps && f->b.p->steps[i].kind == NYB_STEP_AGAIN)
        return f->b.p->steps[i].producer;
    return producer_of(f, buffer);
}

static void fuse_moments(fuser *f, int i)
{
    nyb_quant *q = &f->b.p->quants[f->b.p->steps[i].quant];
    const int producer = moments_producer_of(f, q->real);
    const size_t rows = q->rounds ? q->view.rows : q->packed.rows;
    const size_t cols = q->rounds ? q->view.cols : q->packed.cols;
    nyb_step *s;
    int blocks;

    if (producer < 0)
        return;
    s = &f->b.p->steps[producer];
    if (cols != s->args.in_shape[0].c || rows != nyb_shape_rows(s->args.in_shape[0]))
        return;
    if (s->blocks < 0) {
        blocks = nyb_build_buffer(&f->b, "moments", s->layer, NYB_HOME_PLANNED, -1,
                                  nyb_moments_blocks(rows, cols) * sizeof(nyb_block_moments));
        s->blocks = blocks;
    }
    q->blocks = s->blocks;
}

/* ---- tensors that are never stored ----------------------------------------------------------- */

/* Whether a step needs no more of a tensor than its moments, which its producer left. */
static bool needs_moments_only(const nyb_program *p, const nyb_step *s)
{
    const nyb_quant *q = s->quant >= 0 ? &p->quants[s->quant] : NULL;

    return q && q->blocks >= 0 &&
           (s->kind == NYB_STEP_MOMENTS ||
            (s->kind == NYB_STEP_SCALE && q->spec.scale->choose && q->param < 0));
}

static bool only_reader(const fuser *f, int buffer, int producer, int reader)
{
    for (int u = next_use(f, buffer, 0); u >= 0; u = next_use(f, buffer, u + 1))
        if (u != producer && u != reader && !needs_moments_only(f->b.p, &f->b.p->steps[u]))
            return false;
    return true;
}

static void leave_unstored(fuser *f, int i)
{
    nyb_program *p = f->b.p;
    const nyb_quant *q = &p->quants[p->steps[i].quant];
    const int real = q->real, producer = producer_of(f, real);
    nyb_step *s = producer >= 0 ? &p->steps[producer] : NULL;
    const nyb_shape *shape = s ? &s->args.in_shape[0] : NULL;
    int n_quants = 0;

    if (!s || producer > i || q->packed.cols != shape->c || shape->c > NYB_MAKER_COLS_MAX ||
        q->packed.rows != nyb_shape_rows(*shape) || !only_reader(f, real, producer, i) ||
        !inputs_stay(f, producer, i))
        return;
    keep_coefs(f, s);
    s->args.fused.unstored = true;
    if (s->kind == NYB_STEP_FORWARD)
        s->out = -1;
    else
        s->din[0] = -1;
    p->steps[i].producer = producer;
    for (int j = 0; j < p->n_quants; j++)
        if (p->quants[j].real == real) {
            p->quants[j].unstored = true;
            n_quants++;
        }
    if (s->kind == NYB_STEP_BACKWARD && q->spec.scale->lags && n_quants == 1)
        s->lagging = p->steps[i].quant;
}

/* ---- in place -------------------------------------------------------------------------------- */

/* Each element of dx is made of the same of dout, once the sums are known. */
static void fuse_in_place(fuser *f, int i)
{
    nyb_program *p = f->b.p;
    const nyb_step *s = &p->steps[i];
    const int dout = s->dout, din = s->din[0];

    if (dout < 0 || din < 0 || s->half || s->kept >= 0 || s->args.din_add[0] ||
        p->buffers[dout].home != NYB_HOME_PLANNED || p->buffers[din].home != NYB_HOME_PLANNED ||
        next_use(f, dout, i + 1) >= 0 || next_use(f, din, 0) != i)
        return;
    rename_buffer(p, din, dout);
}

/* ---- products that are repeated -------------------------------------------------------------- */

/* Bytes of a product's operands that nobody needs from step i on. */
static size_t operands_gone(const fuser *f, const nyb_step *product, int i)
{
    const nyb_program *p = f->b.p;
    int list[NYB_STEP_BUFFERS];
    const int n = nyb_step_buffers(p, product, list);
    size_t n_bytes = 0;

    for (int j = 0; j < n; j++)
        if (list[j] != product->out && p->buffers[list[j]].home == NYB_HOME_PLANNED &&
            next_use(f, list[j], i) < 0)
            n_bytes += p->buffers[list[j]].n_bytes;
    return n_bytes;
}

/* Puts a step that repeats a product in front of step i. */
static void insert_repeat(fuser *f, int i, int product)
{
    nyb_program *p = f->b.p;
    nyb_step *s = nyb_build_step(&f->b, NYB_STEP_REPEAT, p->steps[product].layer);

    if (!s)
        return;
    s->producer = product;
    s->out = p->steps[product].out;
    const nyb_step repeat = *s;
    memmove(&p->steps[i + 1], &p->steps[i], (size_t)(p->n_steps - i) * sizeof *p->steps);
    memmove(&f->gone[i + 1], &f->gone[i], (size_t)(p->n_steps - i) * sizeof *f->gone);
    p->steps[i] = repeat;
    f->gone[i] = false;
    p->n_steps++;
    for (int j = i + 1; j < p->n_steps; j++)
        if (p->steps[j].producer >= i)
            p->steps[j].producer++;
}

/* Batchnorm's input is multiplied again, unless that keeps operands as large as it is. */
static void fuse_repeat(fuser *f, int i)
{
    const nyb_program *p = f->b.p;
    const nyb_step *s = &p->steps[i];
    const int y = s->out, reader = next_use(f, y, i + 1), user = next_use(f, y, p->n_forward);

    if (user >= 0 && is_step(f, reader, NYB_STEP_FORWARD, "batchnorm") &&
        next_write(f, y, i + 1) == p->n_steps && operands_gone(f, s, user) < p->buffers[y].n_bytes)
        insert_repeat(f, user, i);
}

/* ---- all ------------------------------------------------------------------------------------- */

/* Removes the steps that are gone. */
static void compact(fuser *f)
{
    nyb_program *p = f->b.p;
    int n = 0, n_forward = 0;

    for (int i = 0; i < p->n_steps; i++) {
        if (f->gone[i])
            continue;
        for (int j = i + 1; j < p->n_steps; j++)
            if (p->steps[j].producer == i)
                p->steps[j].producer = n; /* n <= i: no later step is meant by it */
        n_forward += i < p->n_forward;
        p->steps[n++] = p->steps[i];
    }
    p->n_steps = n;
    p->n_forward = n_forward;
}

nyb_status nyb_program_fuse(nyb_graph *graph, nyb_program *program, nyb_error *err)
{
    fuser f = {.b = {.g = graph, .p = program, .err = err, .status = NYB_OK}};

    f.gone = nyb_alloc(2 * (size_t)program->n_steps * sizeof *f.gone); /* repeats come in */
    if (!f.gone)
        return nyb_fail(err, NYB_MEMORY, "out of memory while compiling '%s'", graph->model->name);
    for (int i = 0; i < program->n_steps; i++)
        if (!f.gone[i] && is_step(&f, i, NYB_STEP_FORWARD, "batchnorm") &&
            is_wide(&program->steps[i]))
            fuse_relu(&f, i);
    for (int i = 0; i < program->n_steps; i++)
        if (is_step(&f, i, NYB_STEP_BACKWARD, "add"))
            share_gradient(&f, i);
    for (int i = 0; i < program->n_steps; i++)
        if (is_step(&f, i, NYB_STEP_BACKWARD, "relu"))
            fuse_relu_backward(&f, i);
    for (int i = 0; i < program->n_steps; i++)
        if (is_step(&f, i, NYB_STEP_FORWARD, "batchnorm") && program->steps[i].stored >= 0)
            fuse_stored(&f, i);
        else if (program->steps[i].rounds)
            fuse_rounded(&f, i);
    for (int i = 0; i < program->n_steps; i++)
        if (program->steps[i].kind == NYB_STEP_AGAIN)
            fuse_again(&f, i);
    for (int i = 0; i < program->n_steps; i++)
        if (program->steps[i].kind == NYB_STEP_MOMENTS || program->steps[i].kind == NYB_STEP_ROUND)
            fuse_moments(&f, i);
    for (int i = 0; i < program->n_steps; i++)
        if (program->steps[i].kind == NYB_STEP_ENCODE)
            leave_unstored(&f, i);
    for (int i = program->n_forward; i < program->n_steps; i++)
        if (!f.gone[i] && is_step(&f, i, NYB_STEP_BACKWARD, "batchnorm"))
            fuse_in_place(&f, i);
    if (graph->recipe.recompute == NYB_RECOMPUTE_PRODUCTS)
        for (int i = 0; i < program->n_forward; i++)
            if (!f.gone[i] && program->steps[i].kind == NYB_STEP_PRODUCT)
                fuse_repeat(&f, i);
    compact(&f);
    nyb_free(f.gone);
    return f.b.status;
}
