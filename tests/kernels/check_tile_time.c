/* Timings of the tile kernels: products, packing, epilogue. */
#include "check_tile.h"

#define ROWS NYB_TILE_ROWS
#define COLS NYB_TILE_COLS
#define STEP NYB_TILE_STEP

/* ---- s8 ------------------------------------------------------------------------------------ */

#define N_PANELS 16 /* of K = 1024: 528 KB, past L1 and within L2 */

typedef struct bench_s8 {
    const nyb_tile_s8 *tile;
    nyb_tile_s8_args args;
    size_t n_panels;
    uint8_t *bytes; /* operands: 1 MB */
    int8_t *panels;
    uint8_t *out;
    uint32_t step[16], number[16];
    uint8_t valid[16];
    uint8_t lut[16];
} bench_s8;

static void bench_run(void *arg)
{
    const bench_s8 *b = arg;
    nyb_tile_s8_args args = b->args;
    for (size_t i = 0; i < b->n_panels; i++) {
        args.b = b->panels + i * ck_panel_bytes(args.n_steps);
        args.sums = (const nyb_tile_sums *)(args.b + args.n_steps * NYB_TILE_STEP_BYTES);
        b->tile->run(&args);
    }
}

static void bench_unpack(void *arg)
{
    const bench_s8 *b = arg;
    b->tile->unpack(b->bytes, 0, 1 << 17, b->lut, b->out);
}

static void bench_pack_rows(void *arg)
{
    const bench_s8 *b = arg;
    for (size_t i = 0; i < 4; i++)
        b->tile->pack_rows((int8_t *)b->bytes + i * 32768, 1024, b->step, b->valid, 16, COLS,
                           b->panels, (nyb_tile_sums *)(b->panels + 16 * NYB_TILE_STEP_BYTES));
}

static void bench_pack_cols(void *arg)
{
    const bench_s8 *b = arg;
    for (size_t i = 0; i < 4; i++)
        b->tile->pack_cols((int8_t *)b->bytes + i * 32, 128, 1024, COLS, 16, b->panels,
                           (nyb_tile_sums *)(b->panels + 16 * NYB_TILE_STEP_BYTES));
}

static void bench_transpose(void *arg)
{
    const bench_s8 *b = arg;
    b->tile->transpose(b->bytes, 128, 1024, 128, b->out, 1024 + 64);
}

void ck_time_tile_s8(ck *c, const nyb_tile_s8 *tile)
{
    static const struct {
        const char *what;
        size_t k, n_panels;
    } runs[] = {
        {"run K=512, b in L1", 512, 1},
        {"run K=512, b in L2", 512, 2 * N_PANELS},
        {"run K=1024, b in L2", 1024, N_PANELS},
    };
    bench_s8 b = {.tile = tile};
    b.bytes = nyb_alloc(1 << 20);
    b.panels = nyb_alloc(2 * N_PANELS * ck_panel_bytes(16));
    b.out = nyb_alloc(1 << 20);
    b.args = (nyb_tile_s8_args){
        .rows = ROWS, .a = b.bytes, .a_step = b.step, .b_step = b.number, .c = nyb_alloc(4096)};
    b.args.bias = tile->a_biased ? 7 : 0; /* int4 times int4 */
    b.args.max_a = 7 + b.args.bias;
    b.args.max_b = 7;
    if (b.bytes && b.panels && b.out && b.args.c) {
        for (size_t i = 0; i < 16; i++) {
            b.step[i] = (uint32_t)(i * STEP);
            b.number[i] = (uint32_t)i;
            b.valid[i] = STEP;
        }
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
            b.args.n_steps = runs[i].k / STEP;
            b.args.lda = runs[i].k;
            b.n_panels = runs[i].n_panels;
            tile->begin();
            ck_bench(c, runs[i].what, (double)(ROWS * COLS * runs[i].k * b.n_panels), "MAC",
                     bench_run, &b);
            tile->end();
        }
        ck_bench(c, "unpack", 1 << 17, "code", bench_unpack, &b);
        ck_bench(c, "pack_rows", 4 * 32768, "byte", bench_pack_rows, &b);
        ck_bench(c, "pack_cols", 4 * 32768, "byte", bench_pack_cols, &b);
        ck_bench(c, "transpose", 1024 * 128, "byte", bench_transpose, &b);
    }
    nyb_free(b.args.c);
    nyb_free(b.out);
    nyb_free(b.panels);
    nyb_free(b.bytes);
}

/* ---- f32 ----------------------------------------------------------------------------------- */

typedef struct bench_f32 {
    const nyb_tile_f32 *tile;
    nyb_tile_f32_args args;
    float *out;
} bench_f32;

static void bench_run_f32(void *arg)
{
    const bench_f32 *b = arg;
    b->tile->run(&b->args);
}

static void bench_transpose_f32(void *arg)
{
    const bench_f32 *b = arg;
    b->tile->transpose(b->args.a, 128, 256, 128, b->out, 256 + 16);
}

void ck_time_tile_f32(ck *c, const nyb_tile_f32 *tile)
{
    static const uint32_t off = 0, len[] = {256, 1024};
    static const char *const what[] = {"run K=256, b in L1", "run K=1024, b in L2"};
    float *a = nyb_alloc(ROWS * 1024 * sizeof *a), *b = nyb_alloc(COLS * 1024 * sizeof *b);
    float *sums = nyb_alloc(ROWS * COLS * sizeof *sums), *out = nyb_alloc(1 << 20);
    bench_f32 arg = {.tile = tile, .out = out};
    arg.args = (nyb_tile_f32_args){.rows = ROWS, .n_runs = 1, .run_off = &off, .a = a, .b = b};
    arg.args.c = sums;
    for (size_t i = 0; a && b && sums && out && i < 2; i++) {
        arg.args.lda = len[i];
        arg.args.run_len = &len[i];
        ck_bench(c, what[i], (double)(ROWS * COLS * len[i]), "MAC", bench_run_f32, &arg);
    }
    if (a && out)
        ck_bench(c, "transpose", 256 * 128, "float", bench_transpose_f32, &arg);
    nyb_free(out);
    nyb_free(sums);
    nyb_free(b);
    nyb_free(a);
}
