"""Choosing exemplars that together look like the real surfaces of their material, as a zoom meets them.

A zoom draws one exemplar of a material. Wanted is the set whose draws are nearest to real surfaces by kernel distance (KID), at the two
scales where a surface can be recognised, and which classifiers of real surfaces take for its material and for no other. It is built
one by one, each time the one that helps most (herding: Chen, Welling and Smola 2010), and then improved by exchanges. At last each member
gets its chance to be drawn, by the same measure.

Evaluation must not be judged by its own eyes: this looks with AlexNet, and for naming with the tagger's network too, at the split
``train``, the evaluation with VGG16 at ``test``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chainzoom.evaluation.metrics.kid import kernel
from chainzoom.evaluation.metrics.moments import Moments
from chainzoom.evaluation.surfaces.patches import cut, cut_scaled, look_at
from chainzoom.evaluation.surfaces.recognition import FOLDS, Recogniser, dealt, fit
from chainzoom.evaluation.surfaces.textures import read_textures
from chainzoom.images import Image, clip
from chainzoom.prompters.classifier import Classifier, prepare
from chainzoom.seeds import derive
from chainzoom.training.pocket.shelf import Candidate, best

_MOST = 120
"""Real pictures of a material that are looked at, at most."""
_LEAST = 4
"""Groups of real pictures of a material below which nothing can be said."""
_REAL_PATCHES, _PATCHES = 8, 6
_SCALES, _SHARES = (256.0, 64.0), (0.5, 0.5)
"""Where surfaces are met, and what each counts for the distance."""
_NAMING = (0.65, 0.35)
"""What each counts for the name, which is surer where a surface is met at its own size."""
_SIDE = 256
"""Pixels of the state in which an exemplar is looked at."""
_NAMED, _SURE = 4.0, 0.05
"""What being taken for the right material counts beside the kernel distance, and the margin that makes it likely: a logistic function,
since what is beyond doubt gains nothing by being still more so.
"""
_ENOUGH = 4
"""From so many on another one is only added when it brings the set nearer."""
_GROUP = 2
"""Members of one group at most."""
_EXCHANGES = 2
_RAREST, _OFTENEST = 0.5, 1.5
"""Chance of a member to be drawn, beside that of an even draw, at least and at most: seeds are to differ, and eyes may be wrong."""
_SWEEPS = 100
_THREADS = 2

Array = NDArray[np.float64]


class Eyes(Protocol):
    """What turns patches into features."""

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, d), none of them negative, of n patches."""


