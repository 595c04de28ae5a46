/* Loops that take a machine to its limits: a benchmark holds a clock against them, and then knows
 * what share of the possible anything else is. */
#ifndef NYBBLE_MACHINE_H
#define NYBBLE_MACHINE_H

#include <stdint.h>

#include <nybble/context.h>
#include <nybble/format.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A product kernel on one tile of 32 x 32 sums of k products, whose operands and result fit the L1
 * cache: nothing is unpacked, loaded from afar or stored. What it does is what no product of these
 * formats can exceed. Formats as for nyb_plan_create; k: a multiple of 64 below 4096. */
typedef struct nyb_peak nyb_peak;
NYB_API NYB_MUST_CHECK nyb_status nyb_peak_create(nyb_context *context, const nyb_format *a,
                                                  const nyb_format *b, size_t k, nyb_peak **peak,
                                                  nyb_error *err);
NYB_API void nyb_peak_destroy(nyb_peak **peak);
NYB_API const char *nyb_peak_engine(const nyb_peak *peak);
NYB_API const char *nyb_peak_kernel(const nyb_peak *peak);
NYB_API uint64_t nyb_peak_macs(const nyb_peak *peak); /* of one repetition, all threads */
NYB_API void nyb_peak_run(nyb_peak *peak, size_t repeats);

/* Memory is streamed: read, or copied from one half to the other (with one added to each word).
 * Every thread of the context has its own contiguous part of the n_bytes. */
typedef enum nyb_stream_kind { NYB_STREAM_READ, NYB_STREAM_COPY } nyb_stream_kind;
/* memory: 64-byte aligned; n_bytes a multiple of 1024 times the threads. */
NYB_API void nyb_stream_run(nyb_context *context, nyb_stream_kind kind, void *memory,
                            size_t n_bytes, size_t repeats);

#ifdef __cplusplus
}
#endif
#endif
