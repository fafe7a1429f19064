"""Means with intervals and pairwise tests. The unit is the rater: scores of one person are not independent of each other.

Each rater's scores of a method are averaged over the sets; intervals and tests are over these averages. They speak for other raters of the
same scenes, not for other scenes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import MissingExtraError
from chainzoom.evaluation.statistics import holm, paired

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % confidence interval (Student's t); the limits are None for fewer than two values."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a`` against ``b``.

    difference         mean of a - b with its interval
    effect             Cohen's d of the differences; None where they are all the same and it would be infinite
    p_t, p_wilcoxon    of the paired t-test and of Wilcoxon's signed-rank test
    holm_t, holm_wilcoxon  the same after Holm's correction over all pairs
    """

    a: str
    b: str
    difference: Interval
    effect: float | None
    p_t: float
    p_wilcoxon: float
    holm_t: float
    holm_wilcoxon: float


def interval(values: Vector) -> Interval:
    """Of the mean of ``values`` (n,)."""
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Interval(mean, None, None)
    half = float(_stats().t.ppf(0.975, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def compare(differences: Mapping[tuple[str, str], Vector]) -> list[Comparison]:
    """``differences`` holds for each pair of methods, rater by rater, the first one's average less the second one's (n,), n >= 2."""
    # Averages over sets tie only up to rounding.
    rounded = {pair: np.round(values, 9) for pair, values in differences.items()}
    tests = [paired(values.tolist(), [0.0] * len(values)) for values in rounded.values()]
    by_t, by_ranks = holm([one.t_test for one in tests]), holm([one.wilcoxon for one in tests])
    out = []
    for ((a, b), values), one, t, ranks in zip(rounded.items(), tests, by_t, by_ranks, strict=True):
        effect = one.effect if math.isfinite(one.effect) else None
        out.append(Comparison(a, b, interval(values), effect, one.t_test, one.wilcoxon, float(t), float(ranks)))
    return out


def _stats() -> Any:
    try:
        return import_module("scipy.stats")
    except ModuleNotFoundError:
        raise MissingExtraError("study score", "scipy", "eval") from None
