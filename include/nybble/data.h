/* Data sets of labelled images, held in memory as bytes. */
#ifndef NYBBLE_DATA_H
#define NYBBLE_DATA_H

#include <stddef.h>
#include <stdint.h>

#include <nybble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nyb_data nyb_data;
struct nyb_data_info;

/* Opens "fashion-mnist", "idx:DIR", "cifar10:DIR", "cifar100:DIR", "synthetic[:key=value,...]"
 * (keys h w c classes train test seed). Reads train and test parts whole, checks them against each
 * other, and computes per-channel mean and standard deviation of the training pixels / 255.
 * NYB_UNKNOWN for sources and keys that do not exist, NYB_INVALID for NULL, a missing DIR and
 * values out of their range, NYB_IO, NYB_CORRUPT, NYB_SHAPE for images of more than 4 channels and
 * other numbers of classes than 2 .. 256, NYB_LIMIT, NYB_MEMORY; *data is then NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_data_open(const char *spec, nyb_data **data, nyb_error *err);
/* Data of the caller's, which are copied: pixels [n][h][w][c], labels [n], below info->classes. Of
 * info name (NULL: "memory"), h, w, c, classes, n_train and n_test count. Means
 * and deviations are computed. NYB_INVALID for NULL, NYB_SHAPE, NYB_LIMIT for sizes (c 1..4,
 * classes 2..256), NYB_CORRUPT for labels that are too large and empty parts, NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_data_create(
    const struct nyb_data_info *info, const uint8_t *train_pixels, const uint8_t *train_labels,
    const uint8_t *test_pixels, const uint8_t *test_labels, nyb_data **data, nyb_error *err);
NYB_API void nyb_data_close(nyb_data **data);

/* The sources, for help texts: "idx", "cifar10", ... and a sentence on each. */
NYB_API size_t nyb_data_source_count(void);
NYB_API const char *nyb_data_source_name(size_t i);
NYB_API const char *nyb_data_source_about(size_t i);
/* 1 if what follows "name:" is the path of a folder. */
NYB_API int nyb_data_source_in_folder(size_t i);

typedef struct nyb_data_info {
    const char *name; /* what it was opened as, "idx:DIR"; get_info's lives until nyb_data_close */
    size_t n_train, n_test, h, w, c, classes;
    float mean[4], std[4]; /* per channel, c <= 4, of training pixels / 255 */
} nyb_data_info;
NYB_API void nyb_data_get_info(const nyb_data *data, nyb_data_info *info);

/* Keeps only the first n training (test) samples, for good; 0 keeps all. Not while there is a run
 * (nyb_train_create) on these data: its loaders are reading them. */
NYB_API void nyb_data_limit(nyb_data *data, size_t n_train, size_t n_test);
/* Pixels are normalized by these, [c] each, from now on: those of the data that a model learned
 * from, to evaluate it on others. NYB_INVALID for NULL, what is not finite and deviations that are
 * not above 0; nothing changes then. Not while there is a run on these data. */
NYB_API NYB_MUST_CHECK nyb_status nyb_data_set_normalization(nyb_data *data, const float *mean,
                                                             const float *std, nyb_error *err);

#ifdef __cplusplus
}
#endif
#endif
