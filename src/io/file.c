#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "io/io.h"

/* What a gzip file may inflate to: data of any use are hardly ever denser. */
#define GZ_SMALL ((size_t)1 << 26) /* bytes: so many in any case */
#define GZ_TIMES 128

/* Bytes that grow up to a limit, always with room for the final 0 byte. */
typedef struct buffer {
    uint8_t *bytes;
    size_t n, capacity;
} buffer;

/* Room for at least one more byte than is used; at most max_bytes + 1, so that a file one byte too
 * long is noticed. */
static nyb_status buffer_grow(buffer *b, size_t wanted, size_t max_bytes, const char *path,
                              nyb_error *err)
{
    size_t limit = max_bytes < SIZE_MAX - 2 ? max_bytes + 1 : SIZE_MAX - 1;
    size_t capacity = b->capacity > limit / 2 ? limit : nyb_max(b->capacity * 2, 4096);

    capacity = nyb_min(nyb_max(capacity, wanted), limit);
    uint8_t *bytes = nyb_alloc(capacity + 1);
    if (!bytes)
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory reading %zu bytes", path, capacity);
    if (b->n)
        memcpy(bytes, b->bytes, b->n);
    nyb_free(b->bytes);
    b->bytes = bytes;
    b->capacity = capacity;
    return NYB_OK;
}

static nyb_status too_large(const char *path, size_t max_bytes, nyb_error *err)
{
    return nyb_fail(err, NYB_LIMIT, "%s: larger than the %zu bytes allowed here", path, max_bytes);
}

/* Opens a regular file: a pipe or device may never end. O_NONBLOCK: nor does opening a pipe wait.
 */
static nyb_status open_regular(const char *path, int *fd, size_t *n_bytes, nyb_error *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &st) != 0) {
        nyb_fail(err, NYB_IO, "cannot read %s: %s", path, strerror(errno));
    } else if (S_ISREG(st.st_mode)) {
        *n_bytes = (size_t)st.st_size;
        return NYB_OK;
    } else {
        nyb_fail(err, NYB_IO, "cannot read %s: it is a %s", path,
                 S_ISDIR(st.st_mode) ? "folder" : "pipe or a device, not a file");
    }
    if (*fd >= 0)
        close(*fd);
    return NYB_IO;
}

size_t nyb_file_read_head(const char *path, uint8_t *head, size_t n_bytes)
{
    size_t n;
    int fd, got;

    if (open_regular(path, &fd, &n, NULL) != NYB_OK)
        return 0;
    gzFile in = gzdopen(fd, "rb");
    if (!in) {
        close(fd);
        return 0;
    }
    got = gzread(in, head, (unsigned)n_bytes);
    gzclose(in);
    return got > 0 ? (size_t)got : 0;
}

