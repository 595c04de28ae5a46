#!/usr/bin/env python3
"""Writes the tables of README.md and docs/results.md from the figures that are kept in git.

    tools/readme_tables.py            rewrites them
    tools/readme_tables.py --check    exits with 1 if they are out of date
    tools/readme_tables.py --add NAME RUN-FOLDER ...
                                      appends finished runs to docs/results/runs.jsonl as experiment
                                      NAME; a folder is called LABEL-sSEED (bench/accuracy.sh)
    tools/readme_tables.py --csv FILE prints the leaderboard of a .jsonl as CSV

Accuracy comes from docs/results/runs.jsonl: one line a run, its summary.json with "experiment",
"machine" and "label". Speed comes from bench/results/*.jsonl (bench/compare.sh). The leaderboard comes
from docs/results/leaderboard-PRESET.jsonl (bench/leaderboard.sh); its .csv is written, too. A table
stands between <!-- table: NAME --> and <!-- end of table -->; NAME is accuracy:EXPERIMENT, speed (some
rows), speed:all, memory, threads, leaderboard:PRESET, versus:RECIPE,RECIPE or one of performance_tables.py."""
import collections
import glob
import json
import math
import os
import re
import statistics
import sys

import performance_tables

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUNS = "docs/results/runs.jsonl"
BOARD = "docs/results/leaderboard-"
PAGES = ["README.md", "docs/results.md", "docs/leaderboard.md", "docs/performance.md",
         "docs/recipes.md"]
PROGRAM = ("kept",)  # tables of tools/program_tables.py
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
        for key, what in (("test_acc", label),
                          ("test_acc_f32_activations", label + ", evaluated with f32 activations")):
            if key in group[0]:
                rows.append([what, group[0]["epochs"],
                             mean_and_spread([100 * run[key] for run in group]),
                             paired(group, base, key), unique(group, "seed"),
                             unique(group, "cpu"), unique(group, "threads")])
    head = ["run", "epochs", "test accuracy, last epoch, %", "from f32, points", "seeds",
            "ISA", "threads"]
    return (table(head, rows) + "\nMeans over the seeds ± standard error; differences are paired by "
            f"seed. Command: `bench/accuracy.sh {experiment}`. Machine: {unique(runs, 'machine')}.\n")


HEADLINES = ("gemm 1024", "linear 2048", "linear 1x", "conv 3x3 128@28")
RECIPES = ("luq", "luq_lean")  # whose steps are; the faster one is shown
STEP = re.compile(r"(step .* batch \d+)(?: (\S+))?$")


def compared(keep):
    """The latest line of each machine, thing, number of threads and instruction set."""
    latest = {}
    for path in sorted(glob.glob("bench/results/*.jsonl")):
        for line in lines_of(path):
            if "kept_bytes" in line:  # what lines called it that bench/compare.py wrote first
                line["saved_activation_bytes"] = line.pop("kept_bytes")
            if keep(line):
                latest[line["machine"], line["what"], line["threads"], line["cpu"]] = line
    return list(latest.values())


def machines_of(lines):
    return ", ".join(sorted({f"{line['machine']} ({line['cpu_model']})" for line in lines}))


def headlines(lines):
    """Some products on one thread, and the fastest steps on as many threads as were measured, each on
    the machine that measured it last: pairs of what it is called and its line."""
    last, most = {}, {}
    for line in lines:
        key = line["what"], line["cpu"]
        last[key] = max((line["date"], line["machine"]), last.get(key, ("", "")))
    lines = [line for line in lines if last[line["what"], line["cpu"]][1] == line["machine"]]
    for line in lines:
        key = line["what"], line["cpu"]
        most[key] = max(line["threads"], most.get(key, 0))
    chosen = {}
    for line in lines:
        step = STEP.match(line["what"])
        if line["what"].startswith(HEADLINES) and line["threads"] == 1:
            chosen[line["what"], line["cpu"]] = line["what"], line
        elif step and (step[2] or "luq") in RECIPES and line["threads"] == most[line["what"], line["cpu"]]:
            key = step[1], line["cpu"]
            if key not in chosen or line["seconds"] < chosen[key][1]["seconds"]:
                chosen[key] = f"{step[1]} {step[2] or 'luq'}", line
    return sorted(chosen.values(),
                  key=lambda row: (row[1]["cpu"], row[0].startswith("step"), row[0]))


def ratio_of(rival, digits):
    return (f"{rival['ratio']:.{digits}f} ({rival['ratio_min']:.{digits}f}–"
            f"{rival['ratio_max']:.{digits}f})")


