"""Prints Pillow's BILINEAR resize (antialiased) of a small float plane, for the test in crates/segfit/src/data/resize.rs.

    python resize.py       (pip install pillow numpy)

The plane has 13 rows and 17 columns: value(y, x) = ((37 * y + 101 * x + 5 * y * x) mod 256) / 255.
"""

import numpy as np
import PIL
from PIL import Image

y, x = np.mgrid[0:13, 0:17]
plane = (((37 * y + 101 * x + 5 * y * x) % 256) / 255).astype(np.float32)
print("Pillow", PIL.__version__)
for height, width in [(5, 7), (8, 8), (20, 31), (13, 4)]:
    out = np.asarray(Image.fromarray(plane).resize((width, height), Image.BILINEAR))
    flat = out.ravel()
    picks = [0, 1, width - 1, width + 2, flat.size // 2, flat.size - 2, flat.size - 1]
    print((height, width), [f"{i}: {flat[i]:.7f}" for i in picks], f"sum {flat.astype(np.float64).sum():.5f}")
mask = (x + 3 * y).astype(np.uint8)
for height, width in [(5, 7), (20, 31)]:
    out = np.asarray(Image.fromarray(mask).resize((width, height), Image.NEAREST))
    print("nearest", (height, width), out[0].tolist(), out[:, 0].tolist())
