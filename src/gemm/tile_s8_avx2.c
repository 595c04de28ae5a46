/* The s8 tile on AVX2. Products whose int16 partial sums hold a few dots: vpmaddubsw, flushed to
 * int32 before they overflow. Others (int8 x int8): vpmaddwd on operands widened to int16. */

#include "gemm/tile_avx2.h"
#include "gemm/tile_pack.h"

#define MAX_ROWS 6 /* x 16 columns: 12 accumulators, 2 vectors of b, 1 of a, 1 product */

/* Steps of b that pass by all rows at once: they stay in L1. */
#define NARROW_STEPS 8
#define WIDE_STEPS   2

/* Fewer dots than this between two flushes cost more than the wide way does. */
#define LEAST_DOTS 4

static void begin(void)
{
}

static void end(void)
{
}

/* Sums of step i's columns 8 j .. 8 j + 7, of both pairs. */
static inline __m256i pair_sums(const nyb_tile_s8_args *args, size_t i, size_t j)
{
    return _mm256_load_si256((const void *)args->sums[args->b_step[i]].of[8 * j]);
}

/* c starts at -bias * sum of b, because a is unit + bias (all modulo 2^32). */
static void start(const nyb_tile_s8_args *args, int32_t bias)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (size_t j = 0; j < (args->narrow ? 2 : 4); j++) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t i = 0; bias && i < args->n_steps; i++)
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pair_sums(args, i, j), ones));
        const __m256i less = _mm256_mullo_epi32(_mm256_set1_epi32(-bias), sum);
        for (size_t m = 0; m < args->rows; m++) {
            __m256i *to = (void *)(args->c + m * NYB_TILE_COLS + 8 * j);
            *to = args->accumulate ? _mm256_add_epi32(*to, less) : less;
        }
    }
}

/* A step, or a part of one. */
typedef struct piece {
    const int8_t *b; /* lines of columns 0 .. 15 */
    size_t a;        /* offset in a row */
    size_t n_lines;  /* a multiple of 4 */
    bool last;       /* the int16 sums are full: they are flushed */
} piece;

/* What a call of a block reads: rows first_row .. of all, columns 16 half .., some steps. */
typedef struct block {
    const nyb_tile_s8_args *args;
    size_t first_row, half;
    size_t step, n_steps;
    /* Bytes: pieces of `dots` dots (4, 8 or 16). The int16 sums of one or some of them begin at
     * base, of which there is one for each sum, or one for all (base_step 0). */
    size_t dots;
    const piece *pieces, *end;
    const int16_t *base; /* [half][2][16] */
    size_t base_step;
    const uint16_t *a; /* words: widened rows */
    const int16_t *b;  /* and lines of the half */
} block;

/* ---- sums in int16 ---- */

#define BASE       64 /* int16 of one sum's base */
#define MAX_PIECES (NARROW_STEPS * 16 / LEAST_DOTS)

typedef int16_t bases[MAX_PIECES][BASE];

/* The steps in pieces of `dots` lines, without the lines that are zero; an int16 holds the sums of
 * `flush` pieces. */
static void cut(block *w, size_t flush, piece pieces[MAX_PIECES])
{
    size_t n = 0;
    for (size_t i = w->step; i < w->step + w->n_steps; i++) {
        const size_t n_lines = nyb_tile_lines(w->args, i);
        for (size_t k4 = 0; k4 < 16; k4 += w->dots, n++)
            pieces[n] = (piece){.b = nyb_tile_step_of_b(w->args, i) + k4 * 64,
                                .a = w->args->a_step[i] + k4 * 4,
                                .n_lines = nyb_min(nyb_max(n_lines, k4) - k4, w->dots),
                                .last = (n + 1) % flush == 0};
    }
    pieces[n - 1].last = true;
    w->end = pieces + n;
}

