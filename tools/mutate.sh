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
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree
build=$scratch/build
mkdir "$tree"
cp -r meson.build meson_options.txt include src cli examples tests bench tools "$tree"

# Kernels for later CPUs are emulated, unless this one has all of them; training would take long
# with them.
emulate=true
cpu=avx2
if grep -qw amx_int8 /proc/cpuinfo; then
    emulate=false
    cpu=
fi
if ! meson setup "$build" "$tree" -Demulate=$emulate >"$scratch/log" 2>&1; then
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

run() { # a test; its build is up to date
    case $1 in
    ck:*) timeout 120 "$build/$(target "$1")" --family "${1#ck:}" ;;
    cli:*) NYBBLE_CPU=$cpu timeout 120 bash "$tree/tests/cli/${1#cli:}.sh" "$build/cli/nybble" ;;
    train:*) NYBBLE_CPU=$cpu timeout 120 "$build/$(target "$1")" ;;
    *) timeout 120 "$build/$(target "$1")" ;;
    esac >"$scratch/log" 2>&1
}

mapfile -t mutants < <(grep -vE '^#|^[[:space:]]*$' tools/mutants.txt | grep -F -- "$word" |
    if [ $quick = 1 ]; then grep '^q'; else cat; fi)

# Without a bug every test passes; otherwise noticing means nothing.
mapfile -t tests < <(printf '%s\n' "${mutants[@]}" | sed -E 's/^q?[[:space:]]*([^ ]+).*/\1/' | sort -u)
mapfile -t targets < <(for test in "${tests[@]}"; do target "$test"; done | sort -u)
if ! ninja -C "$build" "${targets[@]}" >"$scratch/log" 2>&1; then
    tail -20 "$scratch/log"
    echo "the tree does not build"
    exit 1
fi
for test in "${tests[@]}"; do
    if ! run "$test"; then
        tail -20 "$scratch/log"
        echo "$test fails without any bug"
        exit 1
    fi
done

noticed=0
failures=0
complain() {
    echo "$1: $2"
    failures=$((failures + 1))
}
for mutant in "${mutants[@]}"; do
    IFS='|' read -r tested file expression <<<"$mutant"
    test=$(echo "${tested#q}" | tr -d ' ')
    file=$(echo "$file" | tr -d ' ')
    expression=$(echo "$mutant" | sed -E 's/^[^|]*\|[^|]*\| ?//')
    cp "$tree/$file" "$scratch/original"
    sed -i "$expression" "$tree/$file"
    if cmp -s "$scratch/original" "$tree/$file"; then
        complain "changes nothing" "$mutant"
    elif ! ninja -C "$build" "$(target "$test")" >"$scratch/log" 2>&1; then
        grep -m 3 'error:' "$scratch/log"
        complain "does not compile" "$mutant"
    elif run "$test"; then
        complain "SURVIVED" "$mutant"
    else
        noticed=$((noticed + 1))
    fi
    cp "$scratch/original" "$tree/$file"
done
echo "$noticed of ${#mutants[@]} planted bugs were noticed"
[ "$failures" -eq 0 ] && [ "$noticed" -gt 0 ]
