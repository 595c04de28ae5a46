/* A planned grouped product: shape, kernel, geometry, and what its loops share. */
#include <assert.h>

#include "gemm/conv_impl.h"
#include "gemm/group_conv_impl.h"

/* ---- geometry ---- */

/* Axis of the grid with this remainder. src, dst: sizes of the source and of the outputs. */
static nyb_group_axis make_axis(bool dx, size_t stride, size_t pad, size_t taps, size_t src,
                                size_t dst, size_t remainder)
{
    if (!dx)
        return (nyb_group_axis){.step = 1,
                                .count = dst,
                                .tap_step = 1,
                                .n_taps = taps,
                                .base = -(ptrdiff_t)pad,
                                .i_move = (ptrdiff_t)stride,
                                .a_move = 1,
                                .src = src};
    nyb_group_axis axis = {.step = stride, .tap_step = stride, .src = src, .i_move = 1};
    axis.first = (remainder + stride - pad % stride) % stride;
    axis.count = axis.first < dst ? nyb_div_up(dst - axis.first, stride) : 0;
    axis.tap0 = remainder;
    axis.n_taps = remainder < taps ? nyb_div_up(taps - remainder, stride) : 0;
    axis.base = ((ptrdiff_t)(axis.first + pad) - (ptrdiff_t)remainder) / (ptrdiff_t)stride;
    axis.a_move = -1;
    return axis;
}

/* The line of an axis whose other fields are set. */
static void plan_line(nyb_group_axis *axis)
{
    const ptrdiff_t last = axis->count ? (ptrdiff_t)axis->count - 1 : 0;
    const ptrdiff_t src = (ptrdiff_t)axis->src, n_taps = (ptrdiff_t)axis->n_taps;
    ptrdiff_t least, most;

    axis->start = axis->a_move > 0 ? axis->base : src - 1 - axis->base;
    axis->start_move = axis->a_move > 0 ? axis->i_move : -axis->i_move;
    least = most = axis->start;
    if (axis->start_move < 0)
        least += last * axis->start_move;
    else
        most += last * axis->start_move;
    axis->lead = least < 0 ? (size_t)-least : 0;
    axis->start += (ptrdiff_t)axis->lead;
    axis->length = axis->lead + (size_t)(most + n_taps > src ? most + n_taps : src);
}

/* Outputs of a task: A fits its part of L2, and there are tasks for all workers. */
static size_t choose_block(const nyb_group_conv *conv, size_t n_outputs, size_t k)
{
    const size_t fits = NYB_GROUP_A_BYTES / nyb_max(k, 64) / conv->n_samples;
    const size_t fair = nyb_div_up(n_outputs, 2 * conv->n_workers);
    const size_t block = nyb_max(nyb_min(nyb_min(fits, fair), NYB_GROUP_BLOCK), NYB_GROUP_ROWS);
    return block / NYB_GROUP_ROWS * NYB_GROUP_ROWS;
}

static void plan_grid(nyb_group_conv *conv, nyb_group_grid *grid, size_t pr, size_t pc)
{
    const nyb_conv_shape *s = &conv->shape;
    const bool dx = conv->product == NYB_PRODUCT_DX;

    grid->rows = make_axis(dx, s->stride, s->pad, s->r, dx ? s->oh : s->h, dx ? s->h : s->oh, pr);
    grid->cols = make_axis(dx, s->stride, s->pad, s->s, dx ? s->ow : s->w, dx ? s->w : s->ow, pc);
    plan_line(&grid->cols);
    grid->n_outputs = s->n * grid->rows.count * grid->cols.count;
    grid->n_taps = grid->rows.n_taps * grid->cols.n_taps;
    grid->n_groups = grid->n_taps * conv->row_groups;
    grid->n_steps = nyb_div_up(grid->n_taps * conv->k_pitch, NYB_TILE_STEP);
    grid->sb = grid->n_steps * NYB_TILE_STEP_BYTES;
    grid->start = grid->sb + grid->n_groups * NYB_TILE_COLS * sizeof(float);
    grid->panel_bytes = grid->start + grid->n_groups * NYB_TILE_COLS * sizeof(int32_t);
    grid->panels = conv->shared_bytes;
    conv->shared_bytes += grid->panel_bytes * conv->n_panels;
    grid->block = choose_block(conv, grid->n_outputs, grid->n_taps * conv->k_pitch);
    grid->n_blocks = nyb_div_up(grid->n_outputs, grid->block);
}

