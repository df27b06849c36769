"""The measures of images in Python: what `segfit measure` is compared with, both for its values and for its speed.

`levels` makes the pyramid of an image, `ALL` holds a function of a level for each measure; those of `PLAIN` need only NumPy
and Pillow. `peer.py` says which library each measure uses and why. What several measures share (histogram, gradient,
spectrum, edges, co-occurrence) is computed once per level, what depends on the size alone once per process.

The pyramid and the Sobel gradient are made in float32 with segfit's order of additions, because the mean of four bytes often
lies halfway between two bytes, and many gradients of 8-bit images exactly at the threshold. All else is float64.
"""

import io
import zlib
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from PIL import Image

SCALES = 5
SMALLEST = 8


@dataclass
class Level:
    gray: np.ndarray  # float32, nominally 0..1

    @cached_property
    def bytes(self):
        # NumPy rounds halves to even, segfit away from zero.
        return np.clip(self.gray * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)

    @cached_property
    def histogram(self):
        return np.bincount(self.bytes.ravel(), minlength=256)

    @cached_property
    def jpeg(self):
        file = io.BytesIO()
        Image.fromarray(self.bytes).save(file, "JPEG", quality=80)
        return file.getvalue()

    @cached_property
    def edges(self):
        from skimage.feature import canny

        return canny(self.gray.astype(np.float64), sigma=1, low_threshold=0.1, high_threshold=0.2, mode="nearest")

    @cached_property
    def gradient(self):
        """Sobel magnitude of the interior pixels."""
        across, down = self.gray[:, 2:] - self.gray[:, :-2], self.gray[2:] - self.gray[:-2]
        gx = across[:-2] + 2 * across[1:-1]
        gx += across[2:]
        gy = down[:, :-2] + 2 * down[:, 1:-1]
        gy += down[:, 2:]
        gx *= gx
        gy *= gy
        gx += gy
        return np.sqrt(gx, out=gx)

    @cached_property
    def power(self):
        """Power at the frequencies of `plane_of`, each as often as it occurs in the whole plane; None if constant."""
        if self.gray.min() == self.gray.max():
            return None
        plane = plane_of(*self.gray.shape)
        gray = self.gray.astype(np.float64)
        gray -= np.vdot(gray, plane.window) / plane.total
        gray *= plane.window
        squares = np.fft.rfft2(gray).view(np.float64)
        squares *= squares
        return (squares[:, ::2] + squares[:, 1::2]) * plane.copies

    @cached_property
    def texture(self):
        """Contrast, homogeneity, energy and correlation of the co-occurrence matrices of four directions."""
        q = (self.bytes >> 3).astype(np.uint16)
        pairs = [(q[:, :-1], q[:, 1:]), (q[:-1, :-1], q[1:, 1:]), (q[:-1], q[1:]), (q[:-1, 1:], q[1:, :-1])]
        counts = np.array([np.bincount((a << 5 | b).ravel(), minlength=1024) for a, b in pairs])
        counts = counts.reshape(4, 32, 32)
        p = (counts + counts.transpose(0, 2, 1)) / (2 * counts.sum((1, 2), keepdims=True))
        i, square = np.arange(32), np.subtract.outer(np.arange(32), np.arange(32)) ** 2
        share = p.sum(1)
        away = i - (share @ i)[:, None]
        variance = (share * away**2).sum(1)
        covariance = np.einsum("dij,di,dj->d", p, away, away)
        return {
            "contrast": (p * square).sum() / 4,
            "homogeneity": (p / (1 + square)).sum() / 4,
            "energy": np.sqrt((p * p).sum((1, 2))).mean(),
            "correlation": (covariance / variance).mean() if variance.min() > 0 else None,
        }


@dataclass
class Plane:
    """What the spectra of all images of one size share: the half plane of frequencies that a real transform has."""

    window: np.ndarray
    total: float  # its sum
    radius: np.ndarray  # cycles per pixel
    copies: np.ndarray  # how often a column occurs in the whole plane
    bins: np.ndarray  # 1024 bins up to sqrt(1/2), for the median
    rings: np.ndarray  # nearest multiple of 1 / n, for the slope
    ring_sizes: np.ndarray


@cache
def plane_of(height, width):
    window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width)))
    radius = np.sqrt(np.add.outer(np.fft.fftfreq(height) ** 2, np.fft.rfftfreq(width) ** 2))
    copies = np.full(radius.shape[1], 2.0)
    copies[0] = 1
    if width % 2 == 0:
        copies[-1] = 1
    # Diagonal frequencies lie on the bins' edges: segfit's formula, so the same bin.
    bins = np.minimum(radius / np.sqrt(0.5) * 1024, 1023).astype(np.intp).ravel()
    rings = np.rint(radius * min(height, width)).astype(np.intp).ravel()
    sizes = np.bincount(rings, np.broadcast_to(copies, radius.shape).ravel())
    return Plane(window, window.sum(), radius, copies, bins, rings, sizes)


def planes(image):
    """The channels of an 8-bit gray or RGB image (an array of H x W or H x W x 3), float32 in 0..1."""
    image = np.asarray(image)
    channels = [image] if image.ndim == 2 else [image[..., c] for c in range(3)]
    return [c.astype(np.float32) / np.float32(255) for c in channels]


def luma(planes):
    """Gray values, in segfit's order of additions."""
    if len(planes) == 1:
        return planes[0]
    red, green, blue = (np.float32(w) * p for w, p in zip((0.299, 0.587, 0.114), planes))
    return red + green + blue


def sums(plane):
    """Sums over blocks of 1, 2, 4, 8 and 16 pixels a side. Only for sizes that are divisible by 2 at every scale."""
    for scale in range(SCALES):
        yield plane
        if min(plane.shape) < 2 * SMALLEST or any(n % 2 for n in plane.shape):
            return
        rows = plane[:, ::2] + plane[:, 1::2]
        plane = rows[::2] + rows[1::2]


