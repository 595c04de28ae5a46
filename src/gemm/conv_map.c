/* The plan of FWD and DX: how images become slabs, and slabs tasks. */
#include "gemm/conv_impl.h"

/* A task should be worth the handing out, and there should be enough of them for several threads.
 * Both depend on the shape alone. */
#define TASK_MACS ((uint64_t)4 << 20)
#define TASKS     16
#define TASK_ROWS 128
#define ROW_LIMIT ((size_t)16 << 20) /* bytes a slab may take to hold 32 rows of A */

void nyb_map_free(nyb_map *map)
{
    for (size_t i = 0; map->subs && i < map->n_subs; i++)
        nyb_sub_free(&map->subs[i]);
    nyb_free(map->subs);
    map->subs = NULL;
}

/* ---- slabs ----------------------------------------------------------------------------------- */

static void size_slab(nyb_map *map)
{
    const size_t n_areas = map->rows.n_phases * map->cols.n_phases;
    const size_t rows = (map->units - 1) * map->unit_rows + map->band + map->rows.reach;
    const size_t slots = rows * map->row_slots + map->cols.src_pad * map->interleave;

    map->area_slots = slots;
    map->area_bytes = nyb_round_up(slots * map->slot_bytes, NYB_ALIGN);
    /* Blocks may begin 31 slots before the end, and a step reads 64 bytes. */
    map->slab_bytes =
        nyb_round_up(n_areas * map->area_bytes + 32 * map->slot_bytes + 64, NYB_ALIGN);
}

/* Bands of rows i, so that there are at least `bands` of them and a slab stays in the budget. */
static void split_rows(nyb_map *map, size_t bands, size_t row_bytes, size_t budget)
{
    const size_t row_outputs = nyb_max(map->cols.count * map->interleave, 1);
    const size_t least_rows = nyb_div_up(TASK_ROWS, row_outputs);
    const size_t fits = nyb_max(budget / row_bytes, map->rows.reach + 1) - map->rows.reach;
    /* A block should have its 32 rows even where one row of A exceeds the budget. */
    const size_t block = nyb_div_up(NYB_TILE_ROWS, row_outputs);
    size_t band = nyb_min(fits, nyb_max(least_rows, nyb_div_up(map->rows.count, bands)));

    band = nyb_max(band, nyb_min(block, nyb_max(ROW_LIMIT / row_bytes, 1)));
    band = nyb_min(band, map->rows.count);
    map->bands = nyb_div_up(map->rows.count, band);
    map->band = nyb_div_up(map->rows.count, map->bands);
    if (row_outputs < NYB_TILE_ROWS && map->bands > 1) {
        map->band = nyb_min(nyb_round_up(map->band, block), map->rows.count);
        map->bands = nyb_div_up(map->rows.count, map->band);
    }
}

/* Units and bands for a given interleave: slabs (of all samples) within the budget, and `slabs` of
 * them or more, unless they would become too small. */
static void split_images(nyb_map *map, size_t n_images, size_t n_samples, size_t slabs)
{
    const size_t budget = (map->block_outer ? NYB_SLAB_BYTES / 2 : NYB_SLAB_BYTES) / n_samples;
    const size_t n_areas = map->rows.n_phases * map->cols.n_phases;

    map->row_slots = map->cols.pitch * map->interleave;
    map->n_groups = nyb_div_up(n_images, map->interleave);
    map->unit_rows = map->rows.pitch;
    const size_t row_bytes = n_areas * map->row_slots * map->slot_bytes;
    split_rows(map, nyb_div_up(slabs, map->n_groups), row_bytes, budget);
    map->units = 1;
    if (map->bands == 1) {
        const size_t outputs = map->rows.count * map->cols.count * map->interleave;
        const size_t most = nyb_max(budget / (map->unit_rows * row_bytes), 1);
        const size_t least = nyb_div_up(TASK_ROWS, nyb_max(outputs, 1));
        map->units = nyb_min(nyb_max(map->n_groups / slabs, least), most);
        map->units = nyb_max(nyb_min(map->units, map->n_groups), 1);
    }
    map->n_slabs = nyb_div_up(map->n_groups, map->units) * map->bands;
    size_slab(map);
}

