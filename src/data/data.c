#include "data/data.h"

#include <math.h>
#include <stdio.h>

#include "base/cpu.h"
#include "data/parse.h"
#include "registry.h"

#define X(name) extern const nyb_data_source nyb_data_source_##name;
NYB_DATA_SOURCES(X)
#undef X

const nyb_data_source *const nyb_data_sources[] = {
#define X(name) &nyb_data_source_##name,
    NYB_DATA_SOURCES(X)
#undef X
        NULL};

size_t nyb_data_source_count(void)
{
    return sizeof nyb_data_sources / sizeof *nyb_data_sources - 1;
}

const char *nyb_data_source_name(size_t i)
{
    return i < nyb_data_source_count() ? nyb_data_sources[i]->name : NULL;
}

const char *nyb_data_source_about(size_t i)
{
    return i < nyb_data_source_count() ? nyb_data_sources[i]->about : NULL;
}

int nyb_data_source_in_folder(size_t i)
{
    return i < nyb_data_source_count() && nyb_data_sources[i]->in_folder;
}

nyb_status nyb_data_path(const char *dir, const char *name, const char *suffix,
                         char path[NYB_DATA_PATH], nyb_error *err)
{
    if (snprintf(path, NYB_DATA_PATH, "%s/%s%s", dir, name, suffix) >= NYB_DATA_PATH)
        return nyb_fail(err, NYB_LIMIT, "the path of '%.40s' in '%.200s...' is too long", name,
                        dir);
    return NYB_OK;
}

static nyb_status check_labels(const nyb_part *part, const char *which, size_t classes,
                               nyb_error *err)
{
    for (size_t i = 0; i < part->n; i++)
        if (part->labels[i] >= classes)
            return nyb_fail(err, NYB_CORRUPT, "%s label %zu is %u, want 0..%zu", which, i,
                            part->labels[i], classes - 1);
    return NYB_OK;
}

static nyb_status check_shape(const nyb_data *d, nyb_error *err)
{
    if (!d->h || !d->w || !d->c || d->c > 4 || d->classes < 2 || d->classes > 256)
        return nyb_fail(err, NYB_SHAPE,
                        "images are %zux%zux%zu (CxHxW) of %zu classes; 1..4 channels and 2..256 "
                        "classes are needed",
                        d->c, d->h, d->w, d->classes);
    return NYB_OK;
}

static nyb_status check(const nyb_data *d, nyb_error *err)
{
    NYB_TRY(check_shape(d, err));
    if (d->train.n == 0 || d->test.n == 0)
        return nyb_fail(err, NYB_CORRUPT, "%zu training and %zu test images", d->train.n,
                        d->test.n);
    NYB_TRY(check_labels(&d->train, "training", d->classes, err));
    return check_labels(&d->test, "test", d->classes, err);
}

/* Per channel, exact integer sums over the training part, then double. */
static void measure(nyb_data *d)
{
    const uint32_t former = nyb_cpu_fp_enter();
    const size_t n = d->train.n * d->h * d->w;

    for (size_t c = 0; c < d->c; c++) {
        uint64_t sum = 0, squares = 0;
        double mean, variance;

        for (size_t i = 0; i < n; i++) {
            const uint64_t p = d->train.pixels[i * d->c + c];

            sum += p;
            squares += p * p;
        }
        mean = (double)sum / (double)n;
        variance = (double)squares / (double)n - mean * mean;
        d->mean[c] = (float)(mean / 255.0);
        d->std[c] = (float)(sqrt(variance > 0.0 ? variance : 0.0) / 255.0);
        if (!(d->std[c] > 0.0f))
            d->std[c] = 1.0f; /* a constant channel */
    }
    nyb_cpu_fp_restore(former);
}

static const nyb_data_source *find_source(const char *spec, const char **rest)
{
    for (const nyb_data_source *const *s = nyb_data_sources; *s; s++) {
        const size_t n = strlen((*s)->name);

        if (strncmp(spec, (*s)->name, n) || (spec[n] && spec[n] != ':'))
            continue;
        *rest = spec[n] ? spec + n + 1 : "";
        return *s;
    }
    return NULL;
}

nyb_status nyb_data_open(const char *spec, nyb_data **data, nyb_error *err)
{
    const char *rest = "";
    const nyb_data_source *source;
    nyb_error why = {0};
    nyb_data *d;

    *data = NULL;
    NYB_TRY(nyb_check_pointers(spec, err));
    source = find_source(spec, &rest);
    if (!source) {
        char list[256] = "";
        size_t at = 0;

        for (size_t i = 0; i < nyb_data_source_count() && at < sizeof list; i++)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "",
                                   nyb_data_sources[i]->name);
        return nyb_fail(err, NYB_UNKNOWN, "data '%s': want one of %s", spec, list);
    }
    d = nyb_alloc(sizeof *d);
    if (!d)
        return nyb_fail(err, NYB_MEMORY, "data '%s': out of memory", spec);
    d->name = nyb_strdup(spec);
    if (!d->name) {
        nyb_data_close(&d);
        return nyb_fail(err, NYB_MEMORY, "data '%s': out of memory", spec);
    }
    if (source->open(rest, d, &why) != NYB_OK || check(d, &why) != NYB_OK) {
        nyb_data_close(&d);
        return nyb_fail(err, why.status, "data '%s': %s", spec, why.text);
    }
    measure(d);
    *data = d;
    return NYB_OK;
}

