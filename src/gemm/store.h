/* Epilogues: from a block of sums to rows of the output, one source for each instruction set. */
#ifndef NYB_STORE_H
#define NYB_STORE_H

#include "base/cpu.h"
#include "base/rng.h"

/* What sums are worth whose rows or columns have scales of their own:
 * t = sum * scale[m]; if of[m]: t = t + of[m][n] * plus[m]; if cols: t = t * cols[n]. */
typedef struct nyb_store_lines {
    float scale[32], plus[32];
    const float *of[32]; /* [n_valid] each, or NULL */
    const float *cols;   /* [n_valid] or NULL */
} nyb_store_lines;

/* Row m of the sums, NYB_TILE_COLS apart, goes to out[m]:
 * t = sum * scale; if bias: t = t + bias[n]; if add: t = out + t; out = t, each rounded to f32. */
typedef struct nyb_store_args {
    size_t rows, n_valid; /* 1..32 each; sums of other columns may hold anything */
    size_t step;          /* f32: n_valid may be more; from sums of 32 columns to the next 32's */
    float scale;
    const nyb_store_lines *lines; /* NULL, or what makes t instead of scale */
    const float *bias;            /* [n_valid] or NULL */
    bool add;                     /* f32 only */
    bool half;        /* out is bf16 (uint16_t): t to the nearest, ties to even; NaN stays one */
    void *const *out; /* [rows]; NULL: the row is skipped */
    /* half: to one of t's two neighbours instead, up by its 16-bit draw: that of its place in what
     * begins at origin. Or NULL. */
    const nyb_stream *draws;
    const void *origin;
} nyb_store_args;

typedef struct nyb_store_kernel {
    const char *name;                                                /* "avx512", "avx2", "ref" */
    uint32_t needs;                                                  /* NYB_CPU_* */
    void (*of_int)(const int32_t *sums, const nyb_store_args *args); /* rounded to f32 first */
    void (*of_float)(const float *sums, const nyb_store_args *args);
} nyb_store_kernel;

/* Best first, reference last, NULL-terminated; all give the same bits (NaN payloads apart). */
extern const nyb_store_kernel *const nyb_store_kernels[];
extern const nyb_store_kernel nyb_store_ref; /* the specification */

const nyb_store_kernel *nyb_store_choose(uint32_t cpu);

/* n floats from element `at` of a tensor on, to bf16 as an epilogue writes them; origin: element 0.
 */
void nyb_store_floats(const nyb_store_kernel *kernel, const float *from, size_t at, size_t n,
                      const nyb_stream *draws, uint16_t *origin);

/* Element `at` of an output of f32, or of bf16. */
static inline void *nyb_store_at(void *out, bool half, size_t at)
{
    return half ? (void *)((uint16_t *)out + at) : (void *)((float *)out + at);
}

/* The place of an element in an output of bf16. */
static inline uint64_t nyb_store_place(const void *origin, const void *at)
{
    return (uint64_t)((const uint16_t *)at - (const uint16_t *)origin);
}

/* Asks for n elements of a row of outputs, so that they come while its products are summed. */
static inline void nyb_store_fetch(void *row, bool half, size_t n)
{
    const size_t line = 64 / (half ? sizeof(uint16_t) : sizeof(float));

    for (size_t col = 0; col < n; col += line)
        __builtin_prefetch(nyb_store_at(row, half, col), 1);
}

#endif
