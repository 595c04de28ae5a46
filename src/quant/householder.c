#include "quant/householder.h"

#include <float.h>
#include <math.h>

#include "quant/mix.h"

/* What StatQuant adds to a range. */
#define MARGIN 1e-8f
/* Columns of one task; elements rounded at once. */
#define TASK_COLS 512

/* ---- the plan -------------------------------------------------------------------------------- */

size_t nyb_householder_plan_bytes(size_t n_rows)
{
    return n_rows * (sizeof(uint64_t) + 2 * sizeof(uint32_t) + 2 * sizeof(float)) +
           sizeof(uint64_t);
}

/* key[i] sinks until no child of it is larger. */
static void sift(uint64_t *key, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        const uint64_t parent = key[i];

        if (child + 1 < n && key[child + 1] > key[child])
            child++;
        if (key[child] <= parent)
            return;
        key[i] = key[child];
        key[child] = parent;
    }
}

/* Ascending; keys are distinct, so any sort gives the same. */
static void sort(uint64_t *key, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(key, i, n);
    for (size_t end = n; end-- > 1;) {
        const uint64_t top = key[0];

        key[0] = key[end];
        key[end] = top;
        sift(key, 0, end);
    }
}

/* Ranges descending, ties by index: a key of inverted range bits, then the row. */
static void rank(const float *range, size_t n, uint64_t *key)
{
    for (size_t i = 0; i < n; i++)
        key[i] = (uint64_t)~nyb_bits_of(range[i]) << 32 | i;
    sort(key, n);
}

static double ranked(const uint64_t *key, size_t rank)
{
    return (double)nyb_float_of(~(uint32_t)(key[rank] >> 32));
}

/* How many rows follow: the fewest for which each leader, given followers in proportion to its
 * range, gets one or more. *sum: of the leaders' ranges. */
static size_t count_followers(const uint64_t *key, size_t n, double *sum)
{
    size_t followers = 0;
    double total = 0;

    for (size_t i = 0; i < n; i++)
        total += ranked(key, i);
    do {
        followers++;
        total -= ranked(key, n - followers);
    } while (followers + 1 < n && (double)followers * ranked(key, n - followers - 1) / total < 1.0);
    *sum = total;
    return followers;
}

/* Half away from zero; x >= 0, below 2^32. */
static size_t round_half_away(double x)
{
    return (size_t)floor(x + 0.5);
}

/* w^(-1/3) in basic operations, the same on every machine; w > 0 normal. */
static double inverse_cube_root(double w)
{
    int exponent;
    double m = 2.0 * frexp(w, &exponent); /* w = m 2^(exponent - 1), 1 <= m < 2 */
    const int q = (exponent - 1 - ((exponent - 1) % 3 + 3) % 3) / 3;

    m = ldexp(m, exponent - 1 - 3 * q); /* w = m 2^(3 q), 1 <= m < 8 */
    double y = m < 2.0 ? 1.13 : m < 4.0 ? 1.44 : 1.79;
    for (int i = 0; i < 6; i++) {
        const double t = y * y;
        y = y - (t * y - m) / (3.0 * t);
    }
    return 1.0 / ldexp(y, q);
}

/* max |H_jk| of the reflection of n >= 2 rows. */
static double largest_entry(size_t n)
{
    const double root = sqrt((double)n), off = 1.0 / ((double)n - root);

    return fmax(1.0 / root, n > 2 ? fmax(fabs(1.0 - off), off) : 0.0);
}

/* Factors of a group of n >= 2 rows: least sum of the variances of what T^-1 gives back. */
static void choose_factors(double leader, double follower, size_t n, float *s1, float *s2)
{
    const double root = sqrt((double)n);
    const double w1 = leader / root, w2 = follower * largest_entry(n);
    const double r1 = inverse_cube_root(w1), r2 = inverse_cube_root(w2 / (double)(n - 1));
    const double norm = sqrt(1.0 / (r1 * r1) + 1.0 / (r2 * r2));

    *s1 = (float)(r1 * norm);
    *s2 = (float)(r2 * norm);
}

