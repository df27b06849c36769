"""Compares `segfit measure` with Pillow, NumPy and zlib on phantoms, through the real program.

    python check.py path/to/segfit       (pip install pillow numpy)

Makes 12 phantoms of each of three kinds, measures them with segfit, measures the same PNG files again here (`images.py`), and
fails when a mean differs by more than the stated tolerance: compressed bytes 2% (another encoder), all others 1e-6 relative.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from images import PLAIN, Level, luma, planes

TOLERANCE = {"jpeg": 0.02, "jpeg_scan": 0.02, "png": 0.02}
SAME = 1e-6


def measure(image, mask):
    level = Level(luma(planes(image)))
    values = {name: function(level) for name, function in PLAIN.items()}
    return values | {"foreground": (np.asarray(mask) > 0).mean()}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    segfit, failures = sys.argv[1], 0
    for kind in ("nuclei", "glands", "vessels"):
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            run(segfit, "phantom", kind, "--out", str(data), "--count", "12")
            ours = json.loads(run(segfit, "measure", str(data), "--split", "all", "--json"))
            images = sorted((data / "images").iterdir())
            assert ours["images"] == len(images) == 12
            theirs = [measure(Image.open(p), Image.open(data / "masks" / p.name)) for p in images]
            for name in theirs[0]:
                tolerance = TOLERANCE.get(name, SAME)
                want = float(np.mean([t[name] for t in theirs]))
                got = ours["measures"][name]["mean"]
                difference = abs(got - want) / max(abs(want), 1e-12)
                verdict = "ok" if difference <= tolerance else "DIFFERS"
                failures += verdict != "ok"
                print(f"{kind:8} {name:16} segfit {got:.6f}  here {want:.6f}  relative difference {difference:.1e}  {verdict}")
    sys.exit(f"{failures} measures differ" if failures else 0)


main()
