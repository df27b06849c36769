"""The families of segfit in plain PyTorch, written from the papers, to count parameters and multiply-accumulates with.

Each function of MODELS takes (in_channels, classes, base_width) and returns the deployed network at the family's published
depth. Where a paper leaves something open, the docstring says what is assumed.
"""

import torch
from torch import nn


def double(inside, outside, middle=None):
    """Two times (3x3 convolution with bias, batch norm, ReLU)."""
    middle = middle or outside
    return nn.Sequential(
        nn.Conv2d(inside, middle, 3, padding=1), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(),
    )


def separable(inside, outside):
    """3x3 depthwise without bias, 1x1 pointwise with bias, batch norm, ReLU (Chollet 2017)."""
    return nn.Sequential(
        nn.Conv2d(inside, inside, 3, padding=1, groups=inside, bias=False),
        nn.Conv2d(inside, outside, 1), nn.BatchNorm2d(outside), nn.ReLU(),
    )


def double_separable(inside, outside):
    return nn.Sequential(separable(inside, outside), separable(outside, outside))


class Unet(nn.Module):
    """Ronneberger et al. 2015 with batch norm after every convolution and transposed convolution."""

    def __init__(self, in_channels, classes, widths, block=double, first=double):
        super().__init__()
        self.down = nn.ModuleList()
        last = in_channels
        for level, width in enumerate(widths):
            self.down.append((first if level == 0 else block)(last, width))
            last = width
        self.enlarge, self.up = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.enlarge.append(nn.Sequential(nn.ConvTranspose2d(last, width, 2, 2), nn.BatchNorm2d(width), nn.ReLU()))
            self.up.append(block(2 * width, width))
            last = width
        self.head = nn.Conv2d(last, classes, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for enlarge, block, skip in zip(self.enlarge, self.up, reversed(skips[:-1])):
            x = block(torch.cat([skip, enlarge(x)], 1))
        return self.head(x)


def unet(in_channels, classes, width):
    return Unet(in_channels, classes, [width << k for k in range(5)])


def lean_unet(in_channels, classes, width):
    return Unet(in_channels, classes, [width] * 5)


def separable_unet(in_channels, classes, width):
    def first(inside, outside):
        whole = nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU())
        return nn.Sequential(whole, separable(outside, outside))

    return Unet(in_channels, classes, [width << k for k in range(5)], double_separable, first)


