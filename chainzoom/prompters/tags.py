"""The ``tags`` prompter: words from an ImageNet classifier, a head for surfaces, and measurements. A tagger, no vision-language model.

Both images are asked what they show: the crop, and the previous state around it. An answer counts as much as the picture's evidence:
the pixels that its measured detail is worth, and never more than the source photo has there. So words fall silent when the pixels run
out, and what was found earlier is carried on from the history: things with falling confidence, what they are made of nearly as it was
(Chain-of-Zoom, arXiv 2505.18600, section 3.2, conditions each step on earlier states for the same reason). What the previous state shows
elsewhere says little of the crop: see ``_Around``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainzoom.errors import OptionError
from chainzoom.images import Image, resize
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.claims import Claim, inherit, keep_stronger, notes, scale_text
from chainzoom.prompters.classifier import Box, Classifier
from chainzoom.prompters.measurements import COLOURS, Detail, Plane, detail, lightness, measure, ramp, shares
from chainzoom.prompters.surfaces import Surfaces
from chainzoom.prompters.vocabulary import Kind, kinds, scores
from chainzoom.weights import Weights

BACKGROUND = "soft background"
"""Said of a crop beside the thing that the previous state shows, when it has little of that state's fine detail."""

_LEAVES, _PETALS, _BLOOM, _BLOOMING = "leaves", "petals", ("purple", "lilac", "pink"), (0.15, 0.35)
"""Colours that foliage does not have and flowers do, and the share of the crop's area from which leaves may be, and are, petals: neither
the classes nor the surfaces know any but three flowers.
"""

_LEAST: Mapping[Kind, float] = {"name": 0.45, "group": 0.4, "material": 0.4}
"""Confidence from which a word of each kind is said at all."""
_LEAST_INHERITED: Mapping[Kind, float] = {"name": 0.25, "group": 0.2, "material": 0.12}
_AROUND = 0.8
"""What the previous state shows need not be in the crop."""
_DOUBT = 0.5
"""A crop with full evidence that shows nothing of a word takes this share of the confidence that the word came with."""
_SUPPORT = 0.15
"""Probability in the crop from which a word counts as supported."""
_PLAIN = 0.2
"""Probability in the previous state from which it can be asked where in it a word belongs."""
_ELSEWHERE = (0.35, 0.8)
"""A place with the first share of the whole picture's probability of a word shows none of it, one with the second shows it."""
_SURFACE_SEEN = (0.1, 0.4)
"""Probability of a material at a place from which it is not excluded there, and from which it is there."""
_DENIED = 0.6
"""What a crop's classes say of a material keeps this share where the surface head knows the material and sees nothing of it."""
_FEW_PIXELS, _MANY_PIXELS = 24.0, 160.0
"""Pixels across below which the classifier's answer means nothing, and from which it means what it says."""
_CLOSE = 16.0
"""Scale from which the text begins with what things are made of."""


@dataclass(frozen=True, slots=True)
class _Around:
    """The previous state's say in a crop of it.

    trust     0..1, its evidence
    seen      its scale, as the notes have it
    words     word -> probability in the whole state
    there     word -> probability by what the classifier's last layer holds at the crop's place
    surfaces  material -> probability in the whole state
    close     material -> probability at the crop's place
    softness  0..1: how far the fine detail at the crop's place stays behind that of the whole state; 0 where the state is not the photo's
              own pixels, since what was made is soft in places of its own
    """

    trust: float
    seen: str
    words: Mapping[str, float]
    there: Mapping[str, float]
    surfaces: Mapping[str, float]
    close: Mapping[str, float]
    softness: float

    def presence(self, word: str) -> float:
        """0..1: whether what the whole state shows of a word is at the crop's place; 1 where the state does not show it plainly."""
        if self.words.get(word, 0.0) >= _PLAIN:
            by_layer = ramp(self.there.get(word, 0.0) / self.words[word], *_ELSEWHERE)
            return max(by_layer, ramp(self.close.get(word, 0.0), *_SURFACE_SEEN))
        if self.surfaces.get(word, 0.0) >= _PLAIN:
            return ramp(self.close.get(word, 0.0) / self.surfaces[word], *_ELSEWHERE)
        return 1.0

    def claims(self) -> dict[str, Claim]:
        """What the state says of the crop's place."""
        said = _stronger({word: p * self.presence(word) for word, p in self.words.items()}, self.close)
        return {word: Claim(_AROUND * self.trust * p, self.seen) for word, p in said.items()}


