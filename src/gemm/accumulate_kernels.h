/* Chains of rounded sums in a vocabulary of 16 lanes (vec_*) that the including file defines; it
 * also defines ACCUM_RECORD, ACCUM_NAME, ACCUM_NEEDS, and what its registers hold: ACCUM_SUMS
 * vectors of sums, beside ACCUM_VECS (1 or 2) of b. Lanes never meet, so every set of registers
 * that implements the vocabulary gives the same bits. No include guard: each ISA has its own copy.
 */

#include "gemm/tile_unroll.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* What a chain is made of; constants where a block is inlined. */
typedef struct chain {
    nyb_accum_mode mode;
    bool fused, free, normal;
} chain;

/* By chance: the dropped bits and random ones carry into those that are kept. Below 2^emin the last
 * bit that is kept has the same place in x +- 2^emin. */
static ALWAYS_INLINE vec drawn(const chain c, const nyb_accum_grid *grid, vec x, vec *z)
{
    *z = vec_xorshift(*z);
    if (c.normal) /* or +0, which stays what it is: no bit that is dropped is set */
        return vec_carry(x, *z, grid->dropped, grid->random);
    const vec base = vec_base(x, grid->base);
    const vec y = vec_sub(vec_carry(vec_add(x, base), *z, grid->dropped, grid->random), base);
    return vec_above(c.free ? y : vec_but_nan(y, x), grid->least);
}

/* x to its nearest value, or a neighbour, and not beyond the largest. z: the lanes' generators. */
static ALWAYS_INLINE vec rounded(const chain c, const nyb_accum_grid *grid, vec x, vec *z)
{
    if (!c.free)
        x = vec_clamp(x, grid->max);
    if (c.mode == NYB_ACCUM_INT)
        return x;
    if (c.mode == NYB_ACCUM_DRAWN)
        return drawn(c, grid, x, z);
    if (c.mode != NYB_ACCUM_MAGIC) {
        vec y = vec_round_bits(x, grid->dropped, c.mode == NYB_ACCUM_AWAY);
        if (!c.free) /* else there is no NaN, whose bits must not be rounded */
            y = vec_but_nan(y, x);
        if (c.mode == NYB_ACCUM_GAP)
            return vec_gap(y, x, grid->least);
        return vec_above(y, grid->least);
    }
    /* In x + M the last bit of f32 is worth the last bit of the format, so the sum rounds as the
     * format does, subnormals and ties included; M is exact, and taking it away, too. */
    const vec e = vec_exponent(x, grid->least_exponent), magic = vec_set(grid->magic);
    return vec_fnma(e, magic, vec_fma(e, magic, x));
}

static ALWAYS_INLINE vec step(const chain c, const nyb_accum_grid *grid, vec s, vec a, vec b,
                              vec *z)
{
    return rounded(c, grid, c.fused ? vec_fma(a, b, s) : vec_add(s, vec_mul(a, b)), z);
}

/* tot = rnd(tot + s); s = 0, for n_rows x n_vecs sums whose totals begin at tot. */
static ALWAYS_INLINE void close_chunk(const chain c, const nyb_accum_grid *grid, size_t n_rows,
                                      size_t n_vecs, vec s[ACCUM_SUMS][ACCUM_VECS],
                                      vec z[ACCUM_SUMS][ACCUM_VECS], float *tot)
{
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++, tot += NYB_ACCUM_COLS) {
        NYB_UNROLL
        for (size_t v = 0; v < n_vecs; v++) {
            const vec sum = vec_add(vec_load(tot + 16 * v), s[m][v]);
            vec_store(tot + 16 * v,
                      c.mode == NYB_ACCUM_INT ? sum : rounded(c, grid, sum, &z[m][v]));
            s[m][v] = vec_set(0);
        }
    }
}

/* Rows row .. row + n_rows - 1, columns col .. col + 16 n_vecs - 1. */
static ALWAYS_INLINE void run_block(const nyb_accum_args *args, const chain c, size_t row,
                                    size_t n_rows, size_t col, size_t n_vecs)
{
    const nyb_accum_grid grid = *args->grid;
    const size_t lda = args->lda, a_step = args->a_step, at = row * NYB_ACCUM_COLS + col;
    const float *b = args->b + col;
    size_t left = args->chunk - args->at;
    vec s[ACCUM_SUMS][ACCUM_VECS], z[ACCUM_SUMS][ACCUM_VECS];

    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        NYB_UNROLL
        for (size_t v = 0; v < n_vecs; v++) {
            s[m][v] = vec_load(args->s + at + m * NYB_ACCUM_COLS + 16 * v);
            if (c.mode == NYB_ACCUM_DRAWN)
                z[m][v] = vec_load_bits(args->z + at + m * NYB_ACCUM_COLS + 16 * v);
        }
    }
    for (size_t i = 0; i < args->n_runs; i++) {
        const float *a = args->a + row * lda + args->run_off[i];
        for (size_t k = args->run_len[i], n; k > 0; k -= n) {
            n = nyb_min(k, left);
            for (const float *end = a + n * a_step; a < end; a += a_step, b += NYB_ACCUM_COLS) {
                NYB_UNROLL
                for (size_t m = 0; m < n_rows; m++) {
                    const vec factor = vec_set(a[m * lda]);
                    NYB_UNROLL
                    for (size_t v = 0; v < n_vecs; v++)
                        s[m][v] = step(c, &grid, s[m][v], factor, vec_load(b + 16 * v), &z[m][v]);
                }
            }
            left -= n;
            if (left == 0) {
                close_chunk(c, &grid, n_rows, n_vecs, s, z, args->tot + at);
                left = args->chunk;
            }
        }
    }
    if (args->last && left != args->chunk)
        close_chunk(c, &grid, n_rows, n_vecs, s, z, args->tot + at);
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        NYB_UNROLL
        for (size_t v = 0; v < n_vecs; v++) {
            vec_store(args->s + at + m * NYB_ACCUM_COLS + 16 * v, s[m][v]);
            if (c.mode == NYB_ACCUM_DRAWN)
                vec_store_bits(args->z + at + m * NYB_ACCUM_COLS + 16 * v, z[m][v]);
        }
    }
}

