"""HD95, NSD and Dice of `segfit evaluate` against SciPy and MONAI, on slices and whole volumes with spacing in millimetres.

    python benchmarks/evaluation/surface.py SEGFIT --work DIR

Makes NIfTI volumes of ellipsoids in noise with unequal spacing, trains a narrow network on their slices for a moment (so that it errs), evaluates it with
`--native` and segments the test volumes; then reads the masks with nibabel and computes the scores again: with SciPy's `binary_erosion` and
`distance_transform_edt`, and with MONAI's `compute_hausdorff_distance` and `compute_surface_dice`. Writes surface.md beside this script. Needs numpy, scipy, nibabel, monai.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

HERE = Path(__file__).parent
SPACING = (0.7, 0.9, 2.5)
TOLERANCE = 1.3


def volume(seed):
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (56, 64, 12)], indexing="ij"), axis=-1) * SPACING
    mask = np.zeros(grid.shape[:3], np.uint8)
    for _ in range(3):
        centre = random.uniform(0.2, 0.8, 3) * grid.max(axis=(0, 1, 2))
        radii = random.uniform(4, 9, 3)
        mask |= (((grid - centre) / radii) ** 2).sum(axis=-1) < 1
    image = 60 + 60 * mask + random.normal(0, 25, mask.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def data_set(folder):
    rows = ["file,split"]
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    affine = np.diag([*SPACING, 1.0])
    for i in range(8):
        for part, data in zip(("images", "masks"), volume(i)):
            nibabel.save(nibabel.Nifti1Image(data, affine), folder / part / f"v{i}.nii.gz")
        rows.append(f"v{i},{'test' if i >= 5 else 'train'}")
    (folder / "split.csv").write_text("\n".join(rows) + "\n")


def by_scipy(p, t, spacing):
    def surface(mask):
        return mask & ~ndimage.binary_erosion(mask)

    diagonal = float(np.sqrt((((np.array(p.shape) - 1) * spacing) ** 2).sum()))
    if not p.any() or not t.any():
        return (0.0, 1.0) if not p.any() and not t.any() else (diagonal, 0.0)
    sp, st = surface(p), surface(t)
    to_t = ndimage.distance_transform_edt(~st, sampling=spacing)[sp]
    to_p = ndimage.distance_transform_edt(~sp, sampling=spacing)[st]
    near = (to_t <= TOLERANCE).sum() + (to_p <= TOLERANCE).sum()
    return max(np.percentile(to_t, 95), np.percentile(to_p, 95)), near / (len(to_t) + len(to_p))


def by_monai(p, t, spacing):
    one = [torch.from_numpy(m[None, None]) for m in (p, t)]
    hd = compute_hausdorff_distance(*one, include_background=True, percentile=95, spacing=list(spacing))
    nsd = compute_surface_dice(*one, class_thresholds=[TOLERANCE], include_background=True, spacing=list(spacing))
    return hd.item(), nsd.item()


def dice(p, t):
    total = p.sum() + t.sum()
    return 2 * (p & t).sum() / total if total else 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("segfit")
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    segfit, work = options.segfit, options.work
    data, run, out = work / "data", work / "run", work / "out"
    data_set(data)
    network = work / "network.json"

    def call(*words):
        return subprocess.run([str(w) for w in (segfit, *words)], check=True, stdout=subprocess.PIPE, text=True).stdout

    call("network", "narrow", "--width", 2, "--depth", 2, "--channels", 1, "--classes", 2, "--out", network)
    if not (run / "metrics.json").exists():
        call("train", network, data, "--out", run, "--patch", "--size", 48, "--steps", 120)
    found = json.loads(call("evaluate", run, data, "--native", "--tolerance", TOLERANCE, "--json"))
    names = ["v5", "v6", "v7"]
    call("segment", run, *[data / "images" / f"{n}.nii.gz" for n in names], "--out", out, "--no-overlay")
    assert found["surfaces"]["unit"] == "mm", found["surfaces"]
    slices = {s["name"]: s for s in found["per_image"]}
    volumes = {v["name"]: v for v in found["per_volume"]}
    worst = {}
    compared = {"slices": 0, "volumes": 0}

    def note(kind, peer, score, a, b):
        key = (kind, peer, score)
        worst[key] = max(worst.get(key, 0.0), abs(a - b))

    def compare(kind, scores, p, t, spacing):
        compared[kind] += 1
        note(kind, "NumPy", "Dice", scores["dice"], dice(p, t))
        for score, value in zip(("hd95", "nsd"), by_scipy(p, t, spacing)):
            note(kind, "SciPy", score, scores[score], value)
        if p.any() and t.any():  # MONAI gives NaN and infinity otherwise
            for score, value in zip(("hd95", "nsd"), by_monai(p, t, spacing)):
                note(kind, "MONAI", score, scores[score], value)

    for name in names:
        # Axes (x, y, z) to (z, y, x), as the slices are.
        p, t = (nibabel.load(path).get_fdata().transpose(2, 1, 0) > 0 for path in (out / f"{name}.nii.gz", data / "masks" / f"{name}.nii.gz"))
        spacing = np.array(SPACING[::-1])
        compare("volumes", volumes[name], p, t, spacing)
        for z in range(p.shape[0]):
            compare("slices", slices[f"{name}#{z:03}"], p[z], t[z], spacing[1:])
    lines = ["# Distances of surfaces against SciPy and MONAI", "", "Largest absolute difference; HD95 in millimetres, tolerance of NSD " + f"{TOLERANCE} mm, spacing {SPACING} mm.", ""]
    lines += [f"{compared['slices']} slices and {compared['volumes']} volumes; MONAI only where both masks have pixels.", ""]
    lines += ["| what | peer | score | largest difference |", "| --- | --- | --- | --- |"]
    lines += [f"| {kind} | {peer} | {score} | {value:.1e} |" for (kind, peer, score), value in sorted(worst.items())]
    (HERE / "surface.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if max(v for (_, peer, _), v in worst.items() if peer != "MONAI") > 1e-6:
        sys.exit("the scores differ")


if __name__ == "__main__":
    main()
