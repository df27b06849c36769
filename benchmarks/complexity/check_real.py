"""Compares every measure of `segfit measure` with Python (`peer.py`), value by value on real images, and writes agreement.md.

    python check_real.py path/to/segfit path/to/data [--out agreement.md]       (pip install -r ../requirements.txt)

`data` holds data sets (folders with images/, masks/ and split.csv; 256 x 256 PNG, masks of two classes). Of each, five images
spread over the set are measured on both sides at every scale, and make a small data set of their own for the ridge probe;
then the probe of two whole sets, whose sources hold several images. Fails when a value is beyond its tolerance, when only
one side calls it undefined, or when one side has a measure that the other lacks. Last, the fast forms of the Python side
against the plain functions of scikit-image, SciPy and NumPy that they stand for.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import peer  # first: it sets the number of threads

import cv2
import numpy as np
from scipy import ndimage
from skimage import feature, measure, morphology

import images
import masks

PER_SET = 5
WHOLE_SETS = ("glas", "isbi2012_em")
BYTES = 2  # of a compressed level always allowed: one quantised coefficient that is rounded the other way costs as much
PROBE_TOLERANCE = 2e-3  # Dice of an image; a score at the threshold may fall on either side
PUBLISHED_B = 0.5711


def chosen(folder):
    """Five images spread evenly over a data set."""
    pairs = peer.pairs_of(folder)
    return [pairs[i * len(pairs) // PER_SET][0] for i in range(PER_SET)]


def by_segfit(segfit, folder):
    """Values of every image, in the order of their names."""
    command = [segfit, "measure", folder, "--split", "all", "--size", "256", "--per-image", "--json"]
    if "--no-cache" in subprocess.run([segfit, "measure", "--help"], capture_output=True, text=True).stdout:
        command.append("--no-cache")
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [image["values"] for image in sorted(report["per_image"], key=lambda image: image["name"])]


def small_set(files, folder):
    """A data set of some images and masks, without split.csv."""
    for kind, place in (("images", 0), ("masks", 1)):
        (folder / kind).mkdir(parents=True)
        for pair in files:
            (folder / kind / pair[0].name).symlink_to(pair[place].resolve())
    return folder


class Agreement:
    """The largest difference of each measure."""

    def __init__(self):
        self.rows = {}

    def add(self, row, tolerance, got, want, place, relative=True):
        if got is None or want is None:
            difference = float("inf")
        else:
            difference = abs(got - want) / (max(abs(got), abs(want), 1e-12) if relative else 1)
        fresh = {"tolerance": tolerance, "count": 0, "beyond": 0, "difference": -1.0, "relative": relative}
        worst = self.rows.setdefault(row, fresh)
        worst["count"] += 1
        worst["tolerance"] = min(worst["tolerance"], tolerance)
        worst["beyond"] += not difference <= tolerance
        if not difference <= worst["difference"]:
            worst |= {"difference": difference, "place": f"{place}: {got} and {want}"}

    def failures(self):
        return [name for name, row in self.rows.items() if row["beyond"]]


def base(name):
    return name.split("@")[0]


def pixels(name):
    """Of the level that a measure of a 256 x 256 image was taken at, or of the one image of J."""
    if name == "j":
        return 512**2
    return (256 // int((name.split("@1/") + ["1"])[1])) ** 2


def compare_images(segfit, folders, agreement):
    for folder in folders:
        files = chosen(folder)
        with tempfile.TemporaryDirectory() as place:
            small = small_set(files, Path(place) / folder.name)
            ours, theirs = by_segfit(segfit, small), peer.profile(peer.pairs_of(small))
        for (file, _), got, want in zip(files, ours, theirs):
            for name in sorted(got.keys() | want.keys()):
                if name != peer.PROBE:
                    tolerance = peer.TOLERANCES.get(base(name), peer.SAME)
                    if base(name) in peer.TOLERANCES and want.get(name):
                        tolerance = max(tolerance, BYTES / (want[name] * pixels(name)))
                    row = name if base(name) in peer.TOLERANCES else base(name)  # few bytes at coarse scales
                    agreement.add(row, tolerance, got.get(name), want.get(name), f"{folder.name}/{file.stem} {name}")
            row = (f"{peer.PROBE}, sets of {PER_SET}", PROBE_TOLERANCE)
            agreement.add(*row, got.get(peer.PROBE), want.get(peer.PROBE), f"{folder.name}/{file.stem}", False)


def compare_whole(segfit, folder, agreement):
    """Every image's probe; returns segfit's values."""
    pairs, ours = peer.pairs_of(folder), by_segfit(segfit, folder)
    for ((file, _), _), got, want in zip(pairs, ours, peer.profile(pairs)):
        row = (f"{peer.PROBE}, all of {folder.name}", PROBE_TOLERANCE)
        agreement.add(*row, got.get(peer.PROBE), want.get(peer.PROBE), file.stem, False)
    return ours


def hull_area(crop):
    """By scikit-image; objects in a line, which have no hull for qhull, are counted as lattice points."""
    y, x = np.nonzero(crop)
    if np.linalg.matrix_rank(np.stack([y - y[0], x - x[0]])) < 2:
        return int(np.gcd(np.ptp(y), np.ptp(x))) + 1
    return int(morphology.convex_hull_image(crop, offset_coordinates=False).sum())


def compare_forms(folders, agreement):
    """The fast forms against the plain functions, at scales 1 and 1/4."""
    for folder in folders:
        for files in chosen(folder):
            channels, mask = peer.read(*files)
            levels = masks.levels(images.luma(channels), mask)
            for scale in (0, 2):
                for row, got, want in forms(levels[scale]):
                    agreement.add(row, 1e-9, float(got), float(want), f"{folder.name}/{files[0].stem} scale {scale}")


def forms(level):
    """(name, fast, plain)."""
    objects = measure.regionprops(measure.label(level.mask, connectivity=2))
    yield "areas: skimage.measure.regionprops", np.sort(level.objects.areas) @ np.arange(len(objects)), np.sort(
        [o.area for o in objects]
    ) @ np.arange(len(objects))
    yield "hulls: skimage.morphology.convex_hull_image", level.objects.hulls.sum(), sum(hull_area(o.image) for o in objects)
    outlines = [measure.perimeter(o.image, neighborhood=4) for o in objects]
    yield "outlines: skimage.measure.perimeter", (level.objects.perimeters**2).sum(), sum(p * p for p in outlines)
    matrix = feature.graycomatrix(
        level.bytes // 8, [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], levels=32, symmetric=True, normed=True
    )
    for name in ("contrast", "homogeneity", "energy", "correlation"):
        if level.texture[name] is not None:
            yield f"GLCM {name}: skimage.feature.graycoprops", level.texture[name], feature.graycoprops(matrix, name).mean()
    windows = np.lib.stride_tricks.sliding_window_view(level.bytes.astype(np.float64), (5, 5))
    yield "local deviation: numpy.std of every window", images.local_deviation(level), windows.std(axis=(2, 3)).mean()
    kernel = np.outer([1, -2, 1], [1, -2, 1])
    second = ndimage.convolve(level.gray.astype(np.float64), kernel)[1:-1, 1:-1]
    flat = np.sort(level.gradient, axis=None)[: level.gradient.size - int(level.gradient.size * 0.1)][-1]
    noise = np.abs(second)[level.gradient <= flat].mean()
    yield "noise: scipy.ndimage.convolve", images.noise(level), 255 * np.sqrt(np.pi / 2) * noise / 6
    gray, inside = level.gray.astype(np.float64), level.mask > 0
    if inside.any() and not inside.all():
        a, b = gray[inside], gray[~inside]
        yield "Fisher ratio: numpy.mean and var", masks.fisher(level), (a.mean() - b.mean()) ** 2 / (a.var() + b.var())
    if inside.any():
        wide = np.pad(inside, 2, constant_values=True)
        opened = ndimage.binary_opening(np.pad(wide, 2, constant_values=True), np.ones((3, 3)))[4:-4, 4:-4]
        yield "thinness: scipy.ndimage.binary_opening", masks.thinness(level), 1 - opened[inside].mean()
        boundary = inside & ~ndimage.binary_erosion(inside, border_value=1)
        yield "boundary: scipy.ndimage.binary_erosion", masks.boundary(level), boundary.mean()


def table(agreement, first):
    """Rows of a Markdown table; `first` names its first columns."""
    yield f"| {' | '.join(first)} | values | tolerance | largest difference | passed | where: the two values |"
    yield "|---" * (len(first) + 5) + "|"
    for name, row in agreement.rows.items():
        measure = base(name).split(",")[0]
        cells = [name, peer.MEASURES[measure][0], "no" if measure in peer.TOLERANCES else "yes"] if len(first) > 1 else [name]
        unit = "" if row["relative"] else " of Dice"
        cells += [str(row["count"]), f"{row['tolerance']:.0e}{unit}", f"{row['difference']:.1e}"]
        cells += [f"**no: {row['beyond']} beyond**" if row["beyond"] else "yes", row["place"] if row["difference"] > 0 else "equal"]
        yield row_of(cells)


def row_of(cells):
    return f"| {' | '.join(cells)} |"


def markdown(agreement, own, whole, args, count):
    said = subprocess.run([args.segfit, "--version"], capture_output=True, text=True).stdout.strip()
    known = [f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-image", "pillow")] + [f"opencv {cv2.__version__}"]
    lines = ["# Agreement of the measures with other libraries", ""]
    lines += [f"Written by `check_real.py`: {said} against {', '.join(known)}. {count} images, {PER_SET} of each of {count // PER_SET}"]
    lines += ["data sets, every measure at every scale, value by value. Differences are relative to the larger of both values, but for"]
    lines += ["the probe, whose tolerance is one of Dice: a pixel whose score lies at the threshold may fall on either side. \"Same\" says"]
    lines += ["whether both sides run the same algorithm; compressed bytes come from other encoders (libjpeg-turbo, zlib), and are"]
    lines += ["listed by scale, since a byte is a larger share of few; two bytes are always allowed there. The two values are those of segfit and of Python.", ""]
    lines += list(table(agreement, ["measure", "library", "same"]))
    lines += ["", "The Python side computes some measures in a faster form than the plain function of a library. Both forms, on the same"]
    lines += ["images at scales 1 and 1/4; the two values are those of the fast and of the plain form:", ""]
    lines += list(table(own, ["fast form: plain function"]))
    for name, values in whole.items():
        b, foreground = (np.mean([v[m] for v in values]) for m in ("blob_density", "foreground"))
        if name == "glas":
            lines += ["", f"For information: the {len(values)} images of {name} at 256 x 256 have a convex-area density of {b:.4f} and a"]
            lines += [f"foreground of {foreground:.4f}; the published B, whose formula is not public, is {PUBLISHED_B} (165 images)."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("agreement.md"))
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"skipped: {args.data} is not here")
        return
    folders = sorted(f for f in args.data.iterdir() if (f / "images").is_dir())
    if not folders:
        sys.exit(f"no data sets in {args.data}")
    agreement, own, whole = Agreement(), Agreement(), {}
    compare_images(args.segfit, folders, agreement)
    for folder in folders:
        if folder.name in WHOLE_SETS:
            whole[folder.name] = compare_whole(args.segfit, folder, agreement)
    compare_forms(folders, own)
    text = markdown(agreement, own, whole, args, PER_SET * len(folders))
    args.out.write_text(text)
    print(text)
    failures = agreement.failures() + own.failures()
    if failures:
        sys.exit(f"beyond the tolerance: {', '.join(failures)}")


if __name__ == "__main__":
    main()
