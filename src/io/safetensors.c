/* safetensors: u64 little-endian header length, JSON header, the tensors' bytes without gaps.
 * https://huggingface.co/docs/safetensors, and the checks of its Rust implementation. */
#include <stdlib.h>

#include <jansson.h>

#include "io/io.h"

#define HEADER_MAX ((size_t)100000000) /* bytes, as upstream */

struct nyb_st_file {
    uint8_t *bytes; /* the whole file, or an aligned copy of the data */
    json_t *root;   /* names and metadata live here                  */
    nyb_st_tensor *tensors;
    size_t n_tensors;
};

static const struct dtype {
    char word[8];
    unsigned char n_bits;
} dtypes[] = {
    {"BOOL", 8},    {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},    {"BF16", 16},
    {"I32", 32},    {"U32", 32}, {"F32", 32}, {"I64", 64},    {"U64", 64},
    {"F64", 64},    {"C64", 64}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
};

static const struct dtype *dtype_find(const char *word)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].word, word) == 0)
            return &dtypes[i];
    return NULL;
}

/* *n_bytes = what dims and dtype need; false if that is no whole number or no size_t. */
static bool tensor_bytes(const struct dtype *dtype, const size_t *dims, int n_dims, size_t *n_bytes)
{
    size_t n = 1, n_bits;

    for (int i = 0; i < n_dims; i++)
        if (!nyb_mul_size(n, dims[i], &n))
            return false;
    if (dtype->n_bits % 8 == 0)
        return nyb_mul_size(n, dtype->n_bits / 8, n_bytes);
    if (!nyb_mul_size(n, dtype->n_bits, &n_bits) || n_bits % 8 != 0)
        return false;
    *n_bytes = n_bits / 8;
    return true;
}

/* ---- loading ------------------------------------------------------------------------------ */

static bool get_size(const json_t *value, size_t *size)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (unsigned long long)json_integer_value(value) > SIZE_MAX)
        return false;
    *size = (size_t)json_integer_value(value);
    return true;
}

static nyb_status parse_shape(const char *file, nyb_st_tensor *t, const json_t *shape,
                              nyb_error *err)
{
    if (!json_is_array(shape))
        return nyb_fail(err, NYB_CORRUPT, "%s: tensor '%s' has no shape", file, t->name);
    if (json_array_size(shape) > NYB_NPY_DIMS)
        return nyb_fail(err, NYB_LIMIT, "%s: tensor '%s' has %zu dimensions, more than %d", file,
                        t->name, json_array_size(shape), NYB_NPY_DIMS);
    t->n_dims = (int)json_array_size(shape);
    for (int i = 0; i < t->n_dims; i++)
        if (!get_size(json_array_get(shape, (size_t)i), &t->dims[i]))
            return nyb_fail(err, NYB_CORRUPT, "%s: tensor '%s': dimension %d is no size", file,
                            t->name, i);
    return NYB_OK;
}

/* Of one entry of the header. t->data becomes data + begin; end is checked against n_data. */
static nyb_status parse_tensor(const char *file, nyb_st_tensor *t, const json_t *entry,
                               const uint8_t *data, size_t n_data, nyb_error *err)
{
    const char *word = json_string_value(json_object_get(entry, "dtype"));
    const struct dtype *dtype = word ? dtype_find(word) : NULL;
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin, end, n_bytes;

    if (!dtype)
        return nyb_fail(err, NYB_CORRUPT, "%s: tensor '%s': dtype '%s' is not known", file, t->name,
                        word ? word : "(none)");
    t->dtype = dtype->word;
    NYB_TRY(parse_shape(file, t, json_object_get(entry, "shape"), err));
    if (json_array_size(offsets) != 2 || !get_size(json_array_get(offsets, 0), &begin) ||
        !get_size(json_array_get(offsets, 1), &end))
        return nyb_fail(err, NYB_CORRUPT, "%s: tensor '%s': data_offsets are not two sizes", file,
                        t->name);
    if (begin > end || end > n_data)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: tensor '%s': bytes %zu to %zu of data that have %zu bytes", file,
                        t->name, begin, end, n_data);
    if (!tensor_bytes(dtype, t->dims, t->n_dims, &n_bytes))
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: tensor '%s': shape and dtype give no whole number of bytes", file,
                        t->name);
    if (n_bytes != end - begin)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: tensor '%s': %s of its shape needs %zu bytes, data_offsets give %zu",
                        file, t->name, dtype->word, n_bytes, end - begin);
    t->data = data + begin;
    t->n_bytes = n_bytes;
    return NYB_OK;
}

