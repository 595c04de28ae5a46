/* The tile kernels: every member of every variant against plain loops over plain arrays. */
#include <math.h>

#include "base/cpu.h"
#include "check.h"
#include "check_tile.h"
#include "format/format.h"
#include "packed/packed.h"

#define ROWS      32
#define COLS      32
#define STEP      64
#define MAX_STEPS 8 /* of a random case */

static void fill(ck *c, void *p, size_t n_bytes)
{
    uint8_t *bytes = p;
    for (size_t i = 0; i < n_bytes; i++)
        bytes[i] = (uint8_t)ck_rand(c);
}

/* Where byte (k, n) of a panel lies, written down a second time: tile.h's drawing. */
static size_t panel_offset(size_t k, size_t n)
{
    const size_t step = k / 64, half = n / 16, k4 = k % 64 / 4;
    return ((step * 2 + half) * 16 + k4) * 64 + (n % 16) * 4 + k % 4;
}

/* The column sums of a panel's steps, which lie behind them here. */
static nyb_tile_sums *sums_of(int8_t *panel, size_t n_steps)
{
    return (nyb_tile_sums *)(panel + n_steps * NYB_TILE_STEP_BYTES);
}

/* The panel of b[k][32]. */
static void make_panel(const int8_t *b, size_t n_steps, int8_t *panel)
{
    nyb_tile_sums *sums = sums_of(panel, n_steps);
    memset(sums, 0, n_steps * NYB_TILE_SUMS_BYTES);
    for (size_t k = 0; k < n_steps * STEP; k++) {
        for (size_t n = 0; n < COLS; n++) {
            panel[panel_offset(k, n)] = b[k * COLS + n];
            sums[k / STEP].of[n][k / 2 % 2] += b[k * COLS + n];
        }
    }
}

/* Equal bits; one NaN is as good as another (which of two NaNs an instruction passes on depends on
 * the order of its operands, which a compiler may choose). */
static bool same_floats(ck *c, const char *what, const float *want, const float *got, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (nyb_bits_of(want[i]) != nyb_bits_of(got[i]) && !(isnan(want[i]) && isnan(got[i]))) {
            ck_fail(c, "%s: float %zu of %zu is %a, want %a", what, i, n, (double)got[i],
                    (double)want[i]);
            return false;
        }
    }
    return true;
}

/* ---- s8: run ------------------------------------------------------------------------------- */

/* Largest units of a and b, and whether a is signed: each format's, and the extremes. */
typedef struct limits {
    int32_t a;
    bool a_signed;
    int32_t b;
} limits;

static const limits pairs[] = {
    {7, true, 7},     {8, true, 8},      {15, false, 7},  {64, true, 7},   {64, true, 15},
    {12, true, 12},   {64, true, 64},    {1, true, 1},    {7, true, 127},  {127, true, 7},
    {127, true, 127}, {127, false, 127}, {127, true, 64}, {65, true, 127}, {15, false, 15},
};
#define N_PAIRS (sizeof pairs / sizeof *pairs)

/* The variant's own bias and bounds; false if it does not sum this pair exactly. */
static bool set_limits(const nyb_tile_s8 *tile, limits max, nyb_tile_s8_args *args)
{
    args->bias = tile->a_biased && max.a_signed ? max.a : 0;
    args->max_a = max.a + args->bias;
    args->max_b = max.b;
    return args->max_a * args->max_b <= tile->max_product;
}

static int32_t unit_of(const nyb_tile_s8 *tile, const nyb_tile_s8_args *args, uint8_t byte)
{
    return tile->a_biased ? byte - args->bias : (int8_t)byte;
}

