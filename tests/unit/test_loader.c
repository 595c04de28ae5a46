/* Batches: their order, their augmentation, and that both depend on nothing but the seed, the epoch
 * and the sample. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "data/data.h"

enum { H = 6, W = 5, C = 2, SIZE = H * W * C };

static const nyb_augment plain = {0};
static const nyb_augment full = {.crop_pad = 2, .flip = true, .normalize = true};

/* 103 training and 23 test images. */
static nyb_data *open_data(void)
{
    nyb_data *data;

    assert_int_equal(
        nyb_data_open("synthetic:h=6,w=5,c=2,classes=7,train=103,test=23", &data, NULL), NYB_OK);
    return data;
}

static nyb_loader *loader_of(const nyb_data *data, bool train, size_t batch,
                             const nyb_augment *augment, uint64_t seed)
{
    nyb_loader *loader;

    assert_int_equal(nyb_loader_create(data, train, batch, augment, seed, &loader, NULL), NYB_OK);
    return loader;
}

/* Which training sample an unaugmented image is, by its pixels. */
static size_t find(const nyb_part *part, const float *x, int32_t label)
{
    for (size_t i = 0; i < part->n; i++) {
        size_t j = 0;
        while (j < SIZE && x[j] == (float)part->pixels[i * SIZE + j] / 255.0f)
            j++;
        if (j == SIZE) {
            assert_int_equal(label, part->labels[i]);
            return i;
        }
    }
    fail_msg("a batch holds an image that is not in the data");
    return 0;
}

static void an_epoch_is_a_permutation(void **state)
{
    nyb_data *data = open_data();
    nyb_loader *loader = loader_of(data, true, 10, &plain, 1);
    size_t order[2][100];

    (void)state;
    assert_int_equal(nyb_loader_batches(loader), 10);
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        const float *x;
        const int32_t *labels;
        bool seen[103] = {false};
        size_t n, at = 0;
        if (epoch > 0) /* a new loader stands at epoch 0 */
            nyb_loader_seek(loader, epoch, 0);
        while ((n = nyb_loader_next(loader, &x, &labels)) > 0) {
            assert_int_equal(n, 10);
            for (size_t i = 0; i < n; i++) {
                size_t sample = find(&data->train, x + i * SIZE, labels[i]);
                assert_false(seen[sample]);
                seen[sample] = true;
                order[epoch][at++] = sample;
            }
        }
        assert_int_equal(at, 100);
        for (int again = 0; again < 3; again++)
            assert_int_equal(nyb_loader_next(loader, &x, &labels), 0);
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    nyb_loader_destroy(&loader);
    assert_null(loader);
    nyb_loader_destroy(&loader);
    nyb_data_close(&data);
}

static void tests_come_whole_and_in_order(void **state)
{
    nyb_data *data = open_data();
    nyb_loader *loader = loader_of(data, false, 10, &full, 1);
    const float *x;
    const int32_t *labels;
    float want[SIZE];
    size_t n, at = 0;

    (void)state;
    assert_int_equal(nyb_loader_batches(loader), 3);
    while ((n = nyb_loader_next(loader, &x, &labels)) > 0) {
        assert_int_equal(n, at == 20 ? 3 : 10);
        for (size_t i = 0; i < n; i++, at++) {
            nyb_augment_sample(data, data->test.pixels + at * SIZE, &full, 99, 99, 99, false, want);
            assert_memory_equal(x + i * SIZE, want, sizeof want);
            assert_int_equal(labels[i], data->test.labels[at]);
        }
    }
    assert_int_equal(at, 23);
    nyb_loader_destroy(&loader);
    nyb_data_close(&data);
}

static void sleep_us(long t_us)
{
    nanosleep(&(struct timespec){0, t_us * 1000}, NULL);
}

/* Going on from any batch gives what an uninterrupted run would have given, bit for bit, however
 * long the caller computes between calls. */
