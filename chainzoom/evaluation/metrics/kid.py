"""Kernel distance between two sets of pictures (KID: Binkowski, Sutherland, Arbel, Gretton 2018), on features of any network.

The squared maximum mean discrepancy with the polynomial kernel k(x, y) = (x.y / d + 1)^3, estimated without bias: it is 0 on average for
two sets of the same kind, and single figures may be a little below 0. Several patches of one picture are no independent samples; where
``groups`` say which belong together, no pair within a group is counted, nor between the sets where both know the group by the same name.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import OptionError
from chainzoom.evaluation.statistics import Interval

Array = NDArray[np.float64]
Groups = Sequence[Hashable] | None
ROUNDS = 2000


def kid(a: NDArray[np.floating], b: NDArray[np.floating], groups_a: Groups = None, groups_b: Groups = None) -> float:
    """Kernel distance of features (n, d) and (m, d); see the head of this file.

    groups_a, groups_b   what each row belongs to (picture, scene); None: every row stands alone
    Raises OptionError for features of several lengths or fewer than two groups on a side.
    """
    sums = kernel_sums(a, b, groups_a, groups_b)
    return sums.value


def kid_interval(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    groups_a: Groups = None,
    groups_b: Groups = None,
    *,
    confidence: float = 0.95,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Interval:
    """``kid`` with a percentile bootstrap that draws whole groups of both sides; ``count`` is the number of groups of ``a``."""
    sums = kernel_sums(a, b, groups_a, groups_b)
    draws = sums.draws(rounds, np.random.default_rng(seed))
    value = sums.value
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    # The interval is centred on the estimate: drawn sets have fewer different members, which shifts them a little.
    shift = value - float(np.median(draws))
    return Interval(value, float(low) + shift, float(high) + shift, len(sums.a))


def kernel(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """(n, m) of (x.y / d + 1)^3."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Kernel sums between groups: ``aa`` (p, p), ``bb`` (q, q), ``ab`` (p, q), and the rows in each group.

    apart   (p, q) of 1 where the groups are different ones, 0 where a group is on both sides
    """

    a: Array
    b: Array
    aa: Array
    bb: Array
    ab: Array
    apart: Array

    @property
    def value(self) -> float:
        """The estimate with every group counted once."""
        return self.distance(np.ones(len(self.a)), np.ones(len(self.b)))

    def distance(self, wa: Array, wb: Array) -> float:
        """The estimate with every group counted as often as its weight says."""
        within = [_within(*side) for side in ((self.aa, self.a, wa), (self.bb, self.b, wb))]
        between = float(wa @ (self.ab * self.apart) @ wb) / float((wa * self.a) @ self.apart @ (wb * self.b))
        return within[0] + within[1] - 2 * between

    def draws(self, rounds: int, random: np.random.Generator) -> Array:
        """The distance of ``rounds`` drawn sets; sets that hold a single group are drawn again."""
        found: list[float] = []
        while len(found) < rounds:
            wa, wb = (random.multinomial(len(n), np.full(len(n), 1 / len(n))).astype(np.float64) for n in (self.a, self.b))
            if min(np.count_nonzero(wa), np.count_nonzero(wb)) > 1 and wa @ self.apart @ wb > 0:
                found.append(self.distance(wa, wb))
        return np.array(found)


def _within(sums: Array, sizes: Array, weights: Array) -> float:
    """Mean kernel over pairs of rows of different groups."""
    total = float(weights @ sums @ weights) - float(weights**2 @ np.diag(sums))
    pairs = float(weights @ sizes) ** 2 - float(weights**2 @ sizes**2)
    return total / pairs


def kernel_sums(a: NDArray[np.floating], b: NDArray[np.floating], groups_a: Groups, groups_b: Groups) -> Sums:
    """What a distance and its bootstrap are made of; errors as for ``kid``."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise OptionError(f"a kernel distance takes features (n, d) and (m, d); got {a.shape} and {b.shape}")
    (ja, na), (jb, nb) = _members(a, groups_a, 0), _members(b, groups_b, 1)
    if min(len(ja), len(jb)) < 2:
        raise OptionError(f"a kernel distance needs at least two groups on each side; got {len(ja)} and {len(jb)}")
    apart = np.array([[float(one != other) for other in nb] for one in na])
    return Sums(ja.sum(axis=1), jb.sum(axis=1), ja @ kernel(a, a) @ ja.T, jb @ kernel(b, b) @ jb.T, ja @ kernel(a, b) @ jb.T, apart)


def _members(rows: NDArray[np.floating], groups: Groups, side: int) -> tuple[Array, list[Hashable]]:
    """(groups, rows) of zeros and ones, and the groups' names."""
    names: list[Hashable] = [(side, k) for k in range(len(rows))] if groups is None else list(groups)
    if len(names) != len(rows):
        raise OptionError(f"groups must name every row: {len(rows)} rows, {len(names)} names")
    places = {name: k for k, name in enumerate(dict.fromkeys(names))}
    table = np.zeros((len(places), len(names)))
    table[[places[name] for name in names], np.arange(len(names))] = 1
    return table, list(places)
