"""How sure the figures are: bootstrap intervals, paired tests between methods, and Holm's correction for making many.

Functions on plain arrays of one figure an image, paired by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import MissingExtraError, OptionError

ROUNDS = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over ``count`` images with its confidence interval."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Paired:
    """Two methods on the same images: mean of a - b with its interval, effect size, and p-values of both tests."""

    difference: Interval
    effect: float
    t_test: float
    wilcoxon: float


def bootstrap(values: Sequence[float] | NDArray[np.float64], confidence: float = 0.95, seed: int = 0, rounds: int = ROUNDS) -> Interval:
    """Percentile bootstrap of the mean over images; the same values give the same interval. Raises OptionError without values."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise OptionError("a confidence interval needs at least one value; got none")
    if data.size == 1:
        return Interval(float(data[0]), float(data[0]), float(data[0]), 1)
    picks = np.random.default_rng(seed).integers(0, data.size, (rounds, data.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile(data[picks].mean(axis=1), [tail, 1 - tail])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))


def paired(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Paired:
    """Paired t-test and Wilcoxon signed-rank test, two-sided. Methods without any difference have p = 1.

    ``effect`` is Cohen's d of the differences. Raises OptionError for lists of unequal length or fewer than two pairs, MissingExtraError
    without SciPy.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.size < 2:
        raise OptionError(f"a paired test needs two lists of the same length, at least 2; got {x.size} and {y.size}")
    gap = x - y
    interval = bootstrap(gap, seed=seed)
    spread = float(gap.std(ddof=1))
    if not gap.any():
        return Paired(interval, 0.0, 1.0, 1.0)
    stats = _scipy_stats()
    effect = float(gap.mean() / spread) if spread else float("inf") * float(np.sign(gap.mean()))
    t = float(stats.ttest_rel(x, y).pvalue) if spread > 1e-12 * abs(float(gap.mean())) else 0.0
    return Paired(interval, effect, t, float(stats.wilcoxon(gap).pvalue))


def holm(pvalues: Sequence[float]) -> NDArray[np.float64]:
    """Holm's step-down adjustment, in the order given."""
    p = np.asarray(pvalues, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(adjusted, 1.0)
    return out


def _scipy_stats() -> Any:
    try:
        return import_module("scipy.stats")
    except ImportError:
        raise MissingExtraError("paired tests", "scipy", "eval") from None
