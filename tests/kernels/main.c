/* checkkernels: the list of kernel families; everything else is in check.c. */
#include "check.h"

#include <stddef.h>

static void (*const families[])(ck *) = {
    check_accumulate, check_codes,   check_conv,     check_depthwise, check_dot,
    check_encode,     check_elem,    check_group,    check_moments,   check_round,
    check_store,      check_tile_s8, check_tile_f32, check_broken,    NULL,
};

int main(int argc, char **argv)
{
    return ck_main(argc, argv, families);
}
