#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "io/io.h"

/* FIPS 180-4 examples, and the empty and the million-a messages of NIST's test vectors. */
static void known_answers(void **state)
{
    static const struct {
        const char *text;
        int times;
        const char *hex;
    } cases[] = {
        {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nyb_sha256 sha;
        char hex[65];
        nyb_sha256_begin(&sha);
        for (int t = 0; t < cases[i].times; t++)
            nyb_sha256_add(&sha, cases[i].text, strlen(cases[i].text));
        nyb_sha256_end(&sha, hex);
        assert_string_equal(hex, cases[i].hex);
    }
}

/* Of the messages 0, 0 1, 0 1 2 ... of 0 to 299 bytes, each hashed in pieces: the hash of all their
 * hashes, as Python's hashlib gives it. Lengths around 55, 56, 63, 64 exercise the padding. */
static void every_length_in_pieces(void **state)
{
    uint8_t message[300];
    nyb_sha256 all;
    char hex[65];

    (void)state;
    for (size_t i = 0; i < 300; i++)
        message[i] = (uint8_t)i;
    nyb_sha256_begin(&all);
    for (size_t n = 0; n < 300; n++) {
        nyb_sha256 sha;
        nyb_sha256_begin(&sha);
        for (size_t at = 0, piece = n % 7; at < n; piece = (piece * 5 + 3) % 71) {
            size_t some = nyb_min(piece, n - at);
            nyb_sha256_add(&sha, message + at, some);
            at += some;
        }
        nyb_sha256_end(&sha, hex);
        nyb_sha256_add(&all, hex, 64);
    }
    nyb_sha256_end(&all, hex);
    assert_string_equal(hex, "ff4223406fc6473b721b409cbe70bbeabc0c8d0d0f55c370497cc0c25606895f");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(every_length_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
