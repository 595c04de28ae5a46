/* NumPy's array file: magic, version, length, a Python dict as text, the data.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#include <stdlib.h>

#include "io/io.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays go to files as they are");

/* Where the reader stands in the header text. */
typedef struct cursor {
    const char *at, *end;
    const char *name; /* of the file */
} cursor;

typedef struct header {
    char descr[8];
    bool fortran, has_descr, has_fortran, has_shape;
} header;

static const struct dtype {
    char word[4];
    unsigned char n_bytes;
} dtypes[] = {
    {"b1", 1}, {"i1", 1}, {"u1", 1}, {"i2", 2}, {"u2", 2}, {"f2", 2},
    {"i4", 4}, {"u4", 4}, {"f4", 4}, {"i8", 8}, {"u8", 8}, {"f8", 8},
};

static const struct dtype *dtype_find(const char *word)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].word, word) == 0)
            return &dtypes[i];
    return NULL;
}

static nyb_status bad(const cursor *c, const char *what, nyb_error *err)
{
    return nyb_fail(err, NYB_CORRUPT, "%s: npy header: %s", c->name, what);
}

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
        c->at++;
}

/* Steps over the character if it is next, after blanks. */
static bool take(cursor *c, char wanted)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    size_t n = strlen(word);

    skip_blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

/* A quoted string without escapes, cut to n_bytes - 1. */
static bool take_string(cursor *c, char *text, size_t n_bytes)
{
    char quote = take(c, '\'') ? '\'' : take(c, '"') ? '"' : 0;
    const char *start = c->at;
    const char *end = quote ? memchr(start, quote, (size_t)(c->end - start)) : NULL;

    if (!end)
        return false;
    size_t n = nyb_min((size_t)(end - start), n_bytes - 1);
    memcpy(text, start, n);
    text[n] = 0;
    c->at = end + 1;
    return true;
}

static bool take_size(cursor *c, size_t *value)
{
    skip_blanks(c);
    const char *start = c->at;
    *value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (!nyb_mul_size(*value, 10, value) ||
            __builtin_add_overflow(*value, (size_t)(*c->at - '0'), value))
            return false;
    return c->at > start;
}

/* (), (3,), (3, 4), (3, 4,) */
static nyb_status take_shape(cursor *c, nyb_npy *npy, nyb_error *err)
{
    npy->n_dims = 0;
    npy->n = 1;
    if (!take(c, '('))
        return bad(c, "shape is no tuple", err);
    while (!take(c, ')')) {
        size_t dim;
        if (npy->n_dims == NYB_NPY_DIMS)
            return nyb_fail(err, NYB_LIMIT, "%s: more than %d dimensions", c->name, NYB_NPY_DIMS);
        if (!take_size(c, &dim))
            return bad(c, "a dimension is no size", err);
        if (!nyb_mul_size(npy->n, dim, &npy->n))
            return nyb_fail(err, NYB_LIMIT, "%s: the array is too large to address", c->name);
        npy->dims[npy->n_dims++] = dim;
        if (!take(c, ',') && (npy->n_dims == 1 || c->at == c->end || *c->at != ')'))
            return bad(c, "shape is no tuple", err);
    }
    return NYB_OK;
}

static nyb_status take_entry(cursor *c, header *h, nyb_npy *npy, nyb_error *err)
{
    char key[16];

    if (!take_string(c, key, sizeof key) || !take(c, ':'))
        return bad(c, "not a dict of descr, fortran_order and shape", err);
    if (strcmp(key, "descr") == 0 && !h->has_descr) {
        h->has_descr = true;
        return take_string(c, h->descr, sizeof h->descr) ? NYB_OK
                                                         : bad(c, "a structured dtype", err);
    }
    if (strcmp(key, "fortran_order") == 0 && !h->has_fortran) {
        h->has_fortran = true;
        h->fortran = take_word(c, "True");
        return h->fortran || take_word(c, "False") ? NYB_OK
                                                   : bad(c, "fortran_order is no bool", err);
    }
    if (strcmp(key, "shape") == 0 && !h->has_shape) {
        h->has_shape = true;
        return take_shape(c, npy, err);
    }
    return nyb_fail(err, NYB_CORRUPT, "%s: npy header: unexpected key '%s'", c->name, key);
}

