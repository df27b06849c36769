"""Layer-wise plans against the uniform multiplier and the flat network, really trained.

    python benchmarks/planner/shapes.py prepare SEGFIT --data DIR --work WORK     networks and WORK/manifest.json; --again: the networks of
                                                                                  the last time (shapes_arms.json), to go on with them
    SEGFIT calibrate run WORK/manifest.json --out WORK/out                        trains; can be interrupted
    python benchmarks/planner/shapes.py report --work WORK                        tables; shapes.md and records.jsonl beside this script

For each of six data sets and two budgets, three seeds each: the parameters of the U-Net of width 4 (1/253 of those of width 64), which
the calibration trained, and 1/2000 of those of width 64:

    uniform      the widest uniform multiplier with at most the budget's parameters
    params       the plan for at most as many parameters as the budget
    macs         the plan for at most as many multiply-accumulates as `uniform` has
    flat         the widest network with equal channels everywhere (lean U-Net) with at most the budget's parameters
    xtinyunet    the network that XTinyU-Net's rule chooses (once per data set, of its own size; benchmarks/mapping/xtinyunet.json)

The plans for a data set come from a mapping fitted without it. All arms are trained by the recipe of the calibration, which goes by
the width of the uniform network of as many parameters. Paired differences are taken over seeds, then over data sets; p values of single
data sets (paired t over seeds) are corrected by Holm. Needs nothing but Python.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

from common import HERE, PATCHED, ROOT, call, collapsed, cost, drop_measured, keep, key_of, mapping_without, measured, to_be_trained

FULL = 31_045_506
BUDGETS = ["1/2000", "1/253"]
ARMS = HERE / "shapes_arms.json"
SETS = ["glas", "u373_phc", "cardiac_mri_lv", "worms_bbbc010", "chase_db1", "isbi2012_em"]


def named(segfit, path):
    """Calls the network by the width of the uniform one with the nearest parameters, which the recipe goes by."""
    have = cost(segfit, path)["params"]
    spec = json.loads(path.read_text())
    channels = next(g["channels"] for g in spec["groups"] if g["name"] == "image")

    def distance(width):
        words = ["--width", width, "--channels", channels, "--classes", spec["classes"], "--json"]
        return abs(json.loads(call(segfit, "network", "cost", *words))["params"] - have)

    spec["base_width"] = min(range(1, 17), key=distance)
    path.write_text(json.dumps(spec, indent=1) + "\n")


def largest(segfit, path, budget, make):
    """Writes the widest network that `make(i)` gives the options of, i rising, with at most the budget's parameters."""
    low, high = 1, 4096
    while low < high:
        middle = (low + high + 1) // 2
        call(segfit, "network", "narrow", *make(middle), "--out", path)
        if cost(segfit, path)["params"] <= budget:
            low = middle
        else:
            high = middle - 1
    call(segfit, "network", "narrow", *make(low), "--out", path)
    named(segfit, path)


def prepare_again(arguments):
    """The networks of the last time, from their widths."""
    work, segfit, arms = arguments.work, arguments.segfit, json.loads(ARMS.read_text())
    for name in SETS:
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        own = [arm for arm in arms if arm["data_set"] == name]
        paths = [folder / f"{i}.json" for i in range(len(own))]
        for arm, path in zip(own, paths):
            widths = ",".join(f"{group}={count}" for group, count in arm["widths"].items())
            shape = ["--channels", arm["channels"], "--classes", arm["classes"], "--width", 64, "--depth", arm["depth"]]
            call(segfit, "network", "narrow", *shape, "--widths", widths, "--out", path)
            spec = json.loads(path.read_text()) | {"base_width": arm["base_width"]}
            path.write_text(json.dumps(spec, indent=1) + "\n")
        print(f"{name}: {to_be_trained(segfit, work / 'manifest.json', arguments.data / name, paths)} networks")
    print(f"{drop_measured(work / 'manifest.json')} trainings in {work / 'manifest.json'}")


def prepare(arguments):
    if arguments.again:
        return prepare_again(arguments)
    work, segfit = arguments.work, arguments.segfit
    work.mkdir(parents=True, exist_ok=True)
    choices = json.loads((ROOT / "benchmarks/mapping/xtinyunet.json").read_text())["choices"]
    manifest = work / "manifest.json"
    arms = []
    for name in SETS:
        data, folder = arguments.data / name, work / name
        mapping = mapping_without(segfit, name, folder)
        patch = ["--patch"] if name in PATCHED else []
        common = [data, *patch, "--mapping", mapping]
        first = json.loads(call(segfit, "plan", *common, "--max-params", FULL, "--dry-run", "--json"))
        channels = next(g["channels"] for g in first["spec"]["groups"] if g["name"] == "image")
        full = ["--channels", channels, "--classes", first["spec"]["classes"]]
        networks = []

        def add(arm, budget, path):
            networks.append(path)
            counts = cost(segfit, path)
            spec = json.loads(path.read_text())
            arms.append(
                {"data_set": name, "budget": budget, "arm": arm, "base_width": spec["base_width"], "depth": spec["depth"]}
                | {"channels": channels, "classes": spec["classes"]}
                | {key: counts[key] for key in ("params", "macs", "widths")}
            )

        width_4 = json.loads(call(segfit, "network", "cost", *full, "--width", 4, "--json"))["params"]
        for budget in BUDGETS:
            most = width_4 if budget == "1/253" else FULL // 2000
            tag = budget.replace("/", "_")
            uniform, flat = folder / f"uniform_{tag}.json", folder / f"flat_{tag}.json"
            largest(segfit, uniform, most, lambda i: [*full, "--width", 64, "--multiplier", i / 4096])
            largest(segfit, flat, most, lambda i: [*full, "--width", 64, "--widths", f"*={min(i, 64)}"])
            add("uniform", budget, uniform)
            add("flat", budget, flat)
            work_limit = cost(segfit, uniform)["macs"]
            for arm, limit in [("params", ["--max-params", most]), ("macs", ["--max-macs", work_limit])]:
                call(segfit, "plan", *common, *limit, "--no-report", "--out", folder / f"{arm}_{tag}")
                add(arm, budget, folder / f"{arm}_{tag}" / "network.json")
        chosen = next(c for c in choices if c["data_set"] == name)
        path = folder / "xtinyunet.json"
        widths = ",".join(f"{group}={count}" for group, count in chosen["widths"].items())
        call(segfit, "network", "narrow", *full, "--width", 64, "--depth", chosen["depth"], "--widths", widths, "--out", path)
        named(segfit, path)
        add("xtinyunet", "own", path)
        print(f"{name}: {to_be_trained(segfit, manifest, data, networks)} networks")
    ARMS.write_text(json.dumps(arms, indent=1) + "\n")
    print(f"{drop_measured(manifest)} trainings in {manifest}")


