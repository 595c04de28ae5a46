/* The plan of DW in exact integers: units, chunks and rounds of pixels, and each tap's steps. */
#include "gemm/conv_impl.h"

#define POSITIONS 1024                /* of a chunk: 32 rows of A stay in L1 */
#define ROUND     ((size_t)1 << 20)   /* bytes of A and B of a round: in L2 */
#define GROUP     ((size_t)512 << 10) /* bytes of B that a task of a round reads */
#define LANES_MAX ((size_t)8 << 20)   /* bytes of sums of all lanes */
#define TASKS     8
/* Of a kernel whose taps have lists of their own; those of larger ones have all steps. */
#define LISTED_TAPS 64

/* x's phase positions along one axis: i = (y + pad) / stride of all pixels y that some tap reads
 * for some output. */
static void phase_range(size_t stride, size_t pad, size_t src, size_t taps, size_t out,
                        size_t *first, size_t *count)
{
    const size_t end = nyb_min((src - 1 + pad) / stride, out - 1 + (taps - 1) / stride) + 1;

    *first = pad / stride;
    *count = end > *first ? end - *first : 0;
}

/* Geometry for a given number of alternating images and B layout. */
static void lay_out(nyb_dw_s8 *dw, const nyb_conv_shape *s, size_t interleave, bool flat)
{
    const size_t far_r = (s->r - 1) / s->stride, far_c = (s->s - 1) / s->stride;
    const size_t left = far_c > dw->j_first ? far_c - dw->j_first : 0;
    const size_t j_end = dw->j_first + dw->j_count, i_end = dw->i_first + dw->i_count;
    const size_t right = j_end > s->ow ? j_end - s->ow : 0;

    dw->interleave = interleave;
    dw->flat = flat;
    dw->n_groups = nyb_div_up(s->n, interleave);
    dw->pitch = s->ow + nyb_max(left, right);
    dw->front = left * interleave;
    dw->b_row =
        flat ? dw->pitch * interleave : nyb_round_up(dw->j_count * interleave, NYB_TILE_STEP);
    dw->bands = nyb_div_up(dw->i_count * dw->b_row, POSITIONS + POSITIONS / 2);
    dw->bands = nyb_min(nyb_max(dw->bands, 1), dw->i_count);
    dw->band = nyb_div_up(dw->i_count, dw->bands);
    dw->bands = nyb_div_up(dw->i_count, dw->band);
    dw->unit_positions = nyb_round_up(dw->band * dw->b_row, NYB_TILE_STEP);
    dw->unit_steps = dw->unit_positions / NYB_TILE_STEP;
    dw->n_units = dw->n_groups * dw->bands;
    if (dw->bands > 1) {
        dw->a_top = 0;
        dw->a_shift = far_r;
        dw->a_rows = dw->band + far_r;
    } else {
        const size_t bottom = i_end > s->oh ? i_end - s->oh : 0;
        dw->a_top = far_r > dw->i_first ? far_r - dw->i_first : 0;
        dw->a_shift = dw->i_first + dw->a_top;
        dw->a_rows = s->oh + nyb_max(dw->a_top, bottom);
    }
    dw->a_last_rows = nyb_max(dw->a_rows, dw->band + dw->a_shift);
    dw->a_at_once = nyb_div_up(POSITIONS / 4, dw->pitch * interleave);
}

/* Pixels of x and of dy that position q of a unit pairs for a tap: true if both exist. What rows a
 * band sees depends on the band: all. */
static bool pairs(const nyb_dw_s8 *dw, const nyb_conv_shape *s, size_t r, size_t t, size_t q)
{
    const size_t row = q / dw->b_row, i = dw->i_first + row;
    const size_t j = dw->j_first + q % dw->b_row / dw->interleave;
    const size_t y = i * s->stride + r % s->stride, x = j * s->stride + t % s->stride;
    const size_t oh = i - r / s->stride, ow = j - t / s->stride; /* below 0: huge */

    if (row >= dw->band || x < s->pad || x - s->pad >= s->w || ow >= s->ow)
        return false;
    return dw->bands > 1 || (y >= s->pad && y - s->pad < s->h && oh < s->oh);
}

