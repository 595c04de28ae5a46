/* A loop of constant count that must unroll, so that the registers it indexes stay registers. */
#ifndef NYB_TILE_UNROLL_H
#define NYB_TILE_UNROLL_H

#ifdef __clang__
#define NYB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define NYB_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
