/* The inside of a context: a CPU mask, and a pool. */
#ifndef NYB_CONTEXT_INTERNAL_H
#define NYB_CONTEXT_INTERNAL_H

#include <nybble/context.h>

#include "base/cpu.h"
#include "base/pool.h"

struct nyb_context {
    uint32_t cpu;   /* NYB_CPU_* that kernels may use */
    nyb_pool *pool; /* never NULL */
    bool unfused;   /* graphs keep every operator's own pass: what fusion is tested against */
};

#endif
