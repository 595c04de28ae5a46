#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "progress.h"

#define BAR_WIDTH      24
#define REDRAW_SECONDS 0.1

/* The one mutable global: a signal handler has no other way to leave a message. */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* The first signal asks for an end at the next step, or batch of an evaluation; the second kills,
 * as without a handler. A terminal that goes away asks, too, unless nohup said that it may. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* A reader of our messages that goes away, and a file that may not grow, are errors of writing,
     * not the end of the run. */
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

void cli_progress_begin(cli_progress *p, bool quiet, uint64_t line_every)
{
    *p = (cli_progress){.quiet = quiet, .line_every = line_every ? line_every : 50};
    p->is_terminal = isatty(STDERR_FILENO);
    p->started = cli_now();
    catch_signals();
}

static void erase_bar(cli_progress *p)
{
    if (p->bar_shown)
        fprintf(stderr, "\r\033[K");
    p->bar_shown = false;
}

/* loss, accuracy if known, rate, and the time left at this process's own pace */
static void describe(const cli_progress *p, const nyb_event *e, char *text, size_t n_bytes)
{
    char left[32], accuracy[32] = "";
    uint64_t done = e->step - p->first_step;
    double seconds = cli_now() - p->started;
    cli_format_time(done ? seconds / (double)done * (double)(e->n_steps - e->step) : -1.0, left);
    if (e->train_acc > 0)
        snprintf(accuracy, sizeof accuracy, "  acc %.2f %%", 100 * e->train_acc);
    snprintf(text, n_bytes, "loss %.4f%s  lr %.4g  %.0f samples/s  ETA %s", p->mean_loss, accuracy,
             e->lr, e->samples_per_s, left);
}

/* Of the terminal; 0 if it does not say. */
static size_t count_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static void draw_bar(cli_progress *p, const nyb_event *e)
{
    double now = cli_now();
    if (now - p->last_drawn < REDRAW_SECONDS && e->step < e->n_steps)
        return;
    p->last_drawn = now;
    char bar[BAR_WIDTH + 1], text[160], line[240];
    const size_t columns = count_columns();
    int full = e->n_steps ? (int)(BAR_WIDTH * e->step / e->n_steps) : 0;
    for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '=' : i == full ? '>' : '.';
    bar[BAR_WIDTH] = 0;
    describe(p, e, text, sizeof text);
    snprintf(line, sizeof line, "epoch %d/%d [%s] %s", e->epoch, e->n_epochs, bar, text);
    if (columns > 0 && columns <= strlen(line)) /* a line that wraps could not be erased */
        line[columns - 1] = 0;
    fprintf(stderr, "\r\033[K%s", line);
    p->bar_shown = true;
}

static void on_step(cli_progress *p, const nyb_event *e)
{
    if (!p->has_first) {
        p->has_first = true;
        p->first_step = e->step;
        p->started = cli_now();
        p->mean_loss = e->loss;
    }
    p->mean_loss = isfinite(p->mean_loss) ? 0.95 * p->mean_loss + 0.05 * e->loss : e->loss;
    if (p->is_terminal) {
        draw_bar(p, e);
    } else if (e->step % p->line_every == 0) {
        char text[160];
        describe(p, e, text, sizeof text);
        fprintf(stderr, "epoch %d/%d  step %llu/%llu  %s\n", e->epoch, e->n_epochs,
                (unsigned long long)e->step, (unsigned long long)e->n_steps, text);
    }
}

static void on_epoch(cli_progress *p, const nyb_event *e)
{
    char time[32];
    erase_bar(p);
    fprintf(stderr,
            "epoch %d/%d  train loss %.4f acc %.2f %%  test loss %.4f acc %.2f %%  %.0f samples/s  "
            "%s\n",
            e->epoch, e->n_epochs, e->train_loss, 100 * e->train_acc, e->test_loss,
            100 * e->test_acc, e->samples_per_s, cli_format_time(e->seconds, time));
}

int cli_progress_event(void *user, const nyb_event *event)
{
    cli_progress *p = user;
    p->has_trained = true;
    if (!p->quiet) {
        switch (event->kind) {
        case NYB_EVENT_STEP:
            on_step(p, event);
            break;
        case NYB_EVENT_EPOCH:
            on_epoch(p, event);
            break;
        }
    }
    return interrupted;
}

int cli_progress_stop(void *user)
{
    (void)user;
    return interrupted;
}

void cli_progress_end(cli_progress *p)
{
    erase_bar(p);
}
