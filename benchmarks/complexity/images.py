"""The measures of images once more, in NumPy, SciPy, scikit-image and zlib: what `check_images.py` compares segfit with.

`levels` makes the pyramid of an image and `ALL` holds a function of a level for each measure; those of `PLAIN` need only NumPy and Pillow. The
pyramid is made in float32 with segfit's order of additions, because the mean of four bytes often lies halfway between two
bytes; everything after it is float64.
"""

import io
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image


@dataclass
class Level:
    gray: np.ndarray  # float32, nominally 0..1

    @cached_property
    def bytes(self):
        # NumPy rounds halves to even, segfit away from zero.
        return np.clip(np.floor(self.gray * np.float32(255) + np.float32(0.5)), 0, 255).astype(np.uint8)

    @cached_property
    def edges(self):
        from skimage.feature import canny

        gray = self.gray.astype(np.float64)
        return canny(gray, sigma=1, low_threshold=0.1, high_threshold=0.2, mode="nearest")

    @cached_property
    def gradient(self):
        """Sobel magnitude in float32: of 8-bit images, many pixels lie exactly at the threshold of `edge`."""
        a, b, c = self.gray[:-2], self.gray[1:-1], self.gray[2:]
        across = (a[:, 2:] - a[:, :-2]) + 2 * (b[:, 2:] - b[:, :-2]) + (c[:, 2:] - c[:, :-2])
        down = (c[:, :-2] - a[:, :-2]) + 2 * (c[:, 1:-1] - a[:, 1:-1]) + (c[:, 2:] - a[:, 2:])
        return np.sqrt(across * across + down * down)

    @cached_property
    def power(self):
        height, width = self.gray.shape
        window = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width)))
        gray = self.gray.astype(np.float64)
        return np.abs(np.fft.fft2((gray - (gray * window).sum() / window.sum()) * window)) ** 2

    @cached_property
    def radius(self):
        return np.sqrt(np.add.outer(*(np.fft.fftfreq(n) ** 2 for n in self.gray.shape)))

    @cached_property
    def cooccurrence(self):
        from skimage.feature import graycomatrix

        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        return graycomatrix(self.bytes // 8, [1], angles, levels=32, symmetric=True, normed=True)


def luma(image):
    """Values 0..1 of an 8-bit gray or RGB image, in float32 and in segfit's order of additions."""
    values = np.asarray(image).astype(np.float32) / np.float32(255)
    if values.ndim == 2:
        return values
    red, green, blue = (np.float32(w) * values[..., c] for c, w in enumerate((0.299, 0.587, 0.114)))
    return red + green + blue


def levels(gray, scales=5, smallest=8):
    """Scale -> level. Only sizes that are divisible by 2 at every scale."""
    sums, result = gray, {}
    for scale in range(scales):
        if min(sums.shape) < smallest:
            break
        result[scale] = Level(sums / np.float32(4**scale))
        if any(n % 2 for n in sums.shape):
            break
        sums = (sums[::2, ::2] + sums[::2, 1::2]) + (sums[1::2, ::2] + sums[1::2, 1::2])
    return result


def jpeg(level):
    file = io.BytesIO()
    Image.fromarray(level.bytes).save(file, "JPEG", quality=80)
    return file.tell() / level.bytes.size


def entropy(level):
    share = np.bincount(level.bytes.ravel(), minlength=256) / level.bytes.size
    share = share[share > 0]
    return -(share * np.log2(share)).sum()


def edge(level):
    return (level.gradient >= np.float32(0.4)).mean()


def si_mean(level):
    return 255 * level.gradient.mean(dtype=np.float64)


def si_rms(level):
    return 255 * np.sqrt((level.gradient.astype(np.float64) ** 2).mean())


def canny(level):
    return level.edges[1:-1, 1:-1].mean()


def png(level):
    rows = level.bytes.copy()
    rows[1:] -= level.bytes[:-1]
    filtered = np.hstack([np.full((len(rows), 1), 2, np.uint8), rows])
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    return len(encoder.compress(filtered.tobytes()) + encoder.flush()) / level.bytes.size


def delentropy(level):
    values = level.bytes.astype(np.int64)
    dx, dy = values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1]
    counts = np.unique(1000 * dx + dy, return_counts=True)[1]
    share = counts / counts.sum()
    return -0.5 * (share * np.log2(share)).sum()


def spectral_slope(level):
    n = min(level.gray.shape)
    if np.ptp(level.gray) == 0:
        return None
    ring = np.rint(level.radius * n).astype(int).ravel()
    count = np.bincount(ring)
    power = np.bincount(ring, level.power.ravel())
    k = np.array([k for k in range(2, n // 2 + 1) if power[k] > 0])
    return np.polyfit(np.log(k / n), np.log(power[k] / count[k]), 1)[0] if len(k) > 2 else None


def mean_frequency(level):
    if np.ptp(level.gray) == 0:
        return None
    return (level.power * level.radius)[level.radius > 0].sum() / level.power.sum()


def median_frequency(level):
    """Interpolated within 1024 bins up to sqrt(1/2). Diagonal frequencies lie on the bins' edges: same formula, same bin."""
    if np.ptp(level.gray) == 0:
        return None
    bins = np.minimum(level.radius / np.sqrt(0.5) * 1024, 1023).astype(int)
    share = np.bincount(bins.ravel(), level.power.ravel(), minlength=1024)
    below = np.concatenate([[0], np.cumsum(share)])
    return np.interp(below[-1] / 2, below, np.arange(1025)) * np.sqrt(0.5) / 1024


def cooccurrence(name):
    def measure(level):
        from skimage.feature import graycoprops

        if name == "correlation" and level.bytes.min() // 8 == level.bytes.max() // 8:
            return None
        return graycoprops(level.cooccurrence, name).mean()

    return measure


def local_deviation(level):
    """Every window by itself: exact, where means of squares would cancel."""
    windows = np.lib.stride_tricks.sliding_window_view(level.bytes.astype(np.float64), (5, 5))
    return windows.std(axis=(2, 3)).mean()


def fractal_dimension(level):
    side, counts = 1, []
    while 4 * side <= min(level.edges.shape):
        height, width = (-(-n // side) * side for n in level.edges.shape)
        padded = np.zeros((height, width), bool)
        padded[: level.edges.shape[0], : level.edges.shape[1]] = level.edges
        counts.append(padded.reshape(height // side, side, width // side, side).any(axis=(1, 3)).sum())
        side *= 2
    if len(counts) < 3 or counts[0] == 0:
        return None
    return -np.polyfit(np.arange(len(counts)), np.log2(counts), 1)[0]


def noise(level):
    f = level.gray.astype(np.float64)
    second = f[:, :-2] - 2 * f[:, 1:-1] + f[:, 2:]
    second = second[:-2] - 2 * second[1:-1] + second[2:]
    return 255 * np.sqrt(np.pi / 2) * np.abs(second).mean() / 6


# Need only NumPy and Pillow.
PLAIN = {
    "jpeg": jpeg,
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
}

# Need scikit-image as well.
ALL = PLAIN | {
    "canny": canny,
    "fractal_dimension": fractal_dimension,
    "glcm_contrast": cooccurrence("contrast"),
    "glcm_homogeneity": cooccurrence("homogeneity"),
    "glcm_energy": cooccurrence("energy"),
    "glcm_correlation": cooccurrence("correlation"),
}
