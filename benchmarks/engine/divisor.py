"""Which numbers of channels does this machine's engine like? The time of flat U-Nets of 1 to N channels.

    python benchmarks/engine/divisor.py SEGFIT [--most 24] [--rounds 5] [--size 256]

Every round visits all widths in another order; the least time of each counts. A width is *dominated* when a wider network is at least
as fast: its channels could be rounded up for nothing. Writes divisor.md beside this script. Needs nothing but Python.
"""

import argparse
import json
import random
import subprocess
import tempfile
from pathlib import Path


def call(segfit, *words):
    return json.loads(subprocess.run([segfit, *map(str, words), "--json"], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit")
    parser.add_argument("--most", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    widths = list(range(1, arguments.most + 1))
    times, device, threads = {}, "", 0
    with tempfile.TemporaryDirectory() as folder:
        paths = {width: Path(folder) / f"{width}.json" for width in widths}
        for width, path in paths.items():
            words = ["--channels", 1, "--classes", 2, "--widths", f"*={width}", "--out", path]
            call(arguments.segfit, "network", "narrow", "--network", "unet", *words)
        for seed in range(arguments.rounds):
            order = random.Random(seed).sample(widths, len(widths))
            for width in order:
                words = ["--network-file", paths[width], "--mode", "infer", "--batch", 1, "--size", arguments.size, "--seconds", 0.2]
                done = call(arguments.segfit, "bench", *words)
                device, threads = done["device"], done["threads"]
                times.setdefault(width, []).append(done["ms"]["min"])
    least = {width: min(values) for width, values in times.items()}
    dominated = {w: min((least[v], v) for v in widths if v > w) for w in widths[:-1]}
    dominated = {w: v for w, (ms, v) in dominated.items() if ms <= least[w]}
    lines = [
        "# Numbers of channels that the engine likes",
        "",
        f"Flat U-Nets of depth 4, one image of {arguments.size} x {arguments.size}, f32, {device}, {threads} threads; least of {arguments.rounds} rounds; "
        "`python benchmarks/engine/divisor.py SEGFIT`.",
        "",
        "| channels | ms | ms per channel squared, relative to the widest | as fast with |",
        "|---|---|---|---|",
    ]
    full = least[widths[-1]] / widths[-1] ** 2
    for width in widths:
        faster = dominated.get(width, "")
        lines.append(f"| {width} | {least[width]:.3f} | {least[width] / width**2 / full:.2f} | {faster} |")
    text = "\n".join([*lines, ""])
    (Path(__file__).parent / "divisor.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