/* True if some position of a step has a pair for a tap. */
static bool sees_both(const nyb_dw_s8 *dw, const nyb_conv_shape *s, size_t r, size_t t, size_t step)
{
    if (s->r * s->s > LISTED_TAPS)
        return true;
    for (size_t e = 0; e < NYB_TILE_STEP; e++)
        if (pairs(dw, s, r, t, step * NYB_TILE_STEP + e))
            return true;
    return false;
}

/* Positions of a unit's step up to the last that may have a pixel of x. */
static size_t valid_of(const nyb_dw_s8 *dw, size_t step)
{
    const size_t used = dw->j_count * dw->interleave, first = step * NYB_TILE_STEP;
    const size_t end = nyb_min(first + NYB_TILE_STEP, dw->band * dw->b_row);

    if (end <= first)
        return 0;
    const size_t row = (end - 1) / dw->b_row;
    const size_t last = nyb_min(end, row * dw->b_row + used);
    return last > first ? last - first : 0;
}

/* Positions of a unit that a kernel sums, of all taps together; to begin a step takes as long as
 * two more. */
static uint64_t positions_of_taps(const nyb_dw_s8 *dw, const nyb_conv_shape *s, size_t piece)
{
    const bool almost_all = dw->interleave < 8;
    uint64_t n = 0;

    for (size_t step = 0; step < dw->unit_steps; step++) {
        const uint64_t positions = nyb_round_up(valid_of(dw, step), piece) + 2;
        for (size_t tap = 0; tap < s->r * s->s; tap++)
            if (almost_all || sees_both(dw, s, tap / s->s, tap % s->s, step))
                n += positions;
    }
    return n;
}

/* Time of a layout in twentieths of a cycle: products, packing, and placing alternate pixels. */
static uint64_t cost(const nyb_dw_s8 *dw, const nyb_conv_shape *s, const nyb_tile_s8 *tile)
{
    const uint64_t phases = dw->phases_r * dw->phases_c;
    const uint64_t b = dw->n_units * dw->unit_positions;
    const uint64_t products = dw->n_units * positions_of_taps(dw, s, tile->k_piece);
    const uint64_t a = dw->n_units * dw->a_rows * dw->pitch * dw->interleave;
    const uint64_t place =
        dw->interleave > 1 ? 160 + nyb_packed_pitch(s->c) + nyb_packed_pitch(s->o) : 0;

    return products * s->o * nyb_round_up(s->c, NYB_TILE_COLS / 2) * 20 / tile->macs +
           b * 2 * phases * nyb_packed_pitch(s->c) + a * 3 * nyb_packed_pitch(s->o) +
           s->n * s->h * s->w * place;
}

static void choose_layout(nyb_dw_s8 *dw, const nyb_conv_shape *s, const nyb_tile_s8 *tile)
{
    nyb_dw_s8 best = *dw;
    uint64_t least = UINT64_MAX;

    for (size_t lanes = 1; lanes <= (dw->by_image ? 1 : 64) && lanes < 2 * s->n; lanes *= 2) {
        for (int flat = 0; flat < 2; flat++) {
            lay_out(dw, s, lanes, flat);
            if (lanes > 1 && dw->unit_positions > 2 * POSITIONS)
                continue;
            const uint64_t t = cost(dw, s, tile);
            if (t < least) {
                least = t;
                best = *dw;
            }
        }
    }
    *dw = best;
}

/* Slots of A from a unit's first position of B to that of a step. */
static size_t step_offset(const nyb_dw_s8 *dw, size_t step)
{
    const size_t per_row = dw->b_row / NYB_TILE_STEP;

    if (dw->flat)
        return step * NYB_TILE_STEP;
    return step / per_row * dw->pitch * dw->interleave + step % per_row * NYB_TILE_STEP;
}

