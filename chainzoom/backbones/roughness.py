"""How rough, how light and how vivid a picture is, place by place: where it is rough, the surface lent to it is rough too.

What is lent is in ``exemplars.py``. Nature looks about as rough at every scale, so what a picture shows at its own scale says how strong
the next finer detail is to be.
"""

from __future__ import annotations

import numpy as np

from chainzoom.backbones.pocket_network import DARKEST
from chainzoom.backbones.pooling import Plane, pooled
from chainzoom.images import LUMA, Image

REACH = 12
"""Pixels around a place that decide its figure; windows that share so many agree on it."""
_NEAR, _AROUND, _SHADE = 2, 10, 4
_FAINT = 1e-3
"""A quarter of a grey level: what counts as smooth."""


def roughness(image: Image) -> Plane:
    """(H, W, 3) to (H, W): typical contrast (standard deviation, 1 = full range) of small places around each pixel.

    Typical is the geometric mean: an edge between two smooth sides is one rough line in a smooth place, and does not make it rough.
    """
    plane = np.asarray(image @ LUMA, np.float32)
    plane = plane - plane.mean()  # squares of small numbers lose nothing
    level = pooled(plane, _NEAR)
    power = np.maximum(pooled(plane * plane, _NEAR) - level * level, 0)
    return np.asarray(np.exp(pooled(np.log(np.sqrt(power) + np.float32(_FAINT)), _AROUND)), np.float32)


def lightness(image: Image) -> Plane:
    """(H, W, 3) to (H, W): mean luma around each pixel, in [0, 1]."""
    return np.asarray(np.clip(pooled(np.asarray(image @ LUMA, np.float32), _SHADE), 0, 1), np.float32)


def vividness(image: Image) -> Plane:
    """(H, W, 3) to (H, W): how many times more the colours around each pixel swing than its luma when it is shaded, 1 where it is grey.

    A shading changes every colour by its own share: in a purple petal red and blue swing far and luma hardly does.
    """
    colours = np.stack([pooled(np.ascontiguousarray(image[..., k], np.float32), _SHADE) for k in range(3)], axis=-1) + np.float32(DARKEST)
    return np.asarray(np.maximum(np.sqrt((colours * colours).mean(axis=-1)) / (colours @ LUMA), 1), np.float32)
