"""Krippendorff's alpha: how far raters agree beyond chance, for any number of raters, missing scores and levels of measurement.

alpha = 1 - D_observed / D_expected over the coincidence matrix (K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(units: Sequence[Sequence[float]], level: Level = "ordinal") -> float | None:
    """1: perfect agreement, 0: as by chance, below: worse than chance.

    ``units`` holds, for every thing scored, the scores that it got; those with fewer than two are passed over. None when nothing can be
    compared: no pair, or every score the same.
    """
    paired = [unit for unit in units if len(unit) > 1]
    values = sorted({score for unit in paired for score in unit})
    if len(values) < 2:
        return None
    place = {value: k for k, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in paired:
        counts = np.bincount([place[score] for score in unit], minlength=len(values)).astype(float)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(axis=1)
    distance = _distances(np.array(values, float), totals, level)
    observed = float(np.sum(coincidences * distance))
    expected = float(np.sum(np.outer(totals, totals) * distance) / (totals.sum() - 1))
    return 1 - observed / expected


def describe(alpha: float | None) -> str:
    """Krippendorff's own reading: from 0.8 on reliable, from 0.667 on good for tentative conclusions."""
    if alpha is None:
        return "cannot be computed"
    return "reliable" if alpha >= 0.8 else "tentative" if alpha >= 0.667 else "low"


def _distances(values: NDArray[np.float64], totals: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """Squared distance between every two values."""
    if level == "nominal":
        return np.asarray(values[:, None] != values[None, :], dtype=np.float64)
    if level == "ordinal":
        # The distance of two ranks is the number of scores between them, half of the ends' own.
        values = np.cumsum(totals) - totals / 2
    return np.asarray((values[:, None] - values[None, :]) ** 2, dtype=np.float64)
