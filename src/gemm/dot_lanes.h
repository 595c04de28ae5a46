/* What the vector kernels of dot.h share: where columns lie, and blocks of rows and columns. */
#ifndef NYB_DOT_LANES_H
#define NYB_DOT_LANES_H

#include "gemm/dot.h"
#include "gemm/tile_unroll.h"

/* A column's blocks, and row 0 of a where the first of them begins. */
typedef struct dot_column {
    const uint8_t *block;
    const int8_t *a;
    size_t n_blocks;
} dot_column;

static inline dot_column dot_column_of(const nyb_dot_args *args, size_t n)
{
    const size_t flat = args->first + n * args->pitch, phase = flat % NYB_BLOCK_CODES;

    return (dot_column){
        .block = args->codes + flat / NYB_BLOCK_CODES * NYB_BLOCK_BYTES,
        .a = args->a - phase,
        .n_blocks = nyb_div_up(phase + args->pitch, NYB_BLOCK_CODES),
    };
}

#endif
