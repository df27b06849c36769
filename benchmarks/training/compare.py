"""Trains the same network with `segfit train` and with PyTorch, and writes results.md and results.json.

    python compare.py SEGFIT DATA... --work DIR [--width 16] [--seeds 0 1] [--manifest MANIFEST --records RECORDS]

SEGFIT is the program. For each data set it asks `segfit measure DATA --per-image` for the training images; what is neither one
of these nor test is validation, and is written to DIR/NAME-validation.txt. (With --only-validation-files it stops there.)
Then, for each seed:

1. Start: both train 20 steps, PyTorch also in 64 bits. Data, initial weights, order, views and learning rates are the same
   numbers on both sides, so that the losses agree until rounding has grown. The recipes must be the same.
2. Whole training: `segfit train` on the network of `segfit network narrow --width W`, and pytorch_reference.py. With
   --manifest and --records, records of `segfit calibrate run` of the same data, network, recipe and seed stand in for segfit's
   side. What lies in DIR already is not trained again. PyTorch suffers when other programs use the cores: let it run alone.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
START, SHOWN = 20, (1, 2, 3, 5, 10, 20)


def run(command):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(command)}")
    return done.stdout


def write_validation_file(segfit, data, work):
    """The profile of the training images and the file with the validation images' stems."""
    profile_file, out = work / f"{data.name}-profile.json", work / f"{data.name}-validation.txt"
    run([segfit, "measure", data, "--per-image", "--out", profile_file])
    profile = json.loads(profile_file.read_text())
    train = {image["name"] for image in profile["per_image"]}
    with open(data / "split.csv", newline="") as f:
        others = {Path(r["file"]).stem for r in csv.DictReader(f) if not r["split"].startswith("test")}
    if not train <= others:
        sys.exit(f"{data}: segfit trains on {sorted(train - others)[:5]}, which split.csv holds back")
    out.write_text("".join(f"{stem}\n" for stem in sorted(others - train)))
    return profile, out


def channels_of(data):
    from PIL import Image

    return len(Image.open(min((data / "images").iterdir())).getbands())


def network(segfit, data, args):
    out = args.work / f"{data.name}-w{args.width}-network.json"
    size = ["--channels", channels_of(data), "--classes", 2, "--width", args.width, "--depth", args.depth]
    run([segfit, "network", "narrow", "--network", "unet", *size, "--out", out])
    return out


def recipe_options(args, steps):
    return (["--recipe", args.recipe] if args.recipe else []) + ([] if steps is None else ["--steps", steps])


def train_segfit(segfit, data, seed, args, steps=None):
    """Report of `segfit train` and its run folder."""
    folder = args.work / f"{data.name}-w{args.width}-s{seed}-segfit{'' if steps is None else f'-{steps}'}"
    report = folder / "report.json"
    if not report.exists():
        command = [segfit, "train", network(segfit, data, args), data, "--out", folder, "--seed", seed, "--json"]
        text = run(command + ["--threads", args.threads] + recipe_options(args, steps))
        report.write_text(text)
    return json.loads(report.read_text()), folder


def pytorch_file(data, seed, args, steps=None, double=False):
    kind = f"pytorch{'64' if double else ''}{'' if steps is None else f'-{steps}'}"
    return args.work / f"{data.name}-w{args.width}-s{seed}-{kind}.json"


def train_pytorch(data, validation_file, seed, args, steps=None, double=False):
    out = pytorch_file(data, seed, args, steps, double)
    if not out.exists():
        load = os.getloadavg()[0]
        command = [sys.executable, HERE / "pytorch_reference.py", data, "--width", args.width, "--depth", args.depth]
        command += ["--seed", seed, "--threads", args.threads, "--validation-file", validation_file, "--out", out]
        command += ["--double"] if double else []
        run(command + recipe_options(args, steps))
        out.write_text(json.dumps(json.loads(out.read_text()) | {"load_before": load}, indent=1) + "\n")
    return json.loads(out.read_text())


