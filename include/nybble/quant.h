/* Quantization of real arrays: scale choice, rounding, statistics of what was lost. */
#ifndef NYBBLE_QUANT_H
#define NYBBLE_QUANT_H

#include <stdint.h>

#include <nybble/context.h>
#include <nybble/format.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A rule that turns the statistics of a tensor into its scale: absmax, sawb, hindsight, pow2 ... */
typedef struct nyb_scale_rule nyb_scale_rule;
NYB_API size_t nyb_scale_rule_count(void);
NYB_API const nyb_scale_rule *nyb_scale_rule_at(size_t i);
NYB_API const nyb_scale_rule *nyb_scale_rule_find(const char *name);
NYB_API const char *nyb_scale_rule_name(const nyb_scale_rule *rule);
NYB_API const char *nyb_scale_rule_about(const nyb_scale_rule *rule);
NYB_API const char *
nyb_scale_rule_source(const nyb_scale_rule *rule); /* paper or code; "" if none */

/* Over what a scale is shared. X(constant, word, length, sentence). Blocks lie along the product's
 * contraction; a last block may be shorter. */
#define NYB_GROUP_LIST(X)                                                                          \
    X(NYB_GROUP_TENSOR, "tensor", 0, "the whole tensor")                                           \
    X(NYB_GROUP_ROW, "row", 0, "one sample of a batch, one output channel of weights")             \
    X(NYB_GROUP_CHANNEL, "channel", 0, "one position of the last axis over all rows")              \
    X(NYB_GROUP_BLOCK16, "block16", 16, "16 neighbours along the contraction")                     \
    X(NYB_GROUP_BLOCK32, "block32", 32, "32 neighbours along the contraction")                     \
    X(NYB_GROUP_BLOCK64, "block64", 64, "64 neighbours along the contraction")                     \
    X(NYB_GROUP_TILE16, "tile16", 16, "16 x 16: the same along either axis")
typedef enum nyb_group {
#define X(constant, word, length, sentence) constant,
    NYB_GROUP_LIST(X)
#undef X
} nyb_group;

/* An orthogonal transform along the contraction, of both operands of a product, before rounding.
 * X(constant, word, length, sentence). A tail shorter than the length is cut in powers of two. */
#define NYB_MIX_LIST(X)                                                                            \
    X(NYB_MIX_NONE, "none", 0, "no transform")                                                     \
    X(NYB_MIX_HADAMARD16, "hadamard16", 16, "Sylvester-Hadamard of 16, orthonormal")               \
    X(NYB_MIX_HADAMARD32, "hadamard32", 32, "Sylvester-Hadamard of 32")                            \
    X(NYB_MIX_HADAMARD64, "hadamard64", 64, "Sylvester-Hadamard of 64")                            \
    X(NYB_MIX_HADAMARD128, "hadamard128", 128, "Sylvester-Hadamard of 128")                        \
    X(NYB_MIX_RANDOM16, "random_hadamard16", 16, "random signs, drawn each step, then hadamard16") \
    X(NYB_MIX_RANDOM32, "random_hadamard32", 32, "random signs, then hadamard32")                  \
    X(NYB_MIX_RANDOM64, "random_hadamard64", 64, "random signs, then hadamard64")                  \
    X(NYB_MIX_RANDOM128, "random_hadamard128", 128, "random signs, then hadamard128")              \
    X(NYB_MIX_NVIDIA16, "nvidia_hadamard16", 16, "NVIDIA's 16 fixed signs, then hadamard16")       \
    X(NYB_MIX_HOUSEHOLDER, "householder", 0, "StatQuant's block Householder over samples, undone")
typedef enum nyb_mix {
#define X(constant, word, length, sentence) constant,
    NYB_MIX_LIST(X)
#undef X
} nyb_mix;

/* One quantized operand, written format/scale/group/rounding[/mix]:
 * "e3m0/absmax/tensor/stochastic", "e2m1/e8m0/block32/stochastic/random_hadamard32".
 * A rounding that draws random bits takes 16 of them, or 32 if its word is followed by ":32";
 * others are followed by nothing. format "f32" means not quantized; the other members are then
 * ignored. */
