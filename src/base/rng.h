/* Random bits as a pure function of (seed, step, tensor, role, sample, element): ARS-5. */
#ifndef NYB_RNG_H
#define NYB_RNG_H

#include "base/base.h"

/* What the bits are for (NUMERICS 0.2). Part of file-visible behaviour: never renumber. */
typedef enum nyb_rng_role {
    NYB_RNG_W_FWD = 0,
    NYB_RNG_X_FWD = 1,
    NYB_RNG_DY_DX = 2, /* also SMP sample 0 of dW, of codes of one scale */
    NYB_RNG_DY_DW = 3,
    NYB_RNG_X_DW = 4,
    NYB_RNG_W_DX = 5,
    NYB_RNG_HADAMARD = 6,
    NYB_RNG_SCALE = 7,
    NYB_RNG_AXPY_L2 = 8,
    NYB_RNG_AXPY_MOMENTUM = 9,
    NYB_RNG_AXPY_UPDATE = 10,
    NYB_RNG_INIT = 11,
    NYB_RNG_ORDER = 12,   /* step = epoch, i = sample index */
    NYB_RNG_AUGMENT = 13, /* step = epoch, i = sample index */
    NYB_RNG_DROPOUT = 14,
    NYB_RNG_OTHER = 15,
    NYB_RNG_SUM_Y = 16, /* partial sums of the three products, sample of dW: of dy */
    NYB_RNG_SUM_DX = 17,
    NYB_RNG_SUM_DW = 18,
    NYB_RNG_STORE_X = 19, /* bf16 of the input that a batchnorm stores; tensor: its layer */
    NYB_RNG_STORE_DX = 20 /* bf16 of the gradient that a product leaves; tensor: its layer */
} nyb_rng_role;

/* One use of randomness. Block q of it is ARS(counter, key) with
 *   c0 = q low 32, c1 = (q >> 32 & 0xff) | sample << 8 | role << 16, c2 = tensor, c3 = step,
 *   key = (seed low, seed high, 0, 0)                                                       */
typedef struct nyb_stream {
    uint64_t seed;
    uint32_t step;
    uint32_t tensor;
    uint8_t role;
    uint8_t sample;
} nyb_stream;

/* ARS-R of Random123 (Salmon et al., SC 2011): `rounds` AES rounds, Weyl key schedule. Portable C.
 * out may alias counter. */
void nyb_ars(const uint32_t counter[4], const uint32_t key[4], int rounds, uint32_t out[4]);

/* Block q of a stream: ARS-5. */
void nyb_rng_block(const nyb_stream *stream, uint64_t q, uint32_t out[4]);

/* The 16-bit draw of element i: halfword i & 7 (little endian: low half of word 0 is 0) of block
 * i >> 3; and the 32-bit draw: word i & 3 of block i >> 2. */
uint32_t nyb_rng_u16(const nyb_stream *stream, uint64_t i);
uint32_t nyb_rng_u32(const nyb_stream *stream, uint64_t i);

/* A standard normal from draw i (Box-Muller on the in-tree log and cos; blocks i). */
float nyb_rng_normal(const nyb_stream *stream, uint64_t i);
/* order[0..n) = a permutation of 0..n-1 (Fisher-Yates on 64-bit products of nyb_rng_u32). */
void nyb_rng_permutation(const nyb_stream *stream, uint32_t *order, size_t n);

#endif
