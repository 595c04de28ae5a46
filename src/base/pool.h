/* Threads that take numbered tasks; results never depend on which thread took which. */
#ifndef NYB_POOL_H
#define NYB_POOL_H

#include "base/base.h"

typedef struct nyb_pool nyb_pool;

/* task: 0 <= task < n_tasks; worker: 0 <= worker < nyb_pool_threads(). Must not fail or block. */
typedef void nyb_task_fn(void *arg, size_t task, size_t worker);

#define NYB_THREADS_MAX 1024

/* n_threads 1..NYB_THREADS_MAX counts the caller. Workers run with FTZ and DAZ. On failure
 * *pool is NULL and nothing is leaked. */
NYB_MUST_CHECK nyb_status nyb_pool_create(size_t n_threads, nyb_pool **pool, nyb_error *err);
void nyb_pool_destroy(nyb_pool **pool);
size_t nyb_pool_threads(const nyb_pool *pool); /* NULL pool: 1 */

/* CPUs that this process may run on, which in a container are fewer than the machine's. */
size_t nyb_usable_cpus(void);

/* Runs task 0..n_tasks-1, the caller helping (as worker 0, with FTZ and DAZ during the call);
 * returns when all are done. Tasks are taken in increasing order, dynamically. NULL pool: serial
 * in the caller. Not re-entrant: a task must not call it. */
void nyb_pool_run(nyb_pool *pool, nyb_task_fn *fn, void *arg, size_t n_tasks);

#endif
