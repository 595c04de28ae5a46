/* Tile kernels: one block of 32 columns of a matrix product, and the packing they read. */
#ifndef NYB_TILE_H
#define NYB_TILE_H

#include "base/cpu.h"

/* ============================ s8: exact integer products ==================================== *
 *
 * c[m][n] (+)= sum over k of a[m][k] * b[k][n],   0 <= m < rows <= 32,  0 <= n < 32
 *
 * K: a list of steps of 64: step i multiplies a's at a_step[i] by b's number b_step[i]. It need not
 *    have all steps of a panel: what is known to be zero is left out.
 *
 * A: bytes, one row per m, `lda` bytes apart (rows may overlap: lda may be smaller than K): step i
 *    of row m is the 64 bytes at a + m * lda + a_step[i].
 *    A byte is unit + bias, where bias is 0 for kernels with a_biased = false, else args.bias
 *    (the largest |unit| of a signed format, 0 of an unsigned one): u8 x s8 instructions. Largest
 *    over all codes that may come: code 8 of int4 is -8, which files may hold though encoders
 *    never produce it.
 *    Bytes whose b is zero may hold anything.
 *
 * B: the panel of 32 columns, for each step 2 KB as [2][16 k4][16 n][4 k] (two AMX tiles). b units
 *    are signed bytes. 64-byte aligned.
 *
 *        panel:  step 0: | n 0..15: k4=0: n0k0 n0k1 n0k2 n0k3 n1k0 .. n15k3 | k4=1 .. k4=15 |
 *                        | n 16..31: the same                                               |
 *                step 1 ...
 *
 *    Apart from it, where bias is not 0, the sums of each step's 32 columns, which let a biased
 *    kernel subtract bias * sum.
 * C: int32, row m at c + m * 32 (4 KB block, 64-byte aligned).
 * Sums are exact modulo 2^32; callers keep K * max product below 2^31.                        */
#define NYB_TILE_ROWS       32
#define NYB_TILE_COLS       32
#define NYB_TILE_BLOCK      (NYB_TILE_ROWS * NYB_TILE_COLS) /* sums */
#define NYB_TILE_STEP       64
#define NYB_TILE_STEP_BYTES 2048 /* of b */
#define NYB_TILE_SUMS_BYTES 128  /* of a step's column sums */

/* Of each column of a step the sum of its b with k % 4 < 2, and of the others: what two
 * neighbouring int16 hold after vpmaddubsw. */
typedef struct nyb_tile_sums {
    int16_t of[NYB_TILE_COLS][2];
} nyb_tile_sums;
_Static_assert(sizeof(nyb_tile_sums) == NYB_TILE_SUMS_BYTES, "sums of a step");

/* Where b[k][n] of one step lies in its 2 KB; k < 64, n < 32. */
static inline size_t nyb_tile_s8_offset(size_t k, size_t n)
{
    return n / 16 * 1024 + k / 4 * 64 + n % 16 * 4 + k % 4;
}

typedef struct nyb_tile_s8_args {
    size_t rows;    /* 1..32 */
    size_t n_steps; /* >= 1 */
    const uint8_t *a;
    size_t lda;
    const uint32_t *a_step; /* [n_steps] byte offsets */
    const int8_t *b;
    const uint32_t *b_step;    /* [n_steps] numbers of steps in b and sums */
    const nyb_tile_sums *sums; /* [steps of b], 64-byte aligned; not read if bias is 0 */
    const uint8_t *valid;      /* [steps of b] k of each from which on b is zero: a kernel may leave
                                  them out; NULL: 64 */
    int32_t *c;
    bool accumulate;      /* c += instead of c = */
    bool narrow;          /* only columns 0..15 are wanted; c's others hold anything afterwards */
    int32_t bias;         /* see A */
    int32_t max_a, max_b; /* largest byte of a (with bias) and |b|: bounds for int16 partials */
} nyb_tile_s8_args;

static inline const int8_t *nyb_tile_step_of_b(const nyb_tile_s8_args *args, size_t i)
{
    return args->b + (size_t)args->b_step[i] * NYB_TILE_STEP_BYTES;
}

#define NYB_TILE_PIECE 16 /* k of kernels that leave out some */

/* Lines of four k of step i that need be summed, a multiple of 4. */
static inline size_t nyb_tile_lines(const nyb_tile_s8_args *args, size_t i)
{
    const size_t k = args->valid ? args->valid[args->b_step[i]] : NYB_TILE_STEP;
    return (k + NYB_TILE_PIECE - 1) / NYB_TILE_PIECE * (NYB_TILE_PIECE / 4);
}

