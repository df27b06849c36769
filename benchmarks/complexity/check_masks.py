"""Compares the mask and joint measures of `segfit measure` with scikit-image, SciPy and NumPy, image by image.

    python check_masks.py path/to/segfit path/to/data    (pip install blake3 numpy pillow scipy scikit-image)

`data` holds data sets (folders with images/, masks/ and split.csv). Five images of each, evenly spaced, are measured at full
size by segfit and again here. Prints the largest difference of every measure and fails beyond the tolerance. Then the ridge
probe, which needs a whole data set: `glas` and `isbi2012_em`, its Dice of every image. Last, for information, the
convex-area density of GlaS beside the published B.
"""

import csv
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from blake3 import blake3
from PIL import Image
from scipy import ndimage
from skimage import measure, morphology

# Relative to the larger of the two values; the same algorithm on both sides.
TOLERANCE = {
    "object_area_q10": 1e-6,
    "object_area": 1e-6,
    "object_area_q90": 1e-6,
    "perimetric": 1e-6,
    "solidity": 1e-6,
    "blob_density": 1e-6,
    "class_balance": 1e-6,
    "fisher": 1e-5,  # the gray values are f32 there, f64 here
    "edge_agreement": 1e-6,  # the gradient is f32 on both sides, so that the same pixels reach the threshold
}
PROBE_TOLERANCE = 2e-3  # Dice of an image; a score at the threshold may fall on either side
PUBLISHED_B = 0.5711
DISC = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2


def luma(image):
    rgb = np.asarray(image, np.float64) / 255
    return rgb if rgb.ndim == 2 else rgb @ np.array([0.299, 0.587, 0.114])


def sobel(gray):
    return np.hypot(ndimage.sobel(gray, 0), ndimage.sobel(gray, 1))


def edge_pixels(image):
    """Pixels whose Sobel magnitude reaches 0.4, in f32 in segfit's order: many gradients of 8-bit images lie at 0.4."""
    g = np.asarray(image, np.float32) / np.float32(255)
    if g.ndim == 3:
        g = np.float32(0.299) * g[:, :, 0] + np.float32(0.587) * g[:, :, 1] + np.float32(0.114) * g[:, :, 2]
    a, b, c, two = g[:-2], g[1:-1], g[2:], np.float32(2)
    gx = (a[:, 2:] - a[:, :-2]) + two * (b[:, 2:] - b[:, :-2]) + (c[:, 2:] - c[:, :-2])
    gy = (c[:, :-2] - a[:, :-2]) + two * (c[:, 1:-1] - a[:, 1:-1]) + (c[:, 2:] - a[:, 2:])
    return np.pad(np.sqrt(gx * gx + gy * gy) >= np.float32(0.4), 1)


def hull_area(crop):
    """Pixels in the hull of the pixel centres; objects in a line, which have no hull for qhull, are counted as lattice points."""
    y, x = np.nonzero(crop)
    if np.linalg.matrix_rank(np.stack([y - y[0], x - x[0]])) < 2:
        return int(np.gcd(np.ptp(y), np.ptp(x))) + 1
    return int(morphology.convex_hull_image(crop, offset_coordinates=False).sum())


