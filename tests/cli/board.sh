#!/bin/bash
# Tests of the leaderboard: board.sh NYBBLE. Campaigns of tiny synthetic runs: finished, killed,
# shared, merged, and asked for wrongly.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")") update=0
. "$here/lib.sh"

data=synthetic:h=8,w=8,c=1,classes=4,train=512,test=256
common="--data $data --models mlp:32 --batch 32 --epochs 1 --threads 1 --seeds 1,2 --set edges=recipe"
board="bench recipes $common --recipes f32,luq+wgrad.dy.samples=2"

lines() {
    wc -l <"$work/$1"
}

# ---- a campaign --------------------------------------------------------------------------------
run 0 $board --out a --results a.jsonl --json
is_json
cp "$work/out" "$work/a.json"
same "$(json "$work/a.json" '[r["recipe"] for r in j["tables"][0]["rows"]]')" \
    "['f32', 'luq+wgrad.dy.samples=2']" "rows"
same "$(json "$work/a.json" '[(r["seeds"], r["diverged"], r["engine"], r["emulated"], r["pairs"])
    for r in j["tables"][0]["rows"]]')" \
    "[(2, 0, 'f32', False, 0), (2, 0, 's8', False, 2)]" "rows"
same "$(lines a.jsonl)" 4 "records"
for recipe in f32 luq+wgrad.dy.samples=2; do
    for file in config.txt metrics.jsonl model.safetensors state.safetensors summary.json result.json; do
        [ -s "$work/a/mlp:32/$recipe/seed2/$file" ] || fail "$recipe: no $file"
    done
done
# each run is what `nybble train` makes of the same options
run 0 train --data $data --model mlp:32 --batch 32 --epochs 1 --seed 2 --recipe luq \
    --set edges=recipe --set wgrad.dy.samples=2 --json
same "$(json "$work/a/mlp:32/luq+wgrad.dy.samples=2/seed2/result.json" 'j["weights_sha256"]')" \
    "$(json "$work/out" 'j["weights_sha256"]')" "weights of train"
# the figures, computed again
python3 - "$work" <<'END' || fail "the figures are wrong"
import csv, json, math, statistics, sys
work = sys.argv[1]
runs = [json.loads(line) for line in open(work + "/a.jsonl")]
acc = {(r["recipe"], r["seed"]): r["test_acc"] for r in runs}
rows = {r["recipe"]: r for r in json.load(open(work + "/a.json"))["tables"][0]["rows"]}
table = {r["recipe"]: r for r in csv.DictReader(open(work + "/a/leaderboard.csv"))}
luq = "luq+wgrad.dy.samples=2"
for name in ("f32", luq):
    both = [acc[name, 1], acc[name, 2]]
    for have in (rows[name], {k: float(v) for k, v in table[name].items()
                              if k in ("test_acc_mean", "test_acc_sd")}):
        assert math.isclose(have["test_acc_mean"], statistics.mean(both), rel_tol=1e-8)
        assert math.isclose(have["test_acc_sd"], statistics.stdev(both), rel_tol=1e-8, abs_tol=1e-9)
diffs = [acc[luq, s] - acc["f32", s] for s in (1, 2)]
se = statistics.stdev(diffs) / math.sqrt(2)
assert math.isclose(rows[luq]["diff_mean"], statistics.mean(diffs), rel_tol=1e-8)
assert math.isclose(rows[luq]["diff_se"], se, rel_tol=1e-8)
assert rows[luq]["beyond_2se"] == (abs(statistics.mean(diffs)) > 2 * se)
page = open(work + "/a/leaderboard.md").read()
star = " *" if rows[luq]["beyond_2se"] else ""
assert f"{100 * statistics.mean(diffs):+.2f} ± {100 * se:.2f}{star} |" in page, page
END

python3 "$here/../../tools/readme_tables.py" --csv "$work/a.jsonl" | diff - "$work/a/leaderboard.csv" ||
    fail "tools/readme_tables.py computes other figures"

# a key that is set again, as one of a preset, is recorded once
run 0 $board --set edges=int8 --set edges=recipe --out a --import a.jsonl --dry-run
grep -q "^4 runs, 0 missing$" "$work/out" || fail "a key set again makes another setup"
run 2 $board --out never --recipes luq+edges=recipe+edges=f32
says "--recipes" "edges is there twice"

