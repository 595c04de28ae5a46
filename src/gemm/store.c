#include "gemm/store.h"

extern const nyb_store_kernel nyb_store_avx512, nyb_store_avx2;

const nyb_store_kernel *const nyb_store_kernels[] = {
#if NYB_SIMD
    &nyb_store_avx512,
    &nyb_store_avx2,
#endif
    &nyb_store_ref,
    NULL,
};

const nyb_store_kernel *nyb_store_choose(uint32_t cpu)
{
    const nyb_store_kernel *const *k = nyb_store_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}
