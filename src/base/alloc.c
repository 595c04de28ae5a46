#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/base.h"

static _Atomic uint64_t n_calls; /* test hooks: see base.h */
static _Atomic uint64_t fail_at; /* number of the call that fails; 0: none */
static _Atomic bool fail_forever;

uint64_t nyb_alloc_count(void)
{
    return atomic_load_explicit(&n_calls, memory_order_relaxed);
}

void nyb_alloc_fail_after(uint64_t n, bool forever)
{
    atomic_store(&fail_forever, forever);
    atomic_store(&fail_at, n ? nyb_alloc_count() + n : 0);
}

static bool must_fail(void)
{
    const uint64_t call = atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed) + 1;
    const uint64_t at = atomic_load_explicit(&fail_at, memory_order_relaxed);

    return at && (call == at || (call > at && atomic_load(&fail_forever)));
}

/* Large memory is asked for in huge pages: streams over a step's tensors otherwise pay for the
 * TLB. Where the kernel has none to give, nothing changes. */
#define HUGE_PAGE ((size_t)2 << 20)

void *nyb_alloc(size_t n_bytes)
{
    const size_t align = n_bytes >= HUGE_PAGE ? HUGE_PAGE : NYB_ALIGN;
    const size_t rounded = nyb_round_up(n_bytes ? n_bytes : 1, align);
    void *p;

    if (must_fail() || n_bytes > PTRDIFF_MAX - HUGE_PAGE)
        return NULL;
    p = aligned_alloc(align, rounded);
    if (!p)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE)
        (void)madvise(p, rounded, MADV_HUGEPAGE);
#endif
    memset(p, 0, rounded);
    return p;
}

void nyb_free(void *p)
{
    free(p);
}

char *nyb_strdup(const char *text)
{
    const size_t n = strlen(text) + 1;
    char *copy = nyb_alloc(n);

    if (copy)
        memcpy(copy, text, n);
    return copy;
}
