"""The measures of masks, those of image and mask together, and the ridge probe, in OpenCV and NumPy: see `images.py`.

For masks of two classes without instances. `levels` makes the pyramid, `ALL` holds a function of a level for each measure;
`bank` describes an image for `probe`, which needs all images of a data set.

The loops of scikit-image over objects (`regionprops`, `perimeter`, `convex_hull_image`) cost milliseconds an object; here every
object is measured in the same pass over the image, or, for its hull, by two calls of OpenCV. `check_real.py` compares both.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
from blake3 import blake3

import images

CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
SQUARE = np.ones((3, 3), np.uint8)
DISC = (np.hypot(*np.mgrid[-2:3, -2:3]) <= 2).astype(np.uint8)

# Length of the outline in a rim pixel, by 1 + 2 * rim pixels beside it + 10 * rim pixels diagonal to it (skimage.measure.perimeter).
NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.float32)
LENGTHS = np.zeros(50)
LENGTHS[[5, 7, 15, 17, 25, 27]] = 1
LENGTHS[[21, 33]] = np.sqrt(2)
LENGTHS[[13, 23]] = (1 + np.sqrt(2)) / 2

BANK_SCALES = 4
BANK_STEP = 4  # of 256 x 256 pixels
PROBE_IMAGES = 200


@dataclass
class Level(images.Level):
    mask: np.ndarray  # uint8, 1 is foreground
    hits: np.ndarray  # foreground pixels of the full-size mask in each block
    scale: int

    @cached_property
    def objects(self):
        return Objects(self.mask)

    @cached_property
    def foreground(self):
        return cv2.countNonZero(self.mask)

    @cached_property
    def boundary(self):
        """The foreground that its erosion removes; outside of the image counts as foreground."""
        return self.mask - cv2.erode(self.mask, CROSS)


class Objects:
    """The 8-connected components of a mask."""

    def __init__(self, mask):
        self.mask = mask
        self.count, self.labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
        self.areas = stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
        self.count -= 1

    @cached_property
    def hulls(self):
        """Pixels whose centres lie in the convex hull of the object's pixel centres: Pick's theorem on the hull's corners."""
        areas = np.zeros(self.count, np.int64)
        if self.count == 0:
            return areas
        contours, hierarchy = cv2.findContours(self.mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        outer = [contours[i] for i in np.flatnonzero(hierarchy[0, :, 3] < 0)]
        hulls = [c if len(c) < 4 else cv2.convexHull(c) for c in outer]
        points = np.concatenate(hulls)[:, 0].astype(np.int64)
        ends = np.cumsum([len(h) for h in hulls])
        starts = np.concatenate([[0], ends[:-1]])
        following = np.arange(1, len(points) + 1)
        following[ends - 1] = starts
        (x, y), (x1, y1) = points.T, points[following].T
        doubled = np.abs(np.add.reduceat(x * y1 - x1 * y, starts))
        rim = np.add.reduceat(np.gcd(x1 - x, y1 - y), starts)
        areas[self.labels[y[starts], x[starts]] - 1] = (doubled + rim) // 2 + 1
        return areas

    @cached_property
    def perimeters(self):
        """Different objects never touch, so that all outlines are found at once."""
        rim = self.mask - cv2.erode(self.mask, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        kinds = cv2.filter2D(rim, -1, NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
        place = np.flatnonzero(rim)
        return np.bincount(self.labels.ravel()[place], LENGTHS[kinds.ravel()[place]], self.count + 1)[1:]

    @cached_property
    def area_quantiles(self):
        return np.quantile(self.areas / self.mask.size, [0.1, 0.5, 0.9]) if self.count else [None] * 3


def levels(gray, mask):
    """Scale -> level. A block is foreground when at least half of its pixels are."""
    found = {}
    hits = images.sums((mask > 0).astype(np.int32))
    for scale, (plane, hits) in enumerate(zip(images.sums(gray), hits)):
        blocks = (2 * hits >= 4**scale).astype(np.uint8)
        found[scale] = Level(plane / np.float32(4**scale), blocks, hits, scale)
    return found


def foreground(level):
    return level.foreground / level.mask.size


def object_count(level):
    return level.objects.count


def object_area(which):
    return lambda level: level.objects.area_quantiles[which]


def blob_density(level):
    return level.objects.hulls.sum() / level.mask.size


def boundary(level):
    return cv2.countNonZero(level.boundary) / level.mask.size


def thinness(level):
    """What opening removes; outside of the image counts as foreground, so two pixels more at each side."""
    if level.foreground == 0:
        return None
    wide = cv2.copyMakeBorder(level.mask, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=1)
    opened = cv2.dilate(cv2.erode(wide, SQUARE), SQUARE)[2:-2, 2:-2]
    return (level.foreground - np.count_nonzero(opened)) / level.foreground


def survival(level):
    total = int(level.hits.sum())
    if total == 0:
        return None
    both = int(level.hits[level.mask > 0].sum())
    return 2 * both / (total + level.foreground * 4**level.scale)


def separability(level):
    if level.foreground == 0:
        return None
    taken = np.cumsum(level.histogram)
    hits = np.cumsum(cv2.calcHist([level.bytes], [0], level.mask, [256], [0, 256]).ravel().astype(np.int64))
    dark = 2 * hits / (taken + hits[-1])
    bright = 2 * (hits[-1] - hits) / (taken[-1] - taken + hits[-1])
    return max(dark.max(), bright.max())


def perimetric(level):
    objects = level.objects
    return (objects.perimeters**2).sum() / (4 * np.pi * objects.areas.sum()) if objects.count else None


def solidity(level):
    areas, hulls = level.objects.areas, level.objects.hulls
    return (areas * (areas / hulls)).sum() / areas.sum() if len(areas) else None


def class_balance(level):
    share = np.array([level.foreground, level.mask.size - level.foreground]) / level.mask.size
    share = share[share > 0]
    return max(-(share * np.log2(share)).sum(), 0)


def fisher(level):
    if level.foreground in (0, level.mask.size):
        return None
    (inside, spread), (outside, other) = (cv2.meanStdDev(level.gray, mask=m) for m in (level.mask, 1 - level.mask))
    variances = (spread**2 + other**2).item()
    return (inside - outside).item() ** 2 / variances if variances > 0 else None


def edge_agreement(level):
    boundaries = cv2.countNonZero(level.boundary)
    if boundaries == 0:
        return None
    edges = np.zeros_like(level.mask)
    edges[1:-1, 1:-1] = level.gradient >= np.float32(0.4)
    recall = cv2.countNonZero(cv2.dilate(edges, DISC) & level.boundary) / boundaries
    precision = cv2.countNonZero(cv2.dilate(level.boundary, DISC) & edges) / max(cv2.countNonZero(edges), 1)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def image_blob_density(level):
    """Of the side of Otsu's threshold with fewer pixels. (`cv2.threshold` breaks ties another way.)"""
    values = np.arange(256)
    below, sum_below = np.cumsum(level.histogram), np.cumsum(level.histogram * values)
    above, sum_above = below[-1] - below, sum_below[-1] - sum_below
    split = (below > 0) & (above > 0)
    if not split.any():
        return None
    apart = sum_above[split] / above[split] - sum_below[split] / below[split]
    threshold = values[split][np.argmax(below[split] * above[split] * apart * apart)] + 1
    bright = (level.bytes >= threshold).astype(np.uint8)
    if 2 * cv2.countNonZero(bright) > bright.size:
        bright ^= 1
    return Objects(bright).hulls.sum() / bright.size


ALL = {
    "image_blob_density": image_blob_density,
    "foreground": foreground,
    "objects": object_count,
    "object_area": object_area(1),
    "blob_density": blob_density,
    "boundary": boundary,
    "thinness": thinness,
    "survival": survival,
    "separability": separability,
    "object_area_q10": object_area(0),
    "object_area_q90": object_area(2),
    "perimetric": perimetric,
    "solidity": solidity,
    "class_balance": class_balance,
    "fisher": fisher,
    "edge_agreement": edge_agreement,
}


@cache
def grid(scale, side):
    """Where the pixels of the probe's grid lie between the blocks of a scale, for `cv2.remap`."""
    place = (np.arange(BANK_STEP // 2, side << scale, BANK_STEP) + 0.5) / 2**scale - 0.5
    y, x = np.meshgrid(place, place, indexing="ij")
    return x.astype(np.float32), y.astype(np.float32)


def framed(plane, margin):
    return cv2.copyMakeBorder(plane, *[margin] * 4, cv2.BORDER_REPLICATE)


def filters(level, colours):
    """Gray value, gradient, Laplacian, deviation within 5 x 5 pixels, and the colours."""
    gray = level.gray
    mean, squares = (of(gray, cv2.CV_64F, (5, 5))[2:-2, 2:-2] for of in (cv2.boxFilter, cv2.sqrBoxFilter))
    return [
        gray,
        framed(level.gradient, 1),
        framed(cv2.Laplacian(gray, cv2.CV_32F)[1:-1, 1:-1], 1),
        framed(np.sqrt(np.maximum(squares - mean * mean, 0)).astype(np.float32), 2),
        *colours,
    ]


def bank(planes, levels):
    """The filter bank at every fourth row and column of a 256 x 256 image: one row per pixel; and the pixels' truth."""
    side = planes[0].shape[0]
    assert planes[0].shape == (256, 256), "the probe's grid is that of 256 x 256 pixels"
    colours = [list(images.sums(p - levels[0].gray)) for p in planes[:-1]]
    columns = []
    for scale in range(BANK_SCALES):
        found = filters(levels[scale], [c[scale] / np.float32(4**scale) for c in colours])
        if scale == 0:
            columns += [f[BANK_STEP // 2 :: BANK_STEP, BANK_STEP // 2 :: BANK_STEP] for f in found]
        else:
            x, y = grid(scale, side >> scale)
            columns += [cv2.remap(f, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for f in found]
    truth = levels[0].mask[BANK_STEP // 2 :: BANK_STEP, BANK_STEP // 2 :: BANK_STEP] > 0
    return np.stack([c.ravel() for c in columns], 1), truth.ravel()


def moments(x, truth):
    """Sums of the products of filters, truth and 1, in float64."""
    columns = np.column_stack([x, truth, np.ones(len(truth))]).astype(np.float64)
    return columns.T @ columns


def ridge(moments):
    """Weights and bias of the regression of the truth on the standardised filters, penalty 0.001 a pixel."""
    pixels = moments[-1, -1]
    mean = moments[-1, :-1] / pixels
    covariance = moments[:-1, :-1] / pixels - np.outer(mean, mean)
    variance, mean, wanted = covariance.diagonal()[:-1], mean[:-1], mean[-1]
    varied = np.flatnonzero(variance > 1e-12 * mean**2)
    deviation = np.sqrt(variance[varied])
    correlation = covariance[np.ix_(varied, varied)] / np.outer(deviation, deviation)
    solved = np.linalg.solve(correlation + 1e-3 * np.eye(len(varied)), covariance[varied, -1] / deviation)
    weights = np.zeros(len(mean))
    weights[varied] = solved / deviation
    return weights, wanted - mean @ weights


def digest(name):
    return blake3(name.encode()).digest(), name.encode()


def probed(names):
    """Numbers of the images that take part."""
    return sorted(sorted(range(len(names)), key=lambda i: digest(names[i]))[:PROBE_IMAGES])


def folds(sources):
    order = sorted(set(sources), key=digest)
    filled, place = [0] * min(5, len(order)), {}
    for source in order:
        place[source] = filled.index(min(filled))
        filled[place[source]] += sources.count(source)
    return np.array([place[s] for s in sources])


def probe(x, truth, moments, sources):
    """Dice of every image under a classifier fitted to other folds; None where it is not defined.

    `x`: images x pixels x filters, `truth`: images x pixels, `moments`: those of each image.
    """
    fold, truth = folds(sources), np.array(truth)
    count = fold.max() + 1
    if count < 2 or truth.all() or not truth.any():
        return [None] * len(x)
    models = [ridge(sum(m for m, f in zip(moments, fold) if f != k)) for k in range(count)]
    weights = np.array([w for w, _ in models]).T
    bias = np.array([b for _, b in models])
    bins = np.array([(p @ weights + (bias + 0.5)) * 1024 for p in x]).clip(0, 2047).astype(np.intp)
    dice = np.zeros(len(x))
    for k in range(count):
        train = bins[fold != k, :, k]
        every, hits = (np.bincount(b.ravel(), minlength=2048) for b in (train, train[truth[fold != k]]))
        every, hits = (h[::-1].cumsum()[::-1] for h in (every, hits))
        threshold = np.argmax(2 * hits / np.maximum(every + hits[0], 1))
        test = np.flatnonzero(fold == k)
        taken = bins[test, :, k] >= threshold
        both = (taken & truth[test]).sum(1)
        total = taken.sum(1) + truth[test].sum(1)
        dice[test] = np.where(total > 0, 2 * both / np.maximum(total, 1), 1)
    return dice