def compare_start(segfit, data, validation_file, seed, args):
    """Losses of the first steps of both sides and of PyTorch in 64 bits, and the largest difference of the normalisation."""
    _, folder = train_segfit(segfit, data, seed, args, START)
    theirs, exact = (train_pytorch(data, validation_file, seed, args, START, double) for double in (False, True))
    check_recipe(json.loads((folder / "recipe.json").read_text()), theirs["recipe"])
    # So few steps may not beat a constant mask; segfit then tries other seeds and sets the first attempt aside.
    log = next(f for f in (folder / "collapsed-0" / "log.jsonl", folder / "log.jsonl") if f.exists())
    ours = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    used = json.loads((folder / "run.json").read_text())["normalisation"]
    pairs = [(a, b) for key in ("mean", "std") for a, b in zip(used[key], theirs["normalisation"][key])]
    return {
        "recipe": theirs["recipe"]["name"], "segfit": ours, "pytorch": theirs["losses"], "pytorch64": exact["losses"],
        "normalisation": max(abs(a - b) for a, b in pairs),
    }  # fmt: skip


def check_recipe(ours, theirs):
    a, b = ({k: v for k, v in recipe.items() if k not in ("name", "steps")} for recipe in (ours, theirs))
    if a != b:
        sys.exit(f"the recipes differ: segfit {a}, PyTorch {b}")


def from_records(data, profile, seed, recipe, args):
    """segfit's result out of a calibration, None if it holds no training like this one."""
    wanted = (data.name, "unet", args.width, args.depth, seed, recipe)
    for job in json.loads(args.manifest.read_text())["jobs"] if args.manifest else []:
        file = args.records / f"{job['id']}.jsonl"
        found = (job["dataset"]["name"], job["family"], job["base_width"], job["depth"], job["seed"], job["recipe"])
        if found != wanted or job.get("widths") or not file.exists():
            continue
        r = json.loads(file.read_text())
        if r["attempt"] == 0 and r["dataset"]["fingerprint"] == profile["fingerprint"]:
            per_image = {i["name"]: i["dice"] for i in r["per_image"]}
            return {"dice": r["dice"], "per_image": per_image, "seconds": r["seconds"], "params": r["cost"]["params"],
                    "steps": r["steps"], "engine": r["engine"], "from": "calibration record"}  # fmt: skip
    return None


def whole_segfit(segfit, data, profile, seed, recipe, args):
    found = from_records(data, profile, seed, recipe, args)
    if found:
        return found
    report, folder = train_segfit(segfit, data, seed, args)
    if report["attempts"] != 1:
        sys.exit(f"{folder}: the training collapsed and was repeated with another seed; choose another seed")
    metrics = json.loads((folder / "metrics.json").read_text())
    per_image = {i["name"]: i["dice"] for i in metrics["per_image"]}
    engine = json.loads((folder / "run.json").read_text())["engine"]
    return {"dice": report["dice"]["mean"], "per_image": per_image, "seconds": report["seconds"], "params": report["params"],
            "steps": report["steps"], "engine": engine, "from": "segfit train"}  # fmt: skip


def compare_whole(segfit, data, profile, validation_file, seed, args):
    theirs = train_pytorch(data, validation_file, seed, args)
    ours = whole_segfit(segfit, data, profile, seed, theirs["recipe"], args)
    steps = theirs["recipe"]["steps"]
    test = theirs["dice"]["test"]
    if ours["params"] != theirs["params"] or ours["per_image"].keys() != test["per_image"].keys():
        sys.exit(f"{data}: parameters or test images differ between the two sides")
    if theirs["images"]["train"] != profile["images"] or ours["steps"] != steps:
        sys.exit(f"{data}: training images or steps differ between the two sides")
    differences = [ours["per_image"][name] - value for name, value in test["per_image"].items()]
    spread = statistics.stdev(differences) / len(differences) ** 0.5
    return {
        "data": data.name, "seed": seed, "width": args.width, "depth": args.depth, "params": theirs["params"],
        "recipe": theirs["recipe"]["name"], "steps": steps, "images": theirs["images"],
        "segfit": {k: ours[k] for k in ("dice", "seconds", "engine", "from")},
        "pytorch": {"dice": test["mean"], "validation_dice": theirs["dice"].get("validation", {}).get("mean"),
                    **{k: theirs[k] for k in ("seconds", "views_seconds", "torch", "threads", "load_before")}},
        "difference": ours["dice"] - test["mean"], "difference_half_interval": 1.96 * spread,
    }  # fmt: skip


def table(rows):
    columns = ["data set", "train / test images", "seed", "steps", "segfit Dice", "PyTorch Dice", "difference", "segfit s"]
    columns += ["PyTorch s", "load before PyTorch"]
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    for r in rows:
        a, b, n = r["segfit"], r["pytorch"], r["images"]
        lines.append(
            f"| {r['data']} | {n['train']} / {n['test']} | {r['seed']} | {r['steps']} | {a['dice']:.4f} | {b['dice']:.4f} "
            f"| {r['difference']:+.4f} ± {r['difference_half_interval']:.4f} | {a['seconds']:.0f} | {b['seconds']:.0f} "
            f"| {b['load_before']:.1f} |"
        )
    return "\n".join(lines)


