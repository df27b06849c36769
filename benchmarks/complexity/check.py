"""Compares `segfit measure` with Pillow and NumPy on phantoms, through the real program.

    python check.py path/to/segfit       (pip install pillow numpy)

Makes 12 phantoms of each of three kinds, measures them with segfit, measures the same PNG files again here, and fails when a
mean differs by more than the stated tolerance: JPEG bytes 2% (another encoder), all others 1e-4 relative (f32 against f64).
"""

import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

TOLERANCE = {"jpeg": 0.02, "entropy": 1e-4, "edge": 1e-4, "si_mean": 1e-4, "foreground": 1e-4}


def luma(image):
    rgb = np.asarray(image, np.float64) / 255
    return rgb if rgb.ndim == 2 else rgb @ np.array([0.299, 0.587, 0.114])


def sobel(g):
    a, b, c = g[:-2], g[1:-1], g[2:]
    gx = (a[:, 2:] - a[:, :-2]) + 2 * (b[:, 2:] - b[:, :-2]) + (c[:, 2:] - c[:, :-2])
    gy = (c[:, :-2] - a[:, :-2]) + 2 * (c[:, 1:-1] - a[:, 1:-1]) + (c[:, 2:] - a[:, 2:])
    return np.hypot(gx, gy)


def measure(image, mask):
    gray = luma(image)
    eight = np.clip(np.floor(255 * gray + 0.5), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(eight).save(file, "JPEG", quality=80)
    share = np.bincount(eight.ravel(), minlength=256) / eight.size
    share = share[share > 0]
    gradient = sobel(gray)
    return {
        "jpeg": file.tell() / eight.size,
        "entropy": -(share * np.log2(share)).sum(),
        "edge": (gradient.astype(np.float32) >= np.float32(0.4)).mean(),
        "si_mean": 255 * gradient.mean(),
        "foreground": (np.asarray(mask) > 0).mean(),
    }


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
            for name, tolerance in TOLERANCE.items():
                want = float(np.mean([t[name] for t in theirs]))
                got = ours["measures"][name]["mean"]
                difference = abs(got - want) / max(abs(want), 1e-12)
                verdict = "ok" if difference <= tolerance else "DIFFERS"
                failures += verdict != "ok"
                print(f"{kind:8} {name:11} segfit {got:.6f}  here {want:.6f}  relative difference {difference:.1e}  {verdict}")
    sys.exit(f"{failures} measures differ" if failures else 0)


main()
