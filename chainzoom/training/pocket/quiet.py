"""What lies where words name no surface (a sky, a glaze, a blur): soft mottling without anything in it, drawn.

A Gaussian scale mixture (Wainwright and Simoncelli 1999): noise whose spectrum falls as that of natural pictures does, stronger in some
places and fainter in others. It has the statistics of a natural surface and no edge that could be taken for a thing. Stated as drawn
wherever sources are named; ours, CC0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainzoom.backbones.exemplars import QUIET, SIDE

SOURCE, LICENCE = "drawn by chainzoom", "CC0-1.0"
CONTRAST = 0.03
"""Standard deviation of a drawn surface; 1 = full range."""
_COARSEST, _FINEST = 96, 1.6
"""Periods in pixels beyond which there is little."""
_PATCH = 200, 20
"""Periods between which the strength changes."""


@dataclass(frozen=True, slots=True)
class Plain:
    """``fall``: power of the frequency with which amplitudes fall; ``patchy``: deviation of the strength's logarithm."""

    number: int
    fall: float
    patchy: float

    @property
    def name(self) -> str:
        """As sources are named."""
        return f"drawn-{QUIET}-{self.number}"


PLAINS = (Plain(1, 1.0, 0.5), Plain(2, 1.0, 0.6), Plain(3, 1.05, 0.6), Plain(4, 0.95, 0.55))


def draw(plain: Plain) -> NDArray[np.float32]:
    """(512, 512) around 0, which continues on its other side; the same every time."""
    rng = np.random.default_rng(plain.number)
    grain = _noise(rng, plain.fall, _COARSEST, _FINEST) * np.exp(plain.patchy * _noise(rng, 1.5, *_PATCH))
    grain -= grain.mean()
    return np.asarray(CONTRAST * grain / grain.std(), np.float32)


def _noise(rng: np.random.Generator, fall: float, coarsest: float, finest: float) -> NDArray[np.float64]:
    """(512, 512) of variance 1, whose amplitudes fall with the frequency between two periods."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = 1 / SIDE
    amplitude = frequency**-fall * np.exp(-((frequency * coarsest) ** -2) - (frequency * finest) ** 4)
    amplitude[0, 0] = 0
    found = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIDE, SIDE))) * amplitude, s=(SIDE, SIDE))
    return np.asarray(found / found.std())
