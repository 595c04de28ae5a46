#!/usr/bin/env python3
"""The table of docs/formats.md, from what the program says.

    tools/formats_table.py NYBBLE           exits with 1 if the table is out of date
    tools/formats_table.py NYBBLE --write   rewrites it"""
import json
import os
import re
import subprocess
import sys

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs/formats.md")
MARK = re.compile(r"(<!-- table: formats -->\n)(.*?)(<!-- end of table -->)", re.S)


def run(nybble, *args):
    done = subprocess.run([nybble, "format", *args, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def smallest(nybble, name):
    shown = run(nybble, "show", name)
    if "fields" in shown:
        return shown["fields"]["min"]
    positive = [v for v in shown["values"] if v is not None and v > 0]
    return min(positive) if positive else None


def number(value):
    return "" if value is None else f"{value:.6g}"


def table(nybble):
    out = "| name | bits | largest | smallest | engine | what it is |\n|---|---|---|---|---|---|\n"
    for f in run(nybble, "list"):
        cells = [f"`{f['name']}`", str(f["bits"]), number(f["max"]), number(smallest(nybble, f["name"])),
                 f["engine"], f["about"]]
        out += "| " + " | ".join(cells) + " |\n"
    return out


def main():
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    made = MARK.sub(lambda m: m[1] + table(sys.argv[1]) + m[3], page)
    if sys.argv[2:] == ["--write"]:
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(made)
        return 0
    if made == page and MARK.search(page):
        return 0
    print("docs/formats.md: its table is not what `nybble format list` says; run tools/formats_table.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
