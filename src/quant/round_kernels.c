/* The list of rounding variants. */
#include "quant/round.h"

const nyb_round_kernel *const nyb_round_kernels[] = {
#if NYB_SIMD
    &nyb_round_avx512,
    &nyb_round_avx2,
#endif
    &nyb_round_ref,
    NULL,
};

const nyb_round_kernel *nyb_round_kernel_choose(uint32_t cpu)
{
    const nyb_round_kernel *const *k = nyb_round_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}
