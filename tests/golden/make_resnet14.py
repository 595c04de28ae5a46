#!/usr/bin/env python3
"""Losses of 20 training steps of resnet14 by PyTorch, from weights and images that a formula gives.

    pip install torch==2.13.0 numpy && python3 tests/golden/make_resnet14.py

writes resnet14_losses.json beside itself. The C test rebuilds weights and images from this formula
and compares its own losses; it needs no PyTorch. Everything below is exact in binary32.

The formula
    mix(x)    32-bit: x ^= x >> 16; x *= 0x85ebca6b; x ^= x >> 13; x *= 0xc2b2ae35; x ^= x >> 16
              (the finaliser of MurmurHash3, Austin Appleby, public domain)
    u(t, i) = mix(i + t * 0x9e3779b9 mod 2^32)               element i of tensor number t
    wide    = (float)((int)(u >> 8) - 2^23) * 2^-23          24 bits in [-1, 1)
    narrow  = (float)((int)(u >> 20) - 2048) * 2^-11         12 bits in [-1, 1)

Weights. Parameters are numbered t = 0, 1, 2 ... over the convolutions and the linear layer in the
order of LAYERS below ("weights" of the JSON file lists name, t, a). A convolution's weight is OHWI:
    i = ((o * k + r) * k + s) * c_in + c;   weight = wide(t, i) * a
a = 2^round(log2(sqrt(6 / fan_in))), fan_in = k * k * c_in: a = 1, 1/4, 1/8, 1/8 for 9, 144, 288, 576
and 1/2, 1/4 for the shortcuts' 16, 32. The linear weight is i = o * 64 + c with a = 1/32, its bias 0.
Batch normalisation: weight 1/2, bias 1/2, eps 1e-5, batch statistics (momentum 0.1 for the running
ones, which no loss depends on).

Images. Step s = 0 .. 19 has a batch of 16 images of 28 x 28 x 1, NHWC: image j = 0 .. 15 has the
label (7 * j + 3 * s) mod 10, and its pixel (h, w) is
    0.5 * narrow(1000 + s, j * 784 + h * 28 + w) + narrow(2000 + label, (h / 4) * 7 + w / 4)
(noise on a pattern of 7 x 7 patches of 4 x 4 pixels). No normalisation, no augmentation.

Network: resnet14 (He et al., CVPR 2016, section 4.2, n = 2), widths 16, 32, 64. conv1 3x3 stride 1 on
one channel, bn1, relu; layer1.0, layer1.1, layer2.0 ... layer3.1, each
    relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)),
3x3 convolutions with pad 1, the first of layer2.0 and layer3.0 with stride 2, where the shortcut is
a 1x1 convolution of stride 2 and batch normalisation (else the identity); mean over 7 x 7; fc 64->10.

Training: mean cross-entropy; SGD, rate 0.05, momentum 0.9, Nesterov (PyTorch's), weight decay 5e-4 on
convolution and linear weights only. losses[s] is the loss of batch s before update s.

Why weight 1/2 and bias 1/2. With 1 and 0, a pre-activation that rounds to the other side of 0 changes
the gradient, and PyTorch's own float32 losses leave its float64 losses by 2e-2 within the 20 steps:
no test at 1e-4 could be told from luck. Here the two differ by less than 2e-5, over six orders of
summation, while leaving out the weight decay moves a loss by 4e-4 and momentum 0.89 by 1e-2.
"""

import json
import math
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS, BATCH = 20, 16
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


def u(t, n):
    x = np.arange(n, dtype=np.uint64) + np.uint64(t * 0x9E3779B9 % 2**32)
    x &= np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    x = x * np.uint64(0x85EBCA6B) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(13)
    x = x * np.uint64(0xC2B2AE35) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return x


def wide(t, n):
    return ((u(t, n) >> np.uint64(8)).astype(np.int64) - 2**23).astype(np.float64) * 2.0**-23


def narrow(t, n):
    return ((u(t, n) >> np.uint64(20)).astype(np.int64) - 2048).astype(np.float64) * 2.0**-11


class Shortcut(nn.Module):
    def __init__(self, c, o):
        super().__init__()
        self.conv = nn.Conv2d(c, o, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, x):
        return self.bn(self.conv(x))


class Block(nn.Module):
    def __init__(self, c, o, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.shortcut = nn.Identity() if c == o else Shortcut(c, o)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Resnet14(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1), Block(16, 16, 1))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


# The numbering t of the weights.
LAYERS = ["conv1"]
for stage in (1, 2, 3):
    for block in (0, 1):
        LAYERS += [f"layer{stage}.{block}.conv1", f"layer{stage}.{block}.conv2"]
        if stage > 1 and block == 0:
            LAYERS += [f"layer{stage}.{block}.shortcut.conv"]
LAYERS += ["fc"]


def set_weights(net):
    table = []
    modules = dict(net.named_modules())
    for t, name in enumerate(LAYERS):
        weight = modules[name].weight
        fan_in = weight[0].numel()
        a = 2.0**-5 if name == "fc" else 2.0 ** round(math.log2(math.sqrt(6 / fan_in)))
        values = torch.from_numpy(wide(t, weight.numel()) * a)
        if weight.dim() == 4:
            o, c, r, s = weight.shape
            values = values.reshape(o, r, s, c).permute(0, 3, 1, 2)
        weight.data.copy_(values.reshape(weight.shape))
        table.append({"name": name, "t": t, "a": a})
    for module in modules.values():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.fill_(0.5)
            module.bias.data.fill_(0.5)
    net.fc.bias.data.zero_()
    return table


def batch(step):
    labels = [(7 * j + 3 * step) % 10 for j in range(BATCH)]
    images = 0.5 * narrow(1000 + step, BATCH * 784).reshape(BATCH, 28, 28)
    patterns = [narrow(2000 + label, 49).reshape(7, 7) for label in labels]
    images = images + np.stack([np.kron(p, np.ones((4, 4))) for p in patterns])
    return torch.from_numpy(images).reshape(BATCH, 1, 28, 28), torch.tensor(labels)


def train(dtype):
    net = Resnet14()
    table = set_weights(net)
    net.to(dtype).train()
    decayed = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() <= 1]
    sgd = torch.optim.SGD([{"params": decayed, "weight_decay": DECAY},
                           {"params": others, "weight_decay": 0}],
                          lr=RATE, momentum=MOMENTUM, nesterov=True)
    losses = []
    for step in range(STEPS):
        images, labels = batch(step)
        loss = F.cross_entropy(net(images.to(dtype)), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return table, losses


def main():
    table, exact = train(torch.float64)
    _, single = train(torch.float32)
    noise = max(abs(a - b) / abs(a) for a, b in zip(exact, single))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "resnet14_losses.json")
    with open(path, "w") as f:
        json.dump({"about": "made by make_resnet14.py, which states the formula",
                   "torch": torch.__version__.split("+")[0],
                   "weights": table, "losses_f64": exact, "losses_f32": single,
                   "max_relative_difference": noise}, f, indent=1)
        f.write("\n")
    print(f"largest relative difference of float32 from float64: {noise:.2e}")


if __name__ == "__main__":
    main()