class Gate(nn.Module):
    """Additive attention gate (Oktay et al. 2018) as in LeeJunHyun's AttU_Net: both inputs at the skip's resolution."""

    def __init__(self, channels, middle):
        super().__init__()
        self.signal = nn.Sequential(nn.Conv2d(channels, middle, 1), nn.BatchNorm2d(middle))
        self.skip = nn.Sequential(nn.Conv2d(channels, middle, 1), nn.BatchNorm2d(middle))
        self.psi = nn.Sequential(nn.ReLU(), nn.Conv2d(middle, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, signal, skip):
        return skip * self.psi(self.signal(signal) + self.skip(skip))


class AttentionUnet(nn.Module):
    def __init__(self, in_channels, classes, width):
        super().__init__()
        widths = [width << k for k in range(5)]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([in_channels] + widths, widths))
        self.enlarge, self.gates, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for w in reversed(widths[:-1]):
            self.enlarge.append(nn.Sequential(
                nn.Upsample(scale_factor=2), nn.Conv2d(2 * w, w, 3, padding=1), nn.BatchNorm2d(w), nn.ReLU()))
            self.gates.append(Gate(w, w // 2))
            self.up.append(double(2 * w, w))
        self.head = nn.Conv2d(width, classes, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for enlarge, gate, block, skip in zip(self.enlarge, self.gates, self.up, reversed(skips[:-1])):
            signal = enlarge(x)
            x = block(torch.cat([gate(signal, skip), signal], 1))
        return self.head(x)


class PreactivatedUnit(nn.Module):
    """Zhang et al. 2018, figure 1b, with a 1x1 convolution (with bias, no norm) on the shortcut."""

    def __init__(self, inside, outside, stride=1, first=False):
        super().__init__()
        before = [] if first else [nn.BatchNorm2d(inside), nn.ReLU()]
        self.body = nn.Sequential(
            *before, nn.Conv2d(inside, outside, 3, stride, 1),
            nn.BatchNorm2d(outside), nn.ReLU(), nn.Conv2d(outside, outside, 3, 1, 1))
        self.shortcut = nn.Conv2d(inside, outside, 1, stride)

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class ResUnet(nn.Module):
    """Zhang et al. 2018: units of 64, 128, 256 channels, a bridge of 512, nearest-neighbour upsampling."""

    def __init__(self, in_channels, classes, width):
        super().__init__()
        widths = [width << k for k in range(4)]
        self.down = nn.ModuleList([PreactivatedUnit(in_channels, width, first=True)])
        self.down.extend(PreactivatedUnit(a, b, stride=2) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(PreactivatedUnit(3 * w, w) for w in reversed(widths[:-1]))
        self.enlarge = nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for unit in self.down:
            x = unit(x)
            skips.append(x)
        for unit, skip in zip(self.up, reversed(skips[:-1])):
            x = unit(torch.cat([self.enlarge(x), skip], 1))
        return self.head(x)


class UnetPlusPlus(nn.Module):
    """Zhou et al. 2018 with bilinear upsampling, the form with 9.16 million parameters at 32 to 512 channels.

    With `transposed`, 2x2 transposed convolutions without norm, as in the authors' Keras code (9.04 million).
    """

    def __init__(self, in_channels, classes, width, transposed=False):
        super().__init__()
        self.nodes, self.enlarge = nn.ModuleDict(), nn.ModuleDict()
        for level in range(5):
            w = width << level
            self.nodes[f"{level}_0"] = double(in_channels if level == 0 else w // 2, w)
            for column in range(1, 5 - level):
                up = nn.ConvTranspose2d(2 * w, w, 2, 2) if transposed else nn.Upsample(scale_factor=2, mode="bilinear")
                self.enlarge[f"{level}_{column}"] = up
                self.nodes[f"{level}_{column}"] = double(column * w + (w if transposed else 2 * w), w)
        self.head = nn.Conv2d(width, classes, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        made = {}
        for level in range(5):
            made[level, 0] = self.nodes[f"{level}_0"](self.pool(made[level - 1, 0]) if level else x)
        for column in range(1, 5):
            for level in range(5 - column):
                key = f"{level}_{column}"
                inputs = [made[level, j] for j in range(column)] + [self.enlarge[key](made[level + 1, column - 1])]
                made[level, column] = self.nodes[key](torch.cat(inputs, 1))
        return self.head(made[0, 4])


class CUMedNet(nn.Module):
    """Chen et al. 2016: VGG-like encoder (2, 2, 3, 3 convolutions), three levels enlarged at once, classified and summed.

    Assumed: batch norm, `width` channels behind each transposed convolution (kernel twice the stride).
    """

    def __init__(self, in_channels, classes, width):
        super().__init__()
        def convolution(inside, outside):
            return [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]

        self.stages, self.branches = nn.ModuleList(), nn.ModuleList()
        last = in_channels
        for level, count in enumerate([2, 2, 3, 3]):
            w, layers = width << level, []
            for _ in range(count):
                layers += convolution(last, w)
                last = w
            self.stages.append(nn.Sequential(*layers))
            if level:
                s = 2 ** level
                self.branches.append(nn.Sequential(
                    nn.ConvTranspose2d(w, width, 2 * s, s, s // 2), nn.BatchNorm2d(width), nn.ReLU(),
                    *convolution(width, width), nn.Conv2d(width, classes, 1)))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        maps = []
        for level, stage in enumerate(self.stages):
            x = stage(self.pool(x) if level else x)
            if level:
                maps.append(self.branches[level - 1](x))
        return sum(maps)


class DenseBlock(nn.Module):
    def __init__(self, inside, growth, count):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(inside + i * growth), nn.ReLU(),
                          nn.Conv2d(inside + i * growth, growth, 3, padding=1), nn.Dropout2d(0.2))
            for i in range(count))

    def forward(self, x):
        """All that was seen, and what was made."""
        made = []
        for layer in self.layers:
            made.append(layer(torch.cat([x] + made, 1)))
        return torch.cat([x] + made, 1), torch.cat(made, 1)


class FCDenseNet(nn.Module):
    """Jégou et al. 2017, table 2. Convolutions have a bias, as Lasagne's do."""

    def __init__(self, in_channels, classes, stem, growth, down, bottom):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, stem, 3, padding=1)
        self.down, self.transitions_down, self.up, self.transitions_up = (nn.ModuleList() for _ in range(4))
        last, skips = stem, []
        for count in down:
            self.down.append(DenseBlock(last, growth, count))
            last += growth * count
            skips.append(last)
            self.transitions_down.append(nn.Sequential(
                nn.BatchNorm2d(last), nn.ReLU(), nn.Conv2d(last, last, 1), nn.Dropout2d(0.2), nn.MaxPool2d(2)))
        self.bottom = DenseBlock(last, growth, bottom)
        made = growth * bottom
        for count, skip in zip(reversed(down), reversed(skips)):
            self.transitions_up.append(nn.ConvTranspose2d(made, made, 3, 2, 1, output_padding=1))
            self.up.append(DenseBlock(made + skip, growth, count))
            last, made = made + skip + growth * count, growth * count
        self.head = nn.Conv2d(last, classes, 1)

    def forward(self, x):
        x, skips = self.stem(x), []
        for block, transition in zip(self.down, self.transitions_down):
            seen, _ = block(x)
            skips.append(seen)
            x = transition(seen)
        _, made = self.bottom(x)
        for transition, block, skip in zip(self.transitions_up, self.up, reversed(skips)):
            seen, made = block(torch.cat([transition(made), skip], 1))
        return self.head(seen)


def fc_densenet56(in_channels, classes, width):
    return FCDenseNet(in_channels, classes, width, width // 4, [4] * 5, 4)


def fc_densenet67(in_channels, classes, width):
    return FCDenseNet(in_channels, classes, width, width // 3, [5] * 5, 5)


def fc_densenet103(in_channels, classes, width):
    return FCDenseNet(in_channels, classes, width, width // 3, [4, 5, 7, 10, 12], 15)


MODELS = {
    "unet": (unet, 64),
    "cumednet": (CUMedNet, 64),
    "fc_densenet56": (fc_densenet56, 48),
    "fc_densenet67": (fc_densenet67, 48),
    "fc_densenet103": (fc_densenet103, 48),
    "attention_unet": (AttentionUnet, 64),
    "resunet": (ResUnet, 64),
    "unetpp": (UnetPlusPlus, 32),
    "lean_unet": (lean_unet, 64),
    "separable_unet": (separable_unet, 64),
}
