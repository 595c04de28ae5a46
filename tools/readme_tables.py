#!/usr/bin/env python3
"""Writes the tables of README.md and docs/results.md from the figures that are kept in git.

    tools/readme_tables.py            rewrites them
    tools/readme_tables.py --check    exits with 1 if they are out of date
    tools/readme_tables.py --add NAME RUN-FOLDER ...
                                      appends finished runs to docs/results/runs.jsonl as experiment
                                      NAME; the folders' config.txt gives the options

Accuracy comes from docs/results/runs.jsonl: one line a run, its summary.json with "experiment",
"machine" and "command". Speed comes from bench/results/*.jsonl (bench/compare.sh). A table stands
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


def accuracy(experiment):
    runs = [run for run in lines_of(RUNS) if run["experiment"] == experiment]
    if not runs:
        return "(no figures yet)\n"
    groups = {}
    for run in runs:
        groups.setdefault((run["model"], run["recipe"], run["epochs"]), []).append(run)
    rows = []
    for (model, recipe, epochs), group in groups.items():
        rows.append([model, f"`{recipe}`", epochs,
                     mean_and_spread([100 * run["test_acc"] for run in group]),
                     unique(group, "seed"),
                     f"{statistics.median(run['seconds'] for run in group):.0f}",
                     f"{statistics.median(run['samples_per_s'] for run in group):.0f}",
                     f"{group[0]['saved_activation_bytes'] / 2**20:.1f}",
                     unique(group, "cpu"), unique(group, "threads")])
    head = ["model", "recipe", "epochs", "test accuracy, last epoch, %", "seeds", "s", "samples/s",
            "MiB kept", "ISA", "threads"]
    commands = sorted({re.sub(r"--(seed|out|recipe) \S+", r"--\1 ...", run["command"]) for run in runs})
    return (table(head, rows) + f"\nMean over the seeds ± its standard error. Machine: "
            f"{unique(runs, 'machine')}. " + " ".join(f"`{command}`" for command in commands) + "\n")


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


def option_line(folder):
    """The command that made a run, from its config.txt; recipe keys only where they were set."""
    keys = ("data", "model", "recipe", "epochs", "batch", "lr", "schedule", "seed", "limit-train")
    options = []
    with open(os.path.join(folder, "config.txt"), encoding="utf-8") as file:
        for line in file:
            key, equals, value = (part.strip() for part in line.partition("="))
            if equals and key in keys and value not in ("", "0"):
                options.append(f"--{key} {value}")
    return " ".join(["nybble train", *options])


def add(experiment, folders):
    os.makedirs(os.path.dirname(RUNS), exist_ok=True)
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if "model name" in line), "?")
    machine = os.environ.get("BENCH_MACHINE", f"{model}, {os.cpu_count()} CPUs")
    with open(RUNS, "a", encoding="utf-8") as out:
        for folder in folders:
            with open(os.path.join(folder, "summary.json"), encoding="utf-8") as file:
                run = json.load(file)
            run.update(experiment=experiment, machine=machine, command=option_line(folder))
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
