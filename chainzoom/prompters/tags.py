"""The ``tags`` prompter: a set of words from an ImageNet classifier and plain measurements. It is a tagger, no vision-language model.

Both images are asked what they show: the crop, and the previous state around it. An answer counts as much as the picture's evidence:
the pixels that its measured detail is worth, and never more than the source photo has there. So words fall silent when the pixels run
out, and what was found earlier is carried on from the history with slowly falling confidence (Chain-of-Zoom, arXiv 2505.18600,
section 3.2, conditions each step on earlier states for the same reason).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from chainzoom.errors import OptionError
from chainzoom.images import Image, resize
from chainzoom.prompters.base import Prompt, View
from chainzoom.prompters.classifier import Classifier
from chainzoom.prompters.measurements import detail, lightness, measure, ramp
from chainzoom.prompters.vocabulary import kinds, scores
from chainzoom.weights import Weights

_LEAST = {"name": 0.45, "group": 0.4, "material": 0.4}
"""Confidence from which a word of each kind is said at all."""
_LEAST_INHERITED = 0.12
_DECAY = {"name": 0.8, "group": 0.9, "material": 0.95}
"""What inherited confidence keeps per 4x: the smaller the part shown, the less the whole's name says and the more its material does."""
_AROUND = 0.8
"""What the previous state shows need not be in the crop."""
_DOUBT = 0.5
"""A crop with full evidence that shows nothing of a word takes this share of the confidence that the word came with."""
_SUPPORT = 0.15
"""Probability in the crop from which a word counts as supported."""
_FEW_PIXELS, _MANY_PIXELS = 24.0, 160.0
"""Pixels across below which the classifier's answer means nothing, and from which it means what it says."""
_SEEN = re.compile(r"seen at (?P<scale>\S+x): (?P<words>.+)")
_INHERITED = re.compile(r"inherited: (?P<word>.+) \(seen at (?P<scale>\S+x)\)")


@dataclass(frozen=True, slots=True)
class _Claim:
    """A word with its confidence, the scale at which pixels showed it, and whether that was an earlier step."""

    confidence: float
    seen: str
    inherited: bool = False


class Tags:
    """Words by measurement and by EfficientNet-Lite2. The network is loaded on first use.

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

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The classifier's weight file; raises WeightsError when its package is not installed."""
        return (self._classifier.weights,)

    def describe(self, views: Sequence[View]) -> list[Prompt]:
        """One prompt for each view. Views are handled one by one, so that a prompt never depends on its neighbours."""
        return [self._describe(view) for view in views]

    def _describe(self, view: View) -> Prompt:
        height, width = view.crop.shape[:2]
        native = (max(1, round(width / view.factor)), max(1, round(height / view.factor)))
        pixels = resize(view.crop, native)
        plane = lightness(pixels)
        measured = detail(plane)
        claims = self._claims(view, pixels, _evidence(measured.pixels, min(height, width) / view.scale))
        chosen = sorted(claims, key=lambda word: -claims[word].confidence)[: self._meaning]
        tags = {word: claims[word].confidence for word in chosen}
        for word, certain in measure(pixels, plane, measured)[: self._limit - len(chosen)]:
            tags.setdefault(word, certain)
        ranked = tuple((word, round(certain, 4)) for word, certain in sorted(tags.items(), key=lambda tag: -tag[1]))
        said = [word for word, _ in ranked if self._blur or word not in ("soft", "blurred")]
        return Prompt(", ".join(said), self.name, ranked, _notes({word: claims[word] for word in chosen}))

    def _claims(self, view: View, pixels: Image, weight: float) -> dict[str, _Claim]:
        """Word -> the strongest claim for it, from the crop, the previous state and the history."""
        crop = scores(self._classifier.probabilities(pixels)) if weight else {}
        here = _scale(view.scale)
        found = {word: _Claim(weight * p, here) for word, p in crop.items()}
        others = _inherit(view)
        if view.parent is not None and view.factor > 1:  # a real state's parent was the crop of the step before: it is in the history
            around = view.scale / view.factor
            trust = _AROUND * _evidence(detail(lightness(view.parent)).pixels, min(view.parent.shape[:2]) / around)
            there = _scale(around)
            for word, p in scores(self._classifier.probabilities(view.parent)).items() if trust else ():
                _keep_stronger(others, word, _Claim(trust * p, there))
        for word, claim in others.items():
            absent = weight * (1 - min(1.0, crop.get(word, 0.0) / _SUPPORT))
            _keep_stronger(found, word, _Claim(claim.confidence * (1 - _DOUBT * absent), claim.seen, claim.inherited))
        known = kinds()
        return {w: c for w, c in found.items() if c.confidence >= (_LEAST_INHERITED if c.inherited else _LEAST[known[w]])}


def _keep_stronger(claims: dict[str, _Claim], word: str, claim: _Claim) -> None:
    if word not in claims or claim.confidence > claims[word].confidence:
        claims[word] = claim


def _evidence(measured: float, source: float) -> float:
    """0..1: how far a classifier may be believed about a picture worth ``measured`` pixels across, of which ``source`` are real."""
    return ramp(float(np.log2(max(min(measured, source), 1.0))), float(np.log2(_FEW_PIXELS)), float(np.log2(_MANY_PIXELS)))


def _inherit(view: View) -> dict[str, _Claim]:
    """What the newest prompt of this prompter said about meaning, less its decay over this step."""
    last = next((prompt for prompt in reversed(view.history) if prompt.source.split("+")[0] == Tags.name), None)
    if last is None:
        return {}
    seen, known = _read_notes(last.notes), kinds()
    steps = log(max(view.factor, 1.0), 4)
    return {
        word: _Claim(confidence * _DECAY[known[word]] ** steps, seen[word], inherited=True)
        for word, confidence in last.tags
        if word in seen and word in known
    }


def _scale(scale: float) -> str:
    return f"{scale:.4g}x"


def _notes(claims: Mapping[str, _Claim]) -> tuple[str, ...]:
    """Where each word of meaning comes from; the next step reads this back."""
    fresh: dict[str, list[str]] = {}
    for word, claim in claims.items():
        if not claim.inherited:
            fresh.setdefault(claim.seen, []).append(word)
    old = [f"inherited: {word} (seen at {claim.seen})" for word, claim in claims.items() if claim.inherited]
    return (*(f"seen at {scale}: {', '.join(words)}" for scale, words in fresh.items()), *old)


def _read_notes(notes: Sequence[str]) -> dict[str, str]:
    """Word -> the scale at which it was seen."""
    seen = {}
    for note in notes:
        if match := _SEEN.fullmatch(note):
            seen.update(dict.fromkeys(match["words"].split(", "), match["scale"]))
        elif match := _INHERITED.fullmatch(note):
            seen[match["word"]] = match["scale"]
    return seen
