"""Choosing exemplars that together look like the real surfaces of their material, as a zoom meets them.

A zoom draws one exemplar of a material. Wanted is the set whose draws are nearest to real surfaces by kernel distance (KID), at the two
scales where a surface can be recognised, and which a classifier of real surfaces takes for its material and for no other. It is built
one by one, each time the one that helps most (herding: Chen, Welling and Smola 2010), and then improved by exchanges.

Evaluation must not be judged by its own eyes: this looks with AlexNet at the split ``train``, the evaluation with VGG16 at ``test``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.evaluation.metrics.kid import kernel
from chainzoom.evaluation.metrics.moments import Moments
from chainzoom.evaluation.surfaces.patches import cut, cut_scaled, look_at
from chainzoom.evaluation.surfaces.recognition import FOLDS, Recogniser, dealt, fit
from chainzoom.evaluation.surfaces.textures import read_textures
from chainzoom.images import Image, clip
from chainzoom.seeds import derive
from chainzoom.training.pocket.shelf import Candidate, best

_MOST = 120
"""Real pictures of a material that are looked at, at most."""
_LEAST = 4
"""Groups of real pictures of a material below which nothing can be said."""
_REAL_PATCHES, _PATCHES = 8, 6
_SCALES, _SHARES = (256.0, 64.0), (0.65, 0.35)
"""Where surfaces are met, and what each counts."""
_SIDE = 256
"""Pixels of the state in which an exemplar is looked at."""
_MARGIN = 12.0
"""What being taken for the right material counts beside the kernel distance."""
_ENOUGH = 4
"""From so many on another one is only added when it brings the set nearer."""
_GROUP = 2
"""Members of one group at most."""
_EXCHANGES = 2
_WORKERS = 2

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Real:
    """rows (n, patches, d) of features of n real pictures, their materials and groups."""

    rows: Array
    materials: list[tuple[str, ...]]
    groups: list[str]


def choose(folder: Path, weights: Path, found: Sequence[Candidate], each: int) -> list[Candidate]:
    """Up to ``each`` candidates of every material; where too few real pictures are known, the best by merit.

    ``weights``: the folder with AlexNet's archive. Raises OptionError for an unprepared folder, WeightsError.
    """
    eyes = Moments(weights, "alexnet")
    real = _seen(folder, eyes)
    with ThreadPoolExecutor(_WORKERS) as pool:
        looks = np.stack([eyes.features(patches) for patches in pool.map(_patches, found)]).astype(np.float64)
    margins = _margins(real, found, looks)
    chosen: list[Candidate] = []
    for material in sorted({one.material for one in found}):
        own = [number for number, one in enumerate(found) if one.material == material]
        same = [number for number, labels in enumerate(real.materials) if material in labels]
        if len({real.groups[number] for number in same}) < _LEAST:
            chosen += best([found[number] for number in own], each)
            continue
        pairs, gains = _kernels(looks[own], real, same, [found[number].row["group"] for number in own])
        members = _members(pairs, gains + _MARGIN * margins[own], [found[number] for number in own], each)
        chosen += [found[own[member]] for member in members]
    return chosen


def _seen(folder: Path, eyes: Moments) -> _Real:
    rows, materials, groups, counts = [], [], [], Counter[str]()
    for one in sorted(read_textures(folder), key=lambda one: one.sha256):
        if one.split == "train" and one.kind == "texture" and one.materials and counts[one.materials[0]] < _MOST:
            counts[one.materials[0]] += 1
            patches = cut_scaled(one.read(), _REAL_PATCHES, 0, one.sha256)
            rows.append(eyes.features([look_at(patch, "grey") for patch in patches]))
            materials.append(one.materials)
            groups.append(one.group)
    return _Real(np.stack(rows).astype(np.float64), materials, groups)


def _patches(one: Candidate) -> list[Image]:
    """Patches of a candidate as a zoom meets it, ``_PATCHES`` a scale; the same in any company."""
    exemplar, patches = one.exemplar(), []
    for scale in _SCALES:
        plane = exemplar.seen(0, derive(0, one.name), (0, 0, _SIDE, _SIDE), scale) + np.float32(0.5)
        patches += cut(clip(np.repeat(plane[..., None], 3, axis=2)), _PATCHES, 0, one.name)
    return [look_at(patch, "grey") for patch in patches]


def _margins(real: _Real, found: Sequence[Candidate], looks: Array) -> Array:
    """(n,) by how much a candidate's material outscores all others, in the eyes of classifiers that have not seen its group; 0 where
    nothing can be said.
    """
    firsts = Counter(labels[0] for labels in real.materials)
    known = tuple(sorted(name for name, count in firsts.items() if count >= _LEAST))
    margins = np.zeros(len(found))
    if len(known) < 2:
        return margins
    kept = [number for number, labels in enumerate(real.materials) if labels[0] in known]
    each = real.rows.shape[1]
    labels = [real.materials[number][0] for number in kept for _ in range(each)]
    owners = [real.groups[number] for number in kept for _ in range(each)]
    rows, folds = real.rows[kept].reshape(len(labels), -1), dealt(labels, owners, FOLDS)
    seats = dict(zip(owners, folds.tolist(), strict=True))
    judges: dict[int, Recogniser] = {}
    for number, one in enumerate(found):
        if one.material in known:
            seat = seats.get(one.row["group"], 0)
            if seat not in judges:
                seen = folds != seat
                judges[seat] = fit(rows[seen], [label for label, kept in zip(labels, seen, strict=True) if kept], known)
            scores, own = judges[seat].scores(looks[number]), known.index(one.material)
            means = scores.reshape(len(_SCALES), -1, len(known)).mean(1)
            margins[number] = float(np.dot(_SHARES, [row[own] - np.delete(row, own).max() for row in means]))
    return margins


def _kernels(looks: Array, real: _Real, same: Sequence[int], groups: Sequence[str]) -> tuple[Array, Array]:
    """Mean kernels between candidates (n, n), and twice those to real pictures ``same`` of other groups (n,), over the scales."""
    count, many = len(looks), _PATCHES
    rows = real.rows[same].reshape(-1, looks.shape[-1])
    owners = np.repeat(np.array([real.groups[number] for number in same], dtype=object), real.rows.shape[1])
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
