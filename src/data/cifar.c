/* CIFAR-10 and CIFAR-100, binary version: https://www.cs.toronto.edu/~kriz/cifar.html */
#include "data/data.h"
#include "data/parse.h"
#include "io/io.h"

nyb_status nyb_cifar_parse(const uint8_t *bytes, size_t n_bytes, size_t n_labels, size_t classes,
                           const char *what, uint8_t *labels, uint8_t *pixels, nyb_error *err)
{
    const size_t record = n_labels + NYB_CIFAR_PIXELS;

    if (n_bytes == 0 || n_bytes % record)
        return nyb_fail(err, NYB_CORRUPT, "%s has %zu bytes, no multiple of a record (%zu)", what,
                        n_bytes, record);
    for (size_t i = 0; i < n_bytes / record; i++) {
        const uint8_t *in = bytes + i * record;
        uint8_t *out = pixels + i * NYB_CIFAR_PIXELS;

        labels[i] = in[n_labels - 1];
        if (labels[i] >= classes)
            return nyb_fail(err, NYB_CORRUPT, "%s: label of record %zu is %u, want 0..%zu", what, i,
                            labels[i], classes - 1);
        for (size_t p = 0; p < 1024; p++)
            for (size_t c = 0; c < 3; c++)
                out[p * 3 + c] = in[n_labels + c * 1024 + p];
    }
    return NYB_OK;
}

/* Appends one file to a part. */
static nyb_status append(const char *dir, const char *name, size_t n_labels, size_t classes,
                         nyb_part *part, nyb_error *err)
{
    const size_t record = n_labels + NYB_CIFAR_PIXELS;
    uint8_t *bytes = NULL, *pixels = NULL, *labels = NULL;
    char path[NYB_DATA_PATH];
    size_t n_bytes = 0, n;
    nyb_status status;

    NYB_TRY(nyb_data_path(dir, name, "", path, err));
    NYB_TRY(nyb_file_read(path, NYB_DATA_MAX_BYTES, &bytes, &n_bytes, err));
    n = n_bytes / record;
    pixels = nyb_alloc((part->n + n) * NYB_CIFAR_PIXELS);
    labels = nyb_alloc(part->n + n);
    if (!pixels || !labels)
        status = nyb_fail(err, NYB_MEMORY, "out of memory for '%s'", path);
    else
        status = nyb_cifar_parse(bytes, n_bytes, n_labels, classes, path, labels + part->n,
                                 pixels + part->n * NYB_CIFAR_PIXELS, err);
    nyb_free(bytes);
    if (status != NYB_OK) {
        nyb_free(pixels);
        nyb_free(labels);
        return status;
    }
    if (part->n) {
        memcpy(pixels, part->pixels, part->n * NYB_CIFAR_PIXELS);
        memcpy(labels, part->labels, part->n);
    }
    nyb_free(part->pixels);
    nyb_free(part->labels);
    *part = (nyb_part){part->n + n, pixels, labels};
    return NYB_OK;
}

static void set_shape(nyb_data *d, size_t classes)
{
    d->h = d->w = 32;
    d->c = 3;
    d->classes = classes;
}

static nyb_status open10(const char *dir, nyb_data *d, nyb_error *err)
{
    static const char *const names[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                        "data_batch_4.bin", "data_batch_5.bin"};

    if (!*dir)
        return nyb_fail(err, NYB_INVALID, "want cifar10:DIR");
    set_shape(d, 10);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        NYB_TRY(append(dir, names[i], 1, 10, &d->train, err));
    return append(dir, "test_batch.bin", 1, 10, &d->test, err);
}

static nyb_status open100(const char *dir, nyb_data *d, nyb_error *err)
{
    if (!*dir)
        return nyb_fail(err, NYB_INVALID, "want cifar100:DIR");
    set_shape(d, 100);
    NYB_TRY(append(dir, "train.bin", 2, 100, &d->train, err));
    return append(dir, "test.bin", 2, 100, &d->test, err);
}

extern const nyb_data_source nyb_data_source_cifar10, nyb_data_source_cifar100;
const nyb_data_source nyb_data_source_cifar10 = {
    "cifar10", "cifar10:DIR, data_batch_1..5.bin and test_batch.bin", open10, true};
const nyb_data_source nyb_data_source_cifar100 = {
    "cifar100", "cifar100:DIR, train.bin and test.bin, fine labels", open100, true};
