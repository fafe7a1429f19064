"""Weighted means of what lies around each pixel, edges mirrored as often as need be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


def pooled(plane: Plane, reach: int) -> Plane:
    """(H, W): mean over ``reach`` pixels to each side, the middle counting most."""
    rise = np.arange(1, reach + 2)
    weights = np.concatenate([rise, rise[-2::-1]]) / rise[-1] ** 2
    return along(along(plane, weights, 1, 0), weights, 1, 1)


def along(plane: Plane, weights: NDArray[np.float64] | Sequence[float], gap: int, axis: int) -> Plane:
    """Weighted sum of neighbours ``gap`` apart along an axis."""
    reach = len(weights) // 2 * gap
    padded = np.pad(plane, [(reach, reach) if axis == other else (0, 0) for other in (0, 1)], mode="symmetric")
    out = np.zeros_like(plane)
    length = plane.shape[axis]
    for number, weight in enumerate(weights):
        part = slice(number * gap, number * gap + length)
        out += np.float32(weight) * (padded[part] if axis == 0 else padded[:, part])
    return out
