/* checkkernels: every variant of every kernel family against its reference, bit for bit. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ck ck;

/* Starts one variant of a family. False: not asked for (--family, --variant), or this CPU (or the
 * --cpu cap) lacks `needs`; then skip it. */
bool ck_begin(ck *c, const char *family, const char *variant, uint32_t needs);
/* A mismatch: counted and printed with a one-line reproduction (family, variant, seed, case). */
void ck_fail(ck *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ck_end(ck *c);
/* The family's variant now running is broken on purpose: it must have failed at ck_end. Call it
 * right after ck_begin. */
void ck_must_fail(ck *c);

/* Random cases to run per variant: 2,000, or 20,000 small ones with --full. ck_case seeds the
 * generator for case i, so that --case I reproduces it alone; false: skip this case. */
size_t ck_cases(const ck *c);
bool ck_case(ck *c, size_t i);
uint32_t ck_rand(ck *c);
size_t ck_range(ck *c, size_t lo, size_t hi); /* uniform in lo..hi */
float ck_float(
    ck *c); /* wide exponent range; now and then 0, -0, denormal, NaN, Inf, grid points */

/* n bytes that end at (end = true) or begin at an inaccessible page; 64-byte aligned where the
 * chosen end allows. They live until the next ck_case or ck_end, which also fails the case if a
 * byte just outside them changed. */
void *ck_guard(ck *c, size_t n_bytes, bool end);
/* Compares bytes; on mismatch ck_fail names the first difference. */
bool ck_same(ck *c, const char *what, const void *want, const void *got, size_t n_bytes);

/* With --bench: times fn(arg) (median of interleaved runs) and prints work per second. */
void ck_bench(ck *c, const char *what, double work, const char *unit, void (*fn)(void *),
              void *arg);

/* Runs a NULL-terminated list of families as the command line asks; the exit status. */
int ck_main(int argc, char **argv, void (*const *families)(ck *));

/* The instruction sets in play, NYB_CPU_*: this machine's, capped by --cpu. */
uint32_t ck_cpu(const ck *c);

/* One function per family, listed in tests/kernels/main.c. */
void check_accumulate(ck *c);
void check_codes(ck *c);
void check_depthwise(ck *c);
void check_dot(ck *c);
void check_encode(ck *c);
void check_elem(ck *c);
void check_group(ck *c);
void check_moments(ck *c);
void check_round(ck *c);
void check_store(ck *c);
void check_tile_s8(ck *c);
void check_tile_f32(ck *c);
void check_conv(ck *c);
void check_broken(ck *c);

#endif