/* b: [k][32] of all steps, what args->b was made of. */
static void want_run(const nyb_tile_s8 *tile, const nyb_tile_s8_args *args, const int8_t *b,
                     int32_t *c)
{
    for (size_t m = 0; m < args->rows; m++) {
        uint32_t sum[COLS] = {0};
        for (size_t k = 0; k < args->n_steps * STEP; k++) {
            const size_t offset = m * args->lda + args->a_step[k / STEP] + k % STEP;
            const int32_t unit = unit_of(tile, args, args->a[offset]);
            const int8_t *row = b + (args->b_step[k / STEP] * STEP + k % STEP) * COLS;
            for (size_t n = 0; n < COLS; n++)
                sum[n] += (uint32_t)(unit * row[n]);
        }
        for (size_t n = 0; n < COLS; n++)
            c[m * COLS + n] =
                (int32_t)(sum[n] + (args->accumulate ? (uint32_t)c[m * COLS + n] : 0));
    }
}

static void check_run(ck *c, const nyb_tile_s8 *tile, const nyb_tile_s8_args *args, const int8_t *b)
{
    _Alignas(64) int32_t want[ROWS * COLS];
    int32_t *got = ck_guard(c, sizeof want, true);
    nyb_tile_s8_args mine = *args;
    fill(c, want, sizeof want);
    memcpy(got, want, sizeof want);
    mine.c = got;
    want_run(tile, &mine, b, want);
    tile->run(&mine);
    for (size_t i = 0; mine.narrow && i < mine.rows * COLS; i++)
        if (i % COLS >= COLS / 2)
            got[i] = want[i] = 0;
    ck_same(c, "run", want, got, sizeof want); /* also rows that it must leave alone */
}

/* Rows that overlap, steps in any order and some twice, bytes that meet a zero of b: see tile.h. */
static void random_run(ck *c, const nyb_tile_s8 *tile)
{
    static const size_t pitches[] = {0, 16, 17, 32, 64, 80, 128, 576};
    int8_t b[MAX_STEPS * STEP * COLS];
    uint32_t a_step[MAX_STEPS], b_step[MAX_STEPS];
    uint8_t valid[MAX_STEPS];
    const size_t all_steps = ck_range(c, 1, MAX_STEPS);
    nyb_tile_s8_args args = {.rows = ck_range(c, 1, ROWS), .n_steps = all_steps};
    const limits max = pairs[ck_range(c, 0, N_PAIRS - 1)];
    const bool extreme = ck_range(c, 0, 7) == 0, garbage = ck_range(c, 0, 7) == 0;
    if (!set_limits(tile, max, &args))
        return;
    args.lda = garbage ? MAX_STEPS * STEP : pitches[ck_range(c, 0, 7)];
    args.accumulate = ck_range(c, 0, 1);
    uint32_t reach = 0;
    for (size_t i = 0; i < args.n_steps; i++) {
        a_step[i] = garbage ? (uint32_t)(i * STEP) : (uint32_t)ck_range(c, 0, 600);
        b_step[i] = garbage ? (uint32_t)i : (uint32_t)ck_range(c, 0, all_steps - 1);
        reach = a_step[i] > reach ? a_step[i] : reach;
    }
    args.a_step = a_step;
    args.b_step = b_step;
    const size_t n_a = (args.rows - 1) * args.lda + reach + STEP;
    uint8_t *a = ck_guard(c, n_a, ck_range(c, 0, 1));
    for (size_t i = 0; i < n_a; i++) {
        const int32_t lo = max.a_signed ? -max.a : 0;
        const int32_t unit = extreme ? max.a : lo + (int32_t)ck_range(c, 0, (size_t)(max.a - lo));
        a[i] = (uint8_t)(unit + args.bias);
    }
    for (size_t i = 0; i < args.n_steps * STEP * COLS; i++)
        b[i] = (int8_t)(extreme ? -max.b : (int32_t)ck_range(c, 0, 2 * (size_t)max.b) - max.b);
    args.valid = ck_range(c, 0, 1) ? valid : NULL;
    for (size_t i = 0; args.valid && i < all_steps; i++) {
        valid[i] = (uint8_t)(ck_range(c, 0, 1) ? STEP : ck_range(c, 0, STEP));
        memset(b + (i * STEP + valid[i]) * COLS, 0, (STEP - valid[i]) * COLS);
    }
    if (garbage) {
        for (size_t k = 0; k < args.n_steps * STEP; k += ck_range(c, 1, 9)) {
            memset(b + k * COLS, 0, COLS);
            for (size_t m = 0; m < args.rows; m++)
                a[m * args.lda + k] = (uint8_t)ck_rand(c);
        }
    }
    int8_t *panel = ck_guard(c, ck_panel_bytes(all_steps), true);
    make_panel(b, all_steps, panel);
    args.a = a;
    args.b = panel;
    args.sums = sums_of(panel, all_steps);
    tile->begin();
    const size_t rows = args.rows;
    args.n_steps = ck_range(c, 1, all_steps);
    args.rows = ck_range(c, 1, rows); /* another height in the same batch */
    check_run(c, tile, &args, b);
    args.rows = rows;
    args.accumulate = !args.accumulate;
    args.narrow = ck_range(c, 0, 1);
    check_run(c, tile, &args, b);
    tile->end();
}

