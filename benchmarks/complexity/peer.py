"""The whole profile of `segfit measure` in Python, in its fastest reasonable form: all measures at all scales, for data sets of
8-bit gray or RGB images of 256 x 256 pixels with masks of two classes.

    (pip install -r ../requirements.txt)

`check_real.py` compares its values with segfit's, `throughput.py` its speed. MEASURES names the library of each measure and
says why: what is shared is computed once per image and scale, no measure loops over pixels or objects in Python (hulls call
OpenCV twice an object), every library runs on one thread, and a process on each core takes its share of the images.

An image costs about 20 ms, of which canny and png take a fifth each. Where NumPy stands
below and OpenCV would be faster (histogram, pairs of the co-occurrence, local deviation, noise), it would save 0.7 ms of them;
those measures are also checked by `check.py`, which has to run with NumPy and Pillow alone.
"""

import csv
import io
import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import images  # noqa: E402
import masks  # noqa: E402

cv2.setNumThreads(1)
SAME, COMPRESSED = 1e-6, 0.02
PROBE = "probe_dice"

# Measure: (library, why this one).
MEASURES = {
    "j": ("Pillow", "the image as stored: its resize and libjpeg-turbo, as the published values were recovered with"),
    "jpeg": ("Pillow", "libjpeg-turbo, as OpenCV has; encoded once for both measures"),
    "jpeg_scan": ("Pillow", "from the same file"),
    "png": ("zlib", "the deflate that the definition means; zlib-ng and ISA-L are faster by making other sizes (up to 3% and 13% off)"),
    "entropy": ("NumPy", "bincount, shared with Otsu's threshold and separability"),
    "delentropy": ("NumPy", "both differences as one 32-bit number, sorted (vectorised), runs counted; a bincount over 511 x 511 is slower"),
    "edge": ("NumPy", "separable Sobel in float32, shared by four measures; OpenCV adds in another order, which moves pixels "
             "that lie at the threshold"),
    "si_mean": ("NumPy", "as edge"),
    "si_rms": ("NumPy", "as edge"),
    "mean_frequency": ("NumPy", "one real FFT for three measures, window and radii made once"),
    "median_frequency": ("NumPy", "as mean_frequency; bincount with weights"),
    "spectral_slope": ("NumPy", "as mean_frequency; bincount with weights"),
    "glcm_contrast": ("NumPy", "bincount of pairs, all four properties from one matrix; faster than graycomatrix with four graycoprops"),
    "glcm_homogeneity": ("NumPy", "as glcm_contrast"),
    "glcm_energy": ("NumPy", "as glcm_contrast"),
    "glcm_correlation": ("NumPy", "as glcm_contrast"),
    "local_deviation": ("NumPy", "separable sums of integers"),
    "noise": ("NumPy", "separable second differences"),
    "canny": ("scikit-image", "its compiled non-maximum suppression; cv2.Canny is another algorithm (8 bits, no interpolation)"),
    "fractal_dimension": ("NumPy", "of the same edges, by halving"),
    "image_blob_density": ("OpenCV", "findContours and convexHull, then Pick's theorem for all objects at once"),
    "foreground": ("OpenCV", "countNonZero"),
    "objects": ("OpenCV", "connectedComponentsWithStats, shared by seven measures; faster than ndimage.label"),
    "object_area": ("OpenCV", "areas of the same call, np.quantile"),
    "object_area_q10": ("OpenCV", "as object_area"),
    "object_area_q90": ("OpenCV", "as object_area"),
    "blob_density": ("OpenCV", "as image_blob_density"),
    "solidity": ("OpenCV", "from the same hulls"),
    "perimetric": ("OpenCV", "the method of skimage.measure.perimeter for all objects in one pass (erode, filter2D, bincount)"),
    "boundary": ("OpenCV", "erode"),
    "thinness": ("OpenCV", "erode and dilate"),
    "survival": ("NumPy", "from the sums of the pyramid"),
    "separability": ("OpenCV", "calcHist with the mask, cumulative sums"),
    "class_balance": ("OpenCV", "countNonZero"),
    "fisher": ("OpenCV", "meanStdDev with the mask"),
    "edge_agreement": ("OpenCV", "dilate by the disc of 13 pixels"),
    PROBE: ("OpenCV", "boxFilter, Laplacian, remap; normal equations by BLAS, one product a process and image"),
}