typedef struct nyb_spec {
    const nyb_format *format;
    const nyb_scale_rule *scale;
    nyb_group group;
    nyb_rounding rounding;
    int sr_bits; /* random bits of a stochastic rounding: 16 or 32 */
    nyb_mix mix;
} nyb_spec;

/* Trailing parts may be left out and take the format's defaults (integers: absmax/tensor/nearest;
 * e3m0: absmax/tensor/stochastic; floats of more than 8 bits, bf16 and fp16 among them:
 * unit/tensor/nearest, that is, a cast). Unknown words are NYB_UNKNOWN with the valid ones;
 * impossible combinations (flush on an integer grid) and NULL NYB_INVALID. */
NYB_API NYB_MUST_CHECK nyb_status nyb_spec_parse(const char *text, nyb_spec *spec, nyb_error *err);
/* Writes those words; returns what snprintf would. */
NYB_API int nyb_spec_print(const nyb_spec *spec, char *text, size_t n_bytes);

/* What quantizing one tensor lost. Fractions of n; n = 0 gives zeros. */
typedef struct nyb_quant_stats {
    uint64_t n, n_nan, n_inf;
    double amax;      /* largest finite |x|                         */
    double scale;     /* of the tensor, without factors (int4m, uint4m); 0: groups have their own */
    double zero;      /* fraction of x equal to 0                   */
    double underflow; /* fraction of x != 0 whose code is zero      */
    double clip;      /* fraction of x beyond the least and largest value of its group; NaN: not
                         known, as x was mixed */
    double mse, bias; /* means of (q - x)^2, q - x over finite x    */
} nyb_quant_stats;

/* Quantizes a row-major rows x cols array with scales from its own statistics; groups and mixes run
 * along the columns.
 *   codes: rows*cols bytes, one code each (formats of at most 8 bits, no Householder mix, else
 *   NYB_INVALID), or NULL
 *   values: rows*cols dequantized f32, a mix taken back, or NULL; may be x
 *   stats: or NULL
 * seed, step, draw (below 256) select the random bits (NUMERICS 0.2, role 15, tensor 0); the same
 * arguments always give the same codes.
 * NaN is encoded as 0 is: code 0, but 7 of nf4 and 1 of binary, which has no 0, and the nearest to
 * 0 where a rule has an offset. Inf becomes the largest value, -Inf the least (0 of uintN); if
 * nothing is finite, the scale is 0. stats counts them; f32 copies them; what a mix combines with
 * them is not finite either.
 * NYB_INVALID for NULL, for specs that nyb_spec_parse would refuse and for draw; NYB_LIMIT,
 * NYB_MEMORY. No rows or no columns are fine, and x may then be NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_quantize(nyb_context *context, const nyb_spec *spec,
                                               const float *x, size_t rows, size_t cols,
                                               uint64_t seed, uint32_t step, uint32_t draw,
                                               uint8_t *codes, float *values,
                                               nyb_quant_stats *stats, nyb_error *err);

/* The same in its parts, whichever are not NULL; mixed values stay mixed (of a Householder mix:
 * those of the reflected rows, whose codes, scales and offsets these are):
 *   value = offset + (decode(code) * scale) * level
 * scales, offsets: one per group, nyb_quant_group_count of them, row after row of blocks or tiles;
 * of int4m and uint4m one per 16 codes of a row, factor included (rounded: values, which are
 * (decode(code) * factor) * scale, may differ in the last bit).
 * Errors as above; also NYB_INVALID for f32. */
NYB_API NYB_MUST_CHECK nyb_status nyb_quantize_groups(nyb_context *context, const nyb_spec *spec,
                                                      const float *x, size_t rows, size_t cols,
                                                      uint64_t seed, uint32_t step, uint32_t draw,
                                                      uint8_t *codes, float *values, float *scales,
                                                      float *offsets, float *level, nyb_error *err);
/* 0 without elements, for NULL and for specs that nyb_spec_parse would refuse; 1 for f32. */
NYB_API size_t nyb_quant_group_count(const nyb_spec *spec, size_t rows, size_t cols);

#ifdef __cplusplus
}
#endif
#endif
