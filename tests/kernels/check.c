#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"

#define SLOTS_MAX    64
#define POISON       0xA5
#define POISON_BYTES 256 /* checked on the open side of a guarded buffer */
#define FAILS_SHOWN  5   /* per variant */
#define FAILS_STOP   20  /* then the variant's other cases are skipped */
#define SAMPLES      15  /* of a benchmark */

/* Pages between two inaccessible ones. */
typedef struct slot {
    uint8_t *pages;
    size_t n_bytes; /* of pages, without the guards */
    uint8_t *p;     /* the buffer handed out, NULL if free */
    size_t n;
    bool end;
} slot;

struct ck {
    /* what the command line asks */
    const char *want_family, *want_variant, *program;
    uint64_t seed;
    bool one_case, full, bench;
    size_t only;
    uint32_t cpu;
    /* the variant now running */
    const char *family, *variant;
    bool must_fail;
    size_t i, n_cases, n_fails;
    uint64_t state;
    slot slots[SLOTS_MAX];
    size_t n_slots, page;
    /* totals */
    size_t n_variants, n_skipped, n_failed;
};

static ck *running; /* for the signal handler only */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* ---- variants ------------------------------------------------------------------------------ */

bool ck_begin(ck *c, const char *family, const char *variant, uint32_t needs)
{
    if ((c->want_family && strcmp(c->want_family, family) != 0) ||
        (c->want_variant && strcmp(c->want_variant, variant) != 0))
        return false;
    if (needs & ~c->cpu) {
        printf("[  SKIP    ] %s/%s: this CPU, or --cpu, lacks it\n", family, variant);
        c->n_skipped++;
        return false;
    }
    c->family = family;
    c->variant = variant;
    c->must_fail = false;
    c->n_cases = 0;
    c->n_fails = 0;
    c->i = 0;
    return true;
}

void ck_must_fail(ck *c)
{
    c->must_fail = true;
}

void ck_fail(ck *c, const char *format, ...)
{
    c->n_fails++;
    if (c->must_fail ? c->n_fails > 1 : c->n_fails > FAILS_SHOWN)
        return;
    va_list args;
    va_start(args, format);
    printf("%s/%s case %zu: ", c->family, c->variant, c->i);
    vprintf(format, args);
    va_end(args);
    printf("\n    again: %s --family %s --variant %s --seed %llu --case %zu%s\n", c->program,
           c->family, c->variant, (unsigned long long)c->seed, c->i, c->full ? " --full" : "");
}

/* Takes every buffer back; a byte that changed next to one fails the case. */
static void reclaim(ck *c)
{
    for (slot *s = c->slots; s < c->slots + c->n_slots; s++) {
        const uint8_t *from, *to;

        if (!s->p)
            continue;
        from = s->end ? s->pages : s->p + s->n;
        to = s->end ? s->p : s->pages + s->n_bytes;
        if (to - from > POISON_BYTES) {
            from = s->end ? to - POISON_BYTES : from;
            to = from + POISON_BYTES;
        }
        for (const uint8_t *q = from; q < to; q++)
            if (*q != POISON) {
                ck_fail(c, "wrote %td bytes %s a buffer of %zu",
                        s->end ? s->p - q : q - (s->p + s->n) + 1, s->end ? "before" : "past",
                        s->n);
                break;
            }
        s->p = NULL;
    }
}

void ck_end(ck *c)
{
    bool bad;

    reclaim(c);
    bad = c->must_fail ? c->n_fails == 0 : c->n_fails != 0;
    if (c->must_fail)
        printf("[%s] %s/%s: broken on purpose, %s\n", bad ? "  FAILED  " : "       OK ", c->family,
               c->variant, bad ? "and not noticed" : "and reported");
    else
        printf("[%s] %s/%s: %zu cases, %zu mismatches\n", bad ? "  FAILED  " : "       OK ",
               c->family, c->variant, c->n_cases, c->n_fails);
    fflush(stdout);
    c->n_variants++;
    c->n_failed += bad;
    c->family = NULL;
}

/* ---- cases --------------------------------------------------------------------------------- */

size_t ck_cases(const ck *c)
{
    return c->full ? 20000 : 2000;
}

