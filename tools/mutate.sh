#!/bin/bash
# Plants the bugs of tools/mutants.txt, one at a time, in a copy of the tree, and runs the tests
# that must notice. A bug that nobody notices is a failure, as is a line that no longer fits the
# source. usage: tools/mutate.sh [--quick] [WORD]; WORD: only lines that contain it.
set -u
cd "$(dirname "$0")/.." || exit 1
quick=0
word=
for option in "$@"; do
    case $option in
    --quick) quick=1 ;;
    -*)
        echo "usage: tools/mutate.sh [--quick] [WORD]" >&2
        exit 2
        ;;
    *) word=$option ;;
    esac
done

scratch=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT
tree=$scratch/0
mkdir "$tree"
cp -a meson.build meson_options.txt include src cli examples tests bench tools "$tree"

# Kernels for later CPUs are emulated, unless this one has all of them; training would take long
# with them.
emulate=true
cpu=avx2
if grep -qw amx_int8 /proc/cpuinfo; then
    emulate=false
    cpu=
fi
if [ $emulate = true ] && [ -e build-emulated/build.ninja ]; then
    cp -a build-emulated "$tree/build" # of tools/ci.sh: its paths are relative, its objects fit
elif ! meson setup "$tree/build" "$tree" -Demulate=$emulate >"$scratch/log" 2>&1; then
    cat "$scratch/log"
    exit 1
fi

target() { # of a test
    case $1 in
    unit:*) echo "tests/unit/test_${1#unit:}" ;;
    ck:*) echo tests/kernels/checkkernels ;;
    grad) echo tests/grad/test_grad ;;
    train:*) echo "tests/train/test_${1#train:}" ;;
    cli:*) echo cli/nybble ;;
    *) echo "unknown-test-$1" ;;
    esac
}

# Until the first failure: nobody reads the output of a test that has failed.
until_failed() {
    local line
    while IFS= read -r line; do
        printf '%s\n' "$line"
        [[ $line != '[  FAILED  ]'* ]] || return 1
    done
}

run() { # a test in a tree whose build is up to date, into a log
    local build=$1/build
    case $2 in
    ck:*) timeout 240 "$build/$(target "$2")" --family "${2#ck:}" ;;
    cli:*) NYBBLE_CPU=$cpu timeout 480 bash "$1/tests/cli/${2#cli:}.sh" "$build/cli/nybble" ;;
    train:*) NYBBLE_CPU=$cpu timeout 240 "$build/$(target "$2")" ;;
    *) timeout 240 "$build/$(target "$2")" ;;
    esac 2>&1 | until_failed >"$3"
    local status=("${PIPESTATUS[@]}")
    [ "${status[0]}" -eq 0 ] && [ "${status[1]}" -eq 0 ]
}

mapfile -t mutants < <(grep -vE '^#|^[[:space:]]*$' tools/mutants.txt | grep -F -- "$word" |
    if [ $quick = 1 ]; then grep '^q'; else cat; fi)

# Without a bug every test passes; otherwise noticing means nothing.
mapfile -t tests < <(printf '%s\n' "${mutants[@]}" | sed -E 's/^q?[[:space:]]*([^ ]+).*/\1/' | sort -u)
mapfile -t targets < <(for test in "${tests[@]}"; do target "$test"; done | sort -u)
if ! ninja -C "$tree/build" "${targets[@]}" >"$scratch/log" 2>&1; then
    tail -20 "$scratch/log"
    echo "the tree does not build"
    exit 1
fi
n_workers=$(($(nproc) < 4 ? $(nproc) : 4))
healthy() { # every n_workers-th test, from the i-th on
    local i
    for ((i = $1; i < ${#tests[@]}; i += n_workers)); do
        if ! run "$tree" "${tests[i]}" "$scratch/healthy.$1"; then
            tail -20 "$scratch/healthy.$1"
            echo "${tests[i]} fails without any bug"
            return 1
        fi
    done
}
workers=()
for ((i = 0; i < n_workers; i++)); do
    healthy "$i" &
    workers+=($!)
done
for worker in "${workers[@]}"; do
    wait "$worker" || exit 1
done

plant() { # a mutant in a tree: a line that says whether it was noticed
    local tree=$1 mutant=$2 test file expression tested
    IFS='|' read -r tested file expression <<<"$mutant"
    test=$(echo "${tested#q}" | tr -d ' ')
    file=$(echo "$file" | tr -d ' ')
    expression=$(echo "$mutant" | sed -E 's/^[^|]*\|[^|]*\| ?//')
    cp "$tree/$file" "$tree.original"
    sed -i "$expression" "$tree/$file"
    if cmp -s "$tree.original" "$tree/$file"; then
        echo "changes nothing: $mutant"
    elif ! ninja -C "$tree/build" "$(target "$test")" >"$tree.log" 2>&1; then
        grep -m 3 'error:' "$tree.log"
        echo "does not compile: $mutant"
    elif run "$tree" "$test" "$tree.log"; then
        echo "SURVIVED: $mutant"
    else
        echo noticed
    fi
    cp "$tree.original" "$tree/$file"
}

# Each worker plants its share in its own copy, built as the first was.
n=$((n_workers < ${#mutants[@]} ? n_workers : ${#mutants[@]}))
for ((i = 1; i < n; i++)); do
    cp -a "$tree" "$scratch/$i"
done
for ((i = 0; i < n; i++)); do
    for ((j = i; j < ${#mutants[@]}; j += n)); do
        plant "$scratch/$i" "${mutants[j]}"
    done >"$scratch/$i.out" &
done
wait
cat "$scratch"/*.out | grep -vx noticed
noticed=$(cat "$scratch"/*.out | grep -cx noticed)
echo "$noticed of ${#mutants[@]} planted bugs were noticed"
[ "$noticed" -eq ${#mutants[@]} ] && [ "$noticed" -gt 0 ]