static nyb_status check_meta(const char *file, const json_t *meta, nyb_error *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(meta))
        return nyb_fail(err, NYB_CORRUPT, "%s: __metadata__ is no object", file);
    json_object_foreach((json_t *)(uintptr_t)meta, key, value)
    {
        if (!json_is_string(value))
            return nyb_fail(err, NYB_CORRUPT, "%s: metadata '%s' is no string", file, key);
    }
    return NYB_OK;
}

static int by_data(const void *a, const void *b)
{
    const nyb_st_tensor *ta = a, *tb = b;

    if (ta->data != tb->data)
        return (const uint8_t *)ta->data < (const uint8_t *)tb->data ? -1 : 1;
    if (ta->n_bytes != tb->n_bytes)
        return ta->n_bytes < tb->n_bytes ? -1 : 1;
    return strcmp(ta->name, tb->name);
}

static nyb_status check_tiling(const char *file, const nyb_st_file *f, const uint8_t *data,
                               size_t n_data, nyb_error *err)
{
    size_t end = 0;

    for (size_t i = 0; i < f->n_tensors; i++) {
        const nyb_st_tensor *t = &f->tensors[i];
        size_t begin = (size_t)((const uint8_t *)t->data - data);
        if (begin != end)
            return nyb_fail(err, NYB_CORRUPT, "%s: tensor '%s' begins at byte %zu, %s byte %zu",
                            file, t->name, begin,
                            begin < end ? "but data of another reach" : "leaving a gap after", end);
        end += t->n_bytes;
    }
    if (end != n_data)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: the tensors fill %zu bytes, the file has %zu bytes of data", file, end,
                        n_data);
    return NYB_OK;
}

static nyb_status parse_tensors(const char *file, nyb_st_file *f, const uint8_t *data,
                                size_t n_data, nyb_error *err)
{
    const char *key;
    json_t *entry;

    f->tensors = nyb_alloc((json_object_size(f->root) + 1) * sizeof *f->tensors);
    if (!f->tensors)
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory for its header", file);
    json_object_foreach(f->root, key, entry)
    {
        if (strcmp(key, "__metadata__") == 0) {
            NYB_TRY(check_meta(file, entry, err));
            continue;
        }
        nyb_st_tensor *t = &f->tensors[f->n_tensors++];
        t->name = key;
        NYB_TRY(parse_tensor(file, t, entry, data, n_data, err));
    }
    qsort(f->tensors, f->n_tensors, sizeof *f->tensors, by_data);
    return check_tiling(file, f, data, n_data, err);
}

static nyb_status parse_header(const char *file, nyb_st_file *f, size_t n_bytes, size_t *n_header,
                               nyb_error *err)
{
    json_error_t reason;
    uint64_t length = 0;

    if (n_bytes < 8)
        return nyb_fail(err, NYB_CORRUPT, "%s: %zu bytes are too few for a safetensors file", file,
                        n_bytes);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | f->bytes[i];
    if (length > HEADER_MAX)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: a header of %llu bytes is announced, at most %zu are allowed", file,
                        (unsigned long long)length, HEADER_MAX);
    *n_header = (size_t)length;
    if (*n_header > n_bytes - 8)
        return nyb_fail(err, NYB_CORRUPT,
                        "%s: a header of %zu bytes is announced, the file has %zu bytes", file,
                        *n_header, n_bytes);
    if (*n_header < 2 || f->bytes[8] != '{')
        return nyb_fail(err, NYB_CORRUPT, "%s: the header is no JSON object", file);
    f->root = json_loadb((const char *)f->bytes + 8, *n_header, JSON_REJECT_DUPLICATES, &reason);
    if (!f->root)
        return nyb_fail(err, NYB_CORRUPT, "%s: header, byte %d: %s", file, reason.position,
                        reason.text);
    return NYB_OK;
}