static void seek_continues_exactly(void **state)
{
    nyb_data *data = open_data();
    nyb_loader *whole = loader_of(data, true, 10, &full, 42);
    nyb_loader *other = loader_of(data, true, 10, &full, 42);
    float *all = malloc(10 * 10 * SIZE * sizeof *all);
    const float *x;
    const int32_t *labels;

    (void)state;
    nyb_loader_seek(whole, 5, 0);
    for (size_t b = 0; b < 10; b++) {
        assert_int_equal(nyb_loader_next(whole, &x, &labels), 10);
        sleep_us(b % 3 * 500); /* the other buffer is filled meanwhile; this one must stay */
        memcpy(all + b * 10 * SIZE, x, 10 * SIZE * sizeof *all);
    }
    for (size_t first = 0; first <= 10; first++) {
        nyb_loader_seek(other, first % 3, first); /* in the middle of the prefetch of something */
        if (first % 2)
            (void)nyb_loader_next(other, &x, &labels);
        nyb_loader_seek(other, 5, first);
        for (size_t b = first; b < 10; b++) {
            assert_int_equal(nyb_loader_next(other, &x, &labels), 10);
            assert_memory_equal(x, all + b * 10 * SIZE, 10 * SIZE * sizeof *all);
        }
        assert_int_equal(nyb_loader_next(other, &x, &labels), 0);
    }
    nyb_loader_seek(other, 5, SIZE_MAX);
    assert_int_equal(nyb_loader_next(other, &x, &labels), 0);
    free(all);
    nyb_loader_destroy(&whole);
    nyb_loader_destroy(&other);
    nyb_data_close(&data);
}

/* A seek while a batch is being made, which takes some milliseconds here, must wait for it. */
static void seek_waits_for_the_batch_in_work(void **state)
{
    enum { N = 48, SIDE = 256, BATCH = 24 };
    const size_t size = SIDE * SIDE * 3, n = BATCH * size * sizeof(float);
    nyb_data data = {.h = SIDE, .w = SIDE, .c = 3, .classes = 2};
    float *want = malloc(n);
    const float *x;
    const int32_t *labels;

    (void)state;
    data.train = (nyb_part){N, malloc(N * size), calloc(N, 1)};
    for (size_t i = 0; i < N * size; i++)
        data.train.pixels[i] = (uint8_t)(i * UINT64_C(0x9E3779B97F4A7C15) >> 56);
    nyb_loader *loader = loader_of(&data, true, BATCH, &plain, 1);
    nyb_loader_seek(loader, 3, 1);
    assert_int_equal(nyb_loader_next(loader, &x, &labels), BATCH);
    memcpy(want, x, n);
    for (long i = 0; i < 12; i++) {
        nyb_loader_seek(loader, 4, 0);
        sleep_us(500 * (i % 4));
        nyb_loader_seek(loader, 3, 1);
        assert_int_equal(nyb_loader_next(loader, &x, &labels), BATCH);
        assert_int_equal(memcmp(x, want, n), 0);
        assert_int_equal(nyb_loader_next(loader, &x, &labels), 0);
    }
    nyb_loader_destroy(&loader);
    free(data.train.pixels);
    free(data.train.labels);
    free(want);
}

/* The batch size and the position in the epoch must not matter to what a sample looks like. */
static void augmentation_belongs_to_the_sample(void **state)
{
    static const size_t batches[] = {1, 7, 103};
    nyb_data *data = open_data();
    uint32_t order[103];
    const nyb_stream s = {.seed = 7, .step = 2, .role = NYB_RNG_ORDER};
    float want[SIZE];

    (void)state;
    nyb_rng_permutation(&s, order, 103);
    for (size_t k = 0; k < 3; k++) {
        nyb_loader *loader = loader_of(data, true, batches[k], &full, 7);
        const float *x;
        const int32_t *labels;
        size_t n, at = 0;
        nyb_loader_seek(loader, 2, 0);
        while ((n = nyb_loader_next(loader, &x, &labels)) > 0)
            for (size_t i = 0; i < n; i++, at++) {
                nyb_augment_sample(data, data->train.pixels + order[at] * SIZE, &full, 7, 2,
                                   order[at], true, want);
                assert_memory_equal(x + i * SIZE, want, sizeof want);
                assert_int_equal(labels[i], data->train.labels[order[at]]);
            }
        nyb_loader_destroy(&loader);
    }
    nyb_data_close(&data);
}