/* From one row of A to the next: an odd number of lines, so that rows spread over all sets. */
static size_t choose_lda(size_t k)
{
    return nyb_round_up(k, 64) | 64;
}

static nyb_status plan_map(nyb_group_conv *conv, nyb_error *err)
{
    const nyb_conv_shape *s = &conv->shape;
    const size_t n = conv->product == NYB_PRODUCT_DX ? s->stride : 1;
    size_t block = 0, blocks = 0;

    if (n > 1024)
        return nyb_fail(err, NYB_LIMIT, "a stride of %zu is too large", n);
    conv->n_grids = n * n;
    conv->grids = nyb_alloc(conv->n_grids * sizeof *conv->grids);
    if (!conv->grids)
        return nyb_fail(err, NYB_MEMORY, "no memory for a grouped product");
    for (size_t i = 0; i < conv->n_grids; i++) {
        nyb_group_grid *grid = &conv->grids[i];
        plan_grid(conv, grid, i / n, i % n);
        conv->max_steps = nyb_max(conv->max_steps, grid->n_steps);
        conv->lds = nyb_max(conv->lds, grid->n_groups);
        conv->n_lines = nyb_max(conv->n_lines, grid->rows.n_taps + 1);
        conv->row_bytes =
            nyb_max(conv->row_bytes,
                    grid->cols.length * (conv->k_pitch + conv->row_groups * sizeof(float)));
        block = nyb_max(block, grid->block);
        blocks += grid->n_blocks;
    }
    conv->panel_groups =
        nyb_min(conv->n_panels, nyb_div_up(4 * conv->n_workers, nyb_max(blocks, 1)));
    conv->lda = choose_lda(conv->max_steps * NYB_TILE_STEP);
    for (size_t i = 0; i < conv->n_grids; i++)
        conv->a_bytes = nyb_max(conv->a_bytes, conv->grids[i].block * conv->lda);
    conv->sa_bytes = block * conv->lds * sizeof(float);
    conv->c_bytes = block * NYB_TILE_COLS * sizeof(float);
    conv->pack_bytes = NYB_TILE_COLS * conv->lda;
    conv->row_bytes = nyb_round_up(conv->row_bytes, NYB_ALIGN);
    if (s->r * s->s == 1 || conv->row_bytes > NYB_GROUP_ROW_BYTES ||
        conv->n_lines > NYB_GROUP_LINES)
        conv->n_lines = 0;
    return NYB_OK;
}

/* Blocks of about 192 x 256 outputs, smaller where a run has too few for all workers. */
static void plan_dw(nyb_group_conv *conv)
{
    const size_t k = nyb_min(NYB_GROUP_CHUNK, nyb_round_up(conv->k_pitch, NYB_TILE_STEP));
    const size_t m = nyb_min(192, nyb_round_up(conv->m, NYB_GROUP_ROWS));
    const size_t n = nyb_min(8, conv->n_panels);

    conv->block_m = m;
    conv->block_n = n;
    conv->max_steps = k / NYB_TILE_STEP;
    conv->lda = choose_lda(k);
    conv->lds = k / conv->group;
    conv->a_bytes = m * conv->lda;
    conv->sa_bytes = m * conv->lds * sizeof(float);
    conv->c_bytes = m * n * NYB_TILE_COLS * sizeof(float);
    conv->pack_bytes = NYB_TILE_COLS * conv->lda + conv->max_steps * NYB_TILE_STEP_BYTES +
                       conv->lds * NYB_TILE_COLS * (sizeof(float) + sizeof(int32_t));
}

