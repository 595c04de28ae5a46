/* Products with few rows, straight from the codes: weights pass by once, as 4 bits, and no panels
 * are packed, which would cost more than the product. */
#ifndef NYB_DOT_H
#define NYB_DOT_H

#include "base/cpu.h"
#include "gemm/tile.h"
#include "packed/packed.h"

#define NYB_DOT_ROWS  16 /* with more of them, panels are faster */
#define NYB_DOT_GUARD NYB_BLOCK_CODES

/* c[m][n] = start[m] + sum over k of a[m][k] * lut[code k of row n],
 * 0 <= m < rows, 0 <= n < cols, 0 <= k < pitch, exact modulo 2^32.
 *
 * Codes are read as whole blocks of 128 (packed.h), of which a row may begin and end anywhere; what
 * belongs to its neighbours meets zeros of a:
 *
 *     blocks:       |  128 codes  |  128 codes  |  128 codes  |
 *     row n:              | pitch codes            |
 *     row m of a:   | 0 0 | pitch units            | 0 0 0 0 0 |                            */
typedef struct nyb_dot_args {
    size_t rows, cols;    /* 1 .. NYB_DOT_ROWS, 1 .. NYB_TILE_COLS */
    const int8_t *a;      /* unit 0 of row 0; NYB_DOT_GUARD zeros before each row and behind it */
    size_t lda;           /* from one row to the next */
    const uint8_t *codes; /* of 4 bits, whole blocks */
    size_t first, pitch;  /* row n begins at flat code first + n * pitch, multiples of NYB_PITCH */
    const uint8_t *lut;   /* [16] */
    const int32_t *start; /* [rows] */
    int32_t *c;           /* row m at c + m * NYB_TILE_COLS */
} nyb_dot_args;

typedef struct nyb_dot_kernel {
    const char *name;    /* "avx512vnni", "avx2", "ref" */
    uint32_t needs;      /* NYB_CPU_* */
    int32_t max_product; /* the largest |a| * lut that it sums exactly */
    void (*run)(const nyb_dot_args *args);
} nyb_dot_kernel;

/* Best first, reference last, NULL-terminated. */
extern const nyb_dot_kernel *const nyb_dot_kernels[];
extern const nyb_dot_kernel nyb_dot_avx512vnni, nyb_dot_avx2, nyb_dot_ref;
/* The first that the CPU mask allows; NULL if it does not sum products up to max_product. */
const nyb_dot_kernel *nyb_dot_choose(uint32_t cpu, int32_t max_product);

#endif
