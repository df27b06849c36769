"""Trains every family of networks with `segfit train`, at its width for comparisons and at a quarter of it, and writes families.md.

    python train_families.py SEGFIT DATA... --work DIR [--families unet ...] [--steps 1000] [--seed 0]

DATA are data sets at 128 x 128 pixels; those named in PATCHES are trained on patches. Width 16 is full size here, but for
FC-DenseNet, whose first convolution has 48 channels whatever the width: its quarter is one of all its groups. Each training
is one line of results.jsonl: what lies there already is not trained again. Scores are of the test images, which nothing
was chosen by.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATCHES = ("isbi2012_em", "axon_sem_myelin", "chase_db1")
FAMILIES = (
    "unet", "lean_unet", "separable_unet", "resunet", "attention_unet", "unetpp", "cumednet", "fc_densenet56",
)
QUARTER = {"full": [], "1/4": ["--multiplier", "0.25"]}


def run(command):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(command)}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def channels_of(data):
    from PIL import Image

    return len(Image.open(min((data / "images").iterdir())).getbands())


def train(args, data, family, part):
    """One record: costs, Dice, seconds per epoch."""
    name = f"{data.name}-{family}-{part.replace('/', '_')}"
    network, folder = args.work / f"{name}.json", args.work / name
    options = ["--network", family, "--channels", channels_of(data), "--classes", 2]
    options += ["--width", 16] if not family.startswith("fc_densenet") else []
    run([args.segfit, "network", "narrow", *options, *QUARTER[part], "--out", network, "--json"])
    cost = run([args.segfit, "network", "cost", "--network", network, "--size", 128, "--json"])
    patch = ["--patch"] if data.name in PATCHES else []
    command = [args.segfit, "train", network, data, "--out", folder, "--size", 128, "--seed", args.seed, "--json", *patch]
    report = run(command + ["--steps", args.steps])
    score = run([args.segfit, "evaluate", folder, data, "--json"])
    record = {"data": data.name, "family": family, "part": part, "steps": args.steps, "seed": args.seed}
    record |= {key: cost[key] for key in ("params", "macs", "peak_activation_bytes")}
    kept = {key: report[key] for key in ("seconds", "peak_bytes", "collapsed", "attempts")}
    return record | {"dice": score["dice"], "iou": score["iou"], **kept}


def step_ms(args, record):
    """Milliseconds of a training step of 4 images: the least of a benchmark by itself."""
    network = args.work / f"{record['data']}-{record['family']}-{record['part'].replace('/', '_')}.json"
    return run([args.segfit, "bench", "--network-file", network, "--size", 128, "--batch", 4, "--mode", "train", "--json"])["ms"]["min"]


def table(records, times):
    rows = ["| data set | family | size | parameters | MACs | activations at inference | Dice (95%) | ms per step |", "|---|---|---|---|---|---|---|---|"]
    for r in sorted(records, key=lambda r: (r["data"], FAMILIES.index(r["family"]), r["part"] != "full")):
        dice = f"{r['dice']['mean']:.4f} ({r['dice']['low']:.3f}-{r['dice']['high']:.3f})"
        cost = f"{r['params']:,} | {r['macs'] / 1e6:,.1f} M | {r['peak_activation_bytes'] / 2**20:.2f} MiB"
        rows.append(f"| {r['data']} | {r['family']} | {r['part']} | {cost} | {dice} | {times[r['family'], r['part']]:.1f} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    results = HERE / "results.jsonl"
    records = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(r["data"], r["family"], r["part"], r["steps"], r["seed"]) for r in records}
    failed = []
    for part in ("1/4", "full"):
        for family in args.families:
            for data in args.data:
                if (data.name, family, part, args.steps, args.seed) in done:
                    continue
                try:
                    record = train(args, data, family, part)
                except RuntimeError as error:
                    failed.append(f"{data.name} {family} {part}: {error}")
                    print(failed[-1], file=sys.stderr)
                    continue
                records.append(record)
                with open(results, "a") as file:
                    file.write(json.dumps(record) + "\n")
                print(data.name, family, part, f"{record['dice']['mean']:.4f}", flush=True)
    times = {}
    for record in records:
        if (record["family"], record["part"]) not in times:
            times[record["family"], record["part"]] = step_ms(args, record)
    head = ["# Families trained at 128 x 128", "", f"Written by `train_families.py`, {datetime.date.today()}, {os.cpu_count()} cores: {args.steps} steps of 4 images by the"]
    head += ["built-in recipe r0, one seed, test images. Full size is base width 16 (FC-DenseNet56: as published), 1/4 is a quarter of all"]
    head += ["channels. Dice with its 95% bootstrap interval. A step was timed alone; an epoch is 20 or 21 of them (80 and 82 images).", ""]
    (HERE / "families.md").write_text("\n".join(head) + "\n" + table(records, times) + "\n")
    if failed:
        sys.exit(f"{len(failed)} trainings failed")


if __name__ == "__main__":
    main()
