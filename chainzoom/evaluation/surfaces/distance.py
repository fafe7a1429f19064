"""Kernel distance of states to real surfaces of the same material, averaged over materials by their inputs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from chainzoom.errors import OptionError
from chainzoom.evaluation.metrics.kid import ROUNDS, Sums, kernel_sums
from chainzoom.evaluation.statistics import Interval
from chainzoom.evaluation.surfaces.reference import Views


def material_kid(states: Views, real: Views, seed: int = 0, rounds: int = ROUNDS, conditional: bool = True) -> Interval:
    """Kernel distance of states to real pictures that show their material, with a bootstrap over inputs and real groups.

    Each material's distance counts by its inputs. States named after a group of real pictures are not compared with that group. A material
    with a single input has its pairs of patches within that input. With ``conditional`` False, or where a material has fewer than two real
    groups, its states are compared with all of ``real``.
    Raises OptionError without states.
    """
    parts: list[tuple[Sums, float]] = []
    for material in sorted({labels[0] for labels in states.materials}):
        mine = states.where(lambda k, m=material: states.materials[k][0] == m)  # type: ignore[misc]
        same = real.of(material) if conditional else real
        if len(set(mine.groups)) == 1:
            same = same.where(lambda k, own=mine.groups[0], kept=same: kept.groups[k] != own)  # type: ignore[misc]
        others = same if len(set(same.groups)) > 1 else real
        inputs = len(set(mine.groups))
        groups: Sequence[Hashable] = mine.groups if inputs > 1 else [(mine.groups[0], k) for k in range(len(mine.groups))]
        parts.append((kernel_sums(mine.rows, others.rows, groups, others.groups), float(inputs)))
    if not parts:
        raise OptionError("a distance to real surfaces needs states; got none")
    weights = np.array([weight for _, weight in parts]) / sum(weight for _, weight in parts)
    random = np.random.default_rng(seed)
    value = float(weights @ np.array([sums.value for sums, _ in parts]))
    draws = weights @ np.stack([sums.draws(rounds, random) for sums, _ in parts])
    low, high = np.quantile(draws - np.median(draws), [0.025, 0.975])
    return Interval(value, value + float(low), value + float(high), len(set(states.groups)))
