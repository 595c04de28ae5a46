/* exp, log, cos: one polynomial each, the same bits everywhere; never libm's. */
#ifndef NYB_MATH_H
#define NYB_MATH_H

/* Relative error below 2e-7 for exp and log; cos in double, 1e-12.
 * exp flushes to 0 below -87.336 and saturates to +Inf above 88.722; log(0) = -Inf, log(<0) = NaN.
 */
float nyb_expf(float x);
float nyb_logf(float x);
double nyb_cos(double x); /* |x| <= 1e6; NaN above 1e9 */

#endif
