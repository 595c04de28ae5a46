/* Statistics of tensors and groups, and the scales that follow. */
#include "quant/round_work.h"

#include <float.h>
#include <math.h>

size_t nyb_round_group_length(nyb_group group)
{
    static const uint16_t lengths[] = {
#define X(constant, word, length, sentence) length,
        NYB_GROUP_LIST(X)
#undef X
    };
    return lengths[group];
}

bool nyb_spec_packs(const nyb_spec *spec)
{
    return spec->format->grid != NYB_GRID_REAL && nyb_spec_check_tensor(spec, NULL) == NYB_OK;
}

size_t nyb_spec_group_length(const nyb_spec *spec)
{
    const nyb_format *f = spec->format;

    if (f->grid == NYB_GRID_REAL || f->max_unit <= 0 || f->bits > 8 || f->multiples > 0 ||
        spec->mix == NYB_MIX_HOUSEHOLDER || spec->scale->affine)
        return 0;
    if (spec->group == NYB_GROUP_TILE16 && spec->mix != NYB_MIX_NONE)
        return 0;
    return nyb_round_group_length(spec->group);
}

/* ---- statistics -------------------------------------------------------------------------------
 */

static void stats_add(nyb_group_stats *s, float v)
{
    const uint32_t bits = nyb_bits_of(v) & 0x7fffffff;
    const double d = (double)v;

    if (bits >= 0x7f800000)
        return;
    if (bits < 0x00800000)
        v = 0.0f;
    else
        s->n_nonzero++;
    s->min = s->n == 0 || v < s->min ? v : s->min;
    s->max = s->n == 0 || v > s->max ? v : s->max;
    s->n++;
    if (bits >= 0x00800000) {
        s->sum += d;
        s->sum_abs += fabs(d);
        s->sum_sq += d * d;
    }
}

/* What a rule reads that wants more than the magnitude, but for absmax. */
static nyb_group_stats stats_open(const nyb_round_kernel *kernel, const nyb_scale_rule *rule,
                                  const float *x, size_t count, size_t step)
{
    nyb_group_stats s = {0};

    if (rule->range_only && step == 1) {
        s.n = kernel->range(x, count, &s.min, &s.max) ? count : 0;
        return s;
    }
    for (size_t i = 0; i < count; i++)
        stats_add(&s, x[i * step]);
    return s;
}

static void stats_close(nyb_group_stats *s)
{
    s->absmax = fmaxf(-s->min, s->max);
    if (!(s->absmax >= FLT_MIN))
        s->absmax = 0.0f;
}

/* `count` elements, `step` apart. */
nyb_group_stats nyb_round_stats_of(const nyb_round_kernel *kernel, const nyb_scale_rule *rule,
                                   const float *x, size_t count, size_t step)
{
    nyb_group_stats s = {0};

    if (rule->absmax_only) {
        uint32_t largest = 0;

        for (size_t i = 0; i < count; i++) {
            uint32_t bits = nyb_bits_of(x[i * step]) & 0x7fffffff;

            bits = bits < 0x7f800000 ? bits : 0;
            largest = bits > largest ? bits : largest;
        }
        s.absmax = largest >= 0x00800000 ? nyb_float_of(largest) : 0.0f;
        s.n = count;
        return s;
    }
    s = stats_open(kernel, rule, x, count, step);
    stats_close(&s);
    return s;
}

static void stats_combine(nyb_group_stats *s, const nyb_group_stats *next)
{
    if (next->n == 0)
        return;
    s->min = s->n == 0 || next->min < s->min ? next->min : s->min;
    s->max = s->n == 0 || next->max > s->max ? next->max : s->max;
    s->n += next->n;
    s->n_nonzero += next->n_nonzero;
    s->sum += next->sum;
    s->sum_abs += next->sum_abs;
    s->sum_sq += next->sum_sq;
}

typedef struct stats_work {
    const nyb_scale_rule *rule;
    const nyb_round_kernel *kernel;
    const float *x;
    size_t n;
    nyb_group_stats *stats; /* of tasks, combined in order */
} stats_work;

static void stats_task(void *arg, size_t task, size_t worker)
{
    const stats_work *w = arg;
    const size_t first = task * NYB_ROUND_RUN, end = nyb_min(first + NYB_ROUND_RUN, w->n);
    nyb_group_stats s = {0};

    (void)worker;
    if (w->rule->absmax_only) {
        w->kernel->block_stats(w->x + first, 1, end - first, 0, &s.max);
        s.n = end - first;
    } else {
        s = stats_open(w->kernel, w->rule, w->x + first, end - first, 1);
    }
    w->stats[task] = s;
}

