#!/usr/bin/env python3
"""Runs nybble and its rivals in turns and appends one JSON line a comparison; see compare.sh.

Every round runs ours, then theirs, so that a slow minute of the machine hurts both; the ratio is
the median of the rounds' ratios, printed with its extremes. With one thread all of them are pinned to
the same CPU, with more to none."""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# What caps the instruction set of a rival, for each level of ours.
CAPS = {
    "avx2": {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2",
             "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2",
             "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512vnni": {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx512",
                   "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI", "DNNL_MAX_CPU_ISA": "AVX512_CORE_VNNI",
                   "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    "auto": {},
}
SQUARE = {"64": (56, 64), "128": (28, 128), "256": (14, 256), "512": (7, 512)}
# Pixels of a side, channels of x and y, kernel, stride; those of ResNets and of a MobileNet.
CONVS = {**{f"conv{row}": (size, c, c, 3, 1) for row, (size, c) in SQUARE.items()},
         "conv64s2": (56, 64, 128, 3, 2), "conv128s2": (28, 128, 256, 3, 2),
         "pointwise256": (56, 256, 64, 1, 1), "pointwise1024": (14, 1024, 256, 1, 1),
         "pointwise64s2": (56, 64, 128, 1, 2), "pointwise256s2": (14, 256, 512, 1, 2)}
# As many channels of y; one filter each.
DEPTHWISE = {"depthwise128": (56, 128, 1), "depthwise512": (14, 512, 1),
             "depthwise256s2": (28, 256, 2)}
BATCH = 16
STEPS = {"resnet18": ("resnet18", "3x32x32", 64, 10),
         "resnet18-imagenet": ("resnet18", "3x224x224", 32, 1000),
         "resnet20": ("resnet20", "3x32x32", 128, 10)}


CPUS = os.sched_getaffinity(0)


class Failed(Exception):
    pass


def last_line(result):
    return result["lines"][-1]["median_s"]


def cpus_of(threads):
    """Where processes of so many threads run: the last CPU, as the first often serves the devices."""
    return {max(CPUS)} if threads == 1 else CPUS


def of_stride(stride):
    return "" if stride == 1 else f"/{stride}"


def sum_of(products):
    hows = dict.fromkeys(result["how"] for result in products.values())
    return {"median_s": sum(result["median_s"] for result in products.values()),
            "how": ", ".join(hows)}


class Comparer:
    def __init__(self, args):
        self.args = args
        self.build = args.build
        self.nybble = f"{self.build}/cli/nybble"
        self.env = dict(os.environ, **CAPS[args.cpu], OMP_NUM_THREADS=str(args.threads))
        self.flags = cpu_flags()
        self.deadline = None
        self.layouts = {}

    # ---- running ------------------------------------------------------------------------------

    def json_of(self, command, threads=None):
        """threads: of the command, if not as many as of the comparison."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failed("no time left")
        os.sched_setaffinity(0, cpus_of(threads or self.args.threads))  # children inherit it
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=self.env, timeout=left,
                                  check=False)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"stopped after {left:.0f} s: {' '.join(command)}") from error
        if done.returncode:
            raise Failed(done.stderr.strip() or f"status {done.returncode}: {' '.join(command)}")
        return json.loads(done.stdout)

    def result_of(self, command):
        """Of a list of commands: a list."""
        if isinstance(command[0], list):
            return [self.json_of(each) for each in command]
        return self.json_of(command)

    def ours(self, *words):
        """A command of nybble, as a list."""
        return [self.nybble, "bench", *words, "--cpu", self.args.cpu, "--threads",
                str(self.args.threads), "--time", str(self.args.time), "--json"]

    def python(self):
        python = os.environ.get("PYTHON", sys.executable)
        if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
            return None
        return python

    def has_bf16(self):
        if self.args.cpu != "auto":
            return False
        return "avx512_bf16" in self.flags or "amx_bf16" in self.flags

    # ---- reporting ----------------------------------------------------------------------------

    def write(self, line):
        with open(self.args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def header(self, what, command):
        if isinstance(command[0], list):
            command = [word for each in command for word in (*each, "and")][:-1]
        line = {"machine": self.args.machine, "cpu_model": cpu_model(), "cpu": self.args.level,
                "version": self.args.info["version"], "date": time.strftime("%Y-%m-%d"),
                "threads": self.args.threads, "what": what,
                "command": " ".join(command).replace(self.build + "/", "build/")}
        if self.args.threads == 1:
            line["pinned_to"] = max(cpus_of(1))
        return line

    def compare(self, commands, theirs):
        """commands: pairs of one of ours (or several) and {name of what is compared: function of its result};
        theirs() is {name: {rival: {"median_s": seconds, "how": what ran, if known}}} and may be several
        runs. One line for each name."""
        self.deadline = time.monotonic() + self.args.limit
        ours, rivals, rounds, longest = {}, {}, 0, 0.0
        note = ""
        while rounds < self.args.rounds:
            start = time.monotonic()
            if rounds and start + longest > self.deadline:
                break
            try:
                results = [self.result_of(command) for command, _ in commands]
                others = theirs()
            except Failed as error:
                note = str(error)
                break
            for (_, names), result in zip(commands, results):
                for name, seconds in names.items():
                    ours.setdefault(name, []).append(seconds(result))
                    for rival, measured in others.get(name, {}).items():
                        rivals.setdefault(name, {}).setdefault(rival, []).append(measured)
            rounds += 1
            longest = max(longest, time.monotonic() - start)
        if note:
            print(f"    {note}", file=sys.stderr)
        if not rounds:
            return
        for command, names in commands:
            for name in names:
                self.report(name, command, ours[name], rivals.get(name, {}))

    def report(self, what, command, ours, rivals):
        line = self.header(what, command)
        line.update(rounds=len(ours), seconds=statistics.median(ours), rivals={})
        print(f"{what}, {self.args.threads} threads, {line['cpu']}: {line['seconds']:.6f} s")
        for name, measured in rivals.items():
            seconds = [m["median_s"] for m in measured]
            ratios = [r / o for o, r in zip(ours, seconds)]
            line["rivals"][name] = {"seconds": statistics.median(seconds),
                                    "ratio": statistics.median(ratios),
                                    "ratio_min": min(ratios), "ratio_max": max(ratios)}
            if "how" in measured[0]:
                line["rivals"][name]["how"] = measured[0]["how"]
            print(f"    {name}: {statistics.median(seconds):.6f} s, "
                  f"{statistics.median(ratios):.2f} times ours "
                  f"({min(ratios):.2f} to {max(ratios):.2f})")
        self.write(line)

    # ---- rivals -------------------------------------------------------------------------------

    def openblas(self, bench, shape):
        program = f"{self.build}/bench/rival_openblas"
        if not os.path.exists(program):
            return {}
        result = self.json_of([program, bench, *shape, str(self.args.threads), str(self.args.time)])
        return {result["rival"] + " f32": result}

    def without_bf16(self, types):
        return [word for word in types if word != "bf16" or self.has_bf16()]

    def onednn(self, bench, types, shape):
        """{rival: {product: what was measured}}"""
        program = f"{self.build}/bench/rival_onednn"
        found = {}
        for word in self.without_bf16(types) if os.path.exists(program) else ():
            result = self.json_of([program, bench, word, *shape, str(self.args.time)])
            products = {p: result[p] for p in ("fwd", "dx", "dw") if p in result}
            if "median_s" in result:
                products["all"] = result
            if products:
                found[result["rival"]] = products
        return found

    def onednn_of_torch(self, bench, types, shape):
        """The same of PyTorch's oneDNN."""
        python = self.python()
        if not python:
            return {}
        return self.json_of([python, f"{HERE}/rival_torch.py", bench,
                             ",".join(self.without_bf16(types)), *shape, str(self.args.threads),
                             str(self.args.time)])

    def both_onednn(self, bench, types, shape):
        return {**self.onednn(bench, types, shape), **self.onednn_of_torch(bench, types, shape)}

    # ---- rows ---------------------------------------------------------------------------------

    def products(self, bench, sizes, more):
        shape = [str(n) for n in sizes]
        what = f"{bench} {'x'.join(shape)}"

        def theirs():
            rivals = self.openblas(bench, shape)
            for name, products in self.both_onednn(bench, ("f32", "s8", "bf16"), shape).items():
                rivals[name] = sum_of(products)
            return {what: rivals}

        command = self.ours(bench, "--m", shape[0], "--n", shape[1], "--k", shape[2], "--rival",
                            "none", *more)
        self.compare([(command, {what: last_line})], theirs)

    def conv(self, row):
        size, c, o, kernel, stride = CONVS[row]
        channels = str(c) if c == o else f"{c}-{o}"
        self.convolution(f"conv {kernel}x{kernel}{of_stride(stride)} {channels}@{size}",
                         (size, c, o, kernel, stride), 1, ())

    def depthwise(self, row):
        size, c, stride = DEPTHWISE[row]
        self.convolution(f"depthwise 3x3{of_stride(stride)} {c}@{size}", (size, c, c, 3, stride), c,
                         ("--depthwise",))

    def convolution(self, title, geometry, groups, more):
        size, c, o, kernel, stride = geometry
        pad = kernel // 2
        names, keys = {}, {"fwd": "y = x w'", "dx": "dx = dy w", "dw": "dw = dy' x"}
        for product, key in keys.items():
            names[f"{title} batch {BATCH} {product}"] = (
                lambda r, key=key: next(l["median_s"] for l in r["lines"] if l["name"] == key))

        def theirs():
            shape = [str(v) for v in (BATCH, size, c, o, kernel, stride, pad, groups)]
            rivals = {}
            for rival, products in self.both_onednn("conv", ("f32", "bf16"), shape).items():
                for what, product in zip(names, keys):
                    if product in products:
                        rivals.setdefault(what, {})[rival] = products[product]
            return rivals

        command = self.ours("conv", "--n", str(BATCH), "--h", str(size), "--c", str(c), "--o", str(o),
                            "--kernel", str(kernel), "--stride", str(stride), "--pad", str(pad), *more,
                            "--recipe", "luq", "--rival", "none")
        self.compare([(command, names)], theirs)

    def layer(self, row):
        """Forward and backward of conv 3x3 + batchnorm + relu inside a plain net: what four such
        layers more add to its step, their update included; oneDNN's alone, without one."""
        size, channels = SQUARE[row.removeprefix("layer")]
        n, commands = BATCH, []
        for recipe in ("luq", "luq_lean"):
            steps = [self.ours("step", "--model", f"plain:{depth},{channels}", "--input",
                               f"{channels}x{size}x{size}", "--batch", str(n), "--recipe", recipe)
                     for depth in (2, 6)]
            name = (f"layer conv 3x3 + batchnorm + relu {channels}@{size} batch {n}" +
                    ("" if recipe == "luq" else f" {recipe}"))
            commands.append((steps, {name: lambda r: (last_line(r[1]) - last_line(r[0])) / 4}))

        def theirs():
            shape = [str(v) for v in (n, size, channels)]
            rivals = {rival: products["all"]
                      for rival, products in self.onednn("layer", ("f32", "bf16"), shape).items()}
            return {name: rivals for _, names in commands for name in names}

        self.compare(commands, theirs)

    def encode(self):
        command = self.ours("quant", "--a", "e3m0", "--m", "2048", "--k", "1024")
        what = "scale and encode e3m0 2048x1024"
        self.compare([(command, {what: lambda r: r["lines"][0]["median_s"]})],
                     lambda: {what: {"a pure read":
                                     self.json_of(command)["lines"][1]}})

    def torch(self, row, types, *more):
        model, image, batch, classes = STEPS[row]
        python = self.python()
        if not python:
            return None
        return self.json_of([python, f"{HERE}/compare_torch.py", "--threads", str(self.args.threads),
                             "--model", model, "--input", image, "--batch", str(batch), "--classes",
                             str(classes), "--repeats", str(self.args.repeats), "--types",
                             ",".join(types), "--format", self.layouts.get(row, "auto"), *more])

    def step_command(self, row, recipe):
        model, image, batch, classes = STEPS[row]
        recipe, *keys = recipe.split("+")
        return self.ours("step", "--model", model, "--input", image, "--batch", str(batch),
                         "--classes", str(classes), "--recipe", recipe,
                         *(f"--set={key}" for key in keys), "--repeats",
                         str(min(5, self.args.repeats)))

    def step(self, row, recipes):
        model, image, batch, _ = STEPS[row]
        names = {recipe: f"step {model} {image} batch {batch}" +
                 ("" if recipe == "luq" else f" {recipe}") for recipe in recipes}
        types = self.without_bf16(["fp32", "bf16"])

        def theirs():
            result = self.torch(row, types)
            if result is None:
                return {}
            self.layouts[row] = result["fp32"]["memory_format"]
            rivals = {f"{result['rival']} {t}": result[t] for t in types}
            return {name: rivals for name in names.values()}

        self.compare([(self.step_command(row, recipe), {name: last_line})
                      for recipe, name in names.items()], theirs)

    def threads(self):
        """Ours with all threads and, pinned, with one."""
        command = self.step_command("resnet18", "luq")
        alone = [word if command[i - 1] != "--threads" else "1" for i, word in enumerate(command)]
        what = "threads: step resnet18 3x32x32 batch 64"
        self.compare([(command, {what: last_line})],
                     lambda: {what: {"nybble, 1 thread": self.json_of(alone, 1)["lines"][-1]}})

    def memory(self):
        """Not a time: what is kept, and what a step adds to the process."""
        self.deadline = time.monotonic() + self.args.limit
        try:
            result = self.torch("resnet18", ["fp32"], "--memory")
            for recipe in ("f32", "luq", "luq_lean", REPEATING):
                command = self.step_command("resnet18", recipe)
                ours = self.json_of(command)
                line = self.header(f"memory resnet18 3x32x32 batch 64 {recipe}", command)
                line.update(saved_activation_bytes=ours["saved_activation_bytes"],
                            step_bytes=ours["step_bytes"],
                            rival_bytes={} if result is None else
                            {result["rival"] + " fp32": result["growth"]["bytes"]})
                print(f"{line['what']}: kept {line['saved_activation_bytes']}, planned for a step "
                      f"{line['step_bytes']}, {line['rival_bytes']}")
                self.write(line)
        except Failed as error:
            print(f"    {error}", file=sys.stderr)


LAYERS = [f"layer{row}" for row in SQUARE]
SKINNY = (1, 8, 32)
REPEATING = "luq+recompute=products"
ROWS = {
    "gemm1024": lambda c: c.products("gemm", (1024, 1024, 1024), ["--a", "int4", "--b", "int4"]),
    "gemm2048": lambda c: c.products("gemm", (2048, 2048, 2048), ["--a", "int4", "--b", "int4"]),
    "linear": lambda c: c.products("linear", (2048, 1024, 1024), ["--recipe", "luq"]),
    **{f"gemm{m}": lambda c, m=m: c.products("gemm", (m, 1024, 1024), ["--a", "int4", "--b", "int4"])
       for m in SKINNY},
    **{f"linear{m}": lambda c, m=m: c.products("linear", (m, 1024, 1024), ["--recipe", "luq"])
       for m in SKINNY},
    **{row: lambda c, row=row: c.conv(row) for row in CONVS},
    **{row: lambda c, row=row: c.depthwise(row) for row in DEPTHWISE},
    **{row: lambda c, row=row: c.layer(row) for row in LAYERS},
    "encode": Comparer.encode,
    "resnet18": lambda c: c.step("resnet18", ("luq", "luq_lean", REPEATING, "f32")),
    "resnet18-imagenet": lambda c: c.step("resnet18-imagenet", ("luq", "luq_lean")),
    "resnet20": lambda c: c.step("resnet20", ("luq", "luq_lean")),
    "memory": Comparer.memory,
    "threads": Comparer.threads,
}


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def cpu_flags():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split() for line in file if line.startswith("flags")), [])


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0],
                                     epilog="rows: " + ", ".join(ROWS))
    parser.add_argument("--threads", type=int, action="append", help="may be repeated")
    parser.add_argument("--cpu", choices=CAPS, default="auto", help="highest instruction set of both")
    parser.add_argument("--rows", help="comma-separated; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--time", type=int, default=500, help="milliseconds of a measurement, at least")
    parser.add_argument("--repeats", type=int, default=5, help="steps of PyTorch in a round")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a row")
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true", help="one short round")
    args = parser.parse_args()
    unknown = set((args.rows or "gemm1024").split(",")) - set(ROWS)
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if args.quick:
        args.rounds, args.time, args.repeats = 1, 100, 2
    return args