void nyb_householder_plan(const float *range, size_t n_rows, void *memory, nyb_householder *plan)
{
    uint64_t *key = memory;
    double sum, share = 0;

    plan->n_rows = n_rows;
    plan->n_groups = 1;
    plan->row = (uint32_t *)(key + n_rows);
    plan->first = plan->row + n_rows;
    plan->s1 = (float *)(plan->first + n_rows + 1);
    plan->s2 = plan->s1 + n_rows;
    plan->first[0] = plan->row[0] = 0;
    plan->first[1] = 1;
    plan->s1[0] = plan->s2[0] = 1.0f;
    if (n_rows < 2)
        return;
    rank(range, n_rows, key);
    const size_t followers = count_followers(key, n_rows, &sum), leaders = n_rows - followers;
    plan->n_groups = leaders;
    for (size_t g = 0, given = 0; g < leaders; g++) {
        const size_t first = given + g, least = given + 1, most = followers - (leaders - 1 - g);

        share += (double)followers * ranked(key, g) / sum;
        given = g + 1 < leaders ? round_half_away(share) : followers;
        /* holds but for rounding errors of the sums */
        given = nyb_min(nyb_max(given, least), most);
        plan->first[g] = (uint32_t)first;
        plan->first[g + 1] = (uint32_t)(given + g + 1);
        plan->row[first] = (uint32_t)key[g];
        for (size_t k = least; k <= given; k++)
            plan->row[first + 1 + k - least] = (uint32_t)key[leaders + k - 1];
        choose_factors(ranked(key, g), ranked(key, leaders + least - 1), given + 2 - least,
                       &plan->s1[g], &plan->s2[g]);
    }
}

/* ---- T and its inverse ----------------------------------------------------------------------- */

typedef struct reflect_job {
    const nyb_mix_kernel *kernel;
    const nyb_householder *plan;
    const float *x;
    size_t cols, n_blocks;
    float *y;
    bool inverse;
} reflect_job;

static void reflect_task(void *arg, size_t task, size_t worker)
{
    const reflect_job *job = arg;
    const nyb_householder *plan = job->plan;
    const size_t g = task / job->n_blocks, col = task % job->n_blocks * TASK_COLS;
    const double n = (double)(plan->first[g + 1] - plan->first[g]), root = sqrt(n);
    nyb_mix_reflect group = {
        .row = plan->row + plan->first[g],
        .n = plan->first[g + 1] - plan->first[g],
        .in = {plan->s1[g], plan->s2[g]},
        .out = {1.0f, 1.0f},
        .a = (float)(1.0 / root),
        .b = n > 1.0 ? (float)(1.0 / (n - root)) : 0.0f,
    };

    (void)worker;
    if (job->inverse) {
        group.in[0] = group.in[1] = 1.0f;
        group.out[0] = 1.0f / plan->s1[g];
        group.out[1] = 1.0f / plan->s2[g];
    }
    job->kernel->reflect(&group, job->x + col, job->cols, nyb_min(TASK_COLS, job->cols - col),
                         job->y + col);
}

static void reflect(const nyb_context *context, const nyb_householder *plan, const float *x,
                    size_t cols, float *y, bool inverse)
{
    reflect_job job = {
        .kernel = nyb_mix_kernel_choose(context->cpu),
        .plan = plan,
        .x = x,
        .cols = cols,
        .n_blocks = nyb_div_up(cols, TASK_COLS),
        .y = y,
        .inverse = inverse,
    };

    nyb_pool_run(context->pool, reflect_task, &job, plan->n_groups * job.n_blocks);
}

void nyb_householder_apply(const nyb_context *context, const nyb_householder *plan, const float *x,
                           size_t cols, float *y)
{
    reflect(context, plan, x, cols, y, false);
}

void nyb_householder_invert(const nyb_context *context, const nyb_householder *plan, const float *x,
                            size_t cols, float *y)
{
    reflect(context, plan, x, cols, y, true);
}

/* ---- the quantizer --------------------------------------------------------------------------- */

typedef struct round_job {
    const nyb_mix_kernel *mix;
    const nyb_round_kernel *kernel;
    const nyb_spec *spec;
    const nyb_stream *stream;
    uint64_t first;
    const float *x;
    size_t cols;
    float *values;
    float *range;
    nyb_line *lines; /* NULL: values are unscaled */
} round_job;

