/* Files: written whole or not at all, read with suspicion. */
#ifndef NYB_IO_H
#define NYB_IO_H

#include <stdio.h>

#include "base/base.h"

/* ---- atomic files ------------------------------------------------------------------------- */

/* A temporary file PATH.tmp; commit does fflush, fsync, rename, fsync of the folder; abort (or a
 * crash) leaves the old file. Write errors (full disk) surface in commit at the latest. A failed
 * write removes the temporary file; what a killed process left is reused by the next write. A
 * second writer of the same path meanwhile is NYB_IO. A file keeps its mode, links that lead to it
 * stay, and one that leads to nothing gets its file. A device or pipe is written in place. */
typedef struct nyb_atomic_file nyb_atomic_file;
NYB_MUST_CHECK nyb_status nyb_atomic_open(const char *path, nyb_atomic_file **file, nyb_error *err);
FILE *nyb_atomic_stream(nyb_atomic_file *file);
NYB_MUST_CHECK nyb_status nyb_atomic_commit(nyb_atomic_file **file, nyb_error *err);
void nyb_atomic_abort(nyb_atomic_file **file);

#define NYB_FILE_MAX ((size_t)1 << 34) /* bytes: the largest array or model file that is read */

/* The whole file in nyb_alloc memory; a final 0 byte is appended (not counted). Files above
 * max_bytes are NYB_LIMIT. A .gz file (by content) is inflated, to at most max_bytes, and to no
 * more than 128 times its size if that is above 64 MiB. Pipes and devices are NYB_IO. */
NYB_MUST_CHECK nyb_status nyb_file_read(const char *path, size_t max_bytes, uint8_t **bytes,
                                        size_t *n_bytes, nyb_error *err);

/* The first bytes of that; how many there are, 0 if nyb_file_read would fail on them. */
size_t nyb_file_read_head(const char *path, uint8_t *head, size_t n_bytes);

/* ---- .npy (version 1.0 and 2.0, little endian, C order) ----------------------------------- */

#define NYB_NPY_DIMS 8
typedef struct nyb_npy {
    int n_dims;
    size_t dims[NYB_NPY_DIMS];
    size_t n;      /* product of dims */
    char dtype[4]; /* "f4", "u1", "i1", "i4", "f8" ... without byte order */
    void *data;    /* nyb_alloc memory, C order, n * item size bytes */
} nyb_npy;
/* Fortran order, big endian, object types: NYB_CORRUPT with a sentence. Size and header must agree
 * with the file's length. Accepted: b1 i1 u1 i2 u2 f2 i4 u4 f4 i8 u8 f8, which nyb_npy_to_f32
 * rounds to the nearest float. */
NYB_MUST_CHECK nyb_status nyb_npy_load(const char *path, nyb_npy *npy, nyb_error *err);
/* The same from memory; name is what messages call it. The data are copied. */
NYB_MUST_CHECK nyb_status nyb_npy_parse(const uint8_t *bytes, size_t n_bytes, const char *name,
                                        nyb_npy *npy, nyb_error *err);
/* *x = n floats in nyb_alloc memory. */
NYB_MUST_CHECK nyb_status nyb_npy_to_f32(const nyb_npy *npy, float **x, nyb_error *err);
void nyb_npy_free(nyb_npy *npy);
NYB_MUST_CHECK nyb_status nyb_npy_save(const char *path, const char *dtype, const void *data,
                                       int n_dims, const size_t *dims, nyb_error *err);

/* ---- safetensors -------------------------------------------------------------------------- */

typedef struct nyb_st_tensor {
    const char *name;
    const char *dtype; /* "F32", "U8", "I64", ... */
    int n_dims;
    size_t dims[NYB_NPY_DIMS];
    const void *data; /* little endian, C order, 8-byte aligned in a loaded file */
    size_t n_bytes;
} nyb_st_tensor;

typedef struct nyb_st_meta {
    const char *key, *value;
} nyb_st_meta;

/* Atomic. Metadata goes to __metadata__ (string to string). Tensors are laid out in the order
 * given, header padded to 8 bytes with spaces. */
