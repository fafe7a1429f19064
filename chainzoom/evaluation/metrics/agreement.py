"""Consistency and colour drift: a state, shrunk back, against what it zoomed into and against the photo.

No-reference scores reward invented texture; these two cannot be raised by inventing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chainzoom.correctors.consistency import consistency_db, shrink
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.images import Image, clip

_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
_WHITE = _TO_XYZ.sum(axis=1)


def consistency_step(sample: Sample) -> float | None:
    """PSNR in dB between the state, shrunk by its own step, and the part of the state before that it zooms into."""
    return None if sample.zoomed is None else consistency_db(sample.image, sample.zoomed)


def consistency_raw(sample: Sample) -> float | None:
    """As consistency_step for the backbone's own output, before colours are aligned and consistency is restored: from the record."""
    return sample.raw_db


def consistency_end(sample: Sample) -> float | None:
    """PSNR in dB between the state, shrunk by the whole zoom, and the part of state 0 that it shows; None under one pixel."""
    return None if sample.origin is None else consistency_db(sample.image, sample.origin)


def colour_drift(sample: Sample) -> float | None:
    """Mean CIEDE2000 between the state, shrunk by the whole zoom, and the part of state 0 that it shows."""
    if sample.origin is None:
        return None
    small = clip(shrink(sample.image, (sample.origin.shape[1], sample.origin.shape[0])))
    return float(np.mean(ciede2000(lab(small), lab(sample.origin))))


def prompt_effect(sample: Sample) -> float | None:
    """Mean CIEDE2000 between the state and the same state steered by no words: how far the words moved the picture."""
    if sample.rival is None or sample.rival.shape != sample.image.shape:
        return None
    return float(np.mean(ciede2000(lab(sample.image), lab(sample.rival))))


def lab(image: Image) -> NDArray[np.float64]:
    """CIE L*a*b* (D65) of sRGB in [0, 1]."""
    encoded = image.astype(np.float64)
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    t = (linear @ _TO_XYZ.T) / _WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ciede2000(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colour difference of L*a*b* arrays (..., 3), after Sharma, Wu, Dalal 2005."""
    l1, a1, b1 = np.moveaxis(a, -1, 0)
    l2, a2, b2 = np.moveaxis(b, -1, 0)
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - np.sqrt(mean7 / (mean7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = c1 * c2 == 0
    turn = np.where(grey, 0.0, (h2 - h1) - 360 * np.round((h2 - h1) / 360))
    dl, dc, dh = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    # Half way along the shorter arc; where one colour is grey its hue is nothing and the other's is taken.
    hm = np.where(grey, h1 + h2, (h1 + turn / 2) % 360)
    t = 1 - 0.17 * _cos(hm - 30) + 0.24 * _cos(2 * hm) + 0.32 * _cos(3 * hm + 6) - 0.20 * _cos(4 * hm - 63)
    sl = 1 + 0.015 * (lm - 50) ** 2 / np.sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    twist = -np.sin(np.radians(60 * np.exp(-(((hm - 275) / 25) ** 2)))) * 2 * np.sqrt(cm**7 / (cm**7 + 25.0**7))
    square = (dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + twist * (dc / sc) * (dh / sh)
    return np.asarray(np.sqrt(np.maximum(square, 0)))


def _cos(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.cos(np.radians(degrees)))
