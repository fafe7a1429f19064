"""Patches of pictures, as features are made of them: cut at random places, as they are or freed of colour and contrast.

Places and scales follow from a seed and a name, so that a picture gives the same patches in any company.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from chainzoom.evaluation.metrics.fidelity import luma
from chainzoom.images import Image, clip, resize
from chainzoom.seeds import derive

SIDE = 128
"""Side of a patch in pixels."""
LEAST_SCALE = 1 / 3
"""Real pictures are shrunk by up to this: surfaces look alike at many scales, and a zoom stops at any."""
Look = Literal["grey", "colour"]
"""``grey``: luma with mean 0.5 and deviation 0.2; ``colour``: as it is."""
_MIDDLE, _SPREAD = 0.5, 0.2
_FAINT = 3 / 255
"""Less contrast than this is left less than it is: what cannot be seen is not to be judged."""


def cut(image: Image, count: int, seed: int, name: str, side: int = SIDE) -> list[Image]:
    """``count`` patches (side, side, 3) of (H, W, 3), at the picture's own pixels. A smaller picture is repeated by mirroring."""
    random = np.random.default_rng(derive(seed, "cut", name))
    whole = _at_least(image, side)
    places = [(int(random.integers(whole.shape[0] - side + 1)), int(random.integers(whole.shape[1] - side + 1))) for _ in range(count)]
    return [whole[y : y + side, x : x + side] for y, x in places]


def cut_scaled(image: Image, count: int, seed: int, name: str, side: int = SIDE) -> list[Image]:
    """``count`` patches (side, side, 3) of a real picture, each shrunk by a random factor from LEAST_SCALE to 1 (even in logarithm)."""
    random = np.random.default_rng(derive(seed, "scaled", name))
    whole = _at_least(image, side)
    height, width = whole.shape[:2]
    patches = []
    for _ in range(count):
        least = max(LEAST_SCALE, side / min(height, width))
        span = side / float(np.exp(random.uniform(np.log(least), 0)))
        y, x = random.uniform(0, height - span), random.uniform(0, width - span)
        patches.append(clip(resize(whole, (side, side), "lanczos", (x, y, min(x + span, float(width)), min(y + span, float(height))))))
    return patches


def look_at(patch: Image, look: Look) -> Image:
    """The patch as a network is shown it."""
    if look == "colour":
        return patch
    plane = luma(patch)
    plane = (plane - plane.mean()) * (_SPREAD / max(float(plane.std()), _FAINT)) + _MIDDLE
    return np.repeat(plane[..., None], 3, axis=2).astype(np.float32)


def _at_least(image: Image, side: int) -> Image:
    """The picture, repeated by mirroring where it is smaller than a patch."""
    missing = [(0, max(0, side - length)) for length in image.shape[:2]]
    return np.pad(image, [*missing, (0, 0)], mode="symmetric") if any(more for _, more in missing) else image
