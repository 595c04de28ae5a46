/* The sources of data: what they read, and what they refuse. */
#include "data_files.h"

#include <math.h>
#include <sys/stat.h>

#include "data/data.h"
#include "data/parse.h"

#define N_TRAIN 12
#define N_TEST  5

static const char *const idx_names[4] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};

typedef struct idx_set {
    uint8_t file[4][2000];
    size_t n[4];
} idx_set;

/* 12 and 5 images of 6 x 4 in 3 classes. */
static void idx_set_make(idx_set *s)
{
    s->n[0] = idx_make(s->file[0], 3, (const uint32_t[]){N_TRAIN, 6, 4}, 1, 251);
    s->n[1] = idx_make(s->file[1], 1, (const uint32_t[]){N_TRAIN}, 0, 3);
    s->n[2] = idx_make(s->file[2], 3, (const uint32_t[]){N_TEST, 6, 4}, 9, 251);
    s->n[3] = idx_make(s->file[3], 1, (const uint32_t[]){N_TEST}, 1, 3);
}

static void idx_set_write(folder *f, const idx_set *s)
{
    for (int i = 0; i < 4; i++)
        folder_write(f, idx_names[i], s->file[i], s->n[i]);
}

static nyb_status open_idx(const folder *f, nyb_data **data, nyb_error *err)
{
    char spec[160];

    snprintf(spec, sizeof spec, "idx:%s", f->path);
    return nyb_data_open(spec, data, err);
}

static void check_idx(const nyb_data *data, const idx_set *s)
{
    nyb_data_info info;

    nyb_data_get_info(data, &info);
    assert_int_equal(info.n_train, N_TRAIN);
    assert_int_equal(info.n_test, N_TEST);
    assert_int_equal(info.h, 6);
    assert_int_equal(info.w, 4);
    assert_int_equal(info.c, 1);
    assert_int_equal(info.classes, 3);
    assert_memory_equal(data->train.pixels, s->file[0] + 16, N_TRAIN * 24);
    assert_memory_equal(data->train.labels, s->file[1] + 8, N_TRAIN);
    assert_memory_equal(data->test.pixels, s->file[2] + 16, N_TEST * 24);
    assert_memory_equal(data->test.labels, s->file[3] + 8, N_TEST);
}

static void idx_reads_plain_and_gz(void **state)
{
    folder f;
    idx_set s;
    nyb_data *data;

    (void)state;
    folder_make(&f);
    idx_set_make(&s);
    idx_set_write(&f, &s);
    assert_int_equal(open_idx(&f, &data, NULL), NYB_OK);
    check_idx(data, &s);
    nyb_data_close(&data);
    assert_null(data);
    nyb_data_close(&data);
    for (int i = 0; i < 4; i += 2) { /* one of each pair */
        char name[64];
        folder_remove_file(&f, idx_names[i]);
        snprintf(name, sizeof name, "%s.gz", idx_names[i]);
        folder_write_gz(&f, name, s.file[i], s.n[i]);
    }
    assert_int_equal(open_idx(&f, &data, NULL), NYB_OK);
    check_idx(data, &s);
    nyb_data_close(&data);
    folder_remove(&f);
}

static void statistics_are_those_of_the_training_pixels(void **state)
{
    folder f;
    idx_set s;
    nyb_data *data;
    nyb_data_info info;
    double sum = 0, squares = 0, n = N_TRAIN * 24;

    (void)state;
    folder_make(&f);
    idx_set_make(&s);
    idx_set_write(&f, &s);
    assert_int_equal(open_idx(&f, &data, NULL), NYB_OK);
    nyb_data_get_info(data, &info);
    for (size_t i = 16; i < s.n[0]; i++) {
        sum += s.file[0][i] / 255.0;
        squares += s.file[0][i] / 255.0 * (s.file[0][i] / 255.0);
    }
    assert_true(fabs(info.mean[0] - sum / n) < 1e-6);
    assert_true(fabs(info.std[0] - sqrt(squares / n - sum / n * sum / n)) < 1e-6);
    nyb_data_limit(data, 3, 0);
    nyb_data_get_info(data, &info);
    assert_int_equal(info.n_train, 3);
    assert_int_equal(info.n_test, N_TEST);
    assert_int_equal(nyb_data_set_normalization(data, &(float){0.25f}, &(float){0}, NULL),
                     NYB_INVALID);
    assert_int_equal(nyb_data_set_normalization(data, &(float){NAN}, &(float){1}, NULL),
                     NYB_INVALID);
    assert_int_equal(nyb_data_set_normalization(data, NULL, &(float){1}, NULL), NYB_INVALID);
    nyb_data_get_info(data, &info);
    assert_true(fabs(info.mean[0] - sum / n) < 1e-6);
    assert_int_equal(nyb_data_set_normalization(data, &(float){0.25f}, &(float){2}, NULL), NYB_OK);
    nyb_data_limit(data, 100, 2);
    nyb_data_get_info(data, &info);
    assert_true(info.mean[0] == 0.25f && info.std[0] == 2.0f);
    nyb_data_get_info(data, &info);
    assert_int_equal(info.n_train, 3);
    assert_int_equal(info.n_test, 2);
    nyb_data_close(&data);
    folder_remove(&f);
}