static nyb_status plan(nyb_group_conv *conv, nyb_error *err)
{
    const nyb_conv_shape *s = &conv->shape;
    const bool dw = conv->product == NYB_PRODUCT_DW;

    conv->macs = nyb_conv_shape_macs(s) * conv->n_samples;
    conv->k_cols = dw ? s->n * s->oh * s->ow : conv->product == NYB_PRODUCT_FWD ? s->c : s->o;
    conv->k_pitch = nyb_grouped_pitch(conv->k_cols, conv->group);
    conv->row_groups = conv->k_pitch / conv->group;
    conv->m = s->o;
    conv->n = dw ? s->r * s->s * s->c : conv->product == NYB_PRODUCT_FWD ? s->o : s->c;
    conv->n_panels = nyb_div_up(conv->n, NYB_TILE_COLS);
    if (dw)
        plan_dw(conv);
    else
        NYB_TRY(plan_map(conv, err));

    conv->step_offset = nyb_alloc(conv->max_steps * sizeof *conv->step_offset);
    conv->step_valid = nyb_alloc(conv->max_steps);
    if (!conv->step_offset || !conv->step_valid)
        return nyb_fail(err, NYB_MEMORY, "no memory for a grouped product");
    for (size_t i = 0; i < conv->max_steps; i++) {
        conv->step_offset[i] = (uint32_t)(i * NYB_TILE_STEP);
        conv->step_valid[i] = NYB_TILE_STEP;
    }
    conv->a_bytes = nyb_round_up(conv->a_bytes, NYB_ALIGN);
    conv->sa_bytes = nyb_round_up(conv->sa_bytes, NYB_ALIGN);
    /* Panels are packed before any A is read. */
    conv->worker_bytes = dw ? conv->a_bytes + conv->sa_bytes + conv->c_bytes + conv->pack_bytes
                            : nyb_max(conv->n_samples * (conv->a_bytes + conv->sa_bytes) +
                                          conv->c_bytes + conv->n_lines * conv->row_bytes,
                                      conv->pack_bytes);
    conv->worker_bytes = nyb_round_up(conv->worker_bytes, 128); /* no false sharing */
    return NYB_OK;
}

/* Panels have 32 columns and whole groups, codes are bytes there and scales floats: no size is
 * beyond that of the weights, each channel count rounded up, times 16. */
static bool fits(const nyb_conv_shape *s)
{
    size_t n;
    return nyb_mul_size(nyb_round_up(s->c, 64), nyb_round_up(s->o, 64), &n) &&
           nyb_mul_size(n, s->r, &n) && nyb_mul_size(n, s->s, &n) && nyb_mul_size(n, 16, &n);
}

