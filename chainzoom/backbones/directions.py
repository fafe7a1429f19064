"""Which way the lines around each place of a picture run, and whether they agree: its structure tensor (Bigün and Granlund 1987)."""

from __future__ import annotations

import numpy as np

from chainzoom.backbones.pooling import Plane, along, pooled

_DIFFERENCE = (-0.5, 0.0, 0.5)
_NONE = 1e-7
"""Square of a slope that counts as none."""


def directions(plane: Plane, reach: int) -> tuple[Plane, Plane]:
    """(H, W) each, of (H, W): how far the slopes within ``reach`` pixels lie along one line, 0 to 1; and the angle of what runs across
    them, in radians from the columns' axis, 0 to pi, downwards.
    """
    down, right = (along(plane, _DIFFERENCE, 1, axis) for axis in (0, 1))
    xx, yy, xy = (pooled(product, reach) for product in (right * right, down * down, right * down))
    coherence = np.hypot(xx - yy, 2 * xy) / (xx + yy + np.float32(_NONE))
    angle = (np.arctan2(2 * xy, xx - yy) + np.float32(np.pi)) / 2
    return np.asarray(coherence, np.float32), np.asarray(angle, np.float32)
