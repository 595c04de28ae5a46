#!/bin/bash
# Trains the leaderboard: every recipe with the model of each preset, three seeds. Finished runs are
# lines of docs/results/leaderboard-PRESET.jsonl and are never repeated, so the campaign may be
# stopped at any time, and spread over days and machines.
#
#   bench/leaderboard.sh                         mlp, then resnet14s: all recipes, seeds 1,2,3
#   bench/leaderboard.sh mlp --recipes f32,luq   one preset, with options of `nybble bench recipes`
#
# NYBBLE (the program), OUT (folder of runs), THREADS, and BENCH_MACHINE (what records call this
# machine) may be set. No number of threads changes an accuracy.
set -eu
cd "$(dirname "$0")/.."
nybble=${NYBBLE:-build/cli/nybble}
presets="mlp resnet14s"
case ${1:-} in
mlp | resnet14s | resnet14)
    presets=$1
    shift
    ;;
-h | --help)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
esac

options=(${THREADS:+--threads "$THREADS"} ${BENCH_MACHINE:+--machine "$BENCH_MACHINE"})
if commit=$(git describe --always --dirty --exclude='*' 2>/dev/null); then
    options+=(--commit "$commit")
fi
status=0
for preset in $presets; do
    "$nybble" bench recipes --preset "$preset" --out "${OUT:-runs/leaderboard}/$preset" \
        --results "docs/results/leaderboard-$preset.jsonl" \
        "${options[@]}" "$@" || status=$?
    [ "$status" -ge 128 ] && exit "$status"
done
tools/readme_tables.py
exit "$status"
