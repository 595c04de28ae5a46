/* The public product of matrices in blocks: checks, packing, a run. */
#include <math.h>

#include <nybble/gemm.h>

#include "gemm/group_conv.h"
#include "quant/round.h"

size_t nyb_spec_block(const nyb_spec *spec)
{
    if (nyb_spec_check(spec, NULL) != NYB_OK || spec->group == NYB_GROUP_TILE16 ||
        spec->mix != NYB_MIX_NONE)
        return 0;
    return nyb_spec_group_length(spec);
}

static nyb_status check_codes(const nyb_block_matrix *m, const char *name, nyb_error *err)
{
    for (size_t i = 0; i < m->rows * m->cols; i++)
        if (m->codes[i] >= m->format->n_codes)
            return nyb_fail(err, NYB_INVALID, "%s: %u is not a code of format '%s'", name,
                            (unsigned)m->codes[i], m->format->name);
    return NYB_OK;
}

static nyb_status check_scales(const nyb_block_matrix *m, const char *name, nyb_error *err)
{
    const size_t n = nyb_grouped_scale_count(m->rows, m->cols, m->block);

    for (size_t i = 0; m->scales && i < n; i++)
        if (!isfinite(m->scales[i]))
            return nyb_fail(err, NYB_INVALID, "%s: scale %zu is %g", name, i, (double)m->scales[i]);
    if (!isfinite(m->level))
        return nyb_fail(err, NYB_INVALID, "%s: the level is %g", name, (double)m->level);
    return NYB_OK;
}

/* The largest magnitude of the scales of one block in all rows. */
static double largest_scale(const nyb_block_matrix *m, size_t block)
{
    const size_t across = nyb_div_up(m->cols, m->block);
    double largest = 0;

    if (!m->scales)
        return 1;
    for (size_t row = 0; row < m->rows; row++)
        largest = fmax(largest, fabs((double)m->scales[row * across + block]));
    return largest;
}

/* Products of two scales are rounded to f32. The largest of a block decides; it is exact in double,
 * and from FLT_MAX and half a unit on rounds to infinity. */
static nyb_status check_products(const nyb_block_matrix *x, const nyb_block_matrix *w,
                                 nyb_error *err)
{
    const double infinite = 0x1.ffffffp127;

    for (size_t b = 0; b < nyb_div_up(x->cols, x->block); b++)
        if (largest_scale(x, b) * largest_scale(w, b) >= infinite)
            return nyb_fail(err, NYB_INVALID, "scales of block %zu have a product beyond f32: %g",
                            b, largest_scale(x, b) * largest_scale(w, b));
    if (fabs((double)x->level * (double)w->level) >= infinite)
        return nyb_fail(err, NYB_INVALID, "the levels have a product beyond f32: %g",
                        (double)x->level * (double)w->level);
    return NYB_OK;
}

/* The format can be multiplied, the block exists. */
static nyb_status check(const nyb_block_matrix *m, const char *name, nyb_error *err)
{
    if (nyb_grouped_code_bytes(m->format, m->rows, m->cols, m->block) == 0 ||
        m->rows > SIZE_MAX / 64 / m->cols)
        return nyb_fail(err, NYB_LIMIT, "%s: %zu x %zu elements are too many", name, m->rows,
                        m->cols);
    NYB_TRY(check_codes(m, name, err));
    return check_scales(m, name, err);
}

static nyb_status check_pair(const nyb_block_matrix *x, const nyb_block_matrix *w, nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(x && w && x->format && w->format && x->codes && w->codes, err));
    if (x->cols != w->cols)
        return nyb_fail(err, NYB_SHAPE, "x has %zu columns, w has %zu", x->cols, w->cols);
    if (x->block != w->block)
        return nyb_fail(err, NYB_SHAPE, "x has blocks of %zu codes, w of %zu", x->block, w->block);
    return NYB_OK;
}

/* The caller frees packed.codes, which the scales lie behind. */
static nyb_status pack(const nyb_block_matrix *m, nyb_grouped *grouped, nyb_error *err)
{
    const size_t n_scales =
        m->scales ? nyb_grouped_scale_count(m->rows, m->cols, m->block) * sizeof(float) : 0;
    const size_t n_codes =
        nyb_round_up(nyb_grouped_code_bytes(m->format, m->rows, m->cols, m->block), NYB_ALIGN);
    uint8_t *memory = nyb_alloc(n_codes + n_scales);

    if (!memory)
        return nyb_fail(err, NYB_MEMORY, "no memory for a matrix of %zu x %zu", m->rows, m->cols);
    *grouped = nyb_grouped_view(m->format, m->rows, m->cols, m->block, memory,
                                m->scales ? (float *)(memory + n_codes) : NULL);
    grouped->packed.scale = m->level;
    for (size_t row = 0; row < m->rows; row++)
        for (size_t col = 0; col < m->cols; col++)
            nyb_packed_set(&grouped->packed, row, col, m->codes[row * m->cols + col]);
    if (m->scales)
        memcpy(grouped->scales, m->scales, n_scales);
    return NYB_OK;
}

static nyb_status run(const nyb_context *context, const nyb_group_conv *conv, const nyb_grouped *x,
                      const nyb_grouped *w, float *y, nyb_error *err)
{
    const size_t n_bytes = nyb_group_conv_scratch_bytes(conv);
    void *scratch = nyb_alloc(n_bytes);

    if (!scratch)
        return nyb_fail(err, NYB_MEMORY, "no memory for %zu bytes of scratch", n_bytes);
    const uint32_t former = nyb_cpu_fp_enter();
    nyb_group_conv_run(conv, context, &x, w, NULL, false, y, scratch);
    nyb_cpu_fp_restore(former);
    nyb_free(scratch);
    return NYB_OK;
}

static nyb_status multiply(const nyb_context *context, const nyb_group_conv *conv,
                           const nyb_block_matrix *x, const nyb_block_matrix *w, float *y,
                           nyb_error *err)
{
    nyb_grouped a = {0}, b = {0};
    nyb_status status = check(x, "x", err);

    if (status == NYB_OK)
        status = check(w, "w", err);
    if (status == NYB_OK)
        status = check_products(x, w, err);
    if (status == NYB_OK)
        status = pack(x, &a, err);
    if (status == NYB_OK)
        status = pack(w, &b, err);
    if (status == NYB_OK)
        status = run(context, conv, &a, &b, y, err);
    nyb_free(a.packed.codes);
    nyb_free(b.packed.codes);
    return status;
}

nyb_status nyb_matmul_blocks(nyb_context *context, const nyb_block_matrix *x,
                             const nyb_block_matrix *w, float *y, nyb_error *err)
{
    nyb_group_conv *conv;

    NYB_TRY(nyb_check_pointers(context && y, err));
    NYB_TRY(check_pair(x, w, err));
    const nyb_conv_shape shape = {
        .n = 1, .h = 1, .w = x->rows, .c = x->cols, .o = w->rows, .r = 1, .s = 1, .stride = 1};
    NYB_TRY(nyb_group_conv_create(context, NYB_PRODUCT_FWD, &shape, x->format, w->format, x->block,
                                  1, &conv, err));
    const nyb_status status = multiply(context, conv, x, w, y, err);
    nyb_group_conv_destroy(&conv);
    return status;
}
