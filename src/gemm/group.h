/* Tile kernels of grouped products: exact integer sums inside a group, scaled in group order. */
#ifndef NYB_GROUP_H
#define NYB_GROUP_H

#include "gemm/tile.h"

/* For 0 <= m < rows and 0 <= n < 32, with acc = +0, or c[m][n] if accumulate:
 *
 *     for g = 0, 1 .. n_groups - 1:
 *         isum = sum over k in group g of a[m][k] * b[k][n]                   (exact, int32)
 *         acc = fmaf((float)isum, sa[m][g] * sb[g][n], acc)                   (product rounded)
 *     c[m][n] = acc
 *
 * A group has 16, 32 or 64 k. Rows come in blocks of 12: a, sa and c have memory for rows rounded
 * up to them, what the rows past `rows` hold is arbitrary (c's are written).
 *
 * A: bytes, k contiguous: row m at a + m * lda. A byte is unit + bias as in tile.h.
 * B: the panel of 32 columns that nyb_tile_s8's pack_rows makes, of n_groups * group / 64 steps
 *    (rounded up; k past the last group is not read):
 *
 *        step i: | n 0..15:  k4=0: n0k0 n0k1 n0k2 n0k3 n1k0 .. n15k3 | k4=1 .. k4=15 |   1 KB
 *                | n 16..31: the same                                               |   1 KB
 *
 *    group g of G codes is the lines k4 = (g * G % 64) / 4 .. + G / 4 of both halves of step
 *    g * G / 64. n past the last column are zeros.
 * sb, start: 32 per group. start = -bias * (sum of the group's b), what a biased A makes of zeros.
 * c: row m at c + m * 32. a, b, sb, start, c are 64-byte aligned. */
#define NYB_GROUP_ROWS 12 /* 12 x 32 sums are 24 of 32 AVX-512 registers */

/* Where the group that begins at k begins in a panel: columns 0..15; 16..31 are 1 KB further. */
static inline size_t nyb_group_offset(size_t k)
{
    return k / NYB_TILE_STEP * NYB_TILE_STEP_BYTES + k % NYB_TILE_STEP * 16;
}

typedef struct nyb_group_args {
    size_t rows, n_groups; /* >= 1 */
    size_t group;          /* 16, 32 or 64 */
    const uint8_t *a;
    size_t lda; /* bytes */
    const float *sa;
    size_t lds; /* floats */
    const int8_t *b;
    const float *sb;
    const int32_t *start;
    float *c;
    bool accumulate;
    bool narrow;          /* only columns 0..15 are wanted; c's others hold anything afterwards */
    int32_t max_a, max_b; /* largest byte of a (with bias) and |b|: bounds for int16 partial sums */
} nyb_group_args;

typedef struct nyb_group_kernel {
    const char *name;        /* "amx", "avx512vnni", "avx2", "ref" */
    uint32_t needs;          /* NYB_CPU_* */
    const nyb_tile_s8 *tile; /* whose unpack, pack_rows and a_biased hold here, too */

    void (*begin)(size_t group); /* per thread, before a batch of run() of that group size */
    void (*end)(void);
    void (*run)(const nyb_group_args *args);
} nyb_group_kernel;

/* Best first, reference last, NULL-terminated. */
extern const nyb_group_kernel *const nyb_group_kernels[];
extern const nyb_group_kernel nyb_group_amx, nyb_group_avx512vnni, nyb_group_avx2, nyb_group_ref;
/* The first that the CPU mask allows. Never NULL. */
const nyb_group_kernel *nyb_group_kernel_choose(uint32_t cpu);

#endif