def threads_of(line):
    return f"{line['threads']}, pinned" if "pinned_to" in line else line["threads"]


def against(line, kinds):
    """The fastest rival of some kinds."""
    rivals = [(r["ratio"], name, r) for name, r in line["rivals"].items() if name.endswith(kinds)]
    if not rivals:
        return "-"
    ratio, name, rival = min(rivals)
    spread = (f"{rival['ratio_min']:.1f}–{rival['ratio_max']:.1f}" if line["rounds"] > 1
              else "one round")
    return (f"{ratio:.1f} ({spread}) "
            f"{name.rpartition(' ')[0].removesuffix('+cpu')}")


def speed_headlines(lines):
    rows = [[what, line["cpu"], line["machine"], threads_of(line), f"{1000 * line['seconds']:.2f}",
             against(line, ("f32", "fp32")), against(line, ("bf16",)), against(line, ("s8",))]
            for what, line in headlines(lines)]
    head = ["what", "ISA", "machine", "threads", "nybble, ms", "times as fast as fp32", "as bf16", "as int8"]
    return (table(head, rows) + "\nMedian (range) of the rounds in which both took turns; of several rivals "
            f"the fastest. A selection: all {len(lines)} measurements, also of 1x1, strided and depthwise "
            "convolutions, whole layers and few rows, where other rivals are ahead, too, are in "
            "[docs/results.md](docs/results.md#speed). Command: `bench/compare.sh`, with `--cpu` "
            f"the instruction set of all. Machine: {machines_of(line for _, line in headlines(lines))}.\n")


def speed(which):
    """All comparisons, or the headlines of README.md."""
    lines = compared(lambda line: "seconds" in line and not line["what"].startswith("threads"))
    if not lines:
        return "(no figures yet)\n"
    if which != "all":
        return speed_headlines(lines)
    rows = []
    for line in lines:
        for name, rival in line["rivals"].items():
            rows.append([line["what"], threads_of(line), line["cpu"], line["machine"], line["rounds"],
                         f"{1000 * line['seconds']:.2f}", name, f"{1000 * rival['seconds']:.2f}",
                         ratio_of(rival, 2 if rival["ratio"] < 0.5 else 1)])
    head = ["what", "threads", "ISA", "machine", "rounds", "nybble, ms", "rival", "rival, ms", "ratio (range)"]
    return (table(head, rows) + "\nMedians of rounds in which both took turns (`bench/compare.sh`, with `--cpu` the "
            "instruction set of all). "
            f"Machine: {machines_of(lines)}.\n")


def more_threads():
    lines = compared(lambda line: line["what"].startswith("threads"))
    if not lines:
        return "(no figures yet)\n"
    rows = []
    for line in lines:
        alone = next(iter(line["rivals"].values()))
        rows.append([line["what"].partition(": ")[2], line["machine"], line["cpu"],
                     f"{1000 * alone['seconds']:.1f}", line["threads"],
                     f"{1000 * line['seconds']:.1f}",
                     f"{alone['ratio']:.2f} ({alone['ratio_min']:.2f}–{alone['ratio_max']:.2f})"])
    head = ["what", "machine", "ISA", "1 thread, ms", "threads", "ms", "speed-up (range)"]
    return table(head, rows) + "\nCommand: `bench/compare.sh --rows threads`.\n"


def memory():
    lines = compared(lambda line: "saved_activation_bytes" in line)
    if not lines:
        return "(no figures yet)\n"
    rows = []
    for line in lines:
        for name, n_bytes in line["rival_bytes"].items():
            rows.append([line["what"].partition(" ")[2], line["machine"], line["cpu"],
                         f"{line['saved_activation_bytes'] / 2**20:.1f}", f"{line['step_bytes'] / 2**20:.1f}",
                         name, f"{n_bytes / 2**20:.1f}", f"{n_bytes / line['saved_activation_bytes']:.1f}",
                         f"{n_bytes / line['step_bytes']:.1f}"])
    head = ["what", "machine", "ISA", "kept for backward, MiB", "planned for a step, MiB", "rival",
            "growth in a step, MiB", "growth / kept", "growth / planned"]
    return table(head, rows) + "\nCommand: `bench/compare.sh --rows memory`.\n"


# ---- the leaderboard: as cli/board_report.c, which the test cli-board compares ------------------

def deviation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def is_time(record):
    return record.get("kind") == "time"


def board_runs(path):
    """Every run once; of several definitions of a recipe the one that was recorded last."""
    runs = {}
    for run in lines_of(path):
        if is_time(run):
            continue
        runs.setdefault((run["model"], run["setup"], run["recipe"], run["hash"], run["seed"]), run)
    last = {(run["model"], run["setup"], run["recipe"]): run["hash"] for run in runs.values()}
    return [run for run in runs.values()
            if last[run["model"], run["setup"], run["recipe"]] == run["hash"]]


