/* The record of a number format: codes, their values, and the grid an encoder rounds to. */
#ifndef NYB_FORMAT_INTERNAL_H
#define NYB_FORMAT_INTERNAL_H

#include <nybble/format.h>

#include "base/base.h"
#include "registry.h"

/* The shape of a format's set of values: all an encoder needs to know. */
typedef enum nyb_grid {
    NYB_GRID_REAL,  /* f32: no codes, no rounding                                             */
    NYB_GRID_INT,   /* code = two's complement (or unsigned) integer, lo <= integer <= hi     */
    NYB_GRID_LOG2,  /* code = sign << (bits-1) | e; e = 0 is zero, else magnitude 2^(e-1)     */
    NYB_GRID_FLOAT, /* sign, exponent, mantissa: see nyb_float_grid                           */
    NYB_GRID_TABLE /* any set of values: `value` sorted by code; if signed and not ascending, a sign
                      bit on top of sorted magnitudes                                            */
} nyb_grid;

/* What the codes of the top exponent (and of -0) mean. */
typedef enum nyb_special {
    NYB_SPECIAL_NONE,  /* all codes are numbers (OCP FP4, FP6; generic eXmY)                     */
    NYB_SPECIAL_IEEE,  /* the top exponent is Inf (mantissa 0) and NaN                           */
    NYB_SPECIAL_FN,    /* only the code of all ones is NaN, no Inf (OCP E4M3)                    */
    NYB_SPECIAL_FNUZ,  /* the code of -0 is NaN, there is no -0 (E4M3B11FNUZ)                    */
    NYB_SPECIAL_MERGED /* the code of all ones is NaN and Inf in one (IBM's DL formats)          */
} nyb_special;

/* GRID_FLOAT. code = sign | exponent E | mantissa M, from the top bit down; E > 0 (or !subnormals):
 * 2^(E-bias) (1 + M / 2^man_bits); E = 0 with subnormals: 2^(1-bias) M / 2^man_bits; without: code
 * 0 alone is zero. NUMERICS 3.0. Codes have 1 + exp_bits + man_bits bits. */
typedef struct nyb_float_grid {
    uint8_t exp_bits, man_bits; /* 1 .. 8, 0 .. 23 */
    int16_t bias;
    bool subnormals;
    bool ties_away; /* nearest takes ties away from zero (DLFloat16), else to even codes */
    nyb_special special;
} nyb_float_grid;

struct nyb_format {
    const char *name;
    const char *about;
    nyb_grid grid;
    uint8_t bits;     /* of a code at rest: 4 or 8 (2-bit formats rest in 4); 16 or 32 for the wider
                         ones, which are never packed                                             */
    uint32_t n_codes; /* codes are 0 .. n_codes - 1: int2 4, int4 16; f32 and 32-bit codes 0      */
    bool is_signed;   /* holds values below zero                                                  */
    bool ascending;   /* GRID_TABLE: values ascend over all codes (nf4, binary): no sign bit      */
    bool ties_up;     /* GRID_TABLE: nearest takes ties to the higher of two codes, ascending
                         tables else to the lower one (nf4), others to the even one               */
    int16_t lo, hi;   /* GRID_INT: the integers an encoder produces                        */
    int16_t max_unit; /* largest |units[c]| an encoder produces (int4 7, int4f 8, uint4 15, e3m0
                         64); 0: not an operand of the s8 engine                           */
    uint8_t multiples; /* packed only: each 16 codes of a row share a factor 1 .. multiples, so that
                          multiples * max_unit <= 127 is an operand of the s8 engine; 0: none */
    uint8_t shift;     /* GRID_INT that goes beyond int8: code - shift is the operand of the s8
                          engine, where another number than 0 stands for 0; else 0           */
    float unit;        /* value of one unit: 1; e2m1 0.5                                    */
    float max;         /* largest finite value at scale 1: max_unit * unit (int4f 7), or own */
    const int8_t *units; /* [2^bits] integer worth of each code, or NULL                      */
    nyb_float_grid fp;   /* GRID_FLOAT, with units if they are small integers (e2m1)          */
    const float *value;  /* [n_codes] other grids without units: value of each code           */
};

/* True if the rounding reads random bits. */
bool nyb_rounding_draws(nyb_rounding rounding);

/* nyb_format_encode(x * inv) of a LOG2 format, rounded once. */
unsigned nyb_format_encode_log2(const nyb_format *format, float inv, float x, nyb_rounding rounding,
                                uint32_t r23);

/* The format of a generic name (generic.c): NYB_UNKNOWN if it is no such name. */
NYB_MUST_CHECK nyb_status nyb_format_generic(const char *name, const nyb_format **format,
                                             nyb_error *err);
#define NYB_FORMAT_GENERIC_SYNTAX "eXmY or eXmYbB with X 1..8, Y 0..23"

/* The least value at scale 1; max is the largest. */
static inline float nyb_format_least(const nyb_format *format)
{
    if (format->grid == NYB_GRID_INT)
        return format->lo;
    return format->is_signed ? -format->max : 0.0f;
}

/* The largest magnitude at scale 1: max, but for int4f's -8. */
static inline float nyb_format_largest(const nyb_format *format)
{
    const float least = -nyb_format_least(format);

    return least > format->max ? least : format->max;
}

/* What a clip is the magnitude of: max at scale 1, factor included. */
static inline float nyb_format_reach(const nyb_format *format)
{
    return format->multiples ? format->max * (float)format->multiples : format->max;
}

/* All formats, NULL-terminated; f32 first. Adding one: its file, and its word in the list of
 * src/format/meson.build. */
extern const nyb_format *const nyb_formats[];

/* nyb_format_f32, nyb_format_int4 ...: their addresses are constants, for static initialisers. */
#define X(word) extern const nyb_format nyb_format_##word;
NYB_FORMAT_LIST(X)
#undef X

#endif
