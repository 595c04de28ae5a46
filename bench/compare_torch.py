#!/usr/bin/env python3
"""Times a PyTorch training step of the residual networks of cli/models, in fp32 and under bf16 autocast.

    pip install torch==2.13.0
    python3 bench/compare_torch.py --threads 2 --batch 64 --repeats 20
    python3 bench/compare_torch.py --model resnet20 --batch 128
    python3 bench/compare_torch.py --model resnet18 --input 3x224x224 --classes 1000 --batch 32
    python3 bench/compare_torch.py --memory

One step is forward, cross-entropy, backward, SGD with momentum, on a fixed batch in memory, in the
faster of the memory formats contiguous and channels_last. Prints JSON: medians in seconds.

--memory: how much the process grows in one step of fp32, in bytes: VmHWM after it less VmRSS before it,
where gradients and momenta exist already (one step on a batch of zeros with learning rate 0 would leave
freed memory behind, so they are made by hand). Linux."""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

LARGE = 64  # pixels: from there the stem of ImageNet


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


def resnet(name, channels, size, classes):
    """resnet18: widths 64 to 512; resnet20: 16 to 64, as in section 4.2 of He et al."""
    blocks, width = {"resnet18": ((2, 2, 2, 2), 64), "resnet20": ((3, 3, 3), 16)}[name]
    if name == "resnet18" and size >= LARGE:
        layers = [nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width),
                  nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    else:
        layers = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
                  nn.ReLU(True)]
    c = width
    for stage, n in enumerate(blocks):
        for i in range(n):
            o = width << stage
            layers.append(Block(c, o, 2 if stage > 0 and i == 0 else 1))
            c = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


class Training:
    def __init__(self, args, form):
        torch.manual_seed(1)
        c, h, w = (int(n) for n in args.input.split("x"))
        layout = torch.channels_last if form == "channels_last" else torch.contiguous_format
        self.model = resnet(args.model, c, h, args.classes).to(memory_format=layout)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9,
                                         weight_decay=5e-4, nesterov=True)
        self.x = torch.randn(args.batch, c, h, w).to(memory_format=layout)
        self.labels = torch.randint(0, args.classes, (args.batch,))

    def step(self, bf16, to_none=True):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=to_none)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(self.model(self.x), self.labels)
        loss.backward()
        self.optimizer.step()
        return time.perf_counter() - start


def measure(args, bf16):
    """One step of each layout to warm up and one to choose, then the repeats of the faster."""
    forms = ["contiguous", "channels_last"] if args.format == "auto" else [args.format]
    ways = {form: Training(args, form) for form in forms}
    first = {}
    for form, training in ways.items():
        training.step(bf16)
        first[form] = training.step(bf16) if len(ways) > 1 else 0
    form = min(first, key=first.get)
    seconds = sorted(ways[form].step(bf16) for _ in range(args.repeats))
    return {"memory_format": form, "median_s": statistics.median(seconds),
            "p10_s": seconds[len(seconds) // 10], "p90_s": seconds[len(seconds) * 9 // 10]}


def status(key):
    with open("/proc/self/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0


def growth(args):
    training = Training(args, "contiguous" if args.format == "auto" else args.format)
    for p in training.model.parameters():
        p.grad = torch.zeros_like(p)
        training.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p) + 0
    before = status("VmRSS")
    training.step(False, to_none=False)
    return {"bytes": status("VmHWM") - before, "before": before}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", choices=("resnet18", "resnet20"), default="resnet18")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--input", default="3x32x32")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--types", default="fp32,bf16")
    parser.add_argument("--format", choices=("auto", "contiguous", "channels_last"), default="auto")
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = {"rival": f"PyTorch {torch.__version__}", "bench": "step", "model": args.model,
              "input": args.input, "batch": args.batch, "threads": args.threads,
              "repeats": args.repeats, "isa": torch.backends.cpu.get_cpu_capability()}
    if args.memory:
        result["growth"] = growth(args)
    else:
        for name in args.types.split(","):
            result[name] = measure(args, name == "bf16")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
