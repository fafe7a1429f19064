"""What the head learns from: patches of prepared pictures as a zoom will show them, at any scale, light and sharpness."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chainzoom.evaluation.surfaces.textures import Texture
from chainzoom.images import Image, clip, resize
from chainzoom.prompters.classifier import SIZE, Classifier, prepare
from chainzoom.prompters.surfaces import features

RECIPE = "3"
"""Changes when patches or features do, so that kept features are made anew."""
_SMALLEST, _LARGEST = 64, 400
_SOFT = 0.4
"""Share of softened patches: states of a zoom carry less detail than their pixels could."""


def picture_patches(texture: Texture, count: int, seed: int) -> list[Image]:
    """``count`` patches (260, 260, 3) of a picture; the same for the same picture, whatever else is in the folder."""
    random = np.random.default_rng([seed, zlib.crc32(texture.sha256.encode())])
    image = texture.read()
    return [_patch(image, texture.kind == "texture", random) for _ in range(count)]


def _patch(image: Image, surface: bool, random: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    largest = min(height, width, _LARGEST)
    side = round(float(np.exp(random.uniform(np.log(min(_SMALLEST, largest)), np.log(largest)))))
    x, y = int(random.integers(width - side + 1)), int(random.integers(height - side + 1))
    tile = resize(image[y : y + side, x : x + side], (SIZE, SIZE))
    if random.random() < _SOFT:
        # Photos stand for "none of these", and so do pictures without any detail.
        coarse = max(8, round(min(side, SIZE) / random.uniform(1.2, 3 if surface else 16)))
        tile = resize(resize(tile, (coarse, coarse)), (SIZE, SIZE))
    if random.random() < 0.5:
        tile = tile[:, ::-1]
    if surface:
        tile = np.rot90(tile, int(random.integers(4)))
    light = random.uniform(0.8, 1.2) * random.uniform(0.93, 1.07, 3)
    return clip((clip(tile) ** random.uniform(0.8, 1.25) * light).astype(np.float32))


def picture_features(classifier: Classifier, patches: Sequence[Image]) -> NDArray[np.float32]:
    """(n, features) of n patches, one forward pass each, as at run time."""
    return np.stack([features(classifier.middle(prepare(patch))) for patch in patches])
