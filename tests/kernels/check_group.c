/* The grouped tiles against loops over plain arrays; encoding of grouped codes; their timings. */
#include <math.h>

#include "base/cpu.h"
#include "check.h"
#include "check_tile.h"
#include "format/format.h"
#include "gemm/group.h"
#include "packed/grouped.h"

#define COLS       NYB_TILE_COLS
#define MAX_ROWS   36
#define MAX_GROUPS 9
#define MAX_K      (MAX_GROUPS * 64)

/* Largest units of a and b, and whether a is signed: each format's, and the extremes. */
static const struct limits {
    int32_t a;
    bool a_signed;
    int32_t b;
} pairs[] = {
    {7, true, 7},     {8, true, 8},      {15, false, 7},  {64, true, 7},   {64, true, 15},
    {12, true, 12},   {64, true, 64},    {1, true, 1},    {7, true, 127},  {127, true, 7},
    {127, true, 127}, {127, false, 127}, {127, true, 64}, {65, true, 127}, {15, false, 15},
};

/* One random product in plain arrays. */
typedef struct problem {
    nyb_group_args args;
    bool extreme;
    int32_t a[MAX_ROWS][MAX_K], b[MAX_K][COLS];
} problem;

static float random_scale(ck *c)
{
    if (ck_range(c, 0, 15) == 0)
        return 0.0f;
    return ldexpf((float)(int32_t)ck_rand(c), (int)ck_range(c, 0, 60) - 60);
}

static int32_t random_unit(ck *c, const problem *p, int32_t max, bool is_signed)
{
    if (p->extreme)
        return max;
    return is_signed ? (int32_t)ck_range(c, 0, 2 * (size_t)max) - max
                     : (int32_t)ck_range(c, 0, (size_t)max);
}

/* A at a, in rows that stop where the contract says. */
static void make_a(ck *c, problem *p, bool is_signed, int32_t bias)
{
    nyb_group_args *args = &p->args;
    const size_t k = args->n_groups * args->group;
    const size_t blocks = nyb_round_up(args->rows, NYB_GROUP_ROWS);
    args->lda = k + 16 * ck_range(c, 0, 4);
    args->lds = args->n_groups + ck_range(c, 0, 3);
    const size_t n_a = (blocks - 1) * args->lda + k,
                 n_sa = (blocks - 1) * args->lds + args->n_groups;
    uint8_t *a = ck_guard(c, n_a, ck_range(c, 0, 1));
    float *sa = ck_guard(c, n_sa * sizeof *sa, ck_range(c, 0, 1));
    for (size_t i = 0; i < n_a; i++)
        a[i] = (uint8_t)ck_rand(c);
    for (size_t i = 0; i < n_sa; i++)
        sa[i] = random_scale(c);
    for (size_t m = 0; m < args->rows; m++) {
        for (size_t i = 0; i < k; i++) {
            p->a[m][i] = random_unit(c, p, args->max_a - bias, is_signed);
            a[m * args->lda + i] = (uint8_t)(p->a[m][i] + bias);
        }
    }
    args->a = a;
    args->sa = sa;
}

/* The panel, where k past the last group holds anything. */
static void make_b(ck *c, problem *p, int32_t bias)
{
    nyb_group_args *args = &p->args;
    const size_t k = args->n_groups * args->group, n_steps = (k + 63) / 64;
    int8_t *b = ck_guard(c, n_steps * NYB_TILE_STEP_BYTES, true);
    float *sb = ck_guard(c, args->n_groups * COLS * sizeof *sb, true);
    int32_t *start = ck_guard(c, args->n_groups * COLS * sizeof *start, true);
    for (size_t i = 0; i < n_steps * NYB_TILE_STEP_BYTES; i++)
        b[i] = (int8_t)ck_rand(c);
    for (size_t i = 0; i < args->n_groups * COLS; i++) {
        sb[i] = random_scale(c);
        start[i] = 0;
    }
    for (size_t i = 0; i < k; i++) {
        for (size_t n = 0; n < COLS; n++) {
            p->b[i][n] = random_unit(c, p, args->max_b, true);
            if (p->extreme && n % 2)
                p->b[i][n] = -p->b[i][n];
            b[i / 64 * 2048 + n / 16 * 1024 + i % 64 / 4 * 64 + n % 16 * 4 + i % 4] =
                (int8_t)p->b[i][n];
            start[i / args->group * COLS + n] -= bias * p->b[i][n];
        }
    }
    args->b = b;
    args->sb = sb;
    args->start = start;
}

