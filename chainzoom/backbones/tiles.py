"""Tile arithmetic: a big picture as equal, overlapping tiles whose joins are cross-faded.

Pure functions of lengths and arrays; no network is known here. Input pixels unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chainzoom.images import Image

Span = tuple[int, int]
"""(start, stop) along one axis."""


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Cover ``length`` with the fewest spans of one common size <= ``tile`` that overlap by >= ``overlap`` (which must be < ``tile``).

    A length that fits into one tile gives a single span of exactly that length.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap must be within 0..{tile - 1}, got {overlap}")
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    return [(start, start + size) for start in starts]


def fades(parts: list[Span], ramp: int, scale: int) -> list[NDArray[np.float32]]:
    """Per span its weight along the axis in output pixels: 1 inside, 0 at the far side of a join, linear over ``ramp`` in the middle.

    The weights of all spans add up to 1 everywhere. What lies outside the ramp is context that the network sees and nobody else.
    """
    weights = []
    for i, (start, stop) in enumerate(parts):
        at = np.arange(start * scale, stop * scale, dtype=np.float64) + 0.5
        weight = np.ones_like(at)
        if i > 0:
            weight *= _rise(at, (parts[i - 1][1] + start) / 2 * scale, ramp * scale)
        if i + 1 < len(parts):
            weight *= 1 - _rise(at, (stop + parts[i + 1][0]) / 2 * scale, ramp * scale)
        weights.append(weight.astype(np.float32))
    return weights


def _rise(at: NDArray[np.float64], middle: float, width: float) -> NDArray[np.float64]:
    """0 before the ramp, 1 after it, linear in between."""
    return np.clip((at - middle) / width + 0.5, 0, 1)


def upscale_tiled(image: Image, upscale: Callable[[Image], Image], *, scale: int, tile: int, overlap: int, ramp: int) -> Image:
    """Run ``upscale`` (which enlarges by ``scale``) over overlapping tiles of (H, W, 3) ``image`` and cross-fade the joins.

    All tiles of one call have the same shape, at most ``tile`` x ``tile``; ``ramp`` <= ``overlap``.
    """
    return upscale_placed(image, lambda part, _: upscale(part), scale=scale, tile=tile, overlap=overlap, ramp=ramp)


def upscale_placed(
    image: Image, upscale: Callable[[Image, tuple[int, int]], Image], *, scale: int, tile: int, overlap: int, ramp: int
) -> Image:
    """As ``upscale_tiled`` for what also needs to know where a tile's top-left (x, y) lies in ``image``."""
    height, width = image.shape[:2]
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    if len(rows) == len(columns) == 1:
        return upscale(image, (0, 0))
    out = np.zeros((height * scale, width * scale, image.shape[2]), np.float32)
    for (top, bottom), down in zip(rows, fades(rows, ramp, scale), strict=True):
        for (left, right), across in zip(columns, fades(columns, ramp, scale), strict=True):
            made = upscale(image[top:bottom, left:right], (left, top))
            out[top * scale : bottom * scale, left * scale : right * scale] += made * (down[:, None] * across)[..., None]
    return out
