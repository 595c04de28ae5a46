#include "gemm/store.h"

#include "base/base.h"
#include "gemm/tile.h"

extern const nyb_store_kernel nyb_store_avx512, nyb_store_avx2;

const nyb_store_kernel *const nyb_store_kernels[] = {
#if NYB_SIMD
    &nyb_store_avx512,
    &nyb_store_avx2,
#endif
    &nyb_store_ref,
    NULL,
};

void nyb_store_floats(const nyb_store_kernel *kernel, const float *from, size_t at, size_t n,
                      const nyb_stream *draws, uint16_t *origin)
{
    float block[NYB_TILE_COLS] = {0};

    for (size_t i = 0; i < n; i += NYB_TILE_COLS) {
        const size_t part = nyb_min(NYB_TILE_COLS, n - i);
        void *const out = origin + at + i;

        memcpy(block, from + at + i, part * sizeof *block);
        kernel->of_float(block, &(nyb_store_args){.rows = 1,
                                                  .n_valid = part,
                                                  .scale = 1,
                                                  .half = true,
                                                  .out = &out,
                                                  .draws = draws,
                                                  .origin = origin});
    }
}

const nyb_store_kernel *nyb_store_choose(uint32_t cpu)
{
    const nyb_store_kernel *const *k = nyb_store_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}
