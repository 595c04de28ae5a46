/* Blocks to packed 4-bit codes in one pass over registers. */
#ifndef NYB_CODES_H
#define NYB_CODES_H

#include "quant/round.h"

/* How codes follow from t = x * inv, by a table that a signed integer of 7 bits looks up:
 *
 *     nearest: floor(2 t) + ceil(2 t) in units of the format: even numbers are multiples of half a
 *              unit, where ties are, odd numbers lie between two of them
 *     drawn:   t plus the random part of the distance to the next value, towards zero to units
 *
 * so every format of 4 bits whose values are at most 31 units large has one. */
typedef struct nyb_codes_plan {
    float factor; /* of inv: 2 / unit, or 1 / unit */
    bool draws;
    float most;         /* drawn: largest magnitude, in units */
    float least;        /* drawn: values from here on have man_bits bits after their first */
    float ulp;          /* 2^-man_bits */
    uint8_t codes[128]; /* of the integer's low 7 bits */
} nyb_codes_plan;

/* False if the spec has no such table. */
bool nyb_codes_plan_init(const nyb_spec *spec, nyb_codes_plan *plan);

/* Non-finite elements and factors beyond 2^120 are for nyb_round_vector and nyb_round_lanes. */
typedef struct nyb_codes_kernel {
    const char *name;
    uint32_t needs;
    /* absmax[j] = the largest magnitude of `n` rows' element col + j, j < lanes <= 16, not finite
     * if one is not; subnormals count as 0. Other lanes: 0. */
    void (*rows_absmax)(const float *const *rows, size_t n, size_t col, size_t lanes,
                        float absmax[16]);
    /* absmax[g] of n_groups <= 16 groups of `group` contiguous elements; others 0. */
    void (*absmax)(const float *x, size_t n_groups, size_t group, float absmax[16]);
    /* Packed codes of columns col + j, j < lanes, of 128 rows; inv[i / group][j] is a row's factor,
     * plan->factor included. r23: rows of col.., ld apart; not read unless the plan draws. */
    void (*columns)(const nyb_codes_plan *plan, const float *const rows[128], size_t col,
                    size_t lanes, const float (*inv)[16], size_t group, const uint32_t *r23,
                    size_t ld, uint8_t codes[16][64]);
    /* Of 128 contiguous elements; inv[i / group]. */
    void (*along)(const nyb_codes_plan *plan, const float x[128], const float *inv, size_t group,
                  const uint32_t *r23, uint8_t codes[64]);
} nyb_codes_kernel;

/* Best first, NULL-terminated. */
extern const nyb_codes_kernel *const nyb_codes_kernels[];
/* The first that the CPU mask allows; NULL if there is none: values are rounded, then encoded. */
const nyb_codes_kernel *nyb_codes_kernel_choose(uint32_t cpu);

#endif
