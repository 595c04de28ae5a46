/* Products with few rows: every variant against plain loops over arrays. */
#include <string.h>

#include "base/base.h"
#include "check.h"
#include "gemm/dot.h"

#define MAX_K 700

typedef struct problem {
    nyb_dot_args args;
    int8_t a[NYB_DOT_ROWS][MAX_K];
    uint8_t b[NYB_TILE_COLS][MAX_K], lut[16];
    int32_t start[NYB_DOT_ROWS], want[NYB_DOT_ROWS * NYB_TILE_COLS];
} problem;

/* Bytes of a and of the lut whose products a variant sums exactly; now and then the largest only.
 */
static void random_numbers(ck *c, int32_t max_product, problem *p)
{
    static const int32_t pairs[][2] = {{7, 15},   {8, 16},  {64, 15},  {15, 1},   {127, 15},
                                       {127, 30}, {1, 128}, {39, 105}, {127, 254}};
    const size_t first =
        ck_range(c, 0, sizeof pairs / sizeof *pairs - (max_product == INT32_MAX ? 1 : 2));
    const int32_t max_a = pairs[first][0], max_b = pairs[first][1];
    const bool extreme = ck_range(c, 0, 3) == 0, negative = ck_range(c, 0, 1);

    for (size_t i = 0; i < sizeof p->lut; i++)
        p->lut[i] = (uint8_t)(extreme ? max_b : (int32_t)ck_range(c, 0, (size_t)max_b));
    for (size_t m = 0; m < p->args.rows; m++) {
        p->start[m] = (int32_t)ck_rand(c);
        for (size_t k = 0; k < p->args.pitch; k++)
            p->a[m][k] = (int8_t)(extreme ? (negative ? -max_a : max_a)
                                          : (int32_t)ck_range(c, 0, 2 * (size_t)max_a) - max_a);
    }
}

/* Rows between zeros, and nothing known between those. */
static void make_a(ck *c, problem *p)
{
    nyb_dot_args *args = &p->args;

    args->lda = args->pitch + 2 * NYB_DOT_GUARD + ck_range(c, 0, 70);
    const size_t n = (args->rows - 1) * args->lda + args->pitch + 2 * NYB_DOT_GUARD;
    int8_t *a = ck_guard(c, n, ck_range(c, 0, 1));
    for (size_t i = 0; i < n; i++)
        a[i] = (int8_t)ck_rand(c);
    for (size_t m = 0; m < args->rows; m++) {
        int8_t *row = a + m * args->lda;
        memset(row, 0, args->pitch + 2 * NYB_DOT_GUARD);
        memcpy(row + NYB_DOT_GUARD, p->a[m], args->pitch);
    }
    args->a = a + NYB_DOT_GUARD;
}

static void make_codes(ck *c, problem *p)
{
    nyb_dot_args *args = &p->args;

    args->first = ck_range(c, 0, 20) * NYB_PITCH;
    const size_t n = args->first + args->cols * args->pitch;
    const size_t n_bytes = nyb_div_up(n, NYB_BLOCK_CODES) * NYB_BLOCK_BYTES;
    uint8_t *codes = ck_guard(c, n_bytes, ck_range(c, 0, 1));
    for (size_t i = 0; i < n_bytes; i++)
        codes[i] = (uint8_t)ck_rand(c);
    for (size_t col = 0; col < args->cols; col++)
        for (size_t k = 0; k < args->pitch; k++) {
            const size_t flat = args->first + col * args->pitch + k;
            const uint8_t byte = codes[flat / 128 * 64 + flat % 64];

            p->b[col][k] = p->lut[flat / 64 % 2 ? byte >> 4 : byte & 15];
        }
    args->codes = codes;
}

static void random_dot(ck *c, const nyb_dot_kernel *kernel)
{
    static problem p;
    nyb_dot_args *args = &p.args;

    *args =
        (nyb_dot_args){.rows = ck_range(c, 1, NYB_DOT_ROWS),
                       .cols = ck_range(c, 0, 1) ? NYB_TILE_COLS : ck_range(c, 1, NYB_TILE_COLS),
                       .pitch = ck_range(c, 1, MAX_K / NYB_PITCH) * NYB_PITCH,
                       .lut = p.lut,
                       .start = p.start};
    if (ck_range(c, 0, 1))
        args->pitch = nyb_round_up(args->pitch, NYB_BLOCK_CODES) % MAX_K / NYB_PITCH * NYB_PITCH;
    args->pitch = nyb_max(args->pitch, NYB_PITCH);
    random_numbers(c, kernel->max_product, &p);
    make_a(c, &p);
    make_codes(c, &p);
    args->c = ck_guard(c, NYB_DOT_ROWS * NYB_TILE_COLS * sizeof *args->c, true);
    kernel->run(args);
    for (size_t m = 0; m < args->rows; m++)
        for (size_t n = 0; n < NYB_TILE_COLS; n++) {
            uint32_t sum = (uint32_t)p.start[m];

            for (size_t k = 0; k < args->pitch && n < args->cols; k++)
                sum += (uint32_t)(p.a[m][k] * p.b[n][k]);
            p.want[m * NYB_TILE_COLS + n] =
                n < args->cols ? (int32_t)sum : args->c[m * NYB_TILE_COLS + n];
        }
    ck_same(c, "sums", p.want, args->c, args->rows * NYB_TILE_COLS * sizeof *args->c);
}

/* ---- benchmark: weights in L2 ---------------------------------------------------------------- */

#define BENCH_K    1024
#define BENCH_COLS 512

typedef struct bench {
    const nyb_dot_kernel *kernel;
    nyb_dot_args args;
} bench;

static void bench_dot(void *arg)
{
    const bench *b = arg;
    nyb_dot_args args = b->args;

    for (size_t n = 0; n < BENCH_COLS; n += NYB_TILE_COLS, args.first += NYB_TILE_COLS * BENCH_K)
        b->kernel->run(&args);
}

static void time_dot(ck *c, const nyb_dot_kernel *kernel)
{
    static int8_t a[NYB_DOT_ROWS][BENCH_K + 2 * NYB_DOT_GUARD];
    static const uint8_t lut[16] = {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7};
    static int32_t sums[NYB_DOT_ROWS * NYB_TILE_COLS], start[NYB_DOT_ROWS];
    uint8_t *codes = nyb_alloc(BENCH_K * BENCH_COLS / 2);

    if (!codes)
        return;
    memset(codes, 0x19, BENCH_K * BENCH_COLS / 2);
    for (size_t rows = 1; rows <= NYB_DOT_ROWS; rows *= 2) {
        static const char *const names[] = {"1 row", "2 rows", "4 rows", "8 rows", "16 rows"};
        bench b = {kernel,
                   {.rows = rows,
                    .cols = NYB_TILE_COLS,
                    .a = a[0] + NYB_DOT_GUARD,
                    .lda = sizeof a[0],
                    .codes = codes,
                    .pitch = BENCH_K,
                    .lut = lut,
                    .start = start,
                    .c = sums}};

        ck_bench(c, names[__builtin_ctzl(rows)], (double)(rows * BENCH_K * BENCH_COLS), "MAC",
                 bench_dot, &b);
    }
    nyb_free(codes);
}

void check_dot(ck *c)
{
    for (const nyb_dot_kernel *const *k = nyb_dot_kernels; *k; k++) {
        if (!ck_begin(c, "dot", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i))
                random_dot(c, *k);
        time_dot(c, *k);
        ck_end(c);
    }
}
