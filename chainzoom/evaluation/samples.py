"""Where several samples of one state agree and where they do not: the model's own uncertainty, pixel by pixel.

Every sample of a state shrinks back to the same photo pixels; what lies above them is *detail*. Detail that comes out the same from every
seed follows from the photo (evidence, as far as the model can tell); detail that changes with the seed does not (invention). The split
is the one-way analysis of variance: with h_i the detail of sample i in CIE L*a*b*,

    P = mean_i |h_i|^2   power of the detail          V = sum_i |h_i - mean h|^2 / (n - 1)   power of what differs

V / P is expected to be the same for any number of samples: 0 when all samples are equal, 1 when they share nothing.
Agreement is no proof: a model may be sure and wrong, and one that always answers the same agrees with itself on everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.agreement import lab
from chainzoom.images import Image, resize
from chainzoom.report.frames import scale_text

EVIDENCE, INVENTION = 0.2, 0.6
"""Shares below the first are called evidence, above the second invention."""

_VISIBLE = 1.0  # delta E: detail weaker than this is hardly seen
_WINDOW = 8  # pixels that share one value of the map


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How far samples of one state agree.

    share    of the detail's power that differs between samples, in [0, 1]
    local    (H, W) float32 in [0, 1]: the same about each pixel; means little where ``visible`` is near 0
    visible  (H, W) float32 in [0, 1]: 0 where there is no detail to see, 0.5 where it is just visible
    spread   (H, W) float32, delta E: standard deviation of the detail over the samples
    detail   root mean square of the detail, delta E
    """

    share: float
    local: NDArray[np.float32]
    visible: NDArray[np.float32]
    spread: NDArray[np.float32]
    detail: float


def agreement(samples: Sequence[Image], scale: float) -> Agreement:
    """Compare two or more samples (H, W, 3) in [0, 1] of one state whose pixels are ``scale`` times finer than the photo's.

    Raises OptionError for fewer than two samples, unequal shapes, or a scale of real pixels (1 or less).
    """
    if len(samples) < 2 or any(sample.shape != samples[0].shape for sample in samples):
        raise OptionError(f"agreement needs two or more pictures of one shape; got {[sample.shape for sample in samples]}")
    if scale <= 1:
        raise OptionError(f"agreement is about synthesised states, whose scale is above 1; got {scale:g}")
    count = len(samples)
    total = np.zeros(samples[0].shape, np.float64)
    power = np.zeros(samples[0].shape[:2], np.float64)
    for sample in samples:
        layer = _detail(sample, scale)
        total += layer
        power += np.sum(layer**2, axis=-1)
    common = np.sum((total / count) ** 2, axis=-1)
    power /= count
    differs = np.maximum(power - common, 0) * (count / (count - 1))
    everything = float(power.mean())
    share = min(1.0, float(differs.mean()) / everything) if everything > 0 else 0.0
    near, of = _about(differs), _about(power)
    local = np.clip(near / np.maximum(of, 1e-6), 0, 1).astype(np.float32)
    visible = (of / (of + _VISIBLE**2)).astype(np.float32)
    return Agreement(share, local, visible, np.sqrt(differs).astype(np.float32), everything**0.5)


def verdict(scale: float, found: Agreement | None) -> str:
    """One line on a state: ``64x: 93 % of the detail differs between seeds: invention``; None for a state of real pixels."""
    if found is None:
        return f"{scale_text(scale)}: real pixels, the same for every seed"
    if found.detail < _VISIBLE:
        return f"{scale_text(scale)}: no visible detail to compare"
    return f"{scale_text(scale)}: {found.share * 100:.0f} % of the detail differs between seeds: {judge(found)}"


def judge(found: Agreement) -> str:
    """``evidence``, ``partly invention``, ``invention``, or ``no detail`` where nothing is visible."""
    if found.detail < _VISIBLE:
        return "no detail"
    return "evidence" if found.share < EVIDENCE else "invention" if found.share > INVENTION else "partly invention"


def _detail(sample: Image, scale: float) -> NDArray[np.float64]:
    """What lies above the photo's own pixels: the sample less its copy shrunk to 1x and enlarged again, in L*a*b*."""
    height, width = sample.shape[:2]
    small = resize(sample, (max(1, round(width / scale)), max(1, round(height / scale))), "bicubic")
    return lab(sample) - lab(np.clip(resize(small, (width, height), "bicubic"), 0, 1))


def _about(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth local mean over about ``_WINDOW`` pixels."""
    height, width = values.shape
    small = resize(values.astype(np.float32), (max(1, width // _WINDOW), max(1, height // _WINDOW)), "box")
    return np.maximum(resize(small, (width, height), "bicubic"), 0).astype(np.float64)
