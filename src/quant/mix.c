/* Hadamard mixes: their lengths, their signs, their kernels. */
#include "quant/mix.h"

const nyb_mix_kernel *const nyb_mix_kernels[] = {
#if NYB_SIMD
    &nyb_mix_avx512,
    &nyb_mix_avx2,
#endif
    &nyb_mix_ref,
    NULL,
};

const nyb_mix_kernel *nyb_mix_kernel_choose(uint32_t cpu)
{
    const nyb_mix_kernel *const *k = nyb_mix_kernels;

    while ((*k)->needs & ~cpu)
        k++; /* ends at "ref", which needs nothing */
    return *k;
}

size_t nyb_mix_length(nyb_mix mix)
{
    static const uint8_t length[] = {
#define X(constant, word, length, sentence) [constant] = (length),
        NYB_MIX_LIST(X)
#undef X
    };

    return length[mix];
}

float nyb_mix_norm(size_t n)
{
    float norm = 1.0f;

    for (; n >= 4; n /= 4)
        norm *= 0.5f;
    return n == 2 ? norm * 0x1.6a09e6p-1f : norm; /* 1 / sqrt(2) */
}

/* The fixed vector of NVIDIA's NVFP4 recipe (NUMERICS 7.4). */
static const float nvidia_signs[16] = {1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1};

static const float *draw_signs(nyb_mix mix, const nyb_stream *stream, float *signs)
{
    uint32_t block[4];

    nyb_rng_block(stream, 0, block);
    for (size_t i = 0; i < nyb_mix_length(mix); i++)
        signs[i] = block[i / 32] >> i % 32 & 1 ? -1.0f : 1.0f;
    return signs;
}

const float *nyb_mix_signs(nyb_mix mix, const nyb_stream *stream, float signs[128])
{
    switch (mix) {
    case NYB_MIX_RANDOM16:
    case NYB_MIX_RANDOM32:
    case NYB_MIX_RANDOM64:
    case NYB_MIX_RANDOM128:
        return draw_signs(mix, stream, signs);
    case NYB_MIX_NVIDIA16:
        return memcpy(signs, nvidia_signs, sizeof nvidia_signs);
    case NYB_MIX_NONE:
    case NYB_MIX_HADAMARD16:
    case NYB_MIX_HADAMARD32:
    case NYB_MIX_HADAMARD64:
    case NYB_MIX_HADAMARD128:
    case NYB_MIX_HOUSEHOLDER:
        break;
    }
    return NULL;
}
