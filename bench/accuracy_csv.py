#!/usr/bin/env python3
"""CSV of all runs below a folder, from their summary.json; means and differences from f32 to stderr.

usage: accuracy_csv.py RUNS [> tests/golden/accuracy.csv]
"""

import glob
import json
import math
import os
import re
import sys

FIELDS = ["model", "recipe", "epochs", "batch", "seed", "threads", "cpu", "test_acc",
          "test_acc_f32_activations", "test_loss", "seconds", "weights_sha256"]


def load(folder):
    runs = {}
    for path in sorted(glob.glob(os.path.join(folder, "*", "summary.json"))):
        name = os.path.basename(os.path.dirname(path))
        with open(path) as f:
            runs[name] = json.load(f)
    return runs


def mean_and_error(values):
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def report(runs):
    """Per configuration: mean of the last epoch, and the paired difference from f32 in points."""
    groups = {}
    for name, run in runs.items():
        groups.setdefault(re.sub(r"-s\d+$", "", name), {})[run["seed"]] = run
    for name, by_seed in groups.items():
        base = groups.get(name.split("-")[0] + "-f32", {})
        for key in ("test_acc", "test_acc_f32_activations"):
            if not all(key in r for r in by_seed.values()):
                continue
            mean, _ = mean_and_error([100 * r[key] for r in by_seed.values()])
            paired = [100 * (r[key] - base[s]["test_acc"]) for s, r in by_seed.items() if s in base]
            diff, error = mean_and_error(paired) if paired else (math.nan, math.nan)
            print(f"{name:28} {key:26} {mean:6.2f} %  vs f32 {diff:+6.2f} +- {error:.2f}"
                  f"  ({len(by_seed)} seeds)", file=sys.stderr)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    runs = load(sys.argv[1])
    print("run," + ",".join(FIELDS))
    for name, run in runs.items():
        print(name + "," + ",".join(str(run.get(field, "")) for field in FIELDS))
    report(runs)


if __name__ == "__main__":
    main()