class Spreads:
    """The tagger's network: how much each channel of its middle stages changes over a patch, (n, 464). One network alone has its whims."""

    def __init__(self) -> None:
        self._classifier = Classifier(_THREADS)

    def features(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, 464) of n patches (H, W, 3)."""
        return np.stack([np.concatenate([p.std(axis=(1, 2)) for p in self._classifier.middle(prepare(image))]) for image in images])


@dataclass(frozen=True, slots=True, eq=False)
class _Real:
    """n real pictures: features (n, patches, d) by each pair of eyes, materials and groups."""

    rows: list[Array]
    materials: list[tuple[str, ...]]
    groups: list[str]


def choose(folder: Path, weights: Path, found: Sequence[Candidate], each: int) -> list[Candidate]:
    """Up to ``each`` candidates of every material, with their chances; where too few real pictures are known, the best by merit.

    ``weights``: the folder with AlexNet's archive. Raises OptionError for an unprepared folder, WeightsError.
    """
    eyes: list[Eyes] = [Moments(weights, "alexnet"), Spreads()]
    real = _seen(folder, eyes)
    looks = _looks(eyes, map(_patches, found))  # one after the other: all patches together are gigabytes
    margins = np.mean([_margins(real, rows, found, own) for rows, own in zip(real.rows, looks, strict=True)], axis=0)
    chosen: list[Candidate] = []
    for material in sorted({one.material for one in found}):
        own = [number for number, one in enumerate(found) if one.material == material]
        same = [number for number, labels in enumerate(real.materials) if material in labels]
        if len({real.groups[number] for number in same}) < _LEAST:
            chosen += best([found[number] for number in own], each)
            continue
        pairs, gains = _kernels(looks[0][own], real, same, [found[number].row["group"] for number in own])
        gains += _NAMED / (1 + np.exp(-margins[own] / _SURE))
        members = _members(pairs, gains, [found[number] for number in own], each)
        chances = _chances(pairs[np.ix_(members, members)], gains[members])
        chosen += [replace(found[own[member]], chance=float(chance)) for member, chance in zip(members, chances, strict=True)]
    return chosen


def _looks(eyes: Sequence[Eyes], pictures: Iterable[Sequence[Image]]) -> list[Array]:
    """Features (n, patches, d) of the patches of n pictures, by each pair of eyes."""
    found = [[one.features(patches) for one in eyes] for patches in pictures]
    return [np.stack(rows).astype(np.float64) for rows in zip(*found, strict=True)]


def _seen(folder: Path, eyes: Sequence[Eyes]) -> _Real:
    chosen, counts = [], Counter[str]()
    for one in sorted(read_textures(folder), key=lambda one: one.sha256):
        if one.split == "train" and one.kind == "texture" and one.materials and counts[one.materials[0]] < _MOST:
            counts[one.materials[0]] += 1
            chosen.append(one)
    patches = ([look_at(patch, "grey") for patch in cut_scaled(one.read(), _REAL_PATCHES, 0, one.sha256)] for one in chosen)
    return _Real(_looks(eyes, patches), [one.materials for one in chosen], [one.group for one in chosen])


def _patches(one: Candidate) -> list[Image]:
    """Patches of a candidate as a zoom meets it, ``_PATCHES`` a scale; the same in any company."""
    exemplar, patches = one.exemplar(), []
    for scale in _SCALES:
        plane = exemplar.seen(0, derive(0, one.name), (0, 0, _SIDE, _SIDE), scale) + np.float32(0.5)
        patches += cut(clip(np.repeat(plane[..., None], 3, axis=2)), _PATCHES, 0, one.name)
    return [look_at(patch, "grey") for patch in patches]


def _margins(real: _Real, seen: Array, found: Sequence[Candidate], looks: Array) -> Array:
    """(n,) by how much a candidate's material outscores all others, for classifiers that have not seen its group; 0 where nothing can be
    said. ``seen`` and ``looks`` are features of the real pictures and of the candidates by the same eyes.
    """
    firsts = Counter(labels[0] for labels in real.materials)
    known = tuple(sorted(name for name, count in firsts.items() if count >= _LEAST))
    margins = np.zeros(len(found))
    if len(known) < 2:
        return margins
    kept = [number for number, labels in enumerate(real.materials) if labels[0] in known]
    each = seen.shape[1]
    labels = [real.materials[number][0] for number in kept for _ in range(each)]
    owners = [real.groups[number] for number in kept for _ in range(each)]
    rows, folds = seen[kept].reshape(len(labels), -1), dealt(labels, owners, FOLDS)
    seats = dict(zip(owners, folds.tolist(), strict=True))
    judges: dict[int, Recogniser] = {}
    for number, one in enumerate(found):
        if one.material in known:
            seat = seats.get(one.row["group"], 0)
            if seat not in judges:
                known_to = folds != seat
                judges[seat] = fit(rows[known_to], [label for label, kept in zip(labels, known_to, strict=True) if kept], known)
            scores, own = judges[seat].scores(looks[number]), known.index(one.material)
            means = scores.reshape(len(_SCALES), -1, len(known)).mean(1)
            margins[number] = float(np.dot(_NAMING, [row[own] - np.delete(row, own).max() for row in means]))
    return margins


def _kernels(looks: Array, real: _Real, same: Sequence[int], groups: Sequence[str]) -> tuple[Array, Array]:
    """Mean kernels between candidates (n, n), and twice those to real pictures ``same`` of other groups (n,), over the scales."""
    count, many = len(looks), _PATCHES
    rows = real.rows[0][same].reshape(-1, looks.shape[-1])
    owners = np.repeat(np.array([real.groups[number] for number in same], dtype=object), real.rows[0].shape[1])
    pairs, gains = np.zeros((count, count)), np.zeros(count)
    for scale, share in enumerate(_SHARES):
        mine = looks[:, scale * many : (scale + 1) * many].reshape(count * many, -1)
        within = kernel(mine, mine).reshape(count, many, count, many)
        means = within.mean((1, 3))
        alone = np.einsum("iaib->iab", within)
        # A patch beside itself says nothing of how alike two draws are.
        np.fill_diagonal(means, (alone.sum((1, 2)) - np.einsum("iaa->i", alone)) / (many * (many - 1)))
        pairs += share * means
        across = kernel(mine, rows).reshape(count, many, -1).mean(1)
        gains += share * np.array([2 * row[owners != group].mean() for row, group in zip(across, groups, strict=True)])
    return pairs, gains


def _members(pairs: Array, gains: Array, found: Sequence[Candidate], each: int) -> list[int]:
    """Numbers of the set with the least mean of ``pairs`` less mean of ``gains``."""
    files = np.array([one.row["file"] for one in found], dtype=object)
    groups = np.array([one.row["group"] for one in found], dtype=object)

    def cost(members: list[int]) -> float:
        return float(pairs[np.ix_(members, members)].mean() - gains[members].mean())

    def addition(members: list[int]) -> int | None:
        """The candidate with which the set costs least; None when no picture or group is left."""
        count = len(members) + 1
        total = pairs[np.ix_(members, members)].sum() + 2 * pairs[:, members].sum(1) + np.diag(pairs)
        costs = total / count**2 - (gains[members].sum() + gains) / count
        taken = Counter(groups[members].tolist())
        costs[np.isin(files, files[members])] = np.inf
        costs[[taken[group] >= _GROUP for group in groups]] = np.inf
        number = int(np.argmin(costs))
        return None if costs[number] == np.inf else number

    members: list[int] = []
    while len(members) < each and (number := addition(members)) is not None:
        if len(members) >= _ENOUGH and cost([*members, number]) > cost(members):
            break
        members.append(number)
    for _ in range(_EXCHANGES):
        for place in range(len(members)):
            others = members[:place] + members[place + 1 :]
            number = addition(others)
            if number is not None and cost([*others, number]) < cost(members):
                members = [*others[:place], number, *others[place:]]
    return members


def _chances(pairs: Array, gains: Array) -> Array:
    """(n,) of mean 1: how often each member of a set is drawn, for the least distance; by moving chance between two at a time."""
    count = len(gains)
    least, most, shares = _RAREST / count, _OFTENEST / count, np.full(count, 1 / count)
    for _ in range(_SWEEPS):
        for i in range(count):
            for j in range(i):
                slope = float(2 * (pairs[i] - pairs[j]) @ shares - gains[i] + gains[j])
                bend = float(pairs[i, i] + pairs[j, j] - 2 * pairs[i, j])
                low, high = max(least - shares[i], shares[j] - most), min(shares[j] - least, most - shares[i])
                ends = (low, high, min(max(-slope / (2 * bend), low), high)) if bend > 0 else (low, high)
                move = min(ends, key=lambda move: slope * move + bend * move**2)
                shares[i], shares[j] = shares[i] + move, shares[j] - move
    return shares * count