/* The tap's steps of the first unit, from the n-th entry on; returns how many. Never none. */
static size_t list_unit(nyb_dw_s8 *dw, const nyb_conv_shape *s, size_t tap, size_t n)
{
    const size_t first = n;

    for (size_t step = 0; step < dw->unit_steps; step++) {
        if (!sees_both(dw, s, tap / s->s, tap % s->s, step) &&
            (n > first || step + 1 < dw->unit_steps))
            continue;
        dw->a_step[n] = (uint32_t)step_offset(dw, step);
        dw->b_step[n++] = (uint32_t)step;
    }
    return n - first;
}

/* Lists of all taps' steps, unit by unit; returns how many entries they have. */
static size_t fill_lists(nyb_dw_s8 *dw, const nyb_conv_shape *s)
{
    const size_t a_unit = dw->a_rows * dw->pitch * dw->interleave;
    size_t n = 0;

    for (size_t tap = 0; tap < s->r * s->s; tap++) {
        const size_t first = n, per_unit = list_unit(dw, s, tap, n);
        dw->list[tap] = (uint32_t)n;
        for (n += per_unit; n < first + dw->units * per_unit; n++) {
            dw->a_step[n] = dw->a_step[n - per_unit] + (uint32_t)a_unit;
            dw->b_step[n] = dw->b_step[n - per_unit] + (uint32_t)dw->unit_steps;
        }
    }
    dw->list[s->r * s->s] = (uint32_t)n;
    return n;
}

static nyb_status plan_steps(nyb_dw_s8 *dw, const nyb_conv_shape *s, nyb_error *err)
{
    const size_t taps = s->r * s->s;
    size_t last = 0;

    dw->steps = dw->units * dw->unit_steps;
    dw->list = nyb_alloc((taps + 1) * sizeof *dw->list);
    dw->a_step = nyb_alloc(taps * dw->steps * sizeof *dw->a_step);
    dw->b_step = nyb_alloc(taps * dw->steps * sizeof *dw->b_step);
    dw->valid = nyb_alloc(dw->steps);
    if (!dw->list || !dw->a_step || !dw->b_step || !dw->valid)
        return nyb_fail(err, NYB_MEMORY, "no memory for the tables of a product");
    for (size_t i = 0; i < dw->steps; i++)
        dw->valid[i] = (uint8_t)valid_of(dw, i % dw->unit_steps);
    const size_t n = fill_lists(dw, s);
    for (size_t i = 0; i < n; i++)
        last = nyb_max(last, dw->a_step[i]);
    const size_t rows = (dw->units - 1) * dw->a_rows + dw->a_last_rows;
    const size_t data = dw->front + rows * dw->pitch * dw->interleave;
    dw->lda = nyb_max(last + nyb_dw_tap_offset(dw, 0, 0) + NYB_TILE_STEP, data);
    /* An odd number of cache lines, so that 32 rows do not share a set. */
    dw->lda = (nyb_round_up(dw->lda, 64) / 64 | 1) * 64;
    return NYB_OK;
}

