"""A lattice of patches that covers the plane: each shows a part of a source, drawn by the patch's own coordinates, and neighbours are
blended so that the variance stays (after Heitz and Neyret, "High-performance by-example noise", 2018). Any part can be made alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Numbers = NDArray[np.int64]
Corners = Callable[[Numbers, Numbers], tuple[Numbers, Numbers]]
"""Rows and columns of the lattice to the (rows, columns) tops and lefts of their patches in the source."""
Fold = Callable[[Numbers, int], Numbers]
"""Any whole number, and a length, to a place inside."""

_SHARPNESS = 3.0


def mixed(source: Array, corners: Corners, fold: Fold, rows: Numbers, columns: Numbers, spacing: int) -> Array:
    """Pixels (rows, columns) of the plane; patches are ``2 * spacing`` pixels square, and every pixel lies in four, two along each axis."""
    fade = _fade(spacing)
    total = np.zeros((len(rows), len(columns)), np.float32)
    power = np.zeros_like(total)
    for down in (0, 1):
        y, v = rows // spacing + down, rows % spacing + (1 - down) * spacing
        for right in (0, 1):
            x, u = columns // spacing + right, columns % spacing + (1 - right) * spacing
            top, left = corners(np.unique(y), np.unique(x))
            weight = fade[v][:, None] * fade[u][None]
            patch = (y - y[0])[:, None], (x - x[0])[None]
            inside = fold(top[patch] + v[:, None], source.shape[0]), fold(left[patch] + u[None], source.shape[1])
            total += weight * source[inside]
            power += weight**2
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


@lru_cache
def _fade(spacing: int) -> Array:
    """Weights of a patch along one axis: 1 in the middle, 0 at its ends, steep between, and those of neighbours never both small."""
    at = (np.arange(2 * spacing) + 0.5) / spacing
    rise = 1 - np.abs(at - 1)
    powers = rise**_SHARPNESS
    return np.asarray(powers / (powers + (1 - rise) ** _SHARPNESS), np.float32)
