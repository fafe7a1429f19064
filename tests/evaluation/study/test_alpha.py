"""Krippendorff's alpha against published and hand-made figures."""

from __future__ import annotations

import random

import pytest

from chainzoom.evaluation.study.agreement import Level, describe, krippendorff_alpha

# Four observers, twelve units, with gaps: the worked example C and D of Krippendorff (2011). None: not observed.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[float(score) for score in unit if score is not None] for unit in zip(*OBSERVERS, strict=True)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level: Level, published: float) -> None:
    assert krippendorff_alpha(UNITS, level) == pytest.approx(published, abs=0.0005)


def test_by_hand() -> None:
    """Two raters, scores (1, 1), (1, 2), (2, 2): coincidences [[2, 1], [1, 2]], observed 2 / 6, expected 2 * 3 * 3 / (6 * 5)."""
    units = [[1, 1], [1, 2], [2, 2]]
    assert krippendorff_alpha(units, "nominal") == pytest.approx(1 - (2 / 6) / (18 / 30))
    assert krippendorff_alpha(units, "ordinal") == pytest.approx(1 - (2 / 6) / (18 / 30)), "two values have one distance only"


def test_limits() -> None:
    assert krippendorff_alpha([[1, 1, 1], [5, 5, 5], [3, 3, 3]]) == 1
    rng = random.Random(0)
    assert krippendorff_alpha([[rng.randint(1, 5) for _ in range(20)] for _ in range(200)]) == pytest.approx(0, abs=0.02)
    opposed = krippendorff_alpha([[1, 5], [5, 1], [1, 5]])
    assert opposed is not None
    assert opposed < 0
    for empty in ([], [[3]], [[3, 3], [3, 3]], [[1], [2], [3]]):
        assert krippendorff_alpha(empty) is None


def test_only_ranks_count_for_the_ordinal_level() -> None:
    stretched = [[score**3 for score in unit] for unit in UNITS]
    assert krippendorff_alpha(stretched, "ordinal") == pytest.approx(krippendorff_alpha(UNITS, "ordinal"))
    assert krippendorff_alpha(stretched, "interval") != pytest.approx(krippendorff_alpha(UNITS, "interval"))


def test_reading() -> None:
    assert [describe(alpha) for alpha in (0.9, 0.7, 0.3, None)] == ["reliable", "tentative", "low", "cannot be computed"]
