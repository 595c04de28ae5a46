/* Small data files in a temporary folder, well-formed or damaged on purpose. */
#ifndef NYB_TEST_DATA_FILES_H
#define NYB_TEST_DATA_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/base.h"

typedef struct folder {
    char path[80];
    char names[16][64]; /* files to be removed */
    size_t n;
} folder;

static inline void folder_make(folder *f)
{
    snprintf(f->path, sizeof f->path, "/tmp/nybble-data-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    f->n = 0;
}

static inline void folder_path(const folder *f, const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", f->path, name);
}

static inline void folder_write(folder *f, const char *name, const void *bytes, size_t n)
{
    char path[160];
    size_t known = 0;

    folder_path(f, name, path);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
    while (known < f->n && strcmp(f->names[known], name) != 0)
        known++;
    if (known == f->n) {
        assert_true(f->n < 16);
        snprintf(f->names[f->n++], 64, "%s", name);
    }
}

static inline void folder_write_gz(folder *f, const char *name, const void *bytes, size_t n)
{
    char path[160];

    folder_write(f, name, "", 0);
    folder_path(f, name, path);
    gzFile out = gzopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(gzwrite(out, bytes, (unsigned)n), (int)n);
    assert_int_equal(gzclose(out), Z_OK);
}

static inline void folder_remove_file(folder *f, const char *name)
{
    char path[160];

    folder_path(f, name, path);
    unlink(path);
}

static inline void folder_remove(folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        folder_remove_file(f, f->names[i]);
    assert_int_equal(rmdir(f->path), 0);
}

/* An IDX file in out: header of n_dims sizes, then the pattern (7 i + salt) mod `modulus`. Returns
 * its length. */
static inline size_t idx_make(uint8_t *out, int n_dims, const uint32_t *dims, unsigned salt,
                              unsigned modulus)
{
    size_t at = 4, n = 1;

    memcpy(out, (const uint8_t[]){0, 0, 8, (uint8_t)n_dims}, 4);
    for (int d = 0; d < n_dims; d++) {
        n *= dims[d];
        for (int shift = 24; shift >= 0; shift -= 8)
            out[at++] = (uint8_t)(dims[d] >> shift);
    }
    for (size_t i = 0; i < n; i++)
        out[at++] = (uint8_t)((7 * i + salt) % modulus);
    return at;
}

#endif