def machine_of(run):
    return (run["machine"], run["cpu"], run["threads"])


def board_times(path):
    """(model, setup) -> machine that was timed last; and all times."""
    clocks, times = {}, {}
    for record in lines_of(path):
        if is_time(record):
            clocks[record["model"], record["setup"]] = machine_of(record)
            key = (record["model"], record["recipe"], record["hash"], machine_of(record))
            times[key] = record
    return clocks, times


def board_row(recipe, runs, base, clock, times):
    measured = (times or {}).get((runs[-1]["model"], recipe, runs[-1]["hash"], clock), {})
    kept = measured if "saved_activation_bytes" in measured else runs[-1]
    good = [run for run in runs if not run["diverged"]]
    row = {"recipe": recipe, "engine": runs[-1]["engine"], "emulated": runs[-1]["emulated"],
           "seeds": len(runs), "diverged": len(runs) - len(good), "mean": None, "sd": None,
           "diff": None, "se": None, "beyond": False, "rate": None,
           "kept": kept["saved_activation_bytes"], "codes": kept["saved_quantized_bytes"],
           "energy": runs[-1].get("energy_pj")}
    accuracies = [run["test_acc"] for run in good]
    rates = sorted(run["samples_per_s"] for run in good if machine_of(run) == clock
                   and not run["emulated"] and run["samples_per_s"])
    diffs = [run["test_acc"] - base[run["seed"]]["test_acc"]
             for run in good if recipe != "f32" and run["seed"] in base]
    row["pairs"] = len(diffs)
    if accuracies:
        row["mean"] = sum(accuracies) / len(accuracies)
    if len(accuracies) > 1:
        row["sd"] = deviation(accuracies)
    if times is not None:
        row["rate"] = None if row["emulated"] else measured.get("samples_per_s")
    elif rates:
        row["rate"] = statistics.median(rates)
    if diffs:
        row["diff"] = sum(diffs) / len(diffs)
    if len(diffs) > 1:
        row["se"] = deviation(diffs) / math.sqrt(len(diffs))
        row["beyond"] = not row["diverged"] and abs(row["diff"]) > 2 * row["se"]
    return row


def board_tables(path):
    """(model, setup) -> rows, the machine whose times are shown, the runs."""
    tables = {}
    clocks, times = board_times(path)
    for run in board_runs(path):
        tables.setdefault((run["model"], run["setup"]), []).append(run)
    for key, runs in tables.items():
        # the first of the most frequent ones, as in C
        clock = collections.Counter(machine_of(run) for run in runs).most_common(1)[0][0]
        clock = clocks.get(key, clock)
        base = {run["seed"]: run for run in runs if run["recipe"] == "f32" and not run["diverged"]}
        groups = {}
        for run in runs:
            groups.setdefault(run["recipe"], []).append(run)
        rows = [board_row(recipe, group, base, clock, times if key in clocks else None)
                for recipe, group in groups.items()]
        rows.sort(key=lambda row: (row["recipe"] != "f32", row["mean"] is None, -(row["mean"] or 0),
                                   row["recipe"]))
        yield key, rows, clock, runs


def plus_minus(form, value, error):
    text = form.format(100 * value)
    return text if error is None else f"{text} ± {100 * error:.2f}"


def leaderboard(preset):
    path = f"{BOARD}{preset}.jsonl"
    out = []
    for (model, setup), rows, clock, runs in board_tables(path):
        cells = []
        for row in rows:
            accuracy = "diverged"
            if row["mean"] is not None:
                accuracy = plus_minus("{:.2f}", row["mean"], row["sd"])
            diff = "-" if row["diff"] is None else plus_minus("{:+.2f}", row["diff"], row["se"])
            rate = "(emulated)" if row["emulated"] else f"{row['rate']:.0f}" if row["rate"] else "-"
            seeds = str(row["seeds"]) + (f", {row['diverged']} diverged" if row["diverged"] else "")
            energy = "-"
            if rows[0]["recipe"] == "f32" and rows[0]["energy"] and row["energy"]:
                energy = f"{100 * row['energy'] / rows[0]['energy']:.1f}"
            cells.append([f"`{row['recipe']}`", row["engine"], accuracy,
                          diff + (" *" if row["beyond"] else ""), rate,
                          f"{row['kept'] / runs[0]['batch'] / 1024:.1f}", energy, seeds])
        commits = ", ".join(sorted({run["commit"] for run in runs if run["commit"]})) or "-"
        times = "Times have not been measured."
        if any(row["rate"] for row in rows):
            times = (f"Times: {clock[0]}, {clock[1]}, {clock[2]} thread" +
                     "s" * (clock[2] != 1) + ".")
        out.append(table(["recipe", "engine", "accuracy, %", "vs f32, points", "samples/s",
                          "kept, KiB/sample", "energy, % of f32", "seeds"], cells) +
                   f"\nModel and options: `--models {model} {setup}`. Seeds: {unique(runs, 'seed')}. "
                   f"Accuracies from: {unique(runs, 'machine')}; commits {commits}. "
                   f"{times}\n")
    return "\n".join(out) or "(no figures yet)\n"


