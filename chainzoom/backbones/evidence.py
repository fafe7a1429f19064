"""How much of a picture is real, place by place, in photo pixels per picture pixel along one axis.

Sharpness alone cannot say it: a super-resolution network's output is sharp, and invented. So the measure here is for pictures of real
pixels, and whoever knows how deep the zoom is caps it (``adaptive.py``).
"""

from __future__ import annotations

import numpy as np

from chainzoom.backbones.pooling import Plane, along, pooled
from chainzoom.images import LUMA, Image

REACH = 12
"""Pixels around a place that decide its figure; windows that share so many agree on it."""
_POOL = 5
_FIT = 1.9
"""Where there is contrast, photos enlarged by 1, 1.41, 2, 2.83 and 4 come out at 1.0, 0.70, 0.51, 0.36 and 0.27 (docs/adaptive.md)."""
_NATURAL = 0.3
"""Finest over third octave of photos as cameras leave them, median."""
_FAINT = (0.5 / 255) ** 2
"""Power of half a grey level: fainter contrast says nothing about sharpness."""
_ROUNDING = 0.27 / 12 / 255**2
"""Power that rounding to 8 bits puts into the finest octave."""


def sharpness(image: Image) -> Plane:
    """(H, W, 3) to (H, W) in (0, 1]: 1 as sharp as camera pixels are, 0.5 what an enlargement by 2 leaves, and so on.

    The strength of the finest octave (periods of 2 to 4 pixels) is compared with that of the third one (8 to 16). Where there is next to
    no contrast nothing seems lost: a clear sky and a wall far out of focus look alike, and both count as sharp.
    """
    plane = np.asarray(image @ LUMA, dtype=np.float32)
    fine = plane - _smooth(plane, 1)
    fine -= _smooth(fine, 1)
    second = _smooth(_smooth(plane, 1), 2)
    finest = np.maximum(pooled(fine * fine, _POOL) - np.float32(_ROUNDING), 0)
    third = pooled((second - _smooth(second, 4)) ** 2, _POOL)
    share = (finest + _FAINT * _NATURAL**2) / (third + _FAINT)
    return np.asarray(np.minimum(1, _FIT * share**0.25), dtype=np.float32)


def _smooth(plane: Plane, gap: int) -> Plane:
    """A quarter of each neighbour ``gap`` away and half of the middle, along both axes."""
    return along(along(plane, (0.25, 0.5, 0.25), gap, 0), (0.25, 0.5, 0.25), gap, 1)