/* Sums of a piece's columns 8 j .. 8 j + 7, as pair_sums. */
static __m256i piece_sums(const block *w, const piece *p, size_t j)
{
    if (w->dots == 16)
        return pair_sums(w->args, w->step + (size_t)(p - w->pieces), j);
    const __m256i ones = _mm256_set1_epi8(1);
    const int8_t *line = p->b + j / 2 * 1024 + j % 2 * 32;
    __m256i sum = _mm256_setzero_si256();
    for (size_t dot = 0; dot < w->dots; dot++, line += 64)
        sum = _mm256_add_epi16(sum,
                               _mm256_maddubs_epi16(ones, _mm256_load_si256((const void *)line)));
    return sum;
}

/* -bias * sum of b of all that is added between two flushes. int16 sums that begin there end at
 * sums of units times b, and those bound how many dots fit, whatever the wrapped sums are on the
 * way. */
static void fill_bases(const block *w, bases base)
{
    const __m256i bias = _mm256_set1_epi16((int16_t)-w->args->bias);
    for (size_t j = 0; j < (w->args->narrow ? 2 : 4); j++) {
        __m256i sum = _mm256_setzero_si256();
        int16_t(*to)[BASE] = base;
        for (const piece *p = w->pieces; p < w->end; p++) {
            sum = _mm256_add_epi16(sum, piece_sums(w, p, j));
            if (!p->last)
                continue;
            _mm256_store_si256((void *)(*to + j * 16), _mm256_mullo_epi16(sum, bias));
            sum = _mm256_setzero_si256();
            to++;
        }
    }
}

/* c += int16 partial sums; n_rows is a constant where this is inlined. */
static inline __attribute__((always_inline)) void bytes_rows(const block *w, size_t n_rows)
{
    const size_t lda = w->args->lda, base_step = w->base_step;
    const uint8_t *rows = w->args->a + w->first_row * lda;
    const size_t half = w->half * 1024;
    const __m256i ones = _mm256_set1_epi16(1);
    int32_t *c = w->args->c + w->first_row * NYB_TILE_COLS + w->half * 16;
    const int16_t *base = w->base + w->half * (BASE / 2);
    const piece *const end = w->end;
    for (const piece *p = w->pieces; p < end; base += base_step) {
        const __m256i *from = (const void *)base;
        __m256i acc[MAX_ROWS][2];
        NYB_UNROLL
        for (size_t m = 0; m < n_rows; m++) {
            acc[m][0] = from[0];
            acc[m][1] = from[1];
        }
        do {
            const uint8_t *a = rows + p->a;
            const int8_t *line = p->b + half, *const last = line + p->n_lines * 64;
            for (; line < last; line += 256, a += 16) {
                NYB_UNROLL
                for (size_t j = 0; j < 4; j++) {
                    const __m256i b0 = _mm256_load_si256((const void *)(line + j * 64));
                    const __m256i b1 = _mm256_load_si256((const void *)(line + j * 64 + 32));
                    NYB_UNROLL
                    for (size_t m = 0; m < n_rows; m++) {
                        const __m256i four = nyb_broadcast_4(a + m * lda + 4 * j);
                        NYB_DOT_BYTES(acc[m][0], four, b0);
                        NYB_DOT_BYTES(acc[m][1], four, b1);
                    }
                }
            }
        } while (!p++->last);
        NYB_UNROLL
        for (size_t m = 0; m < n_rows; m++) {
            __m256i *to = (void *)(c + m * NYB_TILE_COLS);
            to[0] = _mm256_add_epi32(to[0], _mm256_madd_epi16(acc[m][0], ones));
            to[1] = _mm256_add_epi32(to[1], _mm256_madd_epi16(acc[m][1], ones));
        }
    }
}

/* ---- operands widened to int16 ---- */

#define WIDE_K (WIDE_STEPS * NYB_TILE_STEP)

