#include "base/math.h"

#include <math.h>

#include "base/base.h"

float nyb_expf(float x)
{
    float n, r, p;

    if (x != x)
        return x;
    if (x > 88.72283f)
        return INFINITY;
    if (x < -87.33654f)
        return 0.0f;
    n = rintf(x * 1.44269504f);
    r = fmaf(n, -0.693145752f, x); /* ln 2 in two parts (Cody and Waite); the first has 15 bits */
    r = fmaf(n, -1.42860677e-6f, r);
    p = 1.98412698e-4f; /* Taylor to degree 7: |r| <= 0.3466 */
    p = fmaf(p, r, 1.38888889e-3f);
    p = fmaf(p, r, 8.33333333e-3f);
    p = fmaf(p, r, 4.16666667e-2f);
    p = fmaf(p, r, 1.66666667e-1f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    if (n > 127.0f) /* 2^128 is no float, but p * 2^127 * 2 may be */
        return p * 0x1p127f * 2.0f;
    return p * nyb_float_of((uint32_t)((int)n + 127) << 23);
}

float nyb_logf(float x)
{
    uint32_t bits;
    int e;
    float m, s, z, p;

    if (x != x || x == INFINITY)
        return x;
    if (x < 0.0f)
        return NAN;
    if (x < 0x1p-126f) /* subnormals are zeros */
        return -INFINITY;
    bits = nyb_bits_of(x) - 0x3f3504f3; /* sqrt(1/2): m in [sqrt(1/2), sqrt(2)) */
    e = (int)bits >> 23;
    m = nyb_float_of((bits & 0x7fffff) + 0x3f3504f3);
    s = (m - 1.0f) / (m + 1.0f); /* log m = 2 atanh s, |s| <= 0.1716 */
    z = s * s;
    p = 2.0f / 9.0f;
    p = fmaf(p, z, 2.0f / 7.0f);
    p = fmaf(p, z, 2.0f / 5.0f);
    p = fmaf(p, z, 2.0f / 3.0f);
    p = fmaf(p * z, s, 2.0f * s);
    return fmaf((float)e, 0.693147181f, p);
}

/* Taylor polynomials of cos and sin on |r| <= pi/4; the last terms are below 1e-15. */
static double cos_near(double z) /* z = r^2 */
{
    double p = -1.0 / 87178291200.0;

    p = p * z + 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    p = p * z - 0.5;
    return p * z + 1.0;
}

static double sin_near(double r, double z)
{
    double p = 1.0 / 6227020800.0;

    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return r + r * z * p;
}

double nyb_cos(double x)
{
    const double n = rint(x * 0.6366197723675814);                          /* quarter turns */
    const double r = (x - n * 0x1.921fb544p+0) - n * 0x1.0b4611a626331p-34; /* pi/2 in two parts */
    const double z = r * r;

    if (!(x <= 1e9 && x >= -1e9)) /* NaN, Inf, and where n would leave an int */
        return NAN;
    switch ((int)n & 3) {
    case 0:
        return cos_near(z);
    case 1:
        return -sin_near(r, z);
    case 2:
        return -cos_near(z);
    case 3:
        return sin_near(r, z);
    }
    return 0.0;
}
