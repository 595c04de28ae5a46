#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/io.h"

static char path[] = "/tmp/nyb-st-XXXXXX";

static nyb_status parse_text(const char *header, size_t n_data, nyb_st_file **file, nyb_error *err)
{
    size_t n = strlen(header);
    uint8_t *bytes = nyb_alloc(8 + n + n_data);

    bytes[0] = n & 255;
    bytes[1] = (uint8_t)(n >> 8);
    memcpy(bytes + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        bytes[8 + n + i] = (uint8_t)(i + 1);
    return nyb_st_parse(bytes, 8 + n + n_data, "a", file, err);
}

static void what_is_saved_is_loaded(void **state)
{
    static const float w[2][3] = {{1, 2, 3}, {4, 5, 6}};
    static const uint8_t codes[3] = {7, 8, 9};
    static const int64_t step = INT64_C(1) << 60;
    static const nyb_st_tensor tensors[] = {
        {"fc.codes", "U8", 1, {3}, codes, 3}, /* first, so that the next are not aligned */
        {"fc.weight", "F32", 2, {2, 3}, w, sizeof w},
        {"empty", "F32", 2, {0, 3}, NULL, 0},
        {"step", "I64", 0, {0}, &step, 8},
    };
    static const nyb_st_meta meta[] = {{"format", "int4"}, {"quoted \"name\"", "a\nb"}};
    nyb_st_file *file;

    (void)state;
    assert_int_equal(nyb_st_save(path, tensors, 4, meta, 2, NULL), NYB_OK);
    assert_int_equal(nyb_st_load(path, &file, NULL), NYB_OK);
    assert_int_equal(nyb_st_count(file), 4);
    for (size_t i = 0; i < 4; i++) {
        const nyb_st_tensor *t = nyb_st_find(file, tensors[i].name);
        assert_non_null(t);
        assert_string_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->n_dims, tensors[i].n_dims);
        assert_memory_equal(t->dims, tensors[i].dims, (size_t)t->n_dims * sizeof *t->dims);
        assert_int_equal(t->n_bytes, tensors[i].n_bytes);
        assert_int_equal((uintptr_t)t->data % 8, 0);
        if (t->n_bytes)
            assert_memory_equal(t->data, tensors[i].data, t->n_bytes);
    }
    assert_string_equal(nyb_st_at(file, 0)->name, "fc.codes");
    assert_null(nyb_st_find(file, "fc"));
    assert_string_equal(nyb_st_meta_find(file, "format"), "int4");
    assert_string_equal(nyb_st_meta_find(file, "quoted \"name\""), "a\nb");
    assert_null(nyb_st_meta_find(file, "fc.codes"));
    nyb_st_close(&file);
    assert_null(file);
    nyb_st_close(&file);
}

static void the_file_has_the_published_layout(void **state)
{
    /* 78 bytes of JSON, padded to 80 */
    static const char want[] = "\x50\0\0\0\0\0\0\0"
                               "{\"__metadata__\":{\"a\":\"b\"},"
                               "\"w\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}  "
                               "\x01\x02";
    uint8_t *bytes;
    size_t n;

    (void)state;
    const nyb_st_tensor w = {"w", "U8", 1, {2}, "\x01\x02", 2};
    const nyb_st_meta meta = {"a", "b"};
    assert_int_equal(nyb_st_save(path, &w, 1, &meta, 1, NULL), NYB_OK);
    assert_int_equal(nyb_file_read(path, 1000, &bytes, &n, NULL), NYB_OK);
    assert_int_equal(n, 90);
    assert_memory_equal(bytes, want, 90);
    nyb_free(bytes);
    assert_int_equal(nyb_st_save(path, NULL, 0, NULL, 0, NULL), NYB_OK);
    assert_int_equal(nyb_file_read(path, 1000, &bytes, &n, NULL), NYB_OK);
    assert_int_equal(n, 16);
    assert_memory_equal(bytes, "\x08\0\0\0\0\0\0\0{}      ", 16);
    nyb_free(bytes);
}

#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void good_headers(void **state)
{
    static const struct {
        const char *header;
        size_t n_data;
    } cases[] = {
        {"{}", 0},
        {"{\"__metadata__\":{}}   ", 0},
        {"{\"b\":" T("F32", "[1]", "[4,8]") ",\"a\":" T("U8", "[2,2]", "[0,4]") "}", 8},
        {"{\"a\":" T("F32", "[]", "[0,4]") "}", 4},
        {"{\"a\":" T("F32", "[0,18446744073]", "[0,0]") "}", 0},
        {"{\"a\":" T("F4", "[4]", "[0,2]") ",\"b\":" T("F6_E2M3", "[4]", "[2,5]") "}", 5},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":0}}", 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_st_file *file;
        nyb_error err;
        if (parse_text(cases[i].header, cases[i].n_data, &file, &err) != NYB_OK)
            fail_msg("%s: %s", cases[i].header, err.text);
        nyb_st_close(&file);
    }
}

