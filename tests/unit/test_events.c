#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/io.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/nyb-events-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* The one event file of the folder, read into *bytes; its name is checked. Returns its length. */
static size_t read_only_file(uint8_t **bytes)
{
    char path[400] = "";
    size_t n;
    DIR *dir = opendir(folder);

    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') {
            assert_string_equal(path, "");
            assert_int_equal(strncmp(e->d_name, "events.out.tfevents.", 20), 0);
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        }
    closedir(dir);
    assert_int_equal(nyb_file_read(path, 1 << 20, bytes, &n, NULL), NYB_OK);
    return n;
}

static int remove_folder(void **state)
{
    DIR *dir = opendir(folder);

    (void)state;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(dir);
    return rmdir(folder);
}

/* ---- a reader that shares nothing with the writer: bit-wise CRC, fields front to back ------- */

static uint32_t crc32c(const uint8_t *bytes, size_t n)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < 8 * n; i++) {
        uint32_t bit = (crc ^ bytes[i / 8] >> i % 8) & 1;
        crc = crc >> 1 ^ (bit ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static uint64_t little_endian(const uint8_t *bytes, size_t n)
{
    uint64_t value = 0;

    while (n-- > 0)
        value = value << 8 | bytes[n];
    return value;
}

static uint32_t unmasked(const uint8_t *bytes)
{
    uint32_t crc = (uint32_t)little_endian(bytes, 4) - 0xa282ead8;

    return crc >> 17 | crc << 15;
}

/* The next record; *at moves behind it. */
static const uint8_t *next_record(const uint8_t **at, const uint8_t *end, size_t *n)
{
    assert_true(end - *at >= 16);
    *n = (size_t)little_endian(*at, 8);
    assert_int_equal(unmasked(*at + 8), crc32c(*at, 8));
    assert_true((size_t)(end - *at) >= *n + 16);
    const uint8_t *record = *at + 12;
    assert_int_equal(unmasked(record + *n), crc32c(record, *n));
    *at += *n + 16;
    return record;
}

typedef struct field {
    int number, wire;
    uint64_t value; /* of a varint or fixed; the length of bytes */
    const uint8_t *bytes;
} field;

static uint64_t next_varint(const uint8_t **at, const uint8_t *end)
{
    uint64_t value = 0;

    for (int shift = 0;; shift += 7) {
        assert_true(*at < end && shift < 70);
        value |= (uint64_t)(**at & 127) << shift;
        if (*(*at)++ < 128)
            return value;
    }
}

/* The field of that number, which must occur once. */
static field find_field(const uint8_t *at, size_t n, int number)
{
    const uint8_t *end = at + n;
    field found = {0};

    while (at < end) {
        uint64_t key = next_varint(&at, end);
        field f = {.number = (int)(key >> 3), .wire = (int)(key & 7), .bytes = at};
        if (f.wire == 0) {
            f.value = next_varint(&at, end);
        } else if (f.wire == 2) {
            f.value = next_varint(&at, end);
            f.bytes = at;
            at += f.value;
        } else {
            assert_true(f.wire == 1 || f.wire == 5);
            f.value = little_endian(at, f.wire == 1 ? 8 : 4);
            at += f.wire == 1 ? 8 : 4;
        }
        assert_true(at <= end);
        if (f.number == number) {
            assert_int_equal(found.number, 0);
            found = f;
        }
    }
    assert_int_equal(found.number, number);
    return found;
}

static double f64(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static void assert_text(field f, const char *text)
{
    assert_int_equal(f.wire, 2);
    assert_int_equal(f.value, strlen(text));
    assert_memory_equal(f.bytes, text, strlen(text));
}

/* The Value of a record whose step and tag are as given. */
static field value_of(const uint8_t *record, size_t n, int64_t step, const char *tag)
{
    assert_true(fabs(f64(find_field(record, n, 1).value) - (double)time(NULL)) < 1000);
    assert_int_equal(find_field(record, n, 2).value, (uint64_t)step);
    field summary = find_field(record, n, 5);
    field value = find_field(summary.bytes, summary.value, 1);
    assert_text(find_field(value.bytes, value.value, 1), tag);
    return value;
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void the_checksum_is_castagnolis(void **state)
{
    (void)state;
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
}

static void scalars_and_histograms_come_back(void **state)
{
    static const double limits[3] = {-1, 0.5, 1e300}, counts[3] = {1, 2, 3};
    nyb_events *events;
    uint8_t *bytes;
    size_t n;
    char tag[400];

    (void)state;
    memset(tag, 't', sizeof tag - 1);
    tag[sizeof tag - 1] = 0;
    assert_int_equal(nyb_events_create(folder, &events, NULL), NYB_OK);
    nyb_events_scalar(events, 0, "loss", 0.25f);
    nyb_events_scalar(events, INT64_C(1) << 40, tag, -1.5f);
    nyb_events_histogram(events, 7, "fc/x", -2, 3, 6, 4, 20, 3, limits, counts);
    nyb_events_histogram(events, 8, "none", 0, 0, 0, 0, 0, 0, NULL, NULL);
    assert_int_equal(nyb_events_flush(events, NULL), NYB_OK);
    nyb_events_destroy(&events);
    assert_null(events);
    n = read_only_file(&bytes);
    const uint8_t *end = bytes + n, *at = bytes;
    const uint8_t *record = next_record(&at, end, &n);
    assert_text(find_field(record, n, 3), "brain.Event:2");
    record = next_record(&at, end, &n);
    field value = value_of(record, n, 0, "loss");
    assert_true(nyb_float_of((uint32_t)find_field(value.bytes, value.value, 2).value) == 0.25f);
    record = next_record(&at, end, &n);
    value = value_of(record, n, INT64_C(1) << 40, tag);
    assert_true(nyb_float_of((uint32_t)find_field(value.bytes, value.value, 2).value) == -1.5f);
    record = next_record(&at, end, &n);
    value = value_of(record, n, 7, "fc/x");
    field histogram = find_field(value.bytes, value.value, 5);
    const double want[5] = {-2, 3, 6, 4, 20};
    for (int i = 0; i < 5; i++)
        assert_true(f64(find_field(histogram.bytes, histogram.value, i + 1).value) == want[i]);
    field list = find_field(histogram.bytes, histogram.value, 6);
    assert_int_equal(list.value, 24);
    assert_memory_equal(list.bytes, limits, 24);
    list = find_field(histogram.bytes, histogram.value, 7);
    assert_int_equal(list.value, 24);
    assert_memory_equal(list.bytes, counts, 24);
    record = next_record(&at, end, &n);
    value_of(record, n, 8, "none");
    assert_true(at == end);
    nyb_free(bytes);
}

static void a_second_file_has_another_name(void **state)
{
    nyb_events *a, *b;

    (void)state;
    assert_int_equal(nyb_events_create(folder, &a, NULL), NYB_OK);
    assert_int_equal(nyb_events_create(folder, &b, NULL), NYB_OK);
    nyb_events_destroy(&a);
    nyb_events_destroy(&b);
}

static void failures_are_told(void **state)
{
    struct rlimit old, small = {.rlim_cur = 1000};
    nyb_events *events;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_events_create("/no/such/folder", &events, &err), NYB_IO);
    assert_null(events);
    assert_non_null(strstr(err.text, "/no/such/folder/events.out.tfevents."));
    for (uint64_t n = 1; n <= 3; n++) {
        nyb_alloc_fail_after(n, false);
        nyb_status status = nyb_events_create(folder, &events, &err);
        nyb_alloc_fail_after(0, false);
        assert_int_not_equal(status, NYB_OK);
        assert_null(events);
    }
    assert_int_equal(nyb_events_create(folder, &events, &err), NYB_OK);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 1000; i++)
        nyb_events_scalar(events, i, "loss", 1);
    nyb_status status = nyb_events_flush(events, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, NYB_IO);
    assert_non_null(strstr(err.text, "File too large"));
    assert_int_equal(nyb_events_flush(events, &err), NYB_IO); /* and stays told */
    nyb_events_destroy(&events);
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_castagnolis),
        IN_FOLDER(scalars_and_histograms_come_back),
        IN_FOLDER(a_second_file_has_another_name),
        IN_FOLDER(failures_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
