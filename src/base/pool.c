#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/pool.h"

/* How long a thread without work looks for it before it sleeps: waking costs more than most layers
 * take, and unbounded spinning starves whoever shares the cores. */
#define SPIN_NS         50000
#define SPINS_PER_CLOCK 16

typedef struct worker {
    nyb_pool *pool;
    size_t index;
    pthread_t thread;
} worker;

/* A run is open while `open` holds its number. A worker enters (n_inside), looks whether the run is
 * still open, takes tasks, leaves. The caller closes the run when no task is left and waits until
 * nobody is inside; a worker that comes too late touches nothing, so that no run ever waits for a
 * thread that the kernel has not scheduled. All of this is sequentially consistent: between "enter,
 * then look" and "close, then count" at least one side sees the other. */
struct nyb_pool {
    size_t n_threads;
    int64_t spin_ns;
    worker *workers; /* n_threads - 1 */

    nyb_task_fn *fn;
    void *arg;
    size_t n_tasks;
    uint64_t n_runs;

    pthread_mutex_t mutex;
    pthread_cond_t work, idle;

    _Alignas(NYB_ALIGN) atomic_uint_fast64_t open; /* 0: none */
    atomic_bool stop;
    atomic_bool caller_sleeps;
    atomic_size_t n_sleeping;
    _Alignas(NYB_ALIGN) atomic_size_t next;
    _Alignas(NYB_ALIGN) atomic_size_t n_inside;
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool has_work(nyb_pool *pool, uint64_t done)
{
    uint64_t open = atomic_load(&pool->open);

    return (open != 0 && open != done) || atomic_load(&pool->stop);
}

static bool is_idle(nyb_pool *pool, uint64_t unused)
{
    (void)unused;
    return atomic_load(&pool->n_inside) == 0;
}

/* True as soon as ready() is; false after spin_ns. */
static bool spin(nyb_pool *pool, bool (*ready)(nyb_pool *, uint64_t), uint64_t arg)
{
    if (ready(pool, arg))
        return true;
    if (pool->spin_ns == 0)
        return false;
    int64_t end = now_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < SPINS_PER_CLOCK; i++) {
            pause_cpu();
            if (ready(pool, arg))
                return true;
        }
    } while (now_ns() < end);
    return false;
}

static void take_tasks(nyb_pool *pool, size_t index)
{
    size_t task;

    while ((task = atomic_fetch_add(&pool->next, 1)) < pool->n_tasks)
        pool->fn(pool->arg, task, index);
}

/* Returns the run it has helped with, or found closed. */
static uint64_t help(nyb_pool *pool, size_t index, uint64_t done)
{
    atomic_fetch_add(&pool->n_inside, 1);
    uint64_t open = atomic_load(&pool->open);
    if (open != 0 && open != done) {
        take_tasks(pool, index);
        done = open;
    }
    if (atomic_fetch_sub(&pool->n_inside, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->idle);
        pthread_mutex_unlock(&pool->mutex);
    }
    return done;
}

static void sleep_until_work(nyb_pool *pool, uint64_t done)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (!has_work(pool, done))
        pthread_cond_wait(&pool->work, &pool->mutex);
    atomic_fetch_sub(&pool->n_sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *arg)
{
    worker *self = arg;
    nyb_pool *pool = self->pool;
    uint64_t done = 0;

    (void)nyb_cpu_fp_enter();
    for (;;) {
        if (!spin(pool, has_work, done))
            sleep_until_work(pool, done);
        if (atomic_load(&pool->stop))
            return NULL;
        done = help(pool, self->index, done);
    }
}

static void wake_workers(nyb_pool *pool, size_t n_wanted)
{
    size_t n_sleeping = atomic_load(&pool->n_sleeping);

    if (n_sleeping == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    if (n_wanted >= n_sleeping)
        pthread_cond_broadcast(&pool->work);
    else
        for (size_t i = 0; i < n_wanted; i++)
            pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_idle(nyb_pool *pool)
{
    if (spin(pool, is_idle, 0))
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (!is_idle(pool, 0))
        pthread_cond_wait(&pool->idle, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void run_together(nyb_pool *pool, nyb_task_fn *fn, void *arg, size_t n_tasks)
{
    pool->fn = fn;
    pool->arg = arg;
    pool->n_tasks = n_tasks;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->open, ++pool->n_runs);
    wake_workers(pool, n_tasks - 1);
    take_tasks(pool, 0);
    atomic_store(&pool->open, 0);
    wait_until_idle(pool);
}

void nyb_pool_run(nyb_pool *pool, nyb_task_fn *fn, void *arg, size_t n_tasks)
{
    uint32_t former = nyb_cpu_fp_enter();

    if (nyb_pool_threads(pool) == 1 || n_tasks < 2)
        for (size_t task = 0; task < n_tasks; task++)
            fn(arg, task, 0);
    else
        run_together(pool, fn, arg, n_tasks);
    nyb_cpu_fp_restore(former);
}

size_t nyb_pool_threads(const nyb_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

/* n_workers: how many of them exist. */
static void stop_workers(nyb_pool *pool, size_t n_workers)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < n_workers; i++)
        pthread_join(pool->workers[i].thread, NULL);
}

/* Signals stay with the caller's threads: workers are created with all of them blocked. */
static int start_workers(nyb_pool *pool, size_t *n_started)
{
    sigset_t all, former;
    int failure = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    for (*n_started = 0; *n_started < pool->n_threads - 1; ++*n_started) {
        worker *w = &pool->workers[*n_started];
        w->pool = pool;
        w->index = *n_started + 1;
        failure = pthread_create(&w->thread, NULL, work, w);
        if (failure)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    return failure;
}

static void free_pool(nyb_pool *pool)
{
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    nyb_free(pool->workers);
    nyb_free(pool);
}

size_t nyb_usable_cpus(void)
{
#if defined(__linux__)
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (size_t)CPU_COUNT(&set);
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : (size_t)n;
}

nyb_status nyb_pool_create(size_t n_threads, nyb_pool **pool, nyb_error *err)
{
    *pool = NULL;
    if (n_threads < 1 || n_threads > NYB_THREADS_MAX)
        return nyb_fail(err, NYB_INVALID, "%zu threads: must be 1 to %d", n_threads,
                        NYB_THREADS_MAX);

    nyb_pool *p = nyb_alloc(sizeof *p);
    worker *workers = nyb_alloc(n_threads * sizeof *workers);
    if (!p || !workers) {
        nyb_free(p);
        nyb_free(workers);
        return nyb_fail(err, NYB_MEMORY, "no memory for a pool of %zu threads", n_threads);
    }
    p->n_threads = n_threads;
    p->workers = workers;
    /* with more threads than cores, the one that spins holds the core of the one that works */
    p->spin_ns = n_threads <= nyb_usable_cpus() ? SPIN_NS : 0;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);

    size_t n_started;
    int failure = start_workers(p, &n_started);
    if (failure) {
        stop_workers(p, n_started);
        free_pool(p);
        return nyb_fail(err, NYB_MEMORY, "cannot start thread %zu of %zu: %s", n_started + 2,
                        n_threads, strerror(failure));
    }
    *pool = p;
    return NYB_OK;
}

void nyb_pool_destroy(nyb_pool **pool)
{
    if (!*pool)
        return;
    stop_workers(*pool, (*pool)->n_threads - 1);
    free_pool(*pool);
    *pool = NULL;
}
