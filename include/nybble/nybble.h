/* nybble: neural network training with real 4-bit matrix products. Includes the whole API. */
#ifndef NYBBLE_NYBBLE_H
#define NYBBLE_NYBBLE_H

#include <nybble/accumulate.h>
#include <nybble/context.h>
#include <nybble/data.h>
#include <nybble/energy.h>
#include <nybble/format.h>
#include <nybble/gemm.h>
#include <nybble/io.h>
#include <nybble/machine.h>
#include <nybble/model.h>
#include <nybble/quant.h>
#include <nybble/recipe.h>
#include <nybble/status.h>
#include <nybble/train.h>

#endif
