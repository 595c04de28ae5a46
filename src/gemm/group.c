/* The grouped tiles there are, best first, and the choice among them. */
#include "gemm/group.h"

const nyb_group_kernel *const nyb_group_kernels[] = {
#if NYB_SIMD
    &nyb_group_amx,  &nyb_group_avx512vnni,
    &nyb_group_avx2,
#endif
    &nyb_group_ref,  NULL,
};

const nyb_group_kernel *nyb_group_kernel_choose(uint32_t cpu)
{
    const nyb_group_kernel *const *kernel = nyb_group_kernels;
    while ((*kernel)->needs & ~cpu)
        kernel++; /* ends at "ref", which needs nothing */
    return *kernel;
}