class Tags:
    """Words by measurement and by EfficientNet-Lite2 with a head for surfaces. The network is loaded on first use.

    limit    most words of one prompt
    meaning  most words among them that name things or materials; the others are measured
    blur     whether the words "soft" and "blurred" are written into the text; a generative backbone may take them as an order, so a
             preset for one can leave them out (they stay in the tags)
    """

    name = "tags"
    looks_at_photo = True

    def __init__(self, *, limit: int = 9, meaning: int = 4, blur: bool = True, threads: int = 2) -> None:
        if not 1 <= meaning <= limit:
            raise OptionError(f"tags: expected 1 <= meaning <= limit, got meaning={meaning}, limit={limit}")
        self._limit, self._meaning, self._blur = limit, meaning, blur
        self._classifier = Classifier(threads)
        self._surfaces = Surfaces()

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The classifier's and the surface head's files; raises WeightsError when one is not there."""
        return (self._classifier.weights, self._surfaces.weights)

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """One prompt for each view. Views are handled one by one, so that a prompt never depends on its neighbours."""
        return [self._describe(view) for view in views]

    def _describe(self, view: View) -> Prompt:
        height, width = view.crop.shape[:2]
        native = (max(1, round(width / view.factor)), max(1, round(height / view.factor)))
        pixels = resize(view.crop, native)
        plane = lightness(pixels)
        measured = detail(plane)
        claims = self._claims(view, pixels, measured)
        chosen = sorted(claims, key=lambda word: -claims[word].confidence)[: self._meaning]
        tags = {word: claims[word].confidence for word in chosen}
        for word, certain in measure(pixels, plane, measured)[: self._limit - len(chosen)]:
            tags.setdefault(word, certain)
        ranked = tuple((word, round(certain, 4)) for word, certain in sorted(tags.items(), key=lambda tag: -tag[1]))
        return Prompt(self._text([word for word, _ in ranked], view.scale), self.name, ranked, notes({w: claims[w] for w in chosen}))

    def _text(self, words: Sequence[str], scale: float) -> str:
        """Most certain first, but close up what it is made of, then its colours, then the rest."""
        said = [word for word in words if self._blur or word not in ("soft", "blurred")]
        if scale >= _CLOSE:
            said.sort(key=lambda word: 0 if self._kinds.get(word) == "material" else 1 if word in COLOURS else 2)
        return ", ".join(said)

    @cached_property
    def _kinds(self) -> Mapping[str, Kind]:
        surfaces: dict[str, Kind] = dict.fromkeys((*self._surfaces.head.materials, BACKGROUND), "material")
        return {**kinds(), **surfaces}

    def _claims(self, view: View, pixels: Image, measured: Detail) -> dict[str, Claim]:
        """Word -> the strongest claim for it, from the crop, the previous state and the history."""
        weight = _evidence(measured.pixels, min(view.crop.shape[:2]) / view.scale)
        crop = self._seen(view, pixels) if weight else {}
        found = {word: Claim(weight * p, scale_text(view.scale)) for word, p in crop.items()}
        others = inherit(view, self.name, self._kinds)
        if (around := self._around(view)) is not None:
            others = {word: claim.times(1 - around.trust * (1 - around.presence(word))) for word, claim in others.items()}
            if view.factor > 1:  # a real state's parent was the crop of the step before: what it showed is in the history
                for word, claim in around.claims().items():
                    keep_stronger(others, word, claim)
            beside = self._beside(around)
            others = {word: claim.times(1 - beside) for word, claim in others.items()}
            keep_stronger(found, BACKGROUND, Claim(beside, around.seen))
        for word, claim in others.items():
            absent = weight * (1 - min(1.0, crop.get(word, 0.0) / _SUPPORT))
            keep_stronger(found, word, claim.times(1 - _DOUBT * absent))
        if weight and _LEAVES in found:
            blooming, leaves = ramp(sum(map(shares(pixels).__getitem__, _BLOOM)), *_BLOOMING), found[_LEAVES]
            found[_LEAVES] = leaves.times(1 - blooming)
            keep_stronger(found, _PETALS, leaves.times(blooming))
        known = self._kinds
        return {w: c for w, c in found.items() if c.confidence >= (_LEAST_INHERITED if c.inherited else _LEAST)[known[w]]}

    def _seen(self, view: View, pixels: Image) -> Mapping[str, float]:
        """Word -> probability by the crop's own pixels. A whole photo is a scene, no surface."""
        look = self._classifier.look(pixels)
        words = scores(look.probabilities)
        if view.parent is None and view.factor <= 1:
            return words
        surfaces = self._surfaces.scores(look.middle)
        for word in set(words) & set(self._surfaces.head.materials):
            words[word] *= _DENIED + (1 - _DENIED) * ramp(surfaces.get(word, 0.0), 0, _SURFACE_SEEN[0])
        return _stronger(words, surfaces)

    def _around(self, view: View) -> _Around | None:
        """What the previous state says, or None where there is none or it carries too little."""
        if view.parent is None or (view.factor <= 1 and view.place is None):
            return None
        factor = view.factor
        if view.place is not None and factor <= 1:
            factor = view.crop.shape[1] / max(1.0, (view.place[2] - view.place[0]) * view.parent.shape[1])
        plane = lightness(view.parent)
        trust = _evidence(detail(plane).pixels, min(view.parent.shape[:2]) * factor / view.scale)
        if not trust:
            return None
        look = self._classifier.look(view.parent)
        words = scores(look.probabilities)
        there = words if view.place is None else scores(self._classifier.there(look, view.place), 0.0)
        surfaces = self._surfaces.scores(look.middle)
        close = surfaces if view.place is None else self._surfaces.scores(look.middle, _wider(view.place), 0.0)
        softness = _softness(plane, view.place) if view.scale / factor <= 1 else 0.0
        return _Around(trust, scale_text(view.scale / factor), words, there, surfaces, close, softness)

    def _beside(self, around: _Around) -> float:
        """Confidence that the crop is the soft background of a thing that the previous state shows elsewhere."""
        known = self._kinds
        things = [word for word, p in around.words.items() if known[word] != "material" and p >= _LEAST[known[word]]]
        away = 1 - max((around.presence(word) for word in things), default=1.0)
        return around.trust * ramp(away, 0.3, 0.7) * around.softness


