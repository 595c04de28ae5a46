/* IDX, the format of MNIST: http://yann.lecun.com/exdb/mnist */
#include <stdlib.h>
#include <unistd.h>

#include "data/data.h"
#include "data/parse.h"
#include "io/io.h"

#define HEADER_MAX 16   /* bytes, of three dimensions */
#define SLACK      4096 /* bytes beyond what a header promises that are read, to say how many */

/* The header in the file's first n_bytes; *n: the bytes of data that it promises. */
static nyb_status parse_header(const uint8_t *bytes, size_t n_bytes, int n_dims, const char *what,
                               size_t dims[3], size_t *n, nyb_error *err)
{
    const size_t n_header = 4 + 4 * (size_t)n_dims;

    *n = 1;
    if (n_bytes < n_header)
        return nyb_fail(err, NYB_CORRUPT, "%s has %zu bytes, fewer than an IDX header (%zu)", what,
                        n_bytes, n_header);
    if (bytes[0] || bytes[1] || bytes[2] != 8 || bytes[3] != n_dims)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s begins with %02x %02x %02x %02x, want 00 00 08 %02x (IDX, unsigned "
                        "bytes, %d dimensions)",
                        what, bytes[0], bytes[1], bytes[2], bytes[3], (unsigned)n_dims, n_dims);
    for (int i = 0; i < n_dims; i++) {
        const uint8_t *b = bytes + 4 + 4 * i;

        dims[i] = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
        if (!nyb_mul_size(*n, dims[i], n))
            return nyb_fail(err, NYB_LIMIT, "%s: its dimensions overflow", what);
    }
    return NYB_OK;
}

nyb_status nyb_idx_parse(const uint8_t *bytes, size_t n_bytes, int n_dims, const char *what,
                         size_t dims[3], const uint8_t **data, nyb_error *err)
{
    const size_t n_header = 4 + 4 * (size_t)n_dims;
    size_t n;

    NYB_TRY(parse_header(bytes, n_bytes, n_dims, what, dims, &n, err));
    if (n != n_bytes - n_header)
        return nyb_fail(err, NYB_CORRUPT, "%s: the header promises %zu bytes, the file has %zu",
                        what, n, n_bytes - n_header);
    *data = bytes + n_header;
    return NYB_OK;
}

/* dir/name or dir/name.gz, whichever is there. */
static nyb_status find_either(const char *dir, const char *name, char path[NYB_DATA_PATH],
                              nyb_error *err)
{
    NYB_TRY(nyb_data_path(dir, name, "", path, err));
    if (access(path, F_OK))
        NYB_TRY(nyb_data_path(dir, name, ".gz", path, err));
    if (access(path, F_OK))
        return nyb_fail(err, NYB_IO, "folder '%s' has neither %s nor %s.gz", dir, name, name);
    return NYB_OK;
}

/* The whole file, but not much more than its header promises. */
static nyb_status read_promised(const char *path, int n_dims, uint8_t **bytes, size_t *n_bytes,
                                nyb_error *err)
{
    const size_t n_header = 4 + 4 * (size_t)n_dims;
    size_t max_bytes = NYB_DATA_MAX_BYTES, dims[3], n = 0;
    uint8_t head[HEADER_MAX];
    nyb_error why = {0};
    nyb_status status;

    /* a file that is shorter, or cannot be read, is small or tells why */
    if (nyb_file_read_head(path, head, n_header) == n_header) {
        NYB_TRY(parse_header(head, n_header, n_dims, path, dims, &n, err));
        max_bytes = nyb_min(n, NYB_DATA_MAX_BYTES - SLACK) + SLACK;
    }
    status = nyb_file_read(path, max_bytes, bytes, n_bytes, &why);
    if (status == NYB_LIMIT)
        return nyb_fail(err, status, "the header promises %zu bytes: %s", n, why.text);
    if (status != NYB_OK && err)
        *err = why;
    return status;
}

