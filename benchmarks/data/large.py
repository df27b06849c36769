"""Memory of measuring, segmenting and evaluating one large tiled TIFF.

    python benchmarks/data/large.py SEGFIT --work DIR [--side 30000]

Makes a gray image of SIDE x SIDE pixels (discs on noise, deflated tiles of 512 x 512) with its mask, and a small data set of the same
kind; trains a narrow network on patches of the latter; then runs each command on the large image in a process of its own and reports the
largest resident memory that the operating system saw (`ru_maxrss`). The labels of the written mask are compared with the truth here, block by
block, and must give the Dice that `segfit evaluate` reports. Writes large.md beside this script. Needs numpy and tifffile.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile

HERE = Path(__file__).parent
TILE = 512
PERIOD = 96
LIMIT_MIB = 1024


def block(top, left, height, width):
    """Image and mask of a part: a disc in every cell of a grid, its radius by the cell's number."""
    y, x = np.mgrid[top : top + height, left : left + width]
    cell = (y // PERIOD) * 7919 + x // PERIOD
    radius = 12 + cell * 2654435761 % 29
    inside = (y % PERIOD - PERIOD // 2) ** 2 + (x % PERIOD - PERIOD // 2) ** 2 <= radius**2
    noise = (y.astype(np.uint64) * np.uint64(6364136223846793005) + x.astype(np.uint64) * np.uint64(1442695040888963407)) >> np.uint64(56)
    image = 60 + 70 * inside + (noise % np.uint64(60)).astype(np.int64)
    return image.astype(np.uint8), (inside * 255).astype(np.uint8)


def write(path, side, which):
    def tiles():
        for top in range(0, side, TILE):
            for left in range(0, side, TILE):
                part = block(top, left, min(TILE, side - top), min(TILE, side - left))[which]
                yield np.pad(part, ((0, TILE - part.shape[0]), (0, TILE - part.shape[1])))

    tifffile.imwrite(path, tiles(), shape=(side, side), dtype=np.uint8, tile=(TILE, TILE), compression="zlib", bigtiff=True)


def data_set(folder, images):
    """A folder of one large image, or of `images` small ones."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(images):
        image, mask = block(i * 5000, i * 3000, 256, 256)
        tifffile.imwrite(folder / "images" / f"{i}.tif", image)
        tifffile.imwrite(folder / "masks" / f"{i}.tif", mask)


def measured(*words):
    """Runs a command; its output, seconds and largest resident memory in MiB."""
    start = time.monotonic()
    process = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, text=True)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(map(str, words))} failed")
    return out, time.monotonic() - start, usage.ru_maxrss / 1024


def dice(path, side):
    both = total = 0
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        rows = page.rowsperstrip
        for index, (data, _, _) in enumerate(page.segments()):
            found = np.squeeze(data) > 0
            truth = block(index * rows, 0, found.shape[0], side)[1] > 0
            both += int((found & truth).sum())
            total += int(found.sum()) + int(truth.sum())
    return 2 * both / total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--side", type=int, default=30_000)
    options = parser.parse_args()
    segfit, work, side = options.segfit, options.work, options.side
    large = work / "large"
    if not (large / "masks" / "a.tif").exists():
        for part in ("images", "masks"):
            (large / part).mkdir(parents=True, exist_ok=True)
        write(large / "images" / "a.tif", side, 0)
        write(large / "masks" / "a.tif", side, 1)
    data_set(work / "small", 8)
    network, run = work / "network.json", work / "run"
    subprocess.run([segfit, "network", "narrow", "--width", "2", "--depth", "3", "--channels", "1", "--classes", "2", "--out", network], check=True)
    if not (run / "metrics.json").exists():
        words = [network, work / "small", "--out", run, "--patch", "--size", "128", "--steps", "300"]
        subprocess.run([segfit, "train", *words], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work / "out", ignore_errors=True)
    image = large / "images" / "a.tif"
    rows = []

    def command(name, *words):
        out, seconds, mib = measured(segfit, *words)
        rows.append((name, mib, seconds))
        print(f"{name}: {mib:.0f} MiB, {seconds:.0f} s", flush=True)
        return out

    command("measure", "measure", large, "--size", "128", "--patch", "--no-cache", "--json")
    command("measure, resized to 128", "measure", large, "--size", "128", "--no-cache", "--json")
    command("segment", "segment", run, image, "--out", work / "out")
    scores = json.loads(command("evaluate --native", "evaluate", run, large, "--split", "all", "--native", "--json"))
    expected = dice(work / "out" / "a.tif", side)
    found = scores["dice"]["mean"]
    agrees = abs(found - expected) < 1e-9
    worst = max(mib for _, mib, _ in rows)
    lines = ["# Memory for one large image", "", f"A tiled TIFF of {side:,} x {side:,} gray pixels ({side * side / 2**20:,.0f} MiB decoded).", ""]
    lines += ["| command | largest resident memory, MiB |", "| --- | --- |"]
    lines += [f"| {name} | {mib:,.0f} |" for name, mib, _ in rows]
    lines += ["", f"Largest: {worst:,.0f} MiB; the limit is {LIMIT_MIB:,} MiB: {'met' if worst <= LIMIT_MIB else '**missed**'}.", ""]
    lines += [f"Dice {found:.6f} by `segfit evaluate --native`, {expected:.6f} by comparing the written mask with the truth here."]
    (HERE / "large.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if worst > LIMIT_MIB or not agrees:
        sys.exit(1)


if __name__ == "__main__":
    main()