typedef struct nyb_tile_s8 {
    const char *name; /* "amx", "avx512vnni", "avx2", "ref" */
    uint32_t needs;   /* NYB_CPU_* */
    bool a_biased;
    /* What plans count on: rows and k (those that args.valid does not leave out) are summed by so
     * many together, with so many multiply-adds a cycle, about. */
    size_t row_piece, k_piece;
    uint32_t macs;
    int32_t max_product; /* largest max_a * max_b that it sums exactly */

    void (*begin)(void); /* per thread, before a batch of run() (AMX: tile configuration) */
    void (*end)(void);
    void (*run)(const nyb_tile_s8_args *args);

    /* out[i] = lut[code first+i], 0 <= i < n; first and n multiples of 16; codes in nybble order
     * (packed.h). lut has 16 bytes (unit, plus bias if a_biased). out need not be aligned. */
    void (*unpack)(const uint8_t *codes, size_t first, size_t n, const uint8_t lut[16],
                   uint8_t *out);

    /* Panel from 32 rows n of k-contiguous bytes (fwd weights): fills steps [0, n_steps) from
     * src[n * ld + src_step[i] + 0..63], and, unless NULL, their sums. Rows >= n_valid are zero,
     * and bytes k >= valid[i] of step i are zero (valid[i] <= 64). */
    void (*pack_rows)(const int8_t *src, size_t ld, const uint32_t *src_step, const uint8_t *valid,
                      size_t n_steps, size_t n_valid, int8_t *panel, nyb_tile_sums *sums);

    /* Panel from rows k of n-contiguous bytes (dX weights; X of dW): step i holds rows
     * k = 64 i .. of src + k * ld, columns 0..31; rows >= k_valid and columns >= n_valid are
     * zero. n_steps = ceil(k_valid / 64) or more. sums as pack_rows. */
    void (*pack_cols)(const int8_t *src, size_t ld, size_t k_valid, size_t n_valid, size_t n_steps,
                      int8_t *panel, nyb_tile_sums *sums);

    /* dst[col * ldd + row] = src[row * lds + col] for rows x cols bytes (A of dW). Reads no byte
     * outside rows x cols, writes none outside cols x rows. */
    void (*transpose)(const uint8_t *src, size_t lds, size_t rows, size_t cols, uint8_t *dst,
                      size_t ldd);
} nyb_tile_s8;

/* Best first, reference last, NULL-terminated. */
extern const nyb_tile_s8 *const nyb_tile_s8_list[];
extern const nyb_tile_s8 nyb_tile_s8_amx, nyb_tile_s8_avx512vnni, nyb_tile_s8_avx2, nyb_tile_s8_ref;
/* The first that the CPU mask allows and that sums max_a * max_b exactly. For a biased kernel the
 * largest a byte is max_a + bias (twice max_a if signed). Never NULL. */
const nyb_tile_s8 *nyb_tile_s8_choose(uint32_t cpu, int32_t max_a, bool a_signed, int32_t max_b);

/* ============================ f32: canonical order ========================================== *
 *
 * c[m][n] = fmaf chain from +0 over k ascending (one accumulator), then, if accumulate, added to
 * the former c: NUMERICS binding resolution 5 (the caller cuts k in chunks of 4096).
 * A: row m, k given by runs: run i is run_len[i] floats at a + m * lda + run_off[i].
 * B: panel [k][32 n], k in the same order. C: float, row m at c + m * 32.                        */
typedef struct nyb_tile_f32_args {
    size_t rows; /* 1..32 */
    size_t n_runs;
    const float *a;
    size_t lda;
    const uint32_t *run_off, *run_len; /* floats */
    const float *b;
    float *c;
    bool accumulate;
    bool
        resume; /* the chain goes on from c, where a run over the k before left it (and not both) */
    bool narrow; /* only columns 0..15 are wanted; c's others hold anything afterwards */
} nyb_tile_f32_args;

typedef struct nyb_tile_f32 {
    const char *name; /* "avx512vbmi", "avx512", "avx2", "ref" */
    uint32_t needs;
    void (*run)(const nyb_tile_f32_args *args);
    /* dst[col * ldd + row] = src[row * lds + col] */
    void (*transpose)(const float *src, size_t lds, size_t rows, size_t cols, float *dst,
                      size_t ldd);
    /* out[i] = values[code first + i], 0 <= i < n; first and n multiples of 16; codes of 4 bits in
     * nybble order (packed.h), or of 8. values has an element for each code. */
    void (*decode)(const uint8_t *codes, unsigned bits, const float *values, size_t first, size_t n,
                   float *out);
} nyb_tile_f32;

extern const uint8_t nyb_tile_codes[16]; /* the lut of unpack that leaves codes as they are */
extern const nyb_tile_f32 *const nyb_tile_f32_list[];
extern const nyb_tile_f32 nyb_tile_f32_avx512vbmi, nyb_tile_f32_avx512, nyb_tile_f32_avx2,
    nyb_tile_f32_ref;
const nyb_tile_f32 *nyb_tile_f32_choose(uint32_t cpu);

#endif
