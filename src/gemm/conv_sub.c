/* One grid of FWD or DX: its blocks of 32 outputs, and the steps (s8) or runs (f32) of K that each
 * block goes through. */
#include "gemm/conv_impl.h"

#define PART_STEPS 16 /* 32 rows x 1024 bytes of A: in L1 */

static void *table(size_t n, size_t size)
{
    size_t n_bytes;
    return nyb_mul_size(n, size, &n_bytes) ? nyb_alloc(n_bytes) : NULL;
}

static nyb_status no_memory(nyb_error *err)
{
    return nyb_fail(err, NYB_MEMORY, "no memory for the tables of a product");
}

void nyb_sub_free(nyb_sub *sub)
{
    void *tables[] = {sub->tap,        sub->tap_row,    sub->tap_slot,   sub->w_step,
                      sub->valid,      sub->list,       sub->a_step,     sub->b_step,
                      sub->block_slot, sub->block_list, sub->block_rows, sub->pixel};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        nyb_free(tables[t]);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* The output of a slot of a full slab. */
typedef struct output {
    size_t image, i, j; /* i, j: from the grid's first */
} output;

/* False if the slot has none. */
static bool find_output(const nyb_map *map, const nyb_sub *sub, size_t slot, output *out)
{
    const size_t row = slot / map->row_slots, col = slot % map->row_slots;
    const size_t unit = row / map->unit_rows;

    out->image = unit * map->interleave + col % map->interleave;
    out->i = row % map->unit_rows;
    out->j = col / map->interleave;
    return unit < map->units && out->i < nyb_min(map->band, sub->rows.count) &&
           out->j < sub->cols.count;
}

/* pixel is relative to the slab's first. */
static void fill_block(const nyb_map *map, nyb_sub *sub, size_t slot, size_t block)
{
    output out;

    sub->block_slot[block] = (uint32_t)slot;
    for (size_t m = 0; m < NYB_TILE_ROWS; m++) {
        int32_t *pixel = &sub->pixel[block * NYB_TILE_ROWS + m];
        *pixel = -1;
        if (!find_output(map, sub, slot + m, &out))
            continue;
        *pixel = (int32_t)((out.image * map->rows.dst + sub->rows.step * out.i) * map->cols.dst +
                           sub->cols.step * out.j);
        sub->block_rows[block] = (uint8_t)(m + 1);
    }
}

/* Taps that reach a pixel from output i of an axis: bits by their number. */
static uint64_t axis_taps(const nyb_axis *axis, const nyb_grid_range *range, size_t grid, size_t i)
{
    uint64_t taps = 0;

    for (size_t k = 0; k < range->n_taps; k++) {
        const nyb_tap tap = nyb_axis_tap_by_offset(axis, grid, k);
        taps |= (uint64_t)nyb_axis_hits(axis, tap, range->first + i) << k;
    }
    return taps;
}

/* Taps (bits by their number in K, of which there are at most NYB_SET_TAPS) that reach a pixel from
 * some output of a block of a band. */
uint64_t nyb_block_taps(const nyb_map *map, size_t index, size_t band, size_t slot)
{
    const nyb_sub *sub = &map->subs[index];
    const size_t grid_r = index / map->cols.n_grids, grid_c = index % map->cols.n_grids;
    const size_t n_cols = sub->cols.n_taps;
    const size_t first = nyb_max(band * map->band, sub->rows.first) - sub->rows.first;
    uint64_t taps = 0, rows = 0, cols = 0;
    output out, last = {.i = SIZE_MAX, .j = SIZE_MAX};

    for (size_t m = 0; m < NYB_TILE_ROWS; m++) {
        if (!find_output(map, sub, slot + m, &out) || first + out.i >= sub->rows.count)
            continue;
        if (out.i == last.i && out.j == last.j)
            continue;
        if (out.i != last.i)
            rows = axis_taps(&map->rows, &sub->rows, grid_r, first + out.i);
        if (out.j != last.j)
            cols = axis_taps(&map->cols, &sub->cols, grid_c, out.j);
        for (size_t r = 0; r < sub->rows.n_taps; r++)
            taps |= (rows >> r & 1) * (cols << r * n_cols);
        last = out;
    }
    return taps ? taps : 1; /* a list is never empty */
}

bool nyb_block_next(const nyb_map *map, const nyb_sub *sub, nyb_block_walk *w)
{
    const size_t rows = nyb_min(map->band, sub->rows.count);

    for (; w->row < map->units * rows; w->row++) {
        const size_t first = (w->row / rows * map->unit_rows + w->row % rows) * map->row_slots;
        w->slot = nyb_max(w->next, first);
        w->next = w->slot + NYB_TILE_ROWS;
        if (w->slot < first + sub->cols.count * map->interleave)
            return true;
        w->next = w->slot;
    }
    return false;
}

static nyb_status plan_blocks(const nyb_map *map, nyb_sub *sub, nyb_error *err)
{
    size_t block = 0;

    for (nyb_block_walk w = {0}; nyb_block_next(map, sub, &w);)
        sub->n_blocks++;
    sub->block_slot = table(sub->n_blocks, sizeof *sub->block_slot);
    sub->block_list = table(map->bands * sub->n_blocks, sizeof *sub->block_list);
    sub->block_rows = table(sub->n_blocks, sizeof *sub->block_rows);
    sub->pixel = table(sub->n_blocks * NYB_TILE_ROWS, sizeof *sub->pixel);
    if (!sub->block_slot || !sub->block_list || !sub->block_rows || !sub->pixel)
        return no_memory(err);
    for (nyb_block_walk w = {0}; nyb_block_next(map, sub, &w); block++)
        fill_block(map, sub, w.slot, block);
    return NYB_OK;
}

/* ---- K --------------------------------------------------------------------------------------- */

/* Offset of a tap in the slab, in bytes. */
static size_t tap_bytes(const nyb_map *map, nyb_tap r, nyb_tap s)
{
    return (r.phase * map->cols.n_phases + s.phase) * map->area_bytes +
           (r.off * map->row_slots + s.off * map->interleave) * map->slot_bytes;
}

/* The slot at which slot 0 meets a tap; areas follow each other. */
static size_t tap_slot(const nyb_map *map, nyb_tap r, nyb_tap s)
{
    return (r.phase * map->cols.n_phases + s.phase) * map->area_slots + r.off * map->row_slots +
           s.off * map->interleave;
}

/* Visits the taps of an s8 grid in an order where neighbours in the slab follow each other. A
 * segment of neighbours is cut in steps of 64 bytes. a_step: where each begins in the slab; NULL:
 * it only counts. */
static size_t plan_steps(const nyb_map *map, size_t index, size_t n_weight_cols, uint32_t *a_step)
{
    nyb_sub *sub = &map->subs[index];
    const size_t grid_r = index / map->cols.n_grids, grid_c = index % map->cols.n_grids;
    size_t n_steps = 0, n_taps = 0, length = 0, end = SIZE_MAX, start = 0;
    const size_t px = map->pixel_bytes;

    for (size_t i = 0; i < sub->rows.n_taps; i++) {
        for (size_t j = 0; j < sub->cols.n_taps; j++, n_taps++) {
            const nyb_tap r = nyb_axis_tap_by_offset(&map->rows, grid_r, i);
            const nyb_tap s = nyb_axis_tap_by_offset(&map->cols, grid_c, j);
            const size_t at = tap_bytes(map, r, s);
            if (at != end) {
                n_steps += nyb_div_up(length, NYB_TILE_STEP);
                start = at;
                length = 0;
            }
            if (a_step) {
                sub->tap[n_taps] = (uint32_t)(r.index * n_weight_cols + s.index);
                sub->tap_slot[n_taps] = (uint32_t)tap_slot(map, r, s);
                sub->tap_row[n_taps] = (uint32_t)(n_steps * NYB_TILE_STEP + length);
                for (size_t b = length / NYB_TILE_STEP; b * NYB_TILE_STEP < length + px; b++) {
                    const size_t done = n_taps * px - length + b * NYB_TILE_STEP;
                    a_step[n_steps + b] = (uint32_t)(start + b * NYB_TILE_STEP);
                    sub->w_step[n_steps + b] = (uint32_t)done;
                    sub->valid[n_steps + b] =
                        (uint8_t)nyb_min(NYB_TILE_STEP, length + px - b * NYB_TILE_STEP);
                }
            }
            length += px;
            end = at + px;
        }
    }
    return n_steps + nyb_div_up(length, NYB_TILE_STEP);
}

/* Lists that are parts of K: all steps, in their order. */
static nyb_status cut_steps(nyb_sub *sub, const uint32_t *a_step, size_t part, nyb_error *err)
{
    const size_t n = sub->n_steps;

    sub->n_parts = nyb_div_up(n, part);
    part = nyb_div_up(n, nyb_max(sub->n_parts, 1));
    sub->list = table(sub->n_parts + 1, sizeof *sub->list);
    sub->a_step = table(n, sizeof *sub->a_step);
    sub->b_step = table(n, sizeof *sub->b_step);
    if (!sub->list || !sub->a_step || !sub->b_step)
        return no_memory(err);
    for (size_t p = 0; p <= sub->n_parts; p++)
        sub->list[p] = (uint32_t)nyb_min(n, p * part);
    for (size_t i = 0; i < n; i++) {
        sub->a_step[i] = a_step[i];
        sub->b_step[i] = (uint32_t)i;
    }
    return NYB_OK;
}

/* Steps of the panel that hold one of the taps, in their order; a_step NULL: it only counts. */
static size_t list_steps(const nyb_map *map, const nyb_sub *sub, uint64_t taps,
                         const uint32_t *a_step, size_t at)
{
    size_t next = 0; /* taps may share a step */

    for (size_t t = 0; t < sub->n_taps; t++) {
        const size_t first = sub->tap_row[t] / NYB_TILE_STEP;
        const size_t end = nyb_div_up(sub->tap_row[t] + map->pixel_bytes, NYB_TILE_STEP);
        for (size_t i = nyb_max(first, next); (taps >> t & 1) && i < end; i++, at++) {
            next = i + 1;
            if (!a_step)
                continue;
            sub->a_step[at] = a_step[i];
            sub->b_step[at] = (uint32_t)i;
        }
    }
    return at;
}

/* One list for each set of taps that blocks see; sets: memory for one a block and band. */
static nyb_status list_by_taps(const nyb_map *map, size_t index, const uint32_t *a_step,
                               uint64_t *sets, nyb_error *err)
{
    nyb_sub *sub = &map->subs[index];
    size_t n_lists = 0, n = 0;

    for (size_t i = 0; i < map->bands * sub->n_blocks; i++) {
        const size_t slot = sub->block_slot[i % sub->n_blocks];
        const uint64_t taps = nyb_block_taps(map, index, i / sub->n_blocks, slot);
        size_t list = 0;
        while (list < n_lists && sets[list] != taps)
            list++;
        if (list == n_lists) {
            sets[n_lists++] = taps;
            n = list_steps(map, sub, taps, NULL, n);
        }
        sub->block_list[i] = (uint32_t)list;
    }
    sub->n_parts = 1;
    sub->list = table(n_lists + 1, sizeof *sub->list);
    sub->a_step = table(n, sizeof *sub->a_step);
    sub->b_step = table(n, sizeof *sub->b_step);
    if (!sub->list || !sub->a_step || !sub->b_step)
        return no_memory(err);
    n = 0;
    for (size_t list = 0; list < n_lists; list++) {
        sub->list[list] = (uint32_t)n;
        n = list_steps(map, sub, sets[list], a_step, n);
    }
    sub->list[n_lists] = (uint32_t)n;
    return NYB_OK;
}

static nyb_status plan_lists(const nyb_conv *conv, size_t index, const uint32_t *a_step,
                             nyb_error *err)
{
    const nyb_map *map = &conv->map;
    nyb_sub *sub = &map->subs[index];
    size_t part = nyb_max(sub->n_steps, 1);

    if (map->block_outer)
        part = nyb_min(part, PART_STEPS);
    if (map->wide) /* int32 holds a step of NYB_SAMPLES_MAX samples of any formats */
        part = nyb_min(part, nyb_max(conv->exact_k / NYB_TILE_STEP / conv->n_samples, 1));
    /* Pads whose units are not 0 count as well. */
    if (part < sub->n_steps || sub->n_taps > NYB_SET_TAPS || conv->zero_a)
        return cut_steps(sub, a_step, part, err);
    uint64_t *sets = table(map->bands * sub->n_blocks, sizeof *sets);
    if (!sets)
        return no_memory(err);
    const nyb_status status = list_by_taps(map, index, a_step, sets, err);
    nyb_free(sets);
    return status;
}

static nyb_status plan_k_s8(const nyb_conv *conv, size_t index, nyb_error *err)
{
    const nyb_map *map = &conv->map;
    nyb_sub *sub = &map->subs[index];
    const size_t n = plan_steps(map, index, conv->shape.s, NULL);
    uint32_t *a_step = table(n, sizeof *a_step);
    nyb_status status = NYB_OK;

    sub->n_steps = n;
    sub->sums = n * NYB_TILE_STEP_BYTES;
    sub->totals = sub->sums + (conv->bias ? n * NYB_TILE_SUMS_BYTES : 0);
    sub->panel_bytes = sub->totals + (conv->zero_a ? NYB_TILE_COLS * sizeof(int32_t) : 0);
    sub->tap = table(sub->n_taps, sizeof *sub->tap);
    sub->tap_slot = table(sub->n_taps, sizeof *sub->tap_slot);
    sub->tap_row = table(sub->n_taps, sizeof *sub->tap_row);
    sub->w_step = table(n, sizeof *sub->w_step);
    sub->valid = table(n, sizeof *sub->valid);
    if (!a_step || !sub->tap || !sub->tap_slot || !sub->tap_row || !sub->w_step || !sub->valid) {
        status = no_memory(err);
    } else {
        plan_steps(map, index, conv->shape.s, a_step);
        status = plan_lists(conv, index, a_step, err);
    }
    nyb_free(a_step);
    return status;
}

/* f32: runs in the canonical order, joined where they touch, cut at multiples of 4096. */
static size_t plan_runs(const nyb_map *map, size_t index, size_t n_weight_cols, bool fill)
{
    nyb_sub *sub = &map->subs[index];
    const size_t grid_r = index / map->cols.n_grids, grid_c = index % map->cols.n_grids;
    size_t n_runs = 0, k = 0, end = SIZE_MAX, n_taps = 0;

    for (size_t i = 0; i < sub->rows.n_taps; i++) {
        for (size_t j = 0; j < sub->cols.n_taps; j++, n_taps++) {
            const nyb_tap r = nyb_axis_tap(&map->rows, grid_r, i);
            const nyb_tap s = nyb_axis_tap(&map->cols, grid_c, j);
            size_t at = tap_bytes(map, r, s) / sizeof(float);
            if (fill)
                sub->tap[n_taps] = (uint32_t)(r.index * n_weight_cols + s.index);
            for (size_t left = map->in_c; left > 0;) {
                const size_t n = nyb_min(left, NYB_F32_CHUNK - k % NYB_F32_CHUNK);
                const bool joins = at == end && k % NYB_F32_CHUNK != 0;
                if (!joins) {
                    if (fill && k % NYB_F32_CHUNK == 0)
                        sub->list[k / NYB_F32_CHUNK] = (uint32_t)n_runs;
                    n_runs++;
                }
                if (fill && !joins) {
                    sub->a_step[n_runs - 1] = (uint32_t)at;
                    sub->w_step[n_runs - 1] = 0;
                }
                if (fill)
                    sub->w_step[n_runs - 1] += (uint32_t)n;
                k += n;
                at += n;
                left -= n;
                end = at;
            }
        }
    }
    sub->k = k;
    return n_runs;
}

static nyb_status plan_k_f32(const nyb_conv *conv, size_t index, nyb_error *err)
{
    const nyb_map *map = &conv->map;
    nyb_sub *sub = &map->subs[index];
    const size_t n = plan_runs(map, index, conv->shape.s, false);

    sub->n_steps = n;
    sub->n_parts = nyb_div_up(sub->k, NYB_F32_CHUNK);
    sub->tap = table(sub->n_taps, sizeof *sub->tap);
    sub->a_step = table(n, sizeof *sub->a_step);
    sub->w_step = table(n, sizeof *sub->w_step);
    sub->list = table(sub->n_parts + 1, sizeof *sub->list);
    if (!sub->tap || !sub->a_step || !sub->w_step || !sub->list)
        return no_memory(err);
    plan_runs(map, index, conv->shape.s, true);
    sub->list[sub->n_parts] = (uint32_t)n;
    sub->panel_bytes = sub->k * NYB_TILE_COLS * sizeof(float);
    return NYB_OK;
}

size_t nyb_sub_steps(const nyb_conv *conv, size_t index)
{
    return plan_steps(&conv->map, index, conv->shape.s, NULL);
}

nyb_status nyb_sub_plan(const nyb_conv *conv, size_t index, nyb_error *err)
{
    NYB_TRY(plan_blocks(&conv->map, &conv->map.subs[index], err));
    return conv->s8 ? plan_k_s8(conv, index, err) : plan_k_f32(conv, index, err);
}
