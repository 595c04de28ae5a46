#!/bin/bash
# Builds and tests. The last line is 'N passed, N failed'. usage: tools/ci.sh quick|full
#
# quick: gcc, release, warnings as errors, every test outside the suite 'full'.
# full:  the slow ones too; then clang and ASan+UBSan, whose bits are compared with pinned ones,
#        without the tests that judge what such bits learn (and clang's program is not tried again);
#        no SIMD: its modules, and the pinned bits of all recipes; then the kernels of all
#        instruction sets, emulated; then planted bugs (tools/mutate.sh). ASan without scopes
#        and with lines instead of variables: gcc 12 takes minutes for a kernel with them.
set -u
cd "$(dirname "$0")/.." || exit 1

mode=${1:-}
if [ "$mode" != quick ] && [ "$mode" != full ]; then
    echo "usage: tools/ci.sh quick|full" >&2
    exit 2
fi

# What builds other than the first are tested by.
bits="--no-suite learn --no-suite house"

# Machines differ, and may be busy; sanitizers cost a factor.
patience=4

passed=0
failed=0
failures=()

fail() {
    failed=$((failed + 1))
    failures+=("$1")
}

# Adds the tests of a build's log: lines of JSON with a name and a result each.
count() {
    local line result name
    while read -r result name; do
        case $result in
        OK | EXPECTEDFAIL) passed=$((passed + 1)) ;;
        SKIP) echo "skipped: $1: $name" ;;
        *) fail "$1: $name ($result)" ;;
        esac
    done < <(python3 -c '
import json, sys
for line in open(sys.argv[1]):
    test = json.loads(line)
    print(test["result"], test["name"])' "$2")
}

# build NAME FOLDER TEST-OPTIONS SETUP-OPTION...; CC is the caller's.
build() {
    local name=$1 folder=$2 tests=$3 start=$SECONDS log
    shift 3
    echo "=== $name"
    # A folder of another meson or compiler is set up again.
    if ! { meson setup --reconfigure "$folder" "$@" || meson setup --wipe "$folder" "$@" ||
        { rm -rf "$folder" && meson setup "$folder" "$@"; }; } >"$folder.log" 2>&1; then
        cat "$folder.log"
        fail "$name: meson setup"
        return
    fi
    if ! ninja -C "$folder" --quiet >"$folder.log" 2>&1; then
        grep -E -A 20 '^FAILED|error:' "$folder.log" | head -100
        fail "$name: build"
        return
    fi
    log=$folder/meson-logs/testlog.json
    rm -f "$folder"/meson-logs/testlog*.json
    # shellcheck disable=SC2086 # $tests is a list of options
    meson test -C "$folder" --no-rebuild --print-errorlogs --timeout-multiplier "$patience" $tests || true
    log=$(ls "$folder"/meson-logs/testlog*.json 2>/dev/null | head -1)
    if [ -z "$log" ]; then
        fail "$name: meson test"
    else
        count "$name" "$log"
    fi
    echo "=== $name took $((SECONDS - start)) s"
}

# A check that is one command.
check() {
    local name=$1 start=$SECONDS
    shift
    echo "=== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        fail "$name"
    fi
    echo "=== $name took $((SECONDS - start)) s"
}

export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

if [ "$mode" = quick ]; then
    CC=gcc build gcc build-check "" --werror
else
    CC=gcc build gcc build-check "--setup full" --werror
    CC=clang build clang build-clang "$bits --no-suite cli" --werror
    CC=gcc build sanitizers build-asan "$bits" --werror --buildtype=debugoptimized \
        -Db_sanitize=address,undefined "-Dc_args=-fno-sanitize-address-use-after-scope -g1"
    CC=gcc build no-simd build-nosimd "--suite unit --suite kernels --suite pinned --no-suite learn" \
        --werror -Dsimd=false
    # No --werror: tools/mutate.sh plants its bugs in this build, and some leave functions unused.
    CC=gcc build emulated build-emulated "--suite unit --suite kernels --no-suite learn" -Demulate=true
    check mutants tools/mutate.sh --quick
fi

for failure in ${failures[@]+"${failures[@]}"}; do
    echo "FAILED: $failure"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
