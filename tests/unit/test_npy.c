#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <nybble/io.h>

#include "io/io.h"

/* numpy.save of int16 [[1, -2], [3, 4]], as NumPy 1.24 writes it. */
static const char numpy_file[] = "\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, "
                                 "'shape': (2, 2), }";

static size_t make_numpy_file(uint8_t bytes[136])
{
    memset(bytes, ' ', 128);
    memcpy(bytes, numpy_file, sizeof numpy_file - 1);
    bytes[127] = '\n';
    memcpy(bytes + 128, "\x01\x00\xfe\xff\x03\x00\x04\x00", 8);
    return 136;
}

static void numpys_own_file_is_read(void **state)
{
    uint8_t bytes[136];
    size_t n = make_numpy_file(bytes);
    nyb_npy npy;
    float *x;

    (void)state;
    assert_int_equal(nyb_npy_parse(bytes, n, "a", &npy, NULL), NYB_OK);
    assert_int_equal(npy.n_dims, 2);
    assert_int_equal(npy.dims[0], 2);
    assert_int_equal(npy.dims[1], 2);
    assert_int_equal(npy.n, 4);
    assert_string_equal(npy.dtype, "i2");
    assert_int_equal(nyb_npy_to_f32(&npy, &x, NULL), NYB_OK);
    assert_true(x[0] == 1 && x[1] == -2 && x[2] == 3 && x[3] == 4);
    nyb_free(x);
    nyb_npy_free(&npy);
    assert_null(npy.data);
}

static void every_truncation_is_an_error(void **state)
{
    uint8_t bytes[136];
    size_t n = make_numpy_file(bytes);
    nyb_npy npy;
    nyb_error err;

    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *exact = malloc(cut + !cut); /* so that a sanitizer sees any read past the end */
        memcpy(exact, bytes, cut);
        assert_int_equal(nyb_npy_parse(exact, cut, "a.npy", &npy, &err), NYB_CORRUPT);
        assert_non_null(strstr(err.text, "a.npy: "));
        assert_true((cut >= 10 && cut < 128) == (strstr(err.text, "header of 118") != NULL));
        assert_null(npy.data);
        free(exact);
    }
}

static nyb_status parse_text(const char *dict, size_t n_data, nyb_npy *npy, nyb_error *err)
{
    uint8_t bytes[600] = "\x93NUMPY\x01";
    size_t n = strlen(dict);

    bytes[8] = n & 255;
    bytes[9] = (uint8_t)(n >> 8);
    memcpy(bytes + 10, dict, n);
    return nyb_npy_parse(bytes, 10 + n + n_data, "a", npy, err);
}

static void other_spellings_are_read(void **state)
{
    static const char *const dicts[] = {
        "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<f4\"}",
        "  { 'shape' : ( 2 , ) , 'descr' : '<f4' , 'fortran_order' : False , } \n",
        "{'shape': (1, 2,), 'descr': '<f4', 'fortran_order': False}",
    };
    nyb_npy npy;

    (void)state;
    for (size_t i = 0; i < sizeof dicts / sizeof *dicts; i++) {
        assert_int_equal(parse_text(dicts[i], 8, &npy, NULL), NYB_OK);
        assert_int_equal(npy.n, 2);
        nyb_npy_free(&npy);
    }
    assert_int_equal(
        parse_text("{'shape': (), 'descr': '<f8', 'fortran_order': False}", 8, &npy, NULL), NYB_OK);
    assert_int_equal(npy.n_dims, 0);
    assert_int_equal(npy.n, 1);
    nyb_npy_free(&npy);
    assert_int_equal(
        parse_text("{'shape': (0, 3), 'descr': '|u1', 'fortran_order': False}", 0, &npy, NULL),
        NYB_OK);
    assert_int_equal(npy.n, 0);
    nyb_npy_free(&npy);
}

#define ARRAY(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }"