/* One damage of a good set: file, offset, new byte (offset -1: only the length changes), bytes to
 * add or take away, and words of the sentence. */
static void damaged_idx_is_refused(void **state)
{
    static const struct {
        int file, at, byte, grow;
        nyb_status status;
        const char *says[2];
    } damages[] = {
        {0, -1, 0, -1, NYB_CORRUPT, {"train-images", "288"}},
        {0, -1, 0, +1, NYB_CORRUPT, {"train-images", "289"}},
        {1, -1, 0, -5, NYB_CORRUPT, {"train-labels", "12"}},
        {0, -1, 0, -290, NYB_CORRUPT, {"header", "train-images"}},
        {0, -1, 0, -304, NYB_CORRUPT, {"0 bytes", "train-images"}},
        {0, 2, 9, 0, NYB_CORRUPT, {"00 00 09 03", "00 00 08 03"}},
        {0, 3, 1, 0, NYB_CORRUPT, {"00 00 08 01", "train-images"}},
        {1, 3, 3, 0, NYB_CORRUPT, {"00 00 08 03", "train-labels"}},
        {0, 0, 0x1f, 0, NYB_CORRUPT, {"1f", "train-images"}},
        {0, 4, 255, 0, NYB_CORRUPT, {"train-images", "promises"}},
        {2, 11, 5, -5 * 4, NYB_CORRUPT, {"6x4", "5x4"}},
        {2, 7, 4, -24, NYB_CORRUPT, {"4 images", "5 labels"}},
        {3, 7, 4, -1, NYB_CORRUPT, {"5 images", "4 labels"}},
        {3, 8, 3, 0, NYB_CORRUPT, {"test label 0", "3"}},
        {3, 12, 200, 0, NYB_CORRUPT, {"test label 4", "200"}},
    };
    folder f;
    idx_set s;

    (void)state;
    folder_make(&f);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        nyb_data *data;
        nyb_error err = {0};
        idx_set_make(&s);
        memset(s.file[damages[i].file] + s.n[damages[i].file], 0, 16);
        s.n[damages[i].file] += (size_t)damages[i].grow;
        if (damages[i].at >= 0)
            s.file[damages[i].file][damages[i].at] = (uint8_t)damages[i].byte;
        idx_set_write(&f, &s);
        assert_int_equal(open_idx(&f, &data, &err), damages[i].status);
        assert_null(data);
        for (int w = 0; w < 2; w++)
            if (!strstr(err.text, damages[i].says[w]))
                fail_msg("damage %zu: '%s' lacks '%s'", i, err.text, damages[i].says[w]);
    }
    folder_remove(&f);
}

static void absurd_dimensions_are_refused(void **state)
{
    uint8_t bytes[100];
    const uint8_t *data;
    size_t dims[3];
    nyb_error err;
    size_t n = idx_make(bytes, 3, (const uint32_t[]){1, 1, 1}, 0, 2);

    (void)state;
    memset(bytes + 4, 0xff, 12); /* (2^32 - 1)^3 */
    assert_int_equal(nyb_idx_parse(bytes, n, 3, "x", dims, &data, &err), NYB_LIMIT);
    /* 2^24 2^24 2^16 = 2^64: wraps to 0 if it is not checked */
    memcpy(bytes + 4, (const uint8_t[]){1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0}, 12);
    assert_int_equal(nyb_idx_parse(bytes, 16, 3, "x", dims, &data, &err), NYB_LIMIT);
    /* no images of a large size: nothing in the file, and nothing to train on */
    memcpy(bytes + 4, (const uint8_t[]){0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0}, 12);
    assert_int_equal(nyb_idx_parse(bytes, 16, 3, "x", dims, &data, &err), NYB_OK);
}