def _softness(plane: Plane, place: Box | None) -> float:
    """Of a place in a plane of lightness: 0 where it has 0.75 of the whole's fine detail or more, 1 at 0.45 and below."""
    if place is None:
        return 0.0
    rows, columns = (slice(round(place[k] * n), round(place[k + 2] * n)) for k, n in ((1, plane.shape[0]), (0, plane.shape[1])))
    if min(plane[rows, columns].shape) < 32:
        return 0.0
    fine, usual = (sum(detail(part).octaves[:2]) for part in (plane[rows, columns], plane))
    return ramp(fine / max(usual, 1e-6), 0.75, 0.45)


def _stronger(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {word: max(a.get(word, 0.0), b.get(word, 0.0)) for word in {**a, **b}}


def _wider(place: Box, share: float = 0.5) -> Box:
    """A part of a picture with a margin of some of its own size."""
    left, top, right, bottom = place
    x, y = share * (right - left), share * (bottom - top)
    return (max(0.0, left - x), max(0.0, top - y), min(1.0, right + x), min(1.0, bottom + y))


def _evidence(measured: float, source: float) -> float:
    """0..1: how far a classifier may be believed about a picture worth ``measured`` pixels across, of which ``source`` are real."""
    return ramp(float(np.log2(max(min(measured, source), 1.0))), float(np.log2(_FEW_PIXELS)), float(np.log2(_MANY_PIXELS)))
