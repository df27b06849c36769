"""Compares every image measure of `segfit measure` with scikit-image, NumPy, Pillow and zlib on real images, value by value.

    python check_images.py path/to/segfit path/to/data    (pip install pillow numpy scikit-image)

`data` holds data sets (folders with images/ and masks/ of 256 x 256 PNG). Of each, five images spread over the set are measured by
segfit at full size and at every scale, and by `images.py` from the same files. Prints the largest difference of each measure
and fails when one is beyond its tolerance, or when only one side calls a measure undefined.

Tolerances are relative: 1e-6 where both sides compute the same thing (they agree to about 1e-14), and 2% for compressed bytes,
since encoders differ: JPEG (libjpeg-turbo) and deflate (zlib).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from images import ALL, levels, luma

PER_SET = 5
TOLERANCE = {"jpeg": 0.02, "png": 0.02}
SAME = 1e-6


def chosen(folder):
    """Five images spread evenly over a data set."""
    files = sorted((folder / "images").glob("*.png"))
    return [files[i * len(files) // PER_SET] for i in range(PER_SET)]


def measured(segfit, files):
    """File stem -> name -> value, by segfit."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("images", "masks"):
            (Path(folder) / "data" / kind).mkdir(parents=True)
            for file in files:
                shutil.copy(file.parent.parent / kind / file.name, Path(folder) / "data" / kind)
        command = [segfit, "measure", f"{folder}/data", "--split", "all", "--size", "256", "--per-image", "--json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {Path(image["name"]).stem: image["values"] for image in report["per_image"]}


def compared(ours, file):
    """(measure, scale, ours, theirs) of one image; None where a side has no value."""
    for scale, level in levels(luma(Image.open(file))).items():
        for name, function in ALL.items():
            got = ours.get(name if scale == 0 else f"{name}@1/{2**scale}")
            if got is not None or name not in ("jpeg", "png"):  # these end above the coarsest scales
                yield name, scale, got, function(level)


def difference(got, want):
    if got is None or want is None:
        return 0.0 if got is want else float("inf")
    return abs(got - want) / max(abs(want), 1e-12) if got != want else 0.0


def main():
    segfit, folders = sys.argv[1], sorted(f for f in Path(sys.argv[2]).iterdir() if (f / "images").is_dir())
    largest, count, images = {name: (0.0, "") for name in ALL}, dict.fromkeys(ALL, 0), 0
    for folder in folders:
        files = chosen(folder)
        ours = measured(segfit, files)
        for file in files:
            images += 1
            for name, scale, got, want in compared(ours[file.stem], file):
                place = f"{folder.name}/{file.stem} scale 1/{2**scale}: segfit {got}, here {want}"
                largest[name] = max(largest[name], (difference(got, want), place))
                count[name] += 1
    if images == 0:
        sys.exit(f"no data sets in {sys.argv[2]}")
    print(f"{images} images of {len(folders)} data sets\n")
    print(f"{'measure':18} {'values':>6} {'largest':>8} {'allowed':>8}  where")
    failures = []
    for name, (worst, place) in largest.items():
        allowed = TOLERANCE.get(name, SAME)
        if not worst <= allowed or count[name] == 0:
            failures.append(name)
        print(f"{name:18} {count[name]:6} {worst:8.1e} {allowed:8.0e}  {place if worst > 0 else '-'}")
    if failures:
        sys.exit(f"beyond the tolerance: {', '.join(failures)}")


main()
