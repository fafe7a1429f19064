"""A lattice of patches that covers the plane: each shows a part of a source, drawn by the patch's own coordinates, and neighbours are
blended so that the variance stays (after Heitz and Neyret, "High-performance by-example noise", 2018). Any part can be made alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Numbers = NDArray[np.int64]
Corners = Callable[[Numbers, Numbers], tuple[Numbers, Numbers]]
"""Rows and columns of the lattice to the (rows, columns) tops and lefts of their patches in the source."""
Fold = Callable[[Numbers, int], Numbers]
"""Any whole number, and a length, to a place inside."""

_WINDING = 0.33


def mixed(source: Array, corners: Corners, fold: Fold, rows: Numbers, columns: Numbers, spacing: int, bent: bool = False) -> Array:
    """Pixels (rows, columns) of the plane; patches are about ``2 * spacing`` pixels square, and every pixel lies in four, two along each
    axis. ``bent``: the lattice's lines wind, so that they are no grid where many are seen; what the patches show is not bent.
    """
    y, x = (rows[:, None] + 0.5) / spacing, (columns[None] + 0.5) / spacing
    if bent:
        y, x = _wound(y, x)
    i, j = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    tops, lefts = corners(np.arange(i.min(), i.max() + 2), np.arange(j.min(), j.max() + 2))
    rise, run = _weights(y - i), _weights(x - j)
    total = np.zeros((len(rows), len(columns)), np.float32)
    power = np.zeros_like(total)
    width = tops.shape[1]
    first = (i - i.min()) * width + (j - j.min())
    for down in (0, 1):
        top = rows[:, None] - spacing * (i + down - 1)
        for right in (0, 1):
            left = columns[None] - spacing * (j + right - 1)
            patch = first + (down * width + right)
            inside = fold(tops.take(patch) + top, source.shape[0]), fold(lefts.take(patch) + left, source.shape[1])
            weight = rise[down] * run[right]
            total += weight * source.take(inside[0] * source.shape[1] + inside[1])
            power += weight * weight
    return np.asarray(total / np.sqrt(power), np.float32)


def drawn(seed: int, rows: Numbers, columns: Numbers, choices: int) -> tuple[Numbers, Numbers]:
    """Two (rows, columns) numbers from 0 to ``choices - 1`` for each patch."""
    with np.errstate(over="ignore"):
        values = _scrambled(_scrambled(rows.astype(np.uint64) + np.uint64(seed))[:, None] + columns.astype(np.uint64)[None])
    limit = np.uint64(choices)
    return (values % limit).astype(np.int64), (values // limit % limit).astype(np.int64)


def around(places: Numbers, length: int) -> Numbers:
    """A source that continues on its other side."""
    return places % length


def mirrored(places: Numbers, length: int) -> Numbers:
    """A source that is mirrored at its edges, as often as need be."""
    inside = places % (2 * length)
    return np.minimum(inside, 2 * length - 1 - inside)


def _scrambled(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea and Flood 2014): a fresh number for every number."""
    values = values * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _weights(share: NDArray[np.float64]) -> tuple[Array, Array]:
    """Weights along one axis of the patch before a place and of the one after it, by the share of the way between their middles: 1 in the
    middle, 0 at its ends, steep between, and never both small.
    """
    after = share.astype(np.float32)
    before = np.float32(1) - after
    after, before = after * after * after, before * before * before
    total = after + before
    return np.asarray(before / total), np.asarray(after / total)


def _wound(y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places moved by up to half a patch's distance, slowly enough that every patch stays in one piece."""

    def wave(a: float, b: float, phase: float) -> NDArray[np.float64]:
        return np.asarray((np.exp(2j * np.pi * a * y + 1j * phase) * np.exp(2j * np.pi * b * x)).imag)

    down = wave(0.07, 0.31, 0.0) + 0.6 * wave(-0.11, 0.13, 1.0)
    right = wave(0.31, 0.07, 2.0) + 0.6 * wave(0.13, -0.11, 3.0)
    return y + _WINDING * down, x + _WINDING * right