/* The pixel of the original that stands at (y, x) after a crop by (dy, dx) and a flip. */
static float pixel(const uint8_t *pixels, int y, int x, int c, int dy, int dx, bool flip)
{
    int from_y = y + dy - 2, from_x = (flip ? W - 1 - x : x) + dx - 2;

    if (from_y < 0 || from_y >= H || from_x < 0 || from_x >= W)
        return 0.0f;
    return (float)pixels[(from_y * W + from_x) * C + c] / 255.0f;
}

static bool is_crop(const uint8_t *pixels, const float *x, int dy, int dx, bool flip)
{
    for (int i = 0; i < SIZE; i++)
        if (x[i] != pixel(pixels, i / C / W, i / C % W, i % C, dy, dx, flip))
            return false;
    return true;
}

/* 25 crops times 2; 20000 draws: 400 each, sigma 20. */
static void all_crops_and_flips_are_equally_likely(void **state)
{
    nyb_data *data = open_data();
    nyb_augment augment = {.crop_pad = 2, .flip = true};
    int count[2][5][5] = {0};
    float x[SIZE];

    (void)state;
    for (uint32_t i = 0; i < 20000; i++) {
        int n_found = 0;
        nyb_augment_sample(data, data->train.pixels, &augment, 3, i / 100, i % 100, true, x);
        for (int which = 0; which < 50; which++)
            if (is_crop(data->train.pixels, x, which / 10, which / 2 % 5, which % 2)) {
                n_found++;
                count[which % 2][which / 10][which / 2 % 5]++;
            }
        assert_int_equal(n_found, 1);
    }
    for (int which = 0; which < 50; which++)
        assert_in_range(count[which % 2][which / 10][which / 2 % 5], 270, 530);
    nyb_data_close(&data);
}

static void options_do_what_they_say(void **state)
{
    nyb_data *data = open_data();
    float x[SIZE], again[SIZE];
    bool flipped = false;

    (void)state;
    nyb_augment_sample(data, data->train.pixels, &plain, 3, 1, 5, true, x);
    assert_true(is_crop(data->train.pixels, x, 2, 2, false));
    nyb_augment_sample(data, data->train.pixels, &full, 3, 1, 5, false, again);
    for (int i = 0; i < SIZE; i++) {
        float want = (x[i] - data->mean[i % C]) / data->std[i % C];
        assert_true(again[i] == want);
    }
    for (uint32_t e = 0; e < 64; e++) { /* flips alone, crops alone */
        nyb_augment_sample(data, data->train.pixels, &(nyb_augment){.flip = true}, 3, e, 5, true,
                           x);
        flipped |= is_crop(data->train.pixels, x, 2, 2, true);
        assert_true(is_crop(data->train.pixels, x, 2, 2, false) ||
                    is_crop(data->train.pixels, x, 2, 2, true));
    }
    assert_true(flipped);
    /* padding is the pixel 0, which normalisation moves */
    nyb_augment far = {.crop_pad = 1000, .normalize = true};
    nyb_augment_sample(data, data->train.pixels, &far, 3, 1, 5, true, x);
    assert_true(x[0] == (0.0f - data->mean[0]) / data->std[0]);
    nyb_data_close(&data);
}

static void training_images_are_normalised(void **state)
{
    nyb_data *data = open_data();
    nyb_augment augment = {.normalize = true};
    double sum[C] = {0}, squares[C] = {0}, n = 103.0 * H * W;
    float x[SIZE];

    (void)state;
    for (size_t i = 0; i < 103; i++) {
        nyb_augment_sample(data, data->train.pixels + i * SIZE, &augment, 0, 0, i, true, x);
        for (int j = 0; j < SIZE; j++) {
            sum[j % C] += x[j];
            squares[j % C] += (double)x[j] * x[j];
        }
    }
    for (int c = 0; c < C; c++) {
        assert_true(fabs(sum[c] / n) < 1e-5);
        assert_true(fabs(squares[c] / n - 1) < 1e-5);
    }
    nyb_data_close(&data);
}

