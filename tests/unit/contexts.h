/* A context for every instruction set that this machine has, with several thread counts: group
 * setup and teardown of cmocka. Those of sets that it lacks stay NULL; contexts[0] is portable C.
 */
#ifndef CONTEXTS_H
#define CONTEXTS_H

#include "base/context.h"

static const char *const levels[] = {"ref", "avx2", "avx512", "avx512vnni", "amx"};
static const size_t thread_counts[] = {1, 2, 7};
#define LEVELS  (sizeof levels / sizeof *levels)
#define THREADS (sizeof thread_counts / sizeof *thread_counts)

static nyb_context *contexts[LEVELS][THREADS];

static int create_contexts(void **state)
{
    (void)state;
    for (size_t l = 0; l < LEVELS; l++) {
        for (size_t t = 0; t < THREADS; t++) {
            const nyb_status status =
                nyb_context_create(levels[l], thread_counts[t], &contexts[l][t], NULL);
            if (status != NYB_OK && (l == 0 || status != NYB_INVALID))
                return 1;
        }
    }
    return 0;
}

static int destroy_contexts(void **state)
{
    (void)state;
    for (size_t l = 0; l < LEVELS; l++)
        for (size_t t = 0; t < THREADS; t++)
            nyb_context_destroy(&contexts[l][t]);
    return 0;
}

#endif
