#include "base/pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "base/cpu.h"

/* The job now running is named by a ticket: generation << 32 | next task. A worker takes task t of
 * generation g by moving the ticket from g|t to g|t+1, so that a late worker can never take a task
 * of a job it did not see: while a job is being written, its ticket says CLOSED. */
#define CLOSED  0xffffffffu
#define SPIN_NS 50000 /* then sleep: a fork-join of sleepers costs some 40 us */

struct nyb_pool {
    size_t n_threads; /* with the caller */
    size_t n_started;
    pthread_t *threads;

    _Alignas(64) _Atomic uint64_t ticket;
    _Alignas(64) _Atomic size_t n_done;
    _Atomic size_t n_tasks;
    nyb_task_fn *fn;
    void *arg;

    _Alignas(64) _Atomic size_t n_asleep;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    _Atomic bool stop;
};

typedef struct worker_start {
    nyb_pool *pool;
    size_t worker;
} worker_start;

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    sched_yield();
#endif
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Runs tasks of the current job until there are none left to take. */
static void take_tasks(nyb_pool *p, size_t worker)
{
    uint64_t ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);

    for (;;) {
        const uint32_t task = (uint32_t)ticket;

        if (task == CLOSED || task >= atomic_load_explicit(&p->n_tasks, memory_order_acquire))
            return;
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &ticket, ticket + 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        p->fn(p->arg, task, worker);
        atomic_fetch_add_explicit(&p->n_done, 1, memory_order_acq_rel);
        ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
}

static uint32_t generation(const nyb_pool *p)
{
    return (uint32_t)(atomic_load_explicit(&p->ticket, memory_order_seq_cst) >> 32);
}

/* Returns when the generation is no longer `seen`, or the pool stops. */
static void wait_for_work(nyb_pool *p, uint32_t seen)
{
    const uint64_t until = now_ns() + SPIN_NS;

    do {
        for (int i = 0; i < 64; i++) {
            if (generation(p) != seen || atomic_load(&p->stop))
                return;
            relax();
        }
    } while (now_ns() < until);
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->n_asleep, 1);
    while (generation(p) == seen && !atomic_load(&p->stop))
        pthread_cond_wait(&p->wake, &p->mutex);
    atomic_fetch_sub(&p->n_asleep, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void *worker_main(void *arg)
{
    worker_start start = *(worker_start *)arg;
    nyb_pool *p = start.pool;
    uint32_t seen = 0;

    nyb_free(arg);
    nyb_cpu_fp_enter();
    while (!atomic_load(&p->stop)) {
        wait_for_work(p, seen);
        seen = generation(p);
        take_tasks(p, start.worker);
    }
    return NULL;
}

static nyb_status start_workers(nyb_pool *p, nyb_error *err)
{
    for (size_t i = 1; i < p->n_threads; i++) {
        worker_start *start = nyb_alloc(sizeof *start);

        if (!start)
            return nyb_fail(err, NYB_MEMORY, "out of memory for thread %zu", i);
        *start = (worker_start){p, i};
        if (pthread_create(&p->threads[p->n_started], NULL, worker_main, start)) {
            nyb_free(start);
            return nyb_fail(err, NYB_LIMIT, "cannot start thread %zu of %zu", i, p->n_threads);
        }
        p->n_started++;
    }
    return NYB_OK;
}

nyb_status nyb_pool_create(size_t n_threads, nyb_pool **pool, nyb_error *err)
{
    nyb_pool *p;
    nyb_status status;

    *pool = NULL;
    if (n_threads < 1 || n_threads > NYB_THREADS_MAX)
        return nyb_fail(err, NYB_INVALID, "%zu threads: want 1..%d", n_threads, NYB_THREADS_MAX);
    p = nyb_alloc(sizeof *p);
    if (!p)
        return nyb_fail(err, NYB_MEMORY, "out of memory for %zu threads", n_threads);
    p->n_threads = n_threads;
    p->threads = nyb_alloc(n_threads * sizeof *p->threads);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->wake, NULL);
    atomic_store(&p->ticket, CLOSED);
    status = p->threads ? start_workers(p, err)
                        : nyb_fail(err, NYB_MEMORY, "out of memory for %zu threads", n_threads);
    *pool = p;
    if (status != NYB_OK)
        nyb_pool_destroy(pool);
    return status;
}

void nyb_pool_destroy(nyb_pool **pool)
{
    nyb_pool *p = *pool;

    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->mutex);
    for (size_t i = 0; i < p->n_started; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->mutex);
    nyb_free(p->threads);
    nyb_free(p);
    *pool = NULL;
}

size_t nyb_pool_threads(const nyb_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

static void publish(nyb_pool *p, nyb_task_fn *fn, void *arg, size_t n_tasks)
{
    const uint64_t next = (uint64_t)(generation(p) + 1) << 32;

    atomic_store(&p->ticket, (next - ((uint64_t)1 << 32)) | CLOSED);
    p->fn = fn;
    p->arg = arg;
    atomic_store(&p->n_done, 0);
    atomic_store(&p->n_tasks, n_tasks);
    atomic_store(&p->ticket, next);
    if (atomic_load(&p->n_asleep) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->mutex);
    }
}

static void run_shared(nyb_pool *p, size_t n_tasks)
{
    uint64_t until;

    take_tasks(p, 0);
    until = now_ns() + SPIN_NS;
    while (atomic_load_explicit(&p->n_done, memory_order_acquire) < n_tasks) {
        relax();
        if (now_ns() > until) /* a worker lost its CPU in the middle of a task */
            sched_yield();
    }
}

void nyb_pool_run(nyb_pool *p, nyb_task_fn *fn, void *arg, size_t n_tasks)
{
    const uint32_t former = nyb_cpu_fp_enter();

    if (!p || p->n_threads == 1 || n_tasks == 1) {
        for (size_t i = 0; i < n_tasks; i++)
            fn(arg, i, 0);
    } else if (n_tasks > 0) {
        assert(n_tasks < CLOSED);
        publish(p, fn, arg, n_tasks);
        run_shared(p, n_tasks);
    }
    nyb_cpu_fp_restore(former);
}