static void missing_and_truncated_files_are_named(void **state)
{
    folder f;
    idx_set s;
    nyb_data *data;
    nyb_error err;
    uint8_t gz[4000];
    char path[160];

    (void)state;
    folder_make(&f);
    idx_set_make(&s);
    idx_set_write(&f, &s);
    folder_remove_file(&f, idx_names[3]);
    assert_int_equal(open_idx(&f, &data, &err), NYB_IO);
    assert_non_null(strstr(err.text, "t10k-labels-idx1-ubyte.gz"));
    folder_remove_file(&f, idx_names[0]);
    folder_write_gz(&f, "train-images-idx3-ubyte.gz", s.file[0], s.n[0]);
    folder_path(&f, "train-images-idx3-ubyte.gz", path);
    FILE *in = fopen(path, "rb");
    size_t n = fread(gz, 1, sizeof gz, in);
    fclose(in);
    folder_write(&f, "train-images-idx3-ubyte.gz", gz, n - 20);
    assert_int_equal(open_idx(&f, &data, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "train-images-idx3-ubyte.gz"));
    assert_null(data);
    folder_remove(&f);
}

static void a_set_without_images_is_refused(void **state)
{
    folder f;
    idx_set s;
    nyb_data *data;
    nyb_error err;

    (void)state;
    folder_make(&f);
    idx_set_make(&s);
    s.n[2] = idx_make(s.file[2], 3, (const uint32_t[]){0, 6, 4}, 0, 2);
    s.n[3] = idx_make(s.file[3], 1, (const uint32_t[]){0}, 0, 2);
    idx_set_write(&f, &s);
    assert_int_equal(open_idx(&f, &data, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "0 test images"));
    folder_remove(&f);
}

/* What stands behind the promised bytes is not read to its end: were it, its damage would be told.
 */
static void a_file_is_read_as_far_as_its_header_promises(void **state)
{
    static uint8_t bomb[1 << 20], gz[1 << 20];
    folder f;
    idx_set s;
    nyb_data *data;
    nyb_error err = {0};
    char path[160];

    (void)state;
    folder_make(&f);
    idx_set_make(&s);
    idx_set_write(&f, &s);
    folder_remove_file(&f, idx_names[0]);
    memcpy(bomb, s.file[0], s.n[0]);
    folder_write_gz(&f, "train-images-idx3-ubyte.gz", bomb, sizeof bomb);
    folder_path(&f, "train-images-idx3-ubyte.gz", path);
    FILE *in = fopen(path, "rb");
    size_t n = fread(gz, 1, sizeof gz, in);
    fclose(in);
    gz[n - 5] ^= 1; /* the CRC */
    folder_write(&f, "train-images-idx3-ubyte.gz", gz, n);
    assert_int_equal(open_idx(&f, &data, &err), NYB_LIMIT);
    assert_non_null(strstr(err.text, "promises 288 bytes"));
    assert_null(data);
    folder_write(&f, idx_names[0], bomb, sizeof bomb);
    assert_int_equal(open_idx(&f, &data, &err), NYB_LIMIT);
    assert_non_null(strstr(err.text, "promises 288 bytes"));
    folder_remove(&f);
}

/* Headers alone, which promise no pixels: of images without height or width, in one part or both.
 */
static void images_of_no_size_are_refused(void **state)
{
    static const uint32_t sizes[][4] = {{0, 0, 6, 4}, {0, 4, 6, 4}, {6, 0, 6, 4},
                                        {6, 4, 0, 0}, {6, 4, 6, 0}, {0, 0, 0, 0}};
    folder f;
    idx_set s;

    (void)state;
    folder_make(&f);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const uint32_t *z = sizes[i];
        nyb_data *data;
        nyb_error err = {0};

        idx_set_make(&s);
        s.n[0] = idx_make(s.file[0], 3, (const uint32_t[]){N_TRAIN, z[0], z[1]}, 1, 251);
        s.n[2] = idx_make(s.file[2], 3, (const uint32_t[]){N_TEST, z[2], z[3]}, 9, 251);
        idx_set_write(&f, &s);
        assert_int_equal(open_idx(&f, &data, &err), NYB_CORRUPT);
        assert_null(data);
        assert_non_null(strstr(err.text, z[0] && z[1] ? "t10k-images" : "train-images"));
        assert_non_null(strstr(err.text, "pixels"));
    }
    folder_remove(&f);
}