bool ck_case(ck *c, size_t i)
{
    reclaim(c);
    if ((c->one_case && i != c->only) || c->n_fails >= FAILS_STOP)
        return false;
    c->i = i;
    c->n_cases++;
    c->state = mix(c->seed * 0x9E3779B97F4A7C15u + i);
    for (const char *p = c->family; *p; p++)
        c->state = mix(c->state + (uint8_t)*p);
    return true;
}

uint32_t ck_rand(ck *c)
{
    c->state += 0x9E3779B97F4A7C15u;
    return (uint32_t)(mix(c->state) >> 32);
}

size_t ck_range(ck *c, size_t lo, size_t hi)
{
    return lo + (size_t)(((uint64_t)ck_rand(c) * (hi - lo + 1)) >> 32);
}

float ck_float(ck *c)
{
    static const uint32_t special[] = {
        0x00000000, 0x80000000, 0x00000001, 0x807fffff, /* +-0, denormals     */
        0x7fc00000, 0xffc12345, 0x7f800001, 0x7f800000, /* NaNs, Inf          */
        0xff800000, 0x7f7fffff, 0xff7fffff, 0x00800000, /* -Inf, +-max, min   */
    };
    uint32_t r = ck_rand(c), sign = r & 0x80000000;

    switch (r % 32) {
    case 0:
        return nyb_float_of(special[ck_range(c, 0, sizeof special / sizeof *special - 1)]);
    case 1: /* any power of two */
        return nyb_float_of(sign | (uint32_t)ck_range(c, 1, 254) << 23);
    case 2: /* integers and halves, the grids' points and ties */
        return (sign ? -0.5f : 0.5f) * (float)ck_range(c, 0, 40);
    case 3: /* any bits */
        return nyb_float_of(ck_rand(c));
    default:
        return nyb_float_of(sign | (uint32_t)ck_range(c, 105, 137) << 23 | (ck_rand(c) >> 9));
    }
}

/* ---- guarded memory ------------------------------------------------------------------------ */

static void die(const char *what)
{
    fprintf(stderr, "checkkernels: %s: %s\n", what, strerror(errno));
    exit(2);
}

static slot *find_slot(ck *c, size_t n_bytes)
{
    size_t size = nyb_round_up(nyb_max(n_bytes, 1), c->page);
    uint8_t *map;
    slot *s;

    for (s = c->slots; s < c->slots + c->n_slots; s++)
        if (!s->p && s->n_bytes >= size && s->n_bytes <= 4 * size)
            return s;
    for (s = c->slots; s < c->slots + c->n_slots && s->p; s++)
        ;
    if (s == c->slots + SLOTS_MAX) {
        fprintf(stderr, "checkkernels: more than %d guarded buffers in a case\n", SLOTS_MAX);
        exit(2);
    }
    if (s < c->slots + c->n_slots)
        munmap(s->pages - c->page, s->n_bytes + 2 * c->page);
    else
        c->n_slots++;
    map = mmap(NULL, size + 2 * c->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        die("mmap");
    if (mprotect(map + c->page, size, PROT_READ | PROT_WRITE) != 0)
        die("mprotect");
    *s = (slot){.pages = map + c->page, .n_bytes = size};
    return s;
}

void *ck_guard(ck *c, size_t n_bytes, bool end)
{
    slot *s = find_slot(c, n_bytes);
    size_t slack = s->n_bytes - n_bytes, poison = nyb_min(slack, POISON_BYTES);

    s->p = end ? s->pages + slack : s->pages;
    s->n = n_bytes;
    s->end = end;
    memset(end ? s->p - poison : s->p + n_bytes, POISON, poison);
    memset(s->p, POISON, n_bytes);
    return s->p;
}

bool ck_same(ck *c, const char *what, const void *want, const void *got, size_t n_bytes)
{
    const uint8_t *w = want, *g = got;
    size_t i = 0;

    if (n_bytes == 0 || memcmp(want, got, n_bytes) == 0)
        return true;
    while (w[i] == g[i])
        i++;
    ck_fail(c, "%s: byte %zu of %zu is %02x, want %02x", what, i, n_bytes, g[i], w[i]);
    return false;
}

/* ---- timing -------------------------------------------------------------------------------- */

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_ns(void (*fn)(void *), void *arg, size_t n)
{
    double start = now_ns();

    for (size_t i = 0; i < n; i++)
        fn(arg);
    return (now_ns() - start) / (double)n;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void ck_bench(ck *c, const char *what, double work, const char *unit, void (*fn)(void *), void *arg)
{
    double t[SAMPLES];
    size_t n = 1;

    if (!c->bench)
        return;
    while (time_ns(fn, arg, n) * (double)n < 2e6) /* a sample takes 2 ms or more */
        n *= 2;
    for (size_t i = 0; i < SAMPLES; i++)
        t[i] = time_ns(fn, arg, n);
    qsort(t, SAMPLES, sizeof *t, ascending);
    printf("  bench %s/%s %s: %.4g %s/s, %.4f ns each (p10 %.4f, p90 %.4f)\n", c->family,
           c->variant, what, work / t[SAMPLES / 2] * 1e9, unit, t[SAMPLES / 2] / work,
           t[SAMPLES / 10] / work, t[SAMPLES * 9 / 10] / work);
}

/* ---- the program --------------------------------------------------------------------------- */

uint32_t ck_cpu(const ck *c)
{
    return c->cpu;
}

/* A kernel that touches a guard page ends the program; say which one. */
static void on_fault(int number)
{
    char text[256];
    int n = snprintf(text, sizeof text, "%s/%s case %zu: touched memory it must not (signal %d)\n",
                     running->family ? running->family : "?",
                     running->variant ? running->variant : "?", running->i, number);

    if (write(STDOUT_FILENO, text, (size_t)n) < 0)
        _exit(2);
    _exit(1);
}

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: checkkernels [--family F] [--variant V] [--seed N] [--case I] [--full]\n"
                "                    [--bench] [--cpu auto|amx|avx512vnni|avx2|ref]\n"
                "Compares every kernel with its reference, bit for bit. 2,000 random cases a\n"
                "variant, 20,000 with --full; --bench also times them.\n");
    return status;
}

