# Tests of bench/compare.py and of the tables made of it: compare.sh NYBBLE. No rival is needed.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")")
update=0
. "$here/lib.sh"
root=$(dirname "$(dirname "$here")") build=$(dirname "$(dirname "$nybble")")

compare() { # STATUS ARG...
    local want=$1 got
    shift
    cases=$((cases + 1))
    (cd "$work" && BENCH_MACHINE=test PYTHON=false python3 "$root/bench/compare.py" --build "$build" "$@") \
        >"$work/out" 2>"$work/err"
    got=$?
    [ "$got" -eq "$want" ] || fail "compare.py $*: status $got, not $want: $(cat "$work/err")"
}

compare 0 --help
compare 2 --rows gemm1024,gem
grep -q 'gem;.*conv64' "$work/err" || fail "an unknown row is not named beside the others"
compare 2 --cpu avx3
compare 0 --cpu auto --rows conv512,resnet20 --threads 1 --quick --time 1 --limit 120
results=$work/bench/results/test.jsonl
same "$(wc -l <"$results")" 5 "lines of a convolution and of a step of two recipes"
same "$(head -1 "$results" | python3 -c 'import json, sys
line = json.loads(sys.stdin.read())
print(line["what"], line["threads"], line["rounds"], line["seconds"] > 0, line["machine"])')" \
    "conv 3x3 512@7 batch 16 fwd 1 1 True test" "a line of the comparison"
# No time: no line, no failure.
compare 0 --rows resnet20 --threads 1 --quick --limit 0.001
grep -q 'stopped after' "$work/err" || fail "a row that takes too long is not reported"
same "$(wc -l <"$results")" 5 "lines after a row that was stopped"
finish
