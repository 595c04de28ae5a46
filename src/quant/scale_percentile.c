/* Percentile calibration: the clip is an exact order statistic of |x|. */
#include "quant/round.h"

/* |x| of finite elements as ordered integers; subnormals are zeros. */
static uint32_t key_of(float x)
{
    const uint32_t bits = nyb_bits_of(x) & 0x7fffffff;

    return bits < 0x00800000 ? 0 : bits;
}

#define KEY_END  0x7f800000u /* of Inf and NaN: above all finite keys */
#define DIGIT    11          /* bits of one pass */
#define N_DIGITS (1u << DIGIT)

/* The k-th smallest |x| (k from 1) of the finite elements; there are at least k. Three passes over
 * the 31 bits: each counts, by their next digit, those that share the digits found so far. */
static float select_abs(const float *x, size_t n, uint64_t k)
{
    static const int shifts[] = {31 - DIGIT, 31 - 2 * DIGIT, 0};
    uint32_t found = 0, mask = 0;

    for (size_t pass = 0; pass < sizeof shifts / sizeof *shifts; pass++) {
        uint64_t counts[N_DIGITS] = {0};
        uint32_t digit = 0;

        for (size_t i = 0; i < n; i++) {
            const uint32_t key = key_of(x[i]);

            if (key < KEY_END && (key & mask) == found)
                counts[key >> shifts[pass] & (N_DIGITS - 1)]++;
        }
        while (digit < N_DIGITS - 1 && counts[digit] < k)
            k -= counts[digit++];
        found |= digit << shifts[pass];
        mask |= (N_DIGITS - 1) << shifts[pass];
    }
    return nyb_float_of(found);
}

/* The element that at most one in `one_in` exceeds: rank ceil((1 - 1/one_in) n). Zero (a tensor of
 * little else) would lose everything: then the largest. */
static void search(const nyb_format *format, const float *x, size_t n, uint64_t one_in,
                   const nyb_group_stats *stats, nyb_group_scale *scale)
{
    float clip = stats->n ? select_abs(x, n, stats->n - stats->n / one_in) : 0.0f;

    if (!(clip > 0.0f))
        clip = stats->absmax;
    nyb_group_scale_set(scale, nyb_scale_of_clip(format, clip));
}

static bool groups(nyb_group group)
{
    return group == NYB_GROUP_TENSOR || group == NYB_GROUP_ROW;
}

/* A percentile of so many nines: its name, and the elements of which one exceeds it. */
#define PERCENTILE(nines, percent, one_in)                                                         \
    static void search_##nines(const nyb_format *format, const nyb_round_kernel *kernel,           \
                               const float *x, size_t n, const nyb_group_stats *stats,             \
                               nyb_group_scale *scale)                                             \
    {                                                                                              \
        (void)kernel;                                                                              \
        search(format, x, n, one_in, stats, scale);                                                \
    }                                                                                              \
    const nyb_scale_rule nyb_scale_percentile_##nines = {                                          \
        .name = "percentile" percent,                                                              \
        .about = "the magnitude that one element in " #one_in " exceeds",                          \
        .source = "percentile calibration, as in fms-model-optimizer (docs/numerics.md 6.5)",      \
        .search = search_##nines,                                                                  \
        .groups = groups,                                                                          \
    };

PERCENTILE(2, "99", 100)
PERCENTILE(3, "99.9", 1000)
PERCENTILE(4, "99.99", 10000)
PERCENTILE(5, "99.999", 100000)
