/* The verbs: one record per cmd_<verb>.c. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "cli.h"

extern const cli_verb cli_verb_train, cli_verb_eval, cli_verb_recipe, cli_verb_format,
    cli_verb_explain, cli_verb_quantize, cli_verb_matmul, cli_verb_accumulate, cli_verb_bench,
    cli_verb_info, cli_verb_vectors;

#endif