static void absurd_batches_are_refused(void **state)
{
    nyb_data *data = open_data();
    nyb_loader *loader = (nyb_loader *)&loader;
    nyb_error err;
    const float *x;
    const int32_t *labels;

    (void)state;
    assert_int_equal(nyb_loader_create(data, true, 0, &plain, 1, &loader, &err), NYB_INVALID);
    assert_null(loader);
    assert_int_equal(nyb_loader_create(data, true, SIZE_MAX / 8, &plain, 1, &loader, &err),
                     NYB_LIMIT);
    assert_null(loader);
    /* more than there are: no whole batch to train on, one short batch to test on */
    loader = loader_of(data, true, 104, &plain, 1);
    assert_int_equal(nyb_loader_batches(loader), 0);
    assert_int_equal(nyb_loader_next(loader, &x, &labels), 0);
    nyb_loader_destroy(&loader);
    loader = loader_of(data, false, 104, &plain, 1);
    assert_int_equal(nyb_loader_next(loader, &x, &labels), 23);
    nyb_loader_destroy(&loader);
    nyb_data_close(&data);
}

static void creation_survives_any_failing_allocation(void **state)
{
    nyb_data *data = open_data();

    (void)state;
    for (uint64_t n = 1;; n++) {
        nyb_loader *loader = (nyb_loader *)&loader;
        assert_true(n < 50);
        nyb_alloc_fail_after(n, false);
        nyb_status status = nyb_loader_create(data, true, 10, &full, 1, &loader, NULL);
        nyb_alloc_fail_after(0, false);
        if (status == NYB_OK) {
            assert_true(n > 5);
            nyb_loader_destroy(&loader);
            break;
        }
        assert_int_equal(status, NYB_MEMORY);
        assert_null(loader);
    }
    nyb_data_close(&data);
}

static void batches_need_no_memory(void **state)
{
    nyb_data *data = open_data();
    nyb_loader *loader = loader_of(data, true, 10, &full, 1);
    const float *x;
    const int32_t *labels;
    uint64_t before = nyb_alloc_count();

    (void)state;
    for (uint32_t epoch = 0; epoch < 20; epoch++) {
        nyb_loader_seek(loader, epoch, 0);
        while (nyb_loader_next(loader, &x, &labels) > 0)
            ;
    }
    assert_int_equal(nyb_alloc_count(), before);
    nyb_loader_destroy(&loader);
    nyb_data_close(&data);
}

/* Every batch counts once, and takes time; asking costs none. */
static void work_is_counted(void **state)
{
    nyb_data *data = open_data();
    nyb_loader *loader = loader_of(data, true, 10, &full, 1);
    uint64_t n, again;
    double seconds, later;
    const float *x;
    const int32_t *labels;

    (void)state;
    nyb_loader_get_work(loader, &n, &seconds);
    assert_true(n == 0 && seconds == 0);
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        nyb_loader_seek(loader, epoch, 0);
        while (nyb_loader_next(loader, &x, &labels) > 0)
            ;
    }
    nyb_loader_get_work(loader, &n, &seconds);
    assert_int_equal(n, 30);
    assert_true(seconds > 0 && seconds < 10);
    sleep_us(1000);
    nyb_loader_get_work(loader, &again, &later);
    assert_int_equal(again, n);
    assert_true(later >= seconds);
    nyb_loader_destroy(&loader);
    nyb_data_close(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_is_a_permutation),
        cmocka_unit_test(tests_come_whole_and_in_order),
        cmocka_unit_test(seek_continues_exactly),
        cmocka_unit_test(seek_waits_for_the_batch_in_work),
        cmocka_unit_test(augmentation_belongs_to_the_sample),
        cmocka_unit_test(all_crops_and_flips_are_equally_likely),
        cmocka_unit_test(options_do_what_they_say),
        cmocka_unit_test(training_images_are_normalised),
        cmocka_unit_test(absurd_batches_are_refused),
        cmocka_unit_test(creation_survives_any_failing_allocation),
        cmocka_unit_test(batches_need_no_memory),
        cmocka_unit_test(work_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