static nyb_status parse_dict(cursor *c, header *h, nyb_npy *npy, nyb_error *err)
{
    if (!take(c, '{'))
        return bad(c, "not a dict of descr, fortran_order and shape", err);
    while (!take(c, '}')) {
        NYB_TRY(take_entry(c, h, npy, err));
        if (!take(c, ',') && (c->at == c->end || *c->at != '}'))
            return bad(c, "no comma between entries", err);
    }
    skip_blanks(c);
    if (c->at != c->end)
        return bad(c, "text after the dict", err);
    if (!h->has_descr || !h->has_fortran || !h->has_shape)
        return bad(c, "descr, fortran_order or shape is missing", err);
    return NYB_OK;
}

static nyb_status check_dtype(const char *name, const header *h, nyb_npy *npy,
                              const struct dtype **dtype, nyb_error *err)
{
    if (h->descr[0] == '>')
        return nyb_fail(err, NYB_CORRUPT, "%s: big-endian dtype '%s'; only little endian is read",
                        name, h->descr);
    *dtype = h->descr[0] == '<' || h->descr[0] == '|' ? dtype_find(h->descr + 1) : NULL;
    if (!*dtype || (h->descr[0] == '|' && (*dtype)->n_bytes > 1))
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: dtype '%s' is not read (known: float, int, uint, bool of 1-8 bytes)",
                        name, h->descr);
    memcpy(npy->dtype, (*dtype)->word, sizeof npy->dtype);
    if (h->fortran)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: Fortran order; save numpy.ascontiguousarray(x) instead", name);
    return NYB_OK;
}

/* *text = the header's dict; *data = the offset behind it. */
static nyb_status find_header(const uint8_t *bytes, size_t n_bytes, const char *name, cursor *c,
                              size_t *data, nyb_error *err)
{
    size_t start = 10, length;

    if (n_bytes < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return nyb_fail(err, NYB_CORRUPT, "%s: not an .npy file", name);
    if ((bytes[6] != 1 && bytes[6] != 2) || bytes[7] != 0)
        return nyb_fail(err, NYB_CORRUPT, "%s: npy version %d.%d; 1.0 and 2.0 are read", name,
                        bytes[6], bytes[7]);
    length = bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] == 2) {
        start = 12;
        if (n_bytes < start)
            return nyb_fail(err, NYB_CORRUPT, "%s: truncated in its header", name);
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    }
    if (length > n_bytes - start)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: a header of %zu bytes is announced, the file has %zu bytes", name,
                        length, n_bytes);
    *data = start + length;
    *c = (cursor){(const char *)bytes + start, (const char *)bytes + *data, name};
    return NYB_OK;
}

static nyb_status parse(const uint8_t *bytes, size_t n_bytes, const char *name, nyb_npy *npy,
                        nyb_error *err)
{
    cursor c = {0};
    header h = {0};
    const struct dtype *dtype = NULL;
    size_t start = 0, n_data;

    NYB_TRY(find_header(bytes, n_bytes, name, &c, &start, err));
    NYB_TRY(parse_dict(&c, &h, npy, err));
    NYB_TRY(check_dtype(name, &h, npy, &dtype, err));
    if (!nyb_mul_size(npy->n, dtype->n_bytes, &n_data))
        return nyb_fail(err, NYB_LIMIT, "%s: the array is too large to address", name);
    if (n_data != n_bytes - start)
        return nyb_fail(err, NYB_CORRUPT, "%s: the shape needs %zu bytes of data, the file has %zu",
                        name, n_data, n_bytes - start);
    npy->data = nyb_alloc(n_data);
    if (!npy->data)
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory for %zu bytes", name, n_data);
    memcpy(npy->data, bytes + start, n_data);
    return NYB_OK;
}

nyb_status nyb_npy_parse(const uint8_t *bytes, size_t n_bytes, const char *name, nyb_npy *npy,
                         nyb_error *err)
{
    memset(npy, 0, sizeof *npy);
    nyb_status status = parse(bytes, n_bytes, name, npy, err);
    if (status != NYB_OK)
        memset(npy, 0, sizeof *npy);
    return status;
}

nyb_status nyb_npy_load(const char *path, nyb_npy *npy, nyb_error *err)
{
    uint8_t *bytes;
    size_t n_bytes;

    memset(npy, 0, sizeof *npy);
    NYB_TRY(nyb_file_read(path, NYB_FILE_MAX, &bytes, &n_bytes, err));
    nyb_status status = nyb_npy_parse(bytes, n_bytes, path, npy, err);
    nyb_free(bytes);
    return status;
}

void nyb_npy_free(nyb_npy *npy)
{
    nyb_free(npy->data);
    memset(npy, 0, sizeof *npy);
}

