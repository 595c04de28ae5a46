#!/bin/bash
# Builds, trains Fashion-MNIST for 3 epochs in f32 and in luq's 4 bits, and prints one table.
# The environment may say otherwise: DEMO_MODEL, DEMO_EPOCHS, DEMO_OPTIONS (of nybble train).
set -eu
cd "$(dirname "$0")/.."

if [ ! -e build/build.ninja ]; then
    meson setup build -Dtests=false
fi
ninja -C build

epochs=${DEMO_EPOCHS:-3}
model=${DEMO_MODEL:-}
if [ -z "$model" ]; then
    if grep -q avx512bw /proc/cpuinfo; then
        model=resnet14
    else
        model=resnet14s
        echo "This CPU has no AVX-512: resnet14s, a smaller network, is trained instead of resnet14."
    fi
fi

for recipe in f32 luq; do
    out=runs/demo-$recipe
    rm -rf "$out" # of an earlier demo
    mkdir -p runs
    echo
    echo "build/cli/nybble train --data fashion-mnist --model $model --recipe $recipe" \
        "--epochs $epochs --out $out ${DEMO_OPTIONS:-}"
    # shellcheck disable=SC2086 # a list of options
    build/cli/nybble train --data fashion-mnist --model "$model" --recipe "$recipe" \
        --epochs "$epochs" --out "$out" ${DEMO_OPTIONS:-}
done

echo
python3 tools/demo_table.py runs/demo-f32/summary.json runs/demo-luq/summary.json
