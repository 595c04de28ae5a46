/* The inside of a data set, its sources, and the loader that turns it into batches. */
#ifndef NYB_DATA_INTERNAL_H
#define NYB_DATA_INTERNAL_H

#include <nybble/data.h>

#include "base/base.h"
#include "base/rng.h"

typedef struct nyb_part {
    size_t n;
    uint8_t *pixels; /* [n][h][w][c] */
    uint8_t *labels; /* [n] */
} nyb_part;

struct nyb_data {
    char *name;
    size_t h, w, c, classes;
    nyb_part train, test;
    float mean[4], std[4];
};

/* A source fills train and test; nyb_data_open checks and computes the statistics. */
typedef struct nyb_data_source {
    const char *name, *about;
    /* rest: what stands after "name:" or "" */
    nyb_status (*open)(const char *rest, nyb_data *data, nyb_error *err);
    bool in_folder; /* rest is a folder's path */
} nyb_data_source;
extern const nyb_data_source *const nyb_data_sources[];

typedef struct nyb_augment {
    size_t crop_pad; /* random crop after zero padding by this many pixels; 0: none */
    bool flip;       /* horizontal, probability 1/2 */
    bool normalize;  /* (x/255 - mean) / std per channel; else x/255 */
} nyb_augment;

/* x[h][w][c] of one sample; random choices from (seed, epoch, sample index) only, role AUGMENT.
 * Padding pixels are pixel value 0 before normalisation. train = false: no crop or flip. */
void nyb_augment_sample(const nyb_data *data, const uint8_t *pixels, const nyb_augment *augment,
                        uint64_t seed, uint32_t epoch, size_t sample, bool train, float *x);

/* Batches of one part. Training: each epoch's order is a permutation by (seed, epoch), the last
 * incomplete batch is dropped. Test: in order, the last batch may be shorter. A thread prepares
 * the next batch while the caller computes (prefetch). The data outlive the loader and are not
 * limited (nyb_data_limit) meanwhile. */
typedef struct nyb_loader nyb_loader;
NYB_MUST_CHECK nyb_status nyb_loader_create(const nyb_data *data, bool train, size_t batch,
                                            const nyb_augment *augment, uint64_t seed,
                                            nyb_loader **loader, nyb_error *err);
void nyb_loader_destroy(nyb_loader **loader);
size_t nyb_loader_batches(const nyb_loader *loader); /* per epoch */
/* Starts epoch `epoch` at batch `first_batch` (resume). A new loader stands at (0, 0). */
void nyb_loader_seek(nyb_loader *loader, uint32_t epoch, size_t first_batch);
/* The next batch of the epoch: *x [n][h][w][c], *labels [n], valid until the next call of next
 * or seek. Returns n; 0 at the end of the epoch, and again until the next seek. */
size_t nyb_loader_next(nyb_loader *loader, const float **x, const int32_t **labels);
/* Batches that the thread has made since the loader was created, and the CPU time they took. */
void nyb_loader_get_work(nyb_loader *loader, uint64_t *n_batches, double *seconds);

#endif