nyb_status nyb_group_conv_create(const nyb_context *context, nyb_product product,
                                 const nyb_conv_shape *shape, const nyb_format *a,
                                 const nyb_format *b, size_t group, size_t n_samples,
                                 nyb_group_conv **conv, nyb_error *err)
{
    nyb_conv_shape s = *shape;

    *conv = NULL;
    NYB_TRY(nyb_conv_shape_check(&s, err));
    if (group != 16 && group != 32 && group != 64)
        return nyb_fail(err, NYB_INVALID, "groups of %zu codes: the exact engine has 16, 32 and 64",
                        group);
    if (n_samples < 1 || (n_samples > 1 && product == NYB_PRODUCT_FWD))
        return nyb_fail(err, NYB_INVALID, "%zu samples: only DX and DW take more than one",
                        n_samples);
    if (!a->max_unit || !b->max_unit)
        return nyb_fail(err, NYB_INVALID, "%s x %s: the exact engine multiplies small integers",
                        a->name, b->name);
    if (!fits(&s))
        return nyb_fail(err, NYB_LIMIT, "sizes overflow: weights %zux%zux%zux%zu", s.o, s.r, s.s,
                        s.c);
    nyb_group_conv *made = nyb_alloc(sizeof *made);
    if (!made)
        return nyb_fail(err, NYB_MEMORY, "no memory for a grouped product");
    made->product = product;
    made->shape = s;
    made->a = a;
    made->b = b;
    made->group = group;
    made->n_samples = n_samples;
    made->kernel = nyb_group_kernel_choose(context->cpu);
    made->store = nyb_store_choose(context->cpu);
    made->bias = made->kernel->tile->a_biased && a->is_signed ? nyb_conv_largest_unit(a) : 0;
    made->max_a = nyb_conv_largest_unit(a) + made->bias;
    made->max_b = nyb_conv_largest_unit(b);
    made->n_workers = nyb_pool_threads(context->pool);
    const nyb_status status = plan(made, err);
    if (status != NYB_OK) {
        nyb_group_conv_destroy(&made);
        return status;
    }
    *conv = made;
    return NYB_OK;
}

void nyb_group_conv_destroy(nyb_group_conv **conv)
{
    if (!*conv)
        return;
    nyb_free((*conv)->grids);
    nyb_free((*conv)->step_offset);
    nyb_free((*conv)->step_valid);
    nyb_free(*conv);
    *conv = NULL;
}

const char *nyb_group_conv_kernel(const nyb_group_conv *conv)
{
    return conv->kernel->name;
}

size_t nyb_group_conv_scratch_bytes(const nyb_group_conv *conv)
{
    return conv->shared_bytes + conv->n_workers * conv->worker_bytes;
}

uint64_t nyb_group_conv_macs(const nyb_group_conv *conv)
{
    return conv->macs;
}

/* ---- what the loops share ---- */

