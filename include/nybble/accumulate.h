/* Accumulators of reduced precision: how a product adds up, and what that loses. */
#ifndef NYBBLE_ACCUMULATE_H
#define NYBBLE_ACCUMULATE_H

#include <nybble/gemm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How one product adds up. format f32 (or NULL): exactly (s8 engine) or in canonical f32. Else
 *   tot = 0; for each chunk of products, k ascending: s = 0; s = rnd(s + a * b); tot = rnd(tot + s)
 * with a * b and each sum rounded to f32 first, and rnd to the nearest value of the format, or to
 * one of the two neighbours by chance; the largest where it does not reach. Integer formats clamp s
 * instead, and add tot in f32 (docs/accumulators.md). */
typedef struct nyb_accum {
    const nyb_format *format; /* of every partial sum */
    int chunk;             /* products in one chain; chunk sums are then added in order; 0: all */
    nyb_rounding rounding; /* nearest, or stochastic (floating formats) */
    int random_bits; /* stochastic: 1 .. 23 - mantissa bits, those that decide; 0: all of them */
} nyb_accum;

/* format[/chunk][/rounding]: "e6m9/64", "fp16", "int16/32", "f32", "e6m5/64/stochastic",
 * "e6m5/stochastic:13" (13 random bits). NYB_UNKNOWN for words that do not exist, NYB_INVALID for
 * what cannot accumulate. */
NYB_API NYB_MUST_CHECK nyb_status nyb_accum_parse(const char *text, nyb_accum *accum,
                                                  nyb_error *err);
/* Writes what parse reads, without defaults; returns what snprintf would. */
NYB_API int nyb_accum_print(const nyb_accum *accum, char *text, size_t n_bytes);

/* Mantissa bits of a floating accumulator (23 for f32); 0 for an integer. */
NYB_API int nyb_accum_mantissa(const nyb_accum *accum);

/* As nyb_plan_create, with an accumulator; the engine's name is then "accumulate". Packed operands
 * are multiplied as codes (values at scale 1, or whole units for an integer accumulator), and the
 * scales after the last sum. */
NYB_API NYB_MUST_CHECK nyb_status nyb_plan_create_accum(nyb_context *context, nyb_plan_kind kind,
                                                        nyb_image image, size_t o, size_t r,
                                                        size_t s, size_t stride, size_t pad,
                                                        const nyb_format *a, const nyb_format *b,
                                                        const nyb_accum *accum, nyb_plan **plan,
                                                        nyb_error *err);
/* A plan of nyb_matmul_y, dx or dw for matrices like a and b: of their shapes and formats, and
 * whose rows have scales, and offsets, of their own where those of a and b have. accum NULL: exact;
 * rows with scales are values to an accumulator. NYB_INVALID for NULL and what cannot be
 * accumulated, NYB_SHAPE, NYB_LIMIT, NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_plan_create_matmul(nyb_context *context, nyb_plan_kind kind,
                                                         const nyb_matrix *a, const nyb_matrix *b,
                                                         const nyb_accum *accum, nyb_plan **plan,
                                                         nyb_error *err);
/* From now on the random bits of a stochastic accumulator are those of (seed, step); before: of
 * (0, 0). No effect on other plans. */
NYB_API void nyb_plan_seed(nyb_plan *plan, uint64_t seed, uint32_t step);

/* ---- what is lost -----------------------------------------------------------------------------
 */

/* What additions did, those of 0 not counted. */
typedef struct nyb_accum_stats {
    uint64_t n;
    uint64_t full;    /* lost their addend: the sum stayed as it was (swamping) */
    uint64_t partial; /* lost a part of an operand */
} nyb_accum_stats;

/* Dot products of Gaussian vectors, quantized, against their exact sums. */
typedef struct nyb_accum_loss {
    uint64_t n, trials;
    int product_bits;     /* mantissa bits of the products: those of both factors, and 1 */
    double retention;     /* variance of the sums over the variance of the exact sums */
    double error;         /* root mean square error, in standard deviations of the exact sums */
    nyb_accum_stats adds; /* over all trials, chunk sums included */
} nyb_accum_loss;

/* Up to 4096 dot products of length n (1 .. 2^22), of which each operand is drawn from a standard
 * normal distribution and quantized as a tensor of its own; seed selects the draws. Factors are
 * codes as in nyb_plan_create_accum, or real values where a spec cannot be packed. f32 stands for
 * an f32 sum in chunks of 4096. All accumulators see the same vectors; losses: [n_accums]. */
NYB_API NYB_MUST_CHECK nyb_status nyb_accum_measure(nyb_context *context, const nyb_accum *accums,
                                                    size_t n_accums, const nyb_spec *a,
                                                    const nyb_spec *b, size_t n, uint64_t seed,
                                                    nyb_accum_loss *losses, nyb_error *err);

/* The variance retention ratio of Sakr et al. (ICLR 2019, arXiv:1901.06588): variance of a sum of
 * n random products of product_bits mantissa bits in an accumulator of accum_bits, over that of the
 * exact sum. 1 <= product_bits, accum_bits <= 30; 1 for n < 2; NaN for n > 2^26 (each addition is
 * looked at). */
NYB_API double nyb_vrr(int accum_bits, int product_bits, uint64_t n);
/* The same for chunks (>= 1): the ratio within a chunk times the one over chunk sums; NaN where
 * either is of more than 2^26, and for chunks of 0. */
NYB_API double nyb_vrr_chunked(int accum_bits, int product_bits, uint64_t n, uint64_t chunk);

/* Which sum must keep its variance: e^(length (1 - VRR)) < 50. X(constant, word, sentence) */
#define NYB_VRR_RULE_LIST(X)                                                                       \
    X(NYB_VRR_LEVELS, "levels", "within chunks, and over chunk sums, each by its own length")      \
    X(NYB_VRR_TOTAL, "total", "all of it by the total length: more cautious")
typedef enum nyb_vrr_rule {
#define X(constant, word, sentence) constant,
    NYB_VRR_RULE_LIST(X)
#undef X
} nyb_vrr_rule;

/* The smallest sufficient mantissa, from min(product_bits, 4) to 23 bits; 0 if there is none.
 * chunk 0: one chain of n, for which both rules agree; more than 2^26 in one chain: 0. */
NYB_API int nyb_vrr_mantissa(int product_bits, uint64_t n, uint64_t chunk, nyb_vrr_rule rule);

#ifdef __cplusplus
}
#endif
#endif