static float want_output(const problem *p, size_t m, size_t n, float former)
{
    const nyb_group_args *args = &p->args;
    float acc = args->accumulate ? former : 0.0f;
    for (size_t g = 0; g < args->n_groups; g++) {
        int64_t sum = 0;
        for (size_t i = g * args->group; i < (g + 1) * args->group; i++)
            sum += p->a[m][i] * p->b[i][n];
        acc = fmaf((float)sum, args->sa[m * args->lds + g] * args->sb[g * COLS + n], acc);
    }
    return acc;
}

static void random_run(ck *c, const nyb_group_kernel *kernel, problem *p)
{
    const struct limits max = pairs[ck_range(c, 0, sizeof pairs / sizeof *pairs - 1)];
    const int32_t bias = kernel->tile->a_biased && max.a_signed ? max.a : 0;
    p->args = (nyb_group_args){.rows = ck_range(c, 1, MAX_ROWS),
                               .n_groups = ck_range(c, 1, MAX_GROUPS),
                               .group = (size_t)16 << ck_range(c, 0, 2),
                               .accumulate = ck_range(c, 0, 1),
                               .narrow = ck_range(c, 0, 1),
                               .max_a = max.a + bias,
                               .max_b = max.b};
    p->extreme = ck_range(c, 0, 7) == 0;
    make_a(c, p, max.a_signed, bias);
    make_b(c, p, bias);
    const size_t n_c = nyb_round_up(p->args.rows, NYB_GROUP_ROWS) * COLS;
    float *got = ck_guard(c, n_c * sizeof *got, true);
    float want[MAX_ROWS * COLS];
    for (size_t i = 0; i < n_c; i++)
        got[i] = random_scale(c);
    for (size_t i = 0; i < p->args.rows * COLS; i++)
        want[i] = want_output(p, i / COLS, i % COLS, got[i]);
    p->args.c = got;
    kernel->begin(p->args.group);
    kernel->run(&p->args);
    kernel->end();
    for (size_t i = 0; p->args.narrow && i < p->args.rows * COLS; i++)
        if (i % COLS >= COLS / 2)
            got[i] = want[i] = 0;
    ck_same(c, "run", want, got, p->args.rows * COLS * sizeof *want);
}

/* ---- timings ---- */

typedef struct timing {
    const nyb_group_kernel *kernel;
    nyb_group_args args;
} timing;

static void time_run(void *arg)
{
    const timing *t = arg;
    t->kernel->run(&t->args);
}

static void time_kernel(ck *c, const nyb_group_kernel *kernel)
{
    static const char *const what[] = {"run G=16", "run G=32", "run G=64"};
    enum { ROWS = 96, K = 512, LDA = K + 64, LDS = K / 16 + 1 };
    const int32_t bias = kernel->tile->a_biased ? 12 : 0; /* e2m1 times e2m1 */
    uint8_t *a = nyb_alloc(ROWS * LDA);
    int8_t *b = nyb_alloc(K * COLS);
    float *sa = nyb_alloc(ROWS * LDS * sizeof *sa), *sb = nyb_alloc(K / 16 * COLS * sizeof *sb);
    int32_t *start = nyb_alloc(K / 16 * COLS * sizeof *start);
    float *sums = nyb_alloc(ROWS * COLS * sizeof *sums);
    for (size_t i = 0; a && b && sa && sb && start && sums && i < 3; i++) {
        const size_t group = (size_t)16 << i;
        timing t = {.kernel = kernel,
                    .args = {.rows = ROWS,
                             .n_groups = K / group,
                             .group = group,
                             .a = a,
                             .lda = LDA,
                             .sa = sa,
                             .lds = LDS,
                             .b = b,
                             .sb = sb,
                             .start = start,
                             .c = sums,
                             .max_a = 12 + bias,
                             .max_b = 12}};
        kernel->begin(group);
        ck_bench(c, what[i], (double)ROWS * K * COLS, "MAC", time_run, &t);
        kernel->end();
    }
    nyb_free(sums);
    nyb_free(start);
    nyb_free(sb);
    nyb_free(sa);
    nyb_free(b);
    nyb_free(a);
}

