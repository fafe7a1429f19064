"""What real surfaces say of pictures: how far a set of states is from them, and which material a state shows.

Works on plain arrays, so that anything can be judged: states of runs, or what a network in training makes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainzoom.evaluation.metrics.kid import kid_interval
from chainzoom.evaluation.metrics.moments import Moments, Network
from chainzoom.evaluation.statistics import Interval
from chainzoom.evaluation.surfaces.distance import material_kid
from chainzoom.evaluation.surfaces.patches import Look
from chainzoom.evaluation.surfaces.recognition import Recogniser, Skill, cross_validate, fit
from chainzoom.evaluation.surfaces.reference import REAL_PATCHES, STATE_PATCHES, Looker, Views
from chainzoom.evaluation.surfaces.textures import Texture, choose_materials, read_textures
from chainzoom.images import Image


@dataclass(frozen=True, slots=True)
class Floor:
    """What real pictures score against real pictures: the distance that a perfect generator would have.

    halves  held-out pictures against other held-out pictures, group by group in turn
    train   pictures of the training split against held-out ones
    """

    halves: Interval
    train: Interval


class Judge:
    """Real surfaces of a prepared folder, split ``test``, seen through a network of the evaluation.

    textures   the prepared folder, or several
    weights    folder of the archive with the network's weights
    store      folder where features are kept, or None
    network    whose features are compared; ``alexnet`` is 25 times cheaper and knows materials less well
    materials  names of the materials to tell apart; by default the ten with the most held-out groups
    """

    def __init__(
        self,
        textures: Path | Sequence[Path],
        weights: Path,
        store: Path | None = None,
        materials: Sequence[str] | None = None,
        seed: int = 0,
        network: Network = "vgg16",
        threads: int = 2,
    ) -> None:
        folders = [textures] if isinstance(textures, Path) else textures
        self.textures: tuple[Texture, ...] = tuple(texture for folder in folders for texture in read_textures(folder))
        self.materials = tuple(materials) if materials is not None else choose_materials(self.textures)
        self.seed = seed
        self.looker = Looker(Moments(weights, network, threads), store, seed)
        self._real: dict[tuple[str, Look], Views] = {}

    def real(self, look: Look = "grey", split: str = "test") -> Views:
        """Patches of the surfaces of a split that show any of the materials."""
        if (split, look) not in self._real:
            chosen = [t for t in self.textures if t.split == split and t.kind == "texture" and set(t.materials) & set(self.materials)]
            if split == "train":
                chosen = _evenly(chosen, self.materials)
            self._real[split, look] = self.looker.real(chosen, look, REAL_PATCHES)
        return self._real[split, look]

    def distance(
        self,
        images: Sequence[Image],
        names: Sequence[str],
        materials: Sequence[str],
        look: Look = "grey",
        patches: int = STATE_PATCHES,
        keys: Sequence[str] | None = None,
    ) -> Interval:
        """Kernel distance of states (H, W, 3) to held-out real surfaces of the same materials, with a 95 % interval.

        ``names`` say which states come from one input; ``materials`` what each is to be.
        """
        return material_kid(self.looker.states(images, names, materials, look, patches, keys), self.real(look), self.seed)

    @cached_property
    def recogniser(self) -> Recogniser:
        """Trained on held-out surfaces with a single label."""
        views, labels = self.real("grey").plain(self.materials)
        return fit(views.rows, labels, self.materials)

    @cached_property
    def skill(self) -> Skill:
        """How well such a recogniser names real surfaces of groups that it has not seen."""
        views, labels = self.real("grey").plain(self.materials)
        return cross_validate(views.rows, labels, views.groups, views.pictures)

    def scores(
        self, images: Sequence[Image], names: Sequence[str], patches: int = STATE_PATCHES, keys: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """(n, materials) of n states: the mean scores of their patches, in the order of ``materials``. The highest names the material."""
        views = self.looker.states(images, names, [""] * len(images), "grey", patches, keys)
        return np.asarray(self.recogniser.scores(views.rows).reshape(len(images), patches, -1).mean(axis=1))

    def recognised(self, images: Sequence[Image], names: Sequence[str], patches: int = STATE_PATCHES) -> list[str]:
        """The material that each state shows."""
        return [self.materials[k] for k in self.scores(images, names, patches).argmax(axis=1)]

    def floor(self, look: Look = "grey") -> Floor:
        """Real against real."""
        test, train = self.real(look), self.real(look, "train")
        turn = {group: k % 2 for k, group in enumerate(dict.fromkeys(test.groups))}
        a, b = (test.where(lambda k, side=side: turn[test.groups[k]] == side) for side in (0, 1))  # type: ignore[misc]
        halves = kid_interval(a.rows, b.rows, a.groups, b.groups, seed=self.seed)
        return Floor(halves, kid_interval(train.rows, test.rows, train.groups, test.groups, seed=self.seed))


def _evenly(textures: Sequence[Texture], materials: Sequence[str], most: int = 8) -> list[Texture]:
    """At most ``most`` pictures of each leading material, of different groups first: enough for a floor."""
    ordered = sorted(textures, key=lambda t: t.sha256)
    seen, taken, chosen = Counter[tuple[str, str]](), Counter[str](), []
    rank = {}
    for one in ordered:
        label = next(m for m in one.materials if m in materials)
        seen[label, one.group] += 1
        rank[one] = (seen[label, one.group], one.sha256)
    for one in sorted(ordered, key=lambda t: rank[t]):
        label = next(m for m in one.materials if m in materials)
        if taken[label] < most:
            taken[label] += 1
            chosen.append(one)
    return chosen