static void range_task(void *arg, size_t row, size_t worker)
{
    const round_job *job = arg;
    float min = 0, max = 0;

    (void)worker;
    job->kernel->range(job->x + row * job->cols, job->cols, &min, &max);
    const float range = max - min + MARGIN;
    job->range[row] = range <= FLT_MAX ? range : FLT_MAX;
}

/* One row by psq, in place. */
static void round_task(void *arg, size_t row, size_t worker)
{
    const round_job *job = arg;
    const nyb_spec *spec = job->spec;
    float *y = job->values + row * job->cols;
    nyb_group_stats stats = {.n = job->cols};
    nyb_group_scale s;
    uint32_t r23[TASK_COLS];

    (void)worker;
    job->kernel->range(y, job->cols, &stats.min, &stats.max);
    nyb_scale_psq.group(spec->format, NULL, &stats, NULL, 0, &s);
    const bool draws = nyb_rounding_draws(spec->rounding);
    for (size_t col = 0; col < job->cols; col += TASK_COLS) {
        const size_t n = nyb_min(TASK_COLS, job->cols - col);
        float *t = y + col;

        for (size_t i = 0; i < n; i++)
            t[i] = (t[i] - s.offset) * s.inv;
        if (draws)
            job->kernel->draw(job->stream, spec->sr_bits, job->first + row * job->cols + col, n,
                              r23);
        job->kernel->round(spec->format, spec->rounding, t, draws ? r23 : NULL, n, t);
        if (!job->lines)
            job->kernel->unscale(t, n, s.scale, 1.0f, s.offset, t);
    }
    if (job->lines)
        job->lines[row] = (nyb_line){s.scale, s.offset};
}

size_t nyb_householder_scratch_bytes(size_t rows)
{
    return nyb_round_up(nyb_householder_plan_bytes(rows), NYB_ALIGN) + rows * sizeof(float);
}

/* Q(T x) in job->values. */
static void round_reflected(const nyb_context *context, round_job *job, size_t rows, void *memory,
                            nyb_householder *plan)
{
    nyb_pool_run(context->pool, range_task, job, rows);
    nyb_householder_plan(job->range, rows, memory, plan);
    nyb_householder_apply(context, plan, job->x, job->cols, job->values);
    nyb_pool_run(context->pool, round_task, job, rows);
}

static round_job round_begin(const nyb_context *context, const nyb_spec *spec,
                             const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                             size_t cols, float *values, void *scratch)
{
    return (round_job){
        .mix = nyb_mix_kernel_choose(context->cpu),
        .kernel = nyb_round_kernel_choose(context->cpu),
        .spec = spec,
        .stream = stream,
        .first = first,
        .x = x,
        .cols = cols,
        .values = values,
        .range = (float *)((uint8_t *)scratch +
                           nyb_round_up(nyb_householder_plan_bytes(rows), NYB_ALIGN)),
    };
}

void nyb_householder_round(const nyb_context *context, const nyb_spec *spec,
                           const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                           size_t cols, float *values, void *scratch)
{
    round_job job = round_begin(context, spec, stream, first, x, rows, cols, values, scratch);
    nyb_householder plan;

    if (rows == 0 || cols == 0)
        return;
    round_reflected(context, &job, rows, scratch, &plan);
    nyb_householder_invert(context, &plan, values, cols, values);
}

void nyb_householder_grid(const nyb_context *context, const nyb_spec *spec,
                          const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                          size_t cols, float *grid, nyb_line *lines, void *memory,
                          nyb_householder *plan, void *scratch)
{
    round_job job = round_begin(context, spec, stream, first, x, rows, cols, grid, scratch);

    job.lines = lines;
    round_reflected(context, &job, rows, memory, plan);
}

void nyb_householder_pack(const nyb_context *context, const nyb_spec *spec,
                          const nyb_stream *stream, uint64_t first, const float *x, size_t rows,
                          size_t cols, float *values, nyb_packed *out, void *memory,
                          nyb_householder *plan, void *scratch)
{
    const nyb_spec exact = {.format = spec->format, .rounding = NYB_ROUND_NEAREST, .sr_bits = 16};
    const nyb_stream none = {0};

    nyb_householder_grid(context, spec, stream, first, x, rows, cols, values, out->lines, memory,
                         plan, scratch);
    out->scale = 1.0f;
    nyb_encode_run(context, &exact, &none, values, out);
}
