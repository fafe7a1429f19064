"""From probabilities of ImageNet classes to words: class names, coarser words and what things are made of."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["name", "group", "material"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word, how specific it is, the class numbers that support it (their probabilities add up), and how far each does: 1 for what a
    class is called, the likelihood for what such things are made of.
    """

    text: str
    kind: Kind
    classes: NDArray[np.intp]
    likelihoods: NDArray[np.float64]


def class_names() -> tuple[str, ...]:
    """Readable names of the 1000 classes, in the order of the network's outputs."""
    lines = files(__package__).joinpath("imagenet_classes.txt").read_text("utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


@cache
def words() -> tuple[Word, ...]:
    """Every word that a classifier's answer can lead to; a word of several kinds is a material rather than a group rather than a name."""
    names = class_names()
    table = tomllib.loads(files(__package__).joinpath("vocabulary.toml").read_text("utf-8"))
    support: dict[tuple[str, Kind], dict[int, float]] = {}
    for number, name in enumerate(names):
        support.setdefault((name, "name"), {})[number] = 1.0
    for group, entry in table.items():
        members = {number for number, name in enumerate(names) if name in entry.get("names", ())}
        for first, last in entry.get("animals", ()):
            members.update(range(first, last + 1))
        kind: Kind = "material" if entry.get("material") else "group"
        _add(support, (group, kind), members, entry.get("likelihood", 1.0))
        for material, likelihood in made_of(entry).items():
            _add(support, (material, "material"), members, likelihood)
    merged: dict[str, tuple[Kind, dict[int, float]]] = {}
    for wanted in get_args(Kind):
        for (text, kind), found in support.items():
            if kind == wanted:
                merged[text] = (kind, {**merged.get(text, (kind, {}))[1], **found})
    return tuple(
        Word(text, kind, np.array(sorted(found)), np.array([found[n] for n in sorted(found)])) for text, (kind, found) in merged.items()
    )


def made_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """Material -> likelihood, of an entry of the table."""
    given = entry.get("made_of", ())
    return {material: float(given[material]) if isinstance(given, Mapping) else 1.0 for material in given}


def _add(support: dict[tuple[str, Kind], dict[int, float]], key: tuple[str, Kind], members: set[int], likelihood: float) -> None:
    found = support.setdefault(key, {})
    for number in members:
        found[number] = max(likelihood, found.get(number, 0.0))


@cache
def kinds() -> dict[str, Kind]:
    """Kind of each word that :func:`words` knows."""
    return {word.text: word.kind for word in words()}


@cache
def _members() -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """The class numbers and likelihoods of all words in one array each, and where each word's begin."""
    counts = [len(word.classes) for word in words()]
    classes, likelihoods = (np.concatenate(parts) for parts in zip(*((word.classes, word.likelihoods) for word in words()), strict=True))
    return classes, likelihoods, np.cumsum([0, *counts[:-1]])


def scores(probabilities: NDArray[np.float32], least: float = 0.01) -> dict[str, float]:
    """Word -> summed probability (times likelihood), from the classifier's (1000,) answer; words below ``least`` are left out."""
    members, likelihoods, starts = _members()
    sums = np.add.reduceat(probabilities.astype(np.float64)[members] * likelihoods, starts)
    return {word.text: float(total) for word, total in zip(words(), sums, strict=True) if total >= least}