run 0 $board --out times --import a.jsonl --times 1 --recipes luq_ref
run 0 bench recipes --out times --import a.jsonl --report-only --json
python3 - "$work" <<'END' || fail "--times"
import json, sys
work = sys.argv[1]
times = {r["recipe"]: r["samples_per_s"] for r in map(json.loads, open(work + "/times/times.jsonl"))}
rows = {r["recipe"]: r for r in json.load(open(work + "/out"))["tables"][0]["rows"]}
assert set(times) == set(rows), times  # luq_ref is emulated: no time
assert all(abs(rows[r]["samples_per_s"] / times[r] - 1) < 1e-8 for r in rows)
END
# What is kept is that of the program which was timed, not of the one which trained.
python3 - "$work" <<'END' || fail "kept as the program that was timed has it"
import json, subprocess, sys
work = sys.argv[1]
lines = [json.loads(line) for line in open(work + "/times/times.jsonl")]
lines[0]["saved_activation_bytes"] = 12345
open(work + "/kept.jsonl", "w").writelines(json.dumps(line) + "\n" for line in lines)
END
run 0 bench recipes --out kept --import a.jsonl --import kept.jsonl --report-only --json
same "$(json "$work/out" '[r["saved_activation_bytes"] for r in j["tables"][0]["rows"]].count(12345)')" 1 "kept"
cat "$work/a.jsonl" "$work/kept.jsonl" >"$work/both.jsonl"
python3 "$here/../../tools/readme_tables.py" --csv "$work/both.jsonl" |
    diff - "$work/kept/leaderboard.csv" || fail "tools/readme_tables.py reads other memory"
cat "$work/a.jsonl" "$work/times/times.jsonl" >"$work/timed.jsonl"
python3 "$here/../../tools/readme_tables.py" --csv "$work/timed.jsonl" |
    diff - "$work/times/leaderboard.csv" || fail "tools/readme_tables.py reads other times"

# ---- finished runs are not repeated ------------------------------------------------------------
before=$(stat -c %Y.%i "$work"/a/mlp:32/*/*/result.json)
echo cut >"$work/a/leaderboard.md.tmp" # as a process leaves it that was killed
run 0 $board --out a --results a.jsonl --json
cmp "$work/out" "$work/a.json" || fail "the second report differs"
same "$(stat -c %Y.%i "$work"/a/mlp:32/*/*/result.json)" "$before" "results of finished runs"
grep -q "0 runs trained, 4 were finished" "$work/err" || fail "finished runs were repeated"
[ -e "$work/a/leaderboard.md.tmp" ] && fail "what was left of a table is not reused"
rm "$work/a.jsonl"
run 0 $board --out a --results a.jsonl --quiet
same "$(lines a.jsonl)" 4 "records recovered from the folders"
[ -s "$work/err" ] && fail "--quiet is not quiet"
run 0 $board --out elsewhere --results a.jsonl
grep -q "0 runs trained, 4 were finished" "$work/err" || fail "recorded runs were repeated"
printf '{"cut":' >>"$work/a.jsonl"
rm -r "$work/a/mlp:32/f32/seed1"
run 1 $board --out a --results a.jsonl
says "a.jsonl" "line 5"
head -n 3 "$work/a.jsonl" >"$work/import.jsonl"
run 0 $board --out b --import import.jsonl
grep -q "1 runs trained, 3 were finished" "$work/err" || fail "--import"
same "$(find "$work/b" -name result.json | wc -l)" 1 "runs beside imported ones"
run 0 bench recipes --out b --import import.jsonl --report-only --json
same "$(json "$work/out" '[r["seeds"] for r in j["tables"][0]["rows"]]')" "[2, 2]" "--report-only"
run 0 $board --out b --import import.jsonl --dry-run --recipes luq
grep -q "^6 runs, 2 missing$" "$work/out" || fail "--dry-run"
run 0 $board --out b --import import.jsonl --dry-run --recipes luq --part 2/2 --json
same "$(json "$work/out" '[(r["recipe"], r["seed"], r["finished"]) for r in j]')" \
    "[('luq+wgrad.dy.samples=2', 1, True), ('f32', 2, True), ('luq', 2, False)]" "--dry-run --part --json"
