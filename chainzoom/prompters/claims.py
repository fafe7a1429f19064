"""Words of meaning on their way through a zoom: how sure they are, where pixels showed them, and what later steps inherit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from chainzoom.prompters.base import View
from chainzoom.prompters.vocabulary import Kind

DECAY: Mapping[Kind, float] = {"name": 0.6, "group": 0.75, "material": 0.97}
"""What inherited confidence keeps per 4x: the smaller the part shown, the less the whole's name says and the more its material does."""
_SEEN = re.compile(r"seen at (?P<scale>\S+x): (?P<words>.+)")
_INHERITED = re.compile(r"inherited: (?P<word>.+) \(seen at (?P<scale>\S+x)\)")


@dataclass(frozen=True, slots=True)
class Claim:
    """A word with its confidence, the scale at which pixels showed it, and whether that was an earlier step."""

    confidence: float
    seen: str
    inherited: bool = False

    def times(self, share: float) -> Claim:
        """The same with a share of the confidence."""
        return Claim(self.confidence * share, self.seen, self.inherited)


def keep_stronger(claims: dict[str, Claim], word: str, claim: Claim) -> None:
    """Put a claim among others unless there is a stronger one for the word."""
    if word not in claims or claim.confidence > claims[word].confidence:
        claims[word] = claim


def inherit(view: View, source: str, kinds: Mapping[str, Kind]) -> dict[str, Claim]:
    """What the newest prompt of ``source`` said about meaning, less its decay over this step."""
    last = next((prompt for prompt in reversed(view.history) if prompt.source.split("+")[0] == source), None)
    if last is None:
        return {}
    seen = read_notes(last.notes)
    steps = log(max(view.factor, 1.0), 4)
    return {
        word: Claim(confidence * DECAY[kinds[word]] ** steps, seen[word], inherited=True)
        for word, confidence in last.tags
        if word in seen and word in kinds
    }


def scale_text(scale: float) -> str:
    """A scale as the notes have it."""
    return f"{scale:.4g}x"


def notes(claims: Mapping[str, Claim]) -> tuple[str, ...]:
    """Where each word of meaning comes from; the next step reads this back."""
    fresh: dict[str, list[str]] = {}
    for word, claim in claims.items():
        if not claim.inherited:
            fresh.setdefault(claim.seen, []).append(word)
    old = [f"inherited: {word} (seen at {claim.seen})" for word, claim in claims.items() if claim.inherited]
    return (*(f"seen at {scale}: {', '.join(words)}" for scale, words in fresh.items()), *old)


def read_notes(lines: Sequence[str]) -> dict[str, str]:
    """Word -> the scale at which it was seen."""
    seen = {}
    for note in lines:
        if match := _SEEN.fullmatch(note):
            seen.update(dict.fromkeys(match["words"].split(", "), match["scale"]))
        elif match := _INHERITED.fullmatch(note):
            seen[match["word"]] = match["scale"]
    return seen
