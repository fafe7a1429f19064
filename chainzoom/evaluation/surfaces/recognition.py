"""Naming materials: a linear classifier on network features of real surfaces, blind to colour.

Ridge regression on one-hot labels after a logarithm that evens out the features' scales; materials weigh alike however many pictures they
have. It has a closed form, so the same pictures give the same classifier.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainzoom.errors import OptionError

Array = NDArray[np.float64]
RIDGE = 1.0
"""Strength of the ridge, as a multiple of the features' mean variance."""
FOLDS = 5
_SOFT = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Recogniser:
    """Features in, one score a material out."""

    materials: tuple[str, ...]
    centre: Array
    weights: Array
    offset: Array

    def scores(self, features: NDArray[np.floating]) -> Array:
        """(n, d) -> (n, materials); the highest names the material. Scores of one picture's patches may be averaged."""
        return np.asarray((_evened(features) - self.centre) @ self.weights + self.offset)

    def names(self, features: NDArray[np.floating]) -> list[str]:
        """The material of every row."""
        return [self.materials[k] for k in self.scores(features).argmax(axis=1)]


@dataclass(frozen=True, slots=True)
class Skill:
    """How well a kind of classifier names real surfaces of groups that it has not seen.

    patches, pictures   share of patches, and of pictures (mean scores of their patches), that are named right; every material counts alike
    by_material         share of pictures named right, a material
    confusion           (true, named) counts of pictures, in the order of ``by_material``
    """

    patches: float
    pictures: float
    by_material: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    groups: int


def fit(features: NDArray[np.floating], labels: Sequence[str], materials: Sequence[str] | None = None, ridge: float = RIDGE) -> Recogniser:
    """A Recogniser from features (n, d) of real patches and the material of each row. Raises OptionError for fewer than two materials."""
    names = tuple(materials) if materials is not None else tuple(sorted(set(labels)))
    if len(labels) != len(features) or len(set(labels)) < 2 or not set(labels) <= set(names):
        raise OptionError(f"a recogniser needs a label out of {', '.join(names)} for each of {len(features)} rows, and two materials")
    places = np.array([names.index(label) for label in labels])
    counts = np.bincount(places, minlength=len(names))
    row = 1 / counts[places]
    row *= len(row) / row.sum()
    x, y = _evened(features), np.eye(len(names))[places]
    centre, offset = (row @ x) / row.sum(), (row @ y) / row.sum()
    root = np.sqrt(row)[:, None]
    gaps = (x - centre) * root
    gram = gaps @ gaps.T  # the dual form: rows are fewer than features
    strength = ridge * float(np.trace(gram)) / len(gram)
    dual = np.linalg.solve(gram + strength * np.eye(len(gram)), (y - offset) * root)
    return Recogniser(names, centre, gaps.T @ dual, offset)


def cross_validate(
    features: NDArray[np.floating],
    labels: Sequence[str],
    groups: Sequence[Hashable],
    pictures: Sequence[Hashable] | None = None,
    folds: int = FOLDS,
    ridge: float = RIDGE,
) -> Skill:
    """Skill on groups left out in turn. Every material's groups are dealt over the folds, so that each fold misses few of each.

    ``pictures`` names the picture of every row; by default a group is one picture. Raises OptionError for a material with a single group.
    """
    names = tuple(sorted(set(labels)))
    lone = sorted(name for name in names if len({g for g, label in zip(groups, labels, strict=True) if label == name}) < 2)
    if lone:
        raise OptionError(f"cross-validation needs two groups of every material; there is one of {', '.join(lone)}")
    which = dealt(labels, groups, folds)
    scores = np.zeros((len(labels), len(names)))
    for fold in range(folds):
        out = which == fold
        if not out.any():
            continue
        kept = [label for label, left in zip(labels, out, strict=True) if not left]
        scores[out] = fit(features[~out], kept, names, ridge).scores(features[out])
    truth = np.array([names.index(label) for label in labels])
    whole = list(pictures if pictures is not None else groups)
    places: dict[Hashable, list[int]] = {}
    for k, name in enumerate(whole):
        places.setdefault((name, labels[k]), []).append(k)
    confusion = np.zeros((len(names), len(names)), dtype=int)
    for rows in places.values():
        confusion[truth[rows[0]], scores[rows].mean(axis=0).argmax()] += 1
    right = scores.argmax(axis=1) == truth
    shares = np.diag(confusion) / confusion.sum(axis=1)
    return Skill(
        float(np.mean([right[truth == k].mean() for k in range(len(names))])),
        float(shares.mean()),
        {name: float(share) for name, share in zip(names, shares, strict=True)},
        tuple(tuple(int(v) for v in row) for row in confusion),
        len(set(groups)),
    )


def dealt(labels: Sequence[str], groups: Sequence[Hashable], folds: int) -> NDArray[np.intp]:
    """(n,) the fold of every row: the groups of each material in turn, going on where the material before stopped."""
    seat: dict[Hashable, int] = {}
    for name in sorted(set(labels)):
        for group in dict.fromkeys(g for g, label in zip(groups, labels, strict=True) if label == name):
            seat.setdefault(group, len(seat) % folds)
    return np.array([seat[group] for group in groups])


def _evened(features: NDArray[np.floating]) -> Array:
    """Moments of network layers fall like powers: their logarithms are about equally spread."""
    return np.asarray(np.log(np.maximum(np.asarray(features, dtype=np.float64), 0) + _SOFT))