/* Chunks, rounds, and who sums what. */
static void split(nyb_conv *conv, nyb_dw_s8 *dw)
{
    const nyb_conv_shape *s = &conv->shape;
    const size_t phases = dw->phases_r * dw->phases_c;
    const size_t sums =
        dw->o_blocks * dw->c_blocks * s->r * s->s * NYB_TILE_BLOCK * sizeof(int32_t);

    dw->sums = dw->steps * NYB_TILE_STEP_BYTES;
    dw->panel_bytes = dw->sums + (conv->bias ? dw->steps * NYB_TILE_SUMS_BYTES : 0);
    dw->b_bytes = phases * dw->c_blocks * dw->panel_bytes;
    dw->a_bytes = nyb_round_up(dw->o_blocks * NYB_TILE_ROWS * dw->lda, NYB_ALIGN);
    dw->sums_bytes = sums;

    const size_t chunk = dw->b_bytes + conv->n_samples * dw->a_bytes;
    dw->n_chunks = nyb_div_up(dw->n_units, dw->units);
    dw->round = nyb_max(ROUND / chunk, 2);
    /* A round's sums fit int32; those of images stay apart. */
    dw->round = nyb_min(
        dw->round, dw->by_image ? LANES_MAX / sums
                                : conv->exact_k / (dw->steps * NYB_TILE_STEP * conv->n_samples));
    dw->round = nyb_min(nyb_max(dw->round, 1), dw->n_chunks);
    dw->n_rounds = nyb_div_up(dw->n_chunks, dw->round);

    dw->c_group = nyb_max(GROUP / (dw->round * phases * dw->panel_bytes), 1);
    dw->c_group = nyb_min(dw->c_group, dw->c_blocks);
    dw->n_c_groups = nyb_div_up(dw->c_blocks, dw->c_group);
    dw->lanes = nyb_div_up(TASKS, dw->o_blocks * dw->n_c_groups);
    dw->lanes = nyb_min(dw->lanes, nyb_max(LANES_MAX / sums, 1));
    dw->lanes = dw->by_image ? dw->round : nyb_min(dw->lanes, dw->round);

    dw->wide = !dw->by_image && s->n * s->oh * s->ow * conv->n_samples > conv->exact_k;
    dw->spill = dw->by_image ? 1 : dw->n_rounds;
    if (dw->wide) {
        const size_t lane = nyb_div_up(dw->round, dw->lanes) * dw->steps * NYB_TILE_STEP;
        dw->spill = nyb_max(conv->exact_k / (lane * conv->n_samples), 1);
    }
}

nyb_status nyb_dw_s8_plan(nyb_conv *conv, nyb_error *err)
{
    const nyb_conv_shape *s = &conv->shape;
    nyb_dw_s8 *dw = &conv->dw;

    dw->stride = s->stride;
    dw->pad = s->pad;
    dw->phases_r = nyb_min(s->stride, s->r);
    dw->phases_c = nyb_min(s->stride, s->s);
    dw->o_blocks = nyb_div_up(s->o, NYB_TILE_ROWS);
    dw->c_blocks = nyb_div_up(s->c, NYB_TILE_COLS);
    phase_range(s->stride, s->pad, s->h, s->r, s->oh, &dw->i_first, &dw->i_count);
    phase_range(s->stride, s->pad, s->w, s->s, s->ow, &dw->j_first, &dw->j_count);
    choose_layout(dw, s, conv->tile);
    dw->units =
        dw->by_image ? dw->bands : nyb_min(nyb_max(POSITIONS / dw->unit_positions, 1), dw->n_units);
    NYB_TRY(plan_steps(dw, s, err));
    if (!dw->by_image && dw->steps * NYB_TILE_STEP * conv->n_samples > conv->exact_k) {
        return nyb_fail(err, NYB_LIMIT, "%zu samples of a chunk of %zu pixels exceed int32",
                        conv->n_samples, dw->steps * NYB_TILE_STEP);
    }
    split(conv, dw);

    const size_t x_px = nyb_packed_pitch(s->c), dy_px = nyb_packed_pitch(s->o);
    const size_t x_tmp = dw->steps * NYB_TILE_STEP * x_px + NYB_TILE_COLS + s->w * x_px;
    const size_t dy_tmp = (dw->a_at_once * dw->pitch * dw->interleave + s->ow) * dy_px;
    dw->pack_bytes = nyb_round_up(nyb_max(x_tmp, dy_tmp) + NYB_ALIGN, NYB_ALIGN);
    conv->worker_bytes = dw->pack_bytes;
    conv->shared_bytes = dw->round * (dw->b_bytes + conv->n_samples * dw->a_bytes);
    conv->shared_bytes = nyb_round_up(conv->shared_bytes, NYB_ALIGN);
    dw->local = dw->lanes == 1 && dw->n_rounds == 1 && !dw->wide && !dw->by_image;
    if (dw->local)
        conv->worker_bytes =
            nyb_max(dw->pack_bytes, dw->c_group * s->r * s->s * NYB_TILE_BLOCK * 4);
    else
        conv->shared_bytes += (dw->lanes * (dw->wide ? 3 : 1) + dw->by_image) * dw->sums_bytes;
    nyb_zero_plan_dw(conv);
    return NYB_OK;
}
