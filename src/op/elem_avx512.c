/* elem_ref.c's vocabulary. */
#include "base/vec_avx512.h"
#include "op/elem.h"

static inline unsigned vec_above_zero(vec v)
{
    return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NLE_UQ);
}

static inline vec vec_keep(vec v, unsigned bits)
{
    return _mm512_maskz_mov_ps((__mmask16)bits, v);
}

#define ELEM_RECORD nyb_elem_avx512
#define ELEM_NAME   "avx512"
#define ELEM_NEEDS  NYB_CPU_AVX512
#include "op/elem_kernels.h"
