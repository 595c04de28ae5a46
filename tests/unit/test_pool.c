/* The thread pool: every task once, whatever the number of threads, with FTZ and DAZ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/pool.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static const size_t thread_counts[] = {1, 2, 3, 7, 16};
#define N_COUNTS (sizeof thread_counts / sizeof *thread_counts)

static nyb_pool *pool_of(size_t n_threads)
{
    nyb_pool *pool;

    assert_int_equal(nyb_pool_create(n_threads, &pool, NULL), NYB_OK);
    assert_int_equal(nyb_pool_threads(pool), n_threads);
    return pool;
}

typedef struct tally {
    size_t n_threads;
    atomic_int count[1000];
    atomic_size_t sum;
    atomic_int bad_worker;
} tally;

static void count_task(void *arg, size_t task, size_t worker)
{
    tally *t = arg;

    atomic_fetch_add(&t->count[task], 1);
    atomic_fetch_add(&t->sum, task);
    if (worker >= t->n_threads)
        atomic_store(&t->bad_worker, 1);
}

static void every_task_runs_once(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_COUNTS; c++) {
        nyb_pool *pool = pool_of(thread_counts[c]);
        for (size_t n = 0; n <= 1000; n = n < 20 ? n + 1 : n * 2 - 9) {
            tally *t = calloc(1, sizeof *t);
            t->n_threads = thread_counts[c];
            nyb_pool_run(pool, count_task, t, n);
            for (size_t i = 0; i < 1000; i++)
                assert_int_equal(t->count[i], i < n);
            assert_int_equal(t->sum, n * (n - 1) / 2);
            assert_int_equal(t->bad_worker, 0);
            free(t);
        }
        nyb_pool_destroy(&pool);
        assert_null(pool);
        nyb_pool_destroy(&pool);
    }
}

static void no_pool_means_the_caller(void **state)
{
    static tally t;

    (void)state;
    t.n_threads = 1;
    nyb_pool_run(NULL, count_task, &t, 10);
    assert_int_equal(t.sum, 45);
    assert_int_equal(nyb_pool_threads(NULL), 1);
}

/* Each run reads what the former one wrote: a task of a former run that comes late, or a run that
 * returns early, breaks the chain. No atomics here: the pool must order memory itself. */
typedef struct chain {
    uint64_t value[2][8];
    int from;
} chain;

static void chain_task(void *arg, size_t task, size_t worker)
{
    chain *c = arg;
    uint64_t sum = 0;

    (void)worker;
    for (size_t i = 0; i < 8; i++)
        sum = sum * 31 + c->value[c->from][i];
    c->value[!c->from][task] = sum + task;
}

static void many_small_runs_keep_their_order(void **state)
{
    uint64_t want = 0;

    (void)state;
    for (size_t n = 0; n < N_COUNTS; n++) {
        nyb_pool *pool = pool_of(thread_counts[n]);
        chain c = {0};
        for (int run = 0; run < 10000; run++) {
            nyb_pool_run(pool, chain_task, &c, 8);
            c.from = !c.from;
        }
        uint64_t got = c.value[c.from][7];
        if (n == 0)
            want = got;
        assert_true(got == want);
        nyb_pool_destroy(&pool);
    }
}

static void sleep_us(long t_us)
{
    nanosleep(&(struct timespec){0, t_us * 1000}, NULL);
}

static void slow_task(void *arg, size_t task, size_t worker)
{
    if (worker != 0)
        sleep_us(300);
    ((int *)arg)[task]++;
}

static void a_run_waits_for_slow_workers(void **state)
{
    nyb_pool *pool = pool_of(3);
    int count[50] = {0};

    (void)state;
    for (int run = 0; run < 50; run++) {
        nyb_pool_run(pool, slow_task, count, 50);
        for (size_t i = 0; i < 50; i++)
            assert_int_equal(count[i], run + 1);
    }
    nyb_pool_destroy(&pool);
}

typedef struct flushing {
    volatile float tiny, subnormal;
    atomic_int n_kept;     /* tasks that saw a subnormal, or 1 rounded up */
    atomic_int seen[3];    /* per worker                 */
    atomic_int n_together; /* tasks that have begun      */
} flushing;

