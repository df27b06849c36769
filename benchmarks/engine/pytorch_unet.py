"""The reference U-Net of segfit in PyTorch, with segfit's parameter names.

Level k (0 = full resolution, `depth` = bottleneck) has `width * 2**k` channels.

    enc{k}  block: 3x3 convolution with bias, padding 1 -> batch norm -> ReLU, twice; 2x2 max-pooling between levels
    up{k}   2x2 transposed convolution with bias, stride 2 -> batch norm -> ReLU; yields level k from level k + 1
    dec{k}  block on [enc{k}, up{k}] joined along the channels, the skip first
    head    1x1 convolution with bias to `classes` logits

Run as a script, it checks the parameter counts of the paper's widths.
"""

import torch
from torch import nn
from torch.nn import functional as F


def _norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)


class Block(nn.Module):
    """Two times 3x3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm1 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class Up(nn.Module):
    """2x2 transposed convolution of stride 2, batch norm, ReLU."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.norm = _norm(out_channels)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class UNet(nn.Module):
    """N x in_channels x H x W -> logits N x classes x H x W; H and W are multiples of `2**depth`."""

    def __init__(self, width, in_channels, classes, depth=4):
        super().__init__()
        self.depth = depth
        widths = [width * 2**k for k in range(depth + 1)]
        for k in range(depth + 1):
            self.add_module(f"enc{k}", Block(in_channels if k == 0 else widths[k - 1], widths[k]))
        for k in reversed(range(depth)):
            self.add_module(f"up{k}", Up(widths[k + 1], widths[k]))
            self.add_module(f"dec{k}", Block(2 * widths[k], widths[k]))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        skips = []
        for k in range(self.depth):
            x = getattr(self, f"enc{k}")(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = getattr(self, f"enc{self.depth}")(x)
        for k in reversed(range(self.depth)):
            up = getattr(self, f"up{k}")(x)
            x = getattr(self, f"dec{k}")(torch.cat([skips[k], up], dim=1))
        return self.head(x)


def cross_entropy_dice(logits, target):
    """Mean cross-entropy over the pixels + 1 - mean soft Dice of the foreground classes; a scalar, smaller is better.

    Soft Dice of class c, p = softmax(logits), t = one-hot target, sums over batch and pixels:
    (2 * sum(p_c * t_c) + 1) / (sum(p_c) + sum(t_c) + 1).
    `logits` is N x C x H x W, `target` N x H x W with class numbers (int64).
    """
    p = torch.softmax(logits, dim=1)
    t = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    over = (0, 2, 3)
    dice = (2 * (p * t).sum(over) + 1) / (p.sum(over) + t.sum(over) + 1)
    return F.cross_entropy(logits, target) + 1 - dice[1:].mean()


def parameter_groups(model, weight_decay):
    """Two groups for the optimiser: convolution weights are decayed, biases and batch norm parameters are not."""
    decayed, plain = [], []
    for parameter in model.parameters():
        (decayed if parameter.ndim == 4 else plain).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


PAPER_COUNTS = {64: 31_045_506, 32: 7_766_978, 16: 1_944_546, 8: 487_538, 4: 122_586, 2: 30_998}

if __name__ == "__main__":
    for width, expected in PAPER_COUNTS.items():
        with torch.device("meta"):
            got = sum(p.numel() for p in UNet(width, 3, 2).parameters())
        print(f"width {width}: {got} parameters, expected {expected}")
        assert got == expected