/* Rows of a: bytes to int16, k ascending. */
static void widen_a(const nyb_tile_s8_args *args, size_t step, size_t n_steps,
                    uint16_t a[NYB_TILE_ROWS][WIDE_K])
{
    for (size_t i = 0; i < n_steps; i++) {
        for (size_t m = 0; m < args->rows; m++) {
            const uint8_t *from = args->a + m * args->lda + args->a_step[step + i];
            for (size_t k = 0; k < NYB_TILE_STEP; k += 16)
                _mm256_store_si256((void *)(a[m] + i * NYB_TILE_STEP + k),
                                   _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(from + k))));
        }
    }
}

/* A line of fours of k becomes two lines of pairs: | n 0..15: k 0 1 | n 0..15: k 2 3 |. */
static void widen_b(const nyb_tile_s8_args *args, size_t step, size_t n_steps,
                    int16_t lines[2][WIDE_K / 2][32])
{
    const __m256i low = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13));
    const __m256i high = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15));
    for (size_t i = 0; i < n_steps; i++) {
        for (size_t half = 0; half < (args->narrow ? 1 : 2); half++) {
            const int8_t *from = nyb_tile_step_of_b(args, step + i) + half * 1024;
            for (size_t k4 = 0; k4 < 16; k4++) {
                int16_t(*to)[32] = lines[half] + i * 32 + k4 * 2;
                for (size_t j = 0; j < 2; j++) {
                    const __m256i v = _mm256_load_si256((const void *)(from + k4 * 64 + j * 32));
                    const __m256i v0 = _mm256_shuffle_epi8(v, low);
                    const __m256i v1 = _mm256_shuffle_epi8(v, high);
                    _mm256_store_si256((void *)(to[0] + 16 * j), _mm256_srai_epi16(v0, 8));
                    _mm256_store_si256((void *)(to[1] + 16 * j), _mm256_srai_epi16(v1, 8));
                }
            }
        }
    }
}

static inline __attribute__((always_inline)) void words_rows(const block *w, size_t n_rows)
{
    int32_t *c = w->args->c + w->first_row * NYB_TILE_COLS + w->half * 16;
    const uint16_t *a = w->a;
    const int16_t *line = w->b;
    __m256i acc[MAX_ROWS][2];
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        acc[m][0] = _mm256_load_si256((const void *)(c + m * NYB_TILE_COLS));
        acc[m][1] = _mm256_load_si256((const void *)(c + m * NYB_TILE_COLS + 8));
    }
    for (const int16_t *last = line + w->n_steps * 1024; line < last; line += 128, a += 8) {
        NYB_UNROLL
        for (size_t j = 0; j < 4; j++) {
            const __m256i b0 = _mm256_load_si256((const void *)(line + j * 32));
            const __m256i b1 = _mm256_load_si256((const void *)(line + j * 32 + 16));
            NYB_UNROLL
            for (size_t m = 0; m < n_rows; m++) {
                const __m256i two = nyb_broadcast_4(a + m * WIDE_K + 2 * j);
                NYB_DOT_WORDS(acc[m][0], two, b0);
                NYB_DOT_WORDS(acc[m][1], two, b1);
            }
        }
    }
    NYB_UNROLL
    for (size_t m = 0; m < n_rows; m++) {
        _mm256_store_si256((void *)(c + m * NYB_TILE_COLS), acc[m][0]);
        _mm256_store_si256((void *)(c + m * NYB_TILE_COLS + 8), acc[m][1]);
    }
}

/* ---- */

#define ROWS(n)                                                                                    \
    static void bytes_rows_##n(const block *w)                                                     \
    {                                                                                              \
        bytes_rows(w, n);                                                                          \
    }                                                                                              \
    static void words_rows_##n(const block *w)                                                     \
    {                                                                                              \
        words_rows(w, n);                                                                          \
    }
ROWS(1)
ROWS(2)
ROWS(3)
ROWS(4)
ROWS(5)
ROWS(6)

typedef void (*rows_function)(const block *w);

/* Dots that an int16 holds if each adds at most 2 * product. */
static size_t dots_that_fit(int32_t product)
{
    return product > 0 ? (size_t)(INT16_MAX / (2 * product)) : INT16_MAX;
}

