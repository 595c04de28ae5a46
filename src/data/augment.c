#include "data/data.h"

void nyb_augment_sample(const nyb_data *d, const uint8_t *pixels, const nyb_augment *a,
                        uint64_t seed, uint32_t epoch, size_t sample, bool train, float *x)
{
    const nyb_stream s = {.seed = seed, .step = epoch, .role = NYB_RNG_AUGMENT};
    size_t dy = 0, dx = 0, pad = 0;
    bool flip = false;
    float value[4][256];

    if (train && (a->crop_pad || a->flip)) {
        uint32_t r[4];

        nyb_rng_block(&s, sample, r);
        pad = a->crop_pad;
        dy = (size_t)((uint64_t)r[0] * (2 * pad + 1) >> 32);
        dx = (size_t)((uint64_t)r[1] * (2 * pad + 1) >> 32);
        flip = a->flip && (r[2] & 1);
    }
    for (size_t c = 0; c < d->c; c++)
        for (int v = 0; v < 256; v++) {
            value[c][v] = (float)v / 255.0f;
            if (a->normalize)
                value[c][v] = (value[c][v] - d->mean[c]) / d->std[c];
        }
    for (size_t i = 0; i < d->h; i++)
        for (size_t j = 0; j < d->w; j++) {
            const size_t y = i + dy, xx = (flip ? d->w - 1 - j : j) + dx; /* in the padded image */
            const bool inside = y >= pad && y < pad + d->h && xx >= pad && xx < pad + d->w;
            const uint8_t *from = inside ? pixels + ((y - pad) * d->w + xx - pad) * d->c : NULL;

            for (size_t c = 0; c < d->c; c++)
                *x++ = value[c][from ? from[c] : 0];
        }
}
