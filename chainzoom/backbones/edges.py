"""Edges of an enlargement made crisp: smoothed along their line and sharpened across it, in turn, without halos.

What a small network enlarges has soft edges with the stairs of the pixels in them. Along an edge means are taken, which leave stairs out;
across it the slope is made steeper, as a shock filter does (Osher and Rudin 1990; by the structure tensor Weickert 2003), and never
beyond what lies around. Grain stays: it is faint, or even (``continuation.py``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.continuation import Texture
from chainzoom.backbones.directions import directions
from chainzoom.backbones.pooling import Plane, pooled
from chainzoom.correctors.consistency import project
from chainzoom.images import LUMA, Image, clip, resize

_ROUNDS = 3
_STEEPER = 1.5
"""How much of what is finer than ``_FINE`` pixels to each side a round adds."""
_FINE, _SMOOTH, _WIDE = 4, 1, 6
"""Reaches of means: of what is sharpened, of what slopes are measured in, of what has one direction."""
_LINE = 4
"""Pixels to each side along an edge that are averaged."""
_AROUND = 3
"""Pixels to each side whose least and greatest value are the limits of a round."""
_CORE = 0.02
"""Contrast, 1 = full range, of which half is sharpened: grain is fainter."""


def crisp(made: Image, image: Image) -> Image:
    """``made``, an enlargement (H, W, 3) of ``image`` (h, w, 3), with crisp edges; float32 in [0, 1], and shrinks back to ``image``.

    Grain stays as it was made: lines drawn in it would be worms.
    """
    found = made
    for _ in range(_ROUNDS):
        smooth = _along_edges(found)
        least, most = (np.stack([_extreme(smooth[..., k], pick) for k in range(3)], -1) for pick in (np.minimum, np.maximum))
        fine = smooth - _pooled(smooth, _FINE)
        contrast = pooled(np.abs(fine).mean(-1), _FINE)[..., None] ** 2
        steeper = smooth + np.float32(_STEEPER) * fine * contrast / (contrast + np.float32(_CORE**2))
        found = clip(project(np.clip(steeper, least, most), image))
    grain = clip(resize(Texture.of(image).even, (made.shape[1], made.shape[0])))[..., None]
    return clip(project(found + grain * (made - found), image))


def _along_edges(image: Image) -> Image:
    """Means along the edges, the more the more the slopes around a place run one way."""
    plane = pooled(np.ascontiguousarray(image @ LUMA), _SMOOTH)
    one_way, angle = directions(plane, _WIDE)
    height, width = plane.shape
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    down, right = np.sin(angle), np.cos(angle)
    total, pixels = image.copy(), image.reshape(-1, image.shape[2])
    for step in (*range(-_LINE, 0), *range(1, _LINE + 1)):
        # The nearest pixel will do: means of many leave no stairs, and four times as many would take four times as long.
        y, x = np.clip(np.rint(rows + step * down), 0, height - 1), np.clip(np.rint(columns + step * right), 0, width - 1)
        total += pixels.take(y.astype(np.intp) * width + x.astype(np.intp), axis=0)
    return np.asarray(image + one_way[..., None] * (total / np.float32(2 * _LINE + 1) - image), np.float32)


def _pooled(image: Image, reach: int) -> Image:
    return np.stack([pooled(image[..., k], reach) for k in range(image.shape[2])], -1)


def _extreme(plane: Plane, pick: np.ufunc) -> NDArray[np.float32]:
    """The least or greatest within ``_AROUND`` pixels along each axis."""
    for axis in (0, 1):
        reach = 1
        plane = np.pad(plane, [(_AROUND, _AROUND) if axis == other else (0, 0) for other in (0, 1)], mode="edge")
        while reach < 2 * _AROUND + 1:  # twice as far with every step
            step = min(reach, 2 * _AROUND + 1 - reach)
            ahead = plane[step:] if axis == 0 else plane[:, step:]
            plane = pick(ahead, plane[: len(ahead)] if axis == 0 else plane[:, : ahead.shape[1]])
            reach += step
    return plane
