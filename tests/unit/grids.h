/* Grids of all kinds for tests of rounding: those of published formats, and edges that none has. */
#ifndef GRIDS_H
#define GRIDS_H

#include <math.h>

#include "format/format.h"

#define GRIDS_MAX 64

/* A FLOAT format from its parameters. */
static inline nyb_format grid_float(const char *name, nyb_float_grid fp)
{
    const int top = (1 << fp.exp_bits) - 1 - (fp.special == NYB_SPECIAL_IEEE);
    const int codes = 1 << fp.man_bits;
    const int man =
        codes - 1 -
        ((fp.special == NYB_SPECIAL_FN || fp.special == NYB_SPECIAL_MERGED) && fp.man_bits > 0);

    return (nyb_format){
        .name = name,
        .grid = NYB_GRID_FLOAT,
        .bits = fp.exp_bits + fp.man_bits < 8 ? 8 : 32,
        .n_codes = fp.exp_bits + fp.man_bits < 31 ? 1u << (1 + fp.exp_bits + fp.man_bits) : 0,
        .is_signed = true,
        .unit = 1.0f,
        .max = (float)ldexp(1 + (double)man / codes, top - fp.bias),
        .fp = fp};
}

static float grid_integers[1 << 16]; /* by code; grids_make fills it */

/* In two's complement of 16 bits. */
static inline nyb_format grid_int(const char *name, int16_t lo, int16_t hi)
{
    return (nyb_format){.name = name,
                        .grid = NYB_GRID_INT,
                        .bits = 16,
                        .n_codes = 1u << 16,
                        .is_signed = lo < 0,
                        .lo = lo,
                        .hi = hi,
                        .unit = 1.0f,
                        .max = hi,
                        .value = grid_integers};
}

static inline nyb_format grid_table(const char *name, bool is_signed, const float value[16])
{
    return (nyb_format){.name = name,
                        .grid = NYB_GRID_TABLE,
                        .bits = 4,
                        .n_codes = 16,
                        .is_signed = is_signed,
                        .unit = 1.0f,
                        .max = value[is_signed ? 7 : 15],
                        .value = value};
}

/* Fills grids, returns how many. */
static inline size_t grids_make(nyb_format grids[GRIDS_MAX])
{
    static const float evens[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                    -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    static const float odds[16] = {0,     0.3f,  1.1f,  5.3f,  5.4f,  99,  1000.7f,  1e9f,
                                   -0.0f, -0.3f, -1.1f, -5.3f, -5.4f, -99, -1000.7f, -1e9f};
    static const float fibonacci[16] = {0,  1,  2,  3,   5,   8,   13,  21,
                                        34, 55, 89, 144, 233, 377, 610, 987};
    size_t n = 0;

    for (int i = 0; i < 1 << 16; i++)
        grid_integers[i] = (float)(i < 1 << 15 ? i : i - (1 << 16));
#define FLOAT(...) grids[n++] = grid_float(#__VA_ARGS__, (nyb_float_grid){__VA_ARGS__})
    FLOAT(2, 1, 1, true, false, NYB_SPECIAL_NONE);     /* e2m1 */
    FLOAT(1, 2, 1, true, false, NYB_SPECIAL_NONE);     /* e1m2 */
    FLOAT(3, 2, 3, true, false, NYB_SPECIAL_NONE);     /* e3m2 */
    FLOAT(2, 3, 1, true, false, NYB_SPECIAL_NONE);     /* e2m3 */
    FLOAT(4, 3, 7, true, false, NYB_SPECIAL_FN);       /* e4m3fn */
    FLOAT(5, 2, 15, true, false, NYB_SPECIAL_IEEE);    /* e5m2 */
    FLOAT(4, 3, 7, true, false, NYB_SPECIAL_IEEE);     /* e4m3 */
    FLOAT(4, 3, 11, true, false, NYB_SPECIAL_FNUZ);    /* e4m3b11 */
    FLOAT(4, 3, 11, false, false, NYB_SPECIAL_MERGED); /* e4m3dl11 */
    FLOAT(5, 2, 15, false, false, NYB_SPECIAL_MERGED); /* e5m2dl15 */
    FLOAT(6, 9, 31, false, true, NYB_SPECIAL_MERGED);  /* dlfloat16 */
    FLOAT(6, 9, 31, true, false, NYB_SPECIAL_NONE);    /* e6m9 */
    FLOAT(5, 10, 15, true, false, NYB_SPECIAL_IEEE);   /* fp16 */
    FLOAT(8, 7, 127, true, false, NYB_SPECIAL_IEEE);   /* bf16 */
    FLOAT(8, 10, 127, true, false, NYB_SPECIAL_IEEE);  /* tf32 */
    FLOAT(4, 2, 1, false, false, NYB_SPECIAL_NONE);    /* fp7 */
    /* the same with the other rules */
    FLOAT(4, 3, 7, true, true, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 7, false, true, NYB_SPECIAL_NONE);
    FLOAT(8, 7, 127, false, true, NYB_SPECIAL_IEEE);
    FLOAT(8, 7, 127, false, false, NYB_SPECIAL_IEEE);
    /* no mantissa: the code's parity is its exponent's */
    FLOAT(4, 0, 7, true, false, NYB_SPECIAL_NONE);
    FLOAT(4, 0, 8, false, false, NYB_SPECIAL_NONE);
    FLOAT(4, 0, 8, true, true, NYB_SPECIAL_NONE);
    FLOAT(3, 0, 0, true, false, NYB_SPECIAL_NONE);
    FLOAT(8, 0, 128, true, false, NYB_SPECIAL_NONE);
    /* the widest mantissas, the strangest biases */
    FLOAT(5, 21, 15, true, false, NYB_SPECIAL_NONE);
    FLOAT(5, 22, 15, true, false, NYB_SPECIAL_NONE);
    FLOAT(5, 23, 15, true, false, NYB_SPECIAL_NONE);
    FLOAT(5, 22, 15, false, true, NYB_SPECIAL_NONE);
    FLOAT(2, 1, 140, true, false, NYB_SPECIAL_NONE); /* f32 subnormals alone */
    FLOAT(8, 23, 127, true, false, NYB_SPECIAL_IEEE);
    FLOAT(7, 8, 63, true, false, NYB_SPECIAL_NONE);
    FLOAT(7, 8, 0, true, false, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 120, true, false, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 126, true, false, NYB_SPECIAL_NONE);
    FLOAT(4, 9, 125, true, false, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 126, false, false, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 81, false, false, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 80, false, true, NYB_SPECIAL_NONE);
    FLOAT(4, 3, 131, true, false, NYB_SPECIAL_NONE);
    FLOAT(2, 1, -100, true, false, NYB_SPECIAL_NONE);
    FLOAT(2, 1, -123, true, false, NYB_SPECIAL_NONE);
    FLOAT(2, 1, -123, false, false, NYB_SPECIAL_NONE);
#undef FLOAT
    grids[n++] = grid_int("-1..1", -1, 1);
    grids[n++] = grid_int("-8..15", -8, 15);
    grids[n++] = grid_int("0..255", 0, 255);
    grids[n++] = grid_int("-32767..32767", -32767, 32767);
    grids[n++] = grid_table("evens", true, evens); /* ties to even codes */
    grids[n++] = grid_table("odds", true, odds);   /* differences are not numbers of f32 */
    grids[n++] = grid_table("fibonacci", false, fibonacci);
    return n;
}

#endif
