#!/bin/bash
# Trains the rows of the accuracy tables; tools/readme_tables.py --add makes tables of them.
# Resumable: a run whose summary.json exists is not repeated.
#
#   bench/accuracy.sh resnet14   Fashion-MNIST, 60,000 images, 10 epochs: f32, luq, luq_lean, luq + SMP 2 + FNT 1
#   bench/accuracy.sh mlp        all layers in 4 bits, 3 epochs: f32, luq and the ablation of its Fig. 2
#
# NYBBLE (the program), OUT (folder of runs), SEEDS ("1 2 3") and THREADS may be set. No number of
# threads changes a result.
set -eu
cd "$(dirname "$0")/.."
nybble=${NYBBLE:-build/cli/nybble}
out=${OUT:-runs/accuracy}
seeds=${SEEDS:-1 2 3}
threads=${THREADS:-0}

# run NAME MODEL EPOCHS RECIPE [--set key=value ...]
run() {
    local name=$1 model=$2 epochs=$3 recipe=$4 seed
    shift 4
    for seed in $seeds; do
        local dir=$out/$name-s$seed
        [ -e "$dir/summary.json" ] && continue
        "$nybble" train --data fashion-mnist --model "$model" --recipe "$recipe" "$@" \
            --epochs "$epochs" --threads "$threads" --seed "$seed" --out "$dir" --overwrite
    done
}

case ${1:-} in
resnet14)
    run resnet14-f32 resnet14 10 f32
    run resnet14-luq resnet14 10 luq
    run resnet14-luq_lean resnet14 10 luq_lean
    run resnet14-luq-smp2-fnt1 resnet14 10 luq --set wgrad.dy.samples=2 --set finish.epochs=1
    ;;
mlp)
    run mlp-f32 mlp 3 f32
    for recipe in luq luq_naive luq_flush luq_su luq_sr luq_int4sr luq_int4rtn luq_fwdsr; do
        run mlp-$recipe mlp 3 $recipe --set edges=recipe
    done
    run mlp-luq-smp2 mlp 3 luq --set edges=recipe --set wgrad.dy.samples=2
    ;;
*)
    echo "usage: bench/accuracy.sh resnet14|mlp" >&2
    exit 2
    ;;
esac
