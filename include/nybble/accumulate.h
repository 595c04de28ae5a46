/* Accumulators of reduced precision: how a product adds up, and what that loses. */
#ifndef NYBBLE_ACCUMULATE_H
#define NYBBLE_ACCUMULATE_H

#include <nybble/gemm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How one product adds up. format f32 (or NULL): exactly (s8 engine) or in canonical f32. Else
 *   tot = 0; for each chunk of products, k ascending: s = 0; s = rnd(s + a * b); tot = rnd(tot + s)
 * with a * b and each sum rounded to f32 first, and rnd to the nearest value of the format, the
 * largest where it does not reach. Integer formats clamp s instead, and add tot in f32
 * (docs/accumulators.md). */
typedef struct nyb_accum {
    const nyb_format *format; /* of every partial sum */
    int chunk;             /* products in one chain; chunk sums are then added in order; 0: all */
    nyb_rounding rounding; /* nearest */
} nyb_accum;

/* format[/chunk][/rounding]: "e6m9/64", "fp16", "int16/32", "f32". NYB_UNKNOWN for words that do
 * not exist, NYB_INVALID for what cannot accumulate. */
NYB_API NYB_MUST_CHECK nyb_status nyb_accum_parse(const char *text, nyb_accum *accum,
                                                  nyb_error *err);
/* Writes what parse reads, without defaults; returns what snprintf would. */
NYB_API int nyb_accum_print(const nyb_accum *accum, char *text, size_t n_bytes);

/* What additions did, those of 0 not counted. */
typedef struct nyb_accum_stats {
    uint64_t n;
    uint64_t full;    /* lost their addend: the sum stayed as it was (swamping) */
    uint64_t partial; /* lost a part of an operand */
} nyb_accum_stats;

#ifdef __cplusplus
}
#endif
#endif