static size_t tasks_wanted(const nyb_conv *conv)
{
    return nyb_max(1, nyb_min(TASKS, (size_t)(conv->macs / TASK_MACS)));
}

/* Panels of a task; panel_bytes: of the largest. */
static void group_panels(const nyb_conv *conv, nyb_map *map, size_t panel_bytes)
{
    /* Each further group unpacks the slabs again: half the tasks must do. */
    const size_t wanted = nyb_div_up(tasks_wanted(conv), 2);
    const size_t split = nyb_min(map->n_panels, nyb_div_up(wanted, map->n_slabs));

    map->group_panels = nyb_div_up(map->n_panels, split);
    if (map->block_outer)
        map->group_panels =
            nyb_min(map->group_panels, nyb_max(NYB_PANELS_BYTES / nyb_max(panel_bytes, 1), 1));
    map->n_panel_groups = nyb_div_up(map->n_panels, map->group_panels);
}

/* Of a step of so many rows and 32 columns, or of a float of K. */
static uint64_t step_cycles(const nyb_conv *conv, uint64_t rows)
{
    if (!conv->s8)
        return 32;
    return nyb_round_up(rows, conv->tile->row_piece) * NYB_TILE_COLS * NYB_TILE_STEP /
           conv->tile->macs;
}

/* Time of the blocks of a slab and of its group's other bands, for one panel, in cycles, roughly:
 * their steps, or floats of K, and their epilogue. Sets of taps are looked at where images
 * alternate: elsewhere blocks see almost all. */
static uint64_t blocks_cost(const nyb_conv *conv, const nyb_map *map, size_t index,
                            uint64_t n_steps)
{
    const nyb_sub *sub = &map->subs[index];
    const bool by_taps = conv->s8 && map->interleave >= 8 && !map->wide && !conv->zero_a &&
                         sub->n_taps <= NYB_SET_TAPS;
    const size_t rows = nyb_min(map->band, sub->rows.count);
    const size_t end = ((map->units - 1) * map->unit_rows + rows - 1) * map->row_slots +
                       sub->cols.count * map->interleave;
    uint64_t all = 0, seen = 0;

    for (nyb_block_walk w = {0}; nyb_block_next(map, sub, &w);) {
        const uint64_t step = step_cycles(conv, nyb_min(NYB_TILE_ROWS, end - w.slot));
        all += 60 + n_steps * step;
        for (size_t band = 0; by_taps && band < map->bands; band++) {
            const uint64_t taps = nyb_block_taps(map, index, band, w.slot);
            seen += 60 + n_steps * (uint64_t)__builtin_popcountll(taps) / sub->n_taps * step;
        }
    }
    return by_taps ? seen : all * sub->rows.count / rows;
}

/* Time of a layout in eighths of a cycle, roughly: tiles and their epilogue, a byte of slab 1/8
 * cycle, placing alternate pixels, and panels that do not stay in L2 from slab to slab at 6 bytes a
 * cycle. */
static uint64_t layout_cost(const nyb_conv *conv, nyb_map *map)
{
    uint64_t blocks = 0, panel_bytes = 0, largest = 0;

    for (size_t i = 0; i < map->n_subs; i++) {
        nyb_sub *sub = &map->subs[i];
        if (sub->rows.count == 0 || sub->cols.count == 0 || sub->n_taps == 0)
            continue;
        const uint64_t steps = conv->s8 ? nyb_sub_steps(conv, i) : sub->n_taps * map->in_c;
        const uint64_t bytes =
            steps * (conv->s8 ? NYB_TILE_STEP_BYTES : NYB_TILE_COLS * sizeof(float));
        blocks += blocks_cost(conv, map, i, steps);
        panel_bytes += bytes * map->n_panels;
        largest = nyb_max(largest, bytes);
    }
    group_panels(conv, map, largest);
    uint64_t cost = blocks * map->n_groups / map->units * map->n_panels * conv->n_samples * 8;
    if (!map->direct)
        cost += map->n_slabs * map->slab_bytes * map->n_panel_groups * conv->n_samples;
    if (map->interleave > 1)
        cost += conv->shape.n * map->rows.src * map->cols.src * (32 + map->pixel_bytes / 2) *
                map->n_panel_groups * conv->n_samples;
    if (!map->block_outer && panel_bytes > NYB_PANELS_BYTES)
        cost += map->n_slabs * panel_bytes * 3 / 2;
    return cost;
}