/* The largest sums a caller may ask for, all of one sign; int16 partial sums at their bound. */
static void extreme_run(ck *c, const nyb_tile_s8 *tile, limits max)
{
    nyb_tile_s8_args args = {.rows = 17, .lda = 0};
    if (!set_limits(tile, max, &args))
        return;
    const size_t bound = (size_t)(INT32_MAX / (max.a * max.b)) / STEP;
    args.n_steps = nyb_min(bound, 600);
    uint8_t *a = ck_guard(c, STEP, true);
    uint32_t *a_step = nyb_alloc(args.n_steps * sizeof *a_step);
    uint32_t *b_step = nyb_alloc(args.n_steps * sizeof *b_step);
    int8_t *b = nyb_alloc(args.n_steps * STEP * COLS);
    int8_t *panel = nyb_alloc(ck_panel_bytes(args.n_steps));
    if (!a_step || !b_step || !b || !panel) {
        ck_fail(c, "out of memory");
    } else {
        memset(a, max.a + args.bias, STEP);
        for (size_t i = 0; i < args.n_steps * STEP * COLS; i++)
            b[i] = (int8_t)(i % 3 ? max.b : -max.b); /* columns differ: 32 is no multiple of 3 */
        for (size_t k = 0; k < args.n_steps * STEP; k++)
            b[k * COLS] = (int8_t)max.b, b[k * COLS + 31] = (int8_t)-max.b;
        make_panel(b, args.n_steps, panel);
        args.a = a;
        for (size_t i = 0; i < args.n_steps; i++)
            b_step[i] = (uint32_t)i;
        args.a_step = a_step;
        args.b = panel;
        args.b_step = b_step;
        args.sums = sums_of(panel, args.n_steps);
        tile->begin();
        check_run(c, tile, &args, b);
        tile->end();
    }
    nyb_free(panel);
    nyb_free(b);
    nyb_free(b_step);
    nyb_free(a_step);
}

/* ---- s8: packing --------------------------------------------------------------------------- */

static void random_unpack(ck *c, const nyb_tile_s8 *tile)
{
    const size_t first = 16 * ck_range(c, 0, 20), n = 16 * ck_range(c, 0, 40);
    const size_t n_codes = nyb_round_up(first + n, NYB_BLOCK_CODES);
    uint8_t *codes = ck_guard(c, n_codes / 2, ck_range(c, 0, 1));
    uint8_t *lut = ck_guard(c, 16, true), *got = ck_guard(c, n, ck_range(c, 0, 1));
    uint8_t want[16 * 40];
    fill(c, codes, n_codes / 2);
    fill(c, lut, 16);
    for (size_t i = 0; i < n; i++) {
        const size_t block = (first + i) / 128, j = (first + i) % 128;
        const uint8_t byte = codes[block * 64 + j % 64];
        want[i] = lut[j < 64 ? byte % 16 : byte / 16];
    }
    tile->unpack(codes, first, n, lut, got);
    ck_same(c, "unpack", want, got, n);
}