def of_masks(image, mask):
    """All measures of one image with a mask of two classes."""
    gray = luma(image)
    found = {}
    objects = measure.regionprops(measure.label(mask, connectivity=2))
    p = np.array([1 - mask.mean(), mask.mean()])
    p = p[p > 0]
    found["class_balance"] = max(-(p * np.log2(p)).sum(), 0)
    areas = np.array([o.area for o in objects])
    hulls = np.array([hull_area(o.image) for o in objects])
    found["blob_density"] = hulls.sum() / mask.size
    if len(objects):
        quantiles = np.quantile(areas / mask.size, [0.1, 0.5, 0.9])
        found |= dict(zip(["object_area_q10", "object_area", "object_area_q90"], quantiles))
        outlines = np.array([measure.perimeter(o.image, neighborhood=4) for o in objects])
        found["perimetric"] = np.average(outlines**2 / (4 * np.pi * areas), weights=areas)
        found["solidity"] = np.average(areas / hulls, weights=areas)
        found["solidity of regionprops"] = np.average([o.solidity for o in objects], weights=areas)
    if 0 < mask.mean() < 1:
        inside, outside = gray[mask], gray[~mask]
        found["fisher"] = (inside.mean() - outside.mean()) ** 2 / (inside.var() + outside.var())
        boundary = mask & ~ndimage.binary_erosion(mask, border_value=1)
        edges = edge_pixels(image)
        recall = ndimage.binary_dilation(edges, DISC)[boundary].mean()
        precision = ndimage.binary_dilation(boundary, DISC)[edges].mean() if edges.any() else 0
        found["edge_agreement"] = 2 * precision * recall / (precision + recall) if precision + recall else 0
    return found


