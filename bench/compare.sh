#!/bin/bash
# nybble against OpenBLAS and PyTorch on this machine, in turns, into bench/results/MACHINE.jsonl.
# usage: bench/compare.sh [--threads N] [--rounds N] [--quick]; MACHINE is $BENCH_MACHINE or the
# host's name; PYTHON is a python3 that has torch (else that column is left out).
set -eu
cd "$(dirname "$0")/.."
if [ ! -x build/cli/nybble ]; then
    make
fi
exec python3 bench/compare.py "$@"
