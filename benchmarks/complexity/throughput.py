"""Times `segfit measure` beside the same measures in Python (`peer.py`), and writes throughput.md and throughput.json.

    python throughput.py path/to/segfit DATA... [--rounds 3] [--limit N] [--out FOLDER]      (pip install -r ../requirements.txt)

Each DATA is a data set of 256 x 256 PNG (images/, masks/, split.csv), or a folder of such. In every round each data set is
measured once by each side, who goes first changes from round to round. segfit runs two threads and no cache; its time is that
of the whole process. Python runs two processes, which are started, with all libraries imported and one image measured, before
the clock starts. Both read the files, compute all measures at all scales and the probe, and summarise. `--limit N` lets Python
measure N images of each data set, spread evenly; rates are per image then. Each round also measures all data sets with segfit
from cold: no cache of its own, and their files dropped from the system's cache of files beforehand.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import peer  # first: it sets the number of threads

import cv2

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "engine"))
from compare import cpu_name, largest_resident_bytes  # noqa: E402

PROCESSES = 2
RATIO_GOAL, SECONDS_GOAL, MEBIBYTES_GOAL = 15, 15, 500


def data_sets(paths):
    found = []
    for path in paths:
        found += [path] if (path / "images").is_dir() else sorted(f for f in path.iterdir() if (f / "images").is_dir())
    return found


class Watch(threading.Thread):
    """The largest resident set of a process, as seen every 5 ms."""

    def __init__(self, pid):
        super().__init__()
        self.pid, self.bytes, self.done = pid, 0, threading.Event()

    def run(self):
        while not self.done.wait(0.005):
            self.bytes = max(self.bytes, largest_resident_bytes(self.pid))


def by_segfit(args, folder):
    """Profile, seconds of the whole process, largest resident set."""
    command = [args.segfit, "measure", folder, "--split", "all", "--size", "256", "--threads", str(PROCESSES), "--json"]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(command + args.no_cache, stdout=output, stderr=errors)
        watch = Watch(process.pid)
        watch.start()
        code = process.wait()
        seconds = time.perf_counter() - begin
        watch.done.set()
        watch.join()
        errors.seek(0)
        if code:
            sys.exit(f"segfit failed on {folder}:\n{errors.read()}")
        output.seek(0)
        return json.load(output), seconds, watch.bytes


def by_python(pool, folder, limit):
    """Summary, seconds, number of images."""
    begin = time.perf_counter()
    pairs = peer.pairs_of(folder)
    if limit and limit < len(pairs):
        pairs = [pairs[i * len(pairs) // limit] for i in range(limit)]
    chunk = max(1, min(8, len(pairs) // (4 * PROCESSES)))
    values = peer.profile(pairs, lambda function, items: pool.map(function, items, chunksize=chunk))
    made = peer.summary(values)
    return made, time.perf_counter() - begin, len(pairs)


def check_same(ours, theirs, whole, folder):
    """Both sides computed the same measures; of whole sets the means agree as in check_real.py."""
    names = set(ours["measures"]) ^ set(theirs)
    if whole and names:
        sys.exit(f"{folder.name}: only one side has {', '.join(sorted(names))}")
    for name, (mean, *_) in theirs.items():
        tolerance = max(peer.TOLERANCES.get(name.split("@")[0], 0), 1e-3)
        if whole and abs(ours["measures"][name]["mean"] - mean) > tolerance * max(abs(mean), 1e-3):
            sys.exit(f"{folder.name}: the mean of {name} is {ours['measures'][name]['mean']} and here {mean}")


def drop_from_cache(folders):
    """Asks the system to forget the files' contents."""
    for file in (f for folder in folders for f in folder.rglob("*") if f.is_file()):
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def collect(args, folders):
    rows = {f.name: {"segfit": [], "python": [], "bytes": 0} for f in folders}
    cold, loads = [], []
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        pool.map(peer.measured, [peer.pairs_of(folders[0])[0][0]] * 8 * PROCESSES, chunksize=8)
        for number in range(args.rounds):
            drop_from_cache(folders)
            cold.append(sum(by_segfit(args, folder)[1] for folder in folders))
            for folder in folders:
                loads.append(os.getloadavg()[0])
                row, results = rows[folder.name], {}
                sides = {"segfit": lambda: by_segfit(args, folder), "python": lambda: by_python(pool, folder, args.limit)}
                for side in sorted(sides, reverse=number % 2 == 0):
                    results[side] = sides[side]()
                    row[side].append(results[side][1])
                row["bytes"] = max(row["bytes"], results["segfit"][2])
                row["images"], row["python_images"] = results["segfit"][0]["images"], results["python"][2]
                check_same(results["segfit"][0], results["python"][0], row["images"] == row["python_images"], folder)
                row["measures"] = len(results["segfit"][0]["measures"])
                times = " ".join(f"{side} {row[side][-1]:.2f} s" for side in sides)
                print(f"round {number + 1} {folder.name}: {times}", file=sys.stderr, flush=True)
    return rows, cold, loads