def explain(comparer):
    """What will be missing, and why."""
    for rival, package in (("openblas", "libopenblas-dev"), ("onednn", "libdnnl-dev")):
        if not os.path.exists(f"{comparer.build}/bench/rival_{rival}"):
            print(f"no {rival} (apt-get install {package}, then make): left out", file=sys.stderr)
    if not comparer.python():
        print("no torch in $PYTHON: left out", file=sys.stderr)
    if not comparer.has_bf16():
        print(f"no bf16 units with --cpu {comparer.args.cpu}: bf16 is left out", file=sys.stderr)


def main():
    args = options()
    nybble = f"{args.build}/cli/nybble"
    if not shutil.which(nybble):
        sys.exit(f"{nybble} is missing: make")
    info = subprocess.run([nybble, "info", "--cpu", args.cpu, "--json"], check=False,
                          capture_output=True, text=True)
    if info.returncode:
        sys.exit(info.stderr.strip())
    args.info = json.loads(info.stdout)
    args.level = args.info["cpu"]
    args.machine = os.environ.get("BENCH_MACHINE", platform.node())
    os.makedirs("bench/results", exist_ok=True)
    args.out = f"bench/results/{args.machine}.jsonl"
    counts = args.threads or sorted({1, len(CPUS)})
    for i, n in enumerate(counts):
        args.threads = n
        comparer = Comparer(args)
        if i == 0:
            explain(comparer)
        for row in args.rows.split(",") if args.rows else ROWS:
            if row == "threads" and n == 1:
                continue
            ROWS[row](comparer)


if __name__ == "__main__":
    main()
