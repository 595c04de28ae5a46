/* Packing of the s8 tiles, one set an instruction set: members of nyb_tile_s8. */
#ifndef NYB_TILE_PACK_H
#define NYB_TILE_PACK_H

#include "gemm/tile.h"

#define NYB_TILE_PACK(isa)                                                                         \
    void nyb_tile_unpack_##isa(const uint8_t *codes, size_t first, size_t n,                       \
                               const uint8_t lut[16], uint8_t *out);                               \
    void nyb_tile_pack_rows_##isa(const int8_t *src, size_t ld, const uint32_t *src_step,          \
                                  const uint8_t *valid, size_t n_steps, size_t n_valid,            \
                                  int8_t *panel, nyb_tile_sums *sums);                             \
    void nyb_tile_pack_cols_##isa(const int8_t *src, size_t ld, size_t k_valid, size_t n_valid,    \
                                  size_t n_steps, int8_t *panel, nyb_tile_sums *sums);             \
    void nyb_tile_transpose_##isa(const uint8_t *src, size_t lds, size_t rows, size_t cols,        \
                                  uint8_t *dst, size_t ldd)

NYB_TILE_PACK(avx512);
NYB_TILE_PACK(avx2);

#endif
