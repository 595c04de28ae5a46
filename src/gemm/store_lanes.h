/* The end of an epilogue, in the vocabulary of base/vec_ref.h, which the including file has
 * brought, and of base/rng_ref.h. */
#ifndef NYB_STORE_LANES_H
#define NYB_STORE_LANES_H

#include "base/vec_lanes.h"

/* The 16-bit draws of elements first .. first + n - 1 of a stream, n <= 32, and of those that fill
 * up 16 lanes, in room. Blocks begin at multiples of 8. */
#define LANES_ROOM 64
static ALWAYS_INLINE const uint16_t *draw_lanes(const nyb_stream *stream, uint64_t first, size_t n,
                                                uint16_t room[LANES_ROOM])
{
    rng_draws_32(stream, first / 8, room);
    if (first % 8 + nyb_round_up(n, 16) > 32)
        rng_draws_32(stream, first / 8 + 4, room + 32);
    return room + first % 8;
}

/* n lanes (as load): if bias: t = t + bias; if add: t = out + t; out = t, which is f32 or bf16
 * (half; nothing is added there), to the nearest or by draws, unless they are NULL. */
static ALWAYS_INLINE void finish_lanes(vec t, const float *bias, bool add, bool half,
                                       const uint16_t *draws, void *out, size_t n)
{
    if (bias) /* not "+ 0": that would turn -0 into +0 */
        t = vec_add(t, load(bias, n));
    if (half) {
        store_half(out, draws ? vec_draw_bf16(t, draws) : vec_round_bf16(t), n);
        return;
    }
    if (add)
        t = vec_add(load(out, n), t);
    store(out, t, n);
}

#endif
