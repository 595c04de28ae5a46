/* Orthogonal transforms before rounding, one source compiled for each instruction set. */
#ifndef NYB_MIX_H
#define NYB_MIX_H

#include "quant/round.h"

/* One Householder reflection of scaled rows, H diag(in), then diag(out): NUMERICS 5.3. */
typedef struct nyb_mix_reflect {
    const uint32_t *row; /* [n] the leader, then its followers */
    size_t n;
    float in[2], out[2]; /* factors of the leader, of the followers */
    float a, b;          /* 1 / sqrt(n), 1 / (n - sqrt(n)) */
} nyb_mix_reflect;

/* Lanes never meet but in butterflies, whose order is fixed: all variants give the same bits (NaN
 * payloads apart). */
typedef struct nyb_mix_kernel {
    const char *name; /* "avx512", "avx2", "ref" */
    uint32_t needs;   /* NYB_CPU_* */

    /* The orthonormal Sylvester-Hadamard transform of signs * y, n a power of two <= 128, signs
     * NULL: all +1; or its inverse: transform, then signs. Butterflies in f32: for len = 1, 2, 4
     * ...: (a + b, a - b); then one multiplication by nyb_mix_norm(n). `lanes` vectors side by
     * side: element i of vector j is y[i * stride + j]. */
    void (*across)(float *y, size_t n, size_t stride, size_t lanes, const float *signs,
                   bool inverse);
    /* The same on `count` vectors one after another; element i of vector j is y[j * n + i]. */
    void (*along)(float *y, size_t n, size_t count, const float *signs, bool inverse);

    /* With l, f_k the finite elements (others are 0) of the leader's and the followers' rows times
     * in, F = ((0 + f_1) + f_2) ...:  leader: ((l + F) * a) * out[0],
     * follower k: (f_k + (l * a - F * b)) * out[1]. Rows are ld floats apart; y may be x. */
    void (*reflect)(const nyb_mix_reflect *group, const float *x, size_t ld, size_t cols, float *y);
} nyb_mix_kernel;

extern const nyb_mix_kernel *const nyb_mix_kernels[]; /* best first, NULL-terminated */
extern const nyb_mix_kernel nyb_mix_ref, nyb_mix_avx2, nyb_mix_avx512;
const nyb_mix_kernel *nyb_mix_kernel_choose(uint32_t cpu);

/* 1 / sqrt(n), the nearest f32; n a power of two <= 128. */
float nyb_mix_norm(size_t n);

#endif