/* 16 * n_vecs columns of all rows, in blocks of as many sums as hide the latency of one. */
static ALWAYS_INLINE void run_columns(const nyb_accum_args *args, const chain c, size_t col,
                                      size_t n_vecs)
{
    /* A generator takes as many registers as a sum. */
    const size_t vecs = c.mode == NYB_ACCUM_DRAWN ? (ACCUM_SUMS + 1) / 2 : ACCUM_SUMS;
    const size_t most = vecs / n_vecs;
    size_t row = 0;

    for (; row + most <= args->rows; row += most)
        run_block(args, c, row, most, col, n_vecs);
    if (most > 2)
        for (; row + 2 <= args->rows; row += 2)
            run_block(args, c, row, 2, col, n_vecs);
    for (; row < args->rows; row++)
        run_block(args, c, row, 1, col, n_vecs);
}

static ALWAYS_INLINE void run_chain(const nyb_accum_args *args, const chain c)
{
    if (args->narrow) {
        run_columns(args, c, 0, 1);
        return;
    }
    for (size_t col = 0; col < NYB_ACCUM_COLS; col += 16 * (size_t)ACCUM_VECS)
        run_columns(args, c, col, ACCUM_VECS);
}

#if ACCUM_SUMS == 1 /* small, not fast: one copy decides as it goes, without short cuts */

static void run(const nyb_accum_args *args)
{
    run_chain(args, (chain){args->grid->mode, args->fused, args->free, false});
}

#else

#define RUN_CHAIN(name, mode, fused, free, normal)                                                 \
    static void name(const nyb_accum_args *args)                                                   \
    {                                                                                              \
        run_chain(args, (chain){mode, fused, free, normal});                                       \
    }
RUN_CHAIN(run_magic, NYB_ACCUM_MAGIC, false, false, false)
RUN_CHAIN(run_magic_free, NYB_ACCUM_MAGIC, false, true, false)
RUN_CHAIN(run_magic_fused, NYB_ACCUM_MAGIC, true, false, false)
RUN_CHAIN(run_magic_fused_free, NYB_ACCUM_MAGIC, true, true, false)
RUN_CHAIN(run_even, NYB_ACCUM_EVEN, false, false, false)
RUN_CHAIN(run_even_free, NYB_ACCUM_EVEN, false, true, false)
RUN_CHAIN(run_gap, NYB_ACCUM_GAP, false, false, false)
RUN_CHAIN(run_away, NYB_ACCUM_AWAY, false, false, false)
RUN_CHAIN(run_away_free, NYB_ACCUM_AWAY, false, true, false)
RUN_CHAIN(run_away_fused_free, NYB_ACCUM_AWAY, true, true, false)
RUN_CHAIN(run_drawn, NYB_ACCUM_DRAWN, false, false, false)
RUN_CHAIN(run_drawn_free, NYB_ACCUM_DRAWN, false, true, false)
RUN_CHAIN(run_drawn_fused, NYB_ACCUM_DRAWN, true, false, false)
RUN_CHAIN(run_drawn_fused_free, NYB_ACCUM_DRAWN, true, true, false)
RUN_CHAIN(run_int, NYB_ACCUM_INT, true, false, false)
RUN_CHAIN(run_drawn_normal, NYB_ACCUM_DRAWN, false, true, true)
RUN_CHAIN(run_drawn_fused_normal, NYB_ACCUM_DRAWN, true, true, true)

static void run(const nyb_accum_args *args)
{
    switch (args->grid->mode) {
    case NYB_ACCUM_MAGIC:
        if (args->fused)
            (args->free ? run_magic_fused_free : run_magic_fused)(args);
        else
            (args->free ? run_magic_free : run_magic)(args);
        return;
    case NYB_ACCUM_EVEN:
        (args->free ? run_even_free : run_even)(args);
        return;
    case NYB_ACCUM_GAP:
        run_gap(args);
        return;
    case NYB_ACCUM_AWAY:
        if (args->fused && args->free)
            run_away_fused_free(args);
        else
            (args->free ? run_away_free : run_away)(args);
        return;
    case NYB_ACCUM_DRAWN:
        if (args->normal)
            (args->fused ? run_drawn_fused_normal : run_drawn_normal)(args);
        else if (args->fused)
            (args->free ? run_drawn_fused_free : run_drawn_fused)(args);
        else
            (args->free ? run_drawn_free : run_drawn)(args);
        return;
    case NYB_ACCUM_INT:
        run_int(args);
        return;
    }
}

#endif

const nyb_accum_kernel ACCUM_RECORD = {
    .name = ACCUM_NAME,
    .needs = ACCUM_NEEDS,
    .run = run,
};