run 2 bench recipes --out b --report-only --recipes luq
says "--recipes" "--report-only"
run 2 bench recipes --out b --report-only --lr 0.01
says "--lr" "--report-only"
run 2 $board --out b --times 1 --part 1/2
says "--part" "--times"
run 1 $board --out b --lr 0.01
says "another definition" "luq"
# the same recipe by other words is another row, but a redefinition of a name replaces its row
sed 's/"hash":"[0-9a-f]*"/"hash":"0123456789abcdef"/; s/"test_acc":[0-9.]*/"test_acc":0.125/' \
    "$work/import.jsonl" | grep '"f32"' | head -n 1 >"$work/later.jsonl"
run 0 bench recipes --out none --import import.jsonl --import later.jsonl --report-only --json
same "$(json "$work/out" '[r["test_acc_mean"] for r in j["tables"][0]["rows"] if r["recipe"] == "f32"]')" \
    "[0.125]" "the later definition"
cat "$work/import.jsonl" "$work/later.jsonl" "$work/import.jsonl" >"$work/union.jsonl"
python3 "$here/../../tools/readme_tables.py" --csv "$work/union.jsonl" |
    diff - "$work/none/leaderboard.csv" || fail "tools/readme_tables.py merges otherwise"

# ---- shared ------------------------------------------------------------------------------------
run 0 $board --out parts --part 1/3 --json
run 0 $board --out parts --part 2/3
same "$(find "$work/parts" -name result.json | wc -l)" 3 "two parts of three"
run 0 $board --out parts --part 3/3 --json
python3 - "$work" <<'END' || fail "parts give another table"
import json, sys
a, b = (json.load(open(sys.argv[1] + name))["tables"][0]["rows"] for name in ("/a.json", "/out"))
for row in a + b:
    row.pop("samples_per_s")
assert a == b, (a, b)
END
for i in 1 2 3; do
    (cd "$work" && "$nybble" $board --out shared --results shared.jsonl >/dev/null 2>"shared.$i") &
done
wait
same "$(cat "$work"/shared.[123] | awk '/ runs trained/ {n += $1} END {print n}')" 4 "runs trained"
same "$(lines shared.jsonl)" 4 "records of processes that share a campaign"
run 0 bench recipes --out shared --report-only

# ---- killed and interrupted --------------------------------------------------------------------
long="bench recipes --data synthetic:h=8,w=8,c=1,classes=4,train=16384,test=64 --models mlp:64
    --batch 16 --epochs 3 --checkpoint-every 200 --threads 1 --recipes luq --seeds 1"
run 0 $long --out whole --quiet
sha() {
    json "$work/$1/mlp:64/luq/seed1/result.json" 'j["weights_sha256"]'
}
interrupt() {
    (cd "$work" && exec "$nybble" $long --out "$2" --quiet) >"$work/out" 2>"$work/err" &
    local pid=$! i
    for i in $(seq 2000); do
        grep -qas '"step=[1-9]' "$work/$2/mlp:64/luq/seed1/state.safetensors" && break
        sleep 0.005
    done
    kill -s "$1" "$pid"
    wait "$pid"
}
interrupt KILL killed
[ -e "$work/killed/mlp:64/luq/seed1/result.json" ] && fail "the run was over before it was killed"
step=$(json "$work/killed/mlp:64/luq/seed1/job.json" 'j["seed"]')
same "$step" 1 "job.json"
run 0 $long --out killed --quiet
same "$(sha killed)" "$(sha whole)" "weights after SIGKILL"
interrupt INT stopped
same $? 130 "status after SIGINT"
run 0 $long --out stopped --quiet
same "$(sha stopped)" "$(sha whole)" "weights after SIGINT"
interrupt KILL cut
head -c 1000 "$work/cut/mlp:64/luq/seed1/state.safetensors" >"$work/state"
cp "$work/state" "$work/cut/mlp:64/luq/seed1/state.safetensors"
run 0 $long --out cut --quiet
same "$(sha cut)" "$(sha whole)" "weights after a checkpoint that cannot be read"
grep -q "begun anew" "$work/err" || fail "no word of the checkpoint"

# ---- a run that ends in NaN is a result --------------------------------------------------------
burst="bench recipes --data $data --models mlp:32 --batch 32 --epochs 1 --lr 1e6 --schedule constant
    --seeds 1,2 --recipes luq"
