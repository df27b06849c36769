"""XTinyU-Net's choice of a width for each data set: no training, no masks, only gradients of untrained networks.

    python xtinyunet.py DATA [DATA ...] [--patch DATA ...] --out xtinyunet.json

Kimbowa, Liu, Hacihaliloglu, Heidari, XTinyU-Net, arXiv 2605.09639, 2026, done again after its description and public source:

1. The full network has 64, 128, 256, 512, 1024 channels. For caps c = 1024, 512, ..., 1 every level keeps min(channels, c).
2. The score of a cap is the mean over images of the L2 norm of d(sum of the outputs) / d(image), untrained.
3. The scores are scaled to 0..1 over the caps. With d[j] = |score[j + 1] - score[j]|, caps from large to small and n of them, cap
   i from 1 to n - 4 is chosen for which mean(d[i:]) - mean(d[:i + 1]) is largest: the last before the scores begin to jump.

What differs from the authors: the network is segfit's U-Net (batch norm; images are scored one at a time with the statistics of
that image, which is the instance norm of theirs), ReLU instead of leaky ReLU, inputs of 128 x 128 as in segfit's recipe: whole
frames resized, or with --patch the central 128 x 128 pixels. Weights are He-normal, biases 0.

DATA holds images/ and split.csv (file,split,source); images whose split begins with `test` are not read. The result has, for each
data set, the scores of every cap for every seed, and the choice from the mean score over the seeds as channels per group.
`segfit calibrate check --choices xtinyunet.json` puts it beside segfit's own choices.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "engine"), str(HERE.parent / "training")]
from pytorch_reference import load_image, read_split, statistics  # noqa: E402
from pytorch_unet import Block, UNet, Up  # noqa: E402

FULL, DEPTH, CLASSES = 64, 4, 2


class Capped(UNet):
    """The U-Net with `channels[k]` channels at level k."""

    def __init__(self, channels, in_channels):
        torch.nn.Module.__init__(self)
        self.depth = len(channels) - 1
        for k, own in enumerate(channels):
            self.add_module(f"enc{k}", Block(in_channels if k == 0 else channels[k - 1], own))
        for k in reversed(range(self.depth)):
            self.add_module(f"up{k}", Up(channels[k + 1], channels[k]))
            self.add_module(f"dec{k}", Block(2 * channels[k], channels[k]))
        self.head = torch.nn.Conv2d(channels[0], CLASSES, 1)


@torch.no_grad()
def initialise(model, seed):
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            transposed = isinstance(module, torch.nn.ConvTranspose2d)
            area = 1 if transposed else module.kernel_size[0] * module.kernel_size[1]
            module.weight.normal_(0, (2 / (module.in_channels * area)) ** 0.5)
            module.bias.zero_()


def levels(cap):
    return [min(FULL * 2**k, cap) for k in range(DEPTH + 1)]


def groups(channels):
    """Channels by the names of segfit's groups."""
    widths = {f"enc{k}": c for k, c in enumerate(channels)}
    for k in range(DEPTH):
        widths[f"up{k}"] = widths[f"dec{k}"] = channels[k]
    return widths


def load(data, mode, size, count):
    """Up to `count` images, evenly spread over the training images, normalised by the statistics of those read."""
    train, validation, _ = read_split(data, None)
    files = sorted(train + validation)
    files = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, count).round().astype(int))]
    if mode == "patch":
        from PIL import Image

        images = []
        for name in files:
            plane = load_image(data / "images" / name, Image.open(data / "images" / name).size[0])
            top, left = ((n - size) // 2 for n in plane.shape[1:])
            images.append(plane[:, top : top + size, left : left + size])
        images = np.stack(images)
    else:
        images = np.stack([load_image(data / "images" / name, size) for name in files])
    mean, std = statistics(images)
    return torch.from_numpy((images - mean) / std)


def score(model, images):
    """Mean over the images of the L2 norm of d(sum of the outputs) / d(image)."""
    model.train()
    norms = []
    for image in images:
        x = image[None].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(model(x).sum(), x)
        norms.append(gradient.norm().item())
    return float(np.mean(norms))


def choose(scores):
    """Index of the cap chosen; `scores` go from the largest cap to the smallest."""
    y = np.asarray(scores, float)
    y = (y - y.min()) / max(y.max() - y.min(), 1e-30)
    d = np.abs(np.diff(y))
    gain = [d[i:].mean() - d[: i + 1].mean() for i in range(1, len(y) - 3)]
    return 1 + int(np.argmax(gain))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="*", type=Path)
    parser.add_argument("--patch", nargs="*", type=Path, default=[])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    caps = [FULL * 2**DEPTH >> i for i in range(11)]
    sets = []
    for data, mode in [(d, "resize") for d in args.data] + [(d, "patch") for d in args.patch]:
        begin = time.perf_counter()
        images = load(data, mode, args.size, args.images)
        table, params = [], []
        for cap in caps:
            model = Capped(levels(cap), images.shape[1])
            params.append(sum(p.numel() for p in model.parameters()))
            row = []
            for seed in range(args.seeds):
                initialise(model, seed)
                row.append(score(model, images))
            table.append(row)
        chosen = choose(np.mean(table, 1))
        by_seed = [caps[choose(column)] for column in np.transpose(table)]
        sets.append({
            "data_set": data.resolve().name, "input": mode, "images": len(images), "cap": caps[chosen],
            "params": params[chosen], "widths": groups(levels(caps[chosen])),
            "base_width": levels(caps[chosen])[0], "depth": DEPTH, "cap_of_each_seed": by_seed,
            "scores": [
                {"cap": c, "params": p, "of_each_seed": [float(f"{v:.6g}") for v in row]}
                for c, p, row in zip(caps, params, table)
            ],
        })  # fmt: skip
        print(f"{data.name}: cap {caps[chosen]}, by seed {by_seed}, {time.perf_counter() - begin:.0f} s", flush=True)
    result = {
        "format": "segfit-choices/1", "rule": "xtinyunet", "family": "unet",
        "meaning": "XTinyU-Net (arXiv 2605.09639): the cap of the channels where gradients of untrained networks begin to jump",
        "choices": sets,
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
