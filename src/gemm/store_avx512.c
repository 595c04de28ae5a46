/* store_ref.c's vocabulary. AES-NI draws: not every CPU with AVX-512 has VAES. */
#include "base/rng_avx2.h"
#include "base/vec_avx512.h"
#include "gemm/store.h"
#include "gemm/tile.h"

static inline vec vec_of_int(const int32_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(p));
}

#define STORE_RECORD nyb_store_avx512
#define STORE_NAME   "avx512"
#define STORE_NEEDS  NYB_CPU_AVX512
#include "gemm/store_kernels.h"
