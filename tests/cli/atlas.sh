#!/bin/bash
# Tests of the atlas of accumulators: atlas.sh NYBBLE. A tiny campaign: figures computed again,
# resumed, in parts, and asked for wrongly.
nybble=$(realpath "$1") here=$(dirname "$(realpath "$0")") update=0
. "$here/lib.sh"

data=synthetic:h=8,w=8,c=1,classes=4,train=512,test=256
common="--data $data --models mlp:32 --batch 32 --epochs 1 --threads 1 --set edges=recipe"
atlas="bench accumulators $common --accums e4m1,e6m9 --chunks 0,16 --gemms fwd,all --seeds 1,2"

# ---- a campaign --------------------------------------------------------------------------------
run 0 $atlas --out a --results a.jsonl --json
is_json
cp "$work/out" "$work/a.json"
same "$(wc -l <"$work/a.jsonl")" 20 "records"
same "$(json "$work/a.json" '[(r["accumulator"], r["chunk"], r["mantissa"], sorted(r["gemms"]))
    for r in j["tables"][0]["rows"]]')" \
    "[('e6m9', 0, 9, ['all', 'fwd']), ('e6m9/16', 16, 9, ['all', 'fwd']), ('e4m1', 0, 1, ['all', 'fwd']), ('e4m1/16', 16, 1, ['all', 'fwd'])]" \
    "rows"
same "$(json "$work/a.json" 'j["tables"][0]["base"], j["tables"][0]["sum_lengths"]')" \
    "('luq', {'fwd': 64, 'dgrad': 4, 'wgrad': 32})" "the longest sums"
# each run is what `nybble train` makes of the same options
run 0 train --data $data --model mlp:32 --batch 32 --epochs 1 --seed 2 --recipe luq --threads 1 \
    --set edges=recipe --set fwd.accum=e4m1/16 --set dgrad.accum=e4m1/16 --set wgrad.accum=e4m1/16 \
    --json
label=luq+fwd.accum=e4m1_16+dgrad.accum=e4m1_16+wgrad.accum=e4m1_16
same "$(json "$work/a/mlp:32/$label/seed2/result.json" 'j["weights_sha256"]')" \
    "$(json "$work/out" 'j["weights_sha256"]')" "weights of train"
cat >"$work/check.py" <<'END_OF_CHECK'
"""The figures, computed again from the records."""
import csv, json, math, statistics, sys
work = sys.argv[1]
runs = [json.loads(line) for line in open(work + "/a.jsonl")]
acc = {(r["recipe"], r["seed"]): r["test_acc"] for r in runs}
table = json.load(open(work + "/a.json"))["tables"][0]
lines = {(r["accumulator"], r["gemms"]): r for r in csv.DictReader(open(work + "/a/atlas.csv"))
         if r["gemms"]}
page = open(work + "/a/atlas.md").read()
parts = {"fwd": ["fwd"], "all": ["fwd", "dgrad", "wgrad"]}
for row in table["rows"]:
    cells = []
    for gemms in ("fwd", "all"):
        name = "luq" + "".join(f"+{p}.accum={row['accumulator']}" for p in parts[gemms])
        diffs = [acc[name, s] - acc["luq", s] for s in (1, 2)]
        mean, se = statistics.mean(diffs), statistics.stdev(diffs) / math.sqrt(2)
        cell, line = row["gemms"][gemms], lines[row["accumulator"], gemms]
        assert cell["pairs"] == cell["runs"] == 2 and cell["diverged"] == 0
        for have in (cell, {k: float(line[k]) for k in ("diff_mean", "diff_se")}):
            assert math.isclose(have["diff_mean"], mean, rel_tol=1e-8, abs_tol=1e-12)
            assert math.isclose(have["diff_se"], se, rel_tol=1e-8, abs_tol=1e-12)
        assert cell["beyond_2se"] == (abs(mean) > 2 * se)
        star = " *" if cell["beyond_2se"] else ""
        cells.append(f"{100 * mean:+.2f} ± {100 * se:.2f}{star} (2)")
    text = f"| {row['accumulator']} | {row['mantissa']} | {' | '.join(cells)} |"
    assert text in page, (text, page)