static void random_pack_rows(ck *c, const nyb_tile_s8 *tile)
{
    int8_t b[MAX_STEPS * STEP * COLS] = {0},
                                want[MAX_STEPS * (NYB_TILE_STEP_BYTES + NYB_TILE_SUMS_BYTES)];
    uint32_t src_step[MAX_STEPS];
    uint8_t valid[MAX_STEPS];
    const size_t n_steps = ck_range(c, 1, MAX_STEPS), ld = ck_range(c, 0, 700);
    const size_t n_valid = ck_range(c, 0, 1) ? COLS : ck_range(c, 0, COLS);
    const bool whole = ck_range(c, 0, 1), no_sums = ck_range(c, 0, 1);
    size_t n_src = 0;
    for (size_t i = 0; i < n_steps; i++) {
        src_step[i] = (uint32_t)ck_range(c, 0, 500);
        valid[i] = (uint8_t)(whole ? STEP : ck_range(c, 0, STEP));
        if (n_valid && valid[i])
            n_src = nyb_max(n_src, (n_valid - 1) * ld + src_step[i] + valid[i]);
    }
    const size_t n_bytes = ck_panel_bytes(n_steps) - no_sums * n_steps * NYB_TILE_SUMS_BYTES;
    int8_t *src = ck_guard(c, n_src, ck_range(c, 0, 1));
    int8_t *got = ck_guard(c, n_bytes, true);
    fill(c, src, n_src);
    for (size_t i = 0; i < n_steps; i++)
        for (size_t n = 0; n < n_valid; n++)
            for (size_t k = 0; k < valid[i]; k++)
                b[(i * STEP + k) * COLS + n] = src[n * ld + src_step[i] + k];
    make_panel(b, n_steps, want);
    tile->pack_rows(src, ld, src_step, valid, n_steps, n_valid, got,
                    no_sums ? NULL : sums_of(got, n_steps));
    ck_same(c, "pack_rows", want, got, n_bytes);
}

static void random_pack_cols(ck *c, const nyb_tile_s8 *tile)
{
    int8_t b[MAX_STEPS * STEP * COLS] = {0},
                                want[MAX_STEPS * (NYB_TILE_STEP_BYTES + NYB_TILE_SUMS_BYTES)];
    const size_t n_steps = ck_range(c, 1, MAX_STEPS);
    const size_t n_valid = ck_range(c, 0, 1) ? COLS : ck_range(c, 1, COLS);
    const size_t k_valid = ck_range(c, 0, 1) ? n_steps * STEP : ck_range(c, 1, n_steps * STEP);
    const size_t ld = n_valid + (ck_range(c, 0, 1) ? 0 : ck_range(c, 0, 100));
    const size_t n_src = (k_valid - 1) * ld + n_valid;
    const bool no_sums = ck_range(c, 0, 1);
    const size_t n_bytes = ck_panel_bytes(n_steps) - no_sums * n_steps * NYB_TILE_SUMS_BYTES;
    int8_t *src = ck_guard(c, n_src, ck_range(c, 0, 1));
    int8_t *got = ck_guard(c, n_bytes, true);
    fill(c, src, n_src);
    for (size_t k = 0; k < k_valid; k++)
        memcpy(b + k * COLS, src + k * ld, n_valid);
    make_panel(b, n_steps, want);
    tile->pack_cols(src, ld, k_valid, n_valid, n_steps, got,
                    no_sums ? NULL : sums_of(got, n_steps));
    ck_same(c, "pack_cols", want, got, n_bytes);
}

