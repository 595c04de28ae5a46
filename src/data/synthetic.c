/* Images made from a seed: a smooth prototype a class, shifted, with noise. */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng_ref.h"
#include "data/data.h"
#include "data/parse.h"

typedef struct plan {
    size_t h, w, c, classes, train, test, seed;
} plan;

static nyb_status parse(const char *rest, plan *p, nyb_error *err)
{
    const struct {
        const char *key;
        size_t *at, lo, hi;
    } keys[] = {{"h", &p->h, 1, 1024},
                {"w", &p->w, 1, 1024},
                {"c", &p->c, 1, 4},
                {"classes", &p->classes, 2, 256},
                {"train", &p->train, 1, 1 << 24},
                {"test", &p->test, 1, 1 << 24},
                {"seed", &p->seed, 0, SIZE_MAX / 2}};
    const size_t n_keys = sizeof keys / sizeof *keys;
    bool seen[sizeof keys / sizeof *keys] = {false};

    while (*rest) {
        const char *equals = strchr(rest, '=');
        size_t i = 0;
        char *end = NULL;
        unsigned long long value;

        for (i = 0; equals && i < n_keys; i++)
            if (strlen(keys[i].key) == (size_t)(equals - rest) &&
                !strncmp(rest, keys[i].key, (size_t)(equals - rest)))
                break;
        if (!equals || i == n_keys)
            return nyb_fail(err, NYB_UNKNOWN,
                            "'%s': want h=, w=, c=, classes=, train=, test= or seed=", rest);
        value = strtoull(equals + 1, &end, 10);
        if (end == equals + 1 || (*end && *end != ',') || value < keys[i].lo || value > keys[i].hi)
            return nyb_fail(err, NYB_INVALID, "%.*s: want %zu..%zu", (int)strcspn(rest, ","), rest,
                            keys[i].lo, keys[i].hi);
        if (seen[i])
            return nyb_fail(err, NYB_INVALID, "%s= is there twice", keys[i].key);
        seen[i] = true;
        *keys[i].at = (size_t)value;
        rest = *end ? end + 1 : end;
    }
    return NYB_OK;
}

/* Prototype of a class: random values on a coarse 4 x 4 grid, interpolated linearly. 0..255. */
static int prototype(const plan *p, size_t label, size_t y, size_t x, size_t c)
{
    const nyb_stream s = {.seed = p->seed, .tensor = (uint32_t)label, .role = NYB_RNG_OTHER};
    const size_t fy = y * 768 / p->h, fx = x * 768 / p->w; /* 3 cells of 256 */
    const size_t y0 = fy >> 8, x0 = fx >> 8;
    const int ty = (int)(fy & 255), tx = (int)(fx & 255);
    int corner[2][2];

    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 2; j++)
            corner[i][j] = (int)(nyb_rng_u32(&s, ((y0 + i) * 4 + x0 + j) * 4 + c) >> 24);
    return ((corner[0][0] * (256 - tx) + corner[0][1] * tx) * (256 - ty) +
            (corner[1][0] * (256 - tx) + corner[1][1] * tx) * ty) >>
           16;
}

static void fill(const plan *p, const uint8_t *prototypes, uint32_t which, nyb_part *part)
{
    const size_t size = p->h * p->w * p->c;
    const nyb_stream choice = {
        .seed = p->seed, .tensor = which, .role = NYB_RNG_OTHER, .sample = 1};
    nyb_stream noise = choice;
    uint16_t draws[32];

    for (size_t i = 0; i < part->n; i++) {
        const uint32_t r = nyb_rng_u32(&choice, i);
        const size_t label = (r & 0xffff) % p->classes;
        const size_t dy = (r >> 16 & 3) % p->h, dx = (r >> 18 & 3) % p->w;

        part->labels[i] = (uint8_t)label;
        noise.step = (uint32_t)i + 1;
        for (size_t j = 0; j < size; j++) {
            const size_t c = j % p->c, x = j / p->c % p->w, y = j / p->c / p->w;
            const size_t from = ((y + dy) % p->h * p->w + (x + dx) % p->w) * p->c + c;
            int v = prototypes[label * size + from] - 64;

            if (j % 32 == 0)
                rng_draws_32(&noise, j / 8, draws);
            v += draws[j % 32] >> 9;
            part->pixels[i * size + j] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

static nyb_status open_synthetic(const char *rest, nyb_data *d, nyb_error *err)
{
    plan p = {.h = 28, .w = 28, .c = 1, .classes = 10, .train = 2048, .test = 512, .seed = 1};
    uint8_t *prototypes;
    size_t size;

    NYB_TRY(parse(rest, &p, err));
    size = p.h * p.w * p.c;
    if (p.train > NYB_DATA_MAX_BYTES / size || p.test > NYB_DATA_MAX_BYTES / size)
        return nyb_fail(err, NYB_LIMIT, "%zu and %zu images of %zu bytes: at most %zu bytes each",
                        p.train, p.test, size, NYB_DATA_MAX_BYTES);
    d->h = p.h;
    d->w = p.w;
    d->c = p.c;
    d->classes = p.classes;
    d->train = (nyb_part){p.train, nyb_alloc(p.train * size), nyb_alloc(p.train)};
    d->test = (nyb_part){p.test, nyb_alloc(p.test * size), nyb_alloc(p.test)};
    prototypes = nyb_alloc(p.classes * size);
    if (!prototypes || !d->train.pixels || !d->train.labels || !d->test.pixels || !d->test.labels) {
        nyb_free(prototypes);
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    }
    for (size_t k = 0; k < p.classes; k++)
        for (size_t j = 0; j < size; j++)
            prototypes[k * size + j] =
                (uint8_t)prototype(&p, k, j / p.c / p.w, j / p.c % p.w, j % p.c);
    fill(&p, prototypes, 1, &d->train);
    fill(&p, prototypes, 2, &d->test);
    nyb_free(prototypes);
    return NYB_OK;
}

extern const nyb_data_source nyb_data_source_synthetic;
const nyb_data_source nyb_data_source_synthetic = {
    "synthetic", "synthetic[:h=28,w=28,c=1,classes=10,train=2048,test=512,seed=1]", open_synthetic};