def versus(name, other):
    """One recipe against another, of all presets that have both."""
    cells = []
    for path in sorted(glob.glob(BOARD + "*.jsonl")):
        for (model, _), rows, clock, runs in board_tables(path):
            by = {r: {run["seed"]: run["test_acc"] for run in runs if run["recipe"] == r} for r in (name, other)}
            rates = {row["recipe"]: row["rate"] for row in rows}
            diffs = [by[name][seed] - by[other][seed] for seed in sorted(by[name]) if seed in by[other]]
            if len(diffs) < 2:
                continue
            mean, error = statistics.mean(diffs), deviation(diffs) / math.sqrt(len(diffs))
            speed = "-"
            if rates.get(name) and rates.get(other):
                speed = f"{rates[name] / rates[other]:.2f} ({clock[0]}, {clock[1]})"
            cells.append([model, plus_minus("{:+.2f}", mean, error) + (" *" if abs(mean) > 2 * error else ""),
                          ", ".join(f"{100 * d:+.2f}" for d in diffs), speed])
    return table(["model", f"`{name}` - `{other}`, points", "seed by seed", "times its speed"], cells)


def board_csv(path):
    def number(value):
        return "" if value is None else f"{value:.9g}"

    def quoted(text):
        return '"' + text.replace('"', '""') + '"'

    out = ["model,recipe,engine,emulated,seeds,diverged,test_acc_mean,test_acc_sd,pairs,diff_mean,"
           "diff_se,beyond_2se,samples_per_s,saved_activation_bytes,saved_quantized_bytes,energy_pj,"
           "batch,setup"]
    for (model, setup), rows, _, runs in board_tables(path):
        for row in rows:
            out.append(",".join([
                quoted(model), quoted(row["recipe"]), row["engine"], str(int(row["emulated"])),
                str(row["seeds"]), str(row["diverged"]), number(row["mean"]), number(row["sd"]),
                str(row["pairs"]), number(row["diff"]), number(row["se"]), str(int(row["beyond"])),
                number(row["rate"]), number(row["kept"]), number(row["codes"]), number(row["energy"]),
                number(runs[0]["batch"]), quoted(setup)]))
    return "\n".join(out) + "\n"


def content(name):
    kind, _, rest = name.partition(":")
    if kind == "accuracy":
        return accuracy(rest)
    if kind == "speed":
        return speed(rest)
    if name == "memory":
        return memory()
    if name == "threads":
        return more_threads()
    if kind == "leaderboard":
        return leaderboard(rest)
    if kind == "versus":
        return versus(*rest.split(","))
    made = performance_tables.content(name)
    if made is None:
        sys.exit(f"readme_tables: no table is called {name}")
    return made


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


def update(path, new, only_check):
    """Writes a file unless it is as it should be; 1 if it is not and may not be written."""
    old = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.read()
    if new == old:
        return 0
    if only_check:
        print(f"{path}: its tables are not those of the figures; run tools/readme_tables.py")
        return 1
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)
    return 0


def main(arguments):
    if arguments[:1] == ["--csv"]:
        sys.stdout.write(board_csv(arguments[1]))
        return 0
    if arguments[:1] == ["--add"]:
        folders = [os.path.abspath(folder) for folder in arguments[2:]]
        os.chdir(ROOT)
        add(arguments[1], folders)
        arguments = []
    os.chdir(ROOT)
    only_check = arguments == ["--check"]
    status = 0
    for page in PAGES:
        with open(page, encoding="utf-8") as file:
            text = file.read()
        made = MARK.sub(lambda m: m[0] if m[2] in PROGRAM else m[1] + content(m[2]) + m[4], text)
        status |= update(page, made, only_check)
    for path in sorted(glob.glob(BOARD + "*.jsonl")):
        status |= update(path[:-len("jsonl")] + "csv", board_csv(path), only_check)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