run 0 $burst --out nan --json
same "$(json "$work/out" '[(r["seeds"], r["diverged"], r["test_acc_mean"])
    for r in j["tables"][0]["rows"]]')" "[(2, 2, None)]" "diverged runs"
grep -q '| diverged |.*| 2, 2 diverged |' "$work/nan/leaderboard.md" || fail "diverged in Markdown"
run 0 $burst --out nan
grep -q "0 runs trained, 2 were finished" "$work/err" || fail "diverged runs were repeated"

# ---- seeds beyond signed integers --------------------------------------------------------------
wide="bench recipes --data $data --models mlp:32 --batch 32 --epochs 1 --threads 1 --recipes luq
    --seeds 18446744073709551615,9223372036854775808,1"
run 0 $wide --out wide --dry-run --json
same "$(json "$work/out" '[r["seed"] for r in j]')" "[18446744073709551615, 9223372036854775808, 1]" "seeds of a plan"
run 0 $wide --out wide --results wide.jsonl
for key in result job; do
    same "$(json "$work/wide/mlp:32/luq/seed18446744073709551615/$key.json" 'j["seed"]')" \
        18446744073709551615 "a wide seed in $key.json"
done
rm -r "$work/wide"
run 0 $wide --out wide --import wide.jsonl
grep -q "0 runs trained, 3 were finished" "$work/err" || fail "runs of wide seeds were repeated"

# ---- recipe files, wrong usage -----------------------------------------------------------------
printf 'base = luq\nfwd.x = int8\n' >"$work/mine.recipe"
run 0 bench recipes $common --recipes ./mine.recipe+edges=f32,f32 --out files --json
same "$(json "$work/out" 'sorted(r["recipe"] for r in j["tables"][0]["rows"])')" \
    "['f32', 'mine+edges=f32']" "recipe files"
cp "$work/mine.recipe" "$work/"$'\xfc.recipe'
run 2 bench recipes $common --recipes ./$'\xfc.recipe' --out latin
says "UTF-8"
cp "$work/mine.recipe" "$work/"$'\xc3\xbc.recipe'
for trained in 2 0; do
    run 0 bench recipes $common --recipes ./$'\xc3\xbc.recipe' --out latin --machine $'\xfc' --json
    same "$(json "$work/out" 'ascii([(r["recipe"], r["seeds"]) for r in j["tables"][0]["rows"]])')" \
        "[('\\xfc', 2)]" "a recipe beyond ASCII"
    same "$(grep -c samples/s "$work/err")" $trained "runs of a recipe beyond ASCII"
done
run 0 bench recipes $common --recipes luq+dgrad.dy=int4/absmax/tensor/stochastic --out files --seeds 1
[ -e "$work/files/mlp:32/luq+dgrad.dy=int4_absmax_tensor_stochastic/seed1/result.json" ] ||
    fail "the folder of a recipe with slashes"
run 2 bench recipes $common --recipes f32,lug --out x
says "lug" "luq_naive"
run 2 bench recipes $common --recipes luq+wgrad.dy.sample=2 --out x
says "wgrad.dy.sample"
run 2 bench recipes $common --recipes luq+wgrad.dy.samples=0 --out x
says "1 .. 16"
run 1 bench recipes $common --recipes ./none.recipe --out x
says "none.recipe"
for part in 0/2 3/2 1 1/ /2 1/0 a/b 1/2/3; do
    run 2 bench recipes $common --recipes f32 --out x --part $part
    says "--part" "I/N"
done
run 2 bench recipes $common --recipes f32 --out x --seeds 1,two
says "--seeds" "two"
run 2 bench recipes $common --recipes f32 --out x --seed 1
says "--seeds"
run 2 bench recipes --recipes f32 --out x
says "--models"
run 2 bench recipes --recipes f32 --models mlp,resnet9 --out x
says "resnet9"
run 2 bench recipes --preset mlq --out x
says "mlq" "resnet14s"
run 2 bench recipes $common
says "--out"
run 1 bench recipes --out x --report-only
says "no finished run"
run 1 $board --out /dev/null/x
says "/dev/null"
[ -e "$work/x" ] && fail "wrong usage made a folder"

finish