/* Tensors need not be aligned in a file; those of a loaded one are, by a copy if need be. */
static nyb_status align(const char *file, nyb_st_file *f, nyb_error *err)
{
    size_t n = 0;
    bool aligned = true;

    for (size_t i = 0; i < f->n_tensors; i++) {
        aligned = aligned && (uintptr_t)f->tensors[i].data % 8 == 0;
        n += nyb_round_up(f->tensors[i].n_bytes, 8); /* below twice the file, +8 per tensor */
    }
    if (aligned)
        return NYB_OK;
    uint8_t *copy = nyb_alloc(n);
    if (!copy)
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory for %zu bytes", file, n);
    n = 0;
    for (size_t i = 0; i < f->n_tensors; i++) {
        nyb_st_tensor *t = &f->tensors[i];
        memcpy(copy + n, t->data, t->n_bytes);
        t->data = copy + n;
        n += nyb_round_up(t->n_bytes, 8);
    }
    nyb_free(f->bytes);
    f->bytes = copy;
    return NYB_OK;
}

static nyb_status parse(nyb_st_file *f, size_t n_bytes, const char *name, nyb_error *err)
{
    size_t n_header;

    NYB_TRY(parse_header(name, f, n_bytes, &n_header, err));
    NYB_TRY(parse_tensors(name, f, f->bytes + 8 + n_header, n_bytes - 8 - n_header, err));
    return align(name, f, err);
}

nyb_status nyb_st_parse(uint8_t *bytes, size_t n_bytes, const char *name, nyb_st_file **file,
                        nyb_error *err)
{
    nyb_st_file *f = nyb_alloc(sizeof *f);

    *file = NULL;
    if (!f) {
        nyb_free(bytes);
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory", name);
    }
    f->bytes = bytes;
    nyb_status status = parse(f, n_bytes, name, err);
    if (status != NYB_OK) {
        nyb_st_close(&f);
        return status;
    }
    *file = f;
    return NYB_OK;
}

nyb_status nyb_st_load(const char *path, nyb_st_file **file, nyb_error *err)
{
    uint8_t *bytes;
    size_t n_bytes;

    *file = NULL;
    NYB_TRY(nyb_file_read(path, NYB_FILE_MAX, &bytes, &n_bytes, err));
    return nyb_st_parse(bytes, n_bytes, path, file, err);
}

void nyb_st_close(nyb_st_file **file)
{
    nyb_st_file *f = *file;

    if (!f)
        return;
    json_decref(f->root);
    nyb_free(f->tensors);
    nyb_free(f->bytes);
    nyb_free(f);
    *file = NULL;
}

size_t nyb_st_count(const nyb_st_file *file)
{
    return file->n_tensors;
}

const nyb_st_tensor *nyb_st_at(const nyb_st_file *file, size_t i)
{
    return &file->tensors[i];
}

const nyb_st_tensor *nyb_st_find(const nyb_st_file *file, const char *name)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *nyb_st_meta_find(const nyb_st_file *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->root, "__metadata__"), key));
}

/* ---- saving ------------------------------------------------------------------------------- */