static void fashion_mnist_is_found_under_the_root(void **state)
{
    folder root, f;
    idx_set s;
    nyb_data *data;
    nyb_data_info info;
    nyb_error err;
    char dir[160];

    (void)state;
    folder_make(&root);
    folder_path(&root, "fashion-mnist", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    f = root;
    strcat(f.path, "/fashion-mnist");
    idx_set_make(&s);
    idx_set_write(&f, &s);
    setenv("NYBBLE_DATA", root.path, 1);
    assert_int_equal(nyb_data_open("fashion-mnist", &data, NULL), NYB_OK);
    nyb_data_get_info(data, &info);
    assert_string_equal(info.name, "fashion-mnist");
    assert_int_equal(info.n_train, N_TRAIN);
    assert_int_equal(info.classes, 10);
    nyb_data_close(&data);
    assert_int_equal(nyb_data_open("fashion-mnist:/tmp", &data, &err), NYB_INVALID);
    unsetenv("NYBBLE_DATA");
    folder_remove(&f);
    folder_remove(&root);
    if (access("/usr/share/datasets/fashion-mnist", F_OK) != 0) {
        assert_int_equal(nyb_data_open("fashion-mnist", &data, &err), NYB_IO);
        assert_non_null(strstr(err.text, "dataset-fashion-mnist"));
    }
}

/* Record r of a CIFAR file: labels, then pixel (y, x) of plane c = 31 r + 40 c + 5 y + x. */
static size_t cifar_make(uint8_t *out, size_t n_records, size_t n_labels)
{
    size_t at = 0;

    for (size_t r = 0; r < n_records; r++) {
        if (n_labels == 2)
            out[at++] = 77; /* the coarse label counts for nothing */
        out[at++] = (uint8_t)(r % 10);
        for (size_t c = 0; c < 3; c++)
            for (size_t p = 0; p < 1024; p++)
                out[at++] = (uint8_t)(31 * r + 40 * c + 5 * (p / 32) + p % 32);
    }
    return at;
}

static void check_cifar_part(const nyb_part *part, size_t n, size_t n_per_file)
{
    assert_int_equal(part->n, n);
    for (size_t i = 0; i < n; i++) {
        size_t r = i % n_per_file;
        assert_int_equal(part->labels[i], r);
        for (size_t y = 0; y < 32; y += 31)
            for (size_t x = 0; x < 32; x++)
                for (size_t c = 0; c < 3; c++)
                    assert_int_equal(part->pixels[((i * 32 + y) * 32 + x) * 3 + c],
                                     (uint8_t)(31 * r + 40 * c + 5 * y + x));
    }
}

static void cifar_planes_become_pixels(void **state)
{
    static const char *const names[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                        "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};
    static uint8_t bytes[3 * 3074];
    folder f;
    nyb_data *data;
    char spec[160];

    (void)state;
    folder_make(&f);
    for (size_t i = 0; i < 6; i++)
        folder_write(&f, names[i], bytes, cifar_make(bytes, 3, 1));
    snprintf(spec, sizeof spec, "cifar10:%s", f.path);
    assert_int_equal(nyb_data_open(spec, &data, NULL), NYB_OK);
    assert_int_equal(data->classes, 10);
    check_cifar_part(&data->train, 15, 3);
    check_cifar_part(&data->test, 3, 3);
    nyb_data_close(&data);

    folder_write(&f, "train.bin", bytes, cifar_make(bytes, 3, 2));
    folder_write(&f, "test.bin", bytes, cifar_make(bytes, 2, 2));
    snprintf(spec, sizeof spec, "cifar100:%s", f.path);
    assert_int_equal(nyb_data_open(spec, &data, NULL), NYB_OK);
    assert_int_equal(data->classes, 100);
    check_cifar_part(&data->train, 3, 3);
    check_cifar_part(&data->test, 2, 3);
    nyb_data_close(&data);
    folder_remove(&f);
}

static void damaged_cifar_is_refused(void **state)
{
    static uint8_t bytes[3 * 3074], labels[4], pixels[4 * NYB_CIFAR_PIXELS];
    size_t n = cifar_make(bytes, 3, 1);
    folder f;
    nyb_data *data;
    nyb_error err;
    char spec[160];

    (void)state;
    assert_int_equal(nyb_cifar_parse(bytes, n - 1, 1, 10, "x", labels, pixels, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "9218"));
    assert_int_equal(nyb_cifar_parse(bytes, 0, 1, 10, "x", labels, pixels, &err), NYB_CORRUPT);
    bytes[2 * 3073] = 10;
    assert_int_equal(nyb_cifar_parse(bytes, n, 1, 10, "batch", labels, pixels, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "record 2 is 10"));
    assert_non_null(strstr(err.text, "batch"));

    folder_make(&f);
    snprintf(spec, sizeof spec, "cifar10:%s", f.path);
    assert_int_equal(nyb_data_open(spec, &data, &err), NYB_IO);
    assert_non_null(strstr(err.text, "data_batch_1.bin"));
    snprintf(spec, sizeof spec, "cifar100:%s", f.path);
    folder_write(&f, "train.bin", bytes, cifar_make(bytes, 3, 2));
    folder_write(&f, "test.bin", bytes, 3000);
    assert_int_equal(nyb_data_open(spec, &data, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "test.bin"));
    assert_null(data);
    folder_remove(&f);
}

static void synthetic_data_depend_on_the_seed_only(void **state)
{
    const char *spec = "synthetic:h=9,w=8,c=3,classes=5,train=64,test=32,seed=3";
    nyb_data *a, *b;
    size_t n = (size_t)64 * 9 * 8 * 3;

    (void)state;
    assert_int_equal(nyb_data_open(spec, &a, NULL), NYB_OK);
    assert_int_equal(nyb_data_open(spec, &b, NULL), NYB_OK);
    assert_int_equal(a->train.n, 64);
    assert_int_equal(a->test.n, 32);
    assert_memory_equal(a->train.pixels, b->train.pixels, n);
    assert_memory_equal(a->train.labels, b->train.labels, 64);
    nyb_data_close(&b);
    assert_int_equal(
        nyb_data_open("synthetic:h=9,w=8,c=3,classes=5,train=64,test=32,seed=4", &b, NULL), NYB_OK);
    assert_memory_not_equal(a->train.pixels, b->train.pixels, n);
    nyb_data_close(&a);
    nyb_data_close(&b);
}

/* The nearest class mean must do much better than chance: there is something to learn. */
static void synthetic_classes_can_be_learnt(void **state)
{
    nyb_data *d;
    static double mean[10][784];
    double count[10] = {0};
    size_t n_right = 0;

    (void)state;
    assert_int_equal(nyb_data_open("synthetic", &d, NULL), NYB_OK);
    for (size_t i = 0; i < d->train.n; i++) {
        count[d->train.labels[i]]++;
        for (size_t j = 0; j < 784; j++)
            mean[d->train.labels[i]][j] += d->train.pixels[i * 784 + j];
    }
    for (size_t i = 0; i < d->test.n; i++) {
        size_t best = 0;
        double least = INFINITY;
        for (size_t k = 0; k < 10; k++) {
            double distance = 0;
            for (size_t j = 0; j < 784; j++)
                distance += pow(d->test.pixels[i * 784 + j] - mean[k][j] / count[k], 2);
            if (distance < least) {
                least = distance;
                best = k;
            }
        }
        n_right += best == d->test.labels[i];
    }
    assert_true(n_right > d->test.n / 2);
    nyb_data_close(&d);
}

static void bad_specs_are_refused(void **state)
{
    static const struct {
        const char *spec;
        nyb_status status;
        const char *says;
    } known[] = {
        {"mnist", NYB_UNKNOWN, "fashion-mnist"},
        {NULL, NYB_INVALID, "NULL"},
        {"", NYB_UNKNOWN, "synthetic"},
        {"idxx:/tmp", NYB_UNKNOWN, "idx"},
        {"idx", NYB_INVALID, "idx:DIR"},
        {"cifar10", NYB_INVALID, "cifar10:DIR"},
        {"cifar100:", NYB_INVALID, "cifar100:DIR"},
        {"idx:/nowhere", NYB_IO, "/nowhere"},
        {"synthetic:q=1", NYB_UNKNOWN, "q=1"},
        {"synthetic:h", NYB_UNKNOWN, "h"},
        {"synthetic:h=0", NYB_INVALID, "1..1024"},
        {"synthetic:h=-1", NYB_INVALID, "1..1024"},
        {"synthetic:h=4x", NYB_INVALID, "h=4x"},
        {"synthetic:h=", NYB_INVALID, "h="},
        {"synthetic:c=5", NYB_INVALID, "c=5"},
        {"synthetic:c=5,h=3", NYB_INVALID, "c=5: want 1..4"},
        {"synthetic:classes=257", NYB_INVALID, "256"},
        {"synthetic:train=99999999999999999999", NYB_INVALID, "train"},
        {"synthetic:h=1024,w=1024,c=4,train=16777216", NYB_LIMIT, "16777216"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        nyb_data *data = (nyb_data *)&data;
        nyb_error err = {0};
        if (nyb_data_open(known[i].spec, &data, &err) != known[i].status)
            fail_msg("'%s': %s", known[i].spec, err.text);
        assert_null(data);
        assert_non_null(strstr(err.text, known[i].says));
    }
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char spec[6000] = "idx:";
    nyb_data *data;
    nyb_error err;

    (void)state;
    memset(spec + 4, 'x', sizeof spec - 5);
    assert_int_equal(nyb_data_open(spec, &data, &err), NYB_LIMIT);
    memcpy(spec, "cifar10:", 8);
    assert_int_equal(nyb_data_open(spec, &data, &err), NYB_LIMIT);
}

static void sources_have_names(void **state)
{
    (void)state;
    assert_true(nyb_data_source_count() >= 5);
    for (size_t i = 0; i < nyb_data_source_count(); i++) {
        assert_true(strlen(nyb_data_source_name(i)) > 2);
        assert_true(strlen(nyb_data_source_about(i)) > 10);
        assert_int_equal(nyb_data_source_in_folder(i),
                         strstr(nyb_data_source_about(i), ":DIR") != NULL);
    }
    assert_null(nyb_data_source_name(nyb_data_source_count()));
}

static void check_failures(const char *spec)
{
    for (uint64_t n = 1;; n++) {
        nyb_data *data = (nyb_data *)&data;
        assert_true(n < 200);
        nyb_alloc_fail_after(n, false);
        nyb_status status = nyb_data_open(spec, &data, NULL);
        nyb_alloc_fail_after(0, false);
        if (status == NYB_OK) {
            assert_true(n > 5);
            nyb_data_close(&data);
            return;
        }
        assert_int_equal(status, NYB_MEMORY);
        assert_null(data);
    }
}

static void opening_survives_any_failing_allocation(void **state)
{
    static uint8_t bytes[3 * 3074];
    folder f;
    idx_set s;
    char spec[160];

    (void)state;
    folder_make(&f);
    idx_set_make(&s);
    idx_set_write(&f, &s);
    folder_write(&f, "train.bin", bytes, cifar_make(bytes, 3, 2));
    folder_write(&f, "test.bin", bytes, cifar_make(bytes, 2, 2));
    snprintf(spec, sizeof spec, "idx:%s", f.path);
    check_failures(spec);
    snprintf(spec, sizeof spec, "cifar100:%s", f.path);
    check_failures(spec);
    check_failures("synthetic:h=4,w=4,train=8,test=8");
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_reads_plain_and_gz),
        cmocka_unit_test(statistics_are_those_of_the_training_pixels),
        cmocka_unit_test(damaged_idx_is_refused),
        cmocka_unit_test(absurd_dimensions_are_refused),
        cmocka_unit_test(missing_and_truncated_files_are_named),
        cmocka_unit_test(a_set_without_images_is_refused),
        cmocka_unit_test(a_file_is_read_as_far_as_its_header_promises),
        cmocka_unit_test(images_of_no_size_are_refused),
        cmocka_unit_test(fashion_mnist_is_found_under_the_root),
        cmocka_unit_test(cifar_planes_become_pixels),
        cmocka_unit_test(damaged_cifar_is_refused),
        cmocka_unit_test(synthetic_data_depend_on_the_seed_only),
        cmocka_unit_test(synthetic_classes_can_be_learnt),
        cmocka_unit_test(bad_specs_are_refused),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
        cmocka_unit_test(sources_have_names),
        cmocka_unit_test(opening_survives_any_failing_allocation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
