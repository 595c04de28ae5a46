/* Files: arrays as NumPy's .npy, and texts. */
#ifndef NYBBLE_IO_H
#define NYBBLE_IO_H

#include <stddef.h>

#include <nybble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NYB_ARRAY_DIMS 8

/* A real array in C order. */
typedef struct nyb_array {
    int n_dims; /* 0: a scalar, n = 1 */
    size_t dims[NYB_ARRAY_DIMS];
    size_t n; /* product of dims */
    float *values;
    int rounded; /* nyb_array_load: some number of the file is not an f32 */
} nyb_array;

/* Reads a .npy file of b1, i1, u1, i2, u2, f2, i4, u4, f4, i8, u8 or f8 (little endian, C order),
 * converted to f32; the file may be compressed by gzip, whatever its name. The header must agree
 * with the file's length. NYB_INVALID for NULL, NYB_IO, NYB_CORRUPT, NYB_MEMORY, NYB_LIMIT for more
 * than NYB_ARRAY_DIMS dimensions, sizes that overflow and files of more than 16 GiB; array->values
 * is then NULL. */
NYB_API NYB_MUST_CHECK nyb_status nyb_array_load(const char *path, nyb_array *array,
                                                 nyb_error *err);
NYB_API void nyb_array_free(nyb_array *array);

/* Writes f32 values, or bytes, as .npy: the whole file or, on failure, nothing. dims may be NULL if
 * n_dims is 0, values if there are no elements. NYB_INVALID for other NULLs and if n_dims is not 0
 * .. NYB_ARRAY_DIMS, NYB_LIMIT for sizes that overflow, NYB_IO, NYB_MEMORY. */
NYB_API NYB_MUST_CHECK nyb_status nyb_array_save(const char *path, const float *values, int n_dims,
                                                 const size_t *dims, nyb_error *err);
NYB_API NYB_MUST_CHECK nyb_status nyb_array_save_bytes(const char *path, const unsigned char *bytes,
                                                       int n_dims, const size_t *dims,
                                                       nyb_error *err);

/* Writes a text: the whole file or, on failure or after a kill, what was there. Of programs that
 * write the same file at a time each waits for the other. NYB_INVALID for NULL, NYB_IO, NYB_MEMORY.
 */
NYB_API NYB_MUST_CHECK nyb_status nyb_text_save(const char *path, const char *text, nyb_error *err);

#ifdef __cplusplus
}
#endif
#endif