static void bad_headers_say_why(void **state)
{
    static const struct {
        const char *dict;
        size_t n_data;
        nyb_status status;
        const char *why;
    } cases[] = {
        {ARRAY("'>f4'", "(2,)"), 8, NYB_CORRUPT, "big-endian"},
        {ARRAY("'|O'", "(2,)"), 16, NYB_CORRUPT, "dtype '|O'"},
        {ARRAY("'|f4'", "(2,)"), 8, NYB_CORRUPT, "dtype '|f4'"},
        {ARRAY("'<c8'", "(2,)"), 16, NYB_CORRUPT, "dtype '<c8'"},
        {ARRAY("''", "(2,)"), 8, NYB_CORRUPT, "dtype ''"},
        {ARRAY("'<f4withmore'", "(2,)"), 8, NYB_CORRUPT, "dtype '<f4with'"},
        {ARRAY("[('a', '<f4')]", "(2,)"), 8, NYB_CORRUPT, "structured"},
        {ARRAY("'<f4'", "(2)"), 8, NYB_CORRUPT, "no tuple"},
        {ARRAY("'<f4'", "[2]"), 8, NYB_CORRUPT, "no tuple"},
        {ARRAY("'<f4'", "(-2,)"), 8, NYB_CORRUPT, "no size"},
        {ARRAY("'<f4'", "(2.0,)"), 8, NYB_CORRUPT, "no tuple"},
        {ARRAY("'<f4'", "(2 1)"), 8, NYB_CORRUPT, "no tuple"},
        {ARRAY("'<f4'", "(18446744073709551616,)"), 8, NYB_CORRUPT, "no size"},
        {ARRAY("'<f4'", "(18446744073709551615,)"), 8, NYB_LIMIT, "too large"},
        {ARRAY("'<f4'", "(4294967296, 4294967296)"), 8, NYB_LIMIT, "too large"},
        {ARRAY("'<f4'", "(1,1,1,1,1,1,1,1,2)"), 8, NYB_LIMIT, "more than 8"},
        {ARRAY("'<f4'", "(2,)"), 7, NYB_CORRUPT, "needs 8 bytes of data, the file has 7"},
        {ARRAY("'<f4'", "(2,)"), 9, NYB_CORRUPT, "needs 8 bytes of data, the file has 9"},
        {ARRAY("'<f4'", "(2,)") "x", 8, NYB_CORRUPT, "text after"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", 8, NYB_CORRUPT, "Fortran"},
        {"{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}", 8, NYB_CORRUPT, "no bool"},
        {"{'descr': '<f4', 'fortran_order': False}", 8, NYB_CORRUPT, "missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8, NYB_CORRUPT,
         "unexpected key 'descr'"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", 8, NYB_CORRUPT, "no comma"},
        {"{'descr': '<f4', 'more': 3}", 8, NYB_CORRUPT, "unexpected key 'more'"},
        {"[]", 8, NYB_CORRUPT, "not a dict"},
        {"", 8, NYB_CORRUPT, "not a dict"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_npy npy;
        nyb_error err = {0};
        assert_int_equal(parse_text(cases[i].dict, cases[i].n_data, &npy, &err), cases[i].status);
        if (!strstr(err.text, cases[i].why))
            fail_msg("%s: wanted '%s', got '%s'", cases[i].dict, cases[i].why, err.text);
        assert_null(npy.data);
    }
}

static void versions(void **state)
{
    uint8_t bytes[136];
    size_t n = make_numpy_file(bytes);
    nyb_npy npy;
    nyb_error err;

    (void)state;
    bytes[6] = 3;
    assert_int_equal(nyb_npy_parse(bytes, n, "a", &npy, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "version 3.0"));
    bytes[6] = 2; /* a 4-byte length: 116 bytes of text from byte 12 on */
    memmove(bytes + 12, bytes + 10, 114);
    memcpy(bytes + 8, "\x74\0\0", 4);
    assert_int_equal(nyb_npy_parse(bytes, n, "a", &npy, &err), NYB_OK);
    assert_int_equal(npy.n, 4);
    nyb_npy_free(&npy);
    bytes[11] = 0x80;
    assert_int_equal(nyb_npy_parse(bytes, n, "a", &npy, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "2147483764 bytes"));
}

static char path[] = "/tmp/nyb-npy-XXXXXX";

static void assert_converted(const char *dtype, const void *data, const float want[4])
{
    const size_t dims[3] = {1, 2, 2};
    nyb_npy npy;
    float *x;

    assert_int_equal(nyb_npy_save(path, dtype, data, 3, dims, NULL), NYB_OK);
    assert_int_equal(nyb_npy_load(path, &npy, NULL), NYB_OK);
    assert_string_equal(npy.dtype, dtype);
    assert_int_equal(npy.n_dims, 3);
    assert_memory_equal(npy.dims, dims, sizeof dims);
    assert_int_equal(nyb_npy_to_f32(&npy, &x, NULL), NYB_OK);
    assert_memory_equal(x, want, 4 * sizeof *x);
    nyb_free(x);
    nyb_npy_free(&npy);
}

static void every_dtype_comes_back(void **state)
{
    (void)state;
    assert_converted("b1", (uint8_t[]){0, 1, 1, 0}, (float[]){0, 1, 1, 0});
    assert_converted("i1", (int8_t[]){-128, -1, 0, 127}, (float[]){-128, -1, 0, 127});
    assert_converted("u1", (uint8_t[]){0, 1, 128, 255}, (float[]){0, 1, 128, 255});
    assert_converted("i2", (int16_t[]){-32768, 1, 2, 3}, (float[]){-32768, 1, 2, 3});
    assert_converted("u2", (uint16_t[]){65535, 1, 2, 3}, (float[]){65535, 1, 2, 3});
    assert_converted("f2", (uint16_t[]){0x3c00, 0xc000, 0x0001, 0xfc00},
                     (float[]){1, -2, 0x1p-24f, -INFINITY});
    assert_converted("f2", (uint16_t[]){0x7bff, 0x8000, 0x83ff, 0x0400},
                     (float[]){65504, -0.0f, -1023 * 0x1p-24f, 0x1p-14f});
    assert_converted("i4", (int32_t[]){INT32_MIN, 16777217, 16777219, -5},
                     (float[]){-0x1p31f, 16777216, 16777220, -5});
    assert_converted("u4", (uint32_t[]){UINT32_MAX, 1, 2, 3}, (float[]){0x1p32f, 1, 2, 3});
    assert_converted("i8", (int64_t[]){INT64_MIN, -1, 2, 3}, (float[]){-0x1p63f, -1, 2, 3});
    assert_converted("u8", (uint64_t[]){UINT64_MAX, 1, 2, 3}, (float[]){0x1p64f, 1, 2, 3});
    assert_converted("f4", (float[]){0.1f, -1, INFINITY, 3}, (float[]){0.1f, -1, INFINITY, 3});
    assert_converted("f8", (double[]){0.1, -1, 1e300, 3}, (float[]){0.1f, -1, INFINITY, 3});
}

static void the_file_is_what_numpy_writes(void **state)
{
    uint8_t want[136], *bytes;
    size_t n;

    (void)state;
    make_numpy_file(want);
    const int16_t x[4] = {1, -2, 3, 4};
    assert_int_equal(nyb_npy_save(path, "i2", x, 2, (size_t[]){2, 2}, NULL), NYB_OK);
    assert_int_equal(nyb_file_read(path, 1000, &bytes, &n, NULL), NYB_OK);
    assert_int_equal(n, 136);
    assert_memory_equal(bytes, want, 136);
    nyb_free(bytes);
    assert_int_equal(nyb_npy_save(path, "f4", (float[]){1}, 0, NULL, NULL), NYB_OK);
    assert_int_equal(nyb_npy_save(path, "f4", (float[]){1}, 1, (size_t[]){1}, NULL), NYB_OK);
    assert_int_equal(nyb_file_read(path, 1000, &bytes, &n, NULL), NYB_OK);
    assert_non_null(strstr((char *)bytes + 10, "'shape': (1,), }"));
    nyb_free(bytes);
}

static void saving_refuses_nonsense(void **state)
{
    nyb_error err;
    const float x = 0;

    (void)state;
    assert_int_equal(nyb_npy_save("/dev/full", "f4", &x, 1, (size_t[]){1}, &err), NYB_IO);
    assert_int_equal(nyb_npy_save(path, "f3", &x, 1, (size_t[]){1}, &err), NYB_INVALID);
    assert_int_equal(nyb_npy_save(path, "f4", &x, 9, (size_t[9]){0}, &err), NYB_INVALID);
    assert_int_equal(nyb_npy_save(path, "f4", &x, 1, (size_t[]){SIZE_MAX / 2}, &err), NYB_LIMIT);
    assert_int_equal(nyb_npy_save(path, "f4", &x, 2, (size_t[]){SIZE_MAX, 2}, &err), NYB_LIMIT);
    assert_int_equal(nyb_npy_save("/no/such/folder/x.npy", "f4", &x, 0, NULL, &err), NYB_IO);
    assert_non_null(strstr(err.text, "/no/such/folder/x.npy: No such file or directory"));
}

static void nulls_are_refused(void **state)
{
    const size_t dims[2] = {1, 0};
    const unsigned char byte = 0;
    const float x = 0;
    nyb_error err = {0};

    (void)state;
    assert_int_equal(nyb_array_save(NULL, &x, 1, dims, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "NULL"));
    nyb_array array = {.n = 7};
    err.text[0] = '\0';
    assert_int_equal(nyb_array_load(NULL, &array, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "NULL"));
    assert_int_equal(array.n, 0);
    assert_int_equal(nyb_array_load(path, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save(path, NULL, 1, dims, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save(path, &x, 1, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save(path, NULL, 0, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save_bytes(NULL, &byte, 1, dims, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save_bytes(path, NULL, 1, dims, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save_bytes(path, &byte, 1, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_array_save(path, NULL, 2, dims, &err), NYB_OK); /* no elements */
    assert_int_equal(nyb_array_save(path, &x, 0, NULL, &err), NYB_OK);   /* a scalar */
}

static void no_memory_is_an_error(void **state)
{
    nyb_status status = NYB_MEMORY;
    int n_failures = 0;

    (void)state;
    assert_int_equal(nyb_npy_save(path, "f4", (float[]){1}, 1, (size_t[]){1}, NULL), NYB_OK);
    for (uint64_t n = 1; status == NYB_MEMORY; n++) {
        nyb_npy npy;
        float *x = NULL;
        nyb_alloc_fail_after(n, false);
        status = nyb_npy_load(path, &npy, NULL);
        if (status == NYB_OK)
            status = nyb_npy_to_f32(&npy, &x, NULL);
        nyb_alloc_fail_after(0, false);
        n_failures += status == NYB_MEMORY;
        nyb_free(x);
        nyb_npy_free(&npy);
    }
    assert_int_equal(status, NYB_OK);
    assert_true(n_failures >= 3);
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
        cmocka_unit_test(numpys_own_file_is_read),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(other_spellings_are_read),
        cmocka_unit_test(bad_headers_say_why),
        cmocka_unit_test(versions),
        cmocka_unit_test(every_dtype_comes_back),
        cmocka_unit_test(the_file_is_what_numpy_writes),
        cmocka_unit_test(saving_refuses_nonsense),
        cmocka_unit_test(nulls_are_refused),
        cmocka_unit_test(no_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_path, remove_path);
}