static void random_transpose(ck *c, const nyb_tile_s8 *tile)
{
    const size_t rows = ck_range(c, 1, 150), cols = ck_range(c, 1, 70);
    const size_t lds = cols + ck_range(c, 0, 1) * ck_range(c, 0, 20);
    const size_t ldd = rows + ck_range(c, 0, 1) * ck_range(c, 0, 20);
    const size_t n_src = (rows - 1) * lds + cols, n_dst = (cols - 1) * ldd + rows;
    uint8_t *src = ck_guard(c, n_src, ck_range(c, 0, 1));
    uint8_t *got = ck_guard(c, n_dst, ck_range(c, 0, 1)), *want = ck_guard(c, n_dst, true);
    fill(c, src, n_src);
    fill(c, want, n_dst);
    memcpy(got, want, n_dst); /* the gaps between the columns must stay */
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            want[col * ldd + row] = src[row * lds + col];
    tile->transpose(src, lds, rows, cols, got, ldd);
    ck_same(c, "transpose", want, got, n_dst);
}

/* ---- s8: every product of two formats ------------------------------------------------------ */

static bool is_operand(const nyb_format *f)
{
    return f->bits == 4 && f->max_unit > 0;
}

/* Over every code, also those that no encoder produces. */
static limits limits_of(const nyb_format *a, const nyb_format *b)
{
    limits max = {.a_signed = a->is_signed};
    for (size_t code = 0; code < 16; code++) {
        const int32_t of_a = a->units[code], of_b = b->units[code];
        max.a = of_a > max.a ? of_a : -of_a > max.a ? -of_a : max.a;
        max.b = of_b > max.b ? of_b : -of_b > max.b ? -of_b : max.b;
    }
    return max;
}

/* c[m][n] = worth of code m * worth of code n, from the two operands' code k0; the other codes of
 * both are 0, which is not always worth 0. b is packed from rows of k or from rows of n. */
static void check_products(ck *c, const nyb_tile_s8 *tile, const nyb_format *fa,
                           const nyb_format *fb, bool by_rows)
{
    static const uint32_t zero = 0;
    static const uint8_t whole = STEP;
    uint8_t lut_a[16], lut_b[16], a[16 * STEP];
    uint8_t codes_a[16 * STEP / 2], codes_b[COLS * STEP / 2];
    int8_t b[COLS * STEP];
    _Alignas(64) int8_t panel[NYB_TILE_STEP_BYTES];
    _Alignas(64) nyb_tile_sums sums;
    _Alignas(64) int32_t got[ROWS * COLS];
    nyb_packed pa = {.format = fa, .rows = 16, .cols = STEP, .pitch = STEP, .codes = codes_a};
    nyb_packed pb = {.format = fb, .rows = by_rows ? COLS : STEP, .codes = codes_b};
    pb.cols = pb.pitch = by_rows ? STEP : COLS;
    nyb_tile_s8_args args = {.rows = 16, .n_steps = 1, .a = a, .lda = STEP, .a_step = &zero};
    args.b = panel;
    args.b_step = &zero;
    args.sums = &sums;
    args.c = got;
    const int32_t others = (STEP - 1) * fa->units[0] * fb->units[0];
    if (!set_limits(tile, limits_of(fa, fb), &args))
        return;
    for (size_t code = 0; code < 16; code++) {
        lut_a[code] = (uint8_t)(fa->units[code] + args.bias);
        lut_b[code] = (uint8_t)fb->units[code];
    }
    for (size_t k0 = 0; k0 < STEP; k0++) {
        memset(codes_a, 0, sizeof codes_a);
        memset(codes_b, 0, sizeof codes_b);
        for (size_t m = 0; m < 16; m++)
            nyb_packed_set(&pa, m, k0, (unsigned)m);
        for (size_t n = 0; n < COLS; n++)
            nyb_packed_set(&pb, by_rows ? n : k0, by_rows ? k0 : n, (unsigned)n % 16);
        tile->unpack(codes_a, 0, sizeof a, lut_a, a);
        tile->unpack(codes_b, 0, sizeof b, lut_b, (uint8_t *)b);
        if (by_rows)
            tile->pack_rows(b, STEP, &zero, &whole, 1, COLS, panel, &sums);
        else
            tile->pack_cols(b, COLS, STEP, COLS, 1, panel, &sums);
        tile->run(&args);
        for (size_t i = 0; i < 16 * COLS; i++) {
            const size_t code_a = i / COLS, code_b = i % COLS % 16;
            const int32_t want = fa->units[code_a] * fb->units[code_b] + others;
            if (got[i] != want) {
                ck_fail(c, "%s code %zu times %s code %zu at k %zu is %d, want %d", fa->name,
                        code_a, fb->name, code_b, k0, got[i], want);
                return;
            }
        }
    }
}