static nyb_status check_tensor(const char *path, const nyb_st_tensor *tensors, size_t i,
                               nyb_error *err)
{
    const nyb_st_tensor *t = &tensors[i];
    const struct dtype *dtype = dtype_find(t->dtype);
    size_t n_bytes;

    if (!dtype)
        return nyb_fail(err, NYB_INVALID, "%s: tensor '%s': dtype '%s' is not known", path, t->name,
                        t->dtype);
    if (t->n_dims < 0 || t->n_dims > NYB_NPY_DIMS)
        return nyb_fail(err, NYB_INVALID, "%s: tensor '%s' has %d dimensions", path, t->name,
                        t->n_dims);
    if (!tensor_bytes(dtype, t->dims, t->n_dims, &n_bytes) || n_bytes != t->n_bytes)
        return nyb_fail(err, NYB_INVALID, "%s: tensor '%s': %zu bytes do not fit its shape", path,
                        t->name, t->n_bytes);
    if (strcmp(t->name, "__metadata__") == 0)
        return nyb_fail(err, NYB_INVALID, "%s: no tensor can be called __metadata__", path);
    for (size_t j = 0; j < i; j++)
        if (strcmp(tensors[j].name, t->name) == 0)
            return nyb_fail(err, NYB_INVALID, "%s: two tensors are called '%s'", path, t->name);
    return NYB_OK;
}

static void print_header(FILE *out, const nyb_st_tensor *tensors, size_t n_tensors,
                         const nyb_st_meta *meta, size_t n_meta)
{
    nyb_json json;
    size_t offset = 0;

    nyb_json_begin(&json, out, false);
    nyb_json_object(&json, NULL);
    if (n_meta) {
        nyb_json_object(&json, "__metadata__");
        for (size_t i = 0; i < n_meta; i++)
            nyb_json_string(&json, meta[i].key, meta[i].value);
        nyb_json_end(&json);
    }
    for (size_t i = 0; i < n_tensors; i++) {
        const nyb_st_tensor *t = &tensors[i];
        nyb_json_object(&json, t->name);
        nyb_json_string(&json, "dtype", t->dtype);
        nyb_json_array(&json, "shape");
        for (int d = 0; d < t->n_dims; d++)
            nyb_json_int(&json, NULL, (int64_t)t->dims[d]);
        nyb_json_end(&json);
        nyb_json_array(&json, "data_offsets");
        nyb_json_int(&json, NULL, (int64_t)offset);
        offset += t->n_bytes;
        nyb_json_int(&json, NULL, (int64_t)offset);
        nyb_json_end(&json);
        nyb_json_end(&json);
    }
    nyb_json_end(&json);
}

static void write_file(FILE *out, const char *header, size_t n_header, const nyb_st_tensor *tensors,
                       size_t n_tensors)
{
    uint64_t length = nyb_round_up(n_header, 8);

    for (int i = 0; i < 8; i++)
        putc((int)(length >> 8 * i & 255), out);
    fwrite(header, 1, n_header, out);
    for (size_t i = n_header; i < length; i++)
        putc(' ', out);
    for (size_t i = 0; i < n_tensors; i++)
        if (tensors[i].n_bytes)
            fwrite(tensors[i].data, 1, tensors[i].n_bytes, out);
}

nyb_status nyb_st_save(const char *path, const nyb_st_tensor *tensors, size_t n_tensors,
                       const nyb_st_meta *meta, size_t n_meta, nyb_error *err)
{
    nyb_atomic_file *file = NULL;
    char *header = NULL; /* malloc's */
    size_t n_header;

    for (size_t i = 0; i < n_tensors; i++)
        NYB_TRY(check_tensor(path, tensors, i, err));
    FILE *text = open_memstream(&header, &n_header);
    if (!text)
        return nyb_fail(err, NYB_MEMORY, "%s: out of memory for its header", path);
    print_header(text, tensors, n_tensors, meta, n_meta);
    bool failed = ferror(text);
    nyb_status status;
    if (fclose(text) != 0 || failed)
        status = nyb_fail(err, NYB_MEMORY, "%s: out of memory for its header", path);
    else if (n_header > HEADER_MAX)
        status = nyb_fail(err, NYB_LIMIT, "%s: a header of %zu bytes; %zu are allowed", path,
                          n_header, HEADER_MAX);
    else
        status = nyb_atomic_open(path, &file, err);
    if (status == NYB_OK) {
        /* without the newline that ends a JSON value */
        write_file(nyb_atomic_stream(file), header, n_header - 1, tensors, n_tensors);
        status = nyb_atomic_commit(&file, err);
    }
    free(header);
    return status;
}
