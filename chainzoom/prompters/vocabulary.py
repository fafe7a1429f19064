"""From probabilities of ImageNet classes to words: class names, coarser words and what things are made of."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["name", "group", "material"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word, how specific it is, and the class numbers that support it (their probabilities add up)."""

    text: str
    kind: Kind
    classes: NDArray[np.intp]


def class_names() -> tuple[str, ...]:
    """Readable names of the 1000 classes, in the order of the network's outputs."""
    lines = files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


@cache
def words() -> tuple[Word, ...]:
    """Every word that a classifier's answer can lead to; a word of several kinds is a material rather than a group rather than a name."""
    names = class_names()
    table = tomllib.loads(files(__package__).joinpath("vocabulary.toml").read_text("utf-8"))
    support: dict[tuple[str, Kind], set[int]] = {}
    for number, name in enumerate(names):
        support.setdefault((name, "name"), set()).add(number)
    for group, entry in table.items():
        members = {number for number, name in enumerate(names) if name in entry.get("names", ())}
        for first, last in entry.get("animals", ()):
            members.update(range(first, last + 1))
        support.setdefault((group, "material" if entry.get("material") else "group"), set()).update(members)
        for material in entry.get("made_of", ()):
            support.setdefault((material, "material"), set()).update(members)
    merged: dict[str, tuple[Kind, set[int]]] = {}
    for wanted in get_args(Kind):
        for (text, kind), members in support.items():
            if kind == wanted:
                merged[text] = (kind, merged.get(text, (kind, set()))[1] | members)
    return tuple(Word(text, kind, np.array(sorted(members))) for text, (kind, members) in merged.items())


@cache
def kinds() -> dict[str, Kind]:
    """Kind of each word that :func:`words` knows."""
    return {word.text: word.kind for word in words()}


@cache
def _members() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The class numbers of all words in one array, and where each word's begin."""
    counts = [len(word.classes) for word in words()]
    return np.concatenate([word.classes for word in words()]), np.cumsum([0, *counts[:-1]])


def scores(probabilities: NDArray[np.float32], least: float = 0.01) -> dict[str, float]:
    """Word -> summed probability, from the classifier's (1000,) answer; words below ``least`` are left out."""
    members, starts = _members()
    sums = np.add.reduceat(probabilities.astype(np.float64)[members], starts)
    return {word.text: float(total) for word, total in zip(words(), sums, strict=True) if total >= least}
