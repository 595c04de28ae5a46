/* Number formats: what each code of a format is worth. */
#ifndef NYBBLE_FORMAT_H
#define NYBBLE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include <nybble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An immutable record, for good. value(code) = decode(code) * scale; of int4m and uint4m
 * decode(code) * factor * scale, the factor a small integer that 16 codes of a row share. */
typedef struct nyb_format nyb_format;

/* How a real value goes to its grid. X(constant, word, sentence)
 * On a LOG2 grid (e3m0) "below" is |x| < alpha, the smallest magnitude. NUMERICS 1.3 and binding
 * resolution 3; the last three are the ablations of LUQ's Fig. 2. */
#define NYB_ROUNDING_LIST(X)                                                                       \
    X(NYB_ROUND_NEAREST, "nearest", "nearest; ties to even, powers of two up (RDNP)")              \
    X(NYB_ROUND_STOCHASTIC, "stochastic", "unbiased: up with probability of the fraction")         \
    X(NYB_ROUND_FLUSH, "flush", "LOG2: below alpha to zero, nearest power above")                  \
    X(NYB_ROUND_UNDERFLOW, "underflow", "LOG2: stochastic below alpha, nearest power above")       \
    X(NYB_ROUND_FLUSH_STOCHASTIC, "flush-stochastic", "LOG2: below alpha to zero, stochastic above")

typedef enum nyb_rounding {
#define X(constant, word, sentence) constant,
    NYB_ROUNDING_LIST(X)
#undef X
} nyb_rounding;

/* The number of formats, and the i-th (0 <= i < count) in the order `nybble format list` shows. */
NYB_API size_t nyb_format_count(void);
NYB_API const nyb_format *nyb_format_at(size_t i);

/* NULL if no format has this name. Beside the list there are generic ones: eXmY or eXmYbB is a
 * sign, X exponent bits (1..8), Y mantissa bits (0..23) and a bias B (0 .. 150 - Y, from 127 on
 * if X = 8; default 2^(X-1) - 1), with subnormals. X = 8 with a bias of 127 has f32's top exponent,
 * Inf and NaN; others have neither. Names of the list win, and need not follow this rule: e1m2 has
 * a bias of 1. A name always gives the same record. */
NYB_API const nyb_format *nyb_format_find(const char *name);

/* As find, but a failure (NYB_UNKNOWN, NYB_INVALID, also for NULL, NYB_MEMORY) says what is
 * possible. */
NYB_API NYB_MUST_CHECK nyb_status nyb_format_parse(const char *name, const nyb_format **format,
                                                   nyb_error *err);

NYB_API const char *nyb_format_name(const nyb_format *format);
NYB_API const char *nyb_format_about(const nyb_format *format);
/* Bits of one code: 2, 4, 8 ...; f32, which has no codes, gives 32. */
NYB_API int nyb_format_bits(const nyb_format *format);
/* The value of a code at scale 1 (0 <= code < 2^bits). NaN codes give a quiet NaN. */
NYB_API float nyb_format_decode(const nyb_format *format, unsigned code);
/* The code of x at scale 1; f32 gives 0. Rounding `stochastic` goes away from zero if r23 (23
 * random bits) plus floor(2^23 f) reaches 2^23, f the position of |x| between its neighbours; other
 * roundings do not read r23. What is beyond the largest value becomes that value if `saturate`,
 * else the code of Inf, or of NaN, of formats that have one. NaN becomes NaN, or what 0 becomes
 * where there is none. */
NYB_API unsigned nyb_format_encode(const nyb_format *format, float x, nyb_rounding rounding,
                                   uint32_t r23, int saturate);
/* Largest finite value at scale 1 that an encoder produces; of negative ones only the lowest of
 * int2f, int4f and int8f is larger in magnitude. */
NYB_API float nyb_format_max(const nyb_format *format);

/* What codes of a sign, an exponent and a mantissa have beside their bits. */
typedef struct nyb_format_fields {
    int exp_bits, man_bits, bias;
    int subnormals;       /* exponent 0 holds numbers below min_normal, too  */
    float min_normal;     /* smallest with a full mantissa                   */
    float min;            /* smallest positive                               */
    const char *specials; /* where Inf and NaN are                           */
    const char *ties;     /* where nearest takes them                        */
} nyb_format_fields;
/* False, and fields as they were, if a format's codes are not made so (integers, tables, f32). */
NYB_API int nyb_format_get_fields(const nyb_format *format, nyb_format_fields *fields);
/* True if all codes are small integers times one unit: operands of the exact s8 engine. */
NYB_API int nyb_format_is_integer(const nyb_format *format);

#ifdef __cplusplus
}
#endif
#endif
