"""Trains the reference PyTorch U-Net with segfit's recipe r0 on one data set, and evaluates it: the peer of `segfit train`.

    python pytorch_reference.py DATA --width 16 --seed 0 --validation-file stems.txt --out result.json

DATA holds images/, masks/ (8-bit, of the same names; foreground is not 0) and split.csv (file,split,source). Splits that begin
with `test` are test. Of the other images, those whose stems are listed in --validation-file (one a line) are kept out of
training, and out of the statistics that images are normalised with. segfit chooses them by a hash of their sources' names;
`compare.py` gets the list from segfit, and `python compare.py SEGFIT DATA --only-validation-files --work DIR` only writes it.

The recipe is crates/segfit/src/recipe.rs, r0, in resize mode, done as crates/segfit-engine does it: images resized as float
planes with antialiasing; per-channel statistics of the resized training images; He-normal initial weights; epochs of
permutations; views of views.py; AdamW with warm-up and cosine; the average of the weights and running statistics with decay
min(ema, (1 + t) / (10 + t)) after step t = 1, 2, ...; the last average is evaluated at the network's scale. Random numbers
come from stream.py, so that initial weights, order and views are those of segfit with the same seed. What is compared is the
engine: convolutions, batch norm, pooling, loss and their gradients, AdamW and the average are PyTorch's or written with it.
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

from stream import Stream
from views import draw_view

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
from pytorch_unet import UNet, cross_entropy_dice, parameter_groups  # noqa: E402

R0 = {
    "format": "segfit-recipe/1", "name": "r0", "input": {"mode": "resize", "size": 128}, "batch": 4, "steps": 1000,
    "warmup": 0.05, "learning_rate": 4e-3, "width_exponent": 0.5, "max_learning_rate": 2e-2, "weight_decay": 1e-4, "ema": 0.99,
    "loss": "cross_entropy_dice",
    "augmentation": {
        "flips_and_turns": True, "rotation_degrees": 30.0, "scale": 0.25, "gamma": 0.3, "brightness": 0.1, "contrast": 0.2,
        "probability": 0.5,
    },
}  # fmt: skip
WEIGHTS, ORDER, VIEW = 0x0077_6569_6768_7473, 1, 2


def read_recipe(path):
    recipe = json.loads(path.read_text())
    if recipe["format"] != R0["format"] or recipe["input"]["mode"] != "resize" or recipe["loss"] != R0["loss"]:
        sys.exit(f"{path}: only {R0['format']} in resize mode with the loss {R0['loss']} is done here")
    return recipe


def read_split(data, validation_file):
    """Files of the training, validation and test images, sorted by stem."""
    with open(data / "split.csv", newline="") as f:
        rows = sorted(csv.DictReader(f), key=lambda r: Path(r["file"]).stem)
    test = [r["file"] for r in rows if r["split"].startswith("test")]
    others = [r["file"] for r in rows if not r["split"].startswith("test")]
    stems = set(validation_file.read_text().split()) if validation_file else set()
    unknown = stems - {Path(f).stem for f in others}
    if unknown:
        sys.exit(f"{validation_file}: not among the images that are not test: {sorted(unknown)[:5]}")
    train = [f for f in others if Path(f).stem not in stems]
    return train, [f for f in others if Path(f).stem in stems], test


def load_image(path, size):
    """float32 C x size x size in [0, 1]; each channel is resized as a plane of floating-point numbers."""
    image = Image.open(path)
    if image.mode not in ("L", "RGB"):
        sys.exit(f"{path}: mode {image.mode}; only 8-bit gray and RGB images are compared")
    planes = [np.asarray(band, np.float32) / np.float32(255) for band in image.split()]
    resized = [Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR) for p in planes]
    return np.stack([np.asarray(p) for p in resized])


def load(data, files, size):
    """Images N x C x size x size and masks N x size x size, 1 = foreground."""
    images = np.stack([load_image(data / "images" / name, size) for name in files])
    masks = [Image.open(data / "masks" / name).convert("L").resize((size, size), Image.Resampling.NEAREST) for name in files]
    return images, np.stack([np.asarray(m) > 0 for m in masks]).astype(np.int64)


def statistics(images):
    """Mean and deviation of each channel over all pixels, C x 1 x 1; 1 for the deviation of a constant channel."""
    values = images.astype(np.float64)
    mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
    std = np.where(std > 1e-6 * np.abs(values).max((0, 2, 3)), std, 1.0)
    return (v.astype(np.float32)[:, None, None] for v in (mean, std))


@torch.no_grad()
def initialise(model, seed):
    """Weights from N(0, 2 / fan-in), the fan-in of a transposed convolution being its input channels; biases 0.

    Every parameter has a stream of its own, named by its position among all parameters and running statistics.
    """
    position = 0
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            area = 1 if isinstance(module, torch.nn.ConvTranspose2d) else math.prod(module.kernel_size)
            deviation = np.sqrt(np.float32(2) / np.float32(module.in_channels * area))
            normals = Stream(WEIGHTS, seed, position).normals(module.weight.numel())
            module.weight.copy_(torch.from_numpy(deviation * normals).view(module.weight.shape))
            module.bias.zero_()
            position += 2
        elif isinstance(module, torch.nn.BatchNorm2d):
            position += 4


def learning_rate(step, steps, width, recipe):
    peak = recipe["learning_rate"] * (16 / width) ** recipe["width_exponent"]
    peak = min(peak, recipe["max_learning_rate"])
    warm = math.floor(recipe["warmup"] * steps + 0.5)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def draw_batch(images, masks, step, seed, recipe):
    """Step `step`'s views: the next `batch` positions of epochs of permutations."""
    views = []
    for position in range(step * recipe["batch"], (step + 1) * recipe["batch"]):
        epoch, within = divmod(position, len(images))
        i = Stream(seed, ORDER, epoch).permutation(len(images))[within]
        views.append(draw_view(images[i], masks[i], recipe["augmentation"], Stream(seed, VIEW, position)))
    return (np.stack(v) for v in zip(*views))


