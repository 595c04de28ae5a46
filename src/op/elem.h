/* The memory-bound loops of a training step, one source compiled for each instruction set. */
#ifndef NYB_ELEM_H
#define NYB_ELEM_H

#include "base/cpu.h"

/* Rows of one canonical block (NUMERICS, binding resolution 4). */
#define NYB_ELEM_ROWS 256

typedef struct nyb_elem_sgd {
    float lr, momentum, weight_decay; /* 0 leaves the operation out */
    bool nesterov;
} nyb_elem_sgd;

/* A matrix as it was stored: one of the two, the other NULL. */
typedef struct nyb_elem_in {
    const float *f32;
    const uint16_t *bf16;
} nyb_elem_in;

/* Channels of one pixel of a pooling window; winner, where a window's maximum was: its tap. */
typedef struct nyb_elem_pixel {
    const float *value;
    const uint8_t *winner;
    uint8_t tap;
} nyb_elem_pixel;

/* "rows x cols, ld apart" is a part of a row-major matrix whose rows begin ld floats apart. Every
 * operation named below is one rounding; lane arithmetic is per column, so vector width is free.
 * Rows of a result with an ld of its own (ld_y, ld_dx) may lie closer.
 * Elementwise functions may work in place. rows >= 1; n and cols may be 0. */
typedef struct nyb_elem_kernel {
    const char *name; /* "avx512", "avx2", "ref" */
    uint32_t needs;   /* NYB_CPU_* */

    /* sum[j] = ((x[0][j] + x[1][j]) + x[2][j]) ...; rows <= 256. */
    void (*column_sums)(const float *x, size_t rows, size_t cols, size_t ld, float *sum);

    /* Shifted sums of a block, rows <= 256: shift = (sum of the first m = min(16, rows) rows) *
     * (1/m); d = x - shift; sum += d; square += d * d (product rounded), rows ascending from +0.
     * stored: not NULL, of an f32 x: x rounded to the nearest bf16 (ties to even) is written there,
     * and is the x of the sums. */
    void (*bn_stats)(nyb_elem_in x, size_t rows, size_t cols, size_t ld, uint16_t *stored,
                     float *shift, float *sum, float *square);
    /* y = (x - mean) * scale + beta */
    void (*bn_apply)(nyb_elem_in x, size_t rows, size_t cols, size_t ld, const float *mean,
                     const float *scale, const float *beta, float *y, size_t ld_y);
    /* sum_dy += dy; sum_dyx += dy * (x - mean), rows ascending from +0; rows <= 256. Here and below
     * dy is bf16 only where x is. */
    void (*bn_back_sums)(nyb_elem_in dy, nyb_elem_in x, size_t rows, size_t cols, size_t ld,
                         const float *mean, float *sum_dy, float *sum_dyx);
    /* dx = ((dy - k1) - (x - mean) * k2) * scale; coef: mean, k1, k2, scale. add: dx += that. */
    void (*bn_back_apply)(nyb_elem_in dy, nyb_elem_in x, size_t rows, size_t cols, size_t ld,
                          const float *const coef[4], float *dx, size_t ld_dx, bool add);

    /* Batch normalisation and relu in one pass, the bits of the two. cols and ld are multiples of
     * 16; mask has a bit for each element of the matrix: row r begins at mask + r * ld / 8. */

    /* y = relu(bn_apply's y, or, if residual, that + residual), with relu's mask (NULL: none). */
    void (*bn_relu)(nyb_elem_in x, size_t rows, size_t cols, size_t ld, const float *mean,
                    const float *scale, const float *beta, const float *residual, float *y,
                    size_t ld_y, uint8_t *mask);
    /* As bn_back_sums of kept = bit ? dy : +0; kept NULL: not stored. May be in place. */
    void (*bn_relu_back_sums)(nyb_elem_in dy, const uint8_t *mask, nyb_elem_in x, size_t rows,
                              size_t cols, size_t ld, const float *mean, float *kept, float *sum_dy,
                              float *sum_dyx);
    /* As bn_back_apply of bit ? dy : +0. */
    void (*bn_relu_back_apply)(nyb_elem_in dy, const uint8_t *mask, nyb_elem_in x, size_t rows,
                               size_t cols, size_t ld, const float *const coef[4], float *dx,
                               size_t ld_dx, bool add);

    /* Bit i % 8 of mask[i / 8] = !(x[i] <= 0); y = bit ? x : +0. NaN passes. Writes (n + 7) / 8
     * bytes of mask, the bits past n zero; mask may be NULL. */
    void (*relu)(const float *x, size_t n, float *y, uint8_t *mask);
    /* dx = bit ? dy : +0; add: dx += that. */
    void (*relu_back)(const float *dy, const uint8_t *mask, size_t n, float *dx, bool add);
    /* y[j] = the first of the largest value[j], a NaN counting as larger than all before it;
     * winner[j] = its tap (NULL: not wanted). n_pixels >= 1. */
    void (*pool_max)(const nyb_elem_pixel *pixels, size_t n_pixels, size_t n, float *y,
                     uint8_t *winner);
    /* dx[j] += winner[j] == tap ? value[j] : +0, for each pixel in turn. */
    void (*pool_max_back)(const nyb_elem_pixel *pixels, size_t n_pixels, size_t n, float *dx);
    /* y = a + b */
    void (*add)(const float *a, const float *b, size_t n, float *y);
    /* One step of optim.h's nyb_sgd_run; v is not touched if momentum is 0. */
    void (*sgd)(const nyb_elem_sgd *sgd, float *w, float *v, const float *g, size_t n);
} nyb_elem_kernel;

/* Best first, reference last, NULL-terminated; all give the same bits (NaN payloads apart). */
extern const nyb_elem_kernel *const nyb_elem_kernels[];
extern const nyb_elem_kernel nyb_elem_ref; /* the specification */

const nyb_elem_kernel *nyb_elem_choose(uint32_t cpu);

#endif