static void choose_layout(nyb_conv *conv, nyb_map *map)
{
    const size_t tasks = tasks_wanted(conv);
    uint64_t best = UINT64_MAX;
    nyb_map chosen = *map;

    for (size_t lanes = 1; lanes <= 32 && lanes < 2 * conv->shape.n; lanes *= 2) {
        for (size_t slabs = tasks; slabs > 0; slabs /= 2) {
            map->interleave = lanes;
            split_images(map, conv->shape.n, conv->n_samples, slabs);
            if (lanes > 1 && map->slab_bytes * conv->n_samples > 2 * NYB_SLAB_BYTES)
                continue;
            const uint64_t cost = layout_cost(conv, map);
            if (best != UINT64_MAX && map->n_slabs * map->n_panel_groups < tasks / 2)
                continue;
            if (best == UINT64_MAX || cost + cost / 50 < best) {
                best = cost;
                chosen = *map;
            }
        }
    }
    *map = chosen;
}

/* ---- the plan -------------------------------------------------------------------------------- */

static void plan_panels(const nyb_conv *conv, nyb_map *map)
{
    size_t bytes = 0, largest = 1;

    for (size_t i = 0; i < map->n_subs; i++) {
        map->subs[i].panels = bytes;
        bytes += map->n_panels * map->subs[i].panel_bytes;
        largest = nyb_max(largest, map->subs[i].panel_bytes);
    }
    map->panels_bytes = nyb_round_up(bytes, NYB_ALIGN);
    group_panels(conv, map, largest);
}

/* Scratch while panels are packed: 32 rows of reordered weights and one row as stored (FWD), or
 * the rows of K of one panel (DX). */
static void plan_pack(const nyb_conv *conv, nyb_map *map)
{
    const nyb_conv_shape *s = &conv->shape;
    const size_t taps = s->r * s->s;
    const size_t w_pixel = conv->s8 ? nyb_packed_pitch(s->c) : s->c * sizeof(float);
    const bool dx = conv->product == NYB_PRODUCT_DX;
    size_t n_steps = 0, n_blocks = 1, n_parts = 1;

    for (size_t i = 0; i < map->n_subs; i++) {
        n_steps = nyb_max(n_steps, map->subs[i].n_steps);
        n_parts = nyb_max(n_parts, map->subs[i].n_parts);
        n_blocks = nyb_max(n_blocks, map->subs[i].n_blocks);
    }
    if (dx) {
        map->w_bytes = nyb_round_up(s->o * taps * w_pixel + NYB_TILE_COLS, NYB_ALIGN);
        map->pack_bytes = conv->s8 ? n_steps * NYB_TILE_STEP * NYB_TILE_COLS : 0;
    } else {
        map->w_bytes = 0;
        map->pack_bytes = nyb_round_up((NYB_TILE_COLS + 1) * taps * w_pixel + 64, NYB_ALIGN);
    }
    map->c_bytes = (size_t)NYB_TILE_ROWS * NYB_TILE_COLS * sizeof(int32_t);
    if (conv->accum.format) /* partial and total sums, generators */
        map->c_bytes *= nyb_accum_draws(&conv->accum) ? 3 : 2;
    if (map->block_outer && n_parts > 1 && !map->wide)
        map->c_bytes *= n_blocks * map->group_panels;
}