@torch.no_grad()
def average(ema, model, decay):
    """ema = decay * ema + (1 - decay) * model, for parameters and running statistics."""
    for old, new in zip(ema.state_dict().values(), model.state_dict().values()):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - decay)


def train(model, images, masks, mean, std, width, seed, recipe):
    """The averaged model, the loss of each step, and the seconds that drawing views took."""
    optimiser = torch.optim.AdamW(parameter_groups(model, recipe["weight_decay"]), betas=(0.9, 0.999), eps=1e-8)
    ema = copy.deepcopy(model)
    losses, seconds = [], 0.0
    model.train()
    for step in range(recipe["steps"]):
        begin = time.perf_counter()
        views, targets = draw_batch(images, masks, step, seed, recipe)
        views = torch.from_numpy((views - mean) / std).to(model.head.weight.dtype, memory_format=torch.channels_last)
        seconds += time.perf_counter() - begin
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, recipe["steps"], width, recipe)
        optimiser.zero_grad()
        loss = cross_entropy_dice(model(views), torch.from_numpy(targets))
        loss.backward()
        optimiser.step()
        average(ema, model, min(recipe["ema"], (2 + step) / (11 + step)))
        losses.append(loss.item())
    return ema.eval(), losses, seconds


@torch.no_grad()
def dice_per_image(model, images, masks, mean, std):
    """Dice of the foreground of each image, in order; two empty masks are 1."""
    out = []
    for image, mask in zip(images, masks):
        view = torch.from_numpy((image - mean) / std)[None].to(model.head.weight.dtype)
        predicted = model(view)[0].argmax(0).numpy()
        total = int(predicted.sum() + mask.sum())
        out.append(2 * int((predicted * mask).sum()) / total if total else 1.0)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--width", type=int, required=True, help="channels at full resolution")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--recipe", type=Path, help="a recipe file of segfit instead of r0")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--double", action="store_true", help="train in 64-bit floating point, to see what rounding does")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--validation-file", type=Path, help="stems kept out of training, one a line")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the result")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = read_recipe(args.recipe) if args.recipe else R0
    if args.steps is not None:
        recipe = recipe | {"steps": args.steps}
    size = recipe["input"]["size"]

    train_files, validation_files, test_files = read_split(args.data, args.validation_file)
    if not validation_files:
        print("no validation file: all images that are not test are trained on", file=sys.stderr)
    images, masks = load(args.data, train_files, size)
    mean, std = statistics(images)
    model = UNet(args.width, images.shape[1], 2, args.depth)
    initialise(model, args.seed)
    model = model.to(torch.float64 if args.double else torch.float32, memory_format=torch.channels_last)
    begin = time.perf_counter()
    ema, losses, views_seconds = train(model, images, masks, mean, std, args.width, args.seed, recipe)
    seconds = time.perf_counter() - begin

    splits = [("test", test_files), ("validation", validation_files)]
    dice = {}
    for name, files in splits:
        if files:
            values = dice_per_image(ema, *load(args.data, files, size), mean, std)
            dice[name] = {Path(f).stem: v for f, v in zip(files, values)}
    result = {
        "data": args.data.resolve().name, "width": args.width, "depth": args.depth, "seed": args.seed, "recipe": recipe,
        "params": sum(p.numel() for p in model.parameters()),
        "images": {"train": len(train_files), "validation": len(validation_files), "test": len(test_files)},
        "normalisation": {"mean": mean.ravel().tolist(), "std": std.ravel().tolist()},
        "dice": {n: {"mean": float(np.mean(list(v.values()))), "per_image": v} for n, v in dice.items()},
        "losses": losses, "seconds": seconds, "views_seconds": views_seconds, "torch": torch.__version__,
        "threads": args.threads,
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    tenths = [round(float(part.mean()), 3) for part in np.array_split(losses, min(10, len(losses)))]
    print({n: round(v["mean"], 4) for n, v in result["dice"].items()}, f"{seconds:.1f} s; losses", tenths)


if __name__ == "__main__":
    main()
