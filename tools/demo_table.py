"""Prints the summaries of runs as one table. usage: demo_table.py SUMMARY.json ..."""
import json
import sys


def mib(n_bytes):
    return f"{n_bytes / 2**20:.1f} MiB"


def row(run):
    return [
        run["recipe"],
        f"{100 * run['test_acc']:.2f} %",
        f"{run['seconds']:.0f}",
        f"{run['samples_per_s']:.0f}",
        mib(run["saved_quantized_bytes"]) if run["saved_quantized_bytes"] else "-",
        mib(run["saved_activation_bytes"]),
        run["cpu"],
    ]


def main(paths):
    runs = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            runs.append(json.load(file))
    head = ["recipe", "test accuracy", "seconds", "samples/s", "kept as 4 bits", "kept in all", "ISA"]
    rows = [head] + [row(run) for run in runs]
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    first = runs[0]
    print(f"{first['data']}, {first['model']}, {first['epochs']} epochs of batch {first['batch']}, "
          f"seed {first['seed']}, {first['threads']} threads; accuracy after the last epoch")
    print()
    for n, r in enumerate(rows):
        cells = [r[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(r[1:], widths[1:])]
        print("  ".join(cells).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))
    print()
    print("kept: bytes kept from forward for the backward pass of one step. As 4 bits: the inputs of")
    print("quantized products, 1/8 of f32; the rest is f32: inputs of batch norm, edge layers.")


if __name__ == "__main__":
    main(sys.argv[1:])
