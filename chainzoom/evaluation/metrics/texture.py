"""What a picture's spectrum says: how much fine detail it has, whether it repeats itself, whether a grid lies over it.

Natural photos have about the same spectrum at every scale (power falls with the square of frequency: Field 1987), so one reference serves
all scales.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.base import Sample
from chainzoom.evaluation.metrics.fidelity import luma

Plane = NDArray[np.float64]

NATURAL_RATIO = 0.063
"""High-band over middle-band amplitude of natural photos; see docs/evaluation.md."""
HIGH = (0.25, 0.5)
"""High band in cycles a pixel: periods of 2 to 4 pixels, which the step before could not hold."""
MIDDLE = (1 / 64, 1 / 8)
"""Middle band: what gives the picture its contrast; periods of 8 to 64 pixels."""
_ROUNDING = 1 / 12 / 255**2
"""Power of rounding to 8 bits: detail below it is none."""
_FAINT = (3 / 255 / NATURAL_RATIO) ** 2
"""Power of the middle band at which natural detail would be three grey levels, about the least one sees. Less contrast counts as this:
otherwise the figure of a plain picture would be noise over nothing."""

_BLOCK = 256
_ANGLES, _PEAK = 360, 10.0
_ALONG, _ACROSS = 8, 40
"""Neighbours on each side for the medians: radii, and half degrees (at the smallest radius 40 of them are 3 bins)."""
_PERIODS = range(3, 65)
_TREND, _NEARLY = 17, 0.8


def detail(sample: Sample) -> float | None:
    """High-band amplitude for the picture's contrast, as a multiple of what natural photos have: 1 natural, 0 none, above 1 too much."""
    return spectral_ratio(luma(sample.image)) / NATURAL_RATIO


def spectral_ratio(plane: Plane) -> float:
    """Amplitude in HIGH over amplitude in MIDDLE of (H, W) in [0, 1]; little contrast counts as _FAINT."""
    power, radius = _spectrum(plane)
    high = max(0.0, float(power[(radius >= HIGH[0]) & (radius < HIGH[1])].mean()) - _ROUNDING)
    middle = max(_FAINT, float(power[(radius >= MIDDLE[0]) & (radius < MIDDLE[1])].mean()))
    return float(np.sqrt(high / middle))


def _spectrum(plane: Plane) -> tuple[Plane, Plane]:
    """Power a pixel of the windowed plane, so that white noise of variance v has power v everywhere, and the radius of every bin."""
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in plane.shape))
    mean = float((plane * window).sum() / window.sum())
    power = np.abs(np.fft.rfft2((plane - mean) * window)) ** 2 / (window**2).sum()
    fy, fx = np.fft.fftfreq(plane.shape[0]), np.fft.rfftfreq(plane.shape[1])
    return power, np.hypot(fy[:, None], fx[None])


def repetition(sample: Sample) -> float | None:
    """Share of the picture's texture (periods of 2 to 32 pixels) that sits in isolated spectral peaks: 0 none, 1 a pure repeating pattern.

    Edges make ridges through the origin, not isolated peaks, and do not count. Needs 256 pixels a side.
    """
    return peak_share(luma(sample.image))


def peak_share(plane: Plane) -> float:
    """See repetition. A bin is a peak when it is 10 dB over the median both along its own direction and across directions."""
    if min(plane.shape) < _BLOCK:
        raise OptionError(f"repetition takes pictures of at least {_BLOCK} pixels a side; got {plane.shape[1]} x {plane.shape[0]}")
    polar = _polar(_welch(plane))
    along = _median(np.pad(polar, ((0, 0), (_ALONG, _ALONG)), mode="reflect"), _ALONG, 1)
    across = _median(np.pad(polar, ((_ACROSS, _ACROSS), (0, 0)), mode="wrap"), _ACROSS, 0)
    ground = np.maximum(along, across)
    radii = np.arange(polar.shape[1]) + _BLOCK // 32
    # A share of what is left when the natural fall of the spectrum is taken out; otherwise the lowest frequencies decide alone.
    white = (polar + _ROUNDING) / (np.median(polar, axis=0) + _ROUNDING) * radii
    peaks = polar + _ROUNDING > _PEAK * (ground + _ROUNDING)
    return float(white[peaks].sum() / white.sum())


def _welch(plane: Plane) -> Plane:
    """Mean power spectrum (256, 256) of half-overlapping windowed blocks, zero frequency in the middle."""
    blocks = sliding_window_view(plane, (_BLOCK, _BLOCK))[:: _BLOCK // 2, :: _BLOCK // 2].reshape(-1, _BLOCK, _BLOCK)
    window = np.outer(np.hanning(_BLOCK), np.hanning(_BLOCK))
    total = np.zeros((_BLOCK, _BLOCK))
    for block in blocks:
        total += np.abs(np.fft.fft2((block - block.mean()) * window)) ** 2
    return np.fft.fftshift(total / (len(blocks) * (window**2).sum()))


def _polar(power: Plane) -> Plane:
    """(angles over half a turn, radii from 1/32 cycles a pixel) by bilinear sampling."""
    radius = np.arange(_BLOCK // 32, _BLOCK // 2 - 1)
    angle = np.arange(_ANGLES) * np.pi / _ANGLES
    y, x = (_BLOCK // 2 + np.outer(f(angle), radius) for f in (np.sin, np.cos))
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    v, u = y - y0, x - x0
    top = power[y0, x0] * (1 - u) + power[y0, x0 + 1] * u
    bottom = power[y0 + 1, x0] * (1 - u) + power[y0 + 1, x0 + 1] * u
    return np.asarray(top * (1 - v) + bottom * v)


def _median(padded: Plane, reach: int, axis: int) -> Plane:
    return np.asarray(np.median(sliding_window_view(padded, 2 * reach + 1, axis=axis), axis=-1))


def grid(sample: Sample) -> float | None:
    """How much of the change from column to column (and row to row) repeats with one period of 3 to 64 pixels: 0 nothing, 1 all of it."""
    return grid_share(luma(sample.image))[0]


def grid_share(plane: Plane) -> tuple[float, int]:
    """The share, see grid, and its period in pixels; (0, 0) for a plane without structure.

    Rows' absolute differences are averaged over the picture, which leaves what all rows share; the slow trend is taken out; the adjusted
    share of variance explained by folding the rest with each period is compared, and the best one given.
    """
    best, period = 0.0, 0
    for axis in (0, 1):
        steps = np.abs(np.diff(plane, axis=axis)).mean(axis=1 - axis)
        trend = np.median(sliding_window_view(np.pad(steps, _TREND // 2, mode="reflect"), _TREND), axis=-1)
        rest = steps - trend
        rest -= rest.mean()
        total = float((rest**2).sum())
        if total < 1e-12 * len(rest):
            continue
        shares = {candidate: _folded(rest, candidate, total) for candidate in _PERIODS}
        top = max(shares.values())
        if top > best:
            # A multiple of the period explains no less: the shortest that explains nearly as much is the period.
            best, period = top, next(candidate for candidate, share in shares.items() if share >= _NEARLY * top)
    return best, period


def _folded(rest: Plane, period: int, total: float) -> float:
    """Adjusted share of the variance between the ``period`` phases."""
    count = len(rest)
    if count < 3 * period:
        return 0.0
    phase = np.arange(count) % period
    sums, sizes = np.bincount(phase, rest, period), np.bincount(phase, minlength=period)
    share = float((sums**2 / sizes).sum()) / total
    return 1 - (1 - share) * (count - 1) / (count - period)
