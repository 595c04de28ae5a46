#include "op/elem.h"

extern const nyb_elem_kernel nyb_elem_avx512, nyb_elem_avx2;

const nyb_elem_kernel *const nyb_elem_kernels[] = {
#if NYB_SIMD
    &nyb_elem_avx512,
    &nyb_elem_avx2,
#endif
    &nyb_elem_ref,
    NULL,
};

const nyb_elem_kernel *nyb_elem_choose(uint32_t cpu)
{
    const nyb_elem_kernel *const *k = nyb_elem_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}
