/* How much variance a narrow accumulator keeps: the closed form of Sakr et al., ICLR 2019. */
#include <nybble/accumulate.h>

#include <math.h>

#include "base/cpu.h"

/* Tools only: erfc is libm's, so the last digits may differ between systems. */

#define MAX_BITS   23
#define MAX_LENGTH ((uint64_t)1 << 26) /* each addition is looked at */

/* The probability that a standard normal exceeds x in magnitude. */
static double beyond(double x)
{
    return erfc(x * 0.70710678118654752440);
}

/* The first `terms` values of j weigh how often an addend was cut before it was lost (their eq. of
 * alpha; NUMERICS 4). */
static double alpha(int accum_bits, int product_bits, int terms)
{
    double sum = 0;

    for (int j = 1; j <= terms; j++)
        sum += ldexp(1, j) * (ldexp(1, j) - 1) * (ldexp(1, j + 1) - 1);
    return ldexp(sum, accum_bits - 3 * product_bits) / 3;
}

/* Full swamping, first at addition i: its probability and the variance kept. */
static void add_full(int accum_bits, double n, double a, double *weight, double *kept)
{
    const double limit = ldexp(1, accum_bits);
    /* Below, the sum has no chance to have grown 39 standard deviations: erfc is 0. */
    const double grown = floor(limit / 39 * (limit / 39));
    double i = fmax(2, fmax(grown, floor(a)));
    double before = beyond(limit / sqrt(i - 1));

    for (; i < n; i++) {
        const double here = beyond(limit / sqrt(i)), q = here * (1 - before);
        if (i > a) {
            *weight += q;
            *kept += (i - a) * q;
        }
        before = here;
    }
}

/* The functions below compute in the caller's modes; the public ones set them. */
static double ratio_of(int accum_bits, int product_bits, uint64_t length)
{
    const double n = (double)length, root = sqrt(n);
    double weight = 0, kept = 0;

    if (length < 2)
        return 1;
    if (length > MAX_LENGTH)
        return NAN;
    add_full(accum_bits, n, alpha(accum_bits, product_bits, product_bits), &weight, &kept);
    for (int j = 2; j <= product_bits; j++) {
        const double a = alpha(accum_bits, product_bits, j - 1);
        const double steps = ldexp(1, accum_bits - product_bits + j);
        if (n > a) {
            const double q = steps * beyond(steps / 2 / root) * (1 - beyond(steps / root));
            weight += q;
            kept += (n - a) * q;
        }
    }
    const double whole = 1 - beyond(ldexp(1, accum_bits - product_bits + 1) / root);
    return (kept + n * whole) / (n * (weight + whole));
}

static int floor_log2(uint64_t x)
{
    return 63 - __builtin_clzll(x);
}

static uint64_t n_chunks(uint64_t n, uint64_t chunk)
{
    return n / chunk + (n % chunk != 0);
}

/* A chunk's sum has grown by log2(chunk) bits, as far as the accumulator holds them. */
static int sum_bits(int accum_bits, int product_bits, uint64_t chunk)
{
    const int bits = product_bits + floor_log2(chunk);
    return bits < accum_bits ? bits : accum_bits;
}

static double ratio_in_chunks(int accum_bits, int product_bits, uint64_t n, uint64_t chunk)
{
    if (chunk == 0)
        return NAN;
    if (chunk >= n)
        return ratio_of(accum_bits, product_bits, n);
    return ratio_of(accum_bits, product_bits, chunk) *
           ratio_of(accum_bits, sum_bits(accum_bits, product_bits, chunk), n_chunks(n, chunk));
}

/* e^(n (1 - VRR)) < 50 */
static int suffices(double vrr, uint64_t n)
{
    return (double)n * (1 - vrr) < 3.9120230054281460586;
}

static int mantissa_of(int product_bits, uint64_t n, uint64_t chunk, nyb_vrr_rule rule)
{
    const uint64_t length = chunk && chunk < n ? chunk : n > 0 ? n : 1;

    for (int bits = product_bits < 4 ? product_bits : 4; bits <= MAX_BITS; bits++) {
        const uint64_t sums = n_chunks(n, length);
        const double inner = ratio_of(bits, product_bits, length);
        const double outer = ratio_of(bits, sum_bits(bits, product_bits, length), sums);
        if (rule == NYB_VRR_TOTAL || sums == 1 ? suffices(inner * outer, n)
                                               : suffices(inner, length) && suffices(outer, sums))
            return bits;
    }
    return 0;
}

double nyb_vrr(int accum_bits, int product_bits, uint64_t length)
{
    const uint32_t former = nyb_cpu_fp_enter();
    const double ratio = ratio_of(accum_bits, product_bits, length);

    nyb_cpu_fp_restore(former);
    return ratio;
}

double nyb_vrr_chunked(int accum_bits, int product_bits, uint64_t n, uint64_t chunk)
{
    const uint32_t former = nyb_cpu_fp_enter();
    const double ratio = ratio_in_chunks(accum_bits, product_bits, n, chunk);

    nyb_cpu_fp_restore(former);
    return ratio;
}

int nyb_vrr_mantissa(int product_bits, uint64_t n, uint64_t chunk, nyb_vrr_rule rule)
{
    const uint32_t former = nyb_cpu_fp_enter();
    const int bits = mantissa_of(product_bits, n, chunk, rule);

    nyb_cpu_fp_restore(former);
    return bits;
}
