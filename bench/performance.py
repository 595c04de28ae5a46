#!/usr/bin/env python3
"""Measures what docs/performance.md tells: limits, splits of a step, time against size.

    bench/performance.py                       everything, one thread
    bench/performance.py --only machine,split  some of it
    tools/readme_tables.py                     makes the tables of it

Appends JSON lines to bench/results/performance/MACHINE.jsonl; MACHINE is $BENCH_MACHINE or the host's
name. What is measured again replaces, in the tables, what was there."""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

SPLITS = ("luq", "f32")
BATCHES = (8, 16, 32, 64, 128, 256)
WIDTHS = (128, 256, 512, 1024, 2048)
DEPTHS = (20, 32, 44, 56)
THREADS = (1, 2, 4, 8, 16, 32)


def series():
    """(series, x, words of nybble bench)"""
    yield "machine", 0, ["machine"]
    for recipe in SPLITS:
        yield f"split {recipe}", 0, ["step", "--model", "resnet18", "--input", "3x32x32", "--batch",
                                     "64", "--recipe", recipe]
    for recipe in SPLITS:
        for n in BATCHES:
            yield f"batch {recipe}", n, ["step", "--model", "resnet20", "--input", "3x32x32",
                                         "--batch", str(n), "--recipe", recipe]
        for n in WIDTHS:
            yield f"width {recipe}", n, ["step", "--model", f"mlp:{n},{n},{n}", "--input", "1x28x28",
                                         "--batch", "256", "--recipe", recipe]
        for n in DEPTHS:
            yield f"depth {recipe}", n, ["step", "--model", f"resnet{n}", "--input", "3x32x32",
                                         "--batch", "32", "--recipe", recipe]
    for n in THREADS:
        yield "threads luq", n, ["step", "--model", "resnet20", "--input", "3x32x32", "--batch", "128",
                                 "--recipe", "luq", "--threads", str(n)]


def compact(result):
    """Without what can be computed from the rest."""
    for group in result["split"]["kinds"] + result["split"]["layers"]:
        for key in ("share", "bytes_per_s", "macs_per_s"):
            group.pop(key)
    return result


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if "model name" in line),
                    platform.processor())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="machine,split,batch,width,depth,threads")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu", default="auto")
    parser.add_argument("--time", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--build", default="build")
    args = parser.parse_args()
    machine = os.environ.get("BENCH_MACHINE", platform.node())
    folder = "bench/results/performance"
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    os.makedirs(folder, exist_ok=True)
    for name, x, words in series():
        if not {name, name.split()[0]} & set(args.only.split(",")):
            continue
        # The limits are those of one thread and of all, whatever --threads says.
        threads = os.cpu_count() if name == "machine" else args.threads
        if name == "threads luq":
            threads = x
        else:
            words = [*words, "--threads", str(threads)]
        command = [f"{args.build}/cli/nybble", "bench", *words, "--cpu", args.cpu, "--time",
                   str(args.time), "--repeats", str(args.repeats), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        result = json.loads(done.stdout)
        line = {"machine": machine, "cpu_model": cpu_model(), "date": time.strftime("%Y-%m-%d"),
                "series": name, "x": x, "cpu": result["cpu"], "threads": threads,
                "command": " ".join(command).replace(args.build + "/cli/", "")}
        if name.startswith("split"):
            line["result"] = compact(result)
        elif name == "machine":
            line["result"] = result
        else:
            line["seconds"] = result["lines"][0]["median_s"]
        with open(f"{folder}/{machine}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(name, x, f"{line['seconds']:.5f} s" if "seconds" in line else "")


if __name__ == "__main__":
    main()
