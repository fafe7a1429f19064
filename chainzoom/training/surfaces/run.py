"""A training run of the surface tagger: a prepared folder in, a weights file and its measured skill out."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainzoom.atomic import output_error, write_bytes
from chainzoom.errors import OptionError
from chainzoom.evaluation.surfaces.textures import Texture, read_textures
from chainzoom.prompters.classifier import Classifier
from chainzoom.prompters.surfaces import BIAS, CENTRE, KERNEL, NAMES, SPREAD, Head
from chainzoom.training.surfaces.fit import Allowed, fit
from chainzoom.training.surfaces.patches import RECIPE, picture_features, picture_patches

WEIGHTS, REPORT, KEPT = "surfaces.safetensors", "report.json", "features"
SAID = 0.5
"""Probability from which a material counts as named."""

Tell = Callable[[int, int], None]
"""Called after each picture with how many are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Options:
    """patches   of each picture (photos, of which much is none of these: five times as many)
    most      most pictures of one leading material, so that the common ones do not take all the time
    least     fewest groups of surfaces from which a material is learnt at all
    """

    patches: int = 4
    most: int = 40
    least: int = 3
    seed: int = 0


def train_surfaces(data: Path, out: Path, options: Options, tell: Tell, threads: int = 2) -> dict[str, object]:
    """Write OUT/surfaces.safetensors and OUT/report.json, and return the report.

    Features are kept in OUT/features, so an interrupted run goes on where it stopped. Raises OptionError, OutputError.
    """
    textures = read_textures(data)
    materials = learnable(textures, options.least)
    chosen = choose(textures, materials, options)
    classifier = Classifier(threads)
    found = []
    try:
        (out / KEPT).mkdir(parents=True, exist_ok=True)
        for done, texture in enumerate(chosen, 1):
            found.append(_features(texture, classifier, out / KEPT, options))
            tell(done, len(chosen))
        split = {name: [k for k, one in enumerate(chosen) if one.split == name] for name in ("train", "test")}
        head = fit(*_together([chosen[k] for k in split["train"]], [found[k] for k in split["train"]], materials), materials)
        write_bytes(out / WEIGHTS, dump(head))
        report = skill(rounded(head), [chosen[k] for k in split["test"]], [found[k] for k in split["test"]])
        write_bytes(out / REPORT, (json.dumps(report, indent=2) + "\n").encode())
    except OSError as error:
        raise output_error(out, error) from error
    return report


def learnable(textures: Sequence[Texture], least: int) -> tuple[str, ...]:
    """Materials with enough groups to learn from, in alphabetical order. Raises OptionError when there are fewer than two."""
    groups = defaultdict(set)
    for one in textures:
        for material in one.materials if one.kind == "texture" and one.split == "train" else ():
            groups[material].add(one.group)
    able = tuple(sorted(name for name, members in groups.items() if len(members) >= least))
    if len(able) < 2:
        raise OptionError(f"{least} groups of surfaces in split train are needed of two materials; {len(able)} materials have so many")
    return able


def choose(textures: Sequence[Texture], materials: Sequence[str], options: Options) -> list[Texture]:
    """Surfaces with known materials, at most ``most`` of each leading one (the rarest of its materials), and photos."""
    common = Counter(material for one in textures if one.kind == "texture" for material in one.materials)
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    for one in sorted(textures, key=lambda texture: texture.sha256):
        if one.kind == "photo":
            chosen.append(one)
        elif one.kind == "texture" and one.materials and set(one.materials) <= set(materials):
            leading = min(one.materials, key=lambda name: (common[name], name))
            if taken[one.split, leading] < options.most:
                taken[one.split, leading] += 1
                chosen.append(one)
    return chosen


def _features(texture: Texture, classifier: Classifier, kept: Path, options: Options) -> NDArray[np.float32]:
    count = options.patches if texture.kind == "texture" else 5 * options.patches
    file = kept / f"{texture.sha256[:24]}-{RECIPE}-{options.seed}-{count}.npy"
    try:
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
    except (OSError, ValueError):
        rows = picture_features(classifier, picture_patches(texture, count, options.seed))
        with file.with_suffix(".part").open("wb") as scratch:
            np.save(scratch, rows)
        file.with_suffix(".part").replace(file)
        return rows


def _together(
    textures: Sequence[Texture], found: Sequence[NDArray[np.float32]], materials: Sequence[str]
) -> tuple[NDArray[np.float32], Allowed, list[str]]:
    """Rows, allowed answers and groups of all patches of some pictures."""
    answers = [[*(name in one.materials for name in materials), one.kind == "photo"] for one in textures]
    allowed = [np.tile(answer, (len(rows), 1)) for answer, rows in zip(answers, found, strict=True)]
    groups = [one.group for one, rows in zip(textures, found, strict=True) for _ in rows]
    return np.concatenate(found), np.concatenate(allowed).astype(np.bool_), groups


def dump(head: Head) -> bytes:
    """The weights file: the kernel in half precision."""
    from safetensors.numpy import save

    tensors = {KERNEL: head.kernel.astype(np.float16), BIAS: head.bias, CENTRE: head.centre, SPREAD: head.spread}
    return bytes(save(tensors, metadata={NAMES: ", ".join(head.materials)}))


def rounded(head: Head) -> Head:
    """The head as its file has it."""
    return Head(head.materials, head.kernel.astype(np.float16).astype(np.float32), head.bias, head.centre, head.spread)


def skill(head: Head, textures: Sequence[Texture], found: Sequence[NDArray[np.float32]]) -> dict[str, object]:
    """What the head says of pictures: shares of patches by material, of whole pictures (means over patches), and of photos."""
    rows, allowed, _ = _together(textures, found, head.materials)
    p, photo, labels = head.probabilities(rows), allowed[:, -1], allowed[:, :-1]
    right = labels[np.arange(len(p)), p.argmax(axis=1)]
    starts = np.cumsum([0, *(len(one) for one in found[:-1])])
    means = np.stack([head.probabilities(one).mean(axis=0) for one in found])
    whole = labels[starts][np.arange(len(means)), means.argmax(axis=1)][~photo[starts]]
    named, surface = p >= SAID, labels[~photo]
    each = {}
    for k, name in enumerate(head.materials):
        mine = labels[:, k] & ~photo
        each[name] = {
            "pictures": int((labels[starts, k] & ~photo[starts]).sum()),
            "patches": int(mine.sum()),
            "first": _share(right[mine]),
            "named": _share(named[mine, k]),
            "right when named": _share(labels[~photo, k][named[~photo, k]]),
        }
    return {
        "materials": len(head.materials),
        "patches": {"count": len(surface), "first right": _share(right[~photo]), "named": _share(named[~photo].any(axis=1))},
        "right when named": _share(surface[named[~photo]]),
        "pictures": {"count": len(whole), "first right": _share(whole)},
        "photos": {
            "count": int(photo.sum()),
            "named": _share(named[photo].any(axis=1)),
            "not listed": _share((named & ~labels)[photo].any(axis=1)),
        },
        "each": each,
    }


def _share(hits: Any) -> float | None:
    return round(float(np.mean(hits)), 3) if np.size(hits) else None
