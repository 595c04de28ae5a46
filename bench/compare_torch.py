#!/usr/bin/env python3
"""Times a PyTorch training step of resnet18 (CIFAR stem) in fp32 and under bf16 autocast.

    pip install torch==2.13.0
    python3 bench/compare_torch.py --threads 2 --batch 64 --repeats 20

One step is forward, cross-entropy, backward, SGD with momentum, on a fixed batch in memory, in the
faster of the memory formats contiguous and channels_last. Prints JSON: medians in seconds."""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, c, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential()
        if stride != 1 or c != o:
            self.shortcut = nn.Sequential(nn.Conv2d(c, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


def resnet18(channels, classes):
    layers = [nn.Conv2d(channels, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)]
    c = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(c, width, stride), Block(width, width, 1)]
        c = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def seconds_of_steps(args, bf16, channels_last):
    torch.manual_seed(1)
    form = torch.channels_last if channels_last else torch.contiguous_format
    c, h, w = (int(n) for n in args.input.split("x"))
    model = resnet18(c, 10).to(memory_format=form)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4,
                                nesterov=True)
    x = torch.randn(args.batch, c, h, w).to(memory_format=form)
    labels = torch.randint(0, 10, (args.batch,))
    seconds = []
    for _ in range(args.repeats + 2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[2:])  # two for warming up


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--input", default="3x32x32")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = {"rival": f"PyTorch {torch.__version__}", "bench": "step", "model": "resnet18",
              "input": args.input, "batch": args.batch, "threads": args.threads,
              "repeats": args.repeats}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        ways = {form: seconds_of_steps(args, bf16, form == "channels_last")
                for form in ("contiguous", "channels_last")}
        form = min(ways, key=lambda f: statistics.median(ways[f]))
        s = ways[form]
        result[name] = {"memory_format": form, "median_s": statistics.median(s),
                        "p10_s": s[len(s) // 10], "p90_s": s[len(s) * 9 // 10]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
