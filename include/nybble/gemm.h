/* Matrix products and layers on quantized operands, without a graph. */
#ifndef NYBBLE_GEMM_H
#define NYBBLE_GEMM_H

#include <nybble/quant.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix of codes at rest: 4-bit codes packed two to a byte, and one scale, or a scale and an
 * offset for each row; of int4m and uint4m also a factor for each 16 codes of a row. */
typedef struct nyb_matrix nyb_matrix;

/* NYB_OK if such matrices can be packed: formats of at most 8 bits, no mix, and either one scale
 * (group 'tensor') without offset, or rows (group 'row': an output channel of w, a sample of x).
 * Else NYB_INVALID and why not: what nyb_quantize makes of them are values. */
NYB_API NYB_MUST_CHECK nyb_status nyb_matrix_check(const nyb_spec *spec, nyb_error *err);
/* Quantizes and packs a row-major rows x cols array; seed, step, draw as in nyb_quantize.
 * NYB_INVALID for NULL, for what nyb_matrix_check refuses and for draw, NYB_SHAPE without elements,
 * NYB_LIMIT, NYB_MEMORY; *matrix is then NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_matrix_create(nyb_context *context, const nyb_spec *spec,
                                                    const float *x, size_t rows, size_t cols,
                                                    uint64_t seed, uint32_t step, uint32_t draw,
                                                    nyb_matrix **matrix, nyb_error *err);
/* A matrix of the caller's codes [rows][cols], a byte each, which are worth decode(code) * scale.
 * NYB_INVALID for NULL, formats without matrices and those with factors (int4m, uint4m), codes that
 * do not exist, a scale that is not finite; NYB_SHAPE, NYB_LIMIT, NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_matrix_create_codes(const nyb_format *format,
                                                          const uint8_t *codes, size_t rows,
                                                          size_t cols, float scale,
                                                          nyb_matrix **matrix, nyb_error *err);
/* The same, where those of row i are worth offsets[i] + decode(code) * scales[i], each operation
 * rounded; offsets NULL: none. */
NYB_API NYB_MUST_CHECK nyb_status nyb_matrix_create_rows(const nyb_format *format,
                                                         const uint8_t *codes, size_t rows,
                                                         size_t cols, const float *scales,
                                                         const float *offsets, nyb_matrix **matrix,
                                                         nyb_error *err);
NYB_API void nyb_matrix_destroy(nyb_matrix **matrix);
NYB_API size_t nyb_matrix_rows(const nyb_matrix *matrix);
NYB_API size_t nyb_matrix_cols(const nyb_matrix *matrix);
NYB_API size_t nyb_matrix_bytes(const nyb_matrix *matrix); /* packed codes, factors, rows' scales */
/* Without factors; 1 where rows have scales of their own. */
NYB_API float nyb_matrix_scale(const nyb_matrix *matrix);
/* Of a row, of every matrix; 0 outside it. */
NYB_API float nyb_matrix_row_scale(const nyb_matrix *matrix, size_t row);
NYB_API float nyb_matrix_row_offset(const nyb_matrix *matrix, size_t row);
/* What it is worth: values [rows][cols]. */
NYB_API void nyb_matrix_decode(const nyb_matrix *matrix, float *values);
/* 0 outside the matrix. */
NYB_API unsigned nyb_matrix_code(const nyb_matrix *matrix, size_t row, size_t col);

/* The three products of a linear layer x [m][k], w [n][k], dy [m][n]:
 *   y [m][n] = x w' (+ bias [n] or NULL);  dx [m][k] = dy w;  dw [n][k] = dy' x.
 * Where both formats are integers (nyb_format_is_integer): exact sums of code values times factors,
 * then (float)sum * (scale_a * scale_b). Rows with scales of their own are summed so where they are
 * rows of the result, or w's rows its columns:
 *   y:  t = (float)sum * (scale of x's row * s); t = t + (float)(sum of w's row of units) * (offset
 *       of x's row * a unit of w), unless that offset is 0; t = t * scale of w's row. s: w's scale,
 *       or 1 where its rows have scales, times a unit of both
 *   dx: the same of dy's rows, with the sums of w's columns
 * each operation rounded. Else (offsets of w's rows, scales inside a sum, other formats) the
 * values, scales included, are summed as f32 arrays are below. bias is added to the result, rounded
 * once more. NYB_INVALID for NULL, NYB_SHAPE for matrices that do not fit, NYB_LIMIT, NYB_MEMORY.
 */
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_y(nyb_context *context, const nyb_matrix *x,
                                               const nyb_matrix *w, const float *bias, float *y,
                                               nyb_error *err);
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_dx(nyb_context *context, const nyb_matrix *dy,
                                                const nyb_matrix *w, float *dx, nyb_error *err);
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_dw(nyb_context *context, const nyb_matrix *dy,
                                                const nyb_matrix *x, float *dw, nyb_error *err);