def student(values):
    """Mean, half width of the 95% interval and two-sided p of a paired t test."""
    n, mean = len(values), statistics.mean(values)
    if n < 2:
        return mean, math.nan, math.nan
    error = statistics.stdev(values) / math.sqrt(n)
    if error == 0:
        return mean, 0.0, 1.0 if mean == 0 else 0.0
    return mean, quantile(n - 1) * error, tail(abs(mean / error), n - 1)


def tail(t, degrees):
    """Two-sided tail of Student's t by integrating its density."""
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
    steps = 20_000
    width = t / steps
    inside = sum((1 + ((i + 0.5) * width) ** 2 / degrees) ** (-(degrees + 1) / 2) for i in range(steps)) * width
    return max(0.0, 1 - 2 * constant * inside)


def quantile(degrees):
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, degrees) > 0.05 else (low, middle)
    return low


def report(arguments):
    keep([arguments.work])
    arms = json.loads(ARMS.read_text())
    found = measured([])

    def key(arm):
        return key_of(arm["data_set"], "unet", arm["depth"], arm["base_width"], arm["widths"])

    def scores(arm):
        return found.get(key(arm), {})

    lines = ["# Layer-wise plans, uniform multipliers and flat networks, trained", "", __doc__.split("\n\n")[2].strip(), ""]
    lines += ["Mean test Dice over seeds, standard deviation, parameters, multiply-accumulates (millions), number of seeds:", ""]
    lines += ["| data set | budget | arm | Dice | sd | parameters | MMACs | seeds |", "|---|---|---|---|---|---|---|---|"]
    missing, never, lost = 0, [], collapsed([])
    for arm in arms:
        values = list(scores(arm).values())
        seeds = sorted(seed for network, seed in lost if network == key(arm))
        never += [f"{arm['arm']}, {arm['budget']}, {arm['data_set']}, seed {seed}" for seed in seeds]
        missing += max(0, 3 - len(values) - len(seeds))
        mean = f"{statistics.mean(values):.3f}" if values else "-"
        deviation = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"
        counts = f"{arm['params']:,} | {arm['macs'] / 1e6:.1f} | {len(values)}"
        lines.append(f"| {arm['data_set']} | {arm['budget']} | {arm['arm']} | {mean} | {deviation} | {counts} |")
    lines += ["", f"Trainings missing: {missing}. Collapsed in every attempt, and in no mean: {'; '.join(never) or 'none'}."]
    lines += ["", "Paired differences of Dice, mean over data sets with the 95% interval (t over data sets):", ""]
    lines += ["| budget | difference | mean | better on | p | worst data set after Holm |", "|---|---|---|---|---|---|"]
    for budget in BUDGETS:
        for ours, theirs in [("macs", "uniform"), ("params", "flat"), ("params", "uniform"), ("macs", "flat")]:
            row = differences(arms, scores, budget, ours, theirs)
            if row:
                lines.append(f"| {budget} | {ours} - {theirs} | {row} |")
    text = "\n".join([*lines, ""])
    (HERE / "shapes.md").write_text(text)
    print(text)


def differences(arms, scores, budget, ours, theirs):
    by_set = {}
    for name in SETS:
        pick = {a["arm"]: scores(a) for a in arms if a["data_set"] == name and a["budget"] == budget}
        seeds = sorted(set(pick[ours]) & set(pick[theirs]))
        if seeds:
            by_set[name] = [pick[ours][s] - pick[theirs][s] for s in seeds]
    if len(by_set) < 2:
        return None
    means = [statistics.mean(v) for v in by_set.values()]
    mean, half, p = student(means)
    tests = sorted((student(v)[2], name) for name, v in by_set.items() if len(v) > 1)
    worse, running = [], 0.0
    for i, (single, name) in enumerate(tests):
        running = max(running, min(1.0, single * (len(tests) - i)))
        if statistics.mean(by_set[name]) < 0:
            worse.append((running, name))
    worst = f"{min(worse)[1]}, p = {min(worse)[0]:.2f}" if worse else "none is worse"
    better = f"{sum(m > 0 for m in means)} of {len(means)}"
    return f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f}) | {better} | {p:.2f} | {worst}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    first = commands.add_parser("prepare")
    first.add_argument("segfit", type=Path)
    first.add_argument("--data", type=Path, required=True)
    first.add_argument("--again", action="store_true")
    first.set_defaults(run=prepare)
    last = commands.add_parser("report")
    last.set_defaults(run=report)
    for command in (first, last):
        command.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
