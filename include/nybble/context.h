/* The context: which instruction sets and how many threads nybble's functions may use. */
#ifndef NYBBLE_CONTEXT_H
#define NYBBLE_CONTEXT_H

#include <stddef.h>

#include <nybble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nyb_context nyb_context;

/* cpu: "auto" (or NULL), "amx", "avx512vnni", "avx512", "avx2", "ref"; $NYBBLE_CPU caps each. A
 * level that this machine lacks is NYB_INVALID, but as a cap it is all that the machine has; an
 * unknown word, there too, is NYB_UNKNOWN. n_threads: 1..1024, or
 * 0 for one per online CPU. Results never depend on either. On failure *context is NULL. A context
 * serves one caller at a time. The child of a fork has none of its threads: it creates contexts and
 * runs of its own, and leaves those of its parent alone. */
NYB_API NYB_MUST_CHECK nyb_status nyb_context_create(const char *cpu, size_t n_threads,
                                                     nyb_context **context, nyb_error *err);
NYB_API void nyb_context_destroy(nyb_context **context);

/* "amx", "avx512vnni", "avx512", "avx2" or "ref". */
NYB_API const char *nyb_context_cpu(const nyb_context *context);
NYB_API size_t nyb_context_threads(const nyb_context *context);

/* The library's version, "0.1.0". */
NYB_API const char *nyb_version(void);

#ifdef __cplusplus
}
#endif
#endif
