#!/usr/bin/env python3
"""Runs nybble and its rivals in turns and appends one JSON line a comparison; see compare.sh.

Every round runs ours, then theirs, so that a slow minute of the machine hurts both; the ratio is
the median of the rounds' ratios, printed with its extremes."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

NYBBLE = "build/cli/nybble"
RIVALS = "build/bench/rivals"


def run_json(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def last_median(result):
    return result["lines"][-1]["median_s"]  # of linear: the sum


class Comparison:
    """Rounds of one of ours and some of theirs: names to functions that give seconds."""

    def __init__(self, args, what, command, ours, theirs):
        self.args, self.what, self.command, self.ours, self.theirs = args, what, command, ours, theirs

    def run(self, out):
        ours, rivals = [], {}
        for _ in range(self.args.rounds):
            ours.append(self.ours())
            for name, seconds in self.theirs().items():
                rivals.setdefault(name, []).append(seconds)
        line = {"machine": self.args.machine, "cpu_model": cpu_model(), "cpu": self.args.info["cpu"],
                "version": self.args.info["version"], "date": time.strftime("%Y-%m-%d"),
                "threads": self.args.threads, "rounds": self.args.rounds, "what": self.what,
                "command": self.command, "seconds": statistics.median(ours), "rivals": {}}
        print(f"{self.what}, {self.args.threads} threads: {line['seconds']:.6f} s")
        for name, seconds in rivals.items():
            ratios = [r / o for o, r in zip(ours, seconds)]
            line["rivals"][name] = {"seconds": statistics.median(seconds),
                                    "ratio": statistics.median(ratios),
                                    "ratio_min": min(ratios), "ratio_max": max(ratios)}
            print(f"    {name}: {statistics.median(seconds):.6f} s, "
                  f"{statistics.median(ratios):.2f} times ours "
                  f"({min(ratios):.2f} to {max(ratios):.2f})")
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def products(args, threads):
    """GEMM and linear steps against OpenBLAS."""
    if not os.path.exists(RIVALS):
        print("no OpenBLAS (apt-get install libopenblas-dev, then make): left out", file=sys.stderr)
        return
    time_ms = "200" if args.quick else "1000"
    for bench, (m, n, k), more in (("gemm", (1024, 1024, 1024), ["--a", "int4", "--b", "int4"]),
                                   ("linear", (2048, 1024, 1024), ["--recipe", "luq"])):
        shape = [str(m), str(n), str(k)]
        ours = [NYBBLE, "bench", bench, "--m", shape[0], "--n", shape[1], "--k", shape[2], *more,
                "--threads", threads, "--time", time_ms, "--json"]
        theirs = [RIVALS, bench, *shape, threads, time_ms]

        def blas(theirs=theirs):
            result = run_json(theirs)
            return {result["rival"] + " f32": result["median_s"]}

        Comparison(args, f"{bench} {'x'.join(shape)}", " ".join(ours),
                   lambda ours=ours: last_median(run_json(ours)), blas).run(args.out)


def steps(args, threads):
    """A training step against PyTorch."""
    python = os.environ.get("PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
        print("no torch in " + python + ": left out", file=sys.stderr)
        return
    ours = [NYBBLE, "bench", "step", "--model", "resnet18", "--input", "3x32x32", "--batch", "64",
            "--recipe", "luq", "--threads", threads, "--json"]
    theirs = [python, "bench/compare_torch.py", "--threads", threads, "--repeats",
              "3" if args.quick else "5"]

    def torch():
        result = run_json(theirs)
        return {result["rival"] + " " + name: result[name]["median_s"] for name in ("fp32", "bf16")}

    Comparison(args, "step resnet18 3x32x32 batch 64", " ".join(ours),
               lambda: last_median(run_json(ours)), torch).run(args.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, action="append", help="may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one short round")
    args = parser.parse_args()
    args.info = run_json([NYBBLE, "info", "--json"])
    args.machine = os.environ.get("BENCH_MACHINE", platform.node())
    if args.quick:
        args.rounds = 1
    os.makedirs("bench/results", exist_ok=True)
    args.out = f"bench/results/{args.machine}.jsonl"
    for n in args.threads or [1, os.cpu_count()]:
        args.threads = n
        products(args, str(n))
        steps(args, str(n))


if __name__ == "__main__":
    main()
