"""Trains a few widths with several learning rates and numbers of steps, and records the Dice of the validation images.

    python tune_recipe.py SEGFIT DATA... --work DIR [--out tuning.jsonl] [--seeds 0 1 2]

This is how the steps and the learning rates of recipe r1 were chosen: by the validation images of two data sets. The test
images are read by `segfit train` when it has finished, but their scores are neither recorded nor shown here. What is in the
output file already is not trained again. Cheap trainings come first.
"""

import argparse
import json
import shutil
import subprocess
from pathlib import Path

# Width: [(steps, peak learning rates)].
GRID = {
    1: [(1000, (8e-3, 16e-3, 32e-3)), (2000, (4e-3, 8e-3, 16e-3, 32e-3)), (4000, (4e-3, 8e-3, 16e-3, 32e-3)), (8000, (8e-3, 16e-3))],
    2: [(1000, (8e-3, 16e-3)), (2000, (4e-3, 8e-3, 16e-3)), (4000, (4e-3, 8e-3, 16e-3)), (8000, (8e-3,))],
    4: [(1000, (4e-3, 8e-3)), (2000, (2e-3, 4e-3, 8e-3, 16e-3)), (4000, (4e-3, 8e-3))],
    16: [(1000, (2e-3, 4e-3, 8e-3)), (2000, (1e-3, 2e-3, 4e-3)), (4000, (2e-3,))],
}


def channels_of(data):
    from PIL import Image

    return len(Image.open(min((data / "images").iterdir())).getbands())


def jobs(args):
    """Cheapest first: steps x width."""
    grid = [(steps * width, width, steps, rate) for width, rows in GRID.items() for steps, rates in rows for rate in rates]
    for seed in args.seeds:
        for _, width, steps, rate in sorted(grid):
            if width < 16 or seed == args.seeds[0]:
                for data in args.data:
                    yield data, width, steps, rate, seed


def train(args, data, width, steps, rate, seed):
    """The learning curve of the validation images, and the last of its values."""
    name = f"{data.name}-{width}-{steps}-{rate}-{seed}"
    network, recipe, folder = args.work / f"{name}.network.json", args.work / f"{name}.recipe.json", args.work / name
    shutil.rmtree(folder, ignore_errors=True)
    channels = channels_of(data)
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([args.segfit, "network", "narrow", "--channels", str(channels), "--width", str(width), "--out", network], **quiet)
    made = args.recipe | {"name": "trial", "steps": steps, "learning_rate": rate, "width_exponent": 0.0, "max_learning_rate": 1.0}
    recipe.write_text(json.dumps(made))
    command = [args.segfit, "train", network, data, "--recipe", recipe, "--out", folder, "--seed", str(seed), "--json"]
    report = json.loads(subprocess.run(command, **quiet | {"stdout": subprocess.PIPE}).stdout)
    curve = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    shutil.rmtree(folder)
    network.unlink()
    recipe.unlink()
    kept = [(c["step"], round(c["loss"], 5), round(c["validation_dice"], 5)) for c in curve if "validation_dice" in c]
    record = {"data": data.name, "width": width, "steps": steps, "learning_rate": rate, "seed": seed}
    return record | {"dice": kept[-1][2], "loss": kept[-1][1], "curve": kept, "attempts": report["attempts"]}


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", type=lambda file: Path(file).resolve())
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--recipe", type=lambda file: json.loads(Path(file).read_text()), required=True, help="what is not tuned")
    parser.add_argument("--out", type=Path, default=here / "tuning.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    key = lambda r: (r["data"], r["width"], r["steps"], r["learning_rate"], r["seed"])  # noqa: E731
    done = {key(r) for r in known}
    for data, width, steps, rate, seed in jobs(args):
        if (data.name, width, steps, rate, seed) in done:
            continue
        record = train(args, data, width, steps, rate, seed)
        with open(args.out, "a") as file:
            file.write(json.dumps(record) + "\n")
        print(*key(record), record["dice"], flush=True)


if __name__ == "__main__":
    main()
