/* What several tests compare known answers with: FNV-1a 64, and Philox4x32-10 (Salmon et al., SC
 * 2011), the generator of the published vectors of NUMERICS 1.4. The library draws with ARS-5. */
#ifndef KNOWN_H
#define KNOWN_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#define KNOWN_FNV_START 0xcbf29ce484222325u

static inline uint64_t known_fnv(uint64_t hash, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static inline void known_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53 * c[0], b = (uint64_t)0xCD9E8D57 * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};

        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k[0] += 0x9E3779B9;
        k[1] += 0xBB67AE85;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

/* The 32-bit draw of element i: NUMERICS 0.2. */
static inline uint32_t known_u32(uint64_t seed, uint32_t step, uint32_t tensor, uint32_t role,
                                 uint32_t sample, uint64_t i)
{
    const uint32_t counter[4] = {
        (uint32_t)(i >> 2), (uint32_t)(i >> 34 & 0xff) | sample << 8 | role << 16, tensor, step};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];

    known_philox(counter, key, out);
    return out[i & 3];
}

#define KNOWN_N 4096

/* The 4096-element vector of NUMERICS 1.4; FNV of its bytes 25cabd7dfa6005ce. */
static inline void known_vector(float x[KNOWN_N])
{
    for (size_t i = 0; i < KNOWN_N; i++) {
        uint32_t u = known_u32(1, 0, 0, 255, 0, i);
        double m = 1.0 + (double)(u >> 12 & 0x7ffff) / 524288.0;

        x[i] = (float)((u >> 31 ? -m : m) * ldexp(1.0, -(int)(u >> 8 & 15)));
    }
}

#endif
