/* The ground floor: sizes that cannot overflow, alignment, bit casts. */
#ifndef NYB_BASE_H
#define NYB_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <nybble/status.h>

#define NYB_ALIGN 64 /* bytes: a cache line, a zmm register, an AMX tile row */

static inline uint32_t nyb_bits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float nyb_float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static inline size_t nyb_div_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static inline size_t nyb_round_up(size_t n, size_t multiple)
{
    return nyb_div_up(n, multiple) * multiple;
}

static inline size_t nyb_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t nyb_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* *product = a * b; false on overflow. */
static inline bool nyb_mul_size(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* What public functions say to a NULL where there must be none. */
NYB_MUST_CHECK static inline nyb_status nyb_check_pointers(bool all, nyb_error *err)
{
    return all ? NYB_OK : nyb_fail(err, NYB_INVALID, "an argument is NULL");
}

/* 64-byte aligned, zeroed memory, or NULL. All heap memory of the library comes from here, so that
 * tests can count and fail allocations. n_bytes 0 gives a unique pointer. Free with nyb_free. */
void *nyb_alloc(size_t n_bytes);
void nyb_free(void *p);
char *nyb_strdup(const char *text);

/* Test hooks. The count of nyb_alloc calls so far (all threads). After nyb_alloc_fail_after(n) the
 * n-th next call fails (n = 1: the next one); 0 disarms; `forever` keeps failing after it. */
uint64_t nyb_alloc_count(void);
void nyb_alloc_fail_after(uint64_t n, bool forever);

#endif