/* n: the file's size as the system has it. */
static nyb_status read_all(int fd, size_t n, const char *path, size_t max_raw, size_t max_bytes,
                           buffer *b, nyb_error *err)
{
    if (n > max_raw)
        return too_large(path, max_bytes, err);
    NYB_TRY(buffer_grow(b, n + 1, max_raw, path, err));
    for (;;) {
        if (b->n > max_raw)
            return too_large(path, max_bytes, err);
        if (b->n == b->capacity)
            NYB_TRY(buffer_grow(b, 0, max_raw, path, err));
        ssize_t got = read(fd, b->bytes + b->n, b->capacity - b->n);
        if (got == 0)
            return NYB_OK;
        if (got < 0 && errno != EINTR)
            return nyb_fail(err, NYB_IO, "cannot read %s: %s", path, strerror(errno));
        if (got > 0)
            b->n += (size_t)got;
    }
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

/* One call of inflate with as much input and room as zlib's 32-bit counters take. */
static int inflate_some(z_stream *z, const buffer *in, size_t *used, buffer *out)
{
    z->next_in = in->bytes + *used;
    z->avail_in = (uInt)nyb_min(in->n - *used, 1u << 30);
    z->next_out = out->bytes + out->n;
    z->avail_out = (uInt)nyb_min(out->capacity - out->n, 1u << 30);
    int rc = inflate(z, Z_NO_FLUSH);
    *used = (size_t)(z->next_in - in->bytes);
    out->n = (size_t)(z->next_out - out->bytes);
    return rc;
}

/* All members of a gzip file (RFC 1952), which may be followed by zero bytes. */
static nyb_status inflate_all(z_stream *z, const char *path, size_t max_bytes, const buffer *in,
                              buffer *out, nyb_error *err)
{
    size_t used = 0;

    NYB_TRY(buffer_grow(out, in->n <= SIZE_MAX / 4 ? 4 * in->n : 0, max_bytes, path, err));
    for (;;) {
        if (out->n > max_bytes)
            return too_large(path, max_bytes, err);
        if (out->n == out->capacity)
            NYB_TRY(buffer_grow(out, 0, max_bytes, path, err));
        int rc = inflate_some(z, in, &used, out);
        if (rc == Z_STREAM_END) {
            if (out->n > max_bytes)
                return too_large(path, max_bytes, err);
            if (all_zero(in->bytes + used, in->n - used))
                return NYB_OK;
            if (inflateReset(z) != Z_OK)
                return nyb_fail(err, NYB_CORRUPT, "%s: the gzip stream cannot be reset", path);
        } else if (rc == Z_MEM_ERROR) {
            return nyb_fail(err, NYB_MEMORY, "%s: out of memory in zlib", path);
        } else if (rc == Z_BUF_ERROR && used == in->n) {
            return nyb_fail(err, NYB_CORRUPT, "%s: gzip data end after %zu bytes: truncated", path,
                            in->n);
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return nyb_fail(err, NYB_CORRUPT, "%s: gzip data damaged near byte %zu: %s", path, used,
                            z->msg ? z->msg : "no gzip member");
        }
    }
}

static nyb_status gunzip(const char *path, size_t max_bytes, buffer *b, nyb_error *err)
{
    z_stream z = {0};
    buffer out = {0};
    const size_t enough = nyb_max(b->n * GZ_TIMES, GZ_SMALL);

    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory in zlib", path);
    nyb_status status = inflate_all(&z, path, nyb_min(max_bytes, enough), b, &out, err);
    if (status == NYB_LIMIT && enough < max_bytes)
        nyb_fail(err, NYB_LIMIT,
                 "%s: its %zu bytes inflate to more than %zu, %d times as many; if that is right, "
                 "gunzip it first",
                 path, b->n, enough, (int)(enough / b->n));
    inflateEnd(&z);
    nyb_free(b->bytes);
    *b = out;
    return status;
}

nyb_status nyb_file_read(const char *path, size_t max_bytes, uint8_t **bytes, size_t *n_bytes,
                         nyb_error *err)
{
    buffer b = {0};

    *bytes = NULL;
    *n_bytes = 0;
    size_t n;
    int fd;
    NYB_TRY(open_regular(path, &fd, &n, err));
    /* A gzip file may be a little larger than its content: 5 bytes in 16 KB, and a header. */
    size_t slack = max_bytes / 1024 + 4096;
    size_t max_raw = max_bytes < SIZE_MAX - slack ? max_bytes + slack : SIZE_MAX;
    nyb_status status = read_all(fd, n, path, max_raw, max_bytes, &b, err);
    close(fd);
    if (status == NYB_OK && b.n >= 2 && b.bytes[0] == 0x1f && b.bytes[1] == 0x8b)
        status = gunzip(path, max_bytes, &b, err);
    else if (status == NYB_OK && b.n > max_bytes)
        status = too_large(path, max_bytes, err);
    if (status != NYB_OK) {
        nyb_free(b.bytes);
        return status;
    }
    b.bytes[b.n] = 0;
    *bytes = b.bytes;
    *n_bytes = b.n;
    return NYB_OK;
}
