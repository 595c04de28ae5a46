/* Parsers of data files in memory: pure functions, so that they can be fuzzed. */
#ifndef NYB_DATA_PARSE_H
#define NYB_DATA_PARSE_H

#include "base/base.h"

/* Largest data file (inflated) that is read: 16 GiB. */
#define NYB_DATA_MAX_BYTES ((size_t)1 << 34)

/* Files with longer paths are refused. */
#define NYB_DATA_PATH 4096
/* path = dir/name + suffix. */
NYB_MUST_CHECK nyb_status nyb_data_path(const char *dir, const char *name, const char *suffix,
                                        char path[NYB_DATA_PATH], nyb_error *err);

/* An IDX file of unsigned bytes with n_dims (1 or 3) dimensions, big endian sizes. *data points
 * into bytes. The sizes must account for the whole file. what names it in errors. */
NYB_MUST_CHECK nyb_status nyb_idx_parse(const uint8_t *bytes, size_t n_bytes, int n_dims,
                                        const char *what, size_t dims[3], const uint8_t **data,
                                        nyb_error *err);

/* CIFAR records: n_labels label bytes (the last one counts: CIFAR-100's fine label), then 3 planes
 * of 32 x 32. Writes labels and HWC pixels of all n_bytes / (n_labels + 3072) records. */
NYB_MUST_CHECK nyb_status nyb_cifar_parse(const uint8_t *bytes, size_t n_bytes, size_t n_labels,
                                          size_t classes, const char *what, uint8_t *labels,
                                          uint8_t *pixels, nyb_error *err);
#define NYB_CIFAR_PIXELS 3072

#endif
