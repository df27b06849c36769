"""Reads every original file under FORMATS with Pillow and tifffile and prints what segfit must find.

    python formats.py FORMATS > formats.tsv       (pip install pillow numpy tifffile imagecodecs)

Columns: path, height, width, channels, sum of all samples (alpha left out), smallest, largest, and for masks (files whose
values are labels) the number of pixels of each value. Of multi-page files the first page. crates/segfit/tests/data_formats.rs
compares.
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

MASKS = ("masks/", "labels/", "_anno", "_mask", "manual1", "SEG/", "mask2d", "mask3d")


def pixels(path):
    if path.suffix == ".tif":
        return tifffile.TiffFile(path).pages[0].asarray()
    image = Image.open(path)
    array = np.asarray(image)
    return array[..., :3] if image.mode == "RGBA" else array


root = Path(sys.argv[1])
for path in sorted(root.rglob("*")):
    if path.suffix not in (".tif", ".bmp", ".gif", ".png", ".jpg"):
        continue
    name = path.relative_to(root).as_posix()
    a = pixels(path)
    channels = a.shape[2] if a.ndim == 3 else 1
    counts = ""
    if any(m in name for m in MASKS):
        gray = a if a.ndim == 2 else a[..., 0]
        assert a.ndim == 2 or (a == a[..., :1]).all() or path.suffix == ".jpg"
        if path.suffix == ".jpg":
            gray = np.where(np.asarray(Image.open(path).convert("L")) < 128, 0, 255)
        values, n = np.unique(gray, return_counts=True)
        counts = " ".join(f"{v}:{c}" for v, c in zip(values, n))
    print(name, a.shape[0], a.shape[1], channels, int(a.astype(np.int64).sum()), a.min(), a.max(), counts, sep="\t")