# Relative, but for the probe (absolute); anything else has SAME.
TOLERANCES = {"j": COMPRESSED, "jpeg": COMPRESSED, "jpeg_scan": COMPRESSED, "png": COMPRESSED}

# Where they are not all five.
SCALES = {"jpeg": range(3), "png": range(4), "survival": range(1, 5)}
SCALES |= dict.fromkeys(["foreground", "class_balance", "object_area", "object_area_q10", "object_area_q90"], range(1))

ALL = images.ALL | masks.ALL


def name_at(name, scale):
    return name if scale == 0 else f"{name}@1/{2**scale}"


def read(image, mask):
    """The channels and the mask of two files."""
    pixels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
    channels = images.planes(pixels)
    return channels if pixels.ndim == 2 else channels[::-1], cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)


def published_j(channels):
    """Bytes of the gray JPEG of quality 80 of the image as stored, resized to 512 x 512, for a pixel."""
    bytes_of = [(255 * channel + np.float32(0.5)).astype(np.uint8) for channel in channels]
    stored = Image.fromarray(bytes_of[0] if len(bytes_of) == 1 else cv2.merge(bytes_of))
    file = io.BytesIO()
    stored.resize((512, 512), Image.Resampling.BICUBIC).convert("L").save(file, "JPEG", quality=80)
    return file.tell() / 512**2


def values_of(levels):
    """Name -> value, without the measures that are not defined."""
    found = {}
    for name, measure in ALL.items():
        for scale in SCALES.get(name, range(images.SCALES)):
            value = measure(levels[scale])
            if value is not None:
                found[name_at(name, scale)] = float(value)
    return found


def measured(pair):
    """Values of an image, and what the probe needs of it: filters, truth, moments."""
    channels, mask = read(*pair)
    levels = masks.levels(images.luma(channels), mask)
    bank = masks.bank(channels, levels)
    return values_of(levels) | {"j": published_j(channels)}, (*bank, masks.moments(*bank))


def pairs_of(folder):
    """Image, mask and source of every image of a data set; without split.csv every image is its own source."""
    files, table = sorted((folder / "images").glob("*.png")), folder / "split.csv"
    source = {}
    if table.exists():
        with open(table, newline="") as rows:
            source = {row["file"]: row["source"].split("#")[0] for row in csv.DictReader(rows)}
    return [((file, folder / "masks" / file.name), source.get(file.name, file.stem)) for file in files]


def profile(pairs, each=map):
    """Name -> value of every image of a data set; `each` maps `measured` over the pairs, perhaps in several processes."""
    files, sources = zip(*pairs)
    values, banks = zip(*each(measured, files))
    part = masks.probed([file.stem for file, _ in files])
    x, truth, moments = zip(*(banks[i] for i in part))
    for i, dice in zip(part, masks.probe(x, truth, moments, [sources[i] for i in part])):
        if dice is not None:
            values[i][PROBE] = float(dice)
    return values


def summary(values):
    """Mean, deviation and quantiles of every measure."""
    columns = {}
    for image in values:
        for name, value in image.items():
            columns.setdefault(name, []).append(value)
    made = {}
    for name, column in columns.items():
        column = np.array(column)
        deviation = column.std(ddof=1) if len(column) > 1 else 0.0
        made[name] = (column.mean(), deviation, *np.quantile(column, [0.05, 0.25, 0.5, 0.75, 0.95]))
    return made
