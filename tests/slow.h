/* Builds without SIMD, with sanitizers or with emulated instruction sets take ten times as long or
 * more: they take every n-th of a list whose entries differ in nothing that these builds are for.
 */
#ifndef SLOW_H
#define SLOW_H

#if NYB_SIMD && !NYB_EMULATE && !defined(__SANITIZE_ADDRESS__)
#define TEST_EVERY(n) 1
#else
#define TEST_EVERY(n) (n)
#endif

#endif