/* The same three on f32 arrays in the canonical order: sum = fmaf(a, b, sum) from +0, ascending
 * along the contraction (k of y, n of dx, m of dw) in chunks of 4096, whose sums are then added in
 * ascending order. Errors as above; NYB_SHAPE if m, n or k is 0. */
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_f32_y(nyb_context *context, const float *x,
                                                   const float *w, const float *bias, size_t m,
                                                   size_t n, size_t k, float *y, nyb_error *err);
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_f32_dx(nyb_context *context, const float *dy,
                                                    const float *w, size_t m, size_t n, size_t k,
                                                    float *dx, nyb_error *err);
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_f32_dw(nyb_context *context, const float *dy,
                                                    const float *x, size_t m, size_t n, size_t k,
                                                    float *dw, nyb_error *err);

/* Codes with a scale for each block of 16, 32 or 64 along a row, the contraction (MXFP4, NVFP4,
 * block INT4 ...), as nyb_quantize_groups makes them. A row has ceil(cols / block) scales; its last
 * block may be shorter. */
typedef struct nyb_block_matrix {
    const nyb_format *format;
    size_t rows, cols, block;
    const uint8_t *codes; /* [rows][cols], a byte each */
    const float *scales;  /* [rows][ceil(cols / block)]; NULL: all 1 */
    float level;          /* of the whole matrix: NVFP4's second scale; else 1 */
} nyb_block_matrix;

/* The length of a spec's blocks, if nyb_matmul_blocks multiplies what nyb_quantize_groups makes of
 * it: small integers times a unit in blocks along a row, nothing mixed, no offsets. Else 0. */
NYB_API size_t nyb_spec_block(const nyb_spec *spec);

/* y [m][n] = x w' of x [m][k], w [n][k] with blocks of one length. For each y, from sum = +0, over
 * the blocks in ascending order:
 *   sum = fmaf(exact sum of the block's products of values, scale_x * scale_w, sum)
 *   y = sum * (level_x * level_w)
 * where the exact sum is rounded to f32, and so is each product of two scales or levels, which must
 * be finite. dx is such a product of dy and w', dw of dy' and x', quantized that way around.
 * NYB_SHAPE if columns or blocks do not agree, NYB_INVALID for formats that are not small integers
 * times a unit, codes that do not exist, scales or products of them that are not finite, NYB_LIMIT,
 * NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_matmul_blocks(nyb_context *context, const nyb_block_matrix *x,
                                                    const nyb_block_matrix *w, float *y,
                                                    nyb_error *err);

/* A convolution's forward: x [n][h][w][c] packed as n*h*w rows of c, weights [o][r][s][c] packed as
 * o*r*s rows of c; y [n][oh][ow][o], oh = (h + 2 pad - r) / stride + 1, ow likewise; bias [o] or
 * NULL. pad < r, s. NYB_SHAPE if these do not agree, NYB_LIMIT if a size overflows, NYB_INVALID for
 * formats without a product and for rows with scales of their own, NYB_MEMORY. */
typedef struct nyb_image {
    size_t n, h, w, c;
} nyb_image;
NYB_API NYB_MUST_CHECK nyb_status nyb_convolve_y(nyb_context *context, const nyb_matrix *x,
                                                 nyb_image image, const nyb_matrix *w, size_t o,
                                                 size_t r, size_t s, size_t stride, size_t pad,
                                                 const float *bias, float *y, nyb_error *err);

/* A reusable product plan, for loops and benchmarks: no allocation in nyb_plan_run. The context
 * must outlive it. a and b are the formats of x, w (Y), dy, w (DX) or dy, x (DW), whose shapes the
 * caller answers for: n*h*w rows of c, n*oh*ow rows of o, o*r*s rows of c. out: y [n][oh][ow][o],
 * dx [n][h][w][c], dw [o][r][s][c]. Matrices have one scale each (else nyb_plan_create_matmul).
 * Errors are those of nyb_convolve_y; *plan is then NULL. */
typedef struct nyb_plan nyb_plan;
typedef enum nyb_plan_kind { NYB_PLAN_Y, NYB_PLAN_DX, NYB_PLAN_DW } nyb_plan_kind;
NYB_API NYB_MUST_CHECK nyb_status nyb_plan_create(nyb_context *context, nyb_plan_kind kind,
                                                  nyb_image image, size_t o, size_t r, size_t s,
                                                  size_t stride, size_t pad, const nyb_format *a,
                                                  const nyb_format *b, nyb_plan **plan,
                                                  nyb_error *err);
/* The same of a depthwise convolution, one filter of r x s for each channel: w and dw are c rows of
 * r * s, dy and y have c channels. NYB_LIMIT also beyond 63 x 63 or 32768 pixels of width. */
NYB_API NYB_MUST_CHECK nyb_status nyb_plan_create_depthwise(
    nyb_context *context, nyb_plan_kind kind, nyb_image image, size_t r, size_t s, size_t stride,
    size_t pad, const nyb_format *a, const nyb_format *b, nyb_plan **plan, nyb_error *err);
NYB_API void nyb_plan_destroy(nyb_plan **plan);
NYB_API const char *nyb_plan_engine(const nyb_plan *plan);
NYB_API const char *nyb_plan_kernel(const nyb_plan *plan);
NYB_API void nyb_plan_run(nyb_plan *plan, const nyb_matrix *a, const nyb_matrix *b, float *out);
/* Operands in f32 (plan created with format f32 for both). */
NYB_API void nyb_plan_run_f32(nyb_plan *plan, const float *a, const float *b, float *out);

#ifdef __cplusplus
}
#endif
#endif