/* ---- encoding ---- */

/* The lowest code of a value, by trying all. */
static unsigned code_of(const nyb_format *f, float value)
{
    unsigned code = 0;
    while (code + 1 < f->n_codes && (float)f->units[code] * f->unit != value)
        code++;
    return code;
}

static void random_codes(ck *c, uint32_t cpu)
{
    static const char *const names[] = {"int4", "uint4", "e3m0", "e2m1", "int2"};
    const nyb_format *f = nyb_format_find(names[ck_range(c, 0, 4)]);
    const size_t rows = 8 * ck_range(c, 1, 3), cols = ck_range(c, 1, 300);
    const size_t group = (size_t)16 << ck_range(c, 0, 2);
    const size_t n_bytes = nyb_grouped_code_bytes(f, rows, cols, group);
    float *values = ck_guard(c, rows * cols * sizeof *values, ck_range(c, 0, 1));
    uint8_t *got = ck_guard(c, n_bytes, ck_range(c, 0, 1)), *want = ck_guard(c, n_bytes, true);
    nyb_grouped g = nyb_grouped_view(f, rows, cols, group, want, NULL);
    memset(want, 0, n_bytes);
    for (size_t i = 0; i < rows * cols; i++) {
        values[i] = (float)f->units[ck_rand(c) % f->n_codes] * f->unit;
        nyb_packed_set(&g.packed, i / cols, i % cols, code_of(f, values[i]));
    }
    g.packed.codes = got;
    nyb_grouped_encode_rows(cpu, &g, 0, rows, values);
    ck_same(c, "codes", want, got, n_bytes);
}

typedef struct encoding {
    uint32_t cpu;
    nyb_grouped grouped;
    const float *values;
} encoding;

static void time_encode(void *arg)
{
    const encoding *e = arg;
    nyb_grouped_encode_rows(e->cpu, &e->grouped, 0, e->grouped.packed.rows, e->values);
}

static void check_encoding(ck *c)
{
    for (const nyb_grouped_kernel *const *k = nyb_grouped_kernels; *k; k++) {
        if (!ck_begin(c, "grouped", (*k)->name, (*k)->needs))
            continue;
        for (size_t i = 0; i < ck_cases(c); i++)
            if (ck_case(c, i))
                random_codes(c, (*k)->needs);
        float *values = nyb_alloc(256 * 256 * sizeof *values);
        uint8_t *codes = nyb_alloc(256 * 256 / 2);
        const nyb_format *f = nyb_format_find("e2m1");
        encoding e = {(*k)->needs, nyb_grouped_view(f, 256, 256, 32, codes, NULL), values};
        if (values && codes)
            ck_bench(c, "encode", 256 * 256, "code", time_encode, &e);
        nyb_free(codes);
        nyb_free(values);
        ck_end(c);
    }
}

void check_group(ck *c)
{
    problem *p = nyb_alloc(sizeof *p);
    for (const nyb_group_kernel *const *k = nyb_group_kernels; p && *k; k++) {
        if (!ck_begin(c, "group", (*k)->name, (*k)->needs))
            continue;
        const uint32_t former = nyb_cpu_fp_enter();
        for (size_t i = 0; i < ck_cases(c); i++) {
            if (!ck_case(c, i))
                continue;
            random_run(c, *k, p);
        }
        time_kernel(c, *k);
        nyb_cpu_fp_restore(former);
        ck_end(c);
    }
    nyb_free(p);
    check_encoding(c);
}
