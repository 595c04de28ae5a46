/* store_ref.c's vocabulary. */
#include "base/rng_avx2.h"
#include "base/vec_avx2.h"
#include "gemm/store.h"
#include "gemm/tile.h"

static inline vec vec_of_int(const int32_t *p)
{
    return (vec){_mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)p)),
                 _mm256_cvtepi32_ps(_mm256_loadu_si256((const void *)(p + 8)))};
}

#define STORE_RECORD nyb_store_avx2
#define STORE_NAME   "avx2"
#define STORE_NEEDS  NYB_CPU_AVX2
#include "gemm/store_kernels.h"
