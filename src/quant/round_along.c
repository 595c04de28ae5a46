/* Blocks along the rows of a matrix, rounded to codes in the order of memory. */
#include "quant/round_codes.h"

#define BAND NYB_BLOCK_CODES

/* Elements in the order of codes, pads included, on their way to whole blocks. */
typedef struct queue {
    size_t first, n; /* flat index of values[0] */
    float values[NYB_ROUND_CHUNK + 2 * BAND];
    uint32_t r23[NYB_ROUND_CHUNK + 2 * BAND];
} queue;

static size_t count_groups(const nyb_codes_work *w)
{
    return w->out->packed.rows * w->out->packed.pitch / w->out->group;
}

/* Groups with elements that are not finite: as values. */
static void careful_blocks(const nyb_codes_work *w, size_t first, const float *x,
                           const uint32_t *r23, size_t n)
{
    const size_t length = w->out->group,
                 n_groups = nyb_min(n / length, count_groups(w) - first / length);
    nyb_round_work r = w->round;
    nyb_group_scale groups[BAND];
    uint32_t rs[BAND] = {0}; /* no rule that reads them comes here */
    float v[16 * 64];

    r.mixes = false;
    memcpy(v, x, n * sizeof *v);
    nyb_round_vector(&r, r.draws ? r23 : NULL, rs, n, v, NULL,
                     (nyb_round_parts){.scales = groups, .step = 1});
    for (size_t g = 0; g < n_groups; g++)
        w->out->scales[first / length + g] = groups[g].scale;
    nyb_grouped_encode_flat(w->cpu, w->out, first, n, v);
}

/* n elements, a multiple of 128, from flat index first on. */
static void fast_blocks(const nyb_codes_work *w, size_t first, const float *x, const uint32_t *r23,
                        size_t n)
{
    const size_t length = w->out->group;
    _Alignas(64) float absmax[16], scale[16], inv[16];

    for (size_t at = 0; at < n; at += 16 * length) {
        const size_t m = nyb_min(n - at, 16 * length), flat = first + at;
        const size_t n_groups = nyb_min(m / length, count_groups(w) - flat / length);

        w->kernel->absmax(x + at, m / length, length, absmax);
        if (!nyb_codes_scales(&w->round, w->plan.factor, absmax, scale, inv)) {
            careful_blocks(w, flat, x + at, r23 + at, m);
            continue;
        }
        memcpy(w->out->scales + flat / length, scale, n_groups * sizeof *scale);
        for (size_t i = 0; i < m; i += BAND)
            w->kernel->along(&w->plan, x + at + i, inv + i / length, length, r23 + at + i,
                             w->out->packed.codes + (flat + i) / 2);
    }
}

/* last: fills up to a whole block, too. */
static void flush(const nyb_codes_work *w, queue *q, bool last)
{
    const size_t n = last ? nyb_round_up(q->n, BAND) : q->n / BAND * BAND;

    if (w->kernel) {
        const size_t pads = n > q->n ? n - q->n : 0;

        memset(q->values + q->n, 0, pads * sizeof *q->values);
        memset(q->r23 + q->n, 0, w->round.draws ? pads * sizeof *q->r23 : 0);
        fast_blocks(w, q->first, q->values, q->r23, n);
    } else {
        nyb_grouped_encode_flat(w->cpu, w->out, q->first, nyb_min(n, q->n), q->values);
    }
    q->first += n;
    q->n -= nyb_min(n, q->n);
    memmove(q->values, q->values + n, q->n * sizeof *q->values);
    if (w->round.draws)
        memmove(q->r23, q->r23 + n, q->n * sizeof *q->r23);
}

