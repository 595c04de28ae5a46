"""The tables of docs/performance.md, for tools/readme_tables.py: machine, split:RECIPE,
roofline:RECIPE, scaling, many-threads; from bench/results/performance/*.jsonl (bench/performance.py)."""
import glob
import json
import math


def lines():
    """The latest of each machine, instruction set, series and size."""
    latest = {}
    for path in sorted(glob.glob("bench/results/performance/*.jsonl")):
        with open(path, encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                latest[line["machine"], line["cpu"], line["series"], line["x"]] = line
    return list(latest.values())


def table(head, rows):
    out = ["| " + " | ".join(head) + " |", "|" + "|".join("---" for _ in head) + "|"]
    out += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(out) + "\n"


def source(line):
    threads = f"{line['threads']} thread" + ("s" if line["threads"] != 1 else "")
    return (f"{line['machine']} ({line['cpu_model']}), {line['cpu']}, {threads}, {line['date']}: "
            f"`{line['command']}`.")


def machine():
    out = []
    for line in lines():
        if line["series"] != "machine":
            continue
        rows, head = [], ["what"]
        for limits in line["result"]["limits"]:
            head.append(f"{limits['threads']} thread" + ("s" if limits["threads"] != 1 else ""))
        for i, level in enumerate(line["result"]["limits"][0]["levels"]):
            for way in ("read", "copy"):
                rows.append([f"{way} {level['name']}, GB/s"] +
                            [f"{limits['levels'][i][way + '_bytes_per_s'] / 1e9:.1f} "
                             f"({limits['levels'][i]['set_bytes'] / 2**20:.3g} MiB)"
                             for limits in line["result"]["limits"]])
        for i, peak in enumerate(line["result"]["limits"][0]["peaks"]):
            rows.append([f"{peak['a']} x {peak['b']} ({peak['engine']}, {peak['kernel']}), GMAC/s"] +
                        [f"{limits['peaks'][i]['macs_per_s'] / 1e9:.1f}"
                         for limits in line["result"]["limits"]])
        out.append(table(head, rows) + "\n" + source(line) + "\n")
    return "\n".join(out)


def figures(group, step):
    """ms, share, MB, GB/s, GMAC/s, of peak, least ms, reached"""
    s, macs = group["seconds"], group["macs"]
    moved = group["read_bytes"] + group["written_bytes"]
    peak, least = group.get("share_of_peak"), group.get("least_s")
    return [f"{1e3 * s:.2f}", f"{100 * s / step:.1f} %", f"{moved / 1e6:.1f}" if moved else "-",
            f"{moved / s / 1e9:.1f}" if moved and s else "-",
            f"{macs / s / 1e9:.1f}" if macs and s else "-",
            f"{100 * peak:.0f} %" if peak else "-", f"{1e3 * least:.2f}" if least else "-",
            f"{100 * least / s:.0f} %" if least and s else "-"]


HEAD = ["ms", "share", "MB", "GB/s", "GMAC/s", "of peak", "least ms", "reached"]


def summed(groups):
    sums = {}
    for group in groups:
        for key, value in group.items():
            if key in ("seconds", "macs", "read_bytes", "written_bytes", "least_s", "calls"):
                sums[key] = sums.get(key, 0) + value
    return sums


def split(recipe):
    out = []
    for line in lines():
        if line["series"] != f"split {recipe}":
            continue
        result = line["result"]["split"]
        rows = [[f"`{g['kind']}`", g["calls"], *figures(g, result["step_s"])]
                for g in result["kinds"] if g["seconds"] >= 0.0005 * result["step_s"]]
        rest = [g for g in result["kinds"] if g["seconds"] < 0.0005 * result["step_s"]]
        if rest:
            rest = summed(rest)
            rows.append(["what takes less than 0.05 % each", rest["calls"],
                         *figures(rest, result["step_s"])])
        whole = summed(result["kinds"])
        rows.append(["**the step**", whole["calls"], *figures(whole, result["step_s"])])
        out.append(table(["kind", "calls", *HEAD], rows) + "\n" + source(line) + "\n")
    return "\n".join(out)


def roofline(recipe):
    out = []
    for line in lines():
        if line["series"] != f"split {recipe}":
            continue
        rows = []
        for g in line["result"]["split"]["layers"]:
            if not g["macs"]:
                continue
            moved = g["read_bytes"] + g["written_bytes"]
            least, at_peak = g.get("least_s"), g.get("share_of_peak", 0) * g["seconds"]
            bound = "-" if not least else "products" if at_peak >= 0.999 * least else "bytes"
            rows.append([g["layer"], "x".join(str(n) for n in g["shape"]), g["kind"][5:] or g["kind"],
                         f"{g['a']} x {g['b']}", f"{g['macs'] / 1e6:.0f}", f"{moved / 1e6:.2f}",
                         f"{g['macs'] / moved:.0f}", bound, f"{1e3 * least:.3f}" if least else "-",
                         f"{1e3 * g['seconds']:.3f}",
                         f"{100 * least / g['seconds']:.0f} %" if least else "-"])
        head = ["layer", "output", "product", "operands", "MMAC", "MB", "MAC/byte", "bound by",
                "least ms", "ms", "reached"]
        out.append(table(head, rows) + "\n" + source(line) + "\n")
    return "\n".join(out)


def fit(points):
    """Slope of log time over log size, and the largest deviation from the line, as a factor."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mx = sum(x for x, _ in logs) / len(logs)
    my = sum(y for _, y in logs) / len(logs)
    slope = (sum((x - mx) * (y - my) for x, y in logs) / sum((x - mx) ** 2 for x, _ in logs))
    return slope, math.exp(max(abs(y - my - slope * (x - mx)) for x, y in logs))


def threads():
    """Steps with more threads than the machine has processors, against one thread."""
    groups = {}
    for line in lines():
        if line["series"] == "threads luq":
            groups.setdefault((line["machine"], line["cpu"]), {})[line["x"]] = line
    rows = []
    for (machine_name, cpu), group in groups.items():
        one = group[1]["seconds"]
        for n, line in sorted(group.items()):
            rows.append([machine_name, cpu, n, f"{1e3 * line['seconds']:.4g}",
                         f"{one / line['seconds']:.2f}"])
    return table(["machine", "ISA", "threads", "ms of a step", "of one thread's speed"],
                 rows) if rows else ""


def work(what, x):
    """What a step's cost should grow with: multiply-adds of an mlp of three layers of x, else x."""
    return 784 * x + 2 * x * x + 10 * x if what == "width" else x


def scaling():
    groups = {}
    for line in lines():
        if "seconds" in line and not line["series"].startswith("threads"):
            groups.setdefault((line["machine"], line["cpu"], line["series"]), []).append(line)
    rows = []
    for (_, _, name), group in groups.items():
        group.sort(key=lambda line: line["x"])
        what, recipe = name.split()
        slope, factor = fit([(work(what, line["x"]), line["seconds"]) for line in group])
        words = group[0]["command"].split()
        model = words[words.index("--model") + 1].split(":")[0]
        rows.append([group[0]["machine"], group[0]["cpu"], what,
                     "resnet" if what == "depth" else model, recipe,
                     ", ".join(f"{line['x']}: {1e3 * line['seconds']:.4g}" for line in group),
                     f"{slope:.2f}", f"{100 * (factor - 1):.0f} %"])
    if not rows:
        return ""
    head = ["machine", "ISA", "against", "model", "recipe", "size: ms of a step", "slope",
            "farthest from the line"]
    return table(head, rows)


def content(name):
    kind, _, rest = name.partition(":")
    made = {"machine": machine, "scaling": scaling, "many-threads": threads}
    if kind in made:
        return made[kind]() or "(no figures yet)\n"
    of_recipe = {"split": split, "roofline": roofline}
    return of_recipe[kind](rest) or "(no figures yet)\n" if kind in of_recipe else None
