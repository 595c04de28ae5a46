#include "base/context.h"

nyb_status nyb_context_create(const char *cpu, size_t n_threads, nyb_context **context,
                              nyb_error *err)
{
    nyb_context *c;
    uint32_t mask;
    nyb_status status;

    *context = NULL;
    NYB_TRY(nyb_cpu_parse(cpu, &mask, err));
    c = nyb_alloc(sizeof *c);
    if (!c)
        return nyb_fail(err, NYB_MEMORY, "out of memory for a context");
    c->cpu = mask;
    status = nyb_pool_create(n_threads ? n_threads : nyb_min(nyb_usable_cpus(), NYB_THREADS_MAX),
                             &c->pool, err);
    if (status != NYB_OK) {
        nyb_free(c);
        return status;
    }
    *context = c;
    return NYB_OK;
}

void nyb_context_destroy(nyb_context **context)
{
    if (!*context)
        return;
    nyb_pool_destroy(&(*context)->pool);
    nyb_free(*context);
    *context = NULL;
}

const char *nyb_context_cpu(const nyb_context *context)
{
    return nyb_cpu_name(context->cpu);
}

size_t nyb_context_threads(const nyb_context *context)
{
    return nyb_pool_threads(context->pool);
}

const char *nyb_version(void)
{
    return NYB_VERSION;
}
