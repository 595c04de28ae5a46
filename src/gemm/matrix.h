/* What a public matrix is inside. */
#ifndef NYB_MATRIX_H
#define NYB_MATRIX_H

#include <nybble/gemm.h>

#include "packed/packed.h"

struct nyb_matrix {
    nyb_packed packed; /* lines, if any, are of one row each */
};

#endif