def filters(image):
    """The filter bank at every fourth row and column of a 256 x 256 image; one row per pixel."""
    channels = np.asarray(image, np.float64) / 255
    channels = channels.reshape(256, 256, -1)
    gray = luma(image)
    columns = []
    for scale in range(4):
        side = 256 >> scale

        def reduced(plane):
            return plane.reshape(side, 256 // side, side, 256 // side).mean((1, 3))

        def at_grid(plane, margin=0):
            plane = np.pad(plane[margin : side - margin, margin : side - margin], margin, mode="edge")
            place = np.clip((np.arange(2, 256, 4) + 0.5) / 2**scale - 0.5, 0, side - 1)
            points = np.meshgrid(place, place, indexing="ij")
            return ndimage.map_coordinates(plane, points, order=1, mode="nearest").ravel()

        g = reduced(gray)
        squares = ndimage.uniform_filter(g * g, 5) - ndimage.uniform_filter(g, 5) ** 2
        columns += [at_grid(g), at_grid(sobel(g), 1), at_grid(ndimage.laplace(g), 1)]
        columns += [at_grid(np.sqrt(np.maximum(squares, 0)), 2)]
        columns += [at_grid(reduced(channels[:, :, c] - gray)) for c in range(channels.shape[2] - 1)]
    return np.stack(columns, 1)


def folds(sources):
    order = sorted(set(sources), key=lambda s: (blake3(s.encode()).digest(), s.encode()))
    filled, place = [0] * min(5, len(order)), {}
    for source in order:
        place[source] = filled.index(min(filled))
        filled[place[source]] += sources.count(source)
    return np.array([place[s] for s in sources])


def binned(x, weights, bias):
    return np.clip(np.floor((x @ weights + bias + 0.5) * 1024), 0, 2047).astype(int)


def dice(taken, truth):
    total = taken.sum() + truth.sum()
    return 2 * (taken & truth).sum() / total if total else 1.0


def probe(images, masks, sources):
    x = [filters(Image.open(p)) for p in images]
    y = [(np.asarray(Image.open(p)) > 0)[2::4, 2::4].ravel() for p in masks]
    fold, found = folds(sources), np.zeros(len(x))
    for k in range(fold.max() + 1):
        train, truth = (np.concatenate([v[i] for i in np.nonzero(fold != k)[0]]) for v in (x, y))
        mean, deviation = train.mean(0), train.std(0)
        z = (train - mean) / deviation
        weights = np.linalg.solve(z.T @ z / len(z) + 1e-3 * np.eye(z.shape[1]), z.T @ (truth - truth.mean()) / len(z))
        weights /= deviation
        bias = truth.mean() - mean @ weights
        bins = binned(train, weights, bias)
        every, hits = (np.bincount(b, minlength=2048)[::-1].cumsum()[::-1] for b in (bins, bins[truth]))
        threshold = np.argmax(2 * hits / (every + truth.sum()))
        for i in np.nonzero(fold == k)[0]:
            found[i] = dice(binned(x[i], weights, bias) >= threshold, y[i])
    return found


def measured(segfit, images, masks, sources=None):
    """The values of every image by segfit, at the images' own size."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        for name, paths in (("images", images), ("masks", masks)):
            (root / name).mkdir(parents=True)
            for i, path in enumerate(paths):
                (root / name / f"{i:03}.png").symlink_to(Path(path).resolve())
        with open(root / "split.csv", "w", newline="") as file:
            rows = [[f"{i:03}.png", "train", sources[i] if sources else f"{i:03}"] for i in range(len(images))]
            csv.writer(file).writerows([["file", "split", "source"], *rows])
        command = [segfit, "measure", root, "--split", "all", "--size", "256", "--per-image", "--json"]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [image["values"] for image in json.loads(out)["per_image"]]


def pairs(folder):
    images = sorted((folder / "images").iterdir())
    return images, [folder / "masks" / p.name for p in images]


def check_images(segfit, data):
    largest, count, regionprops = {}, 0, 0
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        images, masks = pairs(folder)
        chosen = np.linspace(0, len(images) - 1, 5).astype(int)
        images, masks = [images[i] for i in chosen], [masks[i] for i in chosen]
        for path, truth, ours in zip(images, masks, measured(segfit, images, masks)):
            theirs = of_masks(Image.open(path), np.asarray(Image.open(truth)) > 0)
            count += 1
            regionprops = max(regionprops, ours.get("solidity", 0) - theirs.pop("solidity of regionprops", 0))
            for name in TOLERANCE:
                assert (name in ours) == (name in theirs), f"{path}: {name} is defined on one side only"
                if name in ours:
                    scale = max(abs(ours[name]), abs(theirs[name]), 1e-12)
                    difference = abs(ours[name] - theirs[name]) / scale
                    if difference >= largest.get(name, (-1,))[0]:
                        largest[name] = (difference, f"{folder.name}/{path.name}", ours[name], theirs[name])
    print(f"{count} images: largest relative difference per measure")
    failures = 0
    for name, (difference, where, ours, theirs) in largest.items():
        verdict = "ok" if difference <= TOLERANCE[name] else "DIFFERS"
        failures += verdict != "ok"
        print(f"{name:16} {difference:.1e} (at most {TOLERANCE[name]:.0e})  {where:24} {ours:.6g} here {theirs:.6g}  {verdict}")
    print(f"for information: solidity is at most {regionprops:.3f} above that of skimage's regionprops (half a pixel around)")
    return failures


def check_probe(segfit, folder):
    images, masks = pairs(folder)
    with open(folder / "split.csv", newline="") as file:
        source = {row["file"]: row["source"].split("#")[0] for row in csv.DictReader(file)}
    sources = [source[p.name] for p in images]
    ours = np.array([v["probe_dice"] for v in measured(segfit, images, masks, sources)])
    theirs = probe(images, masks, sources)
    difference = np.abs(ours - theirs).max()
    verdict = "ok" if difference <= PROBE_TOLERANCE else "DIFFERS"
    print(
        f"probe_dice {folder.name}: mean {ours.mean():.5f} here {theirs.mean():.5f}, largest difference of an image "
        f"{difference:.1e} (at most {PROBE_TOLERANCE:.0e})  {verdict}"
    )
    return int(verdict != "ok")


def show_b(segfit, folder):
    images, masks = pairs(folder)
    values = measured(segfit, images, masks)
    b, foreground = (np.mean([v[name] for v in values]) for name in ("blob_density", "foreground"))
    print(
        f"{folder.name}, all {len(images)} images at 256 x 256: convex-area density {b:.4f}, foreground {foreground:.4f}; "
        f"published B {PUBLISHED_B} (165 images)"
    )


def main():
    warnings.simplefilter("error", RuntimeWarning)
    segfit, data = sys.argv[1], Path(sys.argv[2])
    failures = check_images(segfit, data)
    for name in ("glas", "isbi2012_em"):
        failures += check_probe(segfit, data / name)
    show_b(segfit, data / "glas")
    sys.exit(f"{failures} measures differ" if failures else 0)


if __name__ == "__main__":
    main()
