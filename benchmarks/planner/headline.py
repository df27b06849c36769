"""The headline: how small the plan for --keep 95% is on every data set, what was predicted, and what it really keeps.

    python benchmarks/planner/headline.py prepare SEGFIT --data DIR --work WORK     plans and WORK/manifest.json
    SEGFIT calibrate run WORK/manifest.json --out WORK/out                          trains; can be interrupted
    python benchmarks/planner/headline.py speed SEGFIT --work WORK [--rounds 3]     times on this machine, full and planned in turn
    python benchmarks/planner/headline.py report --work WORK                        headline.md beside this script

U-Net on all twelve data sets, Attention U-Net on three; the full networks have width 64. Every plan comes from a mapping fitted without
its data set. Retention compares the mean Dice of three seeds with that of the network of width 16, the widest that the
calibration trained. Times: inference of one image and a training step of four, 128 x 128 pixels. Needs nothing but Python.
"""

import argparse
import json
import statistics
from pathlib import Path

from common import HERE, PATCHED, RECORDS, call, drop_measured, keep, key_of, mapping_without, measured, to_be_trained

OTHERS = ["glas", "u373_phc", "chase_db1"]
REFERENCE = 16


def prepare(arguments):
    work, segfit = arguments.work, arguments.segfit
    records = map(json.loads, RECORDS.read_text().splitlines())
    sets = sorted({record["dataset"]["name"] for record in records if not record.get("parent")})
    plans = [("unet", name) for name in sets] + [("attention_unet", name) for name in OTHERS]
    rows = []
    for family, name in plans:
        data, folder = arguments.data / name, work / f"{family}_{name}"
        mapping = mapping_without(segfit, name, work / name)
        patch = ["--patch"] if name in PATCHED else []
        call(segfit, "plan", data, *patch, "--network", family, "--mapping", mapping, "--keep", "95%", "--no-report", "--out", folder)
        plan = json.loads((folder / "plan.json").read_text())
        to_be_trained(segfit, work / "manifest.json", data, [folder / "network.json"])
        groups = {g["name"]: g["channels"] for g in plan["spec"]["groups"]}
        shape = ["--network", family, "--channels", groups["image"], "--classes", plan["spec"]["classes"]]
        call(segfit, "network", "narrow", *shape, "--multiplier", 1, "--out", folder / "full.json")
        call(segfit, "network", "narrow", *shape, "--width", REFERENCE, "--multiplier", 1, "--out", folder / "reference.json")
        if family != "unet":
            to_be_trained(segfit, work / "manifest.json", data, [folder / "reference.json"], seeds="0")
        rows.append({"family": family, "data_set": name})
        print(f"{family} {name}: {plan['network']['params']} parameters")
    (work / "plans.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{drop_measured(work / 'manifest.json')} trainings in {work / 'manifest.json'}")


def speed(arguments):
    def milliseconds(path, mode, batch, size):
        words = ["--network-file", path, "--mode", mode, "--batch", batch, "--size", size, "--seconds", 0.5]
        return json.loads(call(arguments.segfit, "bench", *words, "--json"))["ms"]["min"]

    rows = json.loads((arguments.work / "plans.json").read_text())
    for row in rows:
        folder = arguments.work / f"{row['family']}_{row['data_set']}"
        times = {}
        for _ in range(arguments.rounds):
            for which in ("full", "network"):
                for mode, batch in [("infer", 1), ("train", 4)]:
                    times.setdefault((which, mode), []).append(milliseconds(folder / f"{which}.json", mode, batch, 128))
        for mode in ("infer", "train"):
            row[mode] = min(times["full", mode]) / min(times["network", mode])
        print(row)
    (arguments.work / "speed.json").write_text(json.dumps(rows, indent=1) + "\n")


def report(arguments):
    keep([arguments.work])
    found = measured([])
    lines = ["# The plan for --keep 95%", "", __doc__.split("\n\n")[2].replace("\n", " ").strip(), ""]
    lines += [
        "| family | data set | parameters | weights fewer | MACs fewer | memory less | inference faster | training faster "
        "| predicted retention | measured | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    kept, folds = [], []
    timed = arguments.work / "speed.json"
    rows = json.loads((timed if timed.exists() else arguments.work / "plans.json").read_text())
    for row in rows:
        folder = arguments.work / f"{row['family']}_{row['data_set']}"
        plan = json.loads((folder / "plan.json").read_text())
        reference = json.loads((folder / "reference.json").read_text())

        def dice(spec):
            widths = {g["name"]: g["channels"] for g in spec["groups"] if g["kind"] == "free"}
            key = key_of(row["data_set"], row["family"], spec["depth"], spec["base_width"], widths)
            return list(found.get(key, {}).values())

        ours, theirs = dice(plan["spec"]), dice(reference)
        shares = [plan["full"][k] / plan["network"][k] for k in ("params", "macs", "memory_bytes")]
        retention = plan["predicted"]["retention"]
        predicted = f"{retention['mean']:.3f} ({retention['low']:.3f} to {retention['high']:.3f})"
        measured_retention = "-"
        if ours and theirs:
            share = statistics.mean(ours) / statistics.mean(theirs)
            measured_retention = f"{share:.3f}"
            if row["family"] == "unet":
                kept.append(share)
                folds.append(shares[0])
        times = " | ".join(f"{row[mode]:.0f}x" if mode in row else "not timed" for mode in ("infer", "train"))
        counts = " | ".join(f"{share:,.0f}x" for share in shares)
        lines.append(
            f"| {row['family']} | {row['data_set']} | {plan['network']['params']:,} | {counts} | {times} | {predicted} "
            f"| {measured_retention} | {len(ours)} |"
        )
    if kept:
        mean = statistics.geometric_mean(folds)
        lines += ["", f"U-Net: {sum(k >= 0.95 for k in kept)} of {len(kept)} keep 95%, with {mean:,.0f}x fewer weights (geometric mean)."]
    text = "\n".join([*lines, ""])
    (HERE / "headline.md").write_text(text)
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, takes_program in [("prepare", prepare, True), ("speed", speed, True), ("report", report, False)]:
        command = commands.add_parser(name)
        if takes_program:
            command.add_argument("segfit", type=Path)
        if run is prepare:
            command.add_argument("--data", type=Path, required=True)
        if run is speed:
            command.add_argument("--rounds", type=int, default=3)
        command.add_argument("--work", type=Path, required=True)
        command.set_defaults(run=run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
