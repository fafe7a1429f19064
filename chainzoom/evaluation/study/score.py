"""From answers to results: what each method scored, which differences hold, and how far the raters agree."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from chainzoom.errors import InputError
from chainzoom.evaluation.study.agreement import krippendorff_alpha
from chainzoom.evaluation.study.answers import Answers, Refused
from chainzoom.evaluation.study.comparisons import Comparison, Interval, Vector, compare, interval
from chainzoom.evaluation.study.design import KINDS, Kind, Study


@dataclass(frozen=True, slots=True)
class MethodScore:
    """``counts``: how often the scores 1, 2, 3, 4, 5 were given."""

    method: str
    mean: Interval
    counts: tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class KindResult:
    """Results for pictures or for words: methods from best to worst, and all pairs (empty with fewer than two raters).

    ``alpha``        Krippendorff's ordinal alpha over all items
    ``alpha_within`` the same after taking from each rater's scores their own mean: agreement apart from mild and strict raters (interval)
    """

    kind: Kind
    sets: int
    methods: tuple[MethodScore, ...]
    comparisons: tuple[Comparison, ...]
    alpha: float | None
    alpha_within: float | None


@dataclass(frozen=True, slots=True)
class StudyResult:
    """Everything that a study says. ``flat`` names raters who gave every item of a kind the same score; they count all the same."""

    study: str
    title: str
    invited: int
    raters: tuple[str, ...]
    refused: tuple[Refused, ...]
    flat: tuple[str, ...]
    minutes: float | None
    kinds: tuple[KindResult, ...]


def score_study(study: Study, answers: Sequence[Answers], refused: Sequence[Refused] = ()) -> StudyResult:
    """Raises InputError when no answer counts, MissingExtraError without scipy."""
    if not answers:
        listed = "; ".join(f"{one.file}: {one.kind}, {one.reason}" for one in refused[:3])
        raise InputError(f"expected at least one whole answer file, got none; {len(refused)} refused{': ' + listed if listed else ''}")
    kinds = tuple(_kind(study, kind, answers) for kind in KINDS if any(one.kind == kind for one in study.sets))
    flat = tuple(
        one.rater for one in answers if any(len(set(_scores(study, kind, one))) == 1 for kind in KINDS if _scores(study, kind, one))
    )
    times = [sum(one.seconds.values()) / 60 for one in answers if one.seconds]
    return StudyResult(
        study.id,
        study.title,
        len(study.raters),
        tuple(one.rater for one in answers),
        tuple(refused),
        flat,
        statistics.median(times) if times else None,
        kinds,
    )


def _kind(study: Study, kind: Kind, answers: Sequence[Answers]) -> KindResult:
    sets = [one for one in study.sets if one.kind == kind]
    items: dict[str, dict[str, str]] = {}
    for one in sets:
        for item in one.items:
            for method in item.methods:
                items.setdefault(method, {})[one.id] = item.id
    scored = [
        MethodScore(method, interval(_means(found.values(), answers)), _counts(found.values(), answers)) for method, found in items.items()
    ]
    scored.sort(key=lambda one: (-one.mean.mean, one.method))
    differences: dict[tuple[str, str], Vector] = {}
    for a, b in combinations([one.method for one in scored], 2):
        # A method without words is missing from some sets; a pair is compared over the sets that both are in.
        shared = [key for key in items[a] if key in items[b]]
        if shared and len(answers) > 1:
            differences[a, b] = _means([items[a][key] for key in shared], answers) - _means([items[b][key] for key in shared], answers)
    ids = [item.id for one in sets for item in one.items]
    own = {one.rater: float(np.mean([one.scores[item] for item in ids])) for one in answers}
    return KindResult(
        kind,
        len(sets),
        tuple(scored),
        tuple(compare(differences)),
        krippendorff_alpha([[one.scores[item] for one in answers] for item in ids]),
        krippendorff_alpha([[round(one.scores[item] - own[one.rater], 9) for one in answers] for item in ids], "interval"),
    )


def _means(ids: Iterable[str], answers: Sequence[Answers]) -> Vector:
    """Each rater's average over the items."""
    listed = list(ids)
    return np.array([np.mean([one.scores[item] for item in listed]) for one in answers], np.float64)


def _counts(ids: Iterable[str], answers: Sequence[Answers]) -> tuple[int, int, int, int, int]:
    listed = list(ids)
    found = [one.scores[item] for one in answers for item in listed]
    return (found.count(1), found.count(2), found.count(3), found.count(4), found.count(5))


def _scores(study: Study, kind: Kind, one: Answers) -> list[int]:
    return [one.scores[item.id] for each in study.sets if each.kind == kind for item in each.items]