def levels(gray):
    """Scale -> level."""
    return {scale: Level(plane / np.float32(4**scale)) for scale, plane in enumerate(sums(gray))}


def slope(x, y):
    """Of the least-squares line."""
    x, y = x - x.mean(), y - y.mean()
    return (x @ y) / (x @ x)


def jpeg(level):
    return len(level.jpeg) / level.bytes.size


def jpeg_scan(level):
    """After the header of the scan (10 bytes), before the marker of the end (2)."""
    return (len(level.jpeg) - level.jpeg.index(b"\xff\xda") - 12) / level.bytes.size


def png(level):
    height, width = level.bytes.shape
    rows = np.full((height, 1 + width), 2, np.uint8)
    rows[0, 1:] = level.bytes[0]
    np.subtract(level.bytes[1:], level.bytes[:-1], out=rows[1:, 1:])
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (len(encoder.compress(rows)) + len(encoder.flush())) / level.bytes.size


def entropy(level):
    share = level.histogram[level.histogram > 0] / level.bytes.size
    return -(share * np.log2(share)).sum()


def edge(level):
    return np.count_nonzero(level.gradient >= np.float32(0.4)) / level.gradient.size


def si_mean(level):
    return 255 * level.gradient.mean(dtype=np.float64)


def si_rms(level):
    wide = level.gradient.astype(np.float64)
    return 255 * np.sqrt(np.vdot(wide, wide) / wide.size)


def canny(level):
    height, width = level.edges.shape
    return np.count_nonzero(level.edges) / ((height - 2) * (width - 2))


def delentropy(level):
    values = level.bytes.astype(np.int32)
    joint = 511 * (values[1:-1, 2:] - values[1:-1, :-2]) + (values[2:, 1:-1] - values[:-2, 1:-1])
    joint = np.sort(joint, axis=None)
    starts = np.flatnonzero(np.concatenate([[True], joint[1:] != joint[:-1], [True]]))
    sizes = np.bincount(np.diff(starts))  # how many gradients occur once, twice, ...
    count = np.flatnonzero(sizes)
    return max(0.5 * (np.log2(joint.size) - (sizes[count] * count * np.log2(count)).sum() / joint.size), 0.0)


def spectral_slope(level):
    if level.power is None:
        return None
    plane, n = plane_of(*level.gray.shape), min(level.gray.shape)
    power = np.bincount(plane.rings, level.power.ravel())
    k = np.arange(2, n // 2 + 1)
    k = k[power[k] > 0]
    return slope(np.log(k / n), np.log(power[k] / plane.ring_sizes[k])) if len(k) > 2 else None


def mean_frequency(level):
    if level.power is None:
        return None
    return np.vdot(level.power, plane_of(*level.gray.shape).radius) / level.power.sum()


def median_frequency(level):
    """Interpolated within the bins."""
    if level.power is None:
        return None
    share = np.bincount(plane_of(*level.gray.shape).bins, level.power.ravel(), minlength=1024)
    below = np.concatenate([[0], np.cumsum(share)])
    return np.interp(below[-1] / 2, below, np.arange(1025)) * np.sqrt(0.5) / 1024


def local_deviation(level):
    """From sums over windows of 5 x 5, in integers, because means of squares would cancel."""

    def window_sums(plane):
        rows = plane[:-4] + plane[1:-3] + plane[2:-2] + plane[3:-1] + plane[4:]
        return rows[:, :-4] + rows[:, 1:-3] + rows[:, 2:-2] + rows[:, 3:-1] + rows[:, 4:]

    values = level.bytes.astype(np.int32)
    total = window_sums(values)
    return np.sqrt(25 * window_sums(values * values) - total * total).mean() / 25


def fractal_dimension(level):
    boxes, counts = level.edges, [np.count_nonzero(level.edges)]
    for _ in range(min(level.edges.shape).bit_length() - 3):
        boxes = boxes[::2] | boxes[1::2]
        boxes = boxes[:, ::2] | boxes[:, 1::2]
        counts.append(np.count_nonzero(boxes))
    if len(counts) < 3 or counts[0] == 0:
        return None
    return -slope(np.arange(len(counts)), np.log2(counts))


def noise(level):
    f = level.gray.astype(np.float64)
    second = f[:-2] + f[2:]
    second -= 2 * f[1:-1]
    second = second[:, :-2] + second[:, 2:] - 2 * second[:, 1:-1]
    np.abs(second, out=second)
    last = level.gradient.size - 1 - int(level.gradient.size * 0.1)  # the steepest tenth are edges
    kept = level.gradient <= np.partition(level.gradient, last, axis=None)[last]
    return 255 * np.sqrt(np.pi / 2) * second[kept].mean() / 6


def texture(name):
    return lambda level: level.texture[name]


# Need only NumPy and Pillow.
PLAIN = {
    "jpeg": jpeg,
    "jpeg_scan": jpeg_scan,
    "png": png,
    "entropy": entropy,
    "delentropy": delentropy,
    "edge": edge,
    "si_mean": si_mean,
    "si_rms": si_rms,
    "mean_frequency": mean_frequency,
    "median_frequency": median_frequency,
    "spectral_slope": spectral_slope,
    "local_deviation": local_deviation,
    "noise": noise,
    "glcm_contrast": texture("contrast"),
    "glcm_homogeneity": texture("homogeneity"),
    "glcm_energy": texture("energy"),
    "glcm_correlation": texture("correlation"),
}

# Need scikit-image as well.
ALL = PLAIN | {"canny": canny, "fractal_dimension": fractal_dimension}