/* ---- s8 ------------------------------------------------------------------------------------ */

void check_tile_s8(ck *c)
{
    for (const nyb_tile_s8 *const *tile = nyb_tile_s8_list; *tile; tile++) {
        if (!ck_begin(c, "tile_s8", (*tile)->name, (*tile)->needs))
            continue;
        size_t i = 0;
        for (; i < ck_cases(c); i++) {
            if (!ck_case(c, i))
                continue;
            random_run(c, *tile);
            random_unpack(c, *tile);
            random_pack_rows(c, *tile);
            random_pack_cols(c, *tile);
            random_transpose(c, *tile);
        }
        for (size_t j = 0; j < N_PAIRS; j++, i++)
            if (ck_case(c, i))
                extreme_run(c, *tile, pairs[j]);
        for (const nyb_format *const *a = nyb_formats; *a; a++) {
            for (const nyb_format *const *b = nyb_formats; *b; b++) {
                if (!is_operand(*a) || !is_operand(*b) || !ck_case(c, i++))
                    continue;
                (*tile)->begin();
                check_products(c, *tile, *a, *b, false);
                check_products(c, *tile, *a, *b, true);
                (*tile)->end();
            }
        }
        ck_time_tile_s8(c, *tile);
        ck_end(c);
    }
}

/* ---- f32 ----------------------------------------------------------------------------------- */

#define MAX_RUNS 6
#define MAX_RUN  40
#define LONG_RUN 600 /* now and then: kernels cut k in blocks */

static void random_run_f32(ck *c, const nyb_tile_f32 *tile)
{
    uint32_t run_off[MAX_RUNS], run_len[MAX_RUNS];
    float want[ROWS * COLS];
    nyb_tile_f32_args args = {.rows = ck_range(c, 1, ROWS), .n_runs = ck_range(c, 0, MAX_RUNS)};
    size_t n_k = 0, reach = 0;
    const bool wild = ck_range(c, 0, 1); /* NaN, Inf, and what overflows to them */
    args.lda = ck_range(c, 0, 100);
    args.accumulate = ck_range(c, 0, 1);
    args.resume = !args.accumulate && ck_range(c, 0, 1);
    args.narrow = ck_range(c, 0, 1);
    for (size_t i = 0; i < args.n_runs; i++) {
        run_off[i] = (uint32_t)ck_range(c, 0, 50);
        run_len[i] = (uint32_t)ck_range(c, 0, ck_range(c, 0, 9) ? MAX_RUN : LONG_RUN);
        n_k += run_len[i];
        if (run_len[i])
            reach = nyb_max(reach, (args.rows - 1) * args.lda + run_off[i] + run_len[i]);
    }
    float *a = ck_guard(c, reach * sizeof *a, ck_range(c, 0, 1));
    float *b = ck_guard(c, n_k * COLS * sizeof *b, true);
    float *got = ck_guard(c, sizeof want, true);
    for (size_t i = 0; i < reach; i++)
        a[i] = wild ? ck_float(c) : (float)(int32_t)ck_rand(c) * 0x1p-31f;
    for (size_t i = 0; i < n_k * COLS; i++)
        b[i] = wild && i % 7 == 0 ? ck_float(c) : (float)(int32_t)ck_rand(c) * 0x1p-31f;
    for (size_t i = 0; i < ROWS * COLS; i++)
        got[i] = want[i] = ck_float(c);
    for (size_t m = 0; m < args.rows; m++) {
        for (size_t n = 0; n < COLS; n++) {
            float sum = args.resume ? want[m * COLS + n] : 0;
            const float *factor = b + n;
            for (size_t i = 0; i < args.n_runs; i++)
                for (size_t k = 0; k < run_len[i]; k++, factor += COLS)
                    sum = fmaf(a[m * args.lda + run_off[i] + k], *factor, sum);
            want[m * COLS + n] = args.accumulate ? want[m * COLS + n] + sum : sum;
        }
    }
    args.a = a;
    args.b = b;
    args.c = got;
    args.run_off = run_off;
    args.run_len = run_len;
    tile->run(&args);
    for (size_t i = 0; args.narrow && i < args.rows * COLS; i++)
        if (i % COLS >= COLS / 2)
            got[i] = want[i] = 0;
    same_floats(c, "run", want, got, ROWS * COLS);
}