static void run_bytes(const nyb_tile_s8_args *args)
{
    static const rows_function run_rows[] = {
        bytes_rows_1, bytes_rows_2, bytes_rows_3, bytes_rows_4, bytes_rows_5, bytes_rows_6,
    };
    static const _Alignas(64) int16_t zeros[BASE];
    _Alignas(64) bases base;
    const int32_t above = args->max_a - args->bias;
    const int32_t most = above > args->bias ? above : args->bias;
    const size_t fit_units = dots_that_fit(most * args->max_b);
    size_t fit = dots_that_fit(args->max_a * args->max_b);
    piece pieces[MAX_PIECES];
    block w = {.args = args, .base = zeros, .pieces = pieces};
    if (args->bias > 0 && args->rows >= MAX_ROWS && fit < 16 * NARROW_STEPS &&
        (fit < 16 || fit_units / 16 > fit / 16)) {
        fit = fit_units;
        w.base = base[0];
        w.base_step = BASE;
    }
    w.dots = fit >= 16 ? 16 : fit >= 8 ? 8 : LEAST_DOTS;
    start(args, w.base_step ? 0 : args->bias);
    for (w.step = 0; w.step < args->n_steps; w.step += NARROW_STEPS) {
        w.n_steps = nyb_min(args->n_steps - w.step, NARROW_STEPS);
        cut(&w, nyb_max(fit / 16, 1), pieces);
        if (w.base_step)
            fill_bases(&w, base);
        for (w.half = 0; w.half < (args->narrow ? 1 : 2); w.half++) {
            w.first_row = 0;
            /* Equal heights: a low last block would wait for its accumulators. */
            for (size_t left = nyb_div_up(args->rows, MAX_ROWS); left; left--) {
                const size_t n_rows = nyb_div_up(args->rows - w.first_row, left);
                run_rows[n_rows - 1](&w);
                w.first_row += n_rows;
            }
        }
    }
}

static void run_words(const nyb_tile_s8_args *args)
{
    static const rows_function run_rows[] = {
        words_rows_1, words_rows_2, words_rows_3, words_rows_4, words_rows_5, words_rows_6,
    };
    _Alignas(64) uint16_t a[NYB_TILE_ROWS][WIDE_K];
    _Alignas(64) int16_t b[2][WIDE_K / 2][32];
    const size_t n_halves = args->narrow ? 1 : 2;
    block w = {.args = args};
    start(args, args->bias);
    for (w.step = 0; w.step < args->n_steps; w.step += WIDE_STEPS) {
        w.n_steps = nyb_min(args->n_steps - w.step, WIDE_STEPS);
        widen_a(args, w.step, w.n_steps, a);
        widen_b(args, w.step, w.n_steps, b);
        for (w.half = 0; w.half < n_halves; w.half++) {
            w.first_row = 0;
            w.b = b[w.half][0];
            for (size_t left = nyb_div_up(args->rows, MAX_ROWS); left; left--) {
                const size_t n_rows = nyb_div_up(args->rows - w.first_row, left);
                w.a = a[w.first_row];
                run_rows[n_rows - 1](&w);
                w.first_row += n_rows;
            }
        }
    }
}

static void run(const nyb_tile_s8_args *args)
{
    if (dots_that_fit(args->max_a * args->max_b) >= LEAST_DOTS)
        run_bytes(args);
    else
        run_words(args);
}

const nyb_tile_s8 nyb_tile_s8_avx2 = {
    .name = "avx2",
    .needs = NYB_CPU_AVX2,
    .row_piece = 1,
    .k_piece = NYB_TILE_PIECE,
    .macs = 32,
    .a_biased = true,
    .max_product = INT32_MAX,
    .begin = begin,
    .end = end,
    .run = run,
    .unpack = nyb_tile_unpack_avx2,
    .pack_rows = nyb_tile_pack_rows_avx2,
    .pack_cols = nyb_tile_pack_cols_avx2,
    .transpose = nyb_tile_transpose_avx2,
};
