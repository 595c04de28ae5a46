/* Grouped codes in the order of another product. */
#include "quant/regroup.h"

#include <assert.h>

#define BLOCK  NYB_BLOCK_CODES
#define LANES  16 /* columns of `from` that are turned together */
#define PART   64 /* blocks of a task */
#define NO_ROW SIZE_MAX

typedef struct work {
    const nyb_grouped *from;
    nyb_grouped *to;
    size_t taps;
    const nyb_window *window; /* or NULL */
    bool rows;                /* not turned */
} work;

/* The row of `from` that becomes column col under a tap. */
static size_t source_row(const work *w, size_t tap, size_t col)
{
    const nyb_window *c = w->window;

    if (!c)
        return col < w->from->packed.rows / w->taps ? col * w->taps + tap : NO_ROW;
    const size_t ow = col % c->ow, oh = col / c->ow % c->oh, image = col / c->ow / c->oh;
    const size_t y = oh * c->stride + tap / c->s - c->pad; /* may wrap below 0 */
    const size_t x = ow * c->stride + tap % c->s - c->pad;
    const size_t row = (image * c->h + y) * c->w + x;

    return y < c->h && x < c->w && row < w->from->packed.rows ? row : NO_ROW;
}

/* A block of codes in order to its bytes. */
static void store_block(const nyb_packed *p, const uint8_t codes[BLOCK], size_t flat)
{
    uint8_t *out = p->codes + (p->format->bits == 4 ? flat / 2 : flat);

    if (p->format->bits == 4)
        nyb_packed_join(codes, out);
    else
        memcpy(out, codes, BLOCK);
}

/* ---- any pitch: code by code ------------------------------------------------------------------
 */

static unsigned code_at(const work *w, size_t row, size_t col)
{
    const nyb_packed *p = &w->from->packed;

    if (w->rows)
        return col < p->cols ? nyb_packed_get(p, row, col) : 0;
    const size_t source = source_row(w, row % w->taps, col);
    return source != NO_ROW ? nyb_packed_get(p, source, row / w->taps) : 0;
}

static void codes_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const nyb_packed *p = &w->to->packed;
    const size_t n = p->rows * p->pitch, end = nyb_min((task + 1) * PART * BLOCK, n);

    (void)worker;
    for (size_t at = task * PART * BLOCK; at < end; at += BLOCK) {
        size_t row = at / p->pitch, col = at % p->pitch;
        uint8_t codes[BLOCK] = {0};
        for (size_t i = 0; i < nyb_min(BLOCK, n - at); i++) {
            codes[i] = (uint8_t)code_at(w, row, col);
            if (++col == p->pitch) {
                col = 0;
                row++;
            }
        }
        store_block(p, codes, at);
    }
}

/* ---- whole blocks: tiles of 128 rows by 16 columns of `from` ----------------------------------
 */

/* The 16 codes from flat index `flat` on, a multiple of 16. */
static void load_lanes(const nyb_packed *p, size_t flat, uint8_t codes[LANES])
{
    const uint8_t *at = p->codes + flat;

    if (p->format->bits != 4) {
        memcpy(codes, at, LANES);
        return;
    }
    at = p->codes + flat / BLOCK * NYB_BLOCK_BYTES + flat % NYB_BLOCK_BYTES;
    const unsigned shift = flat % BLOCK < NYB_BLOCK_BYTES ? 0 : 4;
    for (size_t i = 0; i < LANES; i++)
        codes[i] = at[i] >> shift & 15;
}

/* A block of columns of all rows under a tap. */
static void blocks_task(void *arg, size_t task, size_t worker)
{
    const work *w = arg;
    const nyb_packed *from = &w->from->packed, *to = &w->to->packed;
    const size_t n_blocks = to->pitch / BLOCK, tap = task / n_blocks, first = task % n_blocks;
    size_t source[BLOCK];
    uint8_t v[BLOCK][LANES] = {{0}}, turned[LANES][BLOCK];

    (void)worker;
    for (size_t i = 0; i < BLOCK; i++)
        source[i] = source_row(w, tap, first * BLOCK + i);
    for (size_t col = 0; col < from->cols; col += LANES) {
        for (size_t i = 0; i < BLOCK; i++)
            if (source[i] != NO_ROW)
                load_lanes(from, source[i] * from->pitch + col, v[i]);
        for (size_t j = 0; j < LANES; j++)
            for (size_t i = 0; i < BLOCK; i++)
                turned[j][i] = v[i][j];
        for (size_t j = 0; j < nyb_min(LANES, from->cols - col); j++) {
            const size_t row = w->window ? tap * from->cols + col + j : (col + j) * w->taps + tap;
            store_block(to, turned[j], row * to->pitch + first * BLOCK);
        }
    }
}

/* ---- scales -----------------------------------------------------------------------------------
 */

static void turn_scales(const work *w)
{
    const size_t from_groups = w->from->packed.pitch / w->from->group;
    const size_t groups = w->to->packed.pitch / w->to->group;

    for (size_t row = 0; row < w->to->packed.rows; row++)
        for (size_t g = 0; g < groups; g++) {
            const size_t source = source_row(w, row % w->taps, g * w->to->group);

            w->to->scales[row * groups + g] =
                source != NO_ROW
                    ? w->from->scales[source * from_groups + row / w->taps / w->from->group]
                    : 0.0f;
        }
}

static void repeat_scales(const work *w)
{
    const size_t from_groups = w->from->packed.pitch / w->from->group;
    const size_t groups = w->to->packed.pitch / w->to->group;

    for (size_t row = 0; row < w->to->packed.rows; row++)
        for (size_t g = 0; g < groups; g++)
            w->to->scales[row * groups + g] =
                w->from->scales[row * from_groups + g * w->to->group / w->from->group];
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static void run_codes(const nyb_context *context, work *w)
{
    const nyb_packed *p = &w->to->packed;
    const size_t n = p->rows * p->pitch;

    w->to->packed.scale = w->from->packed.scale;
    if (!w->rows && p->pitch % BLOCK == 0)
        nyb_pool_run(context->pool, blocks_task, w, w->taps * (p->pitch / BLOCK));
    else
        nyb_pool_run(context->pool, codes_task, w, (n + PART * BLOCK - 1) / (PART * BLOCK));
}

void nyb_regroup_rows(const nyb_context *context, const nyb_grouped *from, nyb_grouped *to)
{
    work w = {.from = from, .to = to, .taps = 1, .rows = true};

    assert(from->packed.rows == to->packed.rows && from->packed.cols == to->packed.cols);
    run_codes(context, &w);
    if (to->scales)
        repeat_scales(&w);
}

void nyb_regroup_turn(const nyb_context *context, const nyb_grouped *from, size_t taps,
                      nyb_grouped *to)
{
    work w = {.from = from, .to = to, .taps = taps};

    assert(to->packed.rows == from->packed.cols * taps);
    run_codes(context, &w);
    if (to->scales)
        turn_scales(&w);
}

void nyb_regroup_windows(const nyb_context *context, const nyb_grouped *from,
                         const nyb_window *window, nyb_grouped *to)
{
    work w = {.from = from, .to = to, .taps = window->r * window->s, .window = window};

    assert(!from->scales && !to->scales && to->packed.pitch % BLOCK == 0);
    run_codes(context, &w);
}