/* -1: go on; else the exit status. */
static int parse(ck *c, int argc, char **argv, const char **cpu)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(word, "--help") == 0)
            return usage(stdout, 0);
        if (strcmp(word, "--full") == 0) {
            c->full = true;
            continue;
        }
        if (strcmp(word, "--bench") == 0) {
            c->bench = true;
            continue;
        }
        if (!value)
            return usage(stderr, 2);
        i++;
        if (strcmp(word, "--family") == 0) {
            c->want_family = value;
        } else if (strcmp(word, "--variant") == 0) {
            c->want_variant = value;
        } else if (strcmp(word, "--seed") == 0) {
            c->seed = strtoull(value, NULL, 0);
        } else if (strcmp(word, "--case") == 0) {
            c->one_case = true;
            c->only = strtoull(value, NULL, 0);
        } else if (strcmp(word, "--cpu") == 0) {
            *cpu = value;
        } else {
            return usage(stderr, 2);
        }
    }
    return -1;
}

int ck_main(int argc, char **argv, void (*const *families)(ck *))
{
    static ck c;
    const char *cpu = NULL;
    nyb_error err;
    int status;

    c.program = argc > 0 ? argv[0] : "checkkernels";
    c.seed = 1;
    c.page = (size_t)sysconf(_SC_PAGESIZE);
    status = parse(&c, argc, argv, &cpu);
    if (status >= 0)
        return status;
    if (nyb_cpu_parse(cpu, &c.cpu, &err) != NYB_OK) {
        fprintf(stderr, "checkkernels: %s\n", err.text);
        return 2;
    }
    running = &c;
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    nyb_cpu_fp_enter();
    for (void (*const *f)(ck *) = families; *f; f++)
        (*f)(&c);
    printf("[==========] %zu variants run, %zu skipped\n", c.n_variants, c.n_skipped);
    if (c.n_variants == 0) {
        fprintf(stderr, "checkkernels: no such family or variant\n");
        return 2;
    }
    printf("[  %s  ] %zu variants\n", c.n_failed ? "FAILED" : "PASSED",
           c.n_failed ? c.n_failed : c.n_variants);
    return c.n_failed ? 1 : 0;
}
