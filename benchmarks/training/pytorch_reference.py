"""Trains the reference PyTorch U-Net with segfit's recipe r0 on one data set, and evaluates it: the peer of `segfit train`.

    python pytorch_reference.py DATA --width 4 --steps 800 --seed 0 --out result.json [--validation-file stems.txt]

DATA holds images/, masks/ (of the same names; foreground is not 0) and split.csv (file,split,source). Splits that begin with
`test` are test. Of the other images, those whose stems are listed in --validation-file (one a line) are kept out of training;
without that file all of them are trained on.

The recipe is crates/segfit/src/recipe.rs, r0, in resize mode. What the recipe leaves open is done so: He-normal
initial convolution weights (fan in), zero biases; batches are cut from one stream of shuffled epochs; warm-up is linear, then
the cosine falls to 0; the moving average starts at the initial state and averages batch norm's running statistics too; changed
images are continued by reflection; contrast and brightness, then clipping to the value range, then gamma, on every sample.
"""

import argparse
import copy
import csv
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
from pytorch_unet import UNet, cross_entropy_dice, parameter_groups  # noqa: E402

R0 = {
    "name": "r0", "size": 128, "batch": 4, "steps": 800, "warmup": 0.05, "learning_rate": 2e-3, "width_exponent": 0.5,
    "max_learning_rate": 1e-2, "weight_decay": 1e-4, "ema": 0.99, "rotation_degrees": 30.0, "scale": 0.25, "gamma": 0.3,
    "brightness": 0.1, "contrast": 0.2, "probability": 0.5,
}  # fmt: skip


def read_split(data, validation_file):
    """Files of the training, validation and test images, in the order of split.csv."""
    with open(data / "split.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    test = [r["file"] for r in rows if r["split"].startswith("test")]
    others = [r["file"] for r in rows if not r["split"].startswith("test")]
    stems = set(validation_file.read_text().split()) if validation_file else set()
    unknown = stems - {Path(f).stem for f in others}
    if unknown:
        sys.exit(f"{validation_file}: not among the images that are not test: {sorted(unknown)[:5]}")
    train = [f for f in others if Path(f).stem not in stems]
    return train, [f for f in others if Path(f).stem in stems], test


def load(data, files, size):
    """Images N x C x size x size in [0, 1] and masks N x size x size, 1 = foreground."""
    images, masks = [], []
    for name in files:
        image = Image.open(data / "images" / name)
        image = image.convert("L" if image.mode in ("1", "L") else "RGB").resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.float32) / 255
        images.append(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
        mask = Image.open(data / "masks" / name).convert("L").resize((size, size), Image.Resampling.NEAREST)
        masks.append(np.asarray(mask) > 0)
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks).astype(np.int64))


def log_uniform(random, largest):
    """A factor from [1 / (1 + largest), 1 + largest], log-uniform."""
    return math.exp(random.uniform(-1, 1) * math.log(1 + largest))


def rotate_and_scale(image, mask, random, recipe):
    angle = math.radians(random.uniform(-1, 1) * recipe["rotation_degrees"])
    zoom = 1 / log_uniform(random, recipe["scale"])
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    grid = F.affine_grid(torch.tensor([[[c, -s, 0.0], [s, c, 0.0]]]), [1, *image.shape], align_corners=False)
    options = {"padding_mode": "reflection", "align_corners": False}
    image = F.grid_sample(image[None], grid, mode="bilinear", **options)[0]
    mask = F.grid_sample(mask[None, None].float(), grid, mode="nearest", **options)[0, 0].long()
    return image, mask


def augment(image, mask, random, recipe):
    """One image C x H x W in [0, 1] and its mask, changed by draws of its own."""
    turns = int(random.integers(4))
    axes = [-1 - a for a in range(2) if random.random() < 0.5]
    image, mask = (torch.flip(torch.rot90(v, turns, (-2, -1)), axes) for v in (image, mask))
    if random.random() < recipe["probability"]:
        image, mask = rotate_and_scale(image, mask, random, recipe)
    mean = image.mean((1, 2), keepdim=True)
    image = (image - mean) * log_uniform(random, recipe["contrast"]) + mean
    image = image + random.uniform(-1, 1) * recipe["brightness"]
    return image.clamp(0, 1) ** log_uniform(random, recipe["gamma"]), mask


