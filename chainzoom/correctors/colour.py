"""Colour alignment of a step's output to what it zoomed into (official options ``adain`` and ``wavelet``)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from chainzoom.images import Image, clip

Align = Literal["none", "adain", "wavelet"]
LEVELS = 5


def align(image: Image, reference: Image, how: Align) -> Image:
    """Give ``image`` the colours of ``reference``; both (H, W, 3) in [0, 1] and of the same size, and so is the result."""
    if how == "none":
        return image
    return clip(adain(image, reference) if how == "adain" else wavelet(image, reference))


def adain(image: Image, reference: Image) -> Image:
    """Match each channel's mean and standard deviation (adaptive instance normalisation)."""
    axes = (0, 1)
    spread = image.std(axes, dtype=np.float64) + 1e-8
    gain = reference.std(axes, dtype=np.float64) / spread
    shift = reference.mean(axes, dtype=np.float64) - image.mean(axes, dtype=np.float64) * gain
    return np.asarray(image * gain.astype(np.float32) + shift.astype(np.float32), dtype=np.float32)


def wavelet(image: Image, reference: Image, levels: int = LEVELS) -> Image:
    """Keep the high frequencies of ``image`` on the low frequencies of ``reference`` (a trous wavelet, 3-tap [1 2 1] blurs)."""
    return image - _low(image, levels) + _low(reference, levels)


def _low(image: Image, levels: int) -> Image:
    for level in range(levels):
        for axis in (0, 1):
            image = _blur(image, 2**level, axis)
    return image


def _blur(image: Image, dilation: int, axis: int) -> Image:
    """[1 2 1] / 4 with its outer taps ``dilation`` pixels away; edges are repeated."""
    length = image.shape[axis]
    here = np.arange(length)
    before = image.take(np.maximum(here - dilation, 0), axis)
    after = image.take(np.minimum(here + dilation, length - 1), axis)
    return np.asarray((before + after) * np.float32(0.25) + image * np.float32(0.5), dtype=np.float32)
