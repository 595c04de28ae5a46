/* StatQuant's block Householder quantizer (BHQ): large samples share their range with small ones.
 */
#ifndef NYB_HOUSEHOLDER_H
#define NYB_HOUSEHOLDER_H

#include "quant/round.h"

/* How rows (samples) of one matrix are grouped, and the factors of each group: Chen et al., NeurIPS
 * 2020, NUMERICS 5.3. Group g: the rows row[first[g]] (its leader: a large range) to
 * row[first[g + 1] - 1] (its followers, smaller ranges, in descending order). Leaders descend. */
struct nyb_householder {
    size_t n_rows, n_groups;
    uint32_t *row;   /* [n_rows] a permutation */
    uint32_t *first; /* [n_groups + 1] */
    float *s1, *s2;  /* [n_groups] factors of the leader, of the followers; a lone row: 1 */
};

/* Bytes of memory, 8-byte aligned, for a plan of that many rows (below 2^32). */
size_t nyb_householder_plan_bytes(size_t n_rows);
/* The plan for rows of these ranges (max - min + 1e-8; all > 0, finite). The plan lives in memory,
 * as long as the caller keeps that. n_rows >= 1; a single row is a group of its own. */
void nyb_householder_plan(const float *range, size_t n_rows, void *memory, nyb_householder *plan);

/* y = T x and y = T^-1 x: in each group H diag(s1, s2, s2 ...) and diag(1/s1, 1/s2 ...) H. x:
 * n_rows x cols; y may be x. Elements that are not finite count as 0. Bits do not depend on
 * context. */
void nyb_householder_apply(const nyb_context *context, const nyb_householder *plan, const float *x,
                           size_t cols, float *y);
void nyb_householder_invert(const nyb_context *context, const nyb_householder *plan, const float *x,
                            size_t cols, float *y);

/* values = T^-1 Q(T x), Q: each row of T x on its own by psq (spec->format, an unsigned integer
 * format; rounding, sr_bits; group and scale are not read). x: rows x cols, may be values. The
 * stream index is first + row * cols + col. Unbiased with stochastic rounding. scratch: 64-byte
 * aligned. */
size_t nyb_householder_scratch_bytes(size_t rows);
void nyb_householder_round(const nyb_context *context, const nyb_spec *spec,
                           const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                           size_t cols, float *values, void *scratch);
/* Q(T x) in its parts: values of the codes at scale 1 (rows x cols, may be x), and a line for each
 * row. plan: T, in memory of nyb_householder_plan_bytes. scratch: as above. rows, cols >= 1. */
void nyb_householder_grid(const nyb_context *context, const nyb_spec *spec,
                          const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                          size_t cols, float *grid, nyb_line *lines, void *memory,
                          nyb_householder *plan, void *scratch);
/* The codes of Q(T x), and out's lines (one for each row of x; they are as long in out as the whole
 * is): what out is worth is in the basis of T. values: memory for as many elements as x has.
 * The rest as above. */
void nyb_householder_pack(const nyb_context *context, const nyb_spec *spec,
                          const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                          size_t cols, float *values, nyb_packed *out, void *memory,
                          nyb_householder *plan, void *scratch);

#endif