def start_table(starts):
    lines = ["| data set | seed | who | " + " | ".join(f"step {s}" for s in SHOWN) + " | mean over 20 |"]
    lines += ["| --- | ---: | --- |" + " ---: |" * (len(SHOWN) + 1)]
    for s in starts:
        for name, who in (("segfit", "segfit"), ("pytorch", "PyTorch")):
            differences = [abs(a - b) for a, b in zip(s[name], s["pytorch64"], strict=True)]
            cells = [f"{differences[step - 1]:.1e}" for step in SHOWN] + [f"{statistics.mean(differences):.1e}"]
            lines.append(f"| {s['data']} | {s['seed']} | {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def whole_text(rows):
    if not rows:
        return "No whole training was compared in this run."
    differences = [r["difference"] for r in rows]
    signs = f"from {min(differences):+.4f} to {max(differences):+.4f}, mean {statistics.mean(differences):+.4f}"
    ours, theirs = rows[0]["segfit"], rows[0]["pytorch"]
    kept = any(r["segfit"]["from"] == "calibration record" for r in rows)
    source = "segfit's numbers are records of `segfit calibrate run` with the same recipe and seed." if kept else ""
    return f"""Dice is the mean over the test images, at the network's scale, of the averaged weights after the last step. segfit on
`{ours["engine"]}`, PyTorch {theirs["torch"]} with {theirs["threads"]} threads, channels last, not compiled.

{table(rows)}

Differences are segfit - PyTorch, {signs}. ± is half of a normal 95%
interval of the mean over the test images, paired by image, for these two networks; it does not include that another seed gives
another network. Load is the number of waiting and running threads in the minute before.
{source}"""


def text(starts, rows, args):
    normalisation = max(s["normalisation"] for s in starts)
    return f"""# The same training in segfit and in PyTorch

Written by `compare.py` on {datetime.date.today()}: U-Net of base width {args.width}, depth {args.depth}, recipe
{starts[0]["recipe"]}, frames of 128 x 128 pixels. {cpu_name()}, {os.cpu_count()} logical cores.

## The start

Both sides draw the same initial weights, order and views from a seed. What differs is rounding, and training makes it grow: so
the losses of the first {START} steps (the schedule shortened to these) are held against PyTorch in 64-bit floating point.
Absolute differences of the loss; the per-channel means and deviations agree within {normalisation:.0e}.

{start_table(starts)}

## Whole trainings

{whole_text(rows)}

{args.note.read_text().strip() if args.note else ""}
""".rstrip() + "\n"


def write_results(starts, rows, args):
    results = {"cpu": cpu_name(), "starts": starts, "whole": rows}
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "results.md").write_text(text(starts, rows, args))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder of intermediate files")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--recipe", type=Path, help="recipe file for both sides instead of r0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--manifest", type=Path, help="list of a calibration whose records are to be used")
    parser.add_argument("--records", type=Path, help="the folder of its records")
    parser.add_argument("--note", type=Path, help="text that is put at the end of results.md")
    parser.add_argument("--only-validation-files", action="store_true")
    parser.add_argument("--no-training", action="store_true", help="only whole trainings of PyTorch that lie in DIR already")
    args = parser.parse_args()
    if (args.manifest is None) != (args.records is None):
        parser.error("--manifest and --records belong together")
    args.work.mkdir(parents=True, exist_ok=True)
    args.segfit, args.data = args.segfit.resolve(), [d.resolve() for d in args.data]
    prepared = {data: write_validation_file(args.segfit, data, args.work) for data in args.data}
    if args.only_validation_files:
        return
    trainings = [(data, *prepared[data], seed) for seed in args.seeds for data in args.data]
    starts, rows = [], []
    for data, _, file, seed in trainings:
        starts.append({"data": data.name, "seed": seed} | compare_start(args.segfit, data, file, seed, args))
    write_results(starts, rows, args)
    for data, profile, file, seed in trainings:
        if args.no_training and not pytorch_file(data, seed, args).exists():
            continue
        rows.append(compare_whole(args.segfit, data, profile, file, seed, args))
        print(table(rows[-1:]).splitlines()[-1], flush=True)
        write_results(starts, rows, args)


if __name__ == "__main__":
    main()
