"""Predicted against measured time of networks: how good is the latency table of `segfit plan --max-latency`?

    python latency.py SEGFIT [--threads 1,2] [--networks 45] [--others 15] [--seconds 0.15]

For each number of threads: a table of U-Nets and one of another family are made with `segfit bench --table`; random networks
are written as network files and timed one after the other, several times over (the least time counts); and plans are made
for limits of time and timed in the same way. Writes latency.md and latency.json beside this file.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SIZE, WIDTH, DEPTH = 256, 64, 4
OTHER = "resunet"
OTHER_WIDTH = 32
PASSES = 3
LIMITS_MS = [0.5, 1, 2, 3, 5, 8, 12, 20, 35, 60]


def run(segfit, *arguments):
    """The JSON that a command prints."""
    made = subprocess.run([segfit, *map(str, arguments), "--json"], capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}\n{made.stderr}")
    return json.loads(made.stdout)


def full_network(segfit, folder, family, width, depth):
    """The widest network of a family, as a dictionary."""
    path = folder / f"full-{family}-{depth}.json"
    run(segfit, "network", "narrow", "--network", family, "--channels", 1, "--classes", 2, "--width", width, "--depth",
        depth, "--out", path)
    return json.loads(path.read_text())


def drawn(draw, full):
    """A random network: its overall width, its slope over the levels, its decoder and single groups vary."""
    free = [group for group in full["groups"] if group["kind"] == "free"]
    least = min(group["channels"] for group in free)
    multiplier = 2 ** draw.uniform(-6 if least >= 64 else -5, 0)
    slope = draw.choice([0, 0, -0.3, -0.6, -1, 0.2])
    decoder = 2 ** draw.choice([0, 0, -0.7, -1, 0.4])
    jitter = draw.choice([0, 0, 0.3])
    network = json.loads(json.dumps(full))
    for group in network["groups"]:
        if group["kind"] == "free":
            channels = group["channels"] * multiplier * (group["channels"] / least) ** slope
            channels *= 2 ** draw.uniform(-jitter, jitter)
            if group["name"].startswith(("dec", "up")):
                channels *= decoder
            step = group.get("divisible_by", 1)
            group["channels"] = min(group["channels"], step * max(1, round(channels / step)))
    return network


def measured(segfit, files, threads, seconds):
    """The least milliseconds of each network and what its table predicts, all networks in turn."""
    least, predicted = [float("inf")] * len(files), [None] * len(files)
    for _ in range(PASSES):
        for i, (network, table) in enumerate(files):
            report = run(segfit, "bench", "--network-file", network, "--size", SIZE, "--threads", threads, "--seconds", seconds,
                         "--latency-table", table)
            least[i] = min(least[i], report["ms"]["min"])
            predicted[i] = report["predicted_ms"]
    return least, predicted


def quantile(values, share):
    values = sorted(values)
    return values[max(0, -int(-len(values) * share // 1) - 1)]


def study(segfit, folder, threads, args):
    tables = {}
    for family, width in [("unet", WIDTH), (OTHER, OTHER_WIDTH)]:
        tables[family] = folder / f"{family}-{threads}.json"
        made = run(segfit, "bench", "--table", tables[family], "--network", family, "--width", width, "--depth", DEPTH, "--channels",
                   1, "--size", SIZE, "--threads", threads)
        print(f"table of {family}: {made['error']}", flush=True)
        device = made["device"]
    draw = random.Random(7)
    files, about = [], []
    for k in range(args.networks + args.others):
        family, width = ("unet", WIDTH) if k < args.networks else (OTHER, OTHER_WIDTH)
        depth = draw.choice([2, 3, 4, 4])
        network = drawn(draw, full_network(segfit, folder, family, width, depth))
        path = folder / f"network-{k}.json"
        path.write_text(json.dumps(network))
        files.append((path, tables[family]))
        widths = [group["channels"] for group in network["groups"] if group["kind"] == "free"]
        about.append({"family": family, "depth": depth, "channels": widths})
    least, predicted = measured(segfit, files, threads, args.seconds)
    rows = [dict(row, measured_ms=m, predicted_ms=p, error=p / m - 1) for row, m, p in zip(about, least, predicted)]

    plans, planned = [], []
    for k, limit in enumerate(LIMITS_MS):
        # Alternately the most accurate within the time, and one that also has few parameters.
        more = [] if k % 2 == 0 else ["--max-params", "500k"]
        out = folder / f"plan-{threads}-{k}"
        plan = run(segfit, "plan", folder / "data", "--size", SIZE, "--width", WIDTH, "--depth", DEPTH, "--threads", threads, "--device",
                   tables["unet"], "--max-latency", f"{limit}ms", *more, "--out", out)
        planned.append({"limit_ms": limit, "also": " ".join(more), "predicted_ms": plan["latency"]["predicted_ms"],
                        "depth": plan["network"]["depth"], "params": plan["network"]["params"]})
        plans.append((out / "network.json", tables["unet"]))
    for row, ms in zip(planned, measured(segfit, plans, threads, args.seconds)[0]):
        row.update(measured_ms=ms, met=ms <= row["limit_ms"])
    errors = [abs(row["error"]) for row in rows]
    return {
        "threads": threads, "device": device, "networks": rows, "plans": planned,
        "median": statistics.median(errors), "p90": quantile(errors, 0.9),
        "met": sum(row["met"] for row in planned),
    }


def text(studies):
    percent = lambda share: f"{100 * share:.1f}%"
    lines = ["# Predicted against measured time", "",
             f"Written by `benchmarks/engine/latency.py` on {studies[0]['device']}: images of {SIZE} x {SIZE} pixels, f32, one image at a "
             f"time. Random U-Nets (to width {WIDTH}) and {OTHER} (to width {OTHER_WIDTH}) of depths 2 to {DEPTH}, each with channels of "
             f"its own in every group; the least time of {PASSES} short measurements in turn.", "",
             "| threads | networks | median error | 90th percentile | largest | plans that meet their limit |",
             "| ---: | ---: | ---: | ---: | ---: | ---: |"]
    for s in studies:
        worst = max(abs(row["error"]) for row in s["networks"])
        lines.append(f"| {s['threads']} | {len(s['networks'])} | {percent(s['median'])} | {percent(s['p90'])} | {percent(worst)} | "
                     f"{s['met']} of {len(s['plans'])} |")
    for s in studies:
        for family in sorted({row["family"] for row in s["networks"]}):
            errors = [abs(row["error"]) for row in s["networks"] if row["family"] == family]
            lines += ["", f"{s['threads']} thread(s), {family}: median {percent(statistics.median(errors))}, 90th percentile "
                      f"{percent(quantile(errors, 0.9))}, {len(errors)} networks."]
        lines += ["", f"## The worst ten, {s['threads']} thread(s)", "", "| network | measured ms | predicted ms | error |",
                  "| --- | ---: | ---: | ---: |"]
        for row in sorted(s["networks"], key=lambda row: -abs(row["error"]))[:10]:
            channels = ", ".join(map(str, row["channels"]))
            lines.append(f"| {row['family']}, depth {row['depth']}: {channels} | {row['measured_ms']:.3f} | {row['predicted_ms']:.3f} | "
                         f"{100 * row['error']:+.1f}% |")
        lines += ["", f"## Plans for --max-latency, {s['threads']} thread(s)", "",
                  "| limit ms | other limits | depth | parameters | predicted ms | measured ms | met |",
                  "| ---: | --- | ---: | ---: | ---: | ---: | --- |"]
        for row in s["plans"]:
            lines.append(f"| {row['limit_ms']} | {row['also']} | {row['depth']} | {row['params']:,} | {row['predicted_ms']:.3f} | "
                         f"{row['measured_ms']:.3f} | {'yes' if row['met'] else 'no'} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("segfit")
    parser.add_argument("--threads", default="1,2" if (os.cpu_count() or 1) > 1 else "1")
    parser.add_argument("--networks", type=int, default=45)
    parser.add_argument("--others", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.15)
    args = parser.parse_args()
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run(args.segfit, "phantom", "nuclei", "--count", 12, "--size", 64, "--out", folder / "data")
        studies = [study(args.segfit, folder, int(threads), args) for threads in args.threads.split(",")]
    (here / "latency.json").write_text(json.dumps(studies, indent=1) + "\n")
    (here / "latency.md").write_text(text(studies))
    print(text(studies))


if __name__ == "__main__":
    main()