/* One file of n_dims dimensions; *copy is nyb_alloc memory. */
static nyb_status load(const char *dir, const char *name, int n_dims, size_t dims[3],
                       uint8_t **copy, nyb_error *err)
{
    uint8_t *bytes = NULL;
    const uint8_t *data = NULL;
    size_t n_bytes = 0, n_data;
    char path[NYB_DATA_PATH];
    nyb_status status;

    NYB_TRY(find_either(dir, name, path, err));
    NYB_TRY(read_promised(path, n_dims, &bytes, &n_bytes, err));
    status = nyb_idx_parse(bytes, n_bytes, n_dims, path, dims, &data, err);
    if (status == NYB_OK) {
        n_data = n_bytes - (size_t)(data - bytes);
        *copy = nyb_alloc(n_data);
        if (*copy)
            memcpy(*copy, data, n_data);
        else
            status = nyb_fail(err, NYB_MEMORY, "out of memory for '%s'", path);
    }
    nyb_free(bytes);
    return status;
}

/* size: height and width of the part's images. */
static nyb_status load_part(const char *dir, const char *images, const char *labels, size_t size[2],
                            nyb_part *part, nyb_error *err)
{
    size_t dims[3] = {0, 0, 0}, n_labels[3] = {0, 0, 0};

    NYB_TRY(load(dir, images, 3, dims, &part->pixels, err));
    NYB_TRY(load(dir, labels, 1, n_labels, &part->labels, err));
    if (dims[0] != n_labels[0])
        return nyb_fail(err, NYB_CORRUPT, "%s has %zu images, %s has %zu labels", images, dims[0],
                        labels, n_labels[0]);
    if (dims[1] == 0 || dims[2] == 0)
        return nyb_fail(err, NYB_CORRUPT, "%s has images of %zux%zu pixels", images, dims[1],
                        dims[2]);
    part->n = dims[0];
    size[0] = dims[1];
    size[1] = dims[2];
    return NYB_OK;
}

static nyb_status open_dir(const char *dir, nyb_data *d, nyb_error *err)
{
    size_t train[2] = {0, 0}, test[2] = {0, 0};

    if (!*dir)
        return nyb_fail(err, NYB_INVALID, "want idx:DIR");
    NYB_TRY(load_part(dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", train, &d->train,
                      err));
    NYB_TRY(
        load_part(dir, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", test, &d->test, err));
    if (train[0] != test[0] || train[1] != test[1])
        return nyb_fail(err, NYB_CORRUPT, "training images are %zux%zu, test images %zux%zu",
                        train[0], train[1], test[0], test[1]);
    d->h = train[0];
    d->w = train[1];
    d->c = 1;
    for (size_t i = 0; i < d->train.n; i++)
        d->classes = nyb_max(d->classes, (size_t)d->train.labels[i] + 1);
    return NYB_OK;
}

static nyb_status open_labels10(const char *dir, nyb_data *d, nyb_error *err)
{
    NYB_TRY(open_dir(dir, d, err));
    d->classes = 10;
    return NYB_OK;
}

static nyb_status open_fashion(const char *rest, nyb_data *d, nyb_error *err)
{
    static const char debian[] = "/usr/share/datasets/fashion-mnist";
    const char *root = getenv("NYBBLE_DATA");
    char dir[NYB_DATA_PATH];

    if (*rest)
        return nyb_fail(err, NYB_INVALID, "nothing may follow its name (idx:DIR reads a folder)");
    if (root && *root) {
        NYB_TRY(nyb_data_path(root, "fashion-mnist", "", dir, err));
        if (access(dir, F_OK))
            return nyb_fail(err, NYB_IO, "NYBBLE_DATA is '%s', and %s is not there", root, dir);
        return open_labels10(dir, d, err);
    }
    if (access(debian, F_OK))
        return nyb_fail(
            err, NYB_IO,
            "%s is not there; apt-get install dataset-fashion-mnist, or set NYBBLE_DATA "
            "to a folder that has fashion-mnist/",
            debian);
    return open_labels10(debian, d, err);
}

extern const nyb_data_source nyb_data_source_idx, nyb_data_source_fashion_mnist;
const nyb_data_source nyb_data_source_idx = {
    "idx", "idx:DIR, four IDX files (MNIST's names), plain or .gz", open_dir, true};
const nyb_data_source nyb_data_source_fashion_mnist = {
    "fashion-mnist",
    "Fashion-MNIST of Debian's dataset-fashion-mnist, or $NYBBLE_DATA/fashion-mnist", open_fashion};
