#!/usr/bin/env python3
"""Tables of docs/, from what the program says.

    tools/program_tables.py NYBBLE           exits with 1 if one is out of date
    tools/program_tables.py NYBBLE --write   rewrites them"""
import json
import os
import re
import subprocess
import sys

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")


def run(nybble, *args):
    done = subprocess.run([nybble, *args, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def smallest(nybble, name):
    shown = run(nybble, "format", "show", name)
    if "fields" in shown:
        return shown["fields"]["min"]
    positive = [v for v in shown["values"] if v is not None and v > 0]
    return min(positive) if positive else None


def number(value):
    return "" if value is None else f"{value:.6g}"


def formats(nybble):
    out = "| name | bits | largest | smallest | engine | what it is |\n|---|---|---|---|---|---|\n"
    for f in run(nybble, "format", "list"):
        cells = [f"`{f['name']}`", str(f["bits"]), number(f["max"]), number(smallest(nybble, f["name"])),
                 f["engine"], f["about"]]
        out += "| " + " | ".join(cells) + " |\n"
    return out


def rules(nybble):
    out = "| rule | what it is | source |\n|---|---|---|\n"
    for rule in run(nybble, "format", "rules"):
        cells = [f"`{rule['name']}`"] + [rule[key].replace("|", "\\|") for key in ("about", "source")]
        out += "| " + " | ".join(cells) + " |\n"
    return out


def kept(nybble):
    out = ("| model, batch | recipe | inputs of quantized products (in f32) | kept in all |\n"
           "|---|---|---|---|\n")
    for model, shape, batch in (("resnet14", "1x28x28", 128), ("resnet18", "3x32x32", 64),
                                ("resnet20", "3x32x32", 128)):
        for recipe, sets in (("f32", []), ("luq", []), ("nybble", []), ("luq_lean", []),
                             ("luq", ["recompute=products"])):
            options = [word for change in sets for word in ("--set", change)]
            told = run(nybble, "explain", "--model", model, "--recipe", recipe, "--input", shape,
                       "--batch", str(batch), *options)
            mib = {key: told[key] / 2**20 for key in ("saved_quantized_bytes", "saved_quantized_f32_bytes",
                                                      "saved_activation_bytes")}
            codes = "-"
            if mib["saved_quantized_bytes"]:
                codes = f"{mib['saved_quantized_bytes']:.1f} ({mib['saved_quantized_f32_bytes']:.1f})"
            out += (f"| {model} {shape}, {batch} | {'+'.join([recipe] + sets)} | {codes} | "
                    f"{mib['saved_activation_bytes']:.1f} |\n")
    return out


TABLES = (("formats.md", "formats", formats), ("formats.md", "rules", rules),
          ("results.md", "kept", kept))


def main():
    status = 0
    for name, word, make in TABLES:
        path = os.path.join(DOCS, name)
        mark = re.compile(rf"(<!-- table: {word} -->\n)(.*?)(<!-- end of table -->)", re.S)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        made = mark.sub(lambda m: m[1] + make(sys.argv[1]) + m[3], page)
        if sys.argv[2:] == ["--write"]:
            with open(path, "w", encoding="utf-8") as file:
                file.write(made)
        elif made != page or not mark.search(page):
            print(f"docs/{name}: table '{word}' is not what the program says; run tools/program_tables.py")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
