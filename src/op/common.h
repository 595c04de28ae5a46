/* What operators share: checked shapes, blocks of work, canonical sums. */
#ifndef NYB_OP_COMMON_H
#define NYB_OP_COMMON_H

#include "op/elem.h"
#include "op/op.h"

/* ---- shapes ------------------------------------------------------------------------------- */

/* No tensor or parameter has more elements: byte counts derived from it cannot overflow 64 bits. */
#define NYB_OP_SIZE_MAX ((size_t)1 << 40)

/* Every dimension >= 1 (NYB_SHAPE), at most NYB_OP_SIZE_MAX elements (NYB_LIMIT). */
NYB_MUST_CHECK nyb_status nyb_op_check_shape(const char *op, nyb_shape shape, nyb_error *err);

/* The output of a square window that slides over h x w; c channels. Checks in, kernel and stride
 * >= 1, pad <= pad_max, a window that fits, and the output's size. */
NYB_MUST_CHECK nyb_status nyb_op_window(const char *op, const nyb_attr *attr, size_t pad_max,
                                        nyb_shape in, size_t c, nyb_shape *out, nyb_error *err);

/* ---- work --------------------------------------------------------------------------------- */

/* A canonical block: 256 rows, and as many columns as one task takes. Both are fixed, so the
 * results do not know how many threads there are. */
#define NYB_OP_TASK_COLS 512
/* Elements of one elementwise task; a multiple of 16. */
#define NYB_OP_TASK_SIZE 16384

static inline size_t nyb_op_blocks(size_t n, size_t block)
{
    return n / block + (n % block != 0);
}

/* The part of a rows x cols matrix that a task works on. */
typedef struct nyb_op_tile {
    size_t block;     /* row block */
    size_t row, rows; /* rows <= NYB_ELEM_ROWS */
    size_t col, cols; /* cols <= NYB_OP_TASK_COLS */
    size_t at;        /* row * (cols of the matrix) + col */
} nyb_op_tile;

size_t nyb_op_tiles(size_t rows, size_t cols);
nyb_op_tile nyb_op_tile_at(size_t rows, size_t cols, size_t task);

/* to = from, or to += from. */
void nyb_op_copy(const nyb_context *context, const float *from, float *to, size_t n, bool add);

/* ---- canonical sums (NUMERICS, binding resolution 4) -------------------------------------- */

/* sums[j] = sum of column j, cast to float; scratch of nyb_op_column_sums_bytes. */
size_t nyb_op_column_sums_bytes(size_t rows, size_t cols);
void nyb_op_column_sums(const nyb_context *context, const float *x, size_t rows, size_t cols,
                        void *scratch, float *sums);

/* backward of the operators that are products: dparam[1] = the column sums of dout. Scratch as
 * above. */
void nyb_op_bias_backward(const nyb_op_args *args);

/* Sixteen lanes to one, 8, 4, 2, 1, in f32; overwrites them. */
float nyb_op_fold(float lane[16]);

/* The total of a flat vector, taken as rows of 16, zero-filled. Serial. */
double nyb_op_total(const float *x, size_t n);

#endif
