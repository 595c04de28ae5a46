#!/bin/bash
# nybble against OpenBLAS, oneDNN and PyTorch (steps, and the oneDNN inside it) on this machine, in turns,
# into bench/results/MACHINE.jsonl; then tools/readme_tables.py makes tables of it.
#
#   bench/compare.sh                                everything, with 1 thread, pinned, and with all
#   bench/compare.sh --rows gemm1024,conv64 --threads 1 --rounds 3
#   bench/compare.sh --cpu avx2                     all of them limited to AVX2; also avx512vnni
#   bench/compare.sh --quick                        one short round
#   bench/compare.sh --help                         all options, and the names of the rows
#
# MACHINE is $BENCH_MACHINE or the host's name. PYTHON is a python3 that has torch, else its rivals are
# left out. --limit SECONDS ends a row that takes longer.
set -eu
cd "$(dirname "$0")/.."
if [ ! -x build/cli/nybble ] && [[ " $* " != *" --build"* ]]; then
    make
fi
exec python3 bench/compare.py "$@"
