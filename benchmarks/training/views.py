"""Changed views of training images, as crates/segfit-engine/src/augment.rs draws them (resize mode).

Geometry: mirror and quarter turns; with the recipe's probability also rotation and scale; the frame is continued by reflection
at its outer pixel centres; bilinear for the image, nearest for the mask. Intensities: gamma within the value range of the
whole image, then contrast around the mean of the view, then brightness.
"""

import numpy as np

QUARTERS = [(1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0)]
F = np.float32


def log_uniform(stream, most):
    """A factor from [1 / (1 + most), 1 + most], log-uniform."""
    bound = np.log(F(1) + F(most))
    return np.exp(stream.range(-bound, bound))


def draw_matrix(options, stream):
    """2 x 2: from output pixels to source positions. All draws are made always."""
    turns, mirror = stream.below(4), stream.below(2) == 1
    warp = stream.unit() < F(options["probability"])
    angle = stream.range(-options["rotation_degrees"], options["rotation_degrees"]) * F(np.pi / 180)
    scale = log_uniform(stream, options["scale"])
    stream.unit(), stream.unit()  # the place of a patch
    a, b, c, d = QUARTERS[turns] if options["flips_and_turns"] else QUARTERS[0]
    if mirror and options["flips_and_turns"]:
        a, c = -a, -c
    matrix = np.array([[a, b], [c, d]], F)
    if not warp:
        return matrix
    sin, cos = np.sin(angle), np.cos(angle)
    return scale * (np.array([[cos, -sin], [sin, cos]], F) @ matrix)


def reflect(position, n):
    """Indices 0..n-1 of positions continued by reflection at the outer pixel centres."""
    period = 2 * (n - 1)
    p = position % period
    return np.minimum(p, period - p)


def sample(image, mask, matrix):
    """The view of C x N x N and N x N under `matrix`."""
    n = mask.shape[0]
    centre = F((n - 1) / 2)
    v, u = np.meshgrid(np.arange(n, dtype=F) - centre, np.arange(n, dtype=F) - centre, indexing="ij")
    x, y = (row[0] * u + row[1] * v + centre for row in matrix)
    x_floor, y_floor = np.floor(x), np.floor(y)
    wx, wy = x - x_floor, y - y_floor
    x0, x1 = (reflect(x_floor.astype(np.int64) + k, n) for k in (0, 1))
    y0, y1 = (reflect(y_floor.astype(np.int64) + k, n) for k in (0, 1))
    top = image[:, y0, x0] + wx * (image[:, y0, x1] - image[:, y0, x0])
    bottom = image[:, y1, x0] + wx * (image[:, y1, x1] - image[:, y1, x0])
    nearest = mask[np.where(wy < 0.5, y0, y1), np.where(wx < 0.5, x0, x1)]
    return top + wy * (bottom - top), nearest


def change_intensity(view, low, high, options, stream):
    """`low` and `high` are the smallest and the largest value of the whole image, over all channels."""
    gamma, contrast = log_uniform(stream, options["gamma"]), log_uniform(stream, options["contrast"])
    span = high - low
    brightness = stream.range(-options["brightness"], options["brightness"]) * span
    if span <= 0:
        return view
    table = low + span * (np.arange(258, dtype=F) / F(256)) ** gamma  # the power is read from a table, as segfit does
    t = np.clip((view - low) / span, 0, 1) * F(256)
    i = t.astype(np.int64)
    view = table[i] + (t - i.astype(F)) * (table[i + 1] - table[i])
    mean = F(view.mean(dtype=np.float64))
    return mean + contrast * (view - mean) + brightness


def draw_view(image, mask, options, stream):
    """One changed view: float32 C x N x N, not normalised, and its mask."""
    view, target = sample(image, mask, draw_matrix(options, stream))
    return change_intensity(view, image.min(), image.max(), options, stream), target