static nyb_status copy_part(nyb_part *part, size_t n, size_t image, const uint8_t *pixels,
                            const uint8_t *labels, nyb_error *err)
{
    size_t n_bytes;

    NYB_TRY(nyb_check_pointers(n == 0 || (pixels && labels), err));
    if (!nyb_mul_size(n, image, &n_bytes))
        return nyb_fail(err, NYB_LIMIT, "%zu images of %zu bytes are too many", n, image);
    part->n = n;
    part->pixels = nyb_alloc(nyb_max(n_bytes, 1));
    part->labels = nyb_alloc(nyb_max(n, 1));
    if (!part->pixels || !part->labels)
        return nyb_fail(err, NYB_MEMORY, "no memory for %zu images of %zu bytes", n, image);
    if (n > 0) {
        memcpy(part->pixels, pixels, n_bytes);
        memcpy(part->labels, labels, n);
    }
    return NYB_OK;
}

static nyb_status copy_data(nyb_data *d, const nyb_data_info *info, const uint8_t *train_pixels,
                            const uint8_t *train_labels, const uint8_t *test_pixels,
                            const uint8_t *test_labels, nyb_error *err)
{
    size_t image;

    d->h = info->h;
    d->w = info->w;
    d->c = info->c;
    d->classes = info->classes;
    NYB_TRY(check_shape(d, err));
    if (!nyb_mul_size(d->h, d->w, &image) || !nyb_mul_size(image, d->c, &image))
        return nyb_fail(err, NYB_LIMIT, "images of %zux%zux%zu are too large", d->h, d->w, d->c);
    NYB_TRY(copy_part(&d->train, info->n_train, image, train_pixels, train_labels, err));
    NYB_TRY(copy_part(&d->test, info->n_test, image, test_pixels, test_labels, err));
    return check(d, err);
}

nyb_status nyb_data_create(const nyb_data_info *info, const uint8_t *train_pixels,
                           const uint8_t *train_labels, const uint8_t *test_pixels,
                           const uint8_t *test_labels, nyb_data **data, nyb_error *err)
{
    nyb_status status;
    nyb_data *d;

    *data = NULL;
    NYB_TRY(nyb_check_pointers(info, err));
    d = nyb_alloc(sizeof *d);
    if (!d)
        return nyb_fail(err, NYB_MEMORY, "no memory for data");
    d->name = nyb_strdup(info->name ? info->name : "memory");
    status = d->name ? copy_data(d, info, train_pixels, train_labels, test_pixels, test_labels, err)
                     : nyb_fail(err, NYB_MEMORY, "no memory for data");
    if (status != NYB_OK) {
        nyb_data_close(&d);
        return status;
    }
    measure(d);
    *data = d;
    return NYB_OK;
}

void nyb_data_close(nyb_data **data)
{
    nyb_data *d = *data;

    if (!d)
        return;
    nyb_free(d->name);
    nyb_free(d->train.pixels);
    nyb_free(d->train.labels);
    nyb_free(d->test.pixels);
    nyb_free(d->test.labels);
    nyb_free(d);
    *data = NULL;
}

void nyb_data_get_info(const nyb_data *d, nyb_data_info *info)
{
    *info = (nyb_data_info){.name = d->name,
                            .n_train = d->train.n,
                            .n_test = d->test.n,
                            .h = d->h,
                            .w = d->w,
                            .c = d->c,
                            .classes = d->classes};
    memcpy(info->mean, d->mean, sizeof info->mean);
    memcpy(info->std, d->std, sizeof info->std);
}

void nyb_data_limit(nyb_data *d, size_t n_train, size_t n_test)
{
    if (n_train)
        d->train.n = nyb_min(d->train.n, n_train);
    if (n_test)
        d->test.n = nyb_min(d->test.n, n_test);
}

nyb_status nyb_data_set_normalization(nyb_data *d, const float *mean, const float *std,
                                      nyb_error *err)
{
    NYB_TRY(nyb_check_pointers(d && mean && std, err));
    for (size_t c = 0; c < d->c; c++)
        if (!isfinite(mean[c]) || !isfinite(std[c]) || !(std[c] > 0.0f))
            return nyb_fail(err, NYB_INVALID, "channel %zu: mean %g, deviation %g", c,
                            (double)mean[c], (double)std[c]);
    memcpy(d->mean, mean, d->c * sizeof *mean);
    memcpy(d->std, std, d->c * sizeof *std);
    return NYB_OK;
}
