/* How a run is going: a bar on a terminal, plain lines elsewhere, and Ctrl-C. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "cli.h"

typedef struct cli_progress {
    bool quiet;
    bool is_terminal;
    bool bar_shown;
    uint64_t line_every; /* steps between plain lines */
    double last_drawn;   /* seconds */
    double mean_loss;    /* exponential mean, for the eye */
    uint64_t first_step; /* of this process; for the time left */
    double started;
    bool has_first;
    bool has_trained; /* there was a step or the end of an epoch, shown or not */
} cli_progress;

void cli_progress_begin(cli_progress *progress, bool quiet, uint64_t line_every);
/* nyb_event_fn; user is a cli_progress. Nonzero after SIGINT or SIGTERM. */
int cli_progress_event(void *user, const nyb_event *event);
/* nyb_stop_fn, as nonzero as that. */
int cli_progress_stop(void *user);
void cli_progress_end(cli_progress *progress);

#endif