base = statistics.mean(acc["luq", s] for s in (1, 2))
assert f"luq: {100 * base:.2f} % (2 runs); f32: " in page
END_OF_CHECK
python3 "$work/check.py" "$work" || fail "the figures are wrong"

# VRR's mantissa is that of `nybble accumulate` for the same length and products
run 0 accumulate --n 64 --accum e6m9,e6m9/16 --a uint4/absmax --b int4/absmax --json
same "$(json "$work/a.json" '[r["vrr_mantissa"]["fwd"] for r in j["tables"][0]["rows"][:2]]')" \
    "$(json "$work/out" '[l["needs_levels"] for l in j["lines"]]')" "VRR's mantissa"
grep -q '^| chunk | fwd, 64 products | dgrad, 4 products | wgrad, 32 products |$' \
    "$work/a/atlas.md" || fail "no VRR in atlas.md"

# ---- resumed, reported, in parts ---------------------------------------------------------------
run 0 $atlas --out a --results a.jsonl --json
cmp "$work/out" "$work/a.json" || fail "the second report differs"
grep -q "0 runs trained, 20 were finished" "$work/err" || fail "finished runs were repeated"
rm -r "$work/a/mlp:32/$label/seed2"
run 0 $atlas --out a --quiet --json
cmp "$work/out" "$work/a.json" || fail "a run trained again gives another report"
run 0 bench accumulators --out a --report-only --json
cmp "$work/out" "$work/a.json" || fail "--report-only"
run 0 $atlas --out a --dry-run --chunks 0,16,64
grep -q "^28 runs, 8 missing$" "$work/out" || fail "--dry-run"
run 0 $atlas --out parts --part 1/20 --quiet
[ -s "$work/out" ] && fail "a table of f32 alone"
for i in 2 3; do
    run 0 $atlas --out parts --part $i/3 --quiet
done
run 0 $atlas --out parts --quiet --json
cmp "$work/out" "$work/a.json" || fail "parts give another report"
# another base is another table, and what has only some of the GEMMs has "-" elsewhere
# roundings of one format are rows of their own
run 0 bench accumulators $common --out drawn --accums e4m1,e4m1/stochastic,e4m1/stochastic:2 \
    --chunks 16 --gemms fwd --seeds 1 --json
same "$(json "$work/out" '[r["accumulator"] for r in j["tables"][0]["rows"]]')" \
    "['e4m1/16', 'e4m1/16/stochastic', 'e4m1/16/stochastic:2']" "accumulators that draw"
run 0 bench accumulators $common --out a --base luq+wgrad.dy.samples=2 --accums bf16 --chunks 0 \
    --gemms dgrad+wgrad
grep -q '^## mlp:32, luq+wgrad.dy.samples=2$' "$work/a/atlas.md" || fail "no table of the base"
grep -q '^| bf16 | 7 | [-+][0-9.]* (1) |$' "$work/a/atlas.md" || fail "one pair"
# defaults
run 0 bench accumulators --data $data --models mlp:16 --dry-run --out x
grep -q "^38 runs, 38 missing$" "$work/out" || fail "defaults"

# ---- runs that end in NaN ----------------------------------------------------------------------
run 0 bench accumulators --data $data --models mlp:32 --batch 32 --epochs 1 --lr 1e6 \
    --schedule constant --set edges=recipe --accums fp16 --chunks 0 --gemms fwd --out nan
grep -q '^| fp16 | 10 | diverged (1) |$' "$work/nan/atlas.md" || fail "diverged"

# ---- wrong usage -------------------------------------------------------------------------------
run 2 $atlas --out x --accums e6m9,f33
says "--accums" "f33"
run 2 $atlas --out x --accums f32
says "--accums" "f32"
run 2 $atlas --out x --accums e6m9/64
says "--chunks"
run 2 $atlas --out x --chunks 0,-1
says "--chunks" "-1"
run 2 $atlas --out x --gemms fwd,bwd
says "--gemms" "bwd" "dgrad"
run 2 $atlas --out x --base luq,f32
says "--base" "luq,f32"
run 2 $atlas --out x --base lug
says "lug" "luq"
run 2 $atlas
says "bench accumulators" "--out"
run 1 bench accumulators --out x --report-only
says "no finished run"
[ -e "$work/x" ] && fail "wrong usage made a folder"

finish
