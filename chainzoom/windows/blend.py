"""Adding up windows where they overlap: the coarser, the wider the cross-fade, and what is finest changes over at once.

One wide cross-fade for everything would halve the variance of whatever two windows do not share (the noise of half precision, a stochastic
backbone's detail), and the band would show as a smoother stripe; a cut through everything but the lowest frequencies shows as a line. So,
as in multiband blending (Burt and Adelson, 1983), three bands take three sets of weights, each of which adds up to 1.
"""

from __future__ import annotations

import numpy as np

from chainzoom.images import Image, from_uint
from chainzoom.windows.cache import Pixels
from chainzoom.windows.grid import SMOOTHING, Box, Index, Level

_STEPS = (
    1,
    2,
)  # what the first blur takes away is the finest band, what the second takes away the middle one; together they reach SMOOTHING
_TAPS = ((-2, 1 / 16), (-1, 4 / 16), (0, 6 / 16), (1, 4 / 16), (2, 1 / 16))


def add(out: Image, box: Box, level: Level, index: Index, pixels: Pixels) -> None:
    """Add a window's weighted part to ``out``, the high pixels of ``box``; the same numbers for every box that shows a pixel."""
    x0, y0, x1, y1 = level.kept(index)
    a, b, c, d = max(y0, box[1]), min(y1, box[3]), max(x0, box[0]), min(x1, box[2])
    rows, columns = slice(a - y0, b - y0), slice(c - x0, d - x0)
    target = out[a - box[1] : b - box[1], c - box[0] : d - box[0]]
    down, across = level.rows.weights(index.row), level.columns.weights(index.column)
    wide, narrow, cut = (y[rows][:, None] * x[columns] for y, x in zip(down, across, strict=True))
    left, top, *_ = level.held(index)
    inner = slice(a - top, b - top), slice(c - left, d - left)
    part = from_uint(pixels[inner])
    if wide.min() == 1:
        target[...] = part
        return
    smooth, smoother = _smoothed(pixels, *inner)
    target += part * cut[..., None] + smooth * (narrow - cut)[..., None] + smoother * (wide - narrow)[..., None]


def _smoothed(pixels: Pixels, rows: slice, columns: slice) -> tuple[Image, Image]:
    """A window at some of its pixels, blurred once and twice; beyond its edges the edge is repeated."""
    top, left = max(0, rows.start - SMOOTHING), max(0, columns.start - SMOOTHING)
    image = from_uint(pixels[top : rows.stop + SMOOTHING, left : columns.stop + SMOOTHING])
    found = []
    for step in _STEPS:
        image = _blurred(_blurred(image, step, 0), step, 1)
        found.append(image[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left])
    return found[0], found[1]


def _blurred(image: Image, step: int, axis: int) -> Image:
    """[1 4 6 4 1] / 16 with taps ``step`` pixels apart."""
    length, reach = image.shape[axis], 2 * step
    filled = np.pad(image, [(reach, reach) if axis == other else (0, 0) for other in range(3)], mode="edge")
    total = np.zeros_like(image)
    for tap, weight in _TAPS:
        start = reach + tap * step
        part = filled[start : start + length] if axis == 0 else filled[:, start : start + length]
        total += part * np.float32(weight)
    return total
