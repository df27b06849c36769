"""How long a prediction takes, against training: for 1,000 images of 256 x 256 pixels.

    python benchmarks/mapping/prediction_time.py SEGFIT [--rounds 3] [--threads N]

Compared in turn, on phantoms that SEGFIT makes: `segfit plan --keep 95%`, from the image files to the plan; one epoch of the smallest U-Net
(base width 1), reading included; and the search that a plan replaces: one training of every width from 64 to 1 with the steps of
recipe r1, from the time of one step as `segfit bench --mode train` measures it, without reading and evaluation. The times of
one machine say little; the ratios count. Results: prediction_time.md beside this script. Needs nothing but Python.
"""

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WIDTHS = [64, 32, 16, 8, 4, 2, 1]
BATCH = 4


def steps(width):
    """Steps of recipe r1."""
    return min(4000, round(2000 * math.sqrt(16 / width)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()

    def run(*words):
        command = [arguments.segfit, *map(str, words), "--threads", str(arguments.threads)]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        return time.perf_counter() - begin, done.stdout

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        run("phantom", "glands", "--count", 1000, "--size", 256, "--out", data)
        training = sum(",train" in line for line in (data / "split.csv").read_text().splitlines())
        network = Path(folder) / "network.json"
        run("network", "narrow", "--width", 1, "--multiplier", 1, "--out", network)
        epoch = math.ceil(training / BATCH)
        seconds = {"plan": [], "epoch": [], "search": []}
        for i in range(arguments.rounds):
            seconds["plan"].append(run("plan", data, "--keep", "95%", "--out", Path(folder) / f"plan{i}")[0])
            seconds["epoch"].append(run("train", network, data, "--steps", epoch, "--out", Path(folder) / f"run{i}")[0])
            search = 0.0
            for width in WIDTHS:
                options = ["--mode", "train", "--channels", 3, "--size", 128, "--batch", BATCH, "--seconds", 1]
                report = json.loads(run("bench", "--width", width, *options, "--json")[1])
                search += steps(width) * report["ms"]["min"] / 1e3
            seconds["search"].append(search)
            print(f"round {i + 1}: " + ", ".join(f"{what} {times[-1]:.2f} s" for what, times in seconds.items()))
    write(arguments, epoch, seconds)


def write(arguments, epoch, seconds):
    least = {what: min(times) for what, times in seconds.items()}
    names = {
        "plan": "`segfit plan --keep 95%`, reading and measuring 1,000 images included",
        "epoch": f"one epoch of base width 1 ({epoch} steps of {BATCH} images)",
        "search": "one training of every width, 64 to 1, steps alone",
    }
    lines = [
        "# Time of a prediction",
        "",
        f"1,000 RGB images of 256 x 256 pixels; minimum and median of {arguments.rounds} rounds; "
        "`python benchmarks/mapping/prediction_time.py SEGFIT`.",
        "",
        "| what | least, s | median, s | plans in that time |",
        "|---|---|---|---|",
    ]
    for what, name in names.items():
        median = statistics.median(seconds[what])
        lines.append(f"| {name} | {least[what]:.1f} | {median:.1f} | {least[what] / least['plan']:.1f} |")
    (HERE / "prediction_time.md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
