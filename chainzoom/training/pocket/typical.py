"""How typical a surface is of its material: what a classifier of real pictures, which has not seen its group, says of it.

Evaluation must not be judged by its own eyes: this looks with AlexNet at the split ``train``, the evaluation with VGG16 at ``test``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.evaluation.metrics.moments import Moments
from chainzoom.evaluation.surfaces.patches import cut, cut_scaled, look_at
from chainzoom.evaluation.surfaces.recognition import FOLDS, dealt, fit
from chainzoom.evaluation.surfaces.textures import read_textures
from chainzoom.images import clip, resize

_EACH = 40
"""Pictures of a material that the classifier learns from at most."""
_LEAST = 3
"""Pictures of a material below which nothing can be said."""
_PATCHES = 4
_SHRUNK = 4
"""A zoom meets a surface at its own size and so many times smaller (backbones.exemplars.Sight): it is judged at both."""


def typical(
    folder: Path, weights: Path, planes: Sequence[NDArray[np.float32]], materials: Sequence[str], groups: Sequence[str]
) -> list[float]:
    """For every plane (H, W) the margin by which its material outscores all others, or does not (below 0); 0 where nothing can be said.

    ``weights``: the folder with AlexNet's archive. Raises OptionError for an unprepared folder, WeightsError.
    """
    eyes, counts = Moments(weights, "alexnet"), Counter[str]()
    rows: list[NDArray[np.float32]] = []
    labels: list[str] = []
    owners: list[str] = []
    for one in sorted(read_textures(folder), key=lambda one: one.sha256):
        if one.split == "train" and one.kind == "texture" and one.materials and counts[one.materials[0]] < _EACH:
            counts[one.materials[0]] += 1
            rows.append(eyes.features([look_at(patch, "grey") for patch in cut_scaled(one.read(), _PATCHES, 0, one.sha256)]))
            labels += [one.materials[0]] * _PATCHES
            owners += [one.group] * _PATCHES
    known = tuple(sorted(name for name, count in counts.items() if count >= _LEAST))
    if len(known) < 2:
        return [0.0] * len(planes)
    kept = [k for k, label in enumerate(labels) if label in known]
    features, labels, owners = np.concatenate(rows)[kept], [labels[k] for k in kept], [owners[k] for k in kept]
    folds = dealt(labels, owners, FOLDS)
    seats = dict(zip(owners, folds.tolist(), strict=True))
    judges = []
    for fold in range(FOLDS):
        seen = folds != fold
        judges.append(fit(features[seen], [label for label, kept in zip(labels, seen, strict=True) if kept], known))
    margins = []
    for number, (plane, material, group) in enumerate(zip(planes, materials, groups, strict=True)):
        if material not in known:
            margins.append(0.0)
            continue
        picture = clip(np.repeat(plane[..., None], 3, axis=2))
        small = clip(resize(picture, (picture.shape[1] // _SHRUNK, picture.shape[0] // _SHRUNK), "box"))
        patches = [patch for seen in (picture, small) for patch in cut(seen, _PATCHES, 0, str(number))]
        scores = judges[seats.get(group, 0)].scores(eyes.features([look_at(patch, "grey") for patch in patches])).mean(0)
        own = known.index(material)
        margins.append(float(scores[own] - np.delete(scores, own).max()))
    return margins
