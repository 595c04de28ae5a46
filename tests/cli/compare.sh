# Tests of bench/compare.py and of the tables made of it: compare.sh NYBBLE. No rival is needed.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")")
update=0
. "$here/lib.sh"
root=$(dirname "$(dirname "$here")") build=$(dirname "$(dirname "$nybble")")
python=false

compare() { # STATUS ARG...
    local want=$1 got
    shift
    cases=$((cases + 1))
    (cd "$work" && BENCH_MACHINE=test PYTHON=$python python3 "$root/bench/compare.py" --build "$build" "$@") \
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
print(line["what"], line["threads"], line["rounds"], line["seconds"] > 0, line["machine"], type(line["pinned_to"]))')" \
    "conv 3x3 512@7 batch 16 fwd 1 1 True test <class 'int'>" "a line of the comparison"
# No time: no line, no failure.
compare 0 --rows resnet20 --threads 1 --quick --limit 0.001
grep -q 'stopped after' "$work/err" || fail "a row that takes too long is not reported"
same "$(wc -l <"$results")" 5 "lines after a row that was stopped"
# A rival of PyTorch's: a stub of bench/rival_torch.py says what it was told, and where it may run.
cat >"$work/python" <<'EOF'
#!/bin/sh
case $1 in
-c) ;;
*/rival_torch.py) shift && echo "{\"lib f32\": {\"fwd\": {\"how\": \"$* on $(env -u OMP_NUM_THREADS nproc)\", \"median_s\": 100}}}" ;;
esac
EOF
chmod +x "$work/python"
python=$work/python
compare 0 --rows gemm1024 --cpu avx2 --threads 1 --quick --time 1
same "$(tail -1 "$results" | python3 -c 'import json, sys
rival = json.loads(sys.stdin.read())["rivals"]["lib f32"]
print(rival["how"], rival["seconds"], rival["ratio"] > 1)')" \
    "gemm f32,s8 1024 1024 1024 1 100 on 1 100 True" "what a rival has run and how long"
compare 0 --rows gemm1024 --cpu avx2 --threads 2 --quick --time 1
same "$(tail -1 "$results" | grep -v pinned_to | grep -c "1024 2 100 on $(nproc)")" 1 "lines of two threads, pinned to no CPU"
# README.md names the fastest of several rivals of a kind.
same "$(PYTHONPATH=$root/tools python3 -c 'import readme_tables
rival = {"ratio_min": 1, "ratio_max": 3}
rivals = {"lib 2 s8": {"ratio": 3, **rival}, "lib 3 (packed weights) s8": {"ratio": 3.5, **rival},
          "lib 3 (packed weights) u8s8": {"ratio": 2, **rival}, "lib 3 f32": {"ratio": 1, **rival}}
print(readme_tables.against({"rounds": 3, "rivals": rivals}, ("s8",)))
print(readme_tables.threads_of({"threads": 1, "pinned_to": 0}), readme_tables.threads_of({"threads": 2}))')" \
    "2.0 (1.0–3.0) lib 3 (packed weights)
1, pinned 2" "the fastest rival, and pinned threads"
finish