def index_stream(count, random):
    while True:
        yield from random.permutation(count).tolist()


def learning_rate(step, steps, width, recipe):
    peak = recipe["learning_rate"] * (16 / width) ** recipe["width_exponent"]
    peak = min(peak, recipe["max_learning_rate"])
    warm = max(1, round(recipe["warmup"] * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


@torch.no_grad()
def average(ema, model, decay):
    """ema = decay * ema + (1 - decay) * model, for parameters and running statistics."""
    for old, new in zip(ema.state_dict().values(), model.state_dict().values()):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - decay)


def initialise(model):
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            area = math.prod(module.kernel_size) / math.prod(module.stride)
            torch.nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * area)))
            torch.nn.init.zeros_(module.bias)


def train(model, images, masks, mean, std, width, steps, seed, recipe):
    """The averaged model and the mean loss of each tenth of the run."""
    random = np.random.default_rng(seed)
    stream = index_stream(len(images), random)
    optimiser = torch.optim.AdamW(parameter_groups(model, recipe["weight_decay"]), betas=(0.9, 0.999), eps=1e-8)
    ema = copy.deepcopy(model)
    losses = []
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, width, recipe)
        pairs = [augment(images[i], masks[i], random, recipe) for i in (next(stream) for _ in range(recipe["batch"]))]
        x, t = (torch.stack(v) for v in zip(*pairs))
        optimiser.zero_grad()
        loss = cross_entropy_dice(model((x - mean) / std), t)
        loss.backward()
        optimiser.step()
        average(ema, model, recipe["ema"])
        losses.append(loss.item())
    return ema.eval(), [float(part.mean()) for part in np.array_split(losses, min(10, steps))]


@torch.no_grad()
def dice_per_image(model, images, masks, mean, std):
    """Dice of the foreground of each image; two empty masks are 1."""
    out = []
    for image, mask in zip(images, masks):
        predicted = model(((image[None] - mean) / std))[0].argmax(0)
        total = int(predicted.sum() + mask.sum())
        out.append(2 * int((predicted * mask).sum()) / total if total else 1.0)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--width", type=int, required=True, help="channels at full resolution")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--steps", type=int, default=R0["steps"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--validation-file", type=Path, help="stems kept out of training, one a line")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the result")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    train_files, validation_files, test_files = read_split(args.data, args.validation_file)
    if not validation_files:
        print("no validation file: all images that are not test are trained on", file=sys.stderr)
    images, masks = load(args.data, train_files, R0["size"])
    std, mean = torch.std_mean(images, (0, 2, 3), correction=0, keepdim=True)
    mean, std = mean[0], std[0].clamp_min(1e-6)
    model = UNet(args.width, images.shape[1], 2, args.depth)
    initialise(model)
    model = model.to(memory_format=torch.channels_last)
    begin = time.perf_counter()
    ema, losses = train(model, images, masks, mean, std, args.width, args.steps, args.seed, R0)
    seconds = time.perf_counter() - begin

    dice = {n: dice_per_image(ema, *load(args.data, f, R0["size"]), mean, std) for n, f in [("test", test_files), ("validation", validation_files)] if f}
    result = {
        "data": args.data.resolve().name, "width": args.width, "depth": args.depth, "seed": args.seed, "steps": args.steps,
        "params": sum(p.numel() for p in model.parameters()), "recipe": R0 | {"steps": args.steps},
        "images": {"train": len(train_files), "validation": len(validation_files), "test": len(test_files)},
        "dice": {n: {"mean": float(np.mean(v)), "per_image": v} for n, v in dice.items()},
        "losses": losses, "seconds": seconds, "torch": torch.__version__,
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print({n: round(v["mean"], 4) for n, v in result["dice"].items()}, f"{seconds:.1f} s; losses", [round(v, 3) for v in losses])


if __name__ == "__main__":
    main()