static void random_transpose_f32(ck *c, const nyb_tile_f32 *tile)
{
    const size_t rows = ck_range(c, 1, 40), cols = ck_range(c, 1, 40);
    const size_t lds = cols + ck_range(c, 0, 1) * ck_range(c, 0, 20);
    const size_t ldd = rows + ck_range(c, 0, 1) * ck_range(c, 0, 20);
    const size_t n_src = (rows - 1) * lds + cols, n_dst = (cols - 1) * ldd + rows;
    float *src = ck_guard(c, n_src * sizeof *src, ck_range(c, 0, 1));
    float *got = ck_guard(c, n_dst * sizeof *got, ck_range(c, 0, 1));
    float *want = ck_guard(c, n_dst * sizeof *want, true);
    fill(c, src, n_src * sizeof *src);
    fill(c, want, n_dst * sizeof *want);
    memcpy(got, want, n_dst * sizeof *want);
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            want[col * ldd + row] = src[row * lds + col];
    tile->transpose(src, lds, rows, cols, got, ldd);
    ck_same(c, "transpose", want, got, n_dst * sizeof *want);
}

static void random_decode(ck *c, const nyb_tile_f32 *tile)
{
    const unsigned bits = ck_range(c, 0, 1) ? 4 : 8;
    const size_t n = 16 * ck_range(c, 0, 40), first = 16 * ck_range(c, 0, 20);
    const size_t n_codes = nyb_round_up(first + n, NYB_BLOCK_CODES);
    uint8_t *codes = ck_guard(c, bits == 4 ? n_codes / 2 : n_codes, true);
    float *values = ck_guard(c, ((size_t)1 << bits) * sizeof *values, true);
    float *got = ck_guard(c, n * sizeof *got, ck_range(c, 0, 1));
    float *want = ck_guard(c, n * sizeof *want, true);

    fill(c, codes, bits == 4 ? n_codes / 2 : n_codes);
    fill(c, values, ((size_t)1 << bits) * sizeof *values);
    nyb_tile_f32_ref.decode(codes, bits, values, first, n, want);
    tile->decode(codes, bits, values, first, n, got);
    ck_same(c, "decode", want, got, n * sizeof *want);
}

void check_tile_f32(ck *c)
{
    for (const nyb_tile_f32 *const *tile = nyb_tile_f32_list; *tile; tile++) {
        if (!ck_begin(c, "tile_f32", (*tile)->name, (*tile)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++) {
            if (!ck_case(c, i))
                continue;
            random_run_f32(c, *tile);
            random_transpose_f32(c, *tile);
            random_decode(c, *tile);
        }
        ck_time_tile_f32(c, *tile);
        ck_end(c);
    }
}
