#!/usr/bin/env python3
"""Known answers of operators, SGD and schedules, computed by PyTorch in float64.

    pip install torch==2.13.0 numpy && python3 tests/golden/make_ops.py

writes ops.h beside itself. Inputs are wide(t, i) of make_resnet14.py (formula.h in C), tensors NHWC:
    t = 1 x, 2 dy, 3 gamma, 4 beta, 5 running mean, 6 running variance (2 + wide), 10 + step g of SGD
"""

import os
import sys

import torch
import torch.nn.functional as F
from torch.optim import lr_scheduler

sys.dont_write_bytecode = True
from make_resnet14 import wide

lines = []


def tensor(t, *shape):
    n = 1
    for s in shape:
        n *= s
    return torch.from_numpy(wide(t, n)).reshape(shape).clone()


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def write(name, values):
    values = values.detach().reshape(-1).tolist() if torch.is_tensor(values) else list(values)
    lines.append(f"static const double {name}[{len(values)}] = {{")
    for i in range(0, len(values), 4):
        lines.append("    " + ", ".join(f"{v:.12g}" for v in values[i:i + 4]) + ",")
    lines.append("};")


def batchnorm(name, n, h, w, c, offset):
    x = (tensor(1, n, h, w, c) + offset).requires_grad_()
    gamma, beta = tensor(3, c).requires_grad_(), tensor(4, c).requires_grad_()
    mean, var = tensor(5, c), tensor(6, c) + 2
    y = F.batch_norm(nchw(x), mean, var, gamma, beta, False, 0.1, 1e-5)
    write(f"{name}_eval", nhwc(y).reshape(-1)[:20])
    y = nhwc(F.batch_norm(nchw(x), mean, var, gamma, beta, True, 0.1, 1e-5))
    (y * tensor(2, n, h, w, c)).sum().backward()
    for key, value in (("y", y), ("dx", x.grad), ("dgamma", gamma.grad), ("dbeta", beta.grad),
                       ("mean", mean), ("var", var)):
        write(f"{name}_{key}", value.reshape(-1)[:600])


def pool(name, function, **options):
    x = tensor(1, 2, 7, 6, 3).requires_grad_()
    y = nhwc(function(nchw(x), **options))
    (y * tensor(2, *y.shape)).sum().backward()
    write(f"{name}_y", y)
    write(f"{name}_dx", x.grad)


def xent(name, smoothing):
    x = (tensor(1, 6, 10) * 8).requires_grad_()
    labels = torch.tensor([3 * i % 10 for i in range(6)])
    loss = F.cross_entropy(x, labels, label_smoothing=smoothing)
    loss.backward()
    write(f"{name}_loss", [loss.item(), (x.argmax(1) == labels).sum().item()])
    write(f"{name}_dx", x.grad)


def sgd(name, **options):
    w = tensor(1, 19).requires_grad_()
    optimizer = torch.optim.SGD([w], **options)
    for step in range(4):
        w.grad = tensor(10 + step, 19)
        optimizer.step()
    write(f"{name}_w", w)


def schedule(name, make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    s = make(optimizer)
    rates = []
    for _ in range(20):
        rates.append(s.get_last_lr()[0])
        optimizer.step()
        s.step()
    write(f"schedule_{name}", rates)


def main():
    batchnorm("bn", 3, 5, 7, 5, 0)
    batchnorm("bn_far", 2, 16, 19, 1, 17.5)  # sigma 0.577: mean / sigma = 30
    pool("maxpool", F.max_pool2d, kernel_size=3, stride=2, padding=1)
    pool("avgpool", F.avg_pool2d, kernel_size=3, stride=2, padding=1)
    pool("global_avgpool", F.adaptive_avg_pool2d, output_size=1)
    xent("xent", 0.0)
    xent("xent_smooth", 0.1)
    sgd("sgd_plain", lr=0.1)
    sgd("sgd_decay", lr=0.1, weight_decay=0.01)
    sgd("sgd_momentum", lr=0.1, momentum=0.9, weight_decay=0.01)
    sgd("sgd_nesterov", lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    schedule("constant", lambda o: lr_scheduler.ConstantLR(o, factor=1))
    schedule("step", lambda o: lr_scheduler.MultiStepLR(o, milestones=[10, 15], gamma=0.1))
    schedule("linear", lambda o: lr_scheduler.LinearLR(o, 1, 0, 20))
    schedule("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 20))
    schedule("warm", lambda o: lr_scheduler.SequentialLR(o, [
        lr_scheduler.LinearLR(o, 0.2, 1, 4), lr_scheduler.CosineAnnealingLR(o, 15)], [5]))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.h")
    with open(path, "w") as f:
        f.write("/* Made by make_ops.py with PyTorch " + torch.__version__.split("+")[0] + ". */\n")
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