/* IEEE binary16, subnormals included. */
static float half_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;

    if (exponent == 0) {
        float x = (float)mantissa * 0x1p-24f;
        return sign ? -x : x;
    }
    if (exponent == 31)
        return nyb_float_of(sign | 0x7f800000 | mantissa << 13);
    return nyb_float_of(sign | (exponent + 112) << 23 | mantissa << 13);
}

nyb_status nyb_npy_to_f32(const nyb_npy *npy, float **x, nyb_error *err)
{
    size_t n_bytes;

    *x = NULL;
    if (!dtype_find(npy->dtype))
        return nyb_fail(err, NYB_INVALID, "dtype '%.4s' cannot become f4", npy->dtype);
    if (!nyb_mul_size(npy->n, sizeof **x, &n_bytes))
        return nyb_fail(err, NYB_LIMIT, "%zu floats are too many to address", npy->n);
    float *out = nyb_alloc(n_bytes);
    if (!out)
        return nyb_fail(err, NYB_MEMORY, "out of memory for %zu floats", npy->n);
#define CONVERT(word, type, function)                                                              \
    if (strcmp(npy->dtype, word) == 0)                                                             \
        for (size_t i = 0; i < npy->n; i++)                                                        \
            out[i] = function(((const type *)npy->data)[i]);
    CONVERT("b1", uint8_t, (float))
    CONVERT("i1", int8_t, (float))
    CONVERT("u1", uint8_t, (float))
    CONVERT("i2", int16_t, (float))
    CONVERT("u2", uint16_t, (float))
    CONVERT("f2", uint16_t, half_to_f32)
    CONVERT("i4", int32_t, (float))
    CONVERT("u4", uint32_t, (float))
    CONVERT("f4", float, (float))
    CONVERT("i8", int64_t, (float))
    CONVERT("u8", uint64_t, (float))
    CONVERT("f8", double, (float))
#undef CONVERT
    *x = out;
    return NYB_OK;
}

/* The dict, padded so that the data start at a multiple of 64 bytes. Returns its length. */
static size_t print_header(char *text, size_t n_bytes, const struct dtype *dtype, int n_dims,
                           const size_t *dims)
{
    size_t n =
        (size_t)snprintf(text, n_bytes, "{'descr': '%c%s', 'fortran_order': False, 'shape': (",
                         dtype->n_bytes == 1 ? '|' : '<', dtype->word);

    for (int i = 0; i < n_dims; i++)
        n += (size_t)snprintf(text + n, n_bytes - n, "%s%zu%s", i ? " " : "", dims[i],
                              i + 1 < n_dims || n_dims == 1 ? "," : "");
    n += (size_t)snprintf(text + n, n_bytes - n, "), }");
    while ((10 + n + 1) % 64 != 0)
        text[n++] = ' ';
    text[n++] = '\n';
    return n;
}

nyb_status nyb_npy_save(const char *path, const char *dtype, const void *data, int n_dims,
                        const size_t *dims, nyb_error *err)
{
    const struct dtype *type = dtype_find(dtype);
    char header_text[512]; /* 8 dimensions of 20 digits fit with room to spare */
    nyb_atomic_file *file;
    size_t n = 1, n_bytes;

    NYB_TRY(nyb_check_pointers(path && (dims || n_dims == 0), err));
    if (!type)
        return nyb_fail(err, NYB_INVALID, "%s: no npy dtype '%s'", path, dtype);
    if (n_dims < 0 || n_dims > NYB_NPY_DIMS)
        return nyb_fail(err, NYB_INVALID, "%s: %d dimensions", path, n_dims);
    for (int i = 0; i < n_dims; i++)
        if (!nyb_mul_size(n, dims[i], &n))
            return nyb_fail(err, NYB_LIMIT, "%s: the array is too large to address", path);
    if (!nyb_mul_size(n, type->n_bytes, &n_bytes))
        return nyb_fail(err, NYB_LIMIT, "%s: the array is too large to address", path);
    NYB_TRY(nyb_check_pointers(data || n == 0, err));
    NYB_TRY(nyb_atomic_open(path, &file, err));
    FILE *out = nyb_atomic_stream(file);
    size_t n_header = print_header(header_text, sizeof header_text, type, n_dims, dims);
    const uint8_t start[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, n_header & 255, (uint8_t)(n_header >> 8)};
    fwrite(start, 1, sizeof start, out);
    fwrite(header_text, 1, n_header, out);
    if (n_bytes)
        fwrite(data, 1, n_bytes, out);
    return nyb_atomic_commit(&file, err);
}
