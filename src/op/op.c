#include "op/op.h"

#include "registry.h"

#define X(word) extern const nyb_op nyb_op_##word;
NYB_OPS(X)
#undef X

const nyb_op *const nyb_ops[] = {
#define X(word) &nyb_op_##word,
    NYB_OPS(X)
#undef X
        NULL,
};

const nyb_op *nyb_op_find(const char *name)
{
    for (const nyb_op *const *op = nyb_ops; *op; op++)
        if (strcmp((*op)->name, name) == 0)
            return *op;
    return NULL;
}