void nyb_group_read(const nyb_group_conv *conv, const nyb_grouped *matrix, const uint8_t bytes[256],
                    size_t first, size_t n, uint8_t *out)
{
    if (matrix->packed.format->bits == 4) {
        conv->kernel->tile->unpack(matrix->packed.codes, first, n, bytes, out);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = bytes[matrix->packed.codes[first + i]];
}

/* -bias times the sums of a group's columns, whose codes are n_lines lines of a panel: neighbours
 * are added in their places, so that compilers vectorize. */
static void start_group(const int8_t *b, size_t n_lines, int32_t bias, int32_t start[NYB_TILE_COLS])
{
    for (size_t half = 0; half < 2; half++) {
        int16_t pairs[32] = {0};
        uint32_t fours[16];
        for (size_t line = 0; line < n_lines; line++) {
            uint16_t two[32];
            memcpy(two, b + half * 1024 + line * 64, sizeof two);
            for (size_t i = 0; i < 32; i++)
                pairs[i] += ((int16_t)(uint16_t)(two[i] << 8) >> 8) + ((int16_t)two[i] >> 8);
        }
        memcpy(fours, pairs, sizeof fours);
        for (size_t n = 0; n < 16; n++)
            start[16 * half + n] =
                -bias * (((int32_t)(fours[n] << 16) >> 16) + ((int32_t)fours[n] >> 16));
    }
}

void nyb_group_pack(const nyb_group_conv *conv, const uint8_t *rows, size_t ld, size_t n_groups,
                    size_t n_valid, int8_t *codes, int32_t *start)
{
    const size_t k = n_groups * conv->group;
    const size_t whole = k / NYB_TILE_STEP, left = k % NYB_TILE_STEP;
    const int8_t *src = (const int8_t *)rows;

    if (whole)
        conv->kernel->tile->pack_rows(src, ld, conv->step_offset, conv->step_valid, whole, n_valid,
                                      codes, NULL);
    if (left) {
        const uint8_t valid = (uint8_t)left;
        conv->kernel->tile->pack_rows(src, ld, &conv->step_offset[whole], &valid, 1, n_valid,
                                      codes + whole * NYB_TILE_STEP_BYTES, NULL);
    }
    for (size_t g = 0; g < n_groups; g++) {
        const int8_t *b = codes + nyb_group_offset(g * conv->group);
        start_group(b, conv->bias ? conv->group / 4 : 0, conv->bias, start + g * NYB_TILE_COLS);
    }
}

void nyb_group_sum(const nyb_group_conv *conv, nyb_group_args *args)
{
    const size_t at_once = NYB_GROUP_CHUNK / conv->group, n_groups = args->n_groups;

    for (size_t g = 0; g < n_groups; g += at_once) {
        args->n_groups = nyb_min(at_once, n_groups - g);
        conv->kernel->run(args);
        args->accumulate = true;
        args->a += NYB_GROUP_CHUNK;
        args->sa += at_once;
        args->b += NYB_GROUP_CHUNK / NYB_TILE_STEP * NYB_TILE_STEP_BYTES;
        args->sb += at_once * NYB_TILE_COLS;
        args->start += at_once * NYB_TILE_COLS;
    }
}

static nyb_group_job make_job(const nyb_group_conv *conv, const nyb_context *context,
                              const nyb_grouped *const *a, const nyb_grouped *b, const float *bias,
                              bool add, float *out, void *scratch)
{
    for (size_t i = 0; i < conv->n_samples; i++) {
        assert(a[i]->packed.format == conv->a && a[i]->packed.cols == conv->k_cols);
        assert(a[i]->group == conv->group);
    }
    assert(b->packed.format == conv->b && b->packed.cols == conv->k_cols);
    assert(b->group == conv->group);
    nyb_group_job job = {
        .conv = conv,
        .pool = context->pool,
        .a = a,
        .b = b,
        .bias = bias,
        .add = add,
        .share = 1.0f / (float)conv->n_samples,
        .scale = nyb_group_unit(a[0], a[0]->packed.scale) * nyb_group_unit(b, b->packed.scale),
        .out = out,
        .shared = scratch,
        .workers = (uint8_t *)scratch + conv->shared_bytes,
    };

    job.scale = job.scale * job.share;
    for (unsigned code = 0; code < 256; code++) {
        job.a_bytes[code] = (uint8_t)(conv->a->units[code % conv->a->n_codes] + conv->bias);
        job.b_bytes[code] = (uint8_t)conv->b->units[code % conv->b->n_codes];
    }
    return job;
}

void nyb_group_conv_run(const nyb_group_conv *conv, const nyb_context *context,
                        const nyb_grouped *const *a, const nyb_grouped *b, const float *bias,
                        bool add, float *out, void *scratch)
{
    nyb_group_job job = make_job(conv, context, a, b, bias, add, out, scratch);

    nyb_group_map_run(&job);
}

void nyb_group_conv_run_half(const nyb_group_conv *conv, const nyb_context *context,
                             const nyb_grouped *const *a, const nyb_grouped *b, const float *bias,
                             const nyb_stream *draws, uint16_t *out, void *scratch)
{
    nyb_group_job job = make_job(conv, context, a, b, bias, false, NULL, scratch);

    job.out = out;
    job.half = true;
    job.draws = draws;
    nyb_group_map_run(&job);
}

void nyb_group_conv_run_taps(const nyb_group_conv *conv, const nyb_context *context, size_t tap,
                             size_t n_taps, const nyb_grouped *const *dy, const nyb_grouped *x,
                             const float *levels, bool add, float *out, void *scratch)
{
    nyb_group_job job = make_job(conv, context, dy, x, NULL, add, out, scratch);

    job.tap = tap;
    job.n = n_taps * conv->shape.c;
    job.levels = levels;
    nyb_group_dw_run(&job);
}