nyb_group_stats nyb_round_stats(const nyb_context *context, const nyb_scale_rule *rule,
                                const float *x, size_t n, void *scratch)
{
    const size_t n_tasks = n / NYB_ROUND_RUN + (n % NYB_ROUND_RUN != 0);
    stats_work w = {.rule = rule,
                    .kernel = nyb_round_kernel_choose(context->cpu),
                    .x = x,
                    .n = n,
                    .stats = scratch};
    nyb_group_stats all = {0};

    nyb_pool_run(context->pool, stats_task, &w, n_tasks);
    for (size_t i = 0; i < n_tasks; i++)
        stats_combine(&all, &w.stats[i]);
    stats_close(&all);
    return all;
}

/* ---- scales -----------------------------------------------------------------------------------
 */

nyb_group_scale nyb_round_of_clip(const nyb_format *format, float clip)
{
    const float scale = nyb_scale_of_clip(format, clip);

    return (nyb_group_scale){.scale = scale, .inv = scale > 0.0f ? 1.0f / scale : 0.0f};
}

/* Squared error of rounding a group to nearest with a scale. */
static double group_error(const nyb_round_work *w, const nyb_group_scale *scale, const float *x,
                          size_t n)
{
    float t[NYB_ROUND_CHUNK];
    double sum = 0.0;

    t[0] = 0.0f;
    for (size_t i = 0; i < n; i++)
        t[i] = (x[i] - scale->offset) * scale->inv;
    w->kernel->round(w->spec->format, NYB_ROUND_NEAREST, t, NULL, n, t);
    for (size_t i = 0; i < n; i++) {
        const double e = (double)(scale->offset + t[i] * scale->scale * w->level.scale - x[i]);
        sum += e * e;
    }
    return sum;
}

/* The scale of one group of n <= NYB_ROUND_CHUNK contiguous elements. */
nyb_group_scale nyb_round_small_group(const nyb_round_work *w, const float *x, size_t n)
{
    const nyb_group_stats stats = nyb_round_stats_of(w->kernel, w->rule, x, n, 1);
    nyb_group_scale best, next;
    double least;

    if (!w->rule->group)
        return nyb_round_of_clip(w->spec->format, 0.0f);
    w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &best);
    if (w->rule->n_trials < 2)
        return best;
    least = group_error(w, &best, x, n);
    for (int trial = 1; trial < w->rule->n_trials; trial++) {
        double error;

        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, trial, &next);
        error = group_error(w, &next, x, n);
        if (error < least) {
            least = error;
            best = next;
        }
    }
    return best;
}

/* Of n_groups groups, one after the other, of at most NYB_ROUND_CHUNK elements together. */
void nyb_round_small_groups(const nyb_round_work *w, const float *x, size_t n_groups, size_t length,
                            nyb_group_scale *scales)
{
    float absmax[NYB_ROUND_CHUNK / 16 + 1];

    if (!w->rule->absmax_only || w->rule->n_trials > 1) {
        for (size_t g = 0; g < n_groups; g++)
            scales[g] = nyb_round_small_group(w, x + g * length, length);
        return;
    }
    w->kernel->block_stats(x, n_groups, length, length, absmax);
    for (size_t g = 0; g < n_groups; g++) {
        const nyb_group_stats stats = {.absmax = absmax[g], .n = length};

        w->rule->group(w->spec->format, &w->level, &stats, w->job->params, 0, &scales[g]);
    }
}

nyb_group_scale nyb_round_scale(const nyb_context *context, const nyb_round_job *job,
                                const float *x, const nyb_group_stats *stats)
{
    const nyb_scale_rule *rule = job->spec->scale;
    const nyb_format *format = job->spec->format;
    const nyb_level level = {.scale = 1.0f};
    const nyb_moments moments = {.absmax = stats->absmax,
                                 .sum_abs = stats->sum_abs,
                                 .sum_sq = stats->sum_sq,
                                 .n = stats->n,
                                 .n_nonzero = stats->n_nonzero};
    float fresh[NYB_SCALE_STATE_MAX] = {0};
    nyb_group_scale scale;

    if (job->clip > 0.0f)
        return nyb_round_of_clip(format, job->clip);
    if (rule->choose)
        return nyb_round_of_clip(format,
                                 rule->choose(format, &moments, job->state ? job->state : fresh));
    if (rule->search)
        rule->search(format, nyb_round_kernel_choose(context->cpu), x,
                     job->view.rows * job->view.cols, stats, &scale);
    else
        rule->group(format, &level, stats, job->params, 0, &scale);
    return scale;
}

void nyb_round_scale_packed(const nyb_context *context, const nyb_round_job *job, const float *x,
                            const nyb_group_stats *stats, nyb_packed *out)
{
    const nyb_group_scale chosen = nyb_round_scale(context, job, x, stats);

    out->scale = chosen.scale;
    out->inv = job->spec->scale->divides ? chosen.inv : 0.0f;
}