/* m elements of the view from element `first` on; scales: where those of their groups go. */
static void push(const nyb_codes_work *w, size_t first, size_t m, float *scales, queue *q)
{
    const nyb_round_work *r = &w->round;
    const size_t length = w->out->group;
    nyb_group_scale groups[NYB_ROUND_CHUNK / 16 + 1];
    uint32_t rs[NYB_ROUND_CHUNK / 16 + 1];
    float *v = q->values + q->n;
    uint32_t *r23 = q->r23 + q->n;

    memcpy(v, r->x + first, m * sizeof *v);
    nyb_round_draw(r, first, m, r23);
    q->n += m;
    if (w->kernel) {
        if (r->mixes)
            nyb_round_mix(r, m, v, false);
        return;
    }
    nyb_round_draw_scales(r, first, length, m / length + 1, rs);
    nyb_round_vector(r, r->draws ? r23 : NULL, rs, m, v, NULL,
                     (nyb_round_parts){.toward = r->job->toward ? r->job->toward + first : NULL,
                                       .scales = groups,
                                       .step = 1});
    for (size_t g = 0; g < nyb_div_up(m, length); g++)
        scales[g] = groups[g].scale;
}

/* Rows that are whole segments are one vector, of which a task takes a part, else eight rows or a
 * multiple, so that no byte is shared. */
static size_t along_rows(const nyb_codes_work *w)
{
    return nyb_round_up(nyb_round_rows_of_task(&w->round), 8);
}

static bool is_flat(const nyb_codes_work *w)
{
    return w->round.view.cols % w->round.length == 0;
}

static void flat_task(void *arg, size_t task, size_t worker)
{
    const nyb_codes_work *w = arg;
    const size_t n = w->round.view.rows * w->round.view.cols;
    const size_t begin = task * NYB_ROUND_RUN, end = nyb_min(begin + NYB_ROUND_RUN, n);
    const size_t whole = begin + (end - begin) / BAND * BAND;
    queue q;

    (void)worker;
    q.first = begin;
    q.n = 0;
    if (w->kernel && !w->round.mixes && !w->round.draws) {
        /* nothing is drawn: nothing is read of the random bits */
        fast_blocks(w, begin, w->round.x + begin, (const uint32_t *)w->round.x + begin,
                    whole - begin);
        q.first = whole;
    }
    for (size_t at = q.first; at < end; at += NYB_ROUND_CHUNK) {
        push(w, at, nyb_min(end - at, NYB_ROUND_CHUNK), w->out->scales + at / w->out->group, &q);
        flush(w, &q, true);
    }
}

static void rows_task(void *arg, size_t task, size_t worker)
{
    const nyb_codes_work *w = arg;
    const nyb_packed *p = &w->out->packed;
    const size_t cols = w->round.view.cols, pitch = p->pitch, length = w->out->group;
    const size_t begin = task * along_rows(w), end = nyb_min(begin + along_rows(w), p->rows);
    const float pad = p->format->units[0] * p->format->unit;
    queue q;

    (void)worker;
    q.first = begin * pitch;
    q.n = 0;
    for (size_t row = begin; row < end; row++) {
        for (size_t at = 0; at < cols; at += NYB_ROUND_CHUNK) {
            const size_t m = nyb_min(cols - at, NYB_ROUND_CHUNK);

            if (q.n + m + BAND > NYB_ROUND_CHUNK + 2 * BAND)
                flush(w, &q, false);
            push(w, row * cols + at, m, w->out->scales + (row * pitch + at) / length, &q);
        }
        for (size_t i = cols; i < pitch; i++, q.n++) {
            q.values[q.n] = pad;
            q.r23[q.n] = 0;
        }
    }
    flush(w, &q, true);
}

void nyb_codes_along(const nyb_context *context, nyb_codes_work *w)
{
    const nyb_view *v = &w->round.view;
    const bool flat = is_flat(w);
    const size_t per = flat ? NYB_ROUND_RUN : along_rows(w);
    const size_t count = flat ? v->rows * v->cols : v->rows;

    nyb_pool_run(context->pool, flat ? flat_task : rows_task, w, count / per + (count % per != 0));
}