static nyb_status plan_subs(nyb_conv *conv, nyb_map *map, nyb_error *err)
{
    map->n_subs = map->rows.n_grids * map->cols.n_grids;
    map->subs = nyb_alloc(map->n_subs * sizeof *map->subs);
    if (!map->subs)
        return nyb_fail(err, NYB_MEMORY, "no memory for the tables of a product");
    for (size_t i = 0; i < map->n_subs; i++) {
        map->subs[i].rows = nyb_axis_grid(&map->rows, i / map->cols.n_grids);
        map->subs[i].cols = nyb_axis_grid(&map->cols, i % map->cols.n_grids);
        map->subs[i].n_taps = map->subs[i].rows.n_taps * map->subs[i].cols.n_taps;
    }
    choose_layout(conv, map);
    if (map->slab_bytes > UINT32_MAX)
        return nyb_fail(err, NYB_LIMIT, "a slab of %zu bytes exceeds 4 GiB", map->slab_bytes);
    const size_t pixels = map->bands > 1
                              ? map->interleave * map->rows.dst * map->cols.dst
                              : map->units * map->interleave * map->rows.dst * map->cols.dst;
    if (pixels > INT32_MAX)
        return nyb_fail(err, NYB_LIMIT, "a slab has %zu output pixels, more than 2^31", pixels);
    for (size_t i = 0; i < map->n_subs; i++) {
        nyb_sub *sub = &map->subs[i];
        if (sub->rows.count == 0 || sub->cols.count == 0) {
            sub->n_taps = 0;
            continue;
        }
        NYB_TRY(nyb_sub_plan(conv, i, err));
    }
    return NYB_OK;
}

nyb_status nyb_map_plan(nyb_conv *conv, nyb_error *err)
{
    const nyb_conv_shape *s = &conv->shape;
    const bool dx = conv->product == NYB_PRODUCT_DX;
    nyb_map *map = &conv->map;

    map->in_c = dx ? s->o : s->c;
    map->out_c = dx ? s->c : s->o;
    map->pixel_bytes = conv->s8 ? nyb_packed_pitch(map->in_c) : map->in_c * sizeof(float);
    nyb_axis_init(&map->rows, dx, s->stride, s->pad, s->r, dx ? s->oh : s->h, dx ? s->h : s->oh);
    nyb_axis_init(&map->cols, dx, s->stride, s->pad, s->s, dx ? s->ow : s->w, dx ? s->w : s->ow);
    map->n_panels = nyb_div_up(map->out_c, NYB_TILE_COLS);
    map->block_outer = s->r * s->s == 1;
    map->slot_bytes = map->pixel_bytes;
    /* An odd number of cache lines, so that long rows do not share sets with those of the output.
     */
    if (conv->s8 && map->block_outer && map->pixel_bytes >= 512)
        map->slot_bytes = (nyb_round_up(map->pixel_bytes, 64) / 64 | 1) * 64;
    map->wide = conv->s8 && s->r * s->s * map->in_c * conv->n_samples > conv->exact_k;
    map->direct = !conv->s8 && conv->a->grid == NYB_GRID_REAL && s->r * s->s == 1 &&
                  s->stride == 1 && s->pad == 0;
    NYB_TRY(plan_subs(conv, map, err));
    plan_panels(conv, map);
    plan_pack(conv, map);
    map->row_bytes = nyb_round_up(map->cols.src * map->pixel_bytes, NYB_ALIGN);
    conv->shared_bytes = map->w_bytes + map->panels_bytes;
    const size_t n_slots = map->rows.n_phases * map->cols.n_phases * map->area_slots;
    const size_t slot_sums = conv->zero_b ? n_slots * sizeof(int32_t) : 0;
    conv->worker_bytes = nyb_max(
        map->pack_bytes,
        map->c_bytes + (map->direct ? 0 : conv->n_samples * map->slab_bytes + map->row_bytes) +
            slot_sums);
    return NYB_OK;
}
