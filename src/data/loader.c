/* Batches, prepared by a thread while the caller computes with the former one. */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/cpu.h"
#include "data/data.h"

typedef struct slot {
    float *x;
    int32_t *labels;
    size_t n; /* samples; 0: end of the epoch */
} slot;

struct nyb_loader {
    const nyb_data *data;
    const nyb_part *part;
    bool train;
    size_t batch;
    nyb_augment augment;
    uint64_t seed;

    uint32_t *order; /* of the epoch; test: NULL */
    uint32_t epoch;
    size_t next_batch;

    slot slots[2];
    size_t n_made, n_taken; /* batches since the last seek; made - taken <= 2, one in use */
    bool stop, has_thread, seeking, working;
    uint64_t n_worked; /* batches since the loader was created, and their CPU seconds */
    double seconds;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

size_t nyb_loader_batches(const nyb_loader *l)
{
    return l->train ? l->part->n / l->batch : nyb_div_up(l->part->n, l->batch);
}

static void make_batch(const nyb_loader *l, size_t which, slot *s)
{
    const size_t size = l->data->h * l->data->w * l->data->c;
    const size_t first = which * l->batch;

    s->n = which < nyb_loader_batches(l) ? nyb_min(l->batch, l->part->n - first) : 0;
    for (size_t i = 0; i < s->n; i++) {
        const size_t sample = l->order ? l->order[first + i] : first + i;

        nyb_augment_sample(l->data, l->part->pixels + sample * size, &l->augment, l->seed, l->epoch,
                           sample, l->train, s->x + i * size);
        s->labels[i] = l->part->labels[sample];
    }
}

/* CPU time of this thread: what others do meanwhile is not in it. */
static double cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Makes batches whenever a slot is free. A slot is free when its batch was taken and the next one
 * asked for: n_taken counts calls of next, and the last one taken is still in use. */
static void *prefetch(void *arg)
{
    nyb_loader *l = arg;

    nyb_cpu_fp_enter();
    pthread_mutex_lock(&l->mutex);
    while (!l->stop) {
        const size_t in_use = l->n_taken ? 1 : 0;

        if (l->seeking || l->n_made - (l->n_taken - in_use) >= 2) {
            pthread_cond_wait(&l->changed, &l->mutex);
            continue;
        }
        slot *s = &l->slots[l->n_made % 2];
        const size_t which = l->next_batch;
        const double began = cpu_now();

        l->working = true;
        pthread_mutex_unlock(&l->mutex);
        make_batch(l, which, s);
        pthread_mutex_lock(&l->mutex);
        l->working = false;
        l->n_worked += s->n > 0;
        l->seconds += cpu_now() - began;
        l->next_batch++;
        l->n_made++;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* Signals stay with the caller's threads. */
static nyb_status start_thread(nyb_loader *l, nyb_error *err)
{
    sigset_t all, former;
    int failure;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    failure = pthread_create(&l->thread, NULL, prefetch, l);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (failure)
        return nyb_fail(err, NYB_MEMORY, "cannot start the loader's thread: %s", strerror(failure));
    l->has_thread = true;
    return NYB_OK;
}

static nyb_status allocate(nyb_loader *l, nyb_error *err)
{
    size_t n = 0;

    if (!nyb_mul_size(l->data->h * l->data->w * l->data->c * sizeof(float), l->batch, &n))
        return nyb_fail(err, NYB_LIMIT, "a batch of %zu images is too large", l->batch);
    if (l->train)
        l->order = nyb_alloc(l->part->n * sizeof *l->order);
    for (int i = 0; i < 2; i++) {
        l->slots[i].x = nyb_alloc(n);
        l->slots[i].labels = nyb_alloc(l->batch * sizeof *l->slots[i].labels);
        if (!l->slots[i].x || !l->slots[i].labels)
            return nyb_fail(err, NYB_MEMORY, "out of memory for batches of %zu images", l->batch);
    }
    if (l->train && !l->order)
        return nyb_fail(err, NYB_MEMORY, "out of memory for the order of %zu images", l->part->n);
    return NYB_OK;
}

nyb_status nyb_loader_create(const nyb_data *data, bool train, size_t batch,
                             const nyb_augment *augment, uint64_t seed, nyb_loader **loader,
                             nyb_error *err)
{
    nyb_loader *l = nyb_alloc(sizeof *l);
    nyb_status status;

    *loader = NULL;
    if (!l)
        return nyb_fail(err, NYB_MEMORY, "out of memory for a loader");
    l->data = data;
    l->part = train ? &data->train : &data->test;
    l->train = train;
    l->batch = batch;
    l->augment = *augment;
    l->seed = seed;
    l->seeking = true; /* nothing to do before the first seek */
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    status = batch == 0 ? nyb_fail(err, NYB_INVALID, "batch is 0") : allocate(l, err);
    if (status == NYB_OK)
        status = start_thread(l, err);
    if (status != NYB_OK) {
        nyb_loader_destroy(&l);
        return status;
    }
    *loader = l;
    return NYB_OK;
}

void nyb_loader_destroy(nyb_loader **loader)
{
    nyb_loader *l = *loader;

    if (!l)
        return;
    if (l->has_thread) {
        pthread_mutex_lock(&l->mutex);
        l->stop = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->mutex);
        pthread_join(l->thread, NULL);
    }
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    for (int i = 0; i < 2; i++) {
        nyb_free(l->slots[i].x);
        nyb_free(l->slots[i].labels);
    }
    nyb_free(l->order);
    nyb_free(l);
    *loader = NULL;
}

void nyb_loader_seek(nyb_loader *l, uint32_t epoch, size_t first_batch)
{
    const nyb_stream s = {.seed = l->seed, .step = epoch, .role = NYB_RNG_ORDER};

    pthread_mutex_lock(&l->mutex);
    l->seeking = true;
    while (l->working)
        pthread_cond_wait(&l->changed, &l->mutex);
    if (l->order)
        nyb_rng_permutation(&s, l->order, l->part->n);
    l->epoch = epoch;
    l->next_batch = first_batch;
    l->n_made = l->n_taken = 0;
    l->seeking = false;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
}

size_t nyb_loader_next(nyb_loader *l, const float **x, const int32_t **labels)
{
    const slot *s;

    if (l->seeking) /* nobody has sought yet; only this thread changes it */
        nyb_loader_seek(l, 0, 0);
    pthread_mutex_lock(&l->mutex);
    l->n_taken++;
    pthread_cond_broadcast(&l->changed);
    while (l->n_made < l->n_taken)
        pthread_cond_wait(&l->changed, &l->mutex);
    s = &l->slots[(l->n_taken - 1) % 2];
    pthread_mutex_unlock(&l->mutex);
    *x = s->x;
    *labels = s->labels;
    return s->n;
}

void nyb_loader_get_work(nyb_loader *l, uint64_t *n_batches, double *seconds)
{
    pthread_mutex_lock(&l->mutex);
    *n_batches = l->n_worked;
    *seconds = l->seconds;
    pthread_mutex_unlock(&l->mutex);
}