def rates(row, of=min):
    """Images per second of segfit and of Python."""
    return row["images"] / of(row["segfit"]), row["python_images"] / of(row["python"])


def totals(rows, of=min):
    """Seconds for all images: segfit's, and Python's at its rate on each set."""
    images = sum(row["images"] for row in rows.values())
    ours, theirs = (sum(row["images"] / rates(row, of)[side] for row in rows.values()) for side in (0, 1))
    return images, ours, theirs


def verdict(met):
    return "yes" if met else "**no**"


def markdown(rows, cold, args, machine):
    images, ours, theirs = totals(rows)
    median = totals(rows, statistics.median)
    largest = max(row["bytes"] for row in rows.values()) / 2**20
    measures = max(row["measures"] for row in rows.values())
    lines = ["# Speed of the measures", ""]
    lines += [f"`segfit measure --split all --size 256` beside the same measures in Python (`peer.py`), written by `throughput.py`: the {measures}"]
    lines += [f"values of a profile (all measures at all scales, and the ridge probe) of {images} images in {len(rows)} data sets, reading included."]
    lines += [f"segfit: {PROCESSES} threads, the whole process{', no cache' if args.no_cache else ''}. Python: {PROCESSES} processes, started and imported before the clock,"]
    limit = f"{args.limit} images of each set, rates per image" if args.limit else "all images"
    lines += [f"{limit}. {args.rounds} interleaved rounds.", ""]
    lines += [f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores; {machine['versions']}; load average"]
    lines += [f"during the run {machine['load_low']:.1f} to {machine['load_high']:.1f} (the runs themselves load up to {PROCESSES}).", ""]
    lines += ["| | result | goal | met |", "|---|---|---|---|"]
    ratio = theirs / ours
    lines += [f"| times faster than Python, all sets | {ratio:.1f} (medians {median[2] / median[1]:.1f}) | {RATIO_GOAL} | {verdict(ratio >= RATIO_GOAL)} |"]
    lines += [f"| seconds for all sets, from cold (median, longest of {len(cold)}) | {statistics.median(cold):.2f}, {max(cold):.2f} | {SECONDS_GOAL} | {verdict(max(cold) <= SECONDS_GOAL)} |"]
    lines += [f"| largest resident set, MiB | {largest:.0f} | {MEBIBYTES_GOAL} | {verdict(largest < MEBIBYTES_GOAL)} |", ""]
    lines += ["Seconds are the minimum and the median of the rounds; images per second and ratios are of minima.", ""]
    lines += ["| data set | images | segfit s | images/s | MiB | Python images | Python s | images/s | ratio |", "|---|---|---|---|---|---|---|---|---|"]
    seconds = lambda times: f"{min(times):.3f}, {statistics.median(times):.3f}"  # noqa: E731
    for name, row in rows.items():
        ours_rate, their_rate = rates(row)
        cells = [name, str(row["images"]), seconds(row["segfit"]), f"{ours_rate:.0f}", f"{row['bytes'] / 2**20:.0f}"]
        cells += [str(row["python_images"]), seconds(row["python"]), f"{their_rate:.1f}", f"{ours_rate / their_rate:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(f"| all | {images} | {ours:.3f}, {median[1]:.3f} | {images / ours:.0f} | {largest:.0f} | | {theirs:.2f}, {median[2]:.2f} | {images / theirs:.1f} | {ratio:.1f} |")
    if args.limit:
        lines += ["", "Python's seconds of the last row are for all images at its rate on each set."]
    return "\n".join(lines) + "\n"


def versions(segfit):
    said = subprocess.run([segfit, "--version"], capture_output=True, text=True).stdout.strip()
    known = [f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-image", "pillow")]
    return ", ".join([said, f"Python {sys.version.split()[0]}", *known, f"opencv {cv2.__version__}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit", help="the segfit binary, built with --release")
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="images of each set for Python (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    args = parser.parse_args()
    missing = [str(path) for path in args.data if not path.is_dir()]
    if missing:
        print(f"skipped: {', '.join(missing)} not here")
        return
    help_text = subprocess.run([args.segfit, "measure", "--help"], capture_output=True, text=True).stdout
    args.no_cache = ["--no-cache"] if "--no-cache" in help_text else []
    folders = data_sets(args.data)
    rows, cold, loads = collect(args, folders)
    machine = {"date": datetime.date.today().isoformat(), "cpu": cpu_name(), "cores": os.cpu_count(), "versions": versions(args.segfit)}
    machine |= {"load_low": min(loads), "load_high": max(loads)}
    text = markdown(rows, cold, args, machine)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "throughput.md").write_text(text)
    result = {"format": "segfit-measure-throughput/1", "machine": machine, "rounds": args.rounds, "limit": args.limit}
    result |= {"cold_seconds": cold, "sets": rows}
    (args.out / "throughput.json").write_text(json.dumps(result, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
