/* The end of an epilogue, in the vocabulary of base/vec_ref.h, which the including file has
 * brought. */
#ifndef NYB_STORE_LANES_H
#define NYB_STORE_LANES_H

#include "base/vec_lanes.h"

/* n lanes (as load): if bias: t = t + bias; if add: t = out + t; out = t, which is f32 or bf16
 * (half; nothing is added there). */
static ALWAYS_INLINE void finish_lanes(vec t, const float *bias, bool add, bool half, void *out,
                                       size_t n)
{
    if (bias) /* not "+ 0": that would turn -0 into +0 */
        t = vec_add(t, load(bias, n));
    if (half) {
        store_half(out, vec_round_bf16(t), n);
        return;
    }
    if (add)
        t = vec_add(load(out, n), t);
    store(out, t, n);
}

#endif