static void bad_headers_say_why(void **state)
{
    static const struct {
        const char *header;
        size_t n_data;
        nyb_status status;
        const char *why;
    } cases[] = {
        {"", 0, NYB_CORRUPT, "no JSON object"},
        {"[]", 0, NYB_CORRUPT, "no JSON object"},
        {" {}", 0, NYB_CORRUPT, "no JSON object"},
        {"{} x", 0, NYB_CORRUPT, "header, byte"},
        {"{\"a\":1,\"a\":1}", 0, NYB_CORRUPT, "duplicate"},
        {"{\"a\":1}", 0, NYB_CORRUPT, "tensor 'a': dtype '(none)'"},
        {"{\"__metadata__\":[]}", 0, NYB_CORRUPT, "__metadata__ is no object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, NYB_CORRUPT, "metadata 'k' is no string"},
        {"{\"a\":" T("F33", "[1]", "[0,4]") "}", 4, NYB_CORRUPT, "dtype 'F33'"},
        {"{\"a\":" T("F32", "1", "[0,4]") "}", 4, NYB_CORRUPT, "no shape"},
        {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, NYB_CORRUPT, "dimension 0 is no size"},
        {"{\"a\":" T("F32", "[1.0]", "[0,4]") "}", 4, NYB_CORRUPT, "dimension 0 is no size"},
        {"{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, NYB_LIMIT, "9 dimensions"},
        {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, NYB_CORRUPT, "no whole"},
        {"{\"a\":" T("F32", "[4611686018427387904]", "[0,0]") "}", 0, NYB_CORRUPT, "no whole"},
        {"{\"a\":" T("F4", "[3]", "[0,2]") "}", 2, NYB_CORRUPT, "no whole"},
        {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, NYB_CORRUPT, "not two sizes"},
        {"{\"a\":" T("F32", "[1]", "[0,4.0]") "}", 4, NYB_CORRUPT, "not two sizes"},
        {"{\"a\":" T("F32", "[1]", "[0,18446744073709551620]") "}", 4, NYB_CORRUPT, "header, byte"},
        {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, NYB_CORRUPT, "bytes 4 to 0"},
        {"{\"a\":" T("F32", "[1]", "[0,5]") "}", 4, NYB_CORRUPT,
         "bytes 0 to 5 of data that have 4"},
        {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, NYB_CORRUPT,
         "needs 8 bytes, data_offsets give 4"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3, NYB_CORRUPT,
         "'b' begins at byte 1, but data of another reach byte 2"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2, NYB_CORRUPT,
         "'b' begins at byte 0, but"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[3,5]") "}", 5, NYB_CORRUPT,
         "leaving a gap after byte 2"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") "}", 3, NYB_CORRUPT, "fill 2 bytes, the file has 3"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_st_file *file;
        nyb_error err = {0};
        assert_int_equal(parse_text(cases[i].header, cases[i].n_data, &file, &err),
                         cases[i].status);
        if (!strstr(err.text, cases[i].why))
            fail_msg("%s: wanted '%s', got '%s'", cases[i].header, cases[i].why, err.text);
        assert_null(file);
    }
}

static void header_lengths(void **state)
{
    static const struct {
        uint64_t length;
        const char *why;
    } cases[] = {
        {3, "announced"},        {100000000, "announced"}, {100000001, "at most 100000000"},
        {UINT64_MAX, "at most"}, {1, "no JSON object"},    {0, "no JSON object"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *bytes = nyb_alloc(10);
        nyb_st_file *file;
        nyb_error err;
        for (int b = 0; b < 8; b++)
            bytes[b] = (uint8_t)(cases[i].length >> 8 * b);
        memcpy(bytes + 8, "{}", 2);
        assert_int_equal(nyb_st_parse(bytes, 10, "a", &file, &err), NYB_CORRUPT);
        assert_non_null(strstr(err.text, cases[i].why));
    }
    for (size_t n = 0; n < 8; n++) {
        nyb_st_file *file;
        assert_int_equal(nyb_st_parse(nyb_alloc(n), n, "a", &file, NULL), NYB_CORRUPT);
    }
}

static void saving_refuses_nonsense(void **state)
{
    static const struct {
        nyb_st_tensor tensor;
        nyb_status status;
    } cases[] = {
        {{"a", "F33", 1, {1}, "abcd", 4}, NYB_INVALID},
        {{"a", "F32", 1, {1}, "abcd", 3}, NYB_INVALID},
        {{"a", "F32", 9, {1}, "abcd", 4}, NYB_INVALID},
        {{"a", "F32", 2, {SIZE_MAX, SIZE_MAX}, "abcd", 4}, NYB_INVALID},
        {{"__metadata__", "F32", 1, {1}, "abcd", 4}, NYB_INVALID},
    };
    nyb_error err;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(nyb_st_save(path, &cases[i].tensor, 1, NULL, 0, &err), cases[i].status);
    const nyb_st_tensor twice[2] = {{"a", "U8", 1, {1}, "a", 1}, {"a", "U8", 1, {1}, "a", 1}};
    assert_int_equal(nyb_st_save(path, twice, 2, NULL, 0, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "two tensors are called 'a'"));
    assert_int_equal(nyb_st_save("/dev/full", twice, 1, NULL, 0, &err), NYB_IO);
    assert_int_equal(nyb_st_save("/no/such/folder/x", twice, 1, NULL, 0, &err), NYB_IO);
}

static void no_memory_is_an_error(void **state)
{
    static const nyb_st_tensor t[2] = {{"a", "U8", 1, {1}, "a", 1}, {"b", "U8", 1, {1}, "b", 1}};
    nyb_status status = NYB_MEMORY;
    int n_failures = 0;

    (void)state;
    assert_int_equal(nyb_st_save(path, t, 2, NULL, 0, NULL), NYB_OK);
    for (uint64_t n = 1; status == NYB_MEMORY; n++) {
        nyb_st_file *file;
        nyb_alloc_fail_after(n, false);
        status = nyb_st_load(path, &file, NULL);
        nyb_alloc_fail_after(0, false);
        n_failures += status == NYB_MEMORY;
        nyb_st_close(&file);
    }
    assert_int_equal(status, NYB_OK);
    assert_true(n_failures >= 4);
}

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(the_file_has_the_published_layout),
        cmocka_unit_test(good_headers),
        cmocka_unit_test(bad_headers_say_why),
        cmocka_unit_test(header_lengths),
        cmocka_unit_test(saving_refuses_nonsense),
        cmocka_unit_test(no_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
