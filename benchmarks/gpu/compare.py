"""Compares `segfit bench --device cuda` with PyTorch's best on the same GPU, and writes results.md and results.json.

    python compare.py path/to/segfit [--rounds 3] [--points train:w16:b16:s256 ...] [--ways ...] [--numbers ...] [--out DIR]

Rounds take segfit and PyTorch in turn at every point, and both files are written after each point. All ways of PyTorch at all points take
hours, mostly to compile; `--points infer:w4:b1:s256 --ways channels_last graph --rounds 1` takes a minute. PyTorch is timed in every way of pytorch.py; its best is the least time of
all of them in f32, and the least of all kinds of numbers. segfit copies images to the GPU for every step and logits back, so
PyTorch is also timed with such copies. The goals are shares of PyTorch's speed with its data on the device.
`--device cpu` runs everything on the CPU: a test of this script, not a comparison.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "engine"))
from pytorch_step import parse_point  # noqa: E402

POINTS = [f"{mode}:w{width}:b{batch}:s256" for mode in ("train", "infer") for width in (64, 16, 4) for batch in (16, 1)]
WAYS = ["eager", "channels_last", "graph", "channels_last_graph", "compile", "compile_graph", "channels_last_compile_graph"]
# Times PyTorch's speed, at least, by width.
GOALS = {64: 1.0, 16: 1.5, 4: 3.0}


def environment():
    """Where PyTorch's packages keep NVRTC, in front of where the system's loader looks."""
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    folders = sorted({str(path.parent) for path in packages.glob("**/libnvrtc.so*")})
    return os.environ | {"LD_LIBRARY_PATH": ":".join(folders + [os.environ.get("LD_LIBRARY_PATH", "")]).strip(":")}


def lines(command):
    """The JSON objects that a command prints, one on a line or one in all."""
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {done.returncode}:\n{done.stderr}")
    try:
        return [json.loads(done.stdout)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in done.stdout.splitlines()]


def ours(args, point):
    mode, width, batch, size = parse_point(point)
    command = [args.binary, "bench", "--device", args.device, "--network", "unet", "--width", str(width), "--size", str(size)]
    command += ["--batch", str(batch), "--mode", mode, "--channels", "1", "--classes", "2", "--seconds", str(args.seconds), "--json"]
    return lines(command)[0]


def theirs(args, point):
    """A process for each way: an error of the GPU in one leaves the others alone."""
    command = [sys.executable, str(HERE / "pytorch.py"), "--points", point, "--device", args.device, "--seconds", str(args.seconds)]
    return [row for way in args.ways for row in lines(command + ["--numbers", *args.numbers, "--ways", way])]


def collect(args):
    rows = {point: {"segfit": [], "pytorch": []} for point in args.points}
    for number in range(args.rounds):
        for point in args.points:
            mine, all_theirs = ours(args, point), theirs(args, point)
            params = {row["params"] for row in [mine, *all_theirs] if "params" in row}
            if len(params) != 1:
                sys.exit(f"not the same network at {point}: {params}")
            rows[point]["segfit"].append(mine)
            rows[point]["pytorch"] += all_theirs
            print(f"round {number + 1} {point}: {mine['ms']['min']:.3f} ms", file=sys.stderr, flush=True)
            write(args, {point: found for point, found in rows.items() if found["pytorch"]})


def write(args, rows):
    (args.out / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    (args.out / "results.md").write_text(page(args, rows))


def best(rows, key, numbers=None):
    """The least time by `key` and who reached it."""
    able = [row for row in rows if "error" not in row and (numbers is None or row["numbers"] == numbers)]
    found = min(able, key=key, default=None)
    return (key(found), f"{found['way']} {found['numbers']}") if found else (float("nan"), "none runs")


def row(point, found):
    mode, width, batch, _ = parse_point(point)
    least = min(r["ms"]["min"] for r in found["segfit"])
    median = statistics.median(r["ms"]["median"] for r in found["segfit"])
    on_device = lambda r: r["ms"]["min"]
    f32, _ = best(found["pytorch"], on_device, "f32")
    any_ms, way = best(found["pytorch"], on_device)
    copied, _ = best(found["pytorch"], lambda r: r["copied_ms"])
    ratio, goal = any_ms / least, GOALS.get(width)
    met = "" if goal is None else f"{goal:.1f}, {'met' if ratio >= goal else 'missed'}"
    cells = [mode, width, batch, f"{least:.3f}", f"{median:.3f}", f"{batch * 1e3 / least:.0f}", f"{f32 / least:.2f}"]
    return cells + [f"{ratio:.2f} ({way})", f"{copied / least:.2f}", met]


def page(args, rows):
    head = ["", "width", "batch", "ms", "median", "images/s", "PyTorch f32", "PyTorch's best", "with copies", "goal"]
    table = [head, ["---"] * len(head)] + [row(point, found) for point, found in rows.items()]
    text = "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in table)
    device = next(iter(rows.values()))["segfit"][0]["device"]
    version = next(iter(rows.values()))["pytorch"][0]["torch"]
    errors = sorted({f"{r['way']} {r['numbers']}: {r['error']}" for f in rows.values() for r in f["pytorch"] if "error" in r})
    failed = "".join(f"\n- {error}" for error in errors)
    return (
        f"# segfit and PyTorch on a GPU\n\n{device}, PyTorch {version}, {args.rounds} rounds, {datetime.date.today()}; "
        "compare.py in this folder.\n\nTimes are segfit's, per step; the columns of PyTorch are its time over segfit's (above 1: segfit is faster), of "
        f"minima. \"With copies\": PyTorch's best when it copies images and logits as segfit does.\n\n{text}\n"
        + (f"\nWays of PyTorch that did not run:\n{failed}\n" if failed else "")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", nargs="+", default=POINTS)
    parser.add_argument("--ways", nargs="+", default=WAYS)
    parser.add_argument("--numbers", nargs="+", default=["f32", "tf32", "bf16"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    collect(args)


if __name__ == "__main__":
    main()