/* Waits for the others for a while, so that each worker gets a task. */
static void flush_task(void *arg, size_t task, size_t worker)
{
    flushing *f = arg;
    volatile float product = f->tiny * 0.5f;
    volatile float grown = f->subnormal * 0x1p60f;
    volatile float sum = f->tiny + 1.0f; /* rounded to nearest */

    (void)task;
    if (sum != 1.0f || nyb_bits_of(product) != 0 || nyb_bits_of(grown) != 0) /* FTZ, DAZ */
        atomic_fetch_add(&f->n_kept, 1);
    atomic_fetch_add(&f->seen[worker], 1);
    atomic_fetch_add(&f->n_together, 1);
    for (int i = 0; i < 5000 && atomic_load(&f->n_together) < 3; i++)
        sleep_us(100);
}

/* Modes of a process when it starts, those of one that rounds upwards, and the bits that are modes.
 */
#if defined(__aarch64__)
enum { MODES = 0, MODES_UP = 0x400000, MODES_MASK = 0x7ffffff };
#else
enum { MODES = 0x1f80, MODES_UP = 0x5f80, MODES_MASK = 0xffc0 };
#endif

static void all_workers_wake_and_flush_subnormals(void **state)
{
    nyb_pool *pool = pool_of(3);
    uint32_t former = nyb_cpu_fp_enter();
    flushing f = {.tiny = 0x1p-126f, .subnormal = nyb_float_of(1)};

    (void)state;
    sleep_us(5000); /* now the workers sleep, too */
    nyb_cpu_fp_restore(MODES);
    nyb_pool_run(pool, flush_task, &f, 3);
    assert_int_equal(f.n_kept, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(f.seen[i], 1);
    volatile float product = f.tiny * 0.5f;
    assert_int_equal(nyb_bits_of(product), 0x400000);
    nyb_pool_run(NULL, flush_task, &f, 1);
    assert_int_equal(f.n_kept, 0);
    /* a caller who rounds upwards gets the same numbers, and its mode back */
    nyb_cpu_fp_restore(MODES_UP);
    nyb_pool_run(NULL, flush_task, &f, 1);
    assert_int_equal(nyb_cpu_fp_enter() & MODES_MASK, MODES_UP);
    nyb_cpu_fp_restore(former);
    assert_int_equal(f.n_kept, 0);
    nyb_pool_destroy(&pool);
}

static void bad_counts_are_refused(void **state)
{
    nyb_pool *pool = (nyb_pool *)&pool;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_pool_create(0, &pool, &err), NYB_INVALID);
    assert_null(pool);
    assert_int_equal(nyb_pool_create(10000, &pool, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "10000"));
    assert_int_equal(nyb_pool_create(SIZE_MAX, &pool, &err), NYB_INVALID);
}

/* Threads need address space for their stacks: with none to spare, creation fails half way. */
static void a_thread_that_cannot_start_is_an_error(void **state)
{
#if !defined(SANITIZED)
    struct rlimit former, low = {512u << 20, 512u << 20};
    nyb_pool *pool;
    nyb_error err = {0};

    assert_int_equal(getrlimit(RLIMIT_AS, &former), 0);
    low.rlim_max = former.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
    nyb_status status = nyb_pool_create(1024, &pool, &err);
    assert_int_equal(setrlimit(RLIMIT_AS, &former), 0);
    assert_int_not_equal(status, NYB_OK);
    assert_null(pool);
    assert_non_null(strstr(err.text, "of 1024"));
#endif
    (void)state;
}

static void a_pool_of_the_largest_size_works(void **state)
{
    nyb_pool *pool;
    static tally t;

    (void)state;
    if (nyb_pool_create(NYB_THREADS_MAX, &pool, NULL) != NYB_OK)
        skip(); /* this machine allows fewer threads */
    t.n_threads = NYB_THREADS_MAX;
    for (int run = 0; run < 20; run++)
        nyb_pool_run(pool, count_task, &t, 1000);
    assert_int_equal(t.sum, 20 * 999 * 500);
    nyb_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(no_pool_means_the_caller),
        cmocka_unit_test(many_small_runs_keep_their_order),
        cmocka_unit_test(a_run_waits_for_slow_workers),
        cmocka_unit_test(all_workers_wake_and_flush_subnormals),
        cmocka_unit_test(bad_counts_are_refused),
        cmocka_unit_test(a_thread_that_cannot_start_is_an_error),
        cmocka_unit_test(a_pool_of_the_largest_size_works),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
