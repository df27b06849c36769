"""Does a narrow U-Net learn better from a trained wide one than from scratch? Writes inheritance.jsonl and inheritance.md.

    python inheritance.py SEGFIT DATA... --work DIR [--full NAME=RUN ...] [--widths 2 4] [--steps 1000 250] [--seeds 0 1 2]

SEGFIT is the program. For each data set a U-Net of width --full-width is trained once with the built-in recipe r0 and seed 0 in
DIR/NAME-full, unless --full names a finished run. Then for every narrow width, number of steps and seed the same training is
run in each of these ways (ARMS), in turn so that a machine that slows down slows them alike:

    scratch          random initial weights
    l1, batch_norm   the initial weights are cut out of the full network by this criterion (--init, --inherit)
    distilled        random initial weights; the full network's outputs are soft targets (--teacher)
    l1+distilled     both

Everything else is equal: order and views of the images (by the seed), learning rate, steps; the averaged weights after the last
step are scored on the test images. Validation images are used for nothing. Every finished training is a line of the results
file and is not run again; an interrupted one goes on where it was. The teacher's cost is not hidden: seconds are listed.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from compare import channels_of, cpu_name

HERE = Path(__file__).resolve().parent
ARMS = {
    "scratch": lambda full: [],
    "l1": lambda full: ["--init", full, "--inherit", "l1"],
    "batch_norm": lambda full: ["--init", full, "--inherit", "batch_norm"],
    "distilled": lambda full: ["--teacher", full],
    "l1+distilled": lambda full: ["--init", full, "--inherit", "l1", "--teacher", full],
}
KEY = ("data", "full", "width", "depth", "steps", "arm", "seed")


def run(command):
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(command)}")
    return json.loads(done.stdout)


def network(data, width, args):
    out = args.work / f"{data.name}-w{width}-d{args.depth}.json"
    size = ["--channels", channels_of(data), "--classes", 2, "--width", width, "--depth", args.depth]
    run([args.segfit, "network", "narrow", "--network", "unet", *size, "--out", out, "--json"])
    return out


def train(data, width, steps, seed, folder, options, args):
    command = [args.segfit, "train", network(data, width, args), data, "--out", folder, "--seed", seed, "--json"]
    command += ["--size", args.size, "--steps", steps, "--threads", args.threads, *options]
    return run(command)


def full_run(data, args):
    """Folder and test Dice of the full network of a data set, trained here unless given."""
    folder = args.given.get(data.name, args.work / f"{data.name}-full-w{args.full_width}")
    if data.name not in args.given:
        train(data, args.full_width, args.full_steps, 0, folder, [], args)
    info = json.loads((folder / "run.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    if info["recipe"]["input"] != {"mode": "resize", "size": args.size}:
        sys.exit(f"{folder}: trained on {info['recipe']['input']}, not on frames of {args.size}")
    return folder, info, metrics["dice"]["mean"]


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure(data, args):
    folder, info, full_dice = full_run(data, args)
    # Another full network, or another version of the data, makes other results.
    job = {"data": data.name, "full": info["id"], "depth": args.depth}
    done = {tuple(line[k] for k in KEY) for line in read_lines(args.results)}
    trainings = [(w, s, seed, arm) for w in args.widths for s in args.steps for seed in args.seeds for arm in args.arms]
    for number, (width, steps, seed, arm) in enumerate(trainings, 1):
        key = job | {"width": width, "steps": steps, "arm": arm, "seed": seed}
        if tuple(key[k] for k in KEY) in done:
            continue
        out = args.work / f"{data.name}-{info['id'][:6]}-w{width}-d{args.depth}-n{steps}-s{seed}-{arm}"
        report = train(data, width, steps, seed, out, ARMS[arm](folder), args)
        line = key | {
            "dice": report["dice"]["mean"], "iou": report["iou"]["mean"], "params": report["params"],
            "seconds": report["seconds"], "peak_bytes": report["peak_bytes"], "attempts": report["attempts"],
            "collapsed": report["collapsed"], "full_width": args.full_width, "full_dice": full_dice,
            "size": args.size, "test_images": report["images"], "engine": info["engine"],
        }  # fmt: skip
        with open(args.results, "a") as f:
            f.write(json.dumps(line) + "\n")
        what = f"{data.name} {number}/{len(trainings)}: width {width}, {steps} steps, seed {seed}, {arm}"
        print(f"{what}: {line['dice']:.4f}", flush=True)
    return job


def mean_and_spread(values):
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def pick(lines, **wanted):
    return [line for line in lines if all(line[k] == v for k, v in wanted.items())]


def values(lines, key):
    return sorted({line[key] for line in lines})


def dice_table(lines, arms):
    rows = ["| data set | full Dice | width | steps | " + " | ".join(arms) + " |"]
    rows += ["| --- | ---: | ---: | ---: |" + " ---: |" * len(arms)]
    for data in values(lines, "data"):
        for width in values(lines, "width"):
            for steps in values(lines, "steps"):
                here = pick(lines, data=data, width=width, steps=steps)
                if not here:
                    continue
                cells = [[line["dice"] for line in pick(here, arm=arm)] for arm in arms]
                texts = [mean_and_spread(c) if c else "" for c in cells]
                rows.append(f"| {data} | {here[0]['full_dice']:.4f} | {width} | {steps} | " + " | ".join(texts) + " |")
    return "\n".join(rows)


def differences(lines, arm):
    """Dice of an arm less that from scratch, paired by everything else."""
    scratch = {(r["data"], r["width"], r["steps"], r["seed"]): r["dice"] for r in pick(lines, arm="scratch")}
    pairs = ((r["dice"], scratch.get((r["data"], r["width"], r["steps"], r["seed"]))) for r in pick(lines, arm=arm))
    return [a - b for a, b in pairs if b is not None]


def difference_table(lines, arms):
    rows = ["| steps | width | way | mean difference | spread | each data set | better than scratch |"]
    rows += ["| ---: | ---: | --- | ---: | ---: | --- | ---: |"]
    for steps in values(lines, "steps"):
        for width in values(lines, "width"):
            for arm in [a for a in arms if a != "scratch"]:
                here = pick(lines, steps=steps, width=width)
                all_of = differences(here, arm)
                if not all_of:
                    continue
                each = {d: differences(pick(here, data=d), arm) for d in values(here, "data")}
                each = ", ".join(f"{d} {statistics.mean(v):+.4f}" for d, v in each.items() if v)
                spread = f"{statistics.stdev(all_of):.4f}" if len(all_of) > 1 else ""
                wins = sum(d > 0 for d in all_of)
                rows.append(
                    f"| {steps} | {width} | {arm} | {statistics.mean(all_of):+.4f} | {spread} | {each} | {wins} of {len(all_of)} |"
                )
    return "\n".join(rows)


def cost_table(lines, arms):
    rows = ["| width | way | parameters | ms per step | memory in training, MiB | repeated after a collapse |"]
    rows += ["| ---: | --- | ---: | ---: | ---: | ---: |"]
    for width in values(lines, "width"):
        for arm in arms:
            here = pick(lines, width=width, arm=arm)
            if not here:
                continue
            step = statistics.median(1e3 * line["seconds"] / line["steps"] for line in here)
            memory = max(line["peak_bytes"] for line in here) / 2**20
            params = "–".join(dict.fromkeys(str(n) for n in (min(values(here, "params")), max(values(here, "params")))))
            repeated = sum(line["attempts"] > 1 for line in here)
            rows.append(f"| {width} | {arm} | {params} | {step:.1f} | {memory:.1f} | {repeated} of {len(here)} |")
    return "\n".join(rows)


def text(lines):
    arms = [arm for arm in ARMS if pick(lines, arm=arm)]
    first = lines[0]
    return f"""# Inheritance and distillation against training from scratch