NYB_MUST_CHECK nyb_status nyb_st_save(const char *path, const nyb_st_tensor *tensors,
                                      size_t n_tensors, const nyb_st_meta *meta, size_t n_meta,
                                      nyb_error *err);

typedef struct nyb_st_file nyb_st_file;
/* Checks everything: header length, JSON, dtypes, shapes against offsets, no overlap, no gap. */
NYB_MUST_CHECK nyb_status nyb_st_load(const char *path, nyb_st_file **file, nyb_error *err);
/* The same from memory: takes ownership of bytes (nyb_alloc memory), on failure too. */
NYB_MUST_CHECK nyb_status nyb_st_parse(uint8_t *bytes, size_t n_bytes, const char *name,
                                       nyb_st_file **file, nyb_error *err);
void nyb_st_close(nyb_st_file **file);
size_t nyb_st_count(const nyb_st_file *file);
/* In the order of their data. */
const nyb_st_tensor *nyb_st_at(const nyb_st_file *file, size_t i);
const nyb_st_tensor *nyb_st_find(const nyb_st_file *file, const char *name); /* or NULL */
const char *nyb_st_meta_find(const nyb_st_file *file, const char *key);      /* or NULL */

/* ---- JSON writing ------------------------------------------------------------------------- */

#define NYB_JSON_DEPTH 32

/* One value to a stream, commas and escapes handled, numbers with the fewest digits that read back
 * exactly (NaN and Inf become null), whatever the locale. One line unless pretty; a newline ends
 * the outermost value. Bytes of a string that are not UTF-8 become U+FFFD. */
typedef struct nyb_json {
    FILE *out;
    bool pretty;
    int depth;
    bool first[NYB_JSON_DEPTH]; /* nothing written yet in the object or array of this depth */
    char close[NYB_JSON_DEPTH]; /* what ends it: } or ]                                     */
} nyb_json;
/* Whether all of text is UTF-8 (RFC 3629), so that a string of JSON can hold it. */
bool nyb_text_is_utf8(const char *text);
void nyb_json_begin(nyb_json *json, FILE *out, bool pretty);
void nyb_json_object(nyb_json *json, const char *key); /* key NULL: in an array, or at the top */
void nyb_json_array(nyb_json *json, const char *key);
void nyb_json_end(nyb_json *json); /* closes object or array */
void nyb_json_string(nyb_json *json, const char *key, const char *value);
void nyb_json_int(nyb_json *json, const char *key, int64_t value);
void nyb_json_uint(nyb_json *json, const char *key, uint64_t value);
void nyb_json_double(nyb_json *json, const char *key, double value);
void nyb_json_float(nyb_json *json, const char *key, float value);
void nyb_json_bool(nyb_json *json, const char *key, bool value);

/* ---- TensorBoard event files -------------------------------------------------------------- */

typedef struct nyb_events nyb_events;
/* Creates DIR/events.out.tfevents.<time>.<host>.<pid>. */
NYB_MUST_CHECK nyb_status nyb_events_create(const char *dir, nyb_events **events, nyb_error *err);
void nyb_events_destroy(nyb_events **events);
void nyb_events_scalar(nyb_events *events, int64_t step, const char *tag, float value);
/* bucket_limit increasing, counts of (limit[i-1], limit[i]]. */
void nyb_events_histogram(nyb_events *events, int64_t step, const char *tag, double min, double max,
                          double n, double sum, double sum_squares, size_t n_buckets,
                          const double *bucket_limit, const double *bucket);
/* NYB_IO if any write so far failed. */
NYB_MUST_CHECK nyb_status nyb_events_flush(nyb_events *events, nyb_error *err);

/* ---- SHA-256 ------------------------------------------------------------------------------ */

typedef struct nyb_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
} nyb_sha256;
void nyb_sha256_begin(nyb_sha256 *sha);
void nyb_sha256_add(nyb_sha256 *sha, const void *bytes, size_t n);
void nyb_sha256_end(nyb_sha256 *sha, char hex[65]);

#endif
