/* The tiles there are, best first, and the choice among them. */
#include "gemm/tile.h"

const nyb_tile_s8 *const nyb_tile_s8_list[] = {
#if NYB_SIMD
    &nyb_tile_s8_amx,  &nyb_tile_s8_avx512vnni,
    &nyb_tile_s8_avx2,
#endif
    &nyb_tile_s8_ref,  NULL,
};

const nyb_tile_f32 *const nyb_tile_f32_list[] = {
#if NYB_SIMD
    &nyb_tile_f32_avx512vbmi, &nyb_tile_f32_avx512,
    &nyb_tile_f32_avx2,
#endif
    &nyb_tile_f32_ref,        NULL,
};

static bool sums_exactly(const nyb_tile_s8 *tile, int32_t max_a, bool a_signed, int32_t max_b)
{
    const int64_t largest_byte = tile->a_biased && a_signed ? 2 * (int64_t)max_a : max_a;
    return largest_byte * max_b <= tile->max_product;
}

const nyb_tile_s8 *nyb_tile_s8_choose(uint32_t cpu, int32_t max_a, bool a_signed, int32_t max_b)
{
    const nyb_tile_s8 *const *tile = nyb_tile_s8_list;
    while (((*tile)->needs & ~cpu) || !sums_exactly(*tile, max_a, a_signed, max_b))
        tile++; /* ends at "ref", which needs nothing and sums every pair of bytes */
    return *tile;
}

const nyb_tile_f32 *nyb_tile_f32_choose(uint32_t cpu)
{
    const nyb_tile_f32 *const *tile = nyb_tile_f32_list;
    while ((*tile)->needs & ~cpu)
        tile++;
    return *tile;
}
