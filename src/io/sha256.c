/* SHA-256 as FIPS 180-4, section 6.2, writes it. */
#include "io/io.h"

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void schedule(const uint8_t *block, uint32_t w[64])
{
    for (size_t t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (size_t t = 16; t < 64; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
}

/* The working variables a..h of round t are v[-t mod 8] .. v[7 - t mod 8]: none moves. */
static inline void one_round(uint32_t v[8], unsigned t, uint32_t constant)
{
    uint32_t *a = &v[(8 - t) % 8], *b = &v[(9 - t) % 8], *c = &v[(10 - t) % 8],
             *d = &v[(11 - t) % 8], *e = &v[(12 - t) % 8], *f = &v[(13 - t) % 8],
             *g = &v[(14 - t) % 8], *h = &v[(15 - t) % 8];
    const uint32_t s1 = rotate(*e, 6) ^ rotate(*e, 11) ^ rotate(*e, 25);
    const uint32_t t1 = *h + s1 + ((*e & *f) ^ (~*e & *g)) + constant;
    const uint32_t s0 = rotate(*a, 2) ^ rotate(*a, 13) ^ rotate(*a, 22);

    *d += t1;
    *h = t1 + s0 + ((*a & *b) ^ (*a & *c) ^ (*b & *c));
}

static void add_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], v[8];

    schedule(block, w);
    memcpy(v, state, sizeof v);
    for (int t = 0; t < 64; t += 8)
        for (unsigned i = 0; i < 8; i++)
            one_round(v, i, round_constants[t + (int)i] + w[t + (int)i]);
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

void nyb_sha256_begin(nyb_sha256 *sha)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

    memcpy(sha->state, start, sizeof start);
    sha->n_bytes = 0;
}

void nyb_sha256_add(nyb_sha256 *sha, const void *bytes, size_t n)
{
    const uint8_t *next = bytes;
    size_t used = sha->n_bytes % 64;

    sha->n_bytes += n;
    if (used) {
        size_t some = nyb_min(n, 64 - used);
        memcpy(sha->block + used, next, some);
        next += some;
        n -= some;
        if (used + some < 64)
            return;
        add_block(sha->state, sha->block);
    }
    for (; n >= 64; n -= 64, next += 64)
        add_block(sha->state, next);
    if (n)
        memcpy(sha->block, next, n);
}

void nyb_sha256_end(nyb_sha256 *sha, char hex[65])
{
    static const uint8_t padding[64] = {0x80};
    static const char digits[] = "0123456789abcdef";
    uint64_t n_bits = sha->n_bytes * 8;
    uint8_t length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    nyb_sha256_add(sha, padding, 1 + (119 - sha->n_bytes % 64) % 64);
    nyb_sha256_add(sha, length, 8);
    for (int i = 0; i < 64; i++)
        hex[i] = digits[sha->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
    hex[64] = 0;
}
