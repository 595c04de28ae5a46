#!/usr/bin/env python3
"""Writes the tables of README.md and docs/results.md from the figures that are kept in git.

    tools/readme_tables.py            rewrites them
    tools/readme_tables.py --check    exits with 1 if they are out of date
    tools/readme_tables.py --add NAME RUN-FOLDER ...
                                      appends finished runs to docs/results/runs.jsonl as experiment
                                      NAME; a folder is called LABEL-sSEED (bench/accuracy.sh)

Accuracy comes from docs/results/runs.jsonl: one line a run, its summary.json with "experiment",
"machine" and "label". Speed comes from bench/results/*.jsonl (bench/compare.sh). A table stands
between <!-- table: NAME --> and <!-- end of table -->; NAME is accuracy:EXPERIMENT or speed."""
import glob
import json
import math
import os
import re
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS = "docs/results/runs.jsonl"
PAGES = ["README.md", "docs/results.md"]
MARK = re.compile(r"(<!-- table: ([^ ]+) -->\n)(.*?)(<!-- end of table -->)", re.S)


def lines_of(path):
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|" + "|".join("---" for _ in head) + "|"]
    out += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(out) + "\n"


def mean_and_spread(values):
    mean = statistics.mean(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    return f"{mean:.2f} ± {statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def unique(runs, key):
    return ", ".join(sorted({str(run[key]) for run in runs}))


def paired(group, base, key):
    """Mean difference in points from the f32 run of the same seed, with its standard error."""
    diffs = [100 * (run[key] - base[run["seed"]]["test_acc"]) for run in group if run["seed"] in base]
    if not diffs or group[0]["seed"] in base and group[0] is base[group[0]["seed"]]:
        return ""
    if len(diffs) == 1:
        return f"{diffs[0]:+.2f}"
    error = statistics.stdev(diffs) / math.sqrt(len(diffs))
    return f"{statistics.mean(diffs):+.2f} ± {error:.2f}"


def accuracy(experiment):
    runs = [run for run in lines_of(RUNS) if run["experiment"] == experiment]
    if not runs:
        return "(no figures yet)\n"
    groups = {}
    for run in runs:
        groups.setdefault(run["label"], []).append(run)
    base = {run["seed"]: run for run in runs if run["recipe"] == "f32"}
    rows = []
    for label, group in groups.items():
        kept = f"{group[0]['saved_activation_bytes'] / 2**20:.1f}"
        for key, what in (("test_acc", label),
                          ("test_acc_f32_activations", label + ", evaluated with f32 activations")):
            if key in group[0]:
                rows.append([what, group[0]["epochs"],
                             mean_and_spread([100 * run[key] for run in group]),
                             paired(group, base, key), unique(group, "seed"), kept,
                             unique(group, "cpu"), unique(group, "threads")])
    head = ["run", "epochs", "test accuracy, last epoch, %", "from f32, points", "seeds",
            "MiB kept for backward", "ISA", "threads"]
    return (table(head, rows) + "\nMeans over the seeds ± standard error; differences are paired by "
            f"seed. Command: `bench/accuracy.sh {experiment}`. Machine: {unique(runs, 'machine')}.\n")


def speed():
    latest = {}
    for path in sorted(glob.glob("bench/results/*.jsonl")):
        for line in lines_of(path):
            latest[(line["machine"], line["what"], line["threads"])] = line
    if not latest:
        return "(no figures yet)\n"
    rows = []
    for line in latest.values():
        for name, rival in line["rivals"].items():
            rows.append([line["what"], line["threads"], line["cpu"], f"{1000 * line['seconds']:.2f}",
                         name, f"{1000 * rival['seconds']:.2f}",
                         f"{rival['ratio']:.1f} ({rival['ratio_min']:.1f}–{rival['ratio_max']:.1f})"])
    head = ["what", "threads", "ISA", "nybble, ms", "rival", "rival, ms", "ratio (range)"]
    machines = sorted({f"{line['machine']} ({line['cpu_model']})" for line in latest.values()})
    return (table(head, rows) + "\nMedians of rounds in which both took turns (`bench/compare.sh`). "
            f"Machine: {', '.join(machines)}.\n")


def content(name):
    kind, _, rest = name.partition(":")
    if kind == "accuracy":
        return accuracy(rest)
    if name == "speed":
        return speed()
    sys.exit(f"readme_tables: no table is called {name}")


def add(experiment, folders):
    os.makedirs(os.path.dirname(RUNS), exist_ok=True)
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if "model name" in line), "?")
    machine = os.environ.get("BENCH_MACHINE", f"{model}, {os.cpu_count()} CPUs")
    with open(RUNS, "a", encoding="utf-8") as out:
        for folder in folders:
            with open(os.path.join(folder, "summary.json"), encoding="utf-8") as file:
                run = json.load(file)
            label = re.sub(r"-s\d+$", "", os.path.basename(os.path.normpath(folder)))
            run.update(experiment=experiment, machine=machine, label=label)
            out.write(json.dumps(run, sort_keys=True) + "\n")


def main(arguments):
    if arguments[:1] == ["--add"]:
        folders = [os.path.abspath(folder) for folder in arguments[2:]]
        os.chdir(ROOT)
        add(arguments[1], folders)
        arguments = []
    os.chdir(ROOT)
    status = 0
    for page in PAGES:
        with open(page, encoding="utf-8") as file:
            old = file.read()
        new = MARK.sub(lambda m: m[1] + content(m[2]) + m[4], old)
        if new == old:
            continue
        if arguments == ["--check"]:
            print(f"{page}: its tables are not those of the figures; run tools/readme_tables.py")
            status = 1
        else:
            with open(page, "w", encoding="utf-8") as file:
                file.write(new)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
