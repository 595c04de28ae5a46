/* Kernels broken on purpose: a harness that does not report them is itself broken. */
#include "check.h"

#include <string.h>

#include "base/base.h"

#define N_MAX 300

typedef void copy_fn(uint8_t *to, const uint8_t *from, size_t n);

static void copy(uint8_t *to, const uint8_t *from, size_t n)
{
    memcpy(to, from, n);
}

/* One bit of one byte is wrong, and only for some lengths. */
static void copy_wrong_bit(uint8_t *to, const uint8_t *from, size_t n)
{
    memcpy(to, from, n);
    if (n % 64 == 63)
        to[n / 2] ^= 0x10;
}

/* Writes whole vectors of 16, past the end where the length is odd. */
static void copy_past_end(uint8_t *to, const uint8_t *from, size_t n)
{
    memcpy(to, from, n);
    if (n % 16 != 0)
        to[n] = 0;
}

static void check(ck *c, const char *variant, copy_fn *fn, bool broken)
{
    uint8_t want[N_MAX + 1];

    if (!ck_begin(c, "broken", variant, 0))
        return;
    if (broken)
        ck_must_fail(c);
    for (size_t i = 0; i < 200; i++) {
        size_t n = ck_case(c, i) ? ck_range(c, 1, N_MAX) : 0;
        uint8_t *from, *to;

        if (n == 0)
            continue;
        /* Both ends are open where the kernel may write past one: the poison must tell. */
        from = ck_guard(c, n, i % 2 != 0);
        to = ck_guard(c, n, false);
        for (size_t j = 0; j < n; j++)
            from[j] = (uint8_t)ck_rand(c);
        copy(want, from, n);
        fn(to, from, n);
        ck_same(c, "bytes", want, to, n);
    }
    ck_end(c);
}

void check_broken(ck *c)
{
    check(c, "none", copy, false);
    check(c, "bit", copy_wrong_bit, true);
    check(c, "past-end", copy_past_end, true);
}
