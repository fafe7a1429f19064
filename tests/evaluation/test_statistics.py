"""Intervals, tests and corrections on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from chainzoom.errors import OptionError
from chainzoom.evaluation.statistics import bootstrap, holm, paired


def test_bootstrap_of_a_constant_and_of_one() -> None:
    constant = bootstrap([3.0] * 5)
    assert (constant.mean, constant.low, constant.high, constant.count) == (3.0, 3.0, 3.0, 5)
    assert bootstrap([2.0]).high == 2.0
    with pytest.raises(OptionError, match="at least one value"):
        bootstrap([])


def test_bootstrap_is_about_two_standard_errors_wide_and_the_same_again() -> None:
    data = np.random.default_rng(1).normal(10, 2, 100)
    interval = bootstrap(data)
    assert interval.mean == pytest.approx(data.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * data.std() / 10, rel=0.1)
    assert bootstrap(data) == interval


def test_bootstrap_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        interval = bootstrap(rng.normal(0, 1, 40), rounds=1000)
        hits += interval.low <= 0 <= interval.high
    assert 180 <= hits <= 198


def test_paired_t_by_hand() -> None:
    pytest.importorskip("scipy")
    # Differences 1, 2, 3, 4: mean 2.5, deviation sqrt(5/3), t = 3.873 with 3 degrees of freedom, p = 0.0305; Wilcoxon 2 / 2^4.
    result = paired([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    assert result.difference.mean == 2.5
    assert result.effect == pytest.approx(2.5 / np.sqrt(5 / 3))
    assert result.t_test == pytest.approx(0.0305, abs=1e-4)
    assert result.wilcoxon == pytest.approx(0.125)


def test_equal_methods_differ_by_chance_alone() -> None:
    assert paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).t_test == 1.0


def test_a_constant_difference_is_certain() -> None:
    pytest.importorskip("scipy")
    assert paired([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]).t_test == 0.0


@pytest.mark.parametrize("pair", [([1.0], [2.0]), ([1.0, 2.0], [1.0])])
def test_pairs_are_needed(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(OptionError, match="two lists of the same length"):
        paired(*pair)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0