Written by `inheritance.py` on {datetime.date.today()}: U-Net of depth {first["depth"]}, frames of {first["size"]} x {first["size"]}
pixels, recipe r0 at the number of steps given. {cpu_name()}, {os.cpu_count()} logical cores, `{first["engine"]}`. The full
networks of width {first["full_width"]} were trained once. Dice is the mean over the test images of the averaged weights after the
last step; ± is the standard deviation over seeds. `inheritance.jsonl` holds every training.

{dice_table(lines, arms)}

## Difference from scratch

Dice of each way less that of the training from scratch with the same data set, width, steps and seed; spread is the standard
deviation over data sets and seeds.

{difference_table(lines, arms)}

## Cost

{cost_table(lines, arms)}

Seconds include whatever else the machine did, and the distilled trainings run the full network in every step. A training that
collapsed to a constant mask was repeated with another seed; its Dice is then that of the repetition.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--full", nargs="+", default=[], metavar="NAME=RUN", help="finished runs of full networks, by data set")
    parser.add_argument("--full-width", type=int, default=16)
    parser.add_argument("--full-steps", type=int, default=1000)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 250])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=HERE / "inheritance.jsonl")
    args = parser.parse_args()
    args.given = {name: Path(folder).resolve() for name, _, folder in (f.partition("=") for f in args.full)}
    args.work.mkdir(parents=True, exist_ok=True)
    args.segfit, args.data, args.work = args.segfit.resolve(), [d.resolve() for d in args.data], args.work.resolve()
    unknown = set(args.given) - {d.name for d in args.data}
    if unknown:
        parser.error(f"--full names {', '.join(sorted(unknown))}, which is no data set here")
    jobs = []
    for data in args.data:
        jobs.append(measure(data, args))
        lines = [line for line in read_lines(args.results) if any(pick([line], **job) for job in jobs)]
        args.results.with_suffix(".md").write_text(text(lines))


if __name__ == "__main__":
    main()
